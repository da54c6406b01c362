/*
 * What comes from outside as a snapshot of this store: a repository's folder, the folder of an
 * export as a mount shows it, a folder of one index, or one file of documents. All of it is read
 * and checked; what is not whole is refused.
 */
#include "stores/opensearch/opensearch.h"

#include "engine/content/folder.h"
#include "stores/files/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_LEN (1u << 20)
#define JSON_FILE_MAX ((off_t)64 << 20)
#define SUFFIX ".ndjson"

struct import {
	struct bak_os *os;
	struct bak_writer *writer;
	json_t *list, *counts; /* of the manifest */
	const char *index;     /* whose documents come, NULL: they say so */
	char name[BAK_OS_NAME_MAX + 1];
	struct bak_buf out;
	uint64_t documents;
	uint8_t *buffer;
};

/* --- folders and small files --- */

struct names {
	char **v;
	size_t n, cap;
};

static void names_release(struct names *names)
{
	for (size_t i = 0; i < names->n; i++)
		free(names->v[i]);
	free(names->v);
}

static int by_name(const void *a, const void *b)
{
	const char *x = *(char *const *)a, *y = *(char *const *)b;

	return bak_name_cmp(x, strlen(x), y, strlen(y));
}

static int list(int dir_fd, struct names *out, struct bak_error *err)
{
	int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc = 0;
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *d;

	if (!dir)
		return bak_error_sys(err, errno, "the folder");
	while (rc == 0 && (d = readdir(dir)) != NULL) {
		if (*d->d_name == '.' && (!d->d_name[1] || !strcmp(d->d_name, "..")))
			continue;
		rc = bak_grow(&out->v, &out->cap, out->n, sizeof *out->v);
		if (rc == 0 && !(out->v[out->n] = strdup(d->d_name)))
			rc = -1;
		out->n += rc == 0;
	}
	closedir(dir);
	if (rc == 0 && out->n)
		qsort(out->v, out->n, sizeof *out->v, by_name);
	return rc < 0 ? bak_error_nomem(err) : 0;
}

static bool is_there(int dir_fd, const char *name)
{
	return faccessat(dir_fd, name, F_OK, 0) == 0;
}

static bool is_documents(const char *name)
{
	size_t len = strlen(name), suffix = strlen(SUFFIX);

	return len > suffix && strcmp(name + len - suffix, SUFFIX) == 0;
}

static int open_folder(int dir_fd, const char *name, struct bak_error *err)
{
	int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	return fd < 0 ? bak_error_sys(err, errno, "%s", name) : fd;
}

/* 1 and the object, 0 there is no such file, -1. */
static int read_json(int dir_fd, const char *name, json_t **out, struct bak_error *err)
{
	BAK_AUTO(bak_close_fd) int fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;

	if (fd < 0)
		return errno == ENOENT ? 0 : bak_error_sys(err, errno, "%s", name);
	if (fstat(fd, &st) < 0)
		return bak_error_sys(err, errno, "%s", name);
	if (!S_ISREG(st.st_mode) || st.st_size > JSON_FILE_MAX)
		return bak_error_set(err, BAK_REFUSED, "%s is no such file", name);
	*out = json_loadfd(fd, 0, NULL);
	if (json_is_object(*out))
		return 1;
	json_decref(*out);
	*out = NULL;
	return bak_error_set(err, BAK_REFUSED, "%s is not JSON", name);
}

/* --- documents --- */

static int check_index(struct import *im, const struct bak_os_document *d, struct bak_error *err)
{
	size_t len = d->index.len - 2; /* quotes */

	if (!*im->name && len <= BAK_OS_NAME_MAX) {
		memcpy(im->name, d->index.p + 1, len);
		im->name[len] = '\0';
	}
	if (strlen(im->name) == len && memcmp(im->name, d->index.p + 1, len) == 0)
		return 0;
	return bak_error_set(err, BAK_REFUSED,
			     "it has documents of index %s and of %.*s: one index at a time",
			     im->name, len < 100 ? (int)len : 100, d->index.p + 1);
}

static int take(void *ctx, const struct bak_os_document *document, struct bak_error *err)
{
	struct import *im = ctx;

	if (!im->index && document->index.p && check_index(im, document, err) < 0)
		return -1;
	im->documents++;
	if (!im->writer)
		return 0;
	if (bak_os_document_write(document, &im->out) < 0)
		return bak_error_nomem(err);
	if (im->out.len < READ_LEN)
		return 0;
	int rc = bak_writer_data(im->writer, im->out.p, im->out.len, err);

	im->out.len = 0;
	return rc;
}

static int read_documents(struct import *im, int fd, struct bak_error *err)
{
	BAK_AUTO(bak_os_lines_release) struct bak_os_lines lines = {.take = take, .ctx = im};
	ssize_t n;

	while ((n = read(fd, im->buffer, READ_LEN)) > 0) {
		if (bak_store_check_cancelled(im->os->env, err) < 0 ||
		    bak_os_lines_feed(&lines, im->buffer, (size_t)n, err) < 0)
			return -1;
	}
	if (n < 0)
		return bak_error_sys(err, errno, "reading it");
	if (bak_os_lines_end(&lines, err) < 0)
		return -1;
	if (im->writer && im->out.len &&
	    bak_writer_data(im->writer, im->out.p, im->out.len, err) < 0)
		return -1;
	im->out.len = 0;
	return 0;
}

static int store_documents(struct import *im, int dir_fd, const char *path, const char *name,
			   struct bak_error *err)
{
	BAK_AUTO(bak_close_fd) int fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC);
	struct bak_source_inode inode;

	if (fd < 0)
		return bak_error_sys(err, errno, "%s", path);
	bak_payload_inode(&inode, BAK_TYPE_FILE, 0600);
	if (bak_writer_file(im->writer, name, &inode, BAK_HINT_NONE, err) < 0)
		return -1;
	if (read_documents(im, fd, err) < 0)
		return bak_error_wrap(err, "%s", bak_files_base(path));
	return bak_writer_file_end(im->writer, NULL, err);
}

/* --- an index --- */

static int check_name(struct import *im, const char *name, struct bak_error *err)
{
	if (!bak_os_is_name(name))
		return bak_error_set(err, BAK_REFUSED, "\"%.60s\" cannot be an index's name", name);
	if (!bak_os_is_wanted(im->os, name, *name == '.') &&
	    !bak_store_get_bool(im->os->conf, "accept_foreign"))
		return bak_error_set(err, BAK_REFUSED,
				     "these are documents of index %s, which is not one of the "
				     "store's; accept_foreign = yes takes it",
				     name);
	return 0;
}

/* What an index of that name is: as it came, else as it is on the server; NULL: nobody knows. */
static int find_body(struct import *im, int dir_fd, const char *name, json_t **out,
		     struct bak_error *err)
{
	struct bak_error scratch = BAK_ERROR_INIT;
	uint64_t bytes;
	int rc = dir_fd < 0 ? 0 : read_json(dir_fd, BAK_OS_INDEX_FILE, out, err);

	if (rc != 0)
		return rc < 0 ? -1 : 0;
	if (bak_os_describe(im->os, name, out, &bytes, &scratch) < 0) {
		*out = NULL;
		bak_store_warn(im->os->env,
			       "nobody says how index %s is mapped: a restore leaves that to the "
			       "server",
			       name);
		return bak_store_check_cancelled(im->os->env, err);
	}
	json_object_del(json_object_get(*out, "aliases"), name);
	return 0;
}

static int enter(struct bak_writer *writer, const char *name, struct bak_error *err)
{
	struct bak_source_inode inode;

	bak_payload_inode(&inode, BAK_TYPE_DIR, 0700);
	return bak_writer_enter(writer, name, &inode, err);
}

/* The folder's files, or one that is said. */
static int store_index(struct import *im, int dir_fd, const char *file, const char *name,
		       struct bak_error *err)
{
	BAK_AUTO(bak_os_json_free) json_t *body = NULL;
	BAK_AUTO(names_release) struct names names = {.n = 0};
	int rc = check_name(im, name, err);

	im->index = name;
	im->documents = 0;
	if (rc == 0)
		rc = find_body(im, dir_fd, name, &body, err);
	if (rc == 0)
		rc = enter(im->writer, name, err);
	if (rc == 0 && file)
		rc = store_documents(im, AT_FDCWD, file, "documents-0000" SUFFIX, err);
	if (rc == 0 && !file)
		rc = list(dir_fd, &names, err);
	for (size_t i = 0; rc == 0 && i < names.n; i++) {
		if (is_documents(names.v[i]))
			rc = store_documents(im, dir_fd, names.v[i], names.v[i], err);
		else if (strcmp(names.v[i], BAK_OS_INDEX_FILE) != 0)
			rc = bak_error_set(err, BAK_REFUSED, "%s/%s is none of an export's files",
					   name, names.v[i]);
		else if (rc == 0)
			rc = bak_os_write_json(im->writer, BAK_OS_INDEX_FILE, body, err);
	}
	if (rc == 0 && body && (file || !is_there(dir_fd, BAK_OS_INDEX_FILE)))
		rc = bak_os_write_json(im->writer, BAK_OS_INDEX_FILE, body, err);
	if (rc < 0)
		return -1;
	if (json_object_set_new(im->counts, name, json_integer((json_int_t)im->documents)) < 0 ||
	    json_array_append_new(im->list, json_pack("{s:s, s:I, s:O*}", "name", name, "documents",
						      (json_int_t)im->documents, "aliases",
						      bak_os_at(body, "aliases", NULL))) < 0)
		return bak_error_nomem(err);
	return bak_writer_leave(im->writer, err);
}

/* --- the shapes --- */

/* "NAME" of "/.../NAME.ndjson", if its documents do not say. */
static int import_file(struct import *im, const char *path, struct bak_error *err)
{
	BAK_AUTO(bak_close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct bak_writer *writer = im->writer;
	const char *base = bak_files_base(path);
	size_t len = is_documents(base) ? strlen(base) - strlen(SUFFIX) : strlen(base);

	if (fd < 0)
		return bak_error_sys(err, errno, "%s", path);
	im->writer = NULL;
	int rc = read_documents(im, fd, err);

	im->writer = writer;
	if (rc < 0)
		return -1;
	if (!im->documents)
		return bak_error_set(err, BAK_REFUSED, "it has no documents");
	if (!*im->name && len <= BAK_OS_NAME_MAX)
		snprintf(im->name, sizeof im->name, "%.*s", (int)len, base);
	if (enter(im->writer, BAK_OS_INDICES, err) < 0 ||
	    store_index(im, -1, path, im->name, err) < 0)
		return -1;
	return bak_writer_leave(im->writer, err);
}

static int import_indices(struct import *im, int dir_fd, struct bak_error *err)
{
	BAK_AUTO(names_release) struct names names = {.n = 0};
	BAK_AUTO(bak_close_fd) int fd = open_folder(dir_fd, BAK_OS_INDICES, err);

	if (fd < 0 || list(fd, &names, err) < 0 || enter(im->writer, BAK_OS_INDICES, err) < 0)
		return -1;
	for (size_t i = 0; i < names.n; i++) {
		BAK_AUTO(bak_close_fd) int index_fd = open_folder(fd, names.v[i], err);

		if (index_fd < 0 || store_index(im, index_fd, NULL, names.v[i], err) < 0)
			return -1;
	}
	return bak_writer_leave(im->writer, err);
}

/* A folder of one index, called as it. */
static int import_index(struct import *im, int dir_fd, const char *path, struct bak_error *err)
{
	if (enter(im->writer, BAK_OS_INDICES, err) < 0 ||
	    store_index(im, dir_fd, NULL, bak_files_base(path), err) < 0)
		return -1;
	return bak_writer_leave(im->writer, err);
}

static int import_repository(struct import *im, const char *path, json_t *facts,
			     struct bak_error *err)
{
	BAK_AUTO(bak_close_fd) int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	BAK_AUTO(bak_os_catalogue_release) struct bak_os_catalogue c = {.json = NULL};
	const json_t *snapshot;

	if (fd < 0)
		return bak_error_sys(err, errno, "%s", path);
	if (bak_os_repository_store(im->os->env, path, im->writer, &c, err) < 0 ||
	    bak_os_repository_check(im->os->env, fd, &c, err) < 0) {
		if (err->code == BAK_CORRUPT || err->code == BAK_NOT_FOUND)
			err->code = BAK_REFUSED;
		return -1;
	}
	snapshot = bak_os_catalogue_find(&c, fd, NULL);
	if (!snapshot)
		return bak_error_set(err, BAK_REFUSED, "the repository has no whole snapshot");
	bak_store_log(im->os->env, "the repository's snapshot %s", bak_os_text(snapshot, "name"));
	json_decref(im->list);
	im->list = bak_os_catalogue_indices(&c, snapshot);
	json_object_set_new(facts, "mode", json_string("snapshot"));
	json_object_set_new(facts, "snapshot", json_string(bak_os_text(snapshot, "name")));
	json_object_set_new(facts, "version", json_string(bak_os_text(snapshot, "version")));
	return im->list ? 0 : bak_error_nomem(err);
}

/* The files of definitions in the folder. Others there are none of ours. */
static int read_definitions(int dir_fd, json_t *out, struct bak_error *err)
{
	BAK_AUTO(names_release) struct names names = {.n = 0};

	if (list(dir_fd, &names, err) < 0)
		return -1;
	for (size_t i = 0; i < names.n; i++) {
		json_t *found = NULL;

		if (strcmp(names.v[i], BAK_OS_INDICES) == 0 ||
		    strcmp(names.v[i], BAK_OS_REPOSITORY) == 0)
			continue;
		if (!bak_os_is_definitions(names.v[i]))
			return bak_error_set(err, BAK_REFUSED, "%s is none of a snapshot's files",
					     names.v[i]);
		if (read_json(dir_fd, names.v[i], &found, err) < 0)
			return -1;
		if (json_object_set_new(out, names.v[i], found) < 0)
			return bak_error_nomem(err);
	}
	return 0;
}

/* A snapshot's own folder: definitions around the one with the data. */
static int import_payload(struct import *im, int dir_fd, const char *path, const char *inner,
			  json_t *facts, struct bak_error *err)
{
	BAK_AUTO(bak_os_json_free) json_t *definitions = json_object();
	BAK_AUTO(bak_free_ptr) char *deeper = NULL;
	int rc = definitions ? read_definitions(dir_fd, definitions, err) : bak_error_nomem(err);

	if (rc == 0 && asprintf(&deeper, "%s/%s", path, inner) < 0) {
		deeper = NULL;
		rc = bak_error_nomem(err);
	}
	if (rc == 0)
		rc = bak_os_definitions_write(definitions, im->writer, NULL, inner, err);
	if (rc == 0)
		rc = strcmp(inner, BAK_OS_INDICES) == 0 ? import_indices(im, dir_fd, err)
							: import_repository(im, deeper, facts, err);
	return rc == 0 ? bak_os_definitions_write(definitions, im->writer, inner, NULL, err) : -1;
}

static bool has_documents(int dir_fd)
{
	BAK_AUTO(names_release) struct names names = {.n = 0};
	struct bak_error scratch = BAK_ERROR_INIT;
	bool found = false;

	if (list(dir_fd, &names, &scratch) < 0)
		return false;
	for (size_t i = 0; i < names.n; i++)
		found = found || is_documents(names.v[i]);
	return found;
}

static int import_folder(struct import *im, const char *path, json_t *facts, struct bak_error *err)
{
	BAK_AUTO(bak_close_fd) int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return bak_error_sys(err, errno, "%s", path);
	if (is_there(fd, BAK_OS_REPOSITORY "/index.latest"))
		return import_payload(im, fd, path, BAK_OS_REPOSITORY, facts, err);
	if (is_there(fd, "index.latest"))
		return import_repository(im, path, facts, err);
	if (is_there(fd, BAK_OS_INDICES))
		return import_payload(im, fd, path, BAK_OS_INDICES, facts, err);
	if (has_documents(fd))
		return import_index(im, fd, path, err);
	return bak_error_set(err, BAK_REFUSED,
			     "the folder is neither a snapshot repository nor an export");
}

int bak_os_import(struct bak_os *os, const char *path, struct bak_writer *writer, json_t *facts,
		  struct bak_error *err)
{
	struct import im = {.os = os,
			    .writer = writer,
			    .list = json_array(),
			    .counts = json_object(),
			    .buffer = malloc(READ_LEN)};
	struct stat st;
	int rc = im.list && im.counts && im.buffer ? 0 : bak_error_nomem(err);

	if (rc == 0 && stat(path, &st) < 0)
		rc = bak_error_sys(err, errno, "%s", path);
	json_object_set_new(facts, "mode", json_string("export"));
	if (rc == 0)
		rc = S_ISDIR(st.st_mode) ? import_folder(&im, path, facts, err)
					 : import_file(&im, path, err);
	if (rc == 0 && (json_object_set(facts, "indices", im.list) < 0 ||
			json_object_set(facts, "counts", im.counts) < 0))
		rc = bak_error_nomem(err);
	json_decref(im.list);
	json_decref(im.counts);
	bak_buf_release(&im.out);
	free(im.buffer);
	return rc;
}
