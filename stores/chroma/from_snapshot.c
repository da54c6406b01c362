/* Collections out of a snapshot: which are asked for, and their rows line by line. See chroma.h. */
#include "stores/chroma/chroma.h"
#include "stores/payload.h"

#include "engine/content/reader.h"

#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

struct snapshot_source {
	struct bak_chroma *chroma;
	const struct bak_restore_from *from;
	struct bak_tree tree;
	struct bak_chroma_collection *collections;
	char **paths; /* of their folders */
	size_t n, cap, cap_paths;
	uint64_t done, all; /* bytes */

	/* The one that is read. */
	struct bak_found rows;
	struct bak_payload_reader reader;
	struct bak_buf line;
	const char *piece;
	size_t piece_len;
};

/* 1 more bytes are in piece, 0 the end, -1. */
static int next_piece(struct snapshot_source *s, struct bak_error *err)
{
	const void *p;
	int rc = bak_payload_give(&s->reader, &p, &s->piece_len, err);

	s->piece = p;
	return rc > 0 ? 1 : rc;
}

static int next_line(void *ctx, struct bak_text *out, struct bak_error *err)
{
	struct snapshot_source *s = ctx;

	s->line.len = 0;
	for (;;) {
		const char *end = s->piece_len ? memchr(s->piece, '\n', s->piece_len) : NULL;
		size_t len = end ? (size_t)(end + 1 - s->piece) : s->piece_len;
		int rc;

		if (len > BAK_CHROMA_LINE_MAX - s->line.len)
			return bak_error_set(err, BAK_CORRUPT, "%s: a line is too long",
					     BAK_CHROMA_ROWS);
		if (len && bak_buf_append(&s->line, s->piece, len) < 0)
			return bak_error_nomem(err);
		s->piece += len;
		s->piece_len -= len;
		if (end)
			break;
		rc = next_piece(s, err);
		if (rc < 0)
			return -1;
		if (rc == 0 && s->line.len == 0)
			return 0;
		if (rc == 0)
			return bak_error_set(err, BAK_CORRUPT, "%s: its last line has no end",
					     BAK_CHROMA_ROWS);
	}
	*out = (struct bak_text){(const char *)s->line.p, s->line.len};
	return 1;
}

static int rewind_lines(void *ctx, struct bak_error *err)
{
	struct snapshot_source *s = ctx;

	(void)err;
	s->reader.at = 0;
	s->reader.before = s->done + s->rows.entry.inode.size;
	s->piece_len = 0;
	return 0;
}

static int open_rows(void *ctx, size_t i, struct bak_chroma_rows *out, struct bak_error *err)
{
	struct snapshot_source *s = ctx;
	BAK_AUTO(bak_free_ptr) char *path = NULL;

	*out = (struct bak_chroma_rows){next_line, rewind_lines, s};
	if (asprintf(&path, "%s/%s", s->paths[i], BAK_CHROMA_ROWS) < 0) {
		path = NULL;
		return bak_error_nomem(err);
	}
	bak_found_release(&s->rows);
	s->rows = (struct bak_found)BAK_FOUND_INIT;
	int rc = bak_tree_path(&s->tree, path, &s->rows, err);
	if (rc == 0)
		return bak_error_set(err, BAK_CORRUPT, "%s is missing in the snapshot", path);
	if (rc < 0)
		return -1;
	s->piece_len = 0;
	s->reader = (struct bak_payload_reader){.env = s->chroma->env,
						.source = s->tree.source,
						.inode = &s->rows.entry.inode,
						.before = s->done,
						.all = s->all};
	return 0;
}

static void close_rows(void *ctx, struct bak_chroma_rows *rows)
{
	struct snapshot_source *s = ctx;

	(void)rows;
	s->done += 2 * s->rows.entry.inode.size;
	bak_payload_reader_release(&s->reader);
}

/* --- which --- */

bool bak_chroma_is_wished(const struct bak_restore_from *from,
			  const struct bak_chroma_collection *c)
{
	BAK_AUTO(bak_free_ptr) char *full = bak_chroma_full_name(c);
	const char *pattern = bak_restore_wish(from, "collection", 0);
	bool any = pattern == NULL;

	for (size_t i = 0; pattern && !any; pattern = bak_restore_wish(from, "collection", ++i))
		any = fnmatch(pattern, c->name, 0) == 0 || (full && fnmatch(pattern, full, 0) == 0);
	return any;
}

/* One of the chosen paths is it, leads to it, or lies in it. */
static bool is_chosen(const struct bak_restore_from *from, const char *path)
{
	for (size_t i = 0; i < from->n_only; i++) {
		const char *only = from->only[i];
		size_t a = strlen(only), b = strlen(path);

		while (a && only[a - 1] == '/')
			a--;
		if (!a || (a <= b && memcmp(only, path, a) == 0 && (!path[a] || path[a] == '/')) ||
		    (a > b && memcmp(only, path, b) == 0 && only[b] == '/'))
			return true;
	}
	return from->n_only == 0;
}

#define ABOUT_MAX (16u << 20)

static int read_about(struct snapshot_source *s, const char *path,
		      struct bak_chroma_collection *out, struct bak_error *err)
{
	BAK_AUTO(bak_found_release) struct bak_found found = BAK_FOUND_INIT;
	BAK_AUTO(bak_buf_release) struct bak_buf text = BAK_BUF_INIT;
	BAK_AUTO(bak_free_ptr) char *file = NULL;
	size_t n = 0;
	int rc;

	if (asprintf(&file, "%s/%s", path, BAK_CHROMA_ABOUT) < 0) {
		file = NULL;
		return bak_error_nomem(err);
	}
	rc = bak_tree_path(&s->tree, file, &found, err);
	if (rc < 0)
		return -1;
	if (rc == 0 || found.entry.inode.type != BAK_TYPE_FILE ||
	    found.entry.inode.size > ABOUT_MAX)
		return bak_error_set(err, BAK_CORRUPT, "%s should be in the snapshot", file);
	if (bak_buf_resize(&text, (size_t)found.entry.inode.size) < 0)
		return bak_error_nomem(err);
	if (bak_read(s->tree.source, &found.entry.inode.content, found.entry.inode.size, 0, text.p,
		     text.len, &n, err) < 0)
		return -1;
	return bak_chroma_from_about((const char *)text.p, n, out, err);
}

static int add_path(struct snapshot_source *s, char *path, struct bak_error *err)
{
	struct bak_chroma_collection c = {.name = NULL};

	if (is_chosen(s->from, path)) {
		if (read_about(s, path, &c, err) < 0)
			return -1;
		if (bak_chroma_is_wished(s->from, &c)) {
			if (bak_grow(&s->collections, &s->cap, s->n, sizeof c) < 0 ||
			    bak_grow(&s->paths, &s->cap_paths, s->n, sizeof *s->paths) < 0 ||
			    !(s->paths[s->n] = strdup(path))) {
				bak_chroma_collection_release(&c);
				return bak_error_nomem(err);
			}
			s->collections[s->n++] = c;
			return 0;
		}
		bak_chroma_collection_release(&c);
	}
	return 0;
}

/* Folders at the third depth are collections. */
static int walk(struct snapshot_source *s, const struct bak_ref *dir, const char *path, int depth,
		struct bak_error *err)
{
	struct bak_cursor *cursor = NULL;
	const struct bak_found *found;
	int rc = bak_cursor_open(&s->tree, dir, 1, &cursor, err);

	while (rc == 0 && (rc = bak_cursor_next(cursor, &found, err)) > 0) {
		BAK_AUTO(bak_free_ptr) char *below = NULL;

		rc = 0;
		if (found->entry.inode.type != BAK_TYPE_DIR)
			continue;
		if (asprintf(&below, "%s%s%.*s", path, *path ? "/" : "", (int)found->entry.name_len,
			     found->entry.name) < 0) {
			below = NULL;
			rc = bak_error_nomem(err);
		} else if (depth == 2) {
			rc = add_path(s, below, err);
		} else {
			rc = walk(s, &found->entry.inode.dir, below, depth + 1, err);
		}
	}
	bak_cursor_close(cursor);
	return rc;
}

static void release_source(struct snapshot_source *s)
{
	for (size_t i = 0; i < s->n; i++) {
		bak_chroma_collection_release(&s->collections[i]);
		free(s->paths[i]);
	}
	free(s->collections);
	free(s->paths);
	bak_found_release(&s->rows);
	bak_payload_reader_release(&s->reader);
	bak_buf_release(&s->line);
}

/* What a server has besides makes way for a backup of it, but not for what somebody uploads. */
static bool is_whole(const struct bak_restore_from *from)
{
	json_t *facts = bak_snapshot_facts(from->snapshot);
	bool upload = json_is_true(json_object_get(facts, "upload"));

	json_decref(facts);
	return !upload && from->n_only == 0 && from->n_wishes == 0;
}

int bak_chroma_api_restore(struct bak_chroma *chroma, const struct bak_restore_from *from,
			   json_t *state, struct bak_error *err)
{
	struct snapshot_source s = {.chroma = chroma,
				    .from = from,
				    .tree = {bak_repo_source(from->repo), from->snapshot},
				    .all = 2 * from->snapshot->root.totals.bytes,
				    .rows = BAK_FOUND_INIT};
	bool whole = is_whole(from);
	int rc = walk(&s, &from->snapshot->root.dir, "", 0, err);

	if (rc == 0 && s.n == 0 && !whole)
		rc = bak_error_set(err, BAK_NOT_FOUND,
				   "no collection of the snapshot is what was asked for");
	if (rc == 0) {
		const struct bak_chroma_source source = {.n = s.n,
							 .collections = s.collections,
							 .open = open_rows,
							 .close = close_rows,
							 .ctx = &s,
							 .whole = whole};

		rc = bak_chroma_restore_source(chroma, &source, state, err);
	}
	release_source(&s);
	return rc;
}
