/* One walk over a snapshot's files: see walk.h. */
#include "engine/ops/walk.h"

#include <stdlib.h>

bool bak_is_damage(const struct bak_error *err)
{
	return err->code == BAK_CORRUPT || err->code == BAK_NOT_FOUND || err->code == BAK_IO ||
	       err->code == BAK_UNSUPPORTED;
}

/* True the first time a link number is met. */
static bool first_name(struct bak_walk *w, const struct bak_entry *entry)
{
	if (!entry->linked || entry->link >= w->tree.snapshot->next_link)
		return true;
	uint8_t *byte = &w->links_seen[entry->link / 8], bit = (uint8_t)(1u << entry->link % 8);
	bool first = !(*byte & bit);
	*byte |= bit;
	return first;
}

static int walk_folder(struct bak_walk *w, const struct bak_ref *dir, struct bak_error *err);

/* w->path ends with the entry's name. */
static int walk_entry(struct bak_walk *w, const struct bak_entry *entry, struct bak_error *err)
{
	if (entry->inode.type == BAK_TYPE_FILE && first_name(w, entry))
		return w->file(w->ctx, (const char *)w->path.p, &entry->inode, err);
	if (entry->inode.type == BAK_TYPE_DIR && entry->inode.dir.len > 0) {
		struct bak_ref dir = entry->inode.dir;
		return walk_folder(w, &dir, err);
	}
	return 0;
}

static int push_name(struct bak_walk *w, const char *name, size_t name_len, struct bak_error *err)
{
	if ((w->path.len > 0 && bak_buf_append(&w->path, "/", 1) < 0) ||
	    bak_buf_append(&w->path, name, name_len) < 0 || bak_buf_reserve(&w->path, 1) < 0)
		return bak_error_nomem(err);
	w->path.p[w->path.len] = '\0';
	return 0;
}

static void pop_name(struct bak_walk *w, size_t len)
{
	w->path.len = len;
	w->path.p[len] = '\0';
}

static int with_name(struct bak_walk *w, const struct bak_entry *entry, struct bak_error *err)
{
	size_t len = w->path.len;
	if (push_name(w, entry->name, entry->name_len, err) < 0)
		return -1;
	int rc = walk_entry(w, entry, err);
	pop_name(w, len);
	return rc;
}

/* What the cursor could not read is told, and the cursor goes on behind it. 1 there is more, 0, -1.
 */
static int pass_over(struct bak_walk *w, struct bak_cursor *cursor, struct bak_error *err)
{
	BAK_AUTO(bak_gap_release) struct bak_gap gap = {.one = false};
	struct bak_error why = *err;
	size_t len = w->path.len;
	if (!bak_is_damage(err))
		return -1;
	int more = bak_cursor_skip(cursor, &gap, err);
	if (more < 0 || (gap.one && push_name(w, (char *)gap.first.p, gap.first.len - 1, err) < 0))
		return -1;
	*err = why;
	int rc = w->damaged(w->ctx, (const char *)w->path.p, &gap, err);
	if (gap.one)
		pop_name(w, len);
	return rc < 0 ? -1 : more;
}

static int walk_folder(struct bak_walk *w, const struct bak_ref *dir, struct bak_error *err)
{
	struct bak_cursor *cursor;
	const struct bak_found *found;
	if (w->skip && w->skip(w->ctx, dir))
		return 0;
	if (bak_cursor_open(&w->tree, dir, 1, &cursor, err) < 0)
		return -1;
	int rc, more = 1;
	bool whole = true;
	while (more == 1 && (rc = bak_cursor_next(cursor, &found, err)) != 0) {
		if (rc == 1) {
			more = with_name(w, &found->entry, err) < 0 ? -1 : 1;
		} else {
			whole = false;
			more = pass_over(w, cursor, err);
		}
	}
	bak_cursor_close(cursor);
	if (more == 1 && whole && w->leave)
		w->leave(w->ctx, dir);
	return more < 0 ? -1 : 0;
}

int bak_walk(struct bak_walk *w, struct bak_error *err)
{
	const struct bak_snapshot *snapshot = w->tree.snapshot;
	int rc = 0;
	w->path = (struct bak_buf)BAK_BUF_INIT;
	if (snapshot->next_link / 8 > SIZE_MAX / 2 || bak_buf_reserve(&w->path, 1) < 0)
		return bak_error_nomem(err);
	w->path.p[0] = '\0';
	w->links_seen = calloc(snapshot->next_link / 8 + 1, 1);
	if (!w->links_seen)
		rc = bak_error_nomem(err);
	else if (snapshot->root.dir.len > 0)
		rc = walk_folder(w, &snapshot->root.dir, err);
	free(w->links_seen);
	w->links_seen = NULL;
	bak_buf_release(&w->path);
	return rc;
}
