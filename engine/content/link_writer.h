/*
 * The link table being written: inodes with several names, once each, in memory until the end
 * (about 300 bytes a group).
 *
 * Ownership: inodes are copied in. Threads: one.
 */
#ifndef BAK_CONTENT_LINK_WRITER_H
#define BAK_CONTENT_LINK_WRITER_H

#include "engine/content/folder_writer.h"

struct bak_link_writer {
	size_t n, cap;
	struct bak_link_slot {
		uint64_t dev, ino; /* of the source */
		struct bak_link link;
	} * *slots;
	size_t table_cap; /* both tables: a power of two; index + 1 of a slot, 0 free */
	size_t *by_inode, *by_number;
	uint64_t next; /* number of the next new group */
};

void bak_link_writer_init(struct bak_link_writer *lw, uint64_t next_number);
void bak_link_writer_release(struct bak_link_writer *lw);
/* NULL when the inode was not met yet. */
struct bak_link_slot *bak_link_writer_find(const struct bak_link_writer *lw, uint64_t dev,
					   uint64_t ino);
/* want: the number that it had in the predecessor, 0 for none. Count begins at 0. */
int bak_link_writer_add(struct bak_link_writer *lw, uint64_t dev, uint64_t ino,
			const struct bak_inode *inode, uint64_t want, struct bak_link_slot **out,
			struct bak_error *err);
/* *out_bytes: sizes of its regular files. *out_ref is set when there are links. */
int bak_link_writer_finish(struct bak_link_writer *lw, struct bak_segmenter *segmenter,
			   const struct bak_tree *previous, struct bak_ref *out_ref,
			   uint64_t *out_bytes, struct bak_error *err);

#endif
