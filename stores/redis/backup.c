/*
 * Saving a Redis or Valkey server: by replication, which needs nothing but the socket and gives one
 * moment; else its own data file, where that is on this machine; else key by key.
 */
#include "stores/redis/redis.h"

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
#define EOF_MARK_LEN 40
/* Between two looks at how a save gets on. */
#define LOOK_MS 100

/* --- one file of the snapshot --- */

int bak_redis_saver_feed(struct bak_redis_saver *saver, const void *p, size_t len,
			 struct bak_error *err)
{
	if (bak_store_check_cancelled(saver->redis->env, err) < 0 ||
	    bak_rdb_feed(saver->rdb, p, len, err) < 0)
		return -1;
	return bak_writer_data(saver->writer, p, len, err);
}

static int begin_file(struct bak_redis_saver *saver, const char *name, struct bak_error *err)
{
	struct bak_source_inode inode;

	bak_payload_inode(&inode, BAK_TYPE_FILE, 0600);
	if (bak_rdb_new(NULL, &saver->rdb, err) < 0)
		return -1;
	return bak_writer_file(saver->writer, name, &inode, BAK_HINT_NONE, err);
}

static int end_file(struct bak_redis_saver *saver, struct bak_error *err)
{
	if (bak_rdb_end(saver->rdb, err) < 0)
		return -1;
	return bak_writer_file_end(saver->writer, NULL, err);
}

/* --- by replication --- */

struct stream {
	uint64_t len; /* of the file, if it was said */
	bool marked;  /* its end is marked instead */
	char mark[EOF_MARK_LEN + 1];
};

/* A request whose refusal does not matter. */
static int ask(struct bak_redis_conn *conn, const char *name, const char *value,
	       struct bak_error *err)
{
	BAK_AUTO(bak_redis_free_reply) redisReply *reply = NULL;
	const char *words[] = {"REPLCONF", name, value};
	const size_t lens[] = {8, strlen(name), strlen(value)};

	if (bak_redis_send(conn, 3, words, lens, err) < 0)
		return -1;
	return bak_redis_reply(conn, &reply, err);
}

static int read_line(struct bak_redis_conn *conn, char *out, size_t len, struct bak_error *err)
{
	for (size_t n = 0; n < len; n++) {
		size_t got;

		if (bak_redis_read(conn, out + n, 1, &got, err) < 0)
			return -1;
		if (got == 0)
			return bak_error_set(err, BAK_UNAVAILABLE,
					     "the server closed the connection instead of sending "
					     "its data (its log says why)");
		if (out[n] == '\n') {
			out[n > 0 && out[n - 1] == '\r' ? n - 1 : n] = '\0';
			return 0;
		}
	}
	return bak_error_set(err, BAK_UNAVAILABLE, "SYNC: the answer makes no sense");
}

/* "$<length>" or "$EOF:<mark>"; empty lines before it say that the server is at it. 1, 0 refused
 * and err says why, -1. */
static int read_stream_head(struct bak_redis_conn *conn, struct stream *out, struct bak_error *err)
{
	char line[512], *end;

	do {
		if (read_line(conn, line, sizeof line, err) < 0)
			return -1;
	} while (!*line);
	if (*line == '-') {
		redisReply reply = {
			.type = REDIS_REPLY_ERROR, .str = line + 1, .len = strlen(line + 1)};

		bak_redis_raise(conn, &reply, err);
		return err->code == BAK_UNAVAILABLE ? -1 : 0;
	}
	if (strncmp(line, "$EOF:", 5) == 0 && strlen(line + 5) == EOF_MARK_LEN) {
		out->marked = true;
		memcpy(out->mark, line + 5, EOF_MARK_LEN + 1);
		return 1;
	}
	errno = 0;
	out->len = strtoull(line + 1, &end, 10);
	if (*line != '$' || line[1] < '0' || line[1] > '9' || *end || errno)
		return bak_error_set(err, BAK_UNAVAILABLE, "SYNC: the answer makes no sense");
	return 1;
}

/* 1 the stream begins, 0 the server will not (err), -1. */
static int sync_begin(struct bak_redis_conn *conn, struct stream *out, struct bak_error *err)
{
	static const char *sync = "SYNC";
	const size_t len = 4;

	*out = (struct stream){.len = 0};
	/* Valkey 9.1 chooses the format by the version that a replica says to have: without it, it
	 * leaves out when fields of hashes expire. */
	if (ask(conn, "capa", "eof", err) < 0 || ask(conn, "rdb-only", "1", err) < 0 ||
	    ask(conn, "version", "255.255.255", err) < 0)
		return -1;
	if (bak_redis_send(conn, 1, &sync, &len, err) < 0)
		return -1;
	return read_stream_head(conn, out, err);
}

static int cut_off(struct bak_error *err, uint64_t got)
{
	return bak_error_set(err, BAK_UNAVAILABLE,
			     "the server closed the connection after %" PRIu64
			     " bytes of its data (its log says why; too small a "
			     "client-output-buffer-limit for replicas is one reason)",
			     got);
}

static int receive_counted(struct bak_redis_conn *conn, uint64_t len, struct bak_redis_saver *saver,
			   uint8_t *buffer, struct bak_error *err)
{
	for (uint64_t got = 0; got < len;) {
		size_t want = len - got < READ_LEN ? (size_t)(len - got) : READ_LEN, n;

		if (bak_redis_read(conn, buffer, want, &n, err) < 0)
			return -1;
		if (n == 0)
			return cut_off(err, got);
		if (bak_redis_saver_feed(saver, buffer, n, err) < 0)
			return -1;
		got += n;
	}
	return 0;
}

/* The mark may come in pieces: so many bytes are always kept back. */
static int receive_marked(struct bak_redis_conn *conn, const char *mark,
			  struct bak_redis_saver *saver, uint8_t *buffer, struct bak_error *err)
{
	size_t kept = 0, n;
	uint64_t got = 0;

	for (;;) {
		if (bak_redis_read(conn, buffer + kept, READ_LEN - kept, &n, err) < 0)
			return -1;
		if (n == 0)
			return cut_off(err, got);
		got += n;
		kept += n;
		if (kept >= EOF_MARK_LEN &&
		    memcmp(buffer + kept - EOF_MARK_LEN, mark, EOF_MARK_LEN) == 0)
			return bak_redis_saver_feed(saver, buffer, kept - EOF_MARK_LEN, err);
		if (kept <= EOF_MARK_LEN)
			continue;
		if (bak_redis_saver_feed(saver, buffer, kept - EOF_MARK_LEN, err) < 0)
			return -1;
		memmove(buffer, buffer + kept - EOF_MARK_LEN, EOF_MARK_LEN);
		kept = EOF_MARK_LEN;
	}
}

static int receive(struct bak_redis_conn *conn, const struct stream *stream,
		   struct bak_redis_saver *saver, struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) uint8_t *buffer = malloc(READ_LEN);

	if (!buffer)
		return bak_error_nomem(err);
	return stream->marked ? receive_marked(conn, stream->mark, saver, buffer, err)
			      : receive_counted(conn, stream->len, saver, buffer, err);
}

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
	struct stream stream;
	int rc = 0;

	if (any || strcmp(want, "replication") == 0) {
		*out = METHOD_REPLICATION;
		rc = sync_begin(conn, &stream, err);
		if (rc > 0)
			return receive(conn, &stream, saver, err);
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
	bak_store_warn(saver->redis->env,
		       "saved key by key, as replication is refused: not one moment; grant the "
		       "right to SYNC for that");
	return 0;
}

/* --- facts --- */

static json_t *db_json(const struct bak_rdb_db *db)
{
	json_t *types = json_object();

	for (size_t i = 0; i < BAK_RDB_N_CLASSES; i++) {
		if (db->types[i])
			json_object_set_new(types, bak_rdb_class_names[i],
					    json_integer((json_int_t)db->types[i]));
	}
	return json_pack("{s:I, s:I, s:o}", "keys", (json_int_t)db->keys, "expires",
			 (json_int_t)db->expires, "types", types);
}

/* Several files of a cluster have each a part of database 0. */
static void add_counts(json_t *counts, const struct bak_rdb_stats *stats)
{
	for (size_t i = 0; i < stats->n_dbs; i++) {
		char name[40];

		snprintf(name, sizeof name, "db%" PRIu64 " keys", stats->dbs[i].number);
		json_int_t before = json_integer_value(json_object_get(counts, name));
		json_object_set_new(counts, name,
				    json_integer(before + (json_int_t)stats->dbs[i].keys));
	}
	if (stats->functions)
		json_object_set_new(counts, "functions",
				    json_integer((json_int_t)stats->functions));
}

/* What a file says of itself. */
static json_t *file_json(const char *name, const struct bak_rdb_stats *stats)
{
	json_t *dbs = json_object();
	char number[24];
	json_t *json = json_pack("{s:s, s:I, s:s, s:I, s:b, s:b, s:I}", "name", name, "bytes",
				 (json_int_t)stats->bytes, "format",
				 stats->valkey ? "VALKEY" : "REDIS", "rdb_version",
				 (json_int_t)stats->version, "checksum", stats->checksum, "counted",
				 !stats->opaque, "functions", (json_int_t)stats->functions);

	for (size_t i = 0; i < stats->n_dbs && !stats->opaque; i++) {
		snprintf(number, sizeof number, "%" PRIu64, stats->dbs[i].number);
		json_object_set_new(dbs, number, db_json(&stats->dbs[i]));
	}
	json_object_set_new(json, "databases", dbs);
	if (stats->used_memory)
		json_object_set_new(json, "used_memory",
				    json_integer((json_int_t)stats->used_memory));
	if (stats->created) {
		char text[BAK_TIME_LEN + 1];

		bak_time_format(stats->created, text);
		json_object_set_new(json, "instant", json_string(text));
	}
	if (*stats->server_version)
		json_object_set_new(json, "written_by", json_string(stats->server_version));
	return json;
}

static json_t *server_json(const struct bak_redis_info *info)
{
	return json_pack("{s:s, s:s, s:s, s:s}", "product", bak_redis_product(info), "version",
			 info->version, "mode", info->cluster ? "cluster" : "standalone", "modules",
			 info->modules);
}

static int note_file(const struct bak_redis *redis, json_t *facts, const char *name,
		     const struct bak_rdb_stats *stats, struct bak_error *err)
{
	json_t *files = json_object_get(facts, "files"), *counts = json_object_get(facts, "counts");

	if (!files) {
		json_object_set_new(facts, "files", json_array());
		json_object_set_new(facts, "counts", json_object());
		files = json_object_get(facts, "files");
		counts = json_object_get(facts, "counts");
	}
	if (!files || !counts || json_array_append_new(files, file_json(name, stats)) < 0)
		return bak_error_nomem(err);
	if (stats->opaque)
		bak_store_warn(redis->env,
			       "%s: RDB version %u has records that bakfs does not know: saved "
			       "whole, its checksum is right, but its keys are not counted",
			       name, stats->version);
	else
		add_counts(counts, stats);
	return 0;
}

/* --- a server --- */

static int save_server(struct bak_redis *redis, struct bak_redis_conn *conn,
		       const struct bak_redis_address *address, const struct bak_redis_info *info,
		       const char *name, struct bak_writer *writer, json_t *facts,
		       struct bak_error *err)
{
	struct bak_redis_saver saver = {.redis = redis, .writer = writer};
	enum method method = METHOD_REPLICATION;
	int rc = begin_file(&saver, name, err);

	if (rc == 0)
		rc = save_somehow(conn, address, info, &saver, &method, err);
	if (rc == 0)
		rc = end_file(&saver, err);
	if (rc == 0)
		rc = note_file(redis, facts, name, bak_rdb_stats(saver.rdb), err);
	if (rc == 0 &&
	    (json_object_set_new(facts, "method", json_string(methods[method].name)) < 0 ||
	     json_object_set_new(facts, "consistency", json_string(methods[method].consistency)) <
		     0))
		rc = bak_error_nomem(err);
	bak_rdb_free(saver.rdb);
	return rc;
}

static int save_node(struct bak_redis *redis, const struct bak_redis_node *node,
		     struct bak_writer *writer, json_t *facts, struct bak_error *err)
{
	struct bak_redis_conn *conn = NULL;
	struct bak_redis_info info;
	char name[48];
	int rc = bak_redis_connect(redis, &node->address, &conn, err);

	snprintf(name, sizeof name, "slots-%05u.rdb", node->first_slot);
	if (rc == 0)
		rc = bak_redis_info(conn, &info, err);
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
	if (begin_file(saver, BAK_REDIS_FILE, err) < 0)
		return -1;
	while ((n = read(fd, buffer, READ_LEN)) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return bak_error_sys(err, errno, "%s", path);
		if (bak_redis_saver_feed(saver, buffer, (size_t)n, err) < 0)
			return -1;
	}
	return end_file(saver, err);
}

int bak_redis_import(struct bak_redis *redis, const char *path, struct bak_writer *writer,
		     json_t *facts, struct bak_error *err)
{
	struct bak_redis_saver saver = {.redis = redis, .writer = writer};
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
		rc = note_file(redis, facts, BAK_REDIS_FILE, bak_rdb_stats(saver.rdb), err);
	if (rc == 0)
		json_object_set_new(facts, "method", json_string("import"));
	bak_rdb_free(saver.rdb);
	if (rc < 0 && (err->code == BAK_CORRUPT || err->code == BAK_UNSUPPORTED))
		err->code = BAK_REFUSED;
	return rc;
}
