/*
 * Saving a Redis or Valkey server: by replication, which needs nothing but the socket and gives one
 * moment; else its own data file, where that is on this machine; else key by key.
 */
#include "stores/redis/restore.h"

#include "engine/objects/snapshot.h"
#include "stores/payload.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define READ_LEN (256u << 10)
/* Between two looks at how a save gets on. */
#define LOOK_MS 100

/* --- its own data file --- */

static bool is_local(const struct bak_redis_address *address)
{
	return address->path || strcmp(address->host, "localhost") == 0 ||
	       strncmp(address->host, "127.", 4) == 0 || strcmp(address->host, "::1") == 0;
}

/* Where it will be; NULL when that is not said or not for us to see. To free. */
static char *data_file(struct bak_redis_conn *conn)
{
	BAK_AUTO(bak_free_ptr) char *dir = NULL, *name = NULL;
	struct bak_error ignored = BAK_ERROR_INIT;
	char *path;

	if (bak_redis_config_get(conn, "dir", &dir, &ignored) <= 0 ||
	    bak_redis_config_get(conn, "dbfilename", &name, &ignored) <= 0 ||
	    access(dir, X_OK) < 0 || asprintf(&path, "%s/%s", dir, name) < 0)
		return NULL;
	return path;
}

static int wait_saved(struct bak_redis_conn *conn, const struct bak_store_env *env,
		      struct bak_error *err)
{
	for (;;) {
		BAK_AUTO(bak_free_ptr) char *text = NULL;
		char field[16];

		if (bak_store_check_cancelled(env, err) < 0 ||
		    bak_redis_info_text(conn, "persistence", &text, err) < 0)
			return -1;
		bak_redis_field(text, "rdb_bgsave_in_progress", field, sizeof field);
		if (strcmp(field, "0") != 0) {
			poll(NULL, 0, LOOK_MS);
			continue;
		}
		bak_redis_field(text, "rdb_last_bgsave_status", field, sizeof field);
		if (strcmp(field, "ok") == 0)
			return 0;
		return bak_error_set(err, BAK_NO_SPACE,
				     "BGSAVE failed: the server's log says why; often its disk is "
				     "full");
	}
}

int bak_redis_save_file(struct bak_redis_conn *conn, const struct bak_store_env *env,
			struct bak_error *err)
{
	BAK_AUTO(bak_redis_free_reply) redisReply *reply = NULL;

	/* SCHEDULE: not refused while the append-only file is being rewritten. One that is under
	 * way was begun before now, so it will not do. */
	while (bak_redis_do(conn, &reply, err, "BGSAVE", "SCHEDULE", NULL) < 0) {
		if (!strstr(err->msg, "in progress") || wait_saved(conn, env, err) < 0)
			return -1;
	}
	return wait_saved(conn, env, err);
}

/* 1 done, 0 it is not to be had (err), -1. */
static int save_by_file(struct bak_redis_conn *conn, struct bak_redis_saver *saver,
			struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) char *path = data_file(conn);
	BAK_AUTO(bak_free_ptr) uint8_t *buffer = malloc(READ_LEN);
	BAK_AUTO(bak_close_fd) int fd = -1;
	time_t begun = time(NULL);
	struct stat st;
	ssize_t n;

	if (!buffer)
		return bak_error_nomem(err);
	if (!path) {
		bak_error_set(err, BAK_REFUSED, "its data folder cannot be seen from here");
		return 0;
	}
	if (bak_redis_save_file(conn, saver->redis->env, err) < 0)
		return err->code == BAK_REFUSED ? 0 : -1;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	/* A file of that name may be another server's: of another machine, or container. */
	if (fd < 0 || fstat(fd, &st) < 0 || st.st_mtime < begun - 1) {
		bak_error_set(err, BAK_REFUSED, "%s is not the file that it wrote", path);
		return 0;
	}
	while ((n = read(fd, buffer, READ_LEN)) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return bak_error_sys(err, errno, "%s", path);
		if (bak_redis_saver_feed(saver, buffer, (size_t)n, err) < 0)
			return -1;
	}
	return 1;
}

/* --- which way --- */

enum method { METHOD_REPLICATION, METHOD_BGSAVE, METHOD_SCAN };
static const struct {
	const char *name, *consistency;
} methods[] = {
	[METHOD_REPLICATION] = {"replication", "one moment, of all databases"},
	[METHOD_BGSAVE] = {"bgsave", "one moment, of all databases"},
	[METHOD_SCAN] = {"scan",
			 "each key by itself: what is written meanwhile may be there or not"},
};

/* The way that is configured, or the best one that the server lets us go. Each that is refused has
 * not yet written anything. */
static int save_somehow(struct bak_redis_conn *conn, const struct bak_redis_address *address,
			const struct bak_redis_info *info, struct bak_redis_saver *saver,
			enum method *out, struct bak_error *err)
{
	const char *want = bak_store_get(saver->redis->conf, "method");
	bool any = strcmp(want, "auto") == 0;
	int rc = 0;

	if (any || strcmp(want, "replication") == 0) {
		*out = METHOD_REPLICATION;
		rc = bak_redis_sync(conn, saver, err);
		if (rc > 0)
			return 0;
		if (rc < 0 || !any)
			return bak_error_wrap(err, "replication");
		bak_store_log(saver->redis->env, "replication is refused: %s", err->msg);
	}
	if ((any && is_local(address)) || strcmp(want, "bgsave") == 0) {
		*out = METHOD_BGSAVE;
		rc = save_by_file(conn, saver, err);
		if (rc > 0)
			return 0;
		if (rc < 0 || !any)
			return bak_error_wrap(err, "BGSAVE");
		bak_store_log(saver->redis->env, "BGSAVE is no way: %s", err->msg);
	}
	*out = METHOD_SCAN;
	if (bak_redis_scan(conn, info, saver, err) < 0)
		return bak_error_wrap(err, "key by key");
	bak_store_warn(saver->redis->env, "saved key by key%s",
		       any ? ", as replication is refused: not one moment; grant the right to SYNC "
			     "for that"
			   : ", as the option method says: not one moment");
	return 0;
}

/* --- a server --- */

static json_t *server_json(const struct bak_redis_info *info)
{
	return json_pack("{s:s, s:s, s:s, s:s}", "product", bak_redis_product(info), "version",
			 info->version, "mode", info->cluster ? "cluster" : "standalone", "modules",
			 info->modules);
}

static int save_server(struct bak_redis *redis, struct bak_redis_conn *conn,
		       const struct bak_redis_address *address, const struct bak_redis_info *info,
		       const char *name, struct bak_writer *writer, json_t *facts,
		       struct bak_error *err)
{
	struct bak_redis_saver saver = {.redis = redis, .writer = writer};
	enum method method = METHOD_REPLICATION;
	int rc = bak_redis_saver_begin(&saver, name, err);

	if (rc == 0)
		rc = save_somehow(conn, address, info, &saver, &method, err);
	if (rc == 0)
		rc = bak_redis_saver_end(&saver, err);
	if (rc == 0)
		rc = bak_redis_saver_note(&saver, facts, name, err);
	if (rc == 0 &&
	    (json_object_set_new(facts, "method", json_string(methods[method].name)) < 0 ||
	     json_object_set_new(facts, "consistency", json_string(methods[method].consistency)) <
		     0))
		rc = bak_error_nomem(err);
	bak_redis_saver_release(&saver);
	return rc;
}

static int save_node(struct bak_redis *redis, const struct bak_redis_node *node,
		     struct bak_writer *writer, json_t *facts, struct bak_error *err)
{
	struct bak_redis_conn *conn = NULL;
	struct bak_redis_info info;
	bool moves = false;
	char name[48];
	int rc = bak_redis_connect(redis, &node->address, &conn, err);

	snprintf(name, sizeof name, "slots-%05u.rdb", node->first_slot);
	if (rc == 0)
		rc = bak_redis_info(conn, &info, err);
	if (rc == 0)
		rc = bak_redis_moves_slots(conn, &moves, err);
	if (moves)
		bak_store_warn(redis->env,
			       "slots move from one node to another: keys on the way may be in two "
			       "files or in none");
	if (rc == 0)
		rc = save_server(redis, conn, &node->address, &info, name, writer, facts, err);
	bak_redis_disconnect(conn);
	return rc;
}

static int save_cluster(struct bak_redis *redis, struct bak_writer *writer, json_t *facts,
			struct bak_error *err)
{
	struct bak_redis_nodes nodes;
	int rc = bak_redis_nodes(redis, &nodes, err);

	for (size_t i = 0; rc == 0 && i < nodes.n; i++)
		rc = save_node(redis, &nodes.nodes[i], writer, facts, err);
	bak_redis_nodes_release(&nodes);
	if (rc == 0 &&
	    json_object_set_new(facts, "consistency", json_string("one moment for each node")) < 0)
		rc = bak_error_nomem(err);
	return rc;
}

int bak_redis_backup(struct bak_redis *redis, struct bak_writer *writer, json_t *facts,
		     struct bak_error *err)
{
	struct bak_source_inode root;
	struct bak_redis_info info;
	int rc;

	bak_payload_inode(&root, BAK_TYPE_DIR, 0700);
	if (bak_redis_need(redis, err) < 0 || bak_redis_info(redis->conn, &info, err) < 0 ||
	    (!info.cluster && bak_redis_clean_up(redis, err) < 0) ||
	    bak_writer_root(writer, &root, err) < 0)
		return -1;
	if (info.cluster) {
		rc = save_cluster(redis, writer, facts, err);
	} else {
		rc = save_server(redis, redis->conn, &redis->address, &info, BAK_REDIS_FILE, writer,
				 facts, err);
		/* After SYNC it is no connection for commands any more. */
		bak_redis_disconnect(redis->conn);
		redis->conn = NULL;
	}
	if (rc == 0 && json_object_set_new(facts, "server", server_json(&info)) < 0)
		rc = bak_error_nomem(err);
	return rc;
}

/* --- a file made elsewhere --- */

static int copy_in(struct bak_redis_saver *saver, int fd, const char *path, struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) uint8_t *buffer = malloc(READ_LEN);
	ssize_t n;

	if (!buffer)
		return bak_error_nomem(err);
	if (bak_redis_saver_begin(saver, BAK_REDIS_FILE, err) < 0)
		return -1;
	while ((n = read(fd, buffer, READ_LEN)) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return bak_error_sys(err, errno, "%s", path);
		if (bak_redis_saver_feed(saver, buffer, (size_t)n, err) < 0)
			return -1;
	}
	return bak_redis_saver_end(saver, err);
}

/* A file of other databases would empty this store's. */
static int check_native(const struct bak_redis *redis, const struct bak_rdb_stats *stats,
			struct bak_error *err)
{
	bool native = stats->n_dbs == 0 || bak_store_get_bool(redis->conf, "accept_foreign");

	for (size_t i = 0; i < stats->n_dbs; i++)
		native |= bak_redis_wants_db(redis, stats->dbs[i].number);
	if (native)
		return 0;
	return bak_error_set(err, BAK_REFUSED,
			     "it has keys, but none in the databases of this store (options "
			     "databases, accept_foreign)");
}

int bak_redis_import(struct bak_redis *redis, const char *path, struct bak_writer *writer,
		     json_t *facts, struct bak_error *err)
{
	struct bak_redis_saver saver = {.redis = redis, .writer = writer, .whole = true};
	BAK_AUTO(bak_close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct bak_source_inode root;
	struct stat st;
	int rc;

	if (fd < 0 || fstat(fd, &st) < 0)
		return bak_error_sys(err, errno, "%s", path);
	if (!S_ISREG(st.st_mode))
		return bak_error_set(err, BAK_REFUSED, "%s is not a regular file", path);
	bak_payload_inode(&root, BAK_TYPE_DIR, 0700);
	rc = bak_writer_root(writer, &root, err);
	if (rc == 0)
		rc = copy_in(&saver, fd, path, err);
	if (rc == 0)
		rc = check_native(redis, bak_rdb_stats(saver.rdb), err);
	if (rc == 0)
		rc = bak_redis_saver_note(&saver, facts, BAK_REDIS_FILE, err);
	if (rc == 0)
		json_object_set_new(facts, "method", json_string("import"));
	bak_redis_saver_release(&saver);
	if (rc < 0 && (err->code == BAK_CORRUPT || err->code == BAK_UNSUPPORTED))
		err->code = BAK_REFUSED;
	return rc;
}
