/*
 * Inode numbers, computed from what they name and never stored, so that FORGET has nothing to do
 * and a number means the same after a remount.
 *
 *   bit 63  zero: numbers stay positive for programs that read them signed
 *   62..61  range
 *     0 tree     60..59 view, 58..33 snapshot's number, 32..0 preorder number (0: its root).
 *                A folder has a number in each view, all else has view 0: its pages are cached once
 *     1 link     60..35 snapshot's number, 34..0 number in its link table
 *     2 virtual  60..0 a hash of what is named: folders above the snapshots, computed files
 *     3 control  60 set: an upload or trigger, 59..0 counted; clear: a hash of a path in /restore
 *
 * 1 is the mount's root; no snapshot has number 0, so it is no tree's.
 */
#ifndef BAK_FS_INO_H
#define BAK_FS_INO_H

#include "engine/objects/tree.h"

#define BAK_INO_ROOT 1u

enum bak_range {
	BAK_RANGE_TREE = 0,
	BAK_RANGE_LINK = 1,
	BAK_RANGE_VIRTUAL = 2,
	BAK_RANGE_CONTROL = 3,
};

enum bak_view {
	BAK_VIEW_SHARED = 0,
	BAK_VIEW_BY_DATE = 1,
	BAK_VIEW_BY_STORE = 2,
	BAK_VIEW_LATEST = 3,
};

struct bak_ino {
	enum bak_range range;
	enum bak_view view; /* tree */
	uint64_t number;    /* of the snapshot: tree, link */
	uint64_t n;         /* preorder, link number, hash or count */
	bool counted;       /* control */
};

/* All give 0 when a number does not fit its field. */
uint64_t bak_ino_tree(enum bak_view view, uint64_t number, uint64_t preorder);
uint64_t bak_ino_link(uint64_t number, uint64_t link);
/* Of an entry with its absolute preorder number, in a folder seen through view. */
uint64_t bak_ino_entry(enum bak_view view, uint64_t number, uint64_t preorder,
		       const struct bak_entry *entry);
uint64_t bak_ino_counted(uint64_t count);

/* range is VIRTUAL or CONTROL; salt tells apart what has one name and different contents. */
uint64_t bak_ino_hash(enum bak_range range, const char *path, uint64_t salt);

struct bak_ino bak_ino_parse(uint64_t ino);

#endif
