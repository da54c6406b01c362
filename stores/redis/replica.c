/*
 * Restoring as the target's master: it becomes our replica for a moment, copies the file, all or
 * nothing, is counted, and is its own master again.
 */
#include "stores/redis/restore.h"

#include <inttypes.h>
#include <poll.h>
#include <string.h>

#define LOOK_MS 100
/* A server answers while it loads, but not in the middle of a key. */
#define LOAD_TIMEOUT_MS 1800000

struct replica {
	struct bak_redis_restore *restore;
	struct bak_payload_reader *file;
	struct bak_redis_settings settings; /* before */
	bool attached;
};

/* Leaves the server as it was found, whatever happened. */
static void put_settings_back(struct replica *r)
{
	struct bak_redis *redis = r->restore->redis;
	struct bak_error err = BAK_ERROR_INIT;

	if (r->settings.diskless &&
	    (bak_redis_need(redis, &err) < 0 ||
	     bak_redis_settings_restore(redis->conn, &r->settings, &err) < 0))
		bak_store_warn(redis->env,
			       "the server's settings were not put back (the next backup or "
			       "restore does that): %s",
			       err.msg);
	bak_redis_settings_release(&r->settings);
}

static int attach(struct replica *r, const struct bak_redis_master *master, struct bak_error *err)
{
	BAK_AUTO(bak_redis_free_reply) redisReply *reply = NULL;
	char port[8];

	snprintf(port, sizeof port, "%u", bak_redis_master_port(master));
	if (bak_redis_do(r->restore->redis->conn, &reply, err, "REPLICAOF",
			 bak_redis_master_host(master), port, NULL) < 0)
		return -1;
	r->attached = true;
	return 0;
}

/* A server refuses while it loads, and notices a moment later that we are gone. */
static int detach(struct replica *r, struct bak_error *err)
{
	uint64_t tries = r->restore->redis->timeout_ms / LOOK_MS + 1;

	while (r->attached) {
		BAK_AUTO(bak_redis_free_reply) redisReply *reply = NULL;

		if (bak_redis_need(r->restore->redis, err) == 0 &&
		    bak_redis_do(r->restore->redis->conn, &reply, err, "REPLICAOF", "NO", "ONE",
				 NULL) == 0)
			r->attached = false;
		else if (!strstr(err->msg, "LOADING") || --tries == 0)
			return bak_error_wrap(
				err, "REPLICAOF NO ONE: the server is still a replica of us, until "
				     "the next backup or restore");
		else
			poll(NULL, 0, LOOK_MS);
	}
	return 0;
}

static int serve(struct replica *r, struct bak_redis_master *master, struct bak_error *err)
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
static int is_loaded(struct replica *r, struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) char *text = NULL;
	char link[16], sync[16];

	if (bak_redis_info_text(r->restore->redis->conn, "replication", &text, err) < 0)
		return -1;
	bak_redis_field(text, "master_link_status", link, sizeof link);
	bak_redis_field(text, "master_sync_in_progress", sync, sizeof sync);
	return strcmp(link, "up") == 0 && strcmp(sync, "0") == 0;
}

static int wait_loaded(struct replica *r, struct bak_redis_master *master, struct bak_error *err)
{
	int rc;

	bak_redis_set_timeout(r->restore->redis->conn, LOAD_TIMEOUT_MS);
	while ((rc = is_loaded(r, err)) == 0) {
		if (bak_redis_master_tend(master, LOOK_MS, err) < 0) {
			rc = -1;
			break;
		}
	}
	bak_redis_set_timeout(r->restore->redis->conn, r->restore->redis->timeout_ms);
	return rc < 0 ? -1 : 0;
}

/* While it is our replica nothing expires there and nobody writes: it must be exact. */
static int compare(struct replica *r, struct bak_error *err)
{
	const struct bak_rdb_stats *stats = &r->restore->dump->stats;
	struct bak_redis_keyspace now;
	int rc = 0;

	if (stats->opaque)
		return 0;
	if (bak_redis_keyspace(r->restore->redis->conn, &now, err) < 0)
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
static bool is_unchanged(struct replica *r)
{
	struct bak_redis_keyspace now;
	struct bak_error ignored = BAK_ERROR_INIT;
	struct bak_redis *redis = r->restore->redis;
	bool same;

	if (bak_redis_need(redis, &ignored) < 0 ||
	    bak_redis_keyspace(redis->conn, &now, &ignored) < 0)
		return false;
	same = now.n <= r->restore->before.n;
	for (size_t i = 0; i < r->restore->before.n; i++) {
		struct bak_redis_db was = r->restore->before.dbs[i];
		struct bak_redis_db is = bak_redis_keyspace_db(&now, was.number);

		same = same && is.keys - is.expires == was.keys - was.expires;
	}
	bak_redis_keyspace_release(&now);
	return same;
}

static int copy_from_us(struct replica *r, struct bak_redis_master *master, struct bak_error *err)
{
	if (attach(r, master, err) < 0 || serve(r, master, err) < 0 ||
	    wait_loaded(r, master, err) < 0 || compare(r, err) < 0)
		return -1;
	return detach(r, err);
}

int bak_redis_replicate(struct bak_redis_restore *restore, struct bak_error *err)
{
	struct replica r = {.restore = restore, .file = &restore->dump->files[0].reader};
	struct bak_redis *redis = restore->redis;
	struct bak_error second = BAK_ERROR_INIT;
	struct bak_redis_master *master = NULL;
	int rc = bak_redis_master_new(redis, redis->conn, &master, err);

	if (rc == 0)
		rc = bak_redis_settings_change(redis->conn, &r.settings, err);
	if (rc < 0) {
		put_settings_back(&r);
		bak_redis_master_free(master);
		return 0;
	}
	rc = bak_store_no_return(redis->env, err);
	if (rc == 0)
		rc = copy_from_us(&r, master, err);
	bool reached = r.file->at > 0;
	bak_redis_master_free(master);
	if (rc < 0 && detach(&r, &second) < 0)
		bak_store_warn(redis->env, "%s", second.msg);
	/* The settings bear the mark of a replica of ours. */
	if (!r.attached)
		put_settings_back(&r);
	bak_redis_settings_release(&r.settings);
	if (rc == 0)
		return 1;
	if (!r.attached && is_unchanged(&r))
		json_object_set_new(restore->state, "unchanged", json_true());
	r.file->at = 0;
	return reached || r.attached || err->code == BAK_CANCELLED ? -1 : 0;
}
