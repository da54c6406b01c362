/*
 * What a new snapshot may refer to: bytes of a segment that a copy in an uncondemned pack keeps. A
 * range that was holed there counts as gone, whatever an old pack still has.
 *
 * Asked for everything that is found by hash. The predecessor's tree is used without asking: it
 * stays live as long as the lease does. What was answered with yes is remembered by segment, so
 * that the commit can look at it once more: condemnations may have come since.
 *
 * Threads: one.
 */
#ifndef BAK_CONTENT_USABLE_H
#define BAK_CONTENT_USABLE_H

#include "engine/base/place_set.h"
#include "engine/content/source.h"

struct bak_usable;

/* Borrows both. */
int bak_usable_new(struct bak_index *index, struct bak_source *source,
		   struct bak_usable **out_usable, struct bak_error *err);
void bak_usable_free(struct bak_usable *usable); /* NULL is fine */

/* Segments (off is 0) of which no copy opens, as check found: never usable. Borrowed. */
void bak_usable_avoid(struct bak_usable *usable, const struct bak_place_set *lost);
/* Whether a file may be taken over from the predecessor as it stands: 1; 0 when it needs what is to
 * be avoided, or a node of it does not open; -1. */
int bak_usable_file(struct bak_usable *usable, const struct bak_inode *file, struct bak_error *err);

/* [off, off + len) of a segment: 1 may be referred to, 0, -1. */
int bak_usable_range(struct bak_usable *usable, const struct bak_seg_id *seg, uint32_t off,
		     uint32_t len, struct bak_error *err);
/* A span node found by hash, that is to hold span_len bytes: 1 when it and every byte that it
 * refers to may be referred to. It may be dead and outlive what it refers to. */
int bak_usable_node(struct bak_usable *usable, const struct bak_node_row *row, uint64_t span_len,
		    struct bak_error *err);

/* Segments that were answered with yes: off is 0. */
const struct bak_place_set *bak_usable_segments(const struct bak_usable *usable);

#endif
