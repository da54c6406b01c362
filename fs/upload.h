/*
 * The nodes below /restore/<store>/: uploads (files, folders, links as they were copied in) and
 * triggers, in memory, their contents in the spool. No rules here: restore.h has them.
 *
 * A node lives as long as it has a name, is open, or is pinned. Its inode number is never given
 * again, so nothing needs to be told when the kernel forgets it.
 * Threads: the owner's lock guards everything but the contents of blobs.
 */
#ifndef BAK_FS_UPLOAD_H
#define BAK_FS_UPLOAD_H

#include "fs/dirmap.h"
#include "fs/restore.h"
#include "fs/spool.h"

#include <sys/stat.h>

struct bak_room;
struct bak_job;
struct fuse_ctx;

/* What a job can be made of. */
struct bak_item {
	struct bak_item *next, *previous; /* all of them */
	struct bak_item_rules rules;
	struct bak_room *room;
	char *path; /* in the store's folder: "dump.db", "latest", "<stamp>/a/b" */
	struct bak_unode *top;
	struct bak_unode *dir; /* where top lies; NULL: in the store's folder */
	struct bak_job *job;   /* while it is active */
	unsigned n_nodes, n_open;
};

struct bak_xattr {
	struct bak_xattr *next;
	char *name;
	void *value;
	size_t len;
};

struct bak_unode {
	struct bak_unode *chain; /* in the table */
	uint64_t ino;
	mode_t mode;
	uid_t uid;
	gid_t gid;
	dev_t rdev;
	struct timespec atime, mtime, ctime;
	nlink_t nlink;            /* names; folders: 2 and the folders in it */
	unsigned refs;            /* names, open descriptions, pins */
	struct bak_unode *parent; /* of folders: where they lie; NULL in the store's own folder */
	struct bak_item *item;
	struct bak_dirmap entries; /* folders: of struct bak_unode */
	struct bak_blob *blob;     /* files */
	struct bak_proof proof;
	char *target; /* symlinks */
	struct bak_xattr *xattrs;
};

struct bak_unodes {
	struct bak_unode **buckets;
	size_t n_buckets, n;
	uint64_t last;
	struct bak_item *items;
};
int bak_unodes_init(struct bak_unodes *table);
void bak_unodes_release(struct bak_unodes *table); /* all nodes are gone by then */
struct bak_unode *bak_unode_find(const struct bak_unodes *table, uint64_t ino);

/* A node without a name, one reference. mode with type; blobs are the caller's to add. NULL: no
 * memory. */
struct bak_unode *bak_unode_new(struct bak_unodes *table, struct bak_item *item, mode_t mode,
				uid_t uid, gid_t gid);
void bak_unode_ref(struct bak_unode *node);
/* Frees it with the last reference, and its item with the last node. */
void bak_unode_unref(struct bak_unodes *table, struct bak_unode *node);

/* A name for a node in a folder's entries: a reference of its own. 0 or ENOMEM. dir NULL: map is
 * the store's own folder. */
int bak_unode_link(struct bak_dirmap *map, struct bak_unode *dir, const char *name,
		   struct bak_unode *node);
void bak_unode_unlink(struct bak_unodes *table, struct bak_dirmap *map, struct bak_unode *dir,
		      const char *name);
/* Takes a name away with all that is below it. */
void bak_unode_unlink_all(struct bak_unodes *table, struct bak_dirmap *map, const char *name);

/* It lives as long as it has nodes; one without any is freed by bak_item_drop. NULL: no memory. */
struct bak_item *bak_item_new(struct bak_unodes *table, struct bak_room *room, const char *path,
			      enum bak_item_kind kind, enum bak_name_class class);
void bak_item_drop(struct bak_unodes *table, struct bak_item *item);

void bak_unode_stat(struct bak_unode *node, struct stat *out);
void bak_unode_touched(struct bak_unode *node, bool content); /* ctime, and mtime */

void bak_unode_chmod(struct bak_unode *node, mode_t mode);
/* 0 or an errno. An ACL is kept with the mode, as file systems with ACLs do. */
int bak_unode_setxattr(struct bak_unode *node, const char *name, const void *value, size_t len,
		       int flags);
int bak_unode_removexattr(struct bak_unode *node, const char *name);
const struct bak_xattr *bak_unode_xattr(const struct bak_unode *node, const char *name);

#endif
