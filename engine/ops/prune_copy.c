/* What is live in packs that are to go is copied out of them: see prune_private.h. */
#include "engine/ops/prune_private.h"

#include "engine/base/bytes.h"

#include <stdlib.h>

/* More copies of one segment than this are not looked at. */
#define MAX_COPIES 16
/* Dead ranges shorter than this stay: they cost more in the table than as bytes. */
#define GAP_MIN 64

struct evacuation {
	struct bak_prune *p;
	const struct bak_pack_ids *leaving;
	struct bak_repack *repack;
	struct bak_place_set done; /* segments; off 0 */
};

bool bak_prune_inexact(const struct bak_live_seg *seg, const struct bak_seg_copy *copy,
		       const struct bak_live *live)
{
	return !seg->tree && !bak_live_ranges(live, seg) &&
	       (copy->holed ||
		(uint64_t)seg->bytes * 100 < (uint64_t)copy->raw_len * BAK_PRUNE_HOLED);
}

/* Whether the kept ranges of a copy hold [off, off + len). *at: where to begin, moved along. */
static bool kept_holds(const struct bak_seg_range *kept, size_t n, size_t *at, uint32_t off,
		       uint32_t len)
{
	while (*at < n && (uint64_t)kept[*at].off + kept[*at].len <= off)
		++*at;
	return *at < n && kept[*at].off <= off &&
	       (uint64_t)off + len <= (uint64_t)kept[*at].off + kept[*at].len;
}

int bak_prune_serves(struct bak_prune *p, const struct bak_seg_copy *copy,
		     const struct bak_live_seg *seg, struct bak_error *err)
{
	const struct bak_ranges *ranges = bak_live_ranges(p->live, seg);
	BAK_AUTO(bak_free_ptr) struct bak_seg_range *kept = NULL;
	size_t n, at = 0;
	if (!copy->holed)
		return 1;
	if (!ranges)
		return 0;
	if (bak_index_kept(bak_repo_index(p->repo), copy, &kept, &n, err) < 0)
		return -1;
	for (size_t i = 0; i < ranges->n; i++)
		if (!kept_holds(kept, n, &at, ranges->v[i].off,
				ranges->v[i].end - ranges->v[i].off))
			return 0;
	return 1;
}

/* --- copying one segment --- */

struct segment {
	const struct bak_live_seg *seg;
	struct bak_seg_copy copies[MAX_COPIES];
	size_t n;
	unsigned outside; /* copies that serve and stay */
};

static bool stays(const struct evacuation *e, const struct bak_seg_copy *copy)
{
	return !copy->condemned && !bak_pack_ids_has(e->leaving, copy->pack);
}

/* What is to be kept of the source, small gaps closed where it has their bytes. *out_bytes: of the
 * ranges; *out_of: that the source has. */
static int kept_of(struct evacuation *e, const struct bak_seg_copy *copy,
		   const struct bak_ranges *live, struct bak_buf *out, uint64_t *out_bytes,
		   uint64_t *out_of, struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) struct bak_seg_range *has = NULL;
	size_t n = 0, at = 0;
	*out_bytes = 0;
	*out_of = copy->holed ? 0 : copy->raw_len;
	if (copy->holed && bak_index_kept(bak_repo_index(e->p->repo), copy, &has, &n, err) < 0)
		return -1;
	for (size_t i = 0; i < n; i++)
		*out_of += has[i].len;
	for (size_t i = 0; i < live->n; i++) {
		struct bak_seg_range *last = (struct bak_seg_range *)out->p;
		struct bak_seg_range range = {.off = live->v[i].off,
					      .len = live->v[i].end - live->v[i].off};
		uint32_t end = 0;
		if (out->len > 0) {
			last += out->len / sizeof *last - 1;
			end = last->off + last->len;
		}
		if (out->len > 0 && range.off - end < GAP_MIN &&
		    (!copy->holed || kept_holds(has, n, &at, end, range.off - end))) {
			*out_bytes += range.off + range.len - end;
			last->len = range.off + range.len - last->off;
			continue;
		}
		*out_bytes += range.len;
		if (bak_buf_append(out, &range, sizeof range) < 0)
			return bak_error_nomem(err);
	}
	return 0;
}

/* As it is, or with holes where most of it is dead. */
static int copy_from(struct evacuation *e, const struct segment *s,
		     const struct bak_seg_copy *source, struct bak_error *err)
{
	const struct bak_ranges *live = bak_live_ranges(e->p->live, s->seg);
	BAK_AUTO(bak_buf_release) struct bak_buf kept = BAK_BUF_INIT;
	uint64_t bytes = 0, of = 0;
	if (live && kept_of(e, source, live, &kept, &bytes, &of, err) < 0)
		return -1;
	if (kept.len == 0 || bytes * 100 >= of * BAK_PRUNE_HOLED)
		return bak_repack_whole(e->repack, source, err);
	return bak_repack_holed(e->repack, source, (struct bak_seg_range *)kept.p,
				kept.len / sizeof(struct bak_seg_range), err);
}

/* Copies from one source until there are enough. 0, also when it does not open; -1 worse. */
static int copy_until(struct evacuation *e, struct segment *s, const struct bak_seg_copy *source,
		      unsigned need, struct bak_error *err)
{
	while (s->outside < need) {
		struct bak_error why = BAK_ERROR_INIT;
		if (copy_from(e, s, source, &why) < 0) {
			if (why.code == BAK_CORRUPT)
				return 0;
			*err = why;
			return -1;
		}
		s->outside++;
		e->p->out->copied_segments++;
	}
	return 0;
}

/* No copy has all that is live: each is kept as it is. *out_any: one of them opened. */
static int copy_pieces(struct evacuation *e, struct segment *s, bool *out_any,
		       struct bak_error *err)
{
	*out_any = false;
	for (size_t i = 0; i < s->n; i++) {
		struct bak_error why = BAK_ERROR_INIT;
		if (stays(e, &s->copies[i])) {
			*out_any = true;
			continue;
		}
		if (bak_repack_whole(e->repack, &s->copies[i], &why) == 0) {
			*out_any = true;
			e->p->out->copied_segments++;
		} else if (why.code != BAK_CORRUPT) {
			*err = why;
			return -1;
		}
	}
	return 0;
}

/* Of a segment that does not open the packs stay: somebody may mend them yet. */
static int keep_packs(struct evacuation *e, const struct segment *s, struct bak_error *err)
{
	char run[2 * BAK_RUN_BYTES + 1];
	const struct bak_seg_id *id = &s->copies[0].id;
	bak_hex(run, id->run, BAK_RUN_BYTES);
	e->p->out->damaged_segments++;
	bak_prune_warn(e->p, "segment %s-%u is used and no copy of it opens: its pack is kept", run,
		       id->n);
	for (size_t i = 0; i < s->n; i++)
		if (!stays(e, &s->copies[i]) &&
		    bak_pack_ids_add(&e->p->kept, s->copies[i].pack) < 0)
			return bak_error_nomem(err);
	return 0;
}

static int move_segment(struct evacuation *e, const struct bak_seg_id *id,
			const struct bak_live_seg *seg, struct bak_error *err)
{
	struct segment s = {.seg = seg};
	struct bak_place place = {.seg = *id};
	int added = bak_place_set_add(&e->done, &place);
	if (added <= 0)
		return added < 0 ? bak_error_nomem(err) : 0;
	if (bak_index_find_segment(bak_repo_index(e->p->repo), id, s.copies, MAX_COPIES, &s.n,
				   err) < 0)
		return -1;
	bool serves[MAX_COPIES] = {false}, any = false;
	s.n = s.n < MAX_COPIES ? s.n : MAX_COPIES;
	for (size_t i = 0; i < s.n; i++) {
		int rc = bak_prune_serves(e->p, &s.copies[i], seg, err);
		if (rc < 0)
			return -1;
		serves[i] = rc == 1;
		s.outside += serves[i] && stays(e, &s.copies[i]);
	}
	unsigned need = s.n ? bak_prune_needed(s.copies[0].type) : 0;
	for (size_t i = 0; i < s.n && s.outside < need; i++)
		if (serves[i] && copy_until(e, &s, &s.copies[i], need, err) < 0)
			return -1;
	if (s.outside > 0 || s.n == 0)
		return 0;
	if (copy_pieces(e, &s, &any, err) < 0)
		return -1;
	return any ? 0 : keep_packs(e, &s, err);
}

/* --- all of it --- */

static int move_counted(void *ctx, const struct bak_seg_id *id, const struct bak_live_seg *seg,
			const struct bak_ranges *ranges, struct bak_error *err)
{
	(void)ranges;
	return move_segment(ctx, id, seg, err);
}

/* Those of a pack of which enough is known; others are marked for counting. */
static int move_known(struct evacuation *e, const uint8_t pack[BAK_PACK_ID_BYTES],
		      struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) struct bak_seg_copy *copies = NULL;
	size_t n;
	if (bak_index_pack_segments(bak_repo_index(e->p->repo), pack, &copies, &n, err) < 0)
		return -1;
	for (size_t i = 0; i < n; i++) {
		struct bak_live_seg *seg = bak_live_find(e->p->live, &copies[i].id);
		if (!seg)
			continue;
		if (bak_prune_inexact(seg, &copies[i], e->p->live))
			seg->marked = true;
		else if (move_segment(e, &copies[i].id, seg, err) < 0)
			return -1;
	}
	return 0;
}

static int move_all(struct evacuation *e, struct bak_error *err)
{
	uint64_t added;
	for (size_t i = 0; i < e->leaving->n; i++) {
		bak_prune_progress(e->p, "copying what is used", i, e->leaving->n);
		if (move_known(e, e->leaving->v[i], err) < 0)
			return -1;
	}
	if (bak_live_count(e->p->live, move_counted, e, err) < 0 ||
	    bak_repack_finish(e->repack, &added, err) < 0)
		return -1;
	bak_prune_progress(e->p, "copying what is used", e->leaving->n, e->leaving->n);
	e->p->out->copied_bytes += added;
	return 0;
}

int bak_prune_evacuate(struct bak_prune *p, const struct bak_pack_ids *leaving,
		       struct bak_error *err)
{
	struct evacuation e = {.p = p, .leaving = leaving};
	struct bak_repack_conf conf = {.backend = bak_repo_backend(p->repo),
				       .ring = bak_repo_ring(p->repo),
				       .index = bak_repo_index(p->repo),
				       .run_start = bak_hold_start(p->hold),
				       .parity = bak_repo_parity(p->repo),
				       .mended = bak_source_mended(bak_repo_source(p->repo))};
	memcpy(conf.run, bak_hold_run(p->hold), sizeof conf.run);
	if (bak_repack_new(&conf, &e.repack, err) < 0)
		return -1;
	int rc = move_all(&e, err);
	bak_repack_free(e.repack);
	bak_place_set_release(&e.done);
	bak_pack_ids_sort(&p->kept);
	return rc;
}
