/*
 * Restoring into a Redis or Valkey server. The file is read once as a whole before anything is
 * touched. Then the server copies it from us as from its master, all or nothing; where it cannot or
 * must not, load.c puts it there with commands.
 */
#include "stores/redis/redis.h"

#include <fnmatch.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LOOK_MS 100
/* A server answers while it loads, but not in the middle of a key. */
#define LOAD_TIMEOUT_MS 1800000

struct restore {
	struct bak_redis *redis;
	const struct bak_redis_info *info;
	struct bak_payload_reader *file;
	const struct bak_rdb_stats *stats;
	struct bak_redis_keyspace before;
	json_t *state;
	/* What the server was set to, NULL: untouched. */
	char *diskless, *tls;
	bool attached;
};

/* --- the file --- */

/* A snapshot of one server has one file. */
static int find_file(const struct bak_restore_from *from, struct bak_found *out,
		     struct bak_error *err)
{
	struct bak_tree tree = {bak_repo_source(from->repo), from->snapshot};

	if (from->snapshot->root.totals.entries != 1)
		return bak_error_set(err, BAK_UNSUPPORTED,
				     "the snapshot is a cluster's: restore it with --to and let "
				     "each node load its file");
	if (bak_folder_at(&tree, &from->snapshot->root.dir, 1, out, err) != 1 ||
	    out->entry.inode.type != BAK_TYPE_FILE)
		return bak_error_set(err, BAK_CORRUPT, "the snapshot should hold a single file");
	return 0;
}

struct expired {
	int64_t now_ms;
	uint64_t n;
};

static int count_expired(void *ctx, const struct bak_rdb_key *key, struct bak_error *err)
{
	struct expired *expired = ctx;

	(void)err;
	expired->n += key->expires && key->expires_ms < expired->now_ms;
	return 0;
}

/* Servers end themselves when a file turns out to be damaged: none gets one that was not read to
 * its end before. */
static int check_file(struct bak_redis *redis, struct bak_payload_reader *file, struct bak_rdb *rdb,
		      struct bak_error *err)
{
	const void *p;
	size_t len;
	int rc;

	while ((rc = bak_payload_give(file, &p, &len, err)) > 0) {
		if (bak_store_check_cancelled(redis->env, err) < 0 ||
		    bak_rdb_feed(rdb, p, len, err) < 0)
			return -1;
	}
	file->at = 0;
	return rc == 0 ? bak_rdb_end(rdb, err) : -1;
}

/* --- what to take --- */

static bool is_class(const char *word)
{
	for (size_t i = 0; i < BAK_RDB_N_CLASSES; i++) {
		if (strcmp(word, bak_rdb_class_names[i]) == 0)
			return true;
	}
	return false;
}

int bak_redis_choice_check(const struct bak_restore_from *from, struct bak_error *err)
{
	const char *word;

	for (size_t i = 0; (word = bak_restore_wish(from, "db", i)) != NULL; i++) {
		if (!*word || word[strspn(word, "0123456789")])
			return bak_error_set(err, BAK_USAGE, "--db %s: it is a number", word);
	}
	for (size_t i = 0; (word = bak_restore_wish(from, "key-type", i)) != NULL; i++) {
		if (!is_class(word))
			return bak_error_set(err, BAK_USAGE,
					     "--key-type %s: it is string, list, set, zset, hash, "
					     "stream or module",
					     word);
	}
	return 0;
}

static bool key_matches(const char *pattern, const struct bak_rdb_key *key)
{
	char *name = malloc(key->name_len + 1);
	bool matches;

	if (!name)
		return false;
	/* A pattern ends at a zero byte, a key does not: it is matched as some other byte. */
	for (size_t i = 0; i < key->name_len; i++) {
		char c = ((const char *)key->name)[i];

		name[i] = c ? c : '\1';
	}
	name[key->name_len] = '\0';
	matches = fnmatch(pattern, name, 0) == 0;
	free(name);
	return matches;
}

static bool db_matches(const char *number, const struct bak_rdb_key *key)
{
	return strtoull(number, NULL, 10) == key->db;
}

static bool type_matches(const char *type, const struct bak_rdb_key *key)
{
	return strcmp(type, bak_rdb_class_names[key->class]) == 0;
}

bool bak_redis_choice_takes(const struct bak_restore_from *from, const struct bak_rdb_key *key)
{
	static const struct {
		const char *wish;
		bool (*matches)(const char *word, const struct bak_rdb_key *key);
	} kinds[] = {{"db", db_matches}, {"key-type", type_matches}, {"key", key_matches}};

	for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
		const char *word = bak_restore_wish(from, kinds[k].wish, 0);
		bool asked = word, met = false;

		for (size_t i = 1; word && !met; i++) {
			met = kinds[k].matches(word, key);
			word = bak_restore_wish(from, kinds[k].wish, i);
		}
		if (asked && !met)
			return false;
	}
	return true;
}

/* --- can that server take it --- */

static int check_target(struct restore *r, struct bak_error *err)
{
	const struct bak_redis_info *info = r->info;
	uint64_t need = r->stats->used_memory ? r->stats->used_memory : r->stats->bytes;
	char why[400];

	if (info->cluster)
		return bak_error_set(err, BAK_UNSUPPORTED,
				     "the target is a cluster: restore with --to and let each node "
				     "load its file");
	if (info->replica)
		return bak_error_set(err, BAK_REFUSED,
				     "the target is a replica of %s: restore into that one",
				     info->master);
	if (!bak_redis_can_read(info, r->stats->valkey, r->stats->version, why, sizeof why))
		return bak_error_set(err, BAK_REFUSED, "the target cannot read this snapshot: %s",
				     why);
	if (info->max_memory && need > info->max_memory)
		return bak_error_set(err, BAK_NO_SPACE,
				     "the target's maxmemory is %" PRIu64
				     " bytes, and the data had %" PRIu64
				     " where it was saved: keys would be lost; raise maxmemory",
				     info->max_memory, need);
	return 0;
}

/* --- as its master --- */

static int set_up(struct restore *r, struct bak_error *err)
{
	struct bak_redis_conn *conn = r->redis->conn;
	BAK_AUTO(bak_free_ptr) char *tls = NULL;

	/* "swapdb": the old data stays until the new is there as a whole. */
	if (bak_redis_config_get(conn, "repl-diskless-load", &r->diskless, err) <= 0)
		return -1;
	if (bak_redis_config_set(conn, "repl-diskless-load", "swapdb", err) < 0) {
		free(r->diskless);
		r->diskless = NULL;
		return -1;
	}
	if (bak_redis_config_get(conn, "tls-replication", &tls, err) < 0)
		return -1;
	if (!tls || strcmp(tls, "yes") != 0)
		return 0;
	if (bak_redis_config_set(conn, "tls-replication", "no", err) < 0)
		return -1;
	r->tls = tls;
	tls = NULL;
	return 0;
}

/* Leaves the server as it was found, whatever happened. */
static void put_settings_back(struct restore *r)
{
	struct bak_error err = BAK_ERROR_INIT;

	if ((r->diskless || r->tls) && bak_redis_need(r->redis, &err) < 0) {
		bak_store_warn(r->redis->env,
			       "the server's repl-diskless-load is swapdb now and was %s: %s",
			       r->diskless ? r->diskless : "something else", err.msg);
		free(r->diskless);
		free(r->tls);
		r->diskless = r->tls = NULL;
	}
	if (r->diskless &&
	    bak_redis_config_set(r->redis->conn, "repl-diskless-load", r->diskless, &err) < 0)
		bak_store_warn(r->redis->env, "the server's repl-diskless-load was %s: %s",
			       r->diskless, err.msg);
	if (r->tls && bak_redis_config_set(r->redis->conn, "tls-replication", r->tls, &err) < 0)
		bak_store_warn(r->redis->env, "the server's tls-replication was %s: %s", r->tls,
			       err.msg);
	free(r->diskless);
	free(r->tls);
	r->diskless = r->tls = NULL;
}

static int attach(struct restore *r, const struct bak_redis_master *master, struct bak_error *err)
{
	BAK_AUTO(bak_redis_free_reply) redisReply *reply = NULL;
	char port[8];

	snprintf(port, sizeof port, "%u", bak_redis_master_port(master));
	if (bak_redis_do(r->redis->conn, &reply, err, "REPLICAOF", bak_redis_master_host(master),
			 port, NULL) < 0)
		return -1;
	r->attached = true;
	return 0;
}

/* A server refuses while it loads, and notices a moment later that we are gone. */
static int detach(struct restore *r, struct bak_error *err)
{
	uint64_t tries = r->redis->timeout_ms / LOOK_MS + 1;

	while (r->attached) {
		BAK_AUTO(bak_redis_free_reply) redisReply *reply = NULL;

		if (bak_redis_need(r->redis, err) == 0 &&
		    bak_redis_do(r->redis->conn, &reply, err, "REPLICAOF", "NO", "ONE", NULL) == 0)
			r->attached = false;
		else if (!strstr(err->msg, "LOADING") || --tries == 0)
			return bak_error_wrap(
				err, "REPLICAOF NO ONE: the server is still a replica of us");
		else
			poll(NULL, 0, LOOK_MS);
	}
	return 0;
}

static int serve(struct restore *r, struct bak_redis_master *master, struct bak_error *err)
{
	const void *p;
	size_t len;
	int rc;

	if (bak_redis_master_accept(master, r->file->inode->size, err) < 0)
		return -1;
	while ((rc = bak_payload_give(r->file, &p, &len, err)) > 0) {
		if (bak_redis_master_send(master, p, len, err) < 0)
			return -1;
	}
	return rc;
}

/* 1 it has loaded everything, 0 not yet, -1. */
static int is_loaded(struct restore *r, struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) char *text = NULL;
	char link[16], sync[16];

	if (bak_redis_info_text(r->redis->conn, "replication", &text, err) < 0)
		return -1;
	bak_redis_field(text, "master_link_status", link, sizeof link);
	bak_redis_field(text, "master_sync_in_progress", sync, sizeof sync);
	return strcmp(link, "up") == 0 && strcmp(sync, "0") == 0;
}

static int wait_loaded(struct restore *r, struct bak_redis_master *master, struct bak_error *err)
{
	int rc;

	bak_redis_set_timeout(r->redis->conn, LOAD_TIMEOUT_MS);
	while ((rc = is_loaded(r, err)) == 0) {
		if (bak_redis_master_tend(master, LOOK_MS, err) < 0) {
			rc = -1;
			break;
		}
	}
	bak_redis_set_timeout(r->redis->conn, r->redis->timeout_ms);
	return rc < 0 ? -1 : 0;
}

/* While it is our replica nothing expires there and nobody writes: it must be exact. */
static int compare(struct restore *r, struct bak_error *err)
{
	const struct bak_rdb_stats *stats = r->stats;
	struct bak_redis_keyspace now;
	int rc = 0;

	if (stats->opaque)
		return 0;
	if (bak_redis_keyspace(r->redis->conn, &now, err) < 0)
		return -1;
	for (size_t i = 0; i < stats->n_dbs && rc == 0; i++) {
		struct bak_redis_db db = bak_redis_keyspace_db(&now, stats->dbs[i].number);

		if (db.keys != stats->dbs[i].keys || db.expires != stats->dbs[i].expires)
			rc = bak_error_set(err, BAK_CORRUPT,
					   "validation: database %" PRIu64 " has %" PRIu64
					   " keys, %" PRIu64 " of them expire, and the snapshot "
					   "%" PRIu64 " and %" PRIu64,
					   db.number, db.keys, db.expires, stats->dbs[i].keys,
					   stats->dbs[i].expires);
	}
	if (rc == 0 && now.n != stats->n_dbs)
		rc = bak_error_set(err, BAK_CORRUPT,
				   "validation: %zu databases have keys, and %zu in the snapshot",
				   now.n, stats->n_dbs);
	bak_redis_keyspace_release(&now);
	return rc;
}

/* After a failure: whether the old data is still what is there. What expires may have gone. */
static bool is_unchanged(struct restore *r)
{
	struct bak_redis_keyspace now;
	struct bak_error ignored = BAK_ERROR_INIT;
	bool same;

	if (bak_redis_keyspace(r->redis->conn, &now, &ignored) < 0)
		return false;
	same = now.n <= r->before.n;
	for (size_t i = 0; i < r->before.n; i++) {
		struct bak_redis_db was = r->before.dbs[i];
		struct bak_redis_db is = bak_redis_keyspace_db(&now, was.number);

		same = same && is.keys - is.expires == was.keys - was.expires;
	}
	bak_redis_keyspace_release(&now);
	return same;
}

static int copy_from_us(struct restore *r, struct bak_redis_master *master, struct bak_error *err)
{
	if (attach(r, master, err) < 0 || serve(r, master, err) < 0 ||
	    wait_loaded(r, master, err) < 0 || compare(r, err) < 0)
		return -1;
	return detach(r, err);
}

/* 1 done, 0 that way is closed (err) and nothing was changed, -1. */
static int restore_as_master(struct restore *r, struct bak_error *err)
{
	struct bak_error second = BAK_ERROR_INIT;
	struct bak_redis_master *master = NULL;
	bool reached;
	int rc = bak_redis_master_new(r->redis, r->redis->conn, &master, err);

	if (rc == 0)
		rc = set_up(r, err);
	if (rc < 0) {
		put_settings_back(r);
		bak_redis_master_free(master);
		return 0;
	}
	rc = bak_store_no_return(r->redis->env, err);
	if (rc == 0)
		rc = copy_from_us(r, master, err);
	reached = r->file->at > 0;
	bak_redis_master_free(master);
	if (rc < 0 && detach(r, &second) < 0)
		bak_store_warn(r->redis->env, "%s", second.msg);
	put_settings_back(r);
	if (rc == 0)
		return 1;
	if (!r->attached && is_unchanged(r))
		json_object_set_new(r->state, "unchanged", json_true());
	r->file->at = 0;
	return reached || r->attached || err->code == BAK_CANCELLED ? -1 : 0;
}

/* --- on its disk --- */

static int wait_rewritten(struct bak_redis_conn *conn, struct bak_error *err)
{
	for (;;) {
		BAK_AUTO(bak_free_ptr) char *text = NULL;
		char busy[16], planned[16], status[16];

		if (bak_redis_info_text(conn, "persistence", &text, err) < 0)
			return -1;
		bak_redis_field(text, "aof_rewrite_in_progress", busy, sizeof busy);
		bak_redis_field(text, "aof_rewrite_scheduled", planned, sizeof planned);
		if (strcmp(busy, "0") != 0 || strcmp(planned, "0") != 0) {
			poll(NULL, 0, LOOK_MS);
			continue;
		}
		bak_redis_field(text, "aof_last_bgrewrite_status", status, sizeof status);
		if (strcmp(status, "ok") == 0)
			return 0;
		return bak_error_set(err, BAK_NO_SPACE,
				     "it could not rewrite its append-only file, see its log");
	}
}

/* What is in memory is restored; that it is on the server's disk is told when it is not. */
static void persist(struct restore *r)
{
	struct bak_error err = BAK_ERROR_INIT;
	int rc = r->info->aof ? wait_rewritten(r->redis->conn, &err)
			      : bak_redis_save_file(r->redis->conn, r->redis->env, &err);

	if (rc < 0)
		bak_store_warn(r->redis->env,
			       "restored in the server's memory, but not on its disk: %s", err.msg);
	else
		bak_store_log(r->redis->env, "the server has it on its disk");
}

/* --- the whole --- */

static void log_keys(struct bak_redis *redis, const char *when,
		     const struct bak_redis_keyspace *keyspace)
{
	uint64_t keys = 0;

	for (size_t i = 0; i < keyspace->n; i++)
		keys += keyspace->dbs[i].keys;
	bak_store_log(redis->env, "%s: %" PRIu64 " keys in %zu database%s", when, keys, keyspace->n,
		      keyspace->n == 1 ? "" : "s");
}

/* Why not as its master; NULL: nothing speaks against it. */
static const char *against_master(struct bak_redis *redis, const struct bak_redis_info *info)
{
	const char *want = bak_store_get(redis->conf, "restore_method");

	if (strcmp(want, "commands") == 0)
		return "restore_method is commands";
	if (strcmp(want, "replication") == 0)
		return NULL;
	if (bak_store_get_item(redis->conf, "sentinel", 0))
		return "sentinels would take the server for failed";
	if (info->n_modules)
		return "its modules do not let old data stay while new is loaded";
	return NULL;
}

static int restore_all(struct restore *r, struct bak_error *err)
{
	const char *why = against_master(r->redis, r->info);
	int rc = 0;

	if (why)
		bak_store_log(r->redis->env, "restored with commands: %s", why);
	else
		rc = restore_as_master(r, err);
	if (rc < 0)
		return -1;
	if (rc == 0 && !why) {
		if (strcmp(bak_store_get(r->redis->conf, "restore_method"), "replication") == 0)
			return -1;
		bak_store_log(r->redis->env, "restored with commands: %s", err->msg);
	}
	if (rc == 0)
		return bak_redis_load_all(r->redis, r->info, r->file, r->stats, r->state, err);
	return 0;
}

static int restore_file(struct restore *r, const struct bak_restore_from *from,
			struct bak_error *err)
{
	struct bak_redis_keyspace after;
	int rc;

	if (check_target(r, err) < 0)
		return -1;
	log_keys(r->redis, "before", &r->before);
	if (from->n_wishes)
		rc = bak_store_no_return(r->redis->env, err) < 0
			     ? -1
			     : bak_redis_load_some(r->redis, r->stats, r->file, from, err);
	else
		rc = restore_all(r, err);
	if (rc < 0)
		return -1;
	if (bak_redis_keyspace(r->redis->conn, &after, err) == 0) {
		log_keys(r->redis, "after", &after);
		bak_redis_keyspace_release(&after);
	}
	persist(r);
	return 0;
}

static int check_and_restore(struct restore *r, const struct bak_restore_from *from,
			     struct bak_rdb *rdb, struct expired *expired, struct bak_error *err)
{
	if (check_file(r->redis, r->file, rdb, err) < 0)
		return -1;
	r->stats = bak_rdb_stats(rdb);
	if (expired->n)
		bak_store_log(r->redis->env,
			      "%" PRIu64 " keys of the snapshot have expired since and will go",
			      expired->n);
	if (bak_redis_keyspace(r->redis->conn, &r->before, err) < 0)
		return -1;
	return restore_file(r, from, err);
}

int bak_redis_restore(struct bak_redis *redis, const struct bak_restore_from *from, json_t *state,
		      struct bak_error *err)
{
	struct expired expired = {.now_ms = (int64_t)time(NULL) * 1000};
	const struct bak_rdb_events events = {.ctx = &expired, .key = count_expired};
	BAK_AUTO(bak_found_release) struct bak_found found = BAK_FOUND_INIT;
	struct bak_payload_reader file = {.env = redis->env,
					  .source = bak_repo_source(from->repo),
					  .inode = &found.entry.inode};
	struct bak_redis_info info;
	struct restore r = {.redis = redis, .info = &info, .file = &file, .state = state};
	struct bak_rdb *rdb = NULL;
	int rc = bak_redis_choice_check(from, err);

	if (rc == 0)
		rc = find_file(from, &found, err);
	if (rc == 0)
		rc = bak_redis_need(redis, err);
	if (rc == 0)
		rc = bak_redis_info(redis->conn, &info, err);
	if (rc == 0)
		rc = bak_rdb_new(&events, &rdb, err);
	if (rc == 0)
		rc = check_and_restore(&r, from, rdb, &expired, err);
	bak_redis_keyspace_release(&r.before);
	bak_rdb_free(rdb);
	bak_payload_reader_release(&file);
	return rc;
}
