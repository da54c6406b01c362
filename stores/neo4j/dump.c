/*
 * Dumps of neo4j-admin as snapshots: made of a server that is stopped, or taken from outside. Each
 * is proven while it streams, and stored with nothing in it compressed.
 */
#include "stores/neo4j/neo4j.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_LEN (1u << 20)

static int take_framed(void *ctx, const void *p, size_t len, struct bak_error *err)
{
	return bak_writer_data(ctx, p, len, err);
}

static int feed_archive(void *ctx, const void *p, size_t len, struct bak_error *err)
{
	return bak_neo4j_archive_feed(ctx, p, len, err);
}

/* --- into a snapshot --- */

struct saving {
	struct bak_neo4j *neo4j;
	struct bak_writer *writer;
	json_t *databases; /* what the facts say of each */
};

/* Gives what it reads to take until its end. */
typedef int fill_fn(void *ctx, bak_process_take *take, void *take_ctx, struct bak_error *err);

static int save(struct saving *s, const char *database, fill_fn *fill, void *ctx,
		struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) char *name = NULL;
	struct bak_neo4j_archive *archive = NULL;
	struct bak_neo4j_archive_stats stats = {.files = 0};
	struct bak_source_inode file;
	int rc;

	if (asprintf(&name, "%s.dump", database) < 0) {
		name = NULL;
		return bak_error_nomem(err);
	}
	bak_payload_inode(&file, BAK_TYPE_FILE, 0600);
	rc = bak_writer_file(s->writer, name, &file, BAK_HINT_NONE, err);
	if (rc == 0)
		rc = bak_neo4j_archive_new(take_framed, s->writer, &archive, err);
	if (rc == 0)
		rc = fill(ctx, feed_archive, archive, err);
	if (rc == 0)
		rc = bak_neo4j_archive_end(archive, &stats, err);
	bak_neo4j_archive_free(archive);
	if (rc < 0 || bak_writer_file_end(s->writer, NULL, err) < 0)
		return bak_error_wrap(err, "database %s", database);
	json_t *about = json_pack("{s:I, s:I}", "files", (json_int_t)stats.files, "bytes",
				  (json_int_t)stats.bytes);
	return json_object_set_new(s->databases, database, about) < 0 ? bak_error_nomem(err) : 0;
}

static int begin(struct saving *s, json_t *facts, struct bak_error *err)
{
	struct bak_source_inode root;

	bak_payload_inode(&root, BAK_TYPE_DIR, 0700);
	s->databases = json_object();
	if (json_object_set_new(facts, "mode", json_string("dump")) < 0 ||
	    json_object_set_new(facts, "database", json_string(s->neo4j->database)) < 0 ||
	    json_object_set_new(facts, "databases", s->databases) < 0)
		return bak_error_nomem(err);
	return bak_writer_root(s->writer, &root, err);
}

/* --- of a server --- */

struct dumping {
	const struct bak_neo4j *neo4j;
	const struct bak_neo4j_places *places;
	const char *database;
};

static int run_dump(void *ctx, bak_process_take *take, void *take_ctx, struct bak_error *err)
{
	struct dumping *d = ctx;
	const char *words[] = {"database", "dump", d->database, "--to-stdout", NULL};
	const struct bak_neo4j_admin admin = {
		.neo4j = d->neo4j, .places = d->places, .words = words};

	return bak_neo4j_admin_read(&admin, take, take_ctx, err);
}

static int dump_all(struct saving *s, const struct bak_neo4j_places *places, struct bak_error *err)
{
	const char *names[] = {s->neo4j->database, "system"};
	size_t n = bak_store_get_bool(s->neo4j->conf, "system") ? 2 : 1;

	/* Sorted, as the writer wants it. */
	if (n == 2 && strcmp(names[0], names[1]) > 0) {
		names[0] = "system";
		names[1] = s->neo4j->database;
	}
	if (n == 2 && strcmp(names[0], names[1]) == 0)
		n = 1;
	for (size_t i = 0; i < n; i++) {
		struct dumping d = {.neo4j = s->neo4j, .places = places, .database = names[i]};

		if (save(s, names[i], run_dump, &d, err) < 0)
			return -1;
	}
	return 0;
}

static int dump_stopped(struct saving *s, struct bak_neo4j_service *service, json_t *facts,
			struct bak_error *err)
{
	if (begin(s, facts, err) < 0 || bak_neo4j_admin_version(s->neo4j, service->places, err) < 0)
		return -1;
	if (json_object_set_new(facts, "version", json_string(s->neo4j->admin_version)) < 0)
		return bak_error_nomem(err);
	if (bak_neo4j_stop(service, err) < 0)
		return -1;
	if (json_object_set_new(facts, "stopped", json_boolean(service->stopped)) < 0)
		return bak_error_nomem(err);
	return dump_all(s, service->places, err);
}

int bak_neo4j_dump_backup(struct bak_neo4j *neo4j, struct bak_writer *writer, json_t *facts,
			  struct bak_error *err)
{
	BAK_AUTO(bak_neo4j_places_release) struct bak_neo4j_places places = {.data = NULL};
	BAK_AUTO(bak_neo4j_service_release)
	struct bak_neo4j_service service = {.neo4j = neo4j, .places = &places, .mark_fd = -1};
	struct saving s = {.neo4j = neo4j, .writer = writer};
	struct bak_error second = BAK_ERROR_INIT;
	int rc;

	if (bak_neo4j_places(neo4j, &places, err) < 0 || bak_neo4j_may_stop(&service, err) < 0)
		return -1;
	rc = bak_neo4j_take_over(&service, err);
	if (rc < 0)
		return -1;
	if (rc > 0)
		bak_store_warn(neo4j->env,
			       "a backup or restore that was killed had left the "
			       "server stopped%s",
			       service.stopped ? ": it is started again" : ": start it");
	rc = dump_stopped(&s, &service, facts, err);
	/* On every way out; and a good dump stays good when the server does not come back. */
	if (bak_neo4j_start(&service, &second) < 0)
		bak_store_warn(neo4j->env, "the server was stopped and did not start again: %s",
			       second.msg);
	return rc;
}

/* --- from outside --- */

static int read_file(void *ctx, bak_process_take *take, void *take_ctx, struct bak_error *err)
{
	const int *fd = ctx;
	BAK_AUTO(bak_free_ptr) uint8_t *buffer = malloc(READ_LEN);
	ssize_t n;

	if (!buffer)
		return bak_error_nomem(err);
	while ((n = read(*fd, buffer, READ_LEN)) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return bak_error_sys(err, errno, "reading it");
		if (take(take_ctx, buffer, (size_t)n, err) < 0)
			return -1;
	}
	return 0;
}

static int import_file(struct saving *s, int dir_fd, const char *path, const char *database,
		       struct bak_error *err)
{
	BAK_AUTO(bak_close_fd) int fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return bak_error_sys(err, errno, "%s", path);
	if (!S_ISREG(st.st_mode))
		return bak_error_set(err, BAK_REFUSED, "%s is not a regular file", path);
	if (save(s, database, read_file, &fd, err) == 0)
		return 0;
	if (err->code == BAK_CORRUPT)
		err->code = BAK_REFUSED;
	return -1;
}

/* A folder has <database>.dump, and may have system.dump beside it. */
static int import_folder(struct saving *s, int dir_fd, struct bak_error *err)
{
	const char *names[] = {s->neo4j->database, "system"};
	bool system_first = strcmp(names[0], "system") > 0;
	unsigned n = 0;

	for (size_t i = 0; i < 2; i++) {
		const char *database = names[system_first ? 1 - i : i];
		char file[300];

		snprintf(file, sizeof file, "%s.dump", database);
		if (faccessat(dir_fd, file, F_OK, 0) < 0 ||
		    (i == 1 && strcmp(names[0], names[1]) == 0))
			continue;
		if (import_file(s, dir_fd, file, database, err) < 0)
			return -1;
		n += strcmp(database, s->neo4j->database) == 0;
	}
	if (n == 0)
		return bak_error_set(err, BAK_REFUSED, "the folder has no %s.dump",
				     s->neo4j->database);
	return 0;
}

int bak_neo4j_dump_import(struct bak_neo4j *neo4j, const char *path, struct bak_writer *writer,
			  json_t *facts, struct bak_error *err)
{
	struct saving s = {.neo4j = neo4j, .writer = writer};
	struct stat st;

	if (stat(path, &st) < 0)
		return bak_error_sys(err, errno, "%s", path);
	if (begin(&s, facts, err) < 0)
		return -1;
	if (!S_ISDIR(st.st_mode))
		return import_file(&s, AT_FDCWD, path, neo4j->database, err);
	BAK_AUTO(bak_close_fd) int dir_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir_fd < 0)
		return bak_error_sys(err, errno, "%s", path);
	return import_folder(&s, dir_fd, err);
}
