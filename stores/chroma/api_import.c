/*
 * An export taken in as if it were a backup of ours: a folder as a snapshot shows it, a part of one
 * (a tenant, a database, a collection), or one file of rows, whose name says the collection. Every
 * line is read and written anew; one that is wrong refuses the whole.
 */
#include "stores/chroma/chroma.h"
#include "stores/payload.h"

#include "engine/objects/tree.h"
#include "stores/files/files.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define GATHER ((size_t)1 << 20)
#define ABOUT_MAX ((size_t)16 << 20)
/* A folder's depth above its collections: tenants, databases, collections. */
#define DEPTH_MAX 3

struct import {
	struct bak_chroma *chroma;
	struct bak_writer *writer;
	json_t *counts;
	/* What was found, sorted as the tree is. */
	struct found {
		struct bak_chroma_collection c;
		char *rows; /* path of its file */
	} * v;
	size_t n, cap;
};

static void release(struct import *import)
{
	for (size_t i = 0; i < import->n; i++) {
		bak_chroma_collection_release(&import->v[i].c);
		free(import->v[i].rows);
	}
	free(import->v);
	json_decref(import->counts);
}

/* --- what there is --- */

static char *join(const char *folder, const char *name)
{
	char *out;

	return asprintf(&out, "%s/%s", folder, name) < 0 ? NULL : out;
}

static int add(struct import *import, struct bak_chroma_collection *c, const char *rows,
	       struct bak_error *err)
{
	char *path = strdup(rows);

	if (!path || bak_grow(&import->v, &import->cap, import->n, sizeof *import->v) < 0) {
		free(path);
		bak_chroma_collection_release(c);
		return bak_error_nomem(err);
	}
	import->v[import->n++] = (struct found){*c, path};
	return 0;
}

static int read_about(const char *path, struct bak_chroma_collection *out, struct bak_error *err)
{
	BAK_AUTO(bak_buf_release) struct bak_buf text = BAK_BUF_INIT;
	FILE *file = fopen(path, "re");
	size_t n;

	if (!file)
		return bak_error_sys(err, errno, "%s", path);
	do {
		if (bak_buf_reserve(&text, 65536) < 0) {
			fclose(file);
			return bak_error_nomem(err);
		}
		n = fread(text.p + text.len, 1, 65536, file);
		text.len += n;
	} while (n > 0 && text.len <= ABOUT_MAX);
	fclose(file);
	if (text.len > ABOUT_MAX)
		return bak_error_set(err, BAK_REFUSED, "%s is too long", path);
	if (bak_chroma_from_about((const char *)text.p, text.len, out, err) < 0)
		return bak_error_wrap(err, "%s", path);
	return 0;
}

static int add_collection(struct import *import, const char *folder, struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) char *about = join(folder, BAK_CHROMA_ABOUT);
	BAK_AUTO(bak_free_ptr) char *rows = join(folder, BAK_CHROMA_ROWS);
	struct bak_chroma_collection c;
	struct stat st;

	if (!about || !rows)
		return bak_error_nomem(err);
	if (read_about(about, &c, err) < 0)
		return -1;
	if (stat(rows, &st) == 0)
		return add(import, &c, rows, err);
	bak_chroma_collection_release(&c);
	return bak_error_set(err, BAK_REFUSED, "%s has no %s", folder, BAK_CHROMA_ROWS);
}

/* What the server says of the collection of that name now, if there is one: a new reference. */
static json_t *live_about(struct import *import, const struct bak_chroma_collection *c)
{
	BAK_AUTO(bak_free_ptr) char *behind = bak_http_path("/%s", c->name);
	BAK_AUTO(bak_free_ptr) char *path = behind ? bak_chroma_path(c, behind) : NULL;
	struct bak_error scratch = BAK_ERROR_INIT;
	json_t *about = NULL;

	if (path)
		bak_http_json(import->chroma->http, "GET", path, NULL, &about, &scratch);
	return about;
}

/* "name.ndjson": rows of a collection of that name, made as the live one is, else as the server
 * makes one if nothing is said. */
static int add_plain(struct import *import, const char *path, struct bak_error *err)
{
	const char *base = bak_files_base(path), *dot = strrchr(base, '.');
	const char *tenant = bak_store_get(import->chroma->conf, "tenant");
	const char *database = bak_store_get(import->chroma->conf, "database");
	struct bak_chroma_collection c = {
		.tenant = strdup(tenant),
		.database = strdup(database ? database : "default_database"),
		.name = strndup(base, dot ? (size_t)(dot - base) : strlen(base))};

	if (!dot || (strcmp(dot, ".ndjson") != 0 && strcmp(dot, ".jsonl") != 0)) {
		bak_chroma_collection_release(&c);
		return bak_error_set(err, BAK_REFUSED,
				     "%s: rows come in a file whose name ends with .ndjson", path);
	}
	if (c.tenant && c.database && c.name)
		c.about = live_about(import, &c);
	if (c.tenant && c.database && c.name && !c.about)
		c.about = json_pack("{s:s, s:s, s:s}", "name", c.name, "tenant", c.tenant,
				    "database", c.database);
	if (c.about)
		return add(import, &c, path, err);
	bak_chroma_collection_release(&c);
	return bak_error_nomem(err);
}

static int look(struct import *import, const char *folder, int depth, struct bak_error *err);

static int look_below(struct import *import, const char *path, int depth, struct bak_error *err)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		return bak_error_sys(err, errno, "%s", path);
	if (S_ISDIR(st.st_mode) && depth < DEPTH_MAX)
		return look(import, path, depth + 1, err);
	return bak_error_set(err, BAK_REFUSED, "%s does not belong into an export of Chroma", path);
}

/* Folders with a collection.json are collections. */
static int look(struct import *import, const char *folder, int depth, struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) char *about = join(folder, BAK_CHROMA_ABOUT);
	struct dirent **names = NULL;
	struct stat st;
	int n, rc = 0;

	if (!about)
		return bak_error_nomem(err);
	if (stat(about, &st) == 0 && S_ISREG(st.st_mode))
		return add_collection(import, folder, err);
	n = scandir(folder, &names, NULL, alphasort);
	if (n < 0)
		return bak_error_sys(err, errno, "%s", folder);
	for (int i = 0; i < n; i++) {
		if (rc == 0 && names[i]->d_name[0] != '.') {
			BAK_AUTO(bak_free_ptr) char *path = join(folder, names[i]->d_name);

			rc = path ? look_below(import, path, depth, err) : bak_error_nomem(err);
		}
		free(names[i]);
	}
	free(names);
	return rc;
}

/* --- rows --- */

struct lines {
	struct import *import;
	struct bak_buf out, line, spare;
	const char *path;
	uint64_t n;
};

static void lines_release(struct lines *l)
{
	bak_buf_release(&l->out);
	bak_buf_release(&l->line);
	bak_buf_release(&l->spare);
}

static int flush(struct lines *l, struct bak_error *err)
{
	int rc = bak_writer_data(l->import->writer, l->out.p, l->out.len, err);

	l->out.len = 0;
	return rc;
}

static int take_line(struct lines *l, struct bak_error *err)
{
	struct bak_chroma_row row;

	if (bak_chroma_row_parse((const char *)l->line.p, l->line.len, &row, &l->spare, err) < 0 ||
	    bak_chroma_row_line(&row, &l->out, err) < 0)
		return bak_error_wrap(err, "%s: line %" PRIu64, l->path, l->n + 1);
	l->n++;
	l->line.len = 0;
	return l->out.len < GATHER ? 0 : flush(l, err);
}

/* What was read, cut into lines. */
static int take_piece(struct lines *l, const char *p, size_t len, struct bak_error *err)
{
	while (len > 0) {
		const char *end = memchr(p, '\n', len);
		size_t n = end ? (size_t)(end + 1 - p) : len;

		if (n > BAK_CHROMA_LINE_MAX - l->line.len)
			return bak_error_set(err, BAK_REFUSED, "%s: line %" PRIu64 " is too long",
					     l->path, l->n + 1);
		if (bak_buf_append(&l->line, p, n) < 0)
			return bak_error_nomem(err);
		p += n;
		len -= n;
		if (end && take_line(l, err) < 0)
			return -1;
	}
	return 0;
}

static int take_file(struct lines *l, struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) char *buffer = malloc(GATHER);
	FILE *file = fopen(l->path, "re");
	int rc = 0;
	size_t n;

	if (!file)
		return bak_error_sys(err, errno, "%s", l->path);
	while (rc == 0 && buffer && (n = fread(buffer, 1, GATHER, file)) > 0) {
		rc = take_piece(l, buffer, n, err);
		if (rc == 0)
			rc = bak_store_check_cancelled(l->import->chroma->env, err);
	}
	if (!buffer)
		rc = bak_error_nomem(err);
	if (rc == 0 && ferror(file))
		rc = bak_error_sys(err, errno, "%s", l->path);
	fclose(file);
	if (rc == 0 && l->line.len)
		rc = take_line(l, err); /* a last line without its end */
	return rc < 0 ? -1 : flush(l, err);
}

static int save_rows(struct import *import, const struct found *found, uint64_t *out_n,
		     struct bak_error *err)
{
	BAK_AUTO(lines_release) struct lines l = {.import = import, .path = found->rows};
	struct bak_source_inode in;

	bak_payload_inode(&in, BAK_TYPE_FILE, 0600);
	if (bak_writer_file(import->writer, BAK_CHROMA_ROWS, &in, BAK_HINT_NONE, err) < 0 ||
	    take_file(&l, err) < 0)
		return -1;
	*out_n = l.n;
	return bak_writer_file_end(import->writer, &in, err);
}

/* --- the tree --- */

static int save(struct import *import, const struct found *found, struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) char *full = bak_chroma_full_name(&found->c);
	uint64_t n;

	if (!full)
		return bak_error_nomem(err);
	if (json_object_get(import->counts, full))
		return bak_error_set(err, BAK_REFUSED, "%s is in it twice", full);
	if (bak_chroma_enter(import->writer, found->c.name, err) < 0 ||
	    bak_chroma_save_about(import->writer, &found->c, err) < 0 ||
	    save_rows(import, found, &n, err) < 0)
		return -1;
	if (json_object_set_new(import->counts, full, json_integer((json_int_t)n)) < 0)
		return bak_error_nomem(err);
	return bak_writer_leave(import->writer, err);
}

/* Opens and closes the folders between one collection and the next. */
static int save_all(struct import *import, struct bak_error *err)
{
	for (size_t i = 0; i < import->n; i++) {
		const struct bak_chroma_collection *c = &import->v[i].c;
		const struct bak_chroma_collection *before = i ? &import->v[i - 1].c : NULL;
		bool tenant = !before || strcmp(before->tenant, c->tenant) != 0;
		bool database = tenant || strcmp(before->database, c->database) != 0;

		if ((before && database && bak_writer_leave(import->writer, err) < 0) ||
		    (before && tenant && bak_writer_leave(import->writer, err) < 0) ||
		    (tenant && bak_chroma_enter(import->writer, c->tenant, err) < 0) ||
		    (database && bak_chroma_enter(import->writer, c->database, err) < 0) ||
		    save(import, &import->v[i], err) < 0)
			return -1;
	}
	if (import->n && (bak_writer_leave(import->writer, err) < 0 ||
			  bak_writer_leave(import->writer, err) < 0))
		return -1;
	return 0;
}

static int by_place(const void *a, const void *b)
{
	return bak_chroma_by_place(&((const struct found *)a)->c, &((const struct found *)b)->c);
}

static int take_in(struct import *import, const char *path, json_t *facts, struct bak_error *err)
{
	struct bak_source_inode root;
	struct stat st;

	if (stat(path, &st) < 0)
		return bak_error_sys(err, errno, "%s", path);
	if ((S_ISDIR(st.st_mode) ? look(import, path, 0, err) : add_plain(import, path, err)) < 0)
		return -1;
	if (import->n == 0)
		return bak_error_set(err, BAK_REFUSED, "%s holds no collection (a folder with %s)",
				     path, BAK_CHROMA_ABOUT);
	qsort(import->v, import->n, sizeof *import->v, by_place);
	bak_payload_inode(&root, BAK_TYPE_DIR, 0700);
	if (bak_writer_root(import->writer, &root, err) < 0 || save_all(import, err) < 0)
		return -1;
	if (json_object_set(facts, "counts", import->counts) < 0 ||
	    json_object_set_new(facts, "mode", json_string("api")) < 0 ||
	    json_object_set_new(facts, "upload", json_true()) < 0 ||
	    json_object_set_new(facts, "collections", json_integer((json_int_t)import->n)) < 0)
		return bak_error_nomem(err);
	return 0;
}

int bak_chroma_api_import(struct bak_chroma *chroma, const char *path, struct bak_writer *writer,
			  json_t *facts, struct bak_error *err)
{
	struct import import = {.chroma = chroma, .writer = writer, .counts = json_object()};
	int rc = import.counts ? take_in(&import, path, facts, err) : bak_error_nomem(err);

	release(&import);
	if (rc < 0 && (err->code == BAK_CORRUPT || err->code == BAK_NOT_FOUND))
		err->code = BAK_REFUSED;
	return rc;
}
