/*
 * Restoring into a Redis or Valkey server or cluster. All files are read as a whole before anything
 * is touched. Then the server copies the file from us as from its master, all or nothing; where it
 * cannot or must not, or is a cluster, keys are put there with commands.
 */
#include "stores/redis/restore.h"

#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#define LOOK_MS 100
/* So often a failed rewrite may be found to be planned again. */
#define REWRITE_LOOKS 30

/* --- can that server take it --- */

int bak_redis_check_room(const struct bak_redis_dump *dump, uint64_t max_memory,
			 struct bak_error *err)
{
	const struct bak_rdb_stats *stats = &dump->stats;
	/* What the server had in all says nothing of some of its databases. */
	uint64_t need = stats->used_memory && !dump->some ? stats->used_memory : stats->bytes;

	if (!max_memory || need <= max_memory)
		return 0;
	return bak_error_set(err, BAK_NO_SPACE,
			     "the target's maxmemory is %" PRIu64
			     " bytes, and the data had %" PRIu64
			     " where it was saved: keys would be lost; raise maxmemory",
			     max_memory, need);
}

int bak_redis_check_files(const struct bak_redis_dump *dump, const struct bak_redis_info *info,
			  struct bak_error *err)
{
	char why[400];

	for (size_t i = 0; i < dump->n; i++) {
		const struct bak_rdb_stats *stats = bak_redis_file_stats(&dump->files[i]);

		if (!bak_redis_can_read(info, stats->valkey, stats->version, why, sizeof why))
			return bak_error_set(err, BAK_REFUSED,
					     "the target cannot read this snapshot: %s", why);
	}
	return 0;
}

static int check_target(struct bak_redis_restore *r, struct bak_error *err)
{
	if (r->info->replica)
		return bak_error_set(err, BAK_REFUSED,
				     "the target is a replica of %s: restore into that one",
				     r->info->master);
	if (bak_redis_check_files(r->dump, r->info, err) < 0)
		return -1;
	return bak_redis_check_room(r->dump, r->info->max_memory, err);
}

/* --- on its disk --- */

enum rewrite { REWRITE_DONE, REWRITE_UNDER_WAY, REWRITE_FAILED, REWRITE_TO_COME };

static int look_at_rewrite(struct bak_redis_conn *conn, enum rewrite *out, struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) char *text = NULL;
	char busy[16], planned[16], last[16], written[16];

	if (bak_redis_info_text(conn, "persistence", &text, err) < 0)
		return -1;
	bak_redis_field(text, "aof_rewrite_in_progress", busy, sizeof busy);
	bak_redis_field(text, "aof_rewrite_scheduled", planned, sizeof planned);
	bak_redis_field(text, "aof_last_bgrewrite_status", last, sizeof last);
	bak_redis_field(text, "aof_last_write_status", written, sizeof written);
	if (strcmp(busy, "0") != 0)
		*out = REWRITE_UNDER_WAY;
	else if (strcmp(planned, "0") != 0)
		*out = strcmp(last, "ok") == 0 ? REWRITE_UNDER_WAY : REWRITE_TO_COME;
	else
		*out = strcmp(last, "ok") == 0 && strcmp(written, "err") != 0 ? REWRITE_DONE
									      : REWRITE_FAILED;
	return 0;
}

/* One that failed is tried again, but not for ever. */
static int wait_rewritten(struct bak_redis_conn *conn, struct bak_error *err)
{
	for (int failed = 0; failed < REWRITE_LOOKS;) {
		enum rewrite now;

		if (look_at_rewrite(conn, &now, err) < 0)
			return -1;
		if (now == REWRITE_DONE)
			return 0;
		failed = now == REWRITE_FAILED ? REWRITE_LOOKS : failed + (now == REWRITE_TO_COME);
		poll(NULL, 0, LOOK_MS);
	}
	return bak_error_set(err, BAK_NO_SPACE,
			     "it could not rewrite its append-only file, see its log");
}

/* What is in memory is restored; that it is on the server's disk is told when it is not. */
void bak_redis_persist(const struct bak_redis *redis, struct bak_redis_conn *conn, bool aof)
{
	struct bak_error err = BAK_ERROR_INIT;
	int rc = aof ? wait_rewritten(conn, &err) : bak_redis_save_file(conn, redis->env, &err);

	if (rc < 0)
		bak_store_warn(redis->env,
			       "restored in the server's memory, but not on its disk: %s", err.msg);
	else
		bak_store_log(redis->env, "the server has it on its disk");
}

/* --- the whole --- */

void bak_redis_log_keys(const struct bak_redis *redis, const char *when,
			const struct bak_redis_keyspace *keyspace)
{
	uint64_t keys = 0;

	for (size_t i = 0; i < keyspace->n; i++)
		keys += keyspace->dbs[i].keys;
	bak_store_log(redis->env, "%s: %" PRIu64 " keys in %zu database%s", when, keys, keyspace->n,
		      keyspace->n == 1 ? "" : "s");
}

/* Why not as its master; NULL: nothing speaks against it. */
static const char *against_master(const struct bak_redis_restore *r)
{
	const char *want = bak_store_get(r->redis->conf, "restore_method");

	if (strcmp(want, "commands") == 0)
		return "restore_method is commands";
	if (r->dump->some)
		return "other databases stay as they are";
	if (r->dump->n != 1)
		return "it is the snapshot of a cluster";
	if (strcmp(want, "replication") == 0)
		return NULL;
	if (bak_store_get_item(r->redis->conf, "sentinel", 0))
		return "sentinels would take the server for failed";
	if (r->info->n_modules)
		return "its modules do not let old data stay while new is loaded";
	return NULL;
}

static int restore_all(struct bak_redis_restore *r, struct bak_error *err)
{
	bool only_so = strcmp(bak_store_get(r->redis->conf, "restore_method"), "replication") == 0;
	const char *why = against_master(r);

	if (!why) {
		int rc = bak_redis_replicate(r, err);

		if (rc != 0 || only_so)
			return rc > 0 ? 0 : -1;
		why = err->msg;
	} else if (only_so) {
		return bak_error_set(err, BAK_REFUSED,
				     "%s, so it cannot be restored by replication (option "
				     "restore_method)",
				     why);
	}
	bak_store_log(r->redis->env, "restored with commands: %s", why);
	return bak_redis_need(r->redis, err) < 0 ? -1 : bak_redis_exchange(r, err);
}

static int restore_some(struct bak_redis_restore *r, struct bak_error *err)
{
	struct bak_redis_link link = {.conn = r->redis->conn};
	struct bak_redis_loader loader = {.restore = r, .links = &link, .n_links = 1};
	int rc = bak_redis_load_some(r, &loader, err);

	if (rc < 0 && link.owed) {
		bak_redis_disconnect(r->redis->conn);
		r->redis->conn = NULL;
	}
	bak_redis_loader_release(&loader);
	return rc;
}

static int restore_server(struct bak_redis_restore *r, struct bak_error *err)
{
	struct bak_redis_keyspace after;
	int rc;

	if (check_target(r, err) < 0 || bak_redis_keyspace(r->redis->conn, &r->before, err) < 0)
		return -1;
	bak_redis_log_keys(r->redis, "before", &r->before);
	rc = r->dump->part ? restore_some(r, err) : restore_all(r, err);
	if (rc < 0)
		return -1;
	if (bak_redis_keyspace(r->redis->conn, &after, err) == 0) {
		bak_redis_log_keys(r->redis, "after", &after);
		bak_redis_keyspace_release(&after);
	}
	bak_redis_persist(r->redis, r->redis->conn, r->info->aof);
	return 0;
}

static int find_target(struct bak_redis *redis, struct bak_redis_info *out, struct bak_error *err)
{
	if (bak_redis_need(redis, err) < 0 || bak_redis_info(redis->conn, out, err) < 0)
		return -1;
	if (out->cluster)
		return 0;
	if (bak_redis_clean_up(redis, err) < 0)
		return -1;
	return bak_redis_info(redis->conn, out, err);
}

int bak_redis_restore(struct bak_redis *redis, const struct bak_restore_from *from, json_t *state,
		      struct bak_error *err)
{
	struct bak_redis_info info;
	struct bak_redis_dump dump;
	struct bak_redis_restore r = {
		.redis = redis, .from = from, .info = &info, .dump = &dump, .state = state};
	int rc;

	if (bak_redis_choice_check(from, err) < 0 ||
	    bak_redis_dump_open(redis, from, &dump, err) < 0)
		return -1;
	rc = find_target(redis, &info, err);
	if (rc == 0 && dump.expired)
		bak_store_log(redis->env,
			      "%" PRIu64 " keys of the snapshot have expired since and will go",
			      dump.expired);
	if (rc == 0)
		rc = info.cluster ? bak_redis_spread(&r, err) : restore_server(&r, err);
	bak_redis_keyspace_release(&r.before);
	bak_redis_dump_release(&dump);
	return rc;
}
