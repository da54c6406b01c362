/* The last look before a commit: see settle.h. */
#include "engine/ops/settle.h"

#include "engine/base/bytes.h"
#include "engine/content/repack.h"
#include "engine/ops/live.h"

#include <stdlib.h>

#define MAX_COPIES 16

static int gone(const struct bak_seg_id *id, struct bak_error *err)
{
	char run[2 * BAK_RUN_BYTES + 1];
	bak_hex(run, id->run, BAK_RUN_BYTES);
	return bak_error_set(err, BAK_NOT_FOUND,
			     "segment %s-%u was pruned while this machine slept: back up again, "
			     "then what is missing is read anew",
			     run, id->n);
}

/* Whether `other` keeps all that `copy` keeps: 1, 0, -1. */
static int covers(struct bak_index *index, const struct bak_seg_copy *other,
		  const struct bak_seg_copy *copy, struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) struct bak_seg_range *kept = NULL;
	size_t n;
	if (!other->holed)
		return 1;
	if (!copy->holed)
		return 0;
	if (bak_index_kept(index, copy, &kept, &n, err) < 0)
		return -1;
	for (size_t i = 0; i < n; i++) {
		enum bak_keeps keeps;
		if (bak_index_keeps(index, &copy->id, kept[i].off, kept[i].len, &keeps, err) < 0)
			return -1;
		if (keeps < BAK_KEEPS_RANGE)
			return 0;
	}
	return n > 0;
}

/* Copies of the segment in condemned packs, of which something is kept nowhere else. */
static int settle_segment(struct bak_run *run, struct bak_repack *repack,
			  const struct bak_seg_id *id, struct bak_error *err)
{
	struct bak_index *index = bak_repo_index(run->repo);
	struct bak_seg_copy copies[MAX_COPIES];
	size_t n;
	if (bak_index_find_segment(index, id, copies, MAX_COPIES, &n, err) < 0)
		return -1;
	if (n == 0)
		return gone(id, err);
	n = n < MAX_COPIES ? n : MAX_COPIES;
	for (size_t i = 0; i < n; i++) {
		if (!copies[i].condemned)
			continue;
		int rc = copies[0].condemned ? 0 : covers(index, &copies[0], &copies[i], err);
		if (rc < 0 || (rc == 0 && bak_repack_whole(repack, &copies[i], err) < 0))
			return -1;
	}
	return 0;
}

int bak_settle_found(struct bak_run *run, const struct bak_place_set *segments, uint64_t *out_added,
		     struct bak_error *err)
{
	struct bak_repack *repack;
	struct bak_repack_conf conf = {.backend = bak_repo_backend(run->repo),
				       .ring = bak_repo_ring(run->repo),
				       .index = bak_repo_index(run->repo),
				       .run_start = run->start,
				       .parity = bak_repo_parity(run->repo),
				       .mended = bak_source_mended(bak_repo_source(run->repo))};
	memcpy(conf.run, run->bytes, sizeof conf.run);
	*out_added = 0;
	if (bak_repack_new(&conf, &repack, err) < 0)
		return -1;
	int rc = 0;
	for (size_t i = 0; i < segments->cap && rc == 0; i++)
		if (segments->used[i])
			rc = settle_segment(run, repack, &segments->v[i].seg, err);
	if (rc == 0)
		rc = bak_repack_finish(repack, out_added, err);
	bak_repack_free(repack);
	return rc;
}

struct all {
	struct bak_run *run;
	struct bak_place_set condemned;
};

static int look_at(void *ctx, const struct bak_seg_id *id, const struct bak_live_seg *seg,
		   const struct bak_ranges *ranges, struct bak_error *err)
{
	struct all *all = ctx;
	struct bak_place place = {.seg = *id};
	(void)seg;
	for (size_t i = 0; i < ranges->n; i++) {
		enum bak_keeps keeps;
		if (bak_index_keeps(bak_repo_index(all->run->repo), id, ranges->v[i].off,
				    ranges->v[i].end - ranges->v[i].off, &keeps, err) < 0)
			return -1;
		if (keeps == BAK_KEEPS_NOT)
			return gone(id, err);
		if (keeps == BAK_KEEPS_CONDEMNED && bak_place_set_add(&all->condemned, &place) < 0)
			return bak_error_nomem(err);
	}
	return 0;
}

int bak_settle_all(struct bak_run *run, const struct bak_snapshot *snapshot, uint64_t *out_added,
		   struct bak_error *err)
{
	struct all all = {.run = run};
	struct bak_live *live;
	*out_added = 0;
	if (bak_live_new(run->repo, 0, &live, err) < 0)
		return -1;
	int rc = bak_live_snapshot(live, snapshot, err);
	if (rc < 0 && err->code == BAK_CORRUPT) {
		err->code = BAK_NOT_FOUND;
		bak_error_wrap(err, "pruned while this machine slept: back up again");
	}
	if (rc == 0)
		rc = bak_live_all(live, look_at, &all, err);
	if (rc == 0)
		rc = bak_settle_found(run, &all.condemned, out_added, err);
	bak_place_set_release(&all.condemned);
	bak_live_free(live);
	return rc;
}
