/*
 * Restoring a server with commands: everything goes into databases that nobody uses, which then
 * change places with those in use in one transaction.
 */
#include "stores/redis/restore.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define DATABASES_USUAL 16

struct exchange {
	struct bak_redis_restore *r;
	struct bak_redis_link link;
	struct bak_redis_loader loader;
	size_t n;
	struct stage {
		uint64_t live, spare;
	} * stages;
	bool marked; /* each has one key more */
};

/* --- where to --- */

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
static int choose_stages(struct exchange *x, struct bak_error *err)
{
	const struct bak_rdb_stats *stats = &x->r->dump->stats;
	uint64_t spare = count_databases(x->link.conn);

	x->stages = calloc(stats->n_dbs + 1, sizeof *x->stages);
	if (!x->stages)
		return bak_error_nomem(err);
	for (size_t i = 0; i < stats->n_dbs; i++) {
		do {
			if (spare == 0)
				return bak_error_set(err, BAK_REFUSED,
						     "no unused database is left to restore into "
						     "(the server's setting databases)");
			spare--;
		} while (is_in_file(stats, spare) ||
			 bak_redis_keyspace_db(&x->r->before, spare).keys);
		x->stages[x->n++] = (struct stage){stats->dbs[i].number, spare};
	}
	return 0;
}

static uint64_t place(void *ctx, uint64_t db)
{
	const struct exchange *x = ctx;

	for (size_t i = 0; i < x->n; i++) {
		if (x->stages[i].live == db)
			return x->stages[i].spare;
	}
	return db;
}

/* Without the rights for it, it goes without marks. */
static int mark_stages(struct exchange *x, struct bak_error *err)
{
	struct bak_error second = BAK_ERROR_INIT;
	char name[64];

	if (bak_redis_mark_name(x->link.conn, name, &second) < 0)
		goto without;
	for (size_t i = 0; i < x->n; i++) {
		BAK_AUTO(bak_redis_free_reply) redisReply *reply = NULL;

		if (bak_redis_link_select(&x->link, x->stages[i].spare, err) < 0)
			return -1;
		if (bak_redis_do(x->link.conn, &reply, &second, "SET", BAK_REDIS_MARK, name, NULL) <
		    0)
			goto without;
		x->marked = true;
	}
	return 0;
without:
	if (second.code != BAK_REFUSED || x->marked)
		return bak_error_set(err, second.code, "%s", second.msg);
	bak_store_log(x->r->redis->env, "what is on the way bears no mark: %s", second.msg);
	return 0;
}

/* Keys that expire may have gone by now; the others must all be there. */
static int compare(struct exchange *x, struct bak_error *err)
{
	const struct bak_rdb_stats *stats = &x->r->dump->stats;
	struct bak_redis_keyspace now;
	int rc = 0;

	if (bak_redis_keyspace(x->link.conn, &now, err) < 0)
		return -1;
	for (size_t i = 0; i < stats->n_dbs && rc == 0 && !stats->fields_expire; i++) {
		struct bak_redis_db db = bak_redis_keyspace_db(&now, x->stages[i].spare);
		uint64_t want = stats->dbs[i].keys - stats->dbs[i].expires;
		uint64_t have = db.keys - db.expires - (x->marked && db.keys > db.expires);

		if (have != want)
			rc = bak_error_set(err, BAK_CORRUPT,
					   "validation: of %" PRIu64 " keys of database %" PRIu64
					   " that do not expire, %" PRIu64 " came through",
					   want, stats->dbs[i].number, have);
	}
	bak_redis_keyspace_release(&now);
	return rc;
}

/* --- the transaction --- */

static int queue_words(struct exchange *x, struct bak_error *err, const char *a, const char *b,
		       const char *c)
{
	BAK_AUTO(bak_redis_free_reply) redisReply *reply = NULL;

	return bak_redis_do(x->link.conn, &reply, err, a, b, c, NULL);
}

static int queue_flush(struct exchange *x, const char *number, struct bak_error *err)
{
	if (queue_words(x, err, "SELECT", number, NULL) < 0)
		return -1;
	return queue_words(x, err, "FLUSHDB", "ASYNC", NULL);
}

/* The new takes the old's place, and the old goes. */
static int queue_stage(struct exchange *x, const struct stage *stage, struct bak_error *err)
{
	char live[24], spare[24];

	snprintf(live, sizeof live, "%" PRIu64, stage->live);
	snprintf(spare, sizeof spare, "%" PRIu64, stage->spare);
	if (x->marked && (queue_words(x, err, "SELECT", spare, NULL) < 0 ||
			  queue_words(x, err, "DEL", BAK_REDIS_MARK, NULL) < 0))
		return -1;
	if (queue_words(x, err, "SWAPDB", live, spare) < 0)
		return -1;
	return queue_flush(x, spare, err);
}

/* Databases that the snapshot is about and does not have are empty after it. */
static int queue_emptying(struct exchange *x, struct bak_error *err)
{
	const struct bak_redis_keyspace *live = &x->r->before;

	for (size_t i = 0; i < live->n; i++) {
		uint64_t db = live->dbs[i].number;
		char number[24];

		snprintf(number, sizeof number, "%" PRIu64, db);
		if (!is_in_file(&x->r->dump->stats, db) &&
		    bak_redis_dump_is_about(x->r->dump, db) && queue_flush(x, number, err) < 0)
			return -1;
	}
	return 0;
}

static int queue_functions(struct exchange *x, struct bak_error *err)
{
	BAK_AUTO(bak_redis_free_reply) redisReply *reply = NULL;
	const char *words[4];
	size_t lens[4];
	int n = bak_redis_function_words(&x->loader, words, lens);

	return n ? bak_redis_argv(x->link.conn, n, words, lens, &reply, err) : 0;
}

static int run_queue(struct exchange *x, struct bak_error *err)
{
	BAK_AUTO(bak_redis_free_reply) redisReply *reply = NULL;

	if (bak_redis_do(x->link.conn, &reply, err, "EXEC", NULL) < 0) {
		/* Without an answer nobody knows whether it was done. */
		if (err->code != BAK_REFUSED)
			json_object_del(x->r->state, "unchanged");
		return -1;
	}
	if (reply->type != REDIS_REPLY_ARRAY)
		return bak_error_set(err, BAK_UNAVAILABLE, "EXEC: the answer makes no sense");
	for (size_t i = 0; i < reply->elements; i++) {
		if (bak_redis_raise(x->link.conn, reply->element[i], err) < 0) {
			/* The others of the transaction were done. */
			json_object_del(x->r->state, "unchanged");
			return bak_error_wrap(err, "the exchange");
		}
	}
	return 0;
}

/* All that others can see happens in one transaction. */
static int run_transaction(struct exchange *x, struct bak_error *err)
{
	struct bak_error ignored = BAK_ERROR_INIT;
	int rc = 0;

	if (queue_words(x, err, "MULTI", NULL, NULL) < 0)
		return -1;
	x->link.selected = false;
	for (size_t i = 0; i < x->n && rc == 0; i++)
		rc = queue_stage(x, &x->stages[i], err);
	if (rc == 0 && queue_emptying(x, err) == 0 && queue_functions(x, err) == 0)
		return run_queue(x, err);
	queue_words(x, &ignored, "DISCARD", NULL, NULL);
	return -1;
}

/* --- the whole --- */

static int load_and_exchange(struct exchange *x, struct bak_error *err)
{
	if (choose_stages(x, err) < 0 || mark_stages(x, err) < 0 ||
	    bak_redis_load(&x->loader, err) < 0 || compare(x, err) < 0 ||
	    bak_store_no_return(x->r->redis->env, err) < 0)
		return -1;
	return run_transaction(x, err);
}

static int clear_stages(struct exchange *x, struct bak_error *err)
{
	struct bak_redis *redis = x->r->redis;

	/* Answers that are still owed would be taken for those to come. */
	if (x->link.owed) {
		bak_redis_disconnect(redis->conn);
		redis->conn = NULL;
	}
	if (bak_redis_need(redis, err) < 0)
		return -1;
	x->link = (struct bak_redis_link){.conn = redis->conn};
	for (size_t i = 0; i < x->n; i++) {
		BAK_AUTO(bak_redis_free_reply) redisReply *reply = NULL;

		if (bak_redis_link_select(&x->link, x->stages[i].spare, err) < 0 ||
		    bak_redis_do(redis->conn, &reply, err, "FLUSHDB", "ASYNC", NULL) < 0)
			return -1;
	}
	return 0;
}

int bak_redis_exchange(struct bak_redis_restore *r, struct bak_error *err)
{
	struct exchange x = {.r = r, .link = {.conn = r->redis->conn}};
	struct bak_error second = BAK_ERROR_INIT;

	x.loader = (struct bak_redis_loader){.restore = r,
					     .links = &x.link,
					     .n_links = 1,
					     .place = place,
					     .ctx = &x,
					     .cancellable = true};
	json_object_set_new(r->state, "unchanged", json_true());
	int rc = load_and_exchange(&x, err);
	if (rc == 0)
		json_object_del(r->state, "unchanged");
	else if (clear_stages(&x, &second) < 0)
		bak_store_warn(r->redis->env, "databases used on the way could not be emptied: %s",
			       second.msg);
	bak_redis_loader_release(&x.loader);
	free(x.stages);
	return rc;
}
