/* Folders of snapshots: looking up a name, listing with attributes. */
#include "fs/fs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int bak_dirbuf_init(struct bak_dirbuf *buf, fuse_req_t req, size_t size, bool plus, double timeout)
{
	*buf = (struct bak_dirbuf){.req = req, .cap = size, .plus = plus, .timeout = timeout};
	buf->p = malloc(size ? size : 1);
	return buf->p ? 0 : ENOMEM;
}

void bak_dirbuf_release(struct bak_dirbuf *buf)
{
	free(buf->p);
	buf->p = NULL;
}

bool bak_dirbuf_add(struct bak_dirbuf *buf, const char *name, const struct stat *st, off_t off)
{
	size_t need;
	size_t room = buf->cap - buf->len;
	if (buf->plus) {
		struct fuse_entry_param e = {
			.ino = st->st_ino,
			.attr = *st,
			.attr_timeout = buf->timeout,
			.entry_timeout = buf->timeout,
		};
		need = fuse_add_direntry_plus(buf->req, buf->p + buf->len, room, name, &e, off);
	} else {
		need = fuse_add_direntry(buf->req, buf->p + buf->len, room, name, st, off);
	}
	if (need > room)
		return false;
	buf->len += need;
	return true;
}

bool bak_dirbuf_add_name(struct bak_dirbuf *buf, const char *name, uint64_t ino, mode_t type,
			 off_t off)
{
	struct stat st = {.st_ino = ino, .st_mode = type};
	if (!buf->plus)
		return bak_dirbuf_add(buf, name, &st, off);
	/* Node 0: the kernel takes the name and no attributes. */
	struct fuse_entry_param e = {.ino = 0, .attr = st};
	size_t room = buf->cap - buf->len;
	size_t need = fuse_add_direntry_plus(buf->req, buf->p + buf->len, room, name, &e, off);
	if (need > room)
		return false;
	buf->len += need;
	return true;
}

bool bak_dirbuf_dots(struct bak_dirbuf *buf, off_t off, uint64_t self, uint64_t parent)
{
	if (off < 1 && !bak_dirbuf_add_name(buf, ".", self, S_IFDIR, 1))
		return false;
	return off >= 2 || bak_dirbuf_add_name(buf, "..", parent, S_IFDIR, 2);
}

static int fill_entry(struct bak_fs *fs, const struct bak_place *dir, const struct bak_found *found,
		      struct stat *st)
{
	uint64_t ino = bak_ino_entry(dir->at.view, dir->at.number, dir->at.n + found->preorder,
				     &found->entry);
	if (!ino)
		return EOVERFLOW;
	bak_attr_found(fs, &dir->snap->tree, ino, found, st);
	return 0;
}

/* The folder above, for "..". */
static uint64_t parent_ino(struct bak_fs *fs, const struct bak_place *dir)
{
	if (dir->at.n)
		return bak_ino_tree(dir->at.view, dir->at.number, dir->parent);
	struct bak_catalog *cat = bak_catalog_box_get(fs->catalog);
	uint64_t ino = bak_view_parent_of_root(cat, dir->at.view, dir->at.number);
	bak_catalog_unref(cat);
	return ino ? ino : dir->ino;
}

static int entry_of_ino(struct bak_fs *fs, uint64_t ino, struct fuse_entry_param *out)
{
	if (bak_ino_parse(ino).range == BAK_RANGE_VIRTUAL || ino == BAK_INO_ROOT) {
		struct bak_catalog *cat = bak_catalog_box_get(fs->catalog);
		struct bak_vnode node;
		int no = bak_catalog_node(cat, ino, &node)
				 ? bak_view_attr(fs, cat, node, &out->attr)
				 : ESTALE;
		bak_catalog_unref(cat);
		return no;
	}
	struct bak_place place;
	int no = bak_place_open(fs, ino, &place);
	if (no)
		return no;
	bak_attr_found(fs, &place.snap->tree, ino, &place.found, &out->attr);
	bak_place_close(&place);
	return 0;
}

/* "." and "..": only asked for by those who come with a handle from a former life (NFS). */
static int lookup_dot(struct bak_fs *fs, const struct bak_place *dir, const char *name,
		      struct fuse_entry_param *out)
{
	uint64_t ino = name[1] ? parent_ino(fs, dir) : dir->ino;
	int no = entry_of_ino(fs, ino, out);
	out->ino = ino;
	return no;
}

static int lookup_name(struct bak_fs *fs, const struct bak_place *dir, const char *name,
		       struct fuse_entry_param *out)
{
	const struct bak_inode *inode = &dir->found.entry.inode;
	if (inode->type != BAK_TYPE_DIR)
		return ENOTDIR;
	if (!inode->dir.len)
		return ENOENT;
	struct bak_error err = BAK_ERROR_INIT;
	BAK_AUTO(bak_found_release) struct bak_found found = BAK_FOUND_INIT;
	int rc = bak_folder_lookup(&dir->snap->tree, &inode->dir, name, strlen(name), &found, &err);
	if (rc < 0)
		return bak_damage(fs, &dir->snap->tree, dir->at, &err);
	if (rc == 0)
		return ENOENT;
	int no = fill_entry(fs, dir, &found, &out->attr);
	out->ino = out->attr.st_ino;
	return no;
}

int bak_dir_lookup(struct bak_fs *fs, uint64_t parent, const char *name,
		   struct fuse_entry_param *out)
{
	struct bak_place dir;
	int no = bak_place_open(fs, parent, &dir);
	if (no)
		return no;
	out->attr_timeout = out->entry_timeout = BAK_FOREVER;
	if (name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2])))
		no = lookup_dot(fs, &dir, name, out);
	else
		no = lookup_name(fs, &dir, name, out);
	bak_place_close(&dir);
	return no;
}

/* Longer names than the kernel takes are no writer's; they would end the whole listing. */
#define NAME_LIMIT 1024

static int list_entries(struct bak_fs *fs, const struct bak_place *dir, struct bak_cursor *cursor,
			struct bak_dirbuf *buf)
{
	struct bak_error err = BAK_ERROR_INIT;
	char name[NAME_LIMIT + 1];
	const struct bak_found *found;
	int rc;
	while ((rc = bak_cursor_next(cursor, &found, &err)) > 0) {
		const struct bak_entry *entry = &found->entry;
		struct stat st;
		if (entry->name_len > NAME_LIMIT)
			continue;
		memcpy(name, entry->name, entry->name_len);
		name[entry->name_len] = '\0';
		int no = fill_entry(fs, dir, found, &st);
		if (no)
			return no;
		if (!bak_dirbuf_add(buf, name, &st, (off_t)(found->preorder + BAK_DIR_FIRST)))
			return 0;
	}
	if (rc < 0) {
		int no = bak_damage(fs, &dir->snap->tree, dir->at, &err);
		return buf->len ? 0 : no; /* what was read is shown; the next call fails */
	}
	return 0;
}

int bak_dir_read(struct bak_fs *fs, uint64_t ino, off_t off, struct bak_dirbuf *buf)
{
	struct bak_place dir;
	int no = bak_place_open(fs, ino, &dir);
	if (no)
		return no;
	const struct bak_inode *inode = &dir.found.entry.inode;
	struct bak_cursor *cursor = NULL;
	struct bak_error err = BAK_ERROR_INIT;
	if (inode->type != BAK_TYPE_DIR) {
		no = ENOTDIR;
	} else if (bak_dirbuf_dots(buf, off, ino, off < 2 ? parent_ino(fs, &dir) : 0) &&
		   inode->dir.len) {
		uint64_t from = off <= BAK_DIR_FIRST ? 1 : (uint64_t)off - BAK_DIR_FIRST + 1;
		if (bak_cursor_open(&dir.snap->tree, &inode->dir, from, &cursor, &err) < 0)
			no = bak_damage(fs, &dir.snap->tree, dir.at, &err);
		else
			no = list_entries(fs, &dir, cursor, buf);
	}
	bak_cursor_close(cursor);
	bak_place_close(&dir);
	return no;
}
