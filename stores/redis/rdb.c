/*
 * RDB files as they stream by: see rdb.h. Each record is a little program (rdb_grammar.h). When a
 * feed ends within what a letter of it needs, the rest waits in `hold` for the next one.
 */
#include "stores/redis/rdb.h"

#include "stores/redis/rdb_crc.h"
#include "stores/redis/rdb_grammar.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Databases are configured by the server, 16 as a rule; a file must not make us count millions. */
#define MAX_DBS 65536
/* The newest versions of which every record is known here. */
#define KNOWN_REDIS 11
#define KNOWN_VALKEY 80
#define FIRST_WITH_CRC 5

enum phase {
	PHASE_HEAD,
	PHASE_RECORD, /* a type or opcode comes */
	PHASE_NAME,   /* of a key */
	PHASE_BODY,   /* what an opcode or type has */
	PHASE_TAIL,   /* the CRC */
	PHASE_OVER,
	PHASE_OPAQUE,
};

struct bak_rdb {
	struct bak_rdb_events events;
	struct bak_rdb_stats stats;
	uint64_t crc;    /* of all but the last eight bytes */
	uint8_t last[8]; /* those */
	size_t n_last;

	enum phase phase;
	uint8_t type;
	bool is_value;               /* the body is a key's value, or a function */
	struct bak_rdb_program prog; /* of the record */

	uint64_t db;
	struct bak_rdb_db *current;
	bool expires;
	int64_t expires_ms;

	uint8_t hold[BAK_RDB_UNIT_MAX];
	size_t n_hold;
};

int bak_rdb_new(const struct bak_rdb_events *events, struct bak_rdb **out, struct bak_error *err)
{
	struct bak_rdb *rdb = calloc(1, sizeof *rdb);

	if (!rdb)
		return bak_error_nomem(err);
	if (events)
		rdb->events = *events;
	*out = rdb;
	return 0;
}

void bak_rdb_free(struct bak_rdb *rdb)
{
	if (!rdb)
		return;
	bak_rdb_program_release(&rdb->prog);
	free(rdb->stats.dbs);
	free(rdb);
}

const struct bak_rdb_stats *bak_rdb_stats(const struct bak_rdb *rdb)
{
	return &rdb->stats;
}

/* --- telling of parts --- */

static enum bak_rdb_part part_of(const struct bak_rdb *rdb)
{
	if (rdb->phase == PHASE_HEAD)
		return BAK_RDB_PART_SERVER;
	switch (rdb->type) {
	case BAK_RDB_OP_AUX:
	case BAK_RDB_OP_MODULE_AUX:
	case BAK_RDB_OP_FUNCTION:
		return BAK_RDB_PART_SERVER;
	case BAK_RDB_OP_SELECT:
		return BAK_RDB_PART_SELECT;
	case BAK_RDB_OP_END:
		return BAK_RDB_PART_END;
	}
	return BAK_RDB_PART_DB;
}

static int tell_part(struct bak_rdb *rdb, struct bak_rdb_window *w, struct bak_error *err)
{
	const uint8_t *from = w->part;

	w->part = w->p;
	if (from == w->p || !rdb->events.part)
		return 0;
	return rdb->events.part(rdb->events.ctx, part_of(rdb), rdb->db, from, (size_t)(w->p - from),
				err);
}

/* --- records --- */

static int head_of(struct bak_rdb *rdb, struct bak_rdb_window *w, struct bak_error *err)
{
	char digits[5] = "";
	char *end;

	if (bak_rdb_room(w) < 9)
		return BAK_RDB_MORE;
	rdb->stats.valkey = memcmp(w->p, "VALKEY", 6) == 0;
	if (!rdb->stats.valkey && memcmp(w->p, "REDIS", 5) != 0)
		return bak_error_set(err, BAK_CORRUPT, "not an RDB file");
	size_t magic = rdb->stats.valkey ? 6 : 5;
	memcpy(digits, w->p + magic, 9 - magic);
	rdb->stats.version = (unsigned)strtoul(digits, &end, 10);
	if (*end || digits[0] < '0' || digits[0] > '9')
		return bak_rdb_damaged(w, err, "no version");
	if (rdb->stats.version < FIRST_WITH_CRC)
		return bak_error_set(err, BAK_UNSUPPORTED,
				     "RDB version %u is too old: it has no checksum",
				     rdb->stats.version);
	w->p += 9;
	if (tell_part(rdb, w, err) < 0)
		return -1;
	rdb->phase = PHASE_RECORD;
	return BAK_RDB_DONE;
}

static bool may_hold_unknown(const struct bak_rdb *rdb)
{
	return rdb->stats.version > (rdb->stats.valkey ? KNOWN_VALKEY : KNOWN_REDIS);
}

static int find_db(struct bak_rdb *rdb, struct bak_rdb_window *w, struct bak_error *err)
{
	struct bak_rdb_stats *stats = &rdb->stats;
	size_t i;

	if (rdb->current && rdb->current->number == rdb->db)
		return 0;
	for (i = 0; i < stats->n_dbs && stats->dbs[i].number != rdb->db; i++)
		;
	if (i == stats->n_dbs) {
		if (i == MAX_DBS)
			return bak_rdb_damaged(w, err, "too many databases");
		/* In powers of two. */
		if ((i & (i - 1)) == 0) {
			struct bak_rdb_db *dbs = realloc(stats->dbs, (i ? 2 * i : 1) * sizeof *dbs);

			if (!dbs)
				return bak_error_nomem(err);
			stats->dbs = dbs;
		}
		stats->dbs[stats->n_dbs++] = (struct bak_rdb_db){.number = rdb->db};
	}
	rdb->current = &stats->dbs[i];
	return 0;
}

static void begin_program(struct bak_rdb *rdb, enum phase phase, const char *text)
{
	rdb->phase = phase;
	bak_rdb_program_begin(&rdb->prog, text);
}

static int begin_record(struct bak_rdb *rdb, struct bak_rdb_window *w, struct bak_error *err)
{
	if (!bak_rdb_room(w))
		return BAK_RDB_MORE;
	rdb->type = *w->p;
	rdb->is_value = false;
	if (rdb->type == BAK_RDB_OP_END) {
		w->p++;
		rdb->phase = PHASE_TAIL;
		return BAK_RDB_DONE;
	}
	const char *program = bak_rdb_opcode_program(rdb->stats.valkey, rdb->type);
	if (program)
		begin_program(rdb, PHASE_BODY, program);
	else if (bak_rdb_grammar_of(rdb->stats.valkey, rdb->type))
		begin_program(rdb, PHASE_NAME, rdb->events.key ? "n" : "s");
	else if (may_hold_unknown(rdb))
		rdb->phase = PHASE_OPAQUE;
	else
		return bak_rdb_damaged(w, err, "an unknown type of record");
	w->p++;
	rdb->stats.opaque = rdb->phase == PHASE_OPAQUE;
	return BAK_RDB_DONE;
}

static int tell_key(struct bak_rdb *rdb, enum bak_rdb_class class, struct bak_error *err)
{
	const struct bak_rdb_key key = {.db = rdb->db,
					.class = class,
					.type = rdb->type,
					.expires = rdb->expires,
					.expires_ms = rdb->expires_ms,
					.name = rdb->prog.name.p,
					.name_len = class == BAK_RDB_FUNCTION ? 0
									      : rdb->prog.name.len};

	rdb->is_value = true;
	return rdb->events.key ? rdb->events.key(rdb->events.ctx, &key, err) : 0;
}

/* The name is read: the value begins. */
static int begin_value(struct bak_rdb *rdb, struct bak_rdb_window *w, struct bak_error *err)
{
	const struct bak_rdb_grammar *g = bak_rdb_grammar_of(rdb->stats.valkey, rdb->type);

	if (find_db(rdb, w, err) < 0)
		return -1;
	rdb->current->keys++;
	rdb->current->types[g->class]++;
	rdb->current->expires += rdb->expires;
	rdb->stats.fields_expire |= rdb->type >= 22;
	if (tell_key(rdb, g->class, err) < 0)
		return -1;
	rdb->expires = false;
	begin_program(rdb, PHASE_BODY, g->program);
	w->value = w->p;
	return BAK_RDB_DONE;
}

static bool name_is(const struct bak_rdb *rdb, const char *name)
{
	return rdb->prog.name.len == strlen(name) &&
	       memcmp(rdb->prog.name.p, name, rdb->prog.name.len) == 0;
}

static int note_aux(struct bak_rdb *rdb, struct bak_error *err)
{
	struct bak_rdb_stats *stats = &rdb->stats;

	if (bak_buf_append(&rdb->prog.text, "", 1) < 0)
		return bak_error_nomem(err);
	const char *text = (const char *)rdb->prog.text.p;
	if (name_is(rdb, "redis-ver") || name_is(rdb, "valkey-ver"))
		snprintf(stats->server_version, sizeof stats->server_version, "%s", text);
	else if (name_is(rdb, "ctime"))
		stats->created = strtoll(text, NULL, 10);
	else if (name_is(rdb, "used-mem"))
		stats->used_memory = strtoull(text, NULL, 10);
	return 0;
}

static int tell_value(struct bak_rdb *rdb, struct bak_rdb_window *w, struct bak_error *err)
{
	const uint8_t *from = w->value;

	w->value = w->p;
	if (!rdb->is_value || from == w->p || !rdb->events.value)
		return 0;
	return rdb->events.value(rdb->events.ctx, from, (size_t)(w->p - from), err);
}

static int end_record(struct bak_rdb *rdb, struct bak_rdb_window *w, struct bak_error *err)
{
	if (tell_part(rdb, w, err) < 0)
		return -1;
	rdb->phase = PHASE_RECORD;
	if (rdb->is_value) {
		if (tell_value(rdb, w, err) < 0)
			return -1;
		rdb->is_value = false;
		if (rdb->events.key_end && rdb->events.key_end(rdb->events.ctx, err) < 0)
			return -1;
		return BAK_RDB_DONE;
	}
	switch (rdb->type) {
	case BAK_RDB_OP_AUX:
		return note_aux(rdb, err) < 0 ? -1 : BAK_RDB_DONE;
	case BAK_RDB_OP_SELECT:
		rdb->db = rdb->prog.number;
		break;
	case BAK_RDB_OP_EXPIRE_MS:
	case BAK_RDB_OP_EXPIRE_S:
		rdb->expires = true;
		rdb->expires_ms = rdb->type == BAK_RDB_OP_EXPIRE_MS
					  ? bak_rdb_little_endian(rdb->prog.raw, 8)
					  : bak_rdb_little_endian(rdb->prog.raw, 4) * 1000;
		break;
	}
	return BAK_RDB_DONE;
}

static int run_body(struct bak_rdb *rdb, struct bak_rdb_window *w, struct bak_error *err)
{
	if (rdb->type == BAK_RDB_OP_FUNCTION && !rdb->is_value) {
		rdb->stats.functions++;
		if (tell_key(rdb, BAK_RDB_FUNCTION, err) < 0)
			return -1;
		w->value = w->p;
	}
	if (!bak_rdb_program_is_over(&rdb->prog))
		return bak_rdb_program_step(&rdb->prog, w, err);
	return end_record(rdb, w, err);
}

static int run_name(struct bak_rdb *rdb, struct bak_rdb_window *w, struct bak_error *err)
{
	if (!bak_rdb_program_is_over(&rdb->prog))
		return bak_rdb_program_step(&rdb->prog, w, err);
	return begin_value(rdb, w, err);
}

static int run_phase(struct bak_rdb *rdb, struct bak_rdb_window *w, struct bak_error *err)
{
	switch (rdb->phase) {
	case PHASE_HEAD:
		return head_of(rdb, w, err);
	case PHASE_RECORD:
		return begin_record(rdb, w, err);
	case PHASE_NAME:
		return run_name(rdb, w, err);
	case PHASE_BODY:
		return run_body(rdb, w, err);
	case PHASE_TAIL:
		if (bak_rdb_room(w) < 8)
			return BAK_RDB_MORE;
		w->p += 8;
		rdb->phase = PHASE_OVER;
		return BAK_RDB_DONE;
	case PHASE_OVER:
		return bak_rdb_room(w) ? bak_rdb_damaged(w, err, "bytes behind the end")
				       : BAK_RDB_MORE;
	case PHASE_OPAQUE:
		w->p = w->end;
		return BAK_RDB_MORE;
	}
	return bak_error_set(err, BAK_BUG, "rdb: no such phase");
}

static int run(struct bak_rdb *rdb, struct bak_rdb_window *w, struct bak_error *err)
{
	int rc;

	w->value = w->part = w->p;
	while ((rc = run_phase(rdb, w, err)) == BAK_RDB_DONE)
		;
	return rc < 0 || tell_value(rdb, w, err) < 0 ? -1 : tell_part(rdb, w, err);
}

/* --- feeding --- */

/* The last eight bytes may be the checksum itself and wait. */
static void sum_up(struct bak_rdb *rdb, const uint8_t *p, size_t len)
{
	if (len >= 8) {
		rdb->crc = bak_rdb_crc(rdb->crc, rdb->last, rdb->n_last);
		rdb->crc = bak_rdb_crc(rdb->crc, p, len - 8);
		memcpy(rdb->last, p + len - 8, 8);
		rdb->n_last = 8;
		return;
	}
	size_t keep = 8 - len < rdb->n_last ? 8 - len : rdb->n_last, out = rdb->n_last - keep;
	rdb->crc = bak_rdb_crc(rdb->crc, rdb->last, out);
	memmove(rdb->last, rdb->last + out, keep);
	memcpy(rdb->last + keep, p, len);
	rdb->n_last = keep + len;
}

/* What waits is a unit's beginning: BAK_RDB_UNIT_MAX bytes hold more than any unit has, so that with the
 * new bytes either it comes to its end, or there were too few to fill hold. *out_used: new bytes
 * that are done with. */
static int feed_hold(struct bak_rdb *rdb, const uint8_t *p, size_t len, size_t *out_used,
		     struct bak_error *err)
{
	size_t before = rdb->n_hold,
	       n = BAK_RDB_UNIT_MAX - before < len ? BAK_RDB_UNIT_MAX - before : len;
	struct bak_rdb_window w = {.p = rdb->hold,
				   .begin = rdb->hold,
				   .base = rdb->stats.bytes - before,
				   .end = rdb->hold + before + n};

	memcpy(rdb->hold + before, p, n);
	if (run(rdb, &w, err) < 0)
		return -1;
	size_t done = (size_t)(w.p - rdb->hold);
	if (done < before) {
		memmove(rdb->hold, w.p, before + n - done);
		rdb->n_hold = before + n - done;
		*out_used = n;
		return 0;
	}
	rdb->n_hold = 0;
	*out_used = done - before;
	return 0;
}

int bak_rdb_feed(struct bak_rdb *rdb, const void *data, size_t len, struct bak_error *err)
{
	const uint8_t *p = data;

	sum_up(rdb, p, len);
	while (len) {
		size_t used;

		if (rdb->n_hold) {
			if (feed_hold(rdb, p, len, &used, err) < 0)
				return -1;
		} else {
			struct bak_rdb_window w = {
				.p = p, .begin = p, .end = p + len, .base = rdb->stats.bytes};

			if (run(rdb, &w, err) < 0)
				return -1;
			used = len;
			rdb->n_hold = bak_rdb_room(&w);
			assert(rdb->n_hold < BAK_RDB_UNIT_MAX);
			memcpy(rdb->hold, w.p, rdb->n_hold);
		}
		p += used;
		len -= used;
		rdb->stats.bytes += used;
	}
	return 0;
}

int bak_rdb_end(struct bak_rdb *rdb, struct bak_error *err)
{
	uint64_t sum = (uint64_t)bak_rdb_little_endian(rdb->last, 8);

	if (rdb->phase != PHASE_OVER && rdb->phase != PHASE_OPAQUE)
		return bak_error_set(err, BAK_CORRUPT,
				     "the RDB file is cut off: it ends after %" PRIu64 " bytes",
				     rdb->stats.bytes);
	rdb->stats.checksum = rdb->n_last == 8 && sum;
	if (rdb->phase == PHASE_OPAQUE && !rdb->stats.checksum)
		return bak_error_set(err, BAK_CORRUPT,
				     "RDB version %u has records that are not known, and no "
				     "checksum: nothing tells whether it is whole",
				     rdb->stats.version);
	if (rdb->stats.checksum && sum != rdb->crc)
		return bak_error_set(err, BAK_CORRUPT,
				     "the RDB file is damaged: its checksum is not right");
	return 0;
}
