/*
 * RDB files as they stream by: see rdb.h.
 *
 * Each record is a program: letters that say what stands in the file. The parser runs it with as
 * many bytes as there are and goes on where it was when more come. What a letter needs at once (a
 * length, the head of a string, some raw bytes) is at most HOLD_LEN long: when a feed ends within,
 * the rest waits in `hold` for the next one. Bodies of strings are skipped, not kept.
 *
 *   l  a length                      s  a string
 *   n  a string kept as a name       t  a string kept as text
 *   1 4 8 6  so many raw bytes (6: sixteen)
 *   d  a double of old: a byte that says how many characters, or 253 to 255 for none
 *   ( )  a length, then what is between them as many times
 *   m  items of a module until their end
 */
#include "stores/redis/rdb.h"

#include "stores/redis/rdb_crc.h"
#include "stores/redis/rdb_string.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The longest unit: a module's item, 9 bytes of opcode and a string's head of 19. */
#define HOLD_LEN 64
#define MAX_DEPTH 4
/* Databases are configured by the server, 16 as a rule; a file must not make us count millions. */
#define MAX_DBS 65536
#define TEXT_MAX 4096
/* The newest versions of which every record is known here. */
#define KNOWN_REDIS 11
#define KNOWN_VALKEY 80
#define FIRST_WITH_CRC 5

const char *const bak_rdb_class_names[BAK_RDB_N_CLASSES] = {
	"string", "list", "set", "zset", "hash", "stream", "module",
};

/* --- the grammar --- */

struct grammar {
	const char *program;
	enum bak_rdb_class class;
	bool valkey, redis; /* types whose meaning depends on who wrote it */
};

static const struct grammar types[] = {
	[0] = {"s", BAK_RDB_STRING, true, true},
	[1] = {"(s)", BAK_RDB_LIST, true, true},
	[2] = {"(s)", BAK_RDB_SET, true, true},
	[3] = {"(sd)", BAK_RDB_ZSET, true, true},
	[4] = {"(ss)", BAK_RDB_HASH, true, true},
	[5] = {"(s8)", BAK_RDB_ZSET, true, true},
	[7] = {"lm", BAK_RDB_MODULE, true, true},
	[9] = {"s", BAK_RDB_HASH, true, true},  /* zipmap */
	[10] = {"s", BAK_RDB_LIST, true, true}, /* ziplist */
	[11] = {"s", BAK_RDB_SET, true, true},  /* intset */
	[12] = {"s", BAK_RDB_ZSET, true, true}, /* ziplist */
	[13] = {"s", BAK_RDB_HASH, true, true}, /* ziplist */
	[14] = {"(s)", BAK_RDB_LIST, true, true},
	/* Stream: nodes; length and last id; groups with their pending entries and consumers. */
	[15] = {"(ss)lll(sll(68l)(s8(6)))", BAK_RDB_STREAM, true, true},
	[16] = {"s", BAK_RDB_HASH, true, true}, /* listpack */
	[17] = {"s", BAK_RDB_ZSET, true, true}, /* listpack */
	[18] = {"(ls)", BAK_RDB_LIST, true, true},
	/* and first id, largest deleted id, entries added; entries read of a group */
	[19] = {"(ss)llllllll(slll(68l)(s8(6)))", BAK_RDB_STREAM, true, true},
	[20] = {"s", BAK_RDB_SET, true, true}, /* listpack */
	/* and when a consumer was active */
	[21] = {"(ss)llllllll(slll(68l)(s88(6)))", BAK_RDB_STREAM, true, true},
	[22] = {"(ss8)", BAK_RDB_HASH, true, false},  /* Valkey 9: fields that expire */
	[24] = {"8(lss)", BAK_RDB_HASH, false, true}, /* Redis 7.4: the same */
	[25] = {"8s", BAK_RDB_HASH, false, true},     /* the same as a listpack */
};
#define N_TYPES (sizeof types / sizeof *types)

enum opcode {
	OP_SLOT_IMPORT = 243, /* Valkey's; Redis has something else there */
	OP_SLOT_INFO = 244,
	OP_FUNCTION = 245,
	OP_MODULE_AUX = 247,
	OP_IDLE = 248,
	OP_FREQ = 249,
	OP_AUX = 250,
	OP_RESIZE = 251,
	OP_EXPIRE_MS = 252,
	OP_EXPIRE_S = 253,
	OP_SELECT = 254,
	OP_END = 255,
};
#define FIRST_OPCODE OP_SLOT_IMPORT

static const char *const opcodes[] = {
	[OP_SLOT_IMPORT - FIRST_OPCODE] = "s(ll)",
	[OP_SLOT_INFO - FIRST_OPCODE] = "lll",
	[OP_FUNCTION - FIRST_OPCODE] = "s",
	[OP_MODULE_AUX - FIRST_OPCODE] = "lllm",
	[OP_IDLE - FIRST_OPCODE] = "l",
	[OP_FREQ - FIRST_OPCODE] = "1",
	[OP_AUX - FIRST_OPCODE] = "nt",
	[OP_RESIZE - FIRST_OPCODE] = "ll",
	[OP_EXPIRE_MS - FIRST_OPCODE] = "8",
	[OP_EXPIRE_S - FIRST_OPCODE] = "4",
	[OP_SELECT - FIRST_OPCODE] = "l",
};

/* --- the parser --- */

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
	bool is_value;   /* the body is a key's value, or a function */
	const char *pc;  /* the letter that runs */
	uint64_t number; /* what `l` read last */
	uint8_t raw[16]; /* what raw bytes were read last */
	struct frame {
		const char *start;
		uint64_t left;
	} stack[MAX_DEPTH];
	size_t depth;

	uint64_t skip;        /* bytes of a string's body that are still to come */
	struct bak_buf *keep; /* where they go, NULL: nowhere */
	enum bak_rdb_encoding encoding;
	uint64_t plain_len; /* of LZF */
	struct bak_buf name, text, packed;

	uint64_t db;
	struct bak_rdb_db *current;
	bool expires;
	int64_t expires_ms;

	uint8_t hold[HOLD_LEN];
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
	bak_buf_release(&rdb->name);
	bak_buf_release(&rdb->text);
	bak_buf_release(&rdb->packed);
	free(rdb->stats.dbs);
	free(rdb);
}

const struct bak_rdb_stats *bak_rdb_stats(const struct bak_rdb *rdb)
{
	return &rdb->stats;
}

/* What a run works on: [p, end) of one feed, or of hold. */
struct window {
	const uint8_t *p, *end;
	uint64_t base; /* offset in the file of begin */
	const uint8_t *begin;
	const uint8_t *value; /* where the value's bytes begin that nobody was told of */
};

static size_t room(const struct window *w)
{
	return (size_t)(w->end - w->p);
}

static int damaged(const struct window *w, struct bak_error *err, const char *what)
{
	return bak_error_set(err, BAK_CORRUPT, "not a sound RDB file: %s at byte %" PRIu64, what,
			     w->base + (uint64_t)(w->p - w->begin));
}

/* What a step answers. */
enum { STEP_MORE = 0, STEP_DONE = 1 };

/* --- names --- */

/* A kept string is complete: packed becomes what it stands for. */
static int unpack(struct bak_rdb *rdb, const struct window *w, struct bak_error *err)
{
	struct bak_buf *to = rdb->keep;
	char digits[24];

	to->len = 0;
	if (rdb->encoding == BAK_RDB_INT) {
		int64_t value = bak_rdb_little_endian(rdb->packed.p, rdb->packed.len);
		unsigned unused = 64 - 8 * (unsigned)rdb->packed.len;

		value = (int64_t)((uint64_t)value << unused) >> unused;
		int n = snprintf(digits, sizeof digits, "%" PRId64, value);
		return bak_buf_append(to, digits, (size_t)n) < 0 ? bak_error_nomem(err) : 0;
	}
	if (rdb->encoding == BAK_RDB_PLAIN) {
		if (bak_buf_append(to, rdb->packed.p, rdb->packed.len) < 0)
			return bak_error_nomem(err);
		return 0;
	}
	/* LZF makes at most 264 bytes of 3. */
	if (rdb->plain_len > BAK_RDB_NAME_MAX || rdb->plain_len / 100 > rdb->packed.len)
		return damaged(w, err, "a packed name is too long");
	if (bak_buf_reserve(to, (size_t)rdb->plain_len) < 0)
		return bak_error_nomem(err);
	if (!bak_rdb_lzf_unpack(rdb->packed.p, rdb->packed.len, to->p, (size_t)rdb->plain_len))
		return damaged(w, err, "a packed name does not unpack");
	to->len = (size_t)rdb->plain_len;
	return 0;
}

/* --- running a program --- */

static int run_string(struct bak_rdb *rdb, struct window *w, struct bak_buf *keep, size_t limit,
		      struct bak_error *err)
{
	struct bak_rdb_string head;
	int used = bak_rdb_string_at(w->p, room(w), &head);

	if (used < 0)
		return damaged(w, err, "a string's length makes no sense");
	if (used == 0)
		return STEP_MORE;
	if (keep && head.body_len > limit)
		return damaged(w, err, "a name is too long");
	w->p += used;
	rdb->skip = head.body_len;
	rdb->keep = keep;
	rdb->encoding = head.encoding;
	rdb->plain_len = head.plain_len;
	rdb->packed.len = 0;
	rdb->pc++;
	if (keep && !rdb->skip && unpack(rdb, w, err) < 0)
		return -1;
	return STEP_DONE;
}

/* As much of a string's body as is there. */
static int run_skip(struct bak_rdb *rdb, struct window *w, struct bak_error *err)
{
	size_t n = room(w) < rdb->skip ? room(w) : (size_t)rdb->skip;

	if (!n)
		return STEP_MORE;
	if (rdb->keep && bak_buf_append(&rdb->packed, w->p, n) < 0)
		return bak_error_nomem(err);
	w->p += n;
	rdb->skip -= n;
	if (rdb->keep && !rdb->skip && unpack(rdb, w, err) < 0)
		return -1;
	return STEP_DONE;
}

static int run_raw(struct bak_rdb *rdb, struct window *w, size_t n)
{
	if (room(w) < n)
		return STEP_MORE;
	memcpy(rdb->raw, w->p, n);
	w->p += n;
	rdb->pc++;
	return STEP_DONE;
}

static int run_length(struct bak_rdb *rdb, struct window *w, struct bak_error *err)
{
	int used = bak_rdb_length_at(w->p, room(w), &rdb->number);

	if (used < 0)
		return damaged(w, err, "a length makes no sense");
	if (used == 0)
		return STEP_MORE;
	w->p += used;
	rdb->pc++;
	return STEP_DONE;
}

/* Behind the bracket that closes the one before pc. */
static const char *behind_loop(const char *pc)
{
	for (int depth = 1; depth; pc++)
		depth += *pc == '(' ? 1 : *pc == ')' ? -1 : 0;
	return pc;
}

static int run_loop(struct bak_rdb *rdb, struct window *w, struct bak_error *err)
{
	int rc = run_length(rdb, w, err);

	if (rc != STEP_DONE)
		return rc;
	if (!rdb->number) {
		rdb->pc = behind_loop(rdb->pc);
		return STEP_DONE;
	}
	assert(rdb->depth < MAX_DEPTH);
	rdb->stack[rdb->depth++] = (struct frame){.start = rdb->pc, .left = rdb->number};
	return STEP_DONE;
}

static int run_loop_end(struct bak_rdb *rdb)
{
	struct frame *frame = &rdb->stack[rdb->depth - 1];

	if (--frame->left) {
		rdb->pc = frame->start;
	} else {
		rdb->depth--;
		rdb->pc++;
	}
	return STEP_DONE;
}

static int run_old_double(struct bak_rdb *rdb, struct window *w)
{
	if (!room(w))
		return STEP_MORE;
	rdb->skip = *w->p < 253 ? *w->p : 0;
	rdb->keep = NULL;
	w->p++;
	rdb->pc++;
	return STEP_DONE;
}

/* One item: its opcode and what that has. */
static int run_module(struct bak_rdb *rdb, struct window *w, struct bak_error *err)
{
	struct bak_rdb_string head;
	uint64_t opcode = 0, value;
	int used = bak_rdb_length_at(w->p, room(w), &opcode), more = 0;

	if (used == 0)
		return STEP_MORE;
	const uint8_t *p = w->p + used;
	size_t n = used > 0 ? room(w) - (size_t)used : 0;
	rdb->keep = NULL;
	if (used < 0 || opcode > 5)
		return damaged(w, err, "a module's value makes no sense");
	if (opcode == 0)
		rdb->pc++;
	else if (opcode <= 2)
		more = bak_rdb_length_at(p, n, &value);
	else if (opcode <= 4)
		rdb->skip = opcode == 3 ? 4 : 8;
	else
		more = bak_rdb_string_at(p, n, &head);
	if (more < 0)
		return damaged(w, err, "a module's value makes no sense");
	if (more == 0 && (opcode == 1 || opcode == 2 || opcode == 5))
		return STEP_MORE;
	if (opcode == 5)
		rdb->skip = head.body_len;
	w->p = p + more;
	return STEP_DONE;
}

static int run_letter(struct bak_rdb *rdb, struct window *w, struct bak_error *err)
{
	if (rdb->skip)
		return run_skip(rdb, w, err);
	switch (*rdb->pc) {
	case 'l':
		return run_length(rdb, w, err);
	case 's':
		return run_string(rdb, w, NULL, 0, err);
	case 'n':
		return run_string(rdb, w, &rdb->name, BAK_RDB_NAME_MAX, err);
	case 't':
		return run_string(rdb, w, &rdb->text, TEXT_MAX, err);
	case '1':
	case '4':
	case '8':
		return run_raw(rdb, w, (size_t)(*rdb->pc - '0'));
	case '6':
		return run_raw(rdb, w, 16);
	case 'd':
		return run_old_double(rdb, w);
	case '(':
		return run_loop(rdb, w, err);
	case ')':
		return run_loop_end(rdb);
	case 'm':
		return run_module(rdb, w, err);
	}
	return bak_error_set(err, BAK_BUG, "rdb: a program holds '%c'", *rdb->pc);
}

/* --- records --- */

static void begin_program(struct bak_rdb *rdb, enum phase phase, const char *program)
{
	rdb->phase = phase;
	rdb->pc = program;
	rdb->depth = 0;
	rdb->skip = 0;
}

static int head_of(struct bak_rdb *rdb, struct window *w, struct bak_error *err)
{
	char digits[5] = "";
	char *end;

	if (room(w) < 9)
		return STEP_MORE;
	rdb->stats.valkey = memcmp(w->p, "VALKEY", 6) == 0;
	if (!rdb->stats.valkey && memcmp(w->p, "REDIS", 5) != 0)
		return bak_error_set(err, BAK_CORRUPT, "not an RDB file");
	size_t magic = rdb->stats.valkey ? 6 : 5;
	memcpy(digits, w->p + magic, 9 - magic);
	rdb->stats.version = (unsigned)strtoul(digits, &end, 10);
	if (*end || digits[0] < '0' || digits[0] > '9')
		return damaged(w, err, "no version");
	if (rdb->stats.version < FIRST_WITH_CRC)
		return bak_error_set(err, BAK_UNSUPPORTED,
				     "RDB version %u is too old: it has no checksum",
				     rdb->stats.version);
	w->p += 9;
	rdb->phase = PHASE_RECORD;
	return STEP_DONE;
}

static const struct grammar *grammar_of(const struct bak_rdb *rdb, uint8_t type)
{
	const struct grammar *g = type < N_TYPES ? &types[type] : NULL;

	if (!g || !g->program)
		return NULL;
	return (rdb->stats.valkey ? g->valkey : g->redis) ? g : NULL;
}

static bool may_hold_unknown(const struct bak_rdb *rdb)
{
	return rdb->stats.version > (rdb->stats.valkey ? KNOWN_VALKEY : KNOWN_REDIS);
}

static int find_db(struct bak_rdb *rdb, struct window *w, struct bak_error *err)
{
	struct bak_rdb_stats *stats = &rdb->stats;
	size_t i;

	if (rdb->current && rdb->current->number == rdb->db)
		return 0;
	for (i = 0; i < stats->n_dbs && stats->dbs[i].number != rdb->db; i++)
		;
	if (i == stats->n_dbs) {
		if (i == MAX_DBS)
			return damaged(w, err, "too many databases");
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

static int begin_record(struct bak_rdb *rdb, struct window *w, struct bak_error *err)
{
	if (!room(w))
		return STEP_MORE;
	rdb->type = *w->p;
	rdb->is_value = false;
	if (rdb->type == OP_END) {
		w->p++;
		rdb->phase = PHASE_TAIL;
		return STEP_DONE;
	}
	const char *program = rdb->type >= FIRST_OPCODE ? opcodes[rdb->type - FIRST_OPCODE] : NULL;
	if (rdb->type == OP_SLOT_IMPORT && !rdb->stats.valkey)
		program = NULL;
	if (program)
		begin_program(rdb, PHASE_BODY, program);
	else if (grammar_of(rdb, rdb->type))
		begin_program(rdb, PHASE_NAME, rdb->events.key ? "n" : "s");
	else if (may_hold_unknown(rdb))
		rdb->phase = PHASE_OPAQUE;
	else
		return damaged(w, err, "an unknown type of record");
	w->p++;
	rdb->stats.opaque = rdb->phase == PHASE_OPAQUE;
	return STEP_DONE;
}

static int tell_key(struct bak_rdb *rdb, enum bak_rdb_class class, struct bak_error *err)
{
	const struct bak_rdb_key key = {.db = rdb->db,
					.class = class,
					.type = rdb->type,
					.expires = rdb->expires,
					.expires_ms = rdb->expires_ms,
					.name = rdb->name.p,
					.name_len = class == BAK_RDB_FUNCTION ? 0 : rdb->name.len};

	rdb->is_value = true;
	return rdb->events.key ? rdb->events.key(rdb->events.ctx, &key, err) : 0;
}

/* The name is read: the value begins. */
static int begin_value(struct bak_rdb *rdb, struct window *w, struct bak_error *err)
{
	const struct grammar *g = grammar_of(rdb, rdb->type);

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
	return STEP_DONE;
}

static bool name_is(const struct bak_rdb *rdb, const char *name)
{
	return rdb->name.len == strlen(name) && memcmp(rdb->name.p, name, rdb->name.len) == 0;
}

static int note_aux(struct bak_rdb *rdb, struct bak_error *err)
{
	struct bak_rdb_stats *stats = &rdb->stats;

	if (bak_buf_append(&rdb->text, "", 1) < 0)
		return bak_error_nomem(err);
	const char *text = (const char *)rdb->text.p;
	if (name_is(rdb, "redis-ver") || name_is(rdb, "valkey-ver"))
		snprintf(stats->server_version, sizeof stats->server_version, "%s", text);
	else if (name_is(rdb, "ctime"))
		stats->created = strtoll(text, NULL, 10);
	else if (name_is(rdb, "used-mem"))
		stats->used_memory = strtoull(text, NULL, 10);
	return 0;
}

static int tell_value(struct bak_rdb *rdb, struct window *w, struct bak_error *err)
{
	const uint8_t *from = w->value;

	w->value = w->p;
	if (!rdb->is_value || from == w->p || !rdb->events.value)
		return 0;
	return rdb->events.value(rdb->events.ctx, from, (size_t)(w->p - from), err);
}

static int end_record(struct bak_rdb *rdb, struct window *w, struct bak_error *err)
{
	rdb->phase = PHASE_RECORD;
	if (rdb->is_value) {
		if (tell_value(rdb, w, err) < 0)
			return -1;
		rdb->is_value = false;
		if (rdb->events.key_end && rdb->events.key_end(rdb->events.ctx, err) < 0)
			return -1;
		return STEP_DONE;
	}
	switch (rdb->type) {
	case OP_AUX:
		return note_aux(rdb, err) < 0 ? -1 : STEP_DONE;
	case OP_SELECT:
		rdb->db = rdb->number;
		break;
	case OP_EXPIRE_MS:
	case OP_EXPIRE_S:
		rdb->expires = true;
		rdb->expires_ms = rdb->type == OP_EXPIRE_MS
					  ? bak_rdb_little_endian(rdb->raw, 8)
					  : bak_rdb_little_endian(rdb->raw, 4) * 1000;
		break;
	}
	return STEP_DONE;
}

static int run_body(struct bak_rdb *rdb, struct window *w, struct bak_error *err)
{
	if (rdb->type == OP_FUNCTION && !rdb->is_value) {
		rdb->stats.functions++;
		if (tell_key(rdb, BAK_RDB_FUNCTION, err) < 0)
			return -1;
		w->value = w->p;
	}
	if (rdb->skip || *rdb->pc)
		return run_letter(rdb, w, err);
	return end_record(rdb, w, err);
}

static int run_name(struct bak_rdb *rdb, struct window *w, struct bak_error *err)
{
	if (rdb->skip || *rdb->pc)
		return run_letter(rdb, w, err);
	return begin_value(rdb, w, err);
}

static int run_phase(struct bak_rdb *rdb, struct window *w, struct bak_error *err)
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
		if (room(w) < 8)
			return STEP_MORE;
		w->p += 8;
		rdb->phase = PHASE_OVER;
		return STEP_DONE;
	case PHASE_OVER:
		return room(w) ? damaged(w, err, "bytes behind the end") : STEP_MORE;
	case PHASE_OPAQUE:
		w->p = w->end;
		return STEP_MORE;
	}
	return bak_error_set(err, BAK_BUG, "rdb: no such phase");
}

static int run(struct bak_rdb *rdb, struct window *w, struct bak_error *err)
{
	int rc;

	w->value = w->p;
	while ((rc = run_phase(rdb, w, err)) == STEP_DONE)
		;
	return rc < 0 ? -1 : tell_value(rdb, w, err);
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

/* What waits is a unit's beginning: HOLD_LEN bytes hold more than any unit has, so that with the
 * new bytes either it comes to its end, or there were too few to fill hold. *out_used: new bytes
 * that are done with. */
static int feed_hold(struct bak_rdb *rdb, const uint8_t *p, size_t len, size_t *out_used,
		     struct bak_error *err)
{
	size_t before = rdb->n_hold, n = HOLD_LEN - before < len ? HOLD_LEN - before : len;
	struct window w = {.p = rdb->hold,
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
			struct window w = {
				.p = p, .begin = p, .end = p + len, .base = rdb->stats.bytes};

			if (run(rdb, &w, err) < 0)
				return -1;
			used = len;
			rdb->n_hold = room(&w);
			assert(rdb->n_hold < HOLD_LEN);
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
