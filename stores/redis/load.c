/*
 * Restoring with commands, where a server cannot copy from us: each value is cut out of the file and
 * put there with RESTORE. Everything goes into databases that nobody uses, which then change places
 * with those in use in one transaction; parts go straight to where they belong. A value passes
 * through our memory as a whole.
 */
#include "stores/redis/redis.h"

#include "stores/redis/rdb_crc.h"
#include "stores/redis/rdb_grammar.h"

#include <endian.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Answers are read at the latest when so many are owed, or so many bytes were sent. */
#define OWED_MAX 128
#define SENT_MAX (4u << 20)
#define DATABASES_USUAL 16

struct stage {
	uint64_t live, spare;
};

struct loader {
	struct bak_redis *redis;
	struct bak_redis_conn *conn;
	const struct bak_restore_from *from; /* NULL: everything */
	unsigned version;                    /* RDB version of the payloads */
	int64_t now_ms;
	/* The key under way. */
	bool wanted, is_function, expires;
	uint64_t db;
	int64_t until_ms;
	struct bak_buf name, payload;
	struct bak_buf functions; /* all libraries, as FUNCTION RESTORE takes them */
	/* Where databases go, by their number in the file; n 0: to themselves. */
	struct stage *stages;
	size_t n_stages;
	uint64_t selected;
	unsigned owed;
	size_t sent;
	uint64_t loaded, expired;
};

static void loader_release(struct loader *l)
{
	bak_buf_release(&l->name);
	bak_buf_release(&l->payload);
	bak_buf_release(&l->functions);
	free(l->stages);
}

/* --- sending --- */

static int drain(struct loader *l, struct bak_error *err)
{
	for (; l->owed; l->owed--) {
		BAK_AUTO(bak_redis_free_reply) redisReply *reply = NULL;

		if (bak_redis_reply(l->conn, &reply, err) < 0)
			return -1;
		if (bak_redis_raise(l->conn, reply, err) < 0)
			return bak_error_wrap(err, "RESTORE");
	}
	l->sent = 0;
	return 0;
}

static int select_db(struct loader *l, uint64_t db, struct bak_error *err)
{
	BAK_AUTO(bak_redis_free_reply) redisReply *reply = NULL;
	char number[24];

	if (l->selected == db)
		return 0;
	if (drain(l, err) < 0)
		return -1;
	snprintf(number, sizeof number, "%" PRIu64, db);
	if (bak_redis_do(l->conn, &reply, err, "SELECT", number, NULL) < 0)
		return -1;
	l->selected = db;
	return 0;
}

static uint64_t place_of(const struct loader *l, uint64_t db)
{
	for (size_t i = 0; i < l->n_stages; i++) {
		if (l->stages[i].live == db)
			return l->stages[i].spare;
	}
	return db;
}

/* Version and sum behind what DUMP would have given. */
static int seal(struct bak_buf *payload, unsigned version, struct bak_error *err)
{
	const uint8_t bytes[2] = {(uint8_t)version, (uint8_t)(version >> 8)};
	uint64_t sum;

	if (bak_buf_append(payload, bytes, 2) < 0)
		return bak_error_nomem(err);
	sum = htole64(bak_rdb_crc(0, payload->p, payload->len));
	return bak_buf_append(payload, &sum, 8) < 0 ? bak_error_nomem(err) : 0;
}

static int send_key(struct loader *l, struct bak_error *err)
{
	char until[24];
	const char *words[6] = {"RESTORE", (const char *)l->name.p,
				until,     (const char *)l->payload.p,
				"REPLACE", "ABSTTL"};

	snprintf(until, sizeof until, "%" PRId64, l->expires ? l->until_ms : 0);
	const size_t lens[6] = {7, l->name.len, strlen(until), l->payload.len, 7, 6};
	if (!l->name.p)
		words[1] = "";
	if (select_db(l, place_of(l, l->db), err) < 0 ||
	    bak_redis_send(l->conn, 6, words, lens, err) < 0)
		return -1;
	l->owed++;
	l->loaded++;
	l->sent += l->payload.len;
	return l->owed == OWED_MAX || l->sent > SENT_MAX ? drain(l, err) : 0;
}

/* --- what the file holds --- */

static int on_key(void *ctx, const struct bak_rdb_key *key, struct bak_error *err)
{
	struct loader *l = ctx;

	l->is_function = key->class == BAK_RDB_FUNCTION;
	l->expires = key->expires;
	l->until_ms = key->expires_ms;
	l->db = key->db;
	if (l->is_function) {
		const uint8_t op = BAK_RDB_OP_FUNCTION;

		l->wanted = !l->from;
		if (l->wanted && bak_buf_append(&l->functions, &op, 1) < 0)
			return bak_error_nomem(err);
		return 0;
	}
	l->wanted = !l->from || bak_redis_choice_takes(l->from, key);
	if (l->wanted && key->expires && key->expires_ms <= l->now_ms) {
		l->wanted = false;
		l->expired++;
	}
	if (!l->wanted)
		return 0;
	l->name.len = l->payload.len = 0;
	if (bak_buf_append(&l->name, key->name, key->name_len) < 0 ||
	    bak_buf_append(&l->payload, &key->type, 1) < 0)
		return bak_error_nomem(err);
	return 0;
}

static int on_value(void *ctx, const void *p, size_t len, struct bak_error *err)
{
	struct loader *l = ctx;

	if (!l->wanted)
		return 0;
	return bak_buf_append(l->is_function ? &l->functions : &l->payload, p, len) < 0
		       ? bak_error_nomem(err)
		       : 0;
}

static int on_key_end(void *ctx, struct bak_error *err)
{
	struct loader *l = ctx;

	if (!l->wanted || l->is_function)
		return 0;
	if (seal(&l->payload, l->version, err) < 0)
		return -1;
	return send_key(l, err);
}

static int load(struct loader *l, struct bak_payload_reader *file, bool cancellable,
		struct bak_error *err)
{
	const struct bak_rdb_events events = {
		.ctx = l, .key = on_key, .value = on_value, .key_end = on_key_end};
	const struct bak_store_env *env = l->redis->env;
	struct bak_rdb *rdb;
	const void *p;
	size_t len;
	int rc;

	if (bak_rdb_new(&events, &rdb, err) < 0)
		return -1;
	while ((rc = bak_payload_give(file, &p, &len, err)) > 0) {
		if ((cancellable && bak_store_check_cancelled(env, err) < 0) ||
		    bak_rdb_feed(rdb, p, len, err) < 0) {
			rc = -1;
			break;
		}
	}
	if (rc == 0)
		rc = bak_rdb_end(rdb, err);
	if (rc == 0)
		rc = drain(l, err);
	bak_rdb_free(rdb);
	return rc;
}

static struct loader loader_of(struct bak_redis *redis, unsigned version,
			       const struct bak_restore_from *from)
{
	return (struct loader){.redis = redis,
			       .conn = redis->conn,
			       .from = from,
			       .version = version,
			       .now_ms = (int64_t)time(NULL) * 1000,
			       .selected = UINT64_MAX};
}

/* --- parts, in place --- */

int bak_redis_load_some(struct bak_redis *redis, const struct bak_rdb_stats *stats,
			struct bak_payload_reader *file, const struct bak_restore_from *from,
			struct bak_error *err)
{
	struct loader l = loader_of(redis, stats->version, from);
	int rc;

	if (stats->opaque)
		return bak_error_set(err, BAK_UNSUPPORTED,
				     "RDB version %u is only known as a whole: parts cannot be "
				     "taken out",
				     stats->version);
	rc = load(&l, file, false, err);
	if (rc == 0 && !l.loaded)
		rc = bak_error_set(err, BAK_NOT_FOUND, "the snapshot has no such key%s",
				   l.expired ? " that has not expired" : "");
	if (rc == 0)
		bak_store_log(redis->env,
			      "%" PRIu64 " keys restored; %" PRIu64 " had expired already",
			      l.loaded, l.expired);
	loader_release(&l);
	return rc;
}

/* --- everything, beside the old and then in its place --- */

static uint64_t count_databases(struct bak_redis_conn *conn)
{
	BAK_AUTO(bak_free_ptr) char *text = NULL;
	struct bak_error ignored = BAK_ERROR_INIT;

	if (bak_redis_config_get(conn, "databases", &text, &ignored) <= 0)
		return DATABASES_USUAL;
	return strtoull(text, NULL, 10);
}

static bool is_in_file(const struct bak_rdb_stats *stats, uint64_t db)
{
	for (size_t i = 0; i < stats->n_dbs; i++) {
		if (stats->dbs[i].number == db)
			return true;
	}
	return false;
}

/* From the last one down: those that people use are at the beginning. */
static int choose_stages(struct loader *l, const struct bak_rdb_stats *stats,
			 const struct bak_redis_keyspace *live, struct bak_error *err)
{
	uint64_t spare = count_databases(l->conn);

	l->stages = calloc(stats->n_dbs + 1, sizeof *l->stages);
	if (!l->stages)
		return bak_error_nomem(err);
	for (size_t i = 0; i < stats->n_dbs; i++) {
		do {
			if (spare == 0)
				return bak_error_set(err, BAK_REFUSED,
						     "no unused database is left to restore into "
						     "(the server's setting databases)");
			spare--;
		} while (is_in_file(stats, spare) || bak_redis_keyspace_db(live, spare).keys);
		l->stages[l->n_stages++] = (struct stage){stats->dbs[i].number, spare};
	}
	return 0;
}

static int clear_stages(struct loader *l, struct bak_error *err)
{
	for (size_t i = 0; i < l->n_stages; i++) {
		BAK_AUTO(bak_redis_free_reply) redisReply *reply = NULL;

		if (select_db(l, l->stages[i].spare, err) < 0 ||
		    bak_redis_do(l->conn, &reply, err, "FLUSHDB", "ASYNC", NULL) < 0)
			return -1;
	}
	return 0;
}

/* Keys that expire may have gone by now; the others must all be there. */
static int compare(struct loader *l, const struct bak_rdb_stats *stats, struct bak_error *err)
{
	struct bak_redis_keyspace now;
	int rc = 0;

	if (bak_redis_keyspace(l->conn, &now, err) < 0)
		return -1;
	for (size_t i = 0; i < stats->n_dbs && rc == 0 && !stats->fields_expire; i++) {
		struct bak_redis_db db = bak_redis_keyspace_db(&now, l->stages[i].spare);
		uint64_t want = stats->dbs[i].keys - stats->dbs[i].expires;

		if (db.keys - db.expires != want)
			rc = bak_error_set(err, BAK_CORRUPT,
					   "validation: of %" PRIu64 " keys of database %" PRIu64
					   " that do not expire, %" PRIu64 " came through",
					   want, stats->dbs[i].number, db.keys - db.expires);
	}
	bak_redis_keyspace_release(&now);
	return rc;
}

static int queue(struct loader *l, struct bak_error *err, int argc, const char **words,
		 const size_t *lens)
{
	BAK_AUTO(bak_redis_free_reply) redisReply *reply = NULL;

	return bak_redis_argv(l->conn, argc, words, lens, &reply, err);
}

static int queue_exchange(struct loader *l, struct bak_error *err)
{
	for (size_t i = 0; i < l->n_stages; i++) {
		char live[24], spare[24];
		const char *words[] = {"SWAPDB", live, spare};

		snprintf(live, sizeof live, "%" PRIu64, l->stages[i].live);
		snprintf(spare, sizeof spare, "%" PRIu64, l->stages[i].spare);
		const size_t lens[] = {6, strlen(live), strlen(spare)};
		if (queue(l, err, 3, words, lens) < 0)
			return -1;
	}
	return 0;
}

/* Databases that the snapshot does not have are empty after it. */
static int queue_emptying(struct loader *l, const struct bak_rdb_stats *stats,
			  const struct bak_redis_keyspace *live, struct bak_error *err)
{
	for (size_t i = 0; i < live->n; i++) {
		char number[24];
		const char *select[] = {"SELECT", number}, *flush[] = {"FLUSHDB", "ASYNC"};

		if (is_in_file(stats, live->dbs[i].number))
			continue;
		snprintf(number, sizeof number, "%" PRIu64, live->dbs[i].number);
		const size_t select_lens[] = {6, strlen(number)}, flush_lens[] = {7, 5};
		if (queue(l, err, 2, select, select_lens) < 0 ||
		    queue(l, err, 2, flush, flush_lens) < 0)
			return -1;
	}
	return 0;
}

static int queue_functions(struct loader *l, const struct bak_redis_info *info,
			   struct bak_error *err)
{
	const char *flush[] = {"FUNCTION", "FLUSH"};
	const size_t flush_lens[] = {8, 5};

	if (info->major < 7)
		return 0;
	if (!l->functions.len)
		return queue(l, err, 2, flush, flush_lens);
	if (seal(&l->functions, l->version, err) < 0)
		return -1;
	const char *words[] = {"FUNCTION", "RESTORE", (const char *)l->functions.p, "FLUSH"};
	const size_t lens[] = {8, 7, l->functions.len, 5};
	return queue(l, err, 4, words, lens);
}

static int discard(struct loader *l)
{
	const char *words[] = {"DISCARD"};
	const size_t lens[] = {7};
	struct bak_error ignored = BAK_ERROR_INIT;

	queue(l, &ignored, 1, words, lens);
	return -1;
}

static int run_queue(struct loader *l, json_t *state, struct bak_error *err)
{
	BAK_AUTO(bak_redis_free_reply) redisReply *reply = NULL;

	if (bak_redis_do(l->conn, &reply, err, "EXEC", NULL) < 0) {
		/* Without an answer nobody knows whether it was done. */
		if (err->code != BAK_REFUSED)
			json_object_del(state, "unchanged");
		return -1;
	}
	l->selected = UINT64_MAX;
	if (reply->type != REDIS_REPLY_ARRAY)
		return bak_error_set(err, BAK_UNAVAILABLE, "EXEC: the answer makes no sense");
	for (size_t i = 0; i < reply->elements; i++) {
		if (bak_redis_raise(l->conn, reply->element[i], err) < 0) {
			/* The others of the transaction were done. */
			json_object_del(state, "unchanged");
			return bak_error_wrap(err, "the exchange");
		}
	}
	return 0;
}

/* All that others can see happens in one transaction. */
static int exchange(struct loader *l, const struct bak_redis_info *info,
		    const struct bak_rdb_stats *stats, const struct bak_redis_keyspace *live,
		    json_t *state, struct bak_error *err)
{
	BAK_AUTO(bak_redis_free_reply) redisReply *reply = NULL;

	if (bak_redis_do(l->conn, &reply, err, "MULTI", NULL) < 0)
		return -1;
	if (queue_exchange(l, err) < 0 || queue_emptying(l, stats, live, err) < 0 ||
	    queue_functions(l, info, err) < 0)
		return discard(l);
	return run_queue(l, state, err);
}

static int load_beside(struct loader *l, const struct bak_redis_info *info,
		       struct bak_payload_reader *file, const struct bak_rdb_stats *stats,
		       json_t *state, struct bak_error *err)
{
	struct bak_redis_keyspace live;
	int rc = bak_redis_keyspace(l->conn, &live, err);

	if (rc == 0)
		rc = choose_stages(l, stats, &live, err);
	if (rc == 0)
		rc = load(l, file, true, err);
	if (rc == 0)
		rc = compare(l, stats, err);
	if (rc == 0)
		rc = bak_store_no_return(l->redis->env, err);
	if (rc == 0)
		rc = exchange(l, info, stats, &live, state, err);
	bak_redis_keyspace_release(&live);
	return rc;
}

int bak_redis_load_all(struct bak_redis *redis, const struct bak_redis_info *info,
		       struct bak_payload_reader *file, const struct bak_rdb_stats *stats,
		       json_t *state, struct bak_error *err)
{
	struct loader l = loader_of(redis, stats->version, NULL);
	struct bak_error second = BAK_ERROR_INIT;
	int rc;

	if (stats->opaque)
		return bak_error_set(err, BAK_UNSUPPORTED,
				     "RDB version %u can only be restored by replication: it has "
				     "records that are not known here",
				     stats->version);
	json_object_set_new(state, "unchanged", json_true());
	rc = load_beside(&l, info, file, stats, state, err);
	/* Answers that are still owed would be taken for those to come. */
	if (rc < 0 && l.owed) {
		bak_redis_disconnect(redis->conn);
		redis->conn = NULL;
	}
	l.owed = 0;
	l.selected = UINT64_MAX;
	bool there = bak_redis_need(redis, &second) == 0;
	l.conn = redis->conn;
	if (!there || clear_stages(&l, &second) < 0)
		bak_store_warn(redis->env, "databases used on the way could not be emptied: %s",
			       second.msg);
	loader_release(&l);
	if (rc == 0)
		json_object_del(state, "unchanged");
	return rc;
}
