/*
 * An export that comes from outside, as a mount shows one: each line is looked at while it is
 * copied, and there must be as many of each kind as its file of counts says. Whole, or refused.
 */
#include "stores/neo4j/neo4j.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_LEN (1u << 20)

struct import {
	struct bak_neo4j *neo4j;
	struct bak_writer *writer;
	enum bak_neo4j_part part;
	json_t *facts, *want, *have; /* counts: as promised, and as there are */
};

static int check_database(struct import *im, const json_t *line, struct bak_error *err)
{
	const char *theirs = json_string_value(json_object_get(line, "database"));

	if (!theirs || strcmp(theirs, im->neo4j->database) == 0 ||
	    bak_store_get_bool(im->neo4j->conf, "accept_foreign"))
		return 0;
	return bak_error_set(err, BAK_REFUSED,
			     "this is an export of database %s, and the store is of %s; "
			     "accept_foreign = yes takes it",
			     theirs, im->neo4j->database);
}

static int take_head(struct import *im, const json_t *line, struct bak_error *err)
{
	const char *version = json_string_value(json_object_get(line, "version"));

	if (json_integer_value(json_object_get(line, "format")) != 1)
		return bak_error_set(err, BAK_UNSUPPORTED,
				     "an export of a newer format than bakfs knows");
	if (version && json_object_set_new(im->facts, "version", json_string(version)) < 0)
		return bak_error_nomem(err);
	return check_database(im, line, err);
}

static int take_line(void *ctx, json_t *line, size_t len, struct bak_error *err)
{
	struct import *im = ctx;

	(void)len;
	if (im->part != BAK_NEO4J_COUNTS)
		return bak_neo4j_count_line(im->have, im->part, line, err);
	if (json_object_get(line, "format"))
		return take_head(im, line, err);
	return bak_neo4j_read_count(im->want, line, err);
}

static int copy_lines(struct import *im, int fd, struct bak_neo4j_lines *lines,
		      struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) uint8_t *buffer = malloc(READ_LEN);
	ssize_t n;

	if (!buffer)
		return bak_error_nomem(err);
	while ((n = read(fd, buffer, READ_LEN)) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return bak_error_sys(err, errno, "%s", bak_neo4j_part_files[im->part]);
		if (bak_store_check_cancelled(im->neo4j->env, err) < 0 ||
		    bak_neo4j_lines_feed(lines, buffer, (size_t)n, err) < 0 ||
		    bak_writer_data(im->writer, buffer, (size_t)n, err) < 0)
			return -1;
	}
	return bak_neo4j_lines_end(lines, err);
}

static int import_part(struct import *im, int dir_fd, struct bak_error *err)
{
	BAK_AUTO(bak_neo4j_lines_release)
	struct bak_neo4j_lines lines = {.part = im->part, .line = take_line, .ctx = im};
	const char *name = bak_neo4j_part_files[im->part];
	BAK_AUTO(bak_close_fd)
	int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
	struct bak_source_inode file;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return bak_error_sys(err, errno, "%s", name);
	if (!S_ISREG(st.st_mode))
		return bak_error_set(err, BAK_REFUSED, "%s is not a regular file", name);
	bak_payload_inode(&file, BAK_TYPE_FILE, 0600);
	if (bak_writer_file(im->writer, name, &file, BAK_HINT_NONE, err) < 0 ||
	    copy_lines(im, fd, &lines, err) < 0)
		return -1;
	return bak_writer_file_end(im->writer, NULL, err);
}

static int compare(const struct import *im, struct bak_error *err)
{
	const char *name;
	json_t *want;

	if (json_object_size(im->want) == 0)
		return bak_error_set(err, BAK_REFUSED, "%s is empty",
				     bak_neo4j_part_files[BAK_NEO4J_COUNTS]);
	json_object_foreach(im->want, name, want)
	{
		json_int_t have = json_integer_value(json_object_get(im->have, name));

		if (have != json_integer_value(want))
			return bak_error_set(err, BAK_REFUSED,
					     "cut off or changed: %.100s: %lld, and there should "
					     "be %lld",
					     name, (long long)have,
					     (long long)json_integer_value(want));
	}
	json_object_foreach(im->have, name, want)
	{
		if (!json_object_get(im->want, name))
			return bak_error_set(err, BAK_REFUSED, "changed: %.100s is not counted",
					     name);
	}
	return 0;
}

static int run(struct import *im, const char *path, struct bak_error *err)
{
	BAK_AUTO(bak_close_fd) int dir_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct bak_source_inode root;

	if (dir_fd < 0 && errno == ENOTDIR)
		return bak_error_set(err, BAK_REFUSED,
				     "the store has mode = export, and takes folders of such "
				     "exports; a dump goes into one with mode = dump");
	if (dir_fd < 0)
		return bak_error_sys(err, errno, "%s", path);
	bak_payload_inode(&root, BAK_TYPE_DIR, 0700);
	if (bak_writer_root(im->writer, &root, err) < 0)
		return -1;
	for (im->part = 0; im->part < BAK_NEO4J_PARTS; im->part++) {
		if (import_part(im, dir_fd, err) < 0)
			return -1;
	}
	return compare(im, err);
}

int bak_neo4j_export_import(struct bak_neo4j *neo4j, const char *path, struct bak_writer *writer,
			    json_t *facts, struct bak_error *err)
{
	struct import im = {.neo4j = neo4j,
			    .writer = writer,
			    .facts = facts,
			    .want = json_object(),
			    .have = json_object()};
	int rc = im.want && im.have ? run(&im, path, err) : bak_error_nomem(err);

	if (rc < 0 && (err->code == BAK_CORRUPT || err->code == BAK_NOT_FOUND))
		err->code = BAK_REFUSED;
	if (rc == 0 && (json_object_set_new(facts, "mode", json_string("export")) < 0 ||
			json_object_set_new(facts, "database", json_string(neo4j->database)) < 0 ||
			json_object_set(facts, "counts", im.want) < 0))
		rc = bak_error_nomem(err);
	json_decref(im.want);
	json_decref(im.have);
	return rc;
}
