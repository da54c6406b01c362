/* What a new snapshot may refer to: see usable.h. */
#include "engine/content/usable.h"

#include "engine/content/reader.h"

#include <stdlib.h>

/* Segments that an uncondemned pack has whole, found so lately. */
#define SLOTS 64

struct bak_usable {
	struct bak_index *index;
	struct bak_source *source;
	struct bak_place_set used;
	const struct bak_place_set *lost; /* may be NULL */
	struct slot {
		struct bak_seg_id seg;
		bool whole;
	} slots[SLOTS];
};

int bak_usable_new(struct bak_index *index, struct bak_source *source,
		   struct bak_usable **out_usable, struct bak_error *err)
{
	struct bak_usable *u = calloc(1, sizeof *u);
	if (!u)
		return bak_error_nomem(err);
	u->index = index;
	u->source = source;
	*out_usable = u;
	return 0;
}

void bak_usable_free(struct bak_usable *u)
{
	if (!u)
		return;
	bak_place_set_release(&u->used);
	free(u);
}

static int remember(struct bak_usable *u, const struct bak_seg_id *seg, struct bak_error *err)
{
	struct bak_place place = {.seg = *seg};
	return bak_place_set_add(&u->used, &place) < 0 ? bak_error_nomem(err) : 1;
}

void bak_usable_avoid(struct bak_usable *u, const struct bak_place_set *lost)
{
	u->lost = lost && lost->n ? lost : NULL;
}

static bool is_lost(const struct bak_usable *u, const struct bak_seg_id *seg)
{
	struct bak_place place = {.seg = *seg};
	return u->lost && bak_place_set_has(u->lost, &place);
}

static int look_at_extent(void *ctx, uint64_t off, const struct bak_extent *extent,
			  struct bak_error *err)
{
	(void)off;
	(void)err;
	return extent->kind == BAK_EXTENT_BYTES && is_lost(ctx, &extent->seg);
}

int bak_usable_file(struct bak_usable *u, const struct bak_inode *file, struct bak_error *err)
{
	struct bak_error scratch = BAK_ERROR_INIT;
	if (!u->lost || file->type != BAK_TYPE_FILE)
		return 1;
	int rc = bak_each_extent(u->source, &file->content, file->size, look_at_extent, u,
				 &scratch);
	if (rc >= 0 || scratch.code == BAK_CORRUPT || scratch.code == BAK_NOT_FOUND)
		return rc == 0;
	*err = scratch;
	return -1;
}

int bak_usable_range(struct bak_usable *u, const struct bak_seg_id *seg, uint32_t off, uint32_t len,
		     struct bak_error *err)
{
	struct slot *slot = &u->slots[seg->n % SLOTS];
	enum bak_keeps keeps;
	if (slot->whole && bak_seg_id_equal(&slot->seg, seg))
		return 1;
	if (is_lost(u, seg))
		return 0;
	if (bak_index_keeps(u->index, seg, off, len, &keeps, err) < 0)
		return -1;
	if (keeps < BAK_KEEPS_RANGE)
		return 0;
	if (keeps == BAK_KEEPS_WHOLE)
		*slot = (struct slot){*seg, true};
	return remember(u, seg, err);
}

/* Every extent on its own: some segment of the span is not there whole. */
static int extents_usable(struct bak_usable *u, const struct bak_span *span, struct bak_error *err)
{
	int rc = 1;
	for (size_t i = 0; i < span->n_extents && rc == 1; i++) {
		const struct bak_extent *extent = &span->extents[i];
		if (extent->kind == BAK_EXTENT_BYTES)
			rc = bak_usable_range(u, &extent->seg, extent->off, (uint32_t)extent->len,
					      err);
	}
	return rc;
}

static int span_usable(struct bak_usable *u, const struct bak_span *span, struct bak_error *err)
{
	for (size_t i = 0; i < span->n_segments; i++) {
		const struct bak_seg_id *seg = &span->segments[i].seg;
		enum bak_keeps keeps;
		if (is_lost(u, seg))
			return 0;
		if (bak_index_keeps(u->index, seg, 0, 0, &keeps, err) < 0)
			return -1;
		if (keeps != BAK_KEEPS_WHOLE)
			return extents_usable(u, span, err);
		if (remember(u, seg, err) < 0)
			return -1;
	}
	return 1;
}

int bak_usable_node(struct bak_usable *u, const struct bak_node_row *row, uint64_t span_len,
		    struct bak_error *err)
{
	const struct bak_span *span;
	BAK_AUTO(bak_pin_put_ptr) struct bak_pin *pin = NULL;
	struct bak_error scratch = BAK_ERROR_INIT;
	int rc = bak_usable_range(u, &row->ref.seg, row->ref.off, row->ref.len, err);
	if (rc <= 0)
		return rc;
	if (bak_source_span(u->source, &row->ref, &span, &pin, &scratch) < 0) {
		if (scratch.code == BAK_CORRUPT || scratch.code == BAK_NOT_FOUND)
			return 0;
		*err = scratch;
		return -1;
	}
	if (span->len != span_len)
		return 0;
	return span_usable(u, span, err);
}

const struct bak_place_set *bak_usable_segments(const struct bak_usable *u)
{
	return &u->used;
}
