/*
 * Which bytes of a file cannot be read, as ranges: nodes that do not open cost all that is below
 * them, segments the extents that lie in them.
 */
#ifndef BAK_OPS_LOST_H
#define BAK_OPS_LOST_H

#include "engine/base/place_set.h"
#include "engine/content/reader.h"

/* In order, not touching. */
struct bak_lost_ranges {
	size_t n, cap;
	struct bak_lost_range {
		uint64_t off, len;
	} * v;
};
void bak_lost_release(struct bak_lost_ranges *ranges);

/* Whether the bytes of an extent can be read: 1, 0, -1. *why is told when they cannot. */
typedef int bak_sound_fn(void *ctx, const struct bak_extent *extent, struct bak_error *why);

/* Fills out (which begins as all zero) with what cannot be read. why: of the first of them. nodes
 * gets the segments (off is 0) in which nodes lie that do not open. */
int bak_lost_find(struct bak_source *source, const struct bak_content *content, uint64_t size,
		  bak_sound_fn *sound, void *ctx, struct bak_place_set *nodes,
		  struct bak_lost_ranges *out, struct bak_error *why, struct bak_error *err);
/* "bytes 0-99, 200-299 of 1000" */
int bak_lost_text(const struct bak_lost_ranges *ranges, uint64_t size, struct bak_buf *out);

#endif
