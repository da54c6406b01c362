/* The nodes below /restore/<store>/: see upload.h. */
#include "fs/upload.h"

#include "fs/acl.h"
#include "fs/ino.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <time.h>

/* --- the table --- */

int bak_unodes_init(struct bak_unodes *table)
{
	*table = (struct bak_unodes){.n_buckets = 256};
	table->buckets = calloc(table->n_buckets, sizeof(*table->buckets));
	return table->buckets ? 0 : -1;
}

void bak_unodes_release(struct bak_unodes *table)
{
	free(table->buckets);
	*table = (struct bak_unodes){.n = 0};
}

struct bak_unode *bak_unode_find(const struct bak_unodes *table, uint64_t ino)
{
	struct bak_unode *node = table->buckets[ino & (table->n_buckets - 1)];
	while (node && node->ino != ino)
		node = node->chain;
	return node;
}

/* Without memory the chains get longer, nothing else. */
static void table_grow(struct bak_unodes *table)
{
	size_t n = table->n_buckets * 2;
	struct bak_unode **buckets = calloc(n, sizeof(*buckets));
	if (!buckets)
		return;
	for (size_t i = 0; i < table->n_buckets; i++) {
		struct bak_unode *node = table->buckets[i], *next;
		for (; node; node = next) {
			next = node->chain;
			node->chain = buckets[node->ino & (n - 1)];
			buckets[node->ino & (n - 1)] = node;
		}
	}
	free(table->buckets);
	table->buckets = buckets;
	table->n_buckets = n;
}

static void table_put(struct bak_unodes *table, struct bak_unode *node)
{
	if (table->n++ >= table->n_buckets)
		table_grow(table);
	size_t at = node->ino & (table->n_buckets - 1);
	node->chain = table->buckets[at];
	table->buckets[at] = node;
}

static void table_take(struct bak_unodes *table, struct bak_unode *node)
{
	struct bak_unode **at = &table->buckets[node->ino & (table->n_buckets - 1)];
	while (*at != node)
		at = &(*at)->chain;
	*at = node->chain;
	table->n--;
}

/* --- items --- */

struct bak_item *bak_item_new(struct bak_unodes *table, struct bak_room *room, const char *path,
			      enum bak_item_kind kind, enum bak_name_class class)
{
	struct bak_item *item = calloc(1, sizeof *item);
	if (!item)
		return NULL;
	item->room = room;
	item->path = strdup(path);
	if (!item->path) {
		free(item);
		return NULL;
	}
	bak_item_init(&item->rules, kind, class);
	item->next = table->items;
	if (item->next)
		item->next->previous = item;
	table->items = item;
	return item;
}

void bak_item_drop(struct bak_unodes *table, struct bak_item *item)
{
	if (item->n_nodes)
		return;
	if (item->next)
		item->next->previous = item->previous;
	if (item->previous)
		item->previous->next = item->next;
	else
		table->items = item->next;
	free(item->path);
	free(item);
}

/* --- nodes --- */

struct bak_unode *bak_unode_new(struct bak_unodes *table, struct bak_item *item, mode_t mode,
				uid_t uid, gid_t gid)
{
	uint64_t ino = bak_ino_counted(table->last + 1);
	struct bak_unode *node = ino ? calloc(1, sizeof *node) : NULL;
	if (!node)
		return NULL;
	table->last++;
	node->ino = ino;
	node->mode = mode;
	node->uid = uid;
	node->gid = gid;
	node->refs = 1;
	node->nlink = S_ISDIR(mode) ? 2 : 0;
	clock_gettime(CLOCK_REALTIME, &node->mtime);
	node->atime = node->ctime = node->mtime;
	node->item = item;
	item->n_nodes++;
	table_put(table, node);
	return node;
}

void bak_unode_ref(struct bak_unode *node)
{
	node->refs++;
}

static void xattr_free(struct bak_xattr *xattr)
{
	free(xattr->name);
	free(xattr->value);
	free(xattr);
}

void bak_unode_unref(struct bak_unodes *table, struct bak_unode *node)
{
	if (--node->refs)
		return;
	table_take(table, node);
	if (node->item->top == node)
		node->item->top = NULL;
	node->item->n_nodes--;
	bak_item_drop(table, node->item);
	while (node->xattrs) {
		struct bak_xattr *next = node->xattrs->next;
		xattr_free(node->xattrs);
		node->xattrs = next;
	}
	bak_blob_free(node->blob);
	bak_dirmap_release(&node->entries);
	free(node->target);
	free(node);
}

int bak_unode_link(struct bak_dirmap *map, struct bak_unode *dir, const char *name,
		   struct bak_unode *node)
{
	if (bak_dirmap_add(map, name, node) < 0)
		return ENOMEM;
	bak_unode_ref(node);
	if (S_ISDIR(node->mode)) {
		node->parent = dir;
		if (dir)
			dir->nlink++;
	} else {
		node->nlink++;
	}
	return 0;
}

void bak_unode_unlink(struct bak_unodes *table, struct bak_dirmap *map, struct bak_unode *dir,
		      const char *name)
{
	struct bak_dirmap_entry *entry = bak_dirmap_find(map, name);
	struct bak_unode *node = entry->value;
	bak_dirmap_remove(map, name);
	if (!S_ISDIR(node->mode)) {
		node->nlink--;
	} else {
		node->parent = NULL;
		if (dir)
			dir->nlink--;
	}
	bak_unode_unref(table, node);
}

/* Down to what has nothing below it, away with that, and up again: no recursion, however deep. */
static void empty_folder(struct bak_unodes *table, struct bak_unode *top)
{
	struct bak_unode *dir = top;
	for (;;) {
		struct bak_dirmap_entry *entry = bak_dirmap_next(&dir->entries, 0);
		if (entry) {
			struct bak_unode *child = entry->value;
			if (S_ISDIR(child->mode) && child->entries.live)
				dir = child;
			else
				bak_unode_unlink(table, &dir->entries, dir, entry->name);
		} else if (dir == top) {
			return;
		} else {
			dir = dir->parent;
		}
	}
}

void bak_unode_unlink_all(struct bak_unodes *table, struct bak_dirmap *map, const char *name)
{
	struct bak_dirmap_entry *entry = bak_dirmap_find(map, name);
	if (!entry)
		return;
	struct bak_unode *node = entry->value;
	if (S_ISDIR(node->mode))
		empty_folder(table, node);
	bak_unode_unlink(table, map, node->parent, name);
}

void bak_unode_stat(struct bak_unode *node, struct stat *out)
{
	*out = (struct stat){
		.st_ino = node->ino,
		.st_mode = node->mode,
		.st_nlink = node->nlink,
		.st_uid = node->uid,
		.st_gid = node->gid,
		.st_rdev = node->rdev,
		.st_blksize = 65536,
		.st_atim = node->atime,
		.st_mtim = node->mtime,
		.st_ctim = node->ctime,
	};
	if (node->blob) {
		out->st_size = (off_t)bak_blob_size(node->blob);
		out->st_blocks = (blkcnt_t)((bak_blob_allocated(node->blob) + 511) / 512);
	} else if (node->target) {
		out->st_size = (off_t)strlen(node->target);
	}
}

void bak_unode_touched(struct bak_unode *node, bool content)
{
	clock_gettime(CLOCK_REALTIME, &node->ctime);
	if (content)
		node->mtime = node->ctime;
}

/* --- extended attributes --- */

static struct bak_xattr **xattr_place(struct bak_unode *node, const char *name)
{
	struct bak_xattr **at = &node->xattrs;
	while (*at && strcmp((*at)->name, name) != 0)
		at = &(*at)->next;
	return at;
}

const struct bak_xattr *bak_unode_xattr(const struct bak_unode *node, const char *name)
{
	const struct bak_xattr *xattr = node->xattrs;
	while (xattr && strcmp(xattr->name, name) != 0)
		xattr = xattr->next;
	return xattr;
}

/* What an ACL says about the mode goes there; one that says no more is not kept. */
static int take_acl(struct bak_unode *node, const void *value, size_t len, bool *out_plain)
{
	mode_t bits;
	if (!bak_acl_mode(value, len, &bits, out_plain))
		return EINVAL;
	node->mode = (node->mode & ~(mode_t)0777) | bits;
	return 0;
}

void bak_unode_chmod(struct bak_unode *node, mode_t mode)
{
	const struct bak_xattr *acl = bak_unode_xattr(node, BAK_ACL_ACCESS);
	node->mode = (node->mode & S_IFMT) | (mode & 07777);
	if (acl)
		bak_acl_chmod(acl->value, acl->len, mode & 0777);
}

int bak_unode_setxattr(struct bak_unode *node, const char *name, const void *value, size_t len,
		       int flags)
{
	struct bak_xattr **at = xattr_place(node, name);
	bool plain = false;
	if (*at && (flags & XATTR_CREATE))
		return EEXIST;
	if (!*at && (flags & XATTR_REPLACE))
		return ENODATA;
	if (strcmp(name, BAK_ACL_ACCESS) == 0) {
		int no = take_acl(node, value, len, &plain);
		if (no)
			return no;
	}
	if (plain) {
		bak_unode_removexattr(node, name);
		return 0;
	}
	void *copy = malloc(len ? len : 1);
	if (!copy)
		return ENOMEM;
	if (len)
		memcpy(copy, value, len);
	if (!*at) {
		struct bak_xattr *xattr = calloc(1, sizeof *xattr);
		if (!xattr || !(xattr->name = strdup(name))) {
			free(xattr);
			free(copy);
			return ENOMEM;
		}
		*at = xattr;
	}
	free((*at)->value);
	(*at)->value = copy;
	(*at)->len = len;
	return 0;
}

int bak_unode_removexattr(struct bak_unode *node, const char *name)
{
	struct bak_xattr **at = xattr_place(node, name);
	struct bak_xattr *xattr = *at;
	if (!xattr)
		return ENODATA;
	*at = xattr->next;
	xattr_free(xattr);
	return 0;
}
