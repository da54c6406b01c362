/* One walk over a snapshot's files: see walk.h. */
#include "engine/ops/walk.h"

#include <stdlib.h>

bool bak_is_damage(const struct bak_error *err)
{
	return err->code == BAK_CORRUPT || err->code == BAK_NOT_FOUND || err->code == BAK_IO ||
	       err->code == BAK_UNSUPPORTED;
}

static int told(struct bak_walk *w, struct bak_error *err)
{
	if (!bak_is_damage(err))
		return -1;
	return w->damaged(w->ctx, (const char *)w->path.p, err);
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

static int with_name(struct bak_walk *w, const struct bak_entry *entry, struct bak_error *err)
{
	size_t len = w->path.len;
	if ((len > 0 && bak_buf_append(&w->path, "/", 1) < 0) ||
	    bak_buf_append(&w->path, entry->name, entry->name_len) < 0 ||
	    bak_buf_reserve(&w->path, 1) < 0)
		return bak_error_nomem(err);
	w->path.p[w->path.len] = '\0';
	int rc = walk_entry(w, entry, err);
	w->path.len = len;
	w->path.p[len] = '\0';
	return rc;
}

static int walk_folder(struct bak_walk *w, const struct bak_ref *dir, struct bak_error *err)
{
	struct bak_cursor *cursor;
	const struct bak_found *found;
	if (w->skip && w->skip(w->ctx, dir))
		return 0;
	if (bak_cursor_open(&w->tree, dir, 1, &cursor, err) < 0)
		return -1;
	int rc, step = 0;
	while ((rc = bak_cursor_next(cursor, &found, err)) == 1) {
		step = with_name(w, &found->entry, err);
		if (step < 0)
			break;
	}
	bak_cursor_close(cursor);
	if (step < 0)
		return -1;
	if (rc < 0)
		return told(w, err);
	if (w->leave)
		w->leave(w->ctx, dir);
	return 0;
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
