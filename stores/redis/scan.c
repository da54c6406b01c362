/*
 * Every key asked for one by one, where a server lets nobody have more: SCAN, DUMP and when each
 * expires, put together as the RDB file that it would have written. Not one moment: keys that come,
 * go or move meanwhile may be there or not. A value passes through our memory as a whole.
 */
#include "stores/redis/redis.h"

#include "stores/redis/rdb_crc.h"
#include "stores/redis/rdb_grammar.h"

#include <endian.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* How many keys are asked for before the first answer is read. */
#define BATCH 64
#define SCAN_COUNT "1000"
/* RDB version and CRC behind a DUMP payload. */
#define FOOTER_LEN 10

struct scan {
	struct bak_redis_conn *conn;
	const struct bak_redis_info *info;
	struct bak_redis_saver *saver;
	uint64_t crc;
	unsigned version; /* of the payloads; 0 before the first one */
	bool absolute;    /* PEXPIRETIME is there: 7.0 */
	uint64_t db;
	bool selected; /* the database is named in the file */
	/* SCAN may name a key twice, and a file must not hold it twice. */
	struct bak_redis_keyset seen;
};

/* --- writing RDB --- */

static int put(struct scan *s, const void *p, size_t len, struct bak_error *err)
{
	s->crc = bak_rdb_crc(s->crc, p, len);
	return bak_redis_saver_feed(s->saver, p, len, err);
}

static int put_length(struct scan *s, uint64_t n, struct bak_error *err)
{
	uint8_t bytes[BAK_RDB_LENGTH_MAX];

	return put(s, bytes, bak_rdb_length_put(bytes, n), err);
}

static int put_string(struct scan *s, const void *p, size_t len, struct bak_error *err)
{
	return put_length(s, len, err) < 0 ? -1 : put(s, p, len, err);
}

static int put_aux(struct scan *s, const char *name, const char *value, struct bak_error *err)
{
	const uint8_t op = BAK_RDB_OP_AUX;

	if (put(s, &op, 1, err) < 0 || put_string(s, name, strlen(name), err) < 0)
		return -1;
	return put_string(s, value, strlen(value), err);
}

static int put_head(struct scan *s, unsigned version, struct bak_error *err)
{
	bool valkey = version > 79;
	char text[32];

	s->version = version;
	snprintf(text, sizeof text, valkey ? "VALKEY%03u" : "REDIS%04u", version);
	if (put(s, text, 9, err) < 0)
		return -1;
	if (put_aux(s, s->info->valkey ? "valkey-ver" : "redis-ver", s->info->version, err) < 0)
		return -1;
	snprintf(text, sizeof text, "%lld", (long long)time(NULL));
	if (put_aux(s, "ctime", text, err) < 0)
		return -1;
	snprintf(text, sizeof text, "%" PRIu64, s->info->used_memory);
	return put_aux(s, "used-mem", text, err);
}

/* Behind what DUMP gave stands the version that it is of: the file's. */
static int check_version(struct scan *s, const redisReply *dump, struct bak_error *err)
{
	const uint8_t *footer = (const uint8_t *)dump->str + dump->len - FOOTER_LEN;
	unsigned version = dump->len > FOOTER_LEN ? footer[0] | (unsigned)footer[1] << 8 : 0;

	if (version == 0 || (s->version && version != s->version))
		return bak_error_set(err, BAK_UNAVAILABLE, "DUMP: the answer makes no sense");
	return s->version ? 0 : put_head(s, version, err);
}

static int put_key(struct scan *s, const redisReply *key, const redisReply *dump, int64_t until_ms,
		   struct bak_error *err)
{
	const uint8_t select = BAK_RDB_OP_SELECT;

	if (check_version(s, dump, err) < 0)
		return -1;
	if (!s->selected) {
		if (put(s, &select, 1, err) < 0 || put_length(s, s->db, err) < 0)
			return -1;
		s->selected = true;
	}
	if (until_ms >= 0) {
		uint8_t bytes[9] = {BAK_RDB_OP_EXPIRE_MS};
		uint64_t little = htole64((uint64_t)until_ms);

		memcpy(bytes + 1, &little, 8);
		if (put(s, bytes, sizeof bytes, err) < 0)
			return -1;
	}
	/* The payload: its type, then the value. */
	if (put(s, dump->str, 1, err) < 0 || put_string(s, key->str, key->len, err) < 0)
		return -1;
	return put(s, dump->str + 1, dump->len - FOOTER_LEN - 1, err);
}

/* --- keys --- */

static int ask_for(struct scan *s, const redisReply *key, struct bak_error *err)
{
	const char *dump[] = {"DUMP", key->str};
	const char *until[] = {s->absolute ? "PEXPIRETIME" : "PTTL", key->str};
	const size_t dump_lens[] = {4, key->len}, until_lens[] = {strlen(until[0]), key->len};

	if (bak_redis_send(s->conn, 2, dump, dump_lens, err) < 0)
		return -1;
	return bak_redis_send(s->conn, 2, until, until_lens, err);
}

static int64_t wall_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int take_key(struct scan *s, const redisReply *key, struct bak_error *err)
{
	BAK_AUTO(bak_redis_free_reply) redisReply *dump = NULL;
	BAK_AUTO(bak_redis_free_reply) redisReply *until = NULL;

	if (bak_redis_reply(s->conn, &dump, err) < 0 || bak_redis_reply(s->conn, &until, err) < 0 ||
	    bak_redis_raise(s->conn, dump, err) < 0 || bak_redis_raise(s->conn, until, err) < 0)
		return -1;
	/* Gone meanwhile: NIL, or -2. */
	if (dump->type != REDIS_REPLY_STRING || until->type != REDIS_REPLY_INTEGER ||
	    until->integer == -2)
		return 0;
	int64_t ms = until->integer;
	if (ms >= 0 && !s->absolute)
		ms += wall_ms();
	return put_key(s, key, dump, ms, err);
}

static int take_batch(struct scan *s, redisReply **keys, size_t n, struct bak_error *err)
{
	redisReply *fresh[BATCH];
	size_t n_fresh = 0;

	for (size_t i = 0; i < n; i++) {
		int rc = keys[i]->type == REDIS_REPLY_STRING
				 ? bak_redis_keyset_add(&s->seen, s->db, keys[i]->str, keys[i]->len,
							err)
				 : 0;

		if (rc < 0 || (rc > 0 && ask_for(s, keys[i], err) < 0))
			return -1;
		if (rc > 0)
			fresh[n_fresh++] = keys[i];
	}
	for (size_t i = 0; i < n_fresh; i++) {
		if (take_key(s, fresh[i], err) < 0)
			return -1;
	}
	return 0;
}

static int take_page(struct scan *s, const redisReply *keys, struct bak_error *err)
{
	for (size_t at = 0; at < keys->elements; at += BATCH) {
		size_t n = keys->elements - at < BATCH ? keys->elements - at : BATCH;

		if (take_batch(s, keys->element + at, n, err) < 0)
			return -1;
	}
	return 0;
}

bool bak_redis_is_page(const redisReply *reply)
{
	return reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 &&
	       reply->element[0]->type == REDIS_REPLY_STRING &&
	       reply->element[1]->type == REDIS_REPLY_ARRAY;
}

static int scan_db(struct scan *s, uint64_t db, struct bak_error *err)
{
	BAK_AUTO(bak_redis_free_reply) redisReply *selected = NULL;
	char number[24], cursor[24] = "0";

	s->db = db;
	s->selected = false;
	snprintf(number, sizeof number, "%" PRIu64, db);
	if (bak_redis_do(s->conn, &selected, err, "SELECT", number, NULL) < 0)
		return -1;
	do {
		BAK_AUTO(bak_redis_free_reply) redisReply *page = NULL;

		if (bak_redis_do(s->conn, &page, err, "SCAN", cursor, "COUNT", SCAN_COUNT, NULL) <
		    0)
			return -1;
		if (!bak_redis_is_page(page))
			return bak_error_set(err, BAK_UNAVAILABLE,
					     "SCAN: the answer makes no sense");
		snprintf(cursor, sizeof cursor, "%s", page->element[0]->str);
		if (take_page(s, page->element[1], err) < 0)
			return -1;
	} while (strcmp(cursor, "0") != 0);
	return 0;
}

/* Libraries stand in a payload as they stand in a file. */
static int put_functions(struct scan *s, struct bak_error *err)
{
	BAK_AUTO(bak_redis_free_reply) redisReply *dump = NULL;
	static const char *words[] = {"FUNCTION", "DUMP"};
	const size_t lens[] = {8, 4};

	if (!s->absolute)
		return 0;
	if (bak_redis_send(s->conn, 2, words, lens, err) < 0 ||
	    bak_redis_reply(s->conn, &dump, err) < 0)
		return -1;
	if (dump->type == REDIS_REPLY_ERROR) {
		bak_store_warn(s->saver->redis->env, "functions are not saved: %.200s", dump->str);
		return 0;
	}
	/* Without any there is only the footer, and that has the version as well. */
	if (dump->type != REDIS_REPLY_STRING || dump->len < FOOTER_LEN)
		return bak_error_set(err, BAK_UNAVAILABLE,
				     "FUNCTION DUMP: the answer makes no sense");
	if (dump->len == FOOTER_LEN)
		return 0;
	if (check_version(s, dump, err) < 0)
		return -1;
	return put(s, dump->str, dump->len - FOOTER_LEN, err);
}

static int put_end(struct scan *s, struct bak_error *err)
{
	const uint8_t end = BAK_RDB_OP_END;

	/* Nothing was there to say which version: any server reads the oldest. */
	if ((!s->version && put_head(s, 9, err) < 0) || put(s, &end, 1, err) < 0)
		return -1;
	uint64_t little = htole64(s->crc);
	return bak_redis_saver_feed(s->saver, &little, sizeof little, err);
}

static int scan_all(struct scan *s, struct bak_error *err)
{
	struct bak_redis_keyspace dbs;
	int rc = bak_redis_keyspace(s->conn, &dbs, err);

	if (rc == 0)
		rc = put_functions(s, err);
	for (size_t i = 0; rc == 0 && i < dbs.n; i++) {
		if (s->saver->whole || bak_redis_wants_db(s->saver->redis, dbs.dbs[i].number))
			rc = scan_db(s, dbs.dbs[i].number, err);
	}
	bak_redis_keyspace_release(&dbs);
	return rc == 0 ? put_end(s, err) : -1;
}

int bak_redis_scan(struct bak_redis_conn *conn, const struct bak_redis_info *info,
		   struct bak_redis_saver *saver, struct bak_error *err)
{
	struct scan *s = calloc(1, sizeof *s);
	int rc;

	if (!s)
		return bak_error_nomem(err);
	s->conn = conn;
	s->info = info;
	s->saver = saver;
	s->absolute = info->major >= 7;
	rc = bak_redis_keyset_init(&s->seen, err);
	if (rc == 0)
		rc = scan_all(s, err);
	bak_redis_keyset_release(&s->seen);
	free(s);
	return rc;
}
