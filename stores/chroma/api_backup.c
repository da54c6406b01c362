/*
 * A server saved collection by collection: <tenant>/<database>/<collection>/ with collection.json
 * (what it is) and rows.ndjson (its rows in the order in which they were added).
 *
 * The server knows no snapshot. The rows that a collection has when it is begun are read in pages;
 * behind them, new rows do no harm. At the end the same number of ids is read once more: if any row
 * of them was deleted meanwhile, pages have shifted, the ids differ, and the collection is read
 * anew. So what is saved is exactly the rows that were there at its beginning, each as it was at
 * one moment in between.
 */
#include "stores/chroma/chroma.h"
#include "stores/payload.h"

#include "engine/base/hash.h"

#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* So often a collection is read anew. */
#define TRIES 5
/* Lines go to the writer in pieces of about this size. */
#define GATHER ((size_t)1 << 20)

struct saver {
	struct bak_chroma *chroma;
	struct bak_writer *writer;
	json_t *counts;
	struct bak_buf lines;
};

/* What the ids of a collection come to, to be compared. */
struct ids {
	uint64_t n;
	struct bak_sha256 sha;
	uint8_t hash[BAK_SHA256_LEN];
};

static int ids_begin(struct ids *ids, struct bak_error *err)
{
	*ids = (struct ids){.n = 0};
	if (bak_sha256_init(&ids->sha, err) < 0)
		return -1;
	bak_sha256_begin(&ids->sha);
	return 0;
}

static void ids_add(struct ids *ids, const struct bak_chroma_page *page)
{
	for (size_t i = 0; i < page->n; i++)
		bak_sha256_update(&ids->sha, page->ids.v[i].p, page->ids.v[i].len);
	ids->n += page->n;
}

static void ids_end(struct ids *ids)
{
	bak_sha256_final(&ids->sha, ids->hash);
	bak_sha256_release(&ids->sha);
}

/* --- rows --- */

static int flush(struct saver *s, struct bak_error *err)
{
	int rc = bak_writer_data(s->writer, s->lines.p, s->lines.len, err);

	s->lines.len = 0;
	return rc;
}

static int save_page(struct saver *s, const struct bak_chroma_page *page, struct bak_error *err)
{
	for (size_t i = 0; i < page->n; i++) {
		if (bak_chroma_page_line(page, i, &s->lines, err) < 0 ||
		    (s->lines.len >= GATHER && flush(s, err) < 0))
			return -1;
	}
	return 0;
}

/* Reads n rows, into the file that is open, or only their ids. */
static int read_rows(struct saver *s, const struct bak_chroma_collection *c, uint64_t n,
		     bool ids_only, struct ids *ids, struct bak_error *err)
{
	const struct bak_chroma_fetch_conf conf = {
		.chroma = s->chroma, .collection = c, .rows = n, .ids_only = ids_only};
	const struct bak_chroma_page *page;
	struct bak_chroma_fetch *fetch = NULL;
	int rc = ids_begin(ids, err);

	if (rc < 0)
		return -1;
	rc = bak_chroma_fetch_new(&conf, &fetch, err);
	while (rc == 0 && (rc = bak_chroma_fetch_next(fetch, &page, err)) > 0) {
		ids_add(ids, page);
		rc = ids_only ? 0 : save_page(s, page, err);
	}
	bak_chroma_fetch_free(fetch);
	ids_end(ids);
	return rc;
}

/* 1 saved, 0 rows were deleted meanwhile, -1. */
static int save_rows(struct saver *s, const struct bak_chroma_collection *c, uint64_t n,
		     struct bak_error *err)
{
	struct ids saved, after;

	s->lines.len = 0;
	if (read_rows(s, c, n, false, &saved, err) < 0 || flush(s, err) < 0)
		return -1;
	if (saved.n != n)
		return 0;
	if (read_rows(s, c, n, true, &after, err) < 0)
		return -1;
	return after.n == n && memcmp(saved.hash, after.hash, sizeof saved.hash) == 0;
}

static int save_rows_file(struct saver *s, const struct bak_chroma_collection *c, uint64_t *out_n,
			  struct bak_error *err)
{
	struct bak_source_inode in;
	int rc = 0;

	bak_payload_inode(&in, BAK_TYPE_FILE, 0600);
	if (bak_writer_file(s->writer, BAK_CHROMA_ROWS, &in, BAK_HINT_NONE, err) < 0)
		return -1;
	for (int i = 0; i < TRIES && rc == 0; i++) {
		if (i > 0) {
			bak_store_log(s->chroma->env,
				      "%s: rows were deleted while it was read, it is read again",
				      c->name);
			if (bak_writer_file_restart(s->writer, err) < 0)
				return -1;
		}
		if (bak_chroma_count(s->chroma->http, c, out_n, err) < 0)
			return -1;
		rc = save_rows(s, c, *out_n, err);
	}
	if (rc == 0)
		return bak_error_set(err, BAK_BUSY,
				     "rows were deleted each of the %d times that it was read: "
				     "back up when less is deleted, or with mode = directory",
				     TRIES);
	return rc < 0 ? -1 : bak_writer_file_end(s->writer, &in, err);
}

/* --- the tree --- */

int bak_chroma_save_about(struct bak_writer *writer, const struct bak_chroma_collection *c,
			  struct bak_error *err)
{
	json_t *about = bak_chroma_about(c);
	BAK_AUTO(bak_free_ptr)
	char *text = about ? json_dumps(about, JSON_SORT_KEYS | JSON_INDENT(2)) : NULL;
	struct bak_source_inode in;

	json_decref(about);
	if (!text)
		return bak_error_nomem(err);
	bak_payload_inode(&in, BAK_TYPE_FILE, 0600);
	if (bak_writer_file(writer, BAK_CHROMA_ABOUT, &in, BAK_HINT_NONE, err) < 0 ||
	    bak_writer_data(writer, text, strlen(text), err) < 0 ||
	    bak_writer_data(writer, "\n", 1, err) < 0)
		return -1;
	return bak_writer_file_end(writer, &in, err);
}

int bak_chroma_enter(struct bak_writer *writer, const char *name, struct bak_error *err)
{
	char file[NAME_MAX + 1];
	struct bak_source_inode in;

	bak_payload_inode(&in, BAK_TYPE_DIR, 0700);
	if (bak_chroma_file_name(name, file, err) < 0)
		return -1;
	return bak_writer_enter(writer, file, &in, err);
}

static int save_collection(struct saver *s, const struct bak_chroma_collection *c,
			   struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) char *name = bak_chroma_full_name(c);
	uint64_t n;

	if (bak_chroma_enter(s->writer, c->name, err) < 0 ||
	    bak_chroma_save_about(s->writer, c, err) < 0)
		return -1;
	if (save_rows_file(s, c, &n, err) < 0)
		return err->code == BAK_NO_SPACE ? -1
						 : bak_error_wrap(err, "collection %s", c->name);
	if (!name || json_object_set_new(s->counts, name, json_integer((json_int_t)n)) < 0)
		return bak_error_nomem(err);
	return bak_writer_leave(s->writer, err);
}

static bool is_in(const struct bak_chroma_collection *c, const struct bak_chroma_database *d)
{
	return strcmp(c->tenant, d->tenant) == 0 && strcmp(c->database, d->name) == 0;
}

static int save_tree(struct saver *s, const struct bak_chroma_list *list, struct bak_error *err)
{
	size_t at = 0;

	for (size_t i = 0; i < list->n_databases; i++) {
		const struct bak_chroma_database *d = &list->databases[i];
		bool first = i == 0 || strcmp(d->tenant, d[-1].tenant) != 0;
		bool last = i + 1 == list->n_databases || strcmp(d->tenant, d[1].tenant) != 0;

		if ((first && bak_chroma_enter(s->writer, d->tenant, err) < 0) ||
		    bak_chroma_enter(s->writer, d->name, err) < 0)
			return -1;
		for (; at < list->n && is_in(&list->v[at], d); at++) {
			if (save_collection(s, &list->v[at], err) < 0)
				return -1;
		}
		if (bak_writer_leave(s->writer, err) < 0 ||
		    (last && bak_writer_leave(s->writer, err) < 0))
			return -1;
	}
	if (at != list->n)
		return bak_error_set(err, BAK_CORRUPT,
				     "the server lists a collection in another database than its "
				     "own: %s",
				     list->v[at].name);
	return 0;
}

static int add_facts(struct bak_chroma *chroma, const struct bak_chroma_list *list,
		     const struct bak_chroma_facts *server, int64_t began, json_t *facts,
		     struct bak_error *err)
{
	json_t *more = json_pack("{s:s, s:s, s:s, s:I, s:I, s:I}", "mode", "api", "server",
				 server->version, "url", bak_http_url(chroma->http), "collections",
				 (json_int_t)list->n, "began", (json_int_t)began, "ended",
				 (json_int_t)time(NULL));
	int rc = more && json_object_update(facts, more) == 0 ? 0 : bak_error_nomem(err);

	json_decref(more);
	return rc;
}

int bak_chroma_api_backup(struct bak_chroma *chroma, struct bak_writer *writer, json_t *facts,
			  struct bak_error *err)
{
	struct saver s = {.chroma = chroma, .writer = writer, .counts = json_object()};
	struct bak_chroma_list list = {.n = 0};
	struct bak_chroma_facts server;
	struct bak_source_inode root;
	int64_t began = time(NULL);
	int rc = s.counts && json_object_set(facts, "counts", s.counts) == 0 ? 0
									     : bak_error_nomem(err);

	bak_payload_inode(&root, BAK_TYPE_DIR, 0700);
	if (rc == 0)
		rc = bak_chroma_ask(chroma->http, &server, err);
	if (rc == 0)
		rc = bak_chroma_list(chroma, chroma->http, &list, err);
	if (rc == 0 && list.n_kept + list.n_left)
		bak_store_log(chroma->env,
			      "%zu collections that restores have kept or left are not saved",
			      list.n_kept + list.n_left);
	if (rc == 0 && (bak_writer_root(writer, &root, err) < 0 || save_tree(&s, &list, err) < 0))
		rc = -1;
	if (rc == 0)
		rc = add_facts(chroma, &list, &server, began, facts, err);
	bak_chroma_list_release(&list);
	bak_buf_release(&s.lines);
	json_decref(s.counts);
	return rc;
}
