/*
 * What is live: everything that snapshots refer to. Trees are walked snapshot by snapshot, entering
 * only what was not seen before; what an object refers to is kept in the index, so that it is read
 * once in its life.
 *
 * Of tree segments the live ranges are known from the walk. Of data segments it gives a lower bound:
 * the most that any one object uses (bytes are shared: sums lie). Those that are asked for are then
 * counted exactly, as unions of ranges, in groups that fit a bound on memory.
 *
 * Memory: about 24 bytes a live segment, 8 for each gap in the live part of a tree segment.
 * Threads: one.
 */
#ifndef BAK_OPS_LIVE_H
#define BAK_OPS_LIVE_H

#include "engine/base/ranges.h"
#include "engine/ops/repo.h"

/* A segment of which something is live. */
struct bak_live_seg {
	uint32_t run, n;      /* run: its number here */
	uint32_t bytes;       /* at least so many are live; so many, if counted */
	unsigned ranges : 28; /* number of its union, 0 none */
	bool tree : 1;
	bool counted : 1;
	bool marked : 1;
	bool active : 1; /* of the group that is being counted */
};

struct bak_live;

/* ranges_max: bound on the memory of unions, bytes; 0: 64 MiB. */
int bak_live_new(struct bak_repo *repo, size_t ranges_max, struct bak_live **out_live,
		 struct bak_error *err);
void bak_live_free(struct bak_live *live); /* NULL is fine */

/* Walks what of a snapshot was not seen yet. What was counted has to be counted again then. */
int bak_live_snapshot(struct bak_live *live, const struct bak_snapshot *snapshot,
		      struct bak_error *err);

/* NULL: nothing of it is live. Valid until the next snapshot. */
struct bak_live_seg *bak_live_find(struct bak_live *live, const struct bak_seg_id *id);
/* What is live of a segment, or NULL when it is not known exactly now: of trees always, of data
 * after counting, while the memory lasts. */
const struct bak_ranges *bak_live_ranges(const struct bak_live *live,
					 const struct bak_live_seg *seg);

/* Counts exactly all data segments that are marked, and calls fn (may be NULL) for each; their marks
 * end. fn must not walk or count. */
typedef int bak_live_fn(void *ctx, const struct bak_seg_id *id, const struct bak_live_seg *seg,
			const struct bak_ranges *ranges, struct bak_error *err);
int bak_live_count(struct bak_live *live, bak_live_fn *fn, void *ctx, struct bak_error *err);
/* Calls fn for all segments, of trees and of data. */
int bak_live_all(struct bak_live *live, bak_live_fn *fn, void *ctx, struct bak_error *err);

#endif
