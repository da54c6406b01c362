/*
 * Walking a snapshot's tree: look-ups by name, by preorder number, and in order from any place,
 * each reading one page a level. Preorder numbers are relative to the folder asked (tree.h): its
 * first entry is 1, so that `folder's own number + relative number` is the entry's own.
 *
 * Ownership: a struct bak_found holds a pin; what it points to lives until bak_found_release.
 * Threads: safe; a cursor belongs to one thread at a time.
 */
#ifndef BAK_CONTENT_FOLDER_H
#define BAK_CONTENT_FOLDER_H

#include "engine/content/source.h"

/* A snapshot opened for walking: its root, its link table. Borrows both. */
struct bak_tree {
	struct bak_source *source;
	const struct bak_snapshot *snapshot;
};

struct bak_found {
	struct bak_entry entry; /* inode filled also for linked ones */
	uint64_t preorder;      /* relative to the folder it was looked up in */
	uint64_t nlink;         /* names of a linked inode, 1 for others; folders: 2 + folders
				   in it is NOT here, see bak_folder_subdirs */
	struct bak_pin *pin, *link_pin;
};
#define BAK_FOUND_INIT        \
	{                     \
		.preorder = 0 \
	}
void bak_found_release(struct bak_found *found);

/* 1 found, 0 no such name, -1. out must be released or in its initial state. */
int bak_folder_lookup(const struct bak_tree *tree, const struct bak_ref *dir, const char *name,
		      size_t name_len, struct bak_found *out, struct bak_error *err);
/* The page of the folder in which the name stands or would stand: 1, 0 empty folder, -1. */
int bak_folder_page_ref(const struct bak_tree *tree, const struct bak_ref *dir, const char *name,
			size_t name_len, struct bak_ref *out_ref, struct bak_error *err);
/* The entry of the folder whose subtree holds relative preorder number n (1 ...): out->preorder is
 * the entry's own; when it equals n the entry is the one, else descend with n - out->preorder. */
int bak_folder_at(const struct bak_tree *tree, const struct bak_ref *dir, uint64_t n,
		  struct bak_found *out, struct bak_error *err);
/* The entry at any depth below the root with preorder number n; 0 is the root itself (name ""). If
 * parent is not NULL: the folder that holds it, and *out_parent the parent's preorder number. */
int bak_tree_at(const struct bak_tree *tree, uint64_t n, struct bak_found *out,
		uint64_t *out_parent, struct bak_error *err);
/* A path of names joined by '/', no leading one; "" or "." is the root. preorder is absolute. */
int bak_tree_path(const struct bak_tree *tree, const char *path, struct bak_found *out,
		  struct bak_error *err);
/* An inode of the link table: 1, 0, -1. Fills entry.inode, nlink, link; name is empty. */
int bak_tree_link(const struct bak_tree *tree, uint64_t number, struct bak_found *out,
		  struct bak_error *err);

/* The link page in which the number stands or would stand: 1, 0 no link table, -1. */
int bak_link_page_ref(const struct bak_tree *tree, uint64_t number, struct bak_ref *out_ref,
		      struct bak_error *err);

/* In order. */
struct bak_cursor;
/* Begins at the first entry whose relative preorder number is >= from (1: the first). */
int bak_cursor_open(const struct bak_tree *tree, const struct bak_ref *dir, uint64_t from,
		    struct bak_cursor **out_cursor, struct bak_error *err);
/* 1 and the next entry, owned by the cursor until the next call; 0 at the end; -1. */
int bak_cursor_next(struct bak_cursor *cursor, const struct bak_found **out, struct bak_error *err);
void bak_cursor_close(struct bak_cursor *cursor); /* NULL is fine */

/* Behind a failed next, to go on behind what could not be read: 1 and what that is, 0 it is all that
 * was left, -1. */
struct bak_gap {
	bool one; /* a single entry, `first`: its inode in the link table is gone */
	struct bak_buf first, end; /* names, terminated; from first on, up to before end */
	bool has_first, has_end;   /* false: from the beginning; to the end */
};
int bak_cursor_skip(struct bak_cursor *cursor, struct bak_gap *out, struct bak_error *err);
void bak_gap_release(struct bak_gap *gap);

/* Number of folders directly in a folder, for st_nlink. Reads its pages. */
int bak_folder_subdirs(const struct bak_tree *tree, const struct bak_ref *dir, uint64_t *out,
		       struct bak_error *err);

#endif
