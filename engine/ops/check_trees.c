/* Every snapshot's tree and extents, and what of them is lost: see verify.h. */
#include "engine/ops/check_private.h"

#include "engine/ops/forget.h"
#include "engine/ops/walk.h"

#include <stdio.h>
#include <stdlib.h>

static struct bak_place whole(const struct bak_seg_id *id)
{
	return (struct bak_place){.seg = *id};
}

/* Some copy without holes opened, and reaches far enough. 1, 0, -1. */
static int entire_keeps(struct bak_checking *c, const struct bak_extent *extent,
			struct bak_error *err)
{
	struct bak_place place = whole(&extent->seg);
	struct bak_seg_copy copies[16];
	size_t n = 0;
	if (!bak_place_set_has(&c->entire, &place))
		return 0;
	if (bak_index_find_segment(bak_repo_index(c->repo), &extent->seg, copies, 16, &n, err) < 0)
		return -1;
	for (size_t i = 0; i < n && i < 16; i++)
		if (!copies[i].holed && extent->off + extent->len <= copies[i].raw_len)
			return 1;
	return 0;
}

/* bak_sound_fn. Where only holed copies are sound, or the pack came while check ran, the bytes
 * themselves tell. */
static int is_sound(void *ctx, const struct bak_extent *extent, struct bak_error *why)
{
	struct bak_checking *c = ctx;
	struct bak_place place = whole(&extent->seg);
	const uint8_t *p;
	BAK_AUTO(bak_pin_put_ptr) struct bak_pin *pin = NULL;
	int rc = entire_keeps(c, extent, why);
	if (rc != 0)
		return rc;
	bool good = bak_place_set_has(&c->good, &place), bad = bak_place_set_has(&c->bad, &place);
	if ((good || !bad) && bak_source_bytes(bak_repo_source(c->repo), &extent->seg, extent->off,
					       (uint32_t)extent->len, &p, &pin, why) == 0)
		return 1;
	if ((good || !bad) && !bak_is_damage(why))
		return -1;
	c->out->missing += !good && !bad && !bak_place_set_has(&c->gone, &place);
	if (bad)
		bak_error_set(why, BAK_CORRUPT, "segment %u is damaged", extent->seg.n);
	return bak_place_set_add(&c->gone, &place) < 0 ? bak_error_nomem(why) : 0;
}

static void tell_where(struct bak_checking *c, const char *what, const char *path, const char *why)
{
	char quoted[512], where[600];
	snprintf(where, sizeof where, "snapshot %llu (%s): %s",
		 (unsigned long long)c->snapshot->number, c->snapshot->store,
		 bak_error_quote(path[0] ? path : ".", quoted, sizeof quoted));
	bak_checking_tell(c, what, where, why);
}

static void lost_at(struct bak_checking *c, const char *path, struct bak_lost *lost)
{
	lost->snapshot = c->snapshot->number;
	lost->store = c->snapshot->store;
	lost->path = path;
	c->out->damaged_files++;
	bak_checking_lost(c, lost);
}

static int check_file(void *ctx, const char *path, const struct bak_inode *inode,
		      struct bak_error *err)
{
	struct bak_checking *c = ctx;
	BAK_AUTO(bak_lost_release) struct bak_lost_ranges ranges = {.n = 0};
	BAK_AUTO(bak_buf_release) struct bak_buf text = BAK_BUF_INIT;
	struct bak_error why = BAK_ERROR_INIT;
	if (bak_lost_find(bak_repo_source(c->repo), &inode->content, inode->size, is_sound, c,
			  &c->gone, &ranges, &why, err) < 0)
		return -1;
	if (ranges.n == 0)
		return 0;
	if (bak_lost_text(&ranges, inode->size, &text) < 0 ||
	    bak_buf_printf(&text, ": %s", why.msg) < 0)
		return bak_error_nomem(err);
	tell_where(c, "damaged file", path, (const char *)text.p);
	lost_at(c, path,
		&(struct bak_lost){.ranges = ranges.v, .n_ranges = ranges.n, .size = inode->size});
	return 0;
}

static int check_gap(void *ctx, const char *path, const struct bak_gap *gap, struct bak_error *err)
{
	struct bak_checking *c = ctx;
	BAK_AUTO(bak_buf_release) struct bak_buf text = BAK_BUF_INIT;
	const char *first = gap->has_first ? (const char *)gap->first.p : NULL;
	const char *end = gap->has_end ? (const char *)gap->end.p : NULL;
	char quoted[2][512];
	if (gap->one) {
		tell_where(c, "damaged file", path, err->msg);
		lost_at(c, path, &(struct bak_lost){.folder = false});
		return 0;
	}
	if ((first && bak_buf_printf(&text, "from %s on: ",
				     bak_error_quote(first, quoted[0], sizeof quoted[0])) < 0) ||
	    (end && bak_buf_printf(&text, "up to before %s: ",
				   bak_error_quote(end, quoted[1], sizeof quoted[1])) < 0) ||
	    bak_buf_printf(&text, "%s", err->msg) < 0)
		return bak_error_nomem(err);
	tell_where(c, "damaged folder", path, (const char *)text.p);
	lost_at(c, path, &(struct bak_lost){.folder = true, .first = first, .end = end});
	return 0;
}

/* Folders that an earlier snapshot had and that were sound need no second look; with any damage in
 * the repository every snapshot is walked whole, so that every name is told. */
static int known_clean(void *ctx, const struct bak_ref *dir)
{
	struct bak_checking *c = ctx;
	struct bak_place place = {dir->seg, dir->off};
	return bak_place_set_has(&c->clean, &place);
}

static void remember_clean(void *ctx, const struct bak_ref *dir)
{
	struct bak_checking *c = ctx;
	struct bak_place place = {dir->seg, dir->off};
	if (c->out->damaged_files == 0)
		bak_place_set_add(&c->clean, &place);
}

static int check_snapshot(struct bak_checking *c, uint64_t number, struct bak_error *err)
{
	struct bak_snapshot snapshot = {0};
	char name[32];
	snprintf(name, sizeof name, "snapshots/%llu", (unsigned long long)number);
	int rc = bak_repo_snapshot(c->repo, number, &snapshot, err);
	if (rc == 0)
		return 0;
	if (rc < 0) {
		if (!bak_is_damage(err))
			return -1;
		c->out->damaged_objects++;
		bak_checking_tell(c, "damaged snapshot", name, err->msg);
		bak_checking_lost(c, &(struct bak_lost){.snapshot = number});
		return 0;
	}
	c->snapshot = &snapshot;
	struct bak_walk walk = {.tree = {bak_repo_source(c->repo), &snapshot},
				.file = check_file,
				.damaged = check_gap,
				.skip = known_clean,
				.leave = remember_clean,
				.ctx = c};
	rc = bak_walk(&walk, err);
	c->out->snapshots++;
	bak_checking_progress(c, name);
	bak_snapshot_release(&snapshot);
	return rc;
}

/* Those that never opened here have no row in the index. */
static int check_unreadable(struct bak_checking *c, struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) uint64_t *numbers = NULL;
	size_t n;
	if (bak_repo_unreadable(c->repo, &numbers, &n, err) < 0)
		return -1;
	for (size_t i = 0; i < n; i++)
		if (!bak_repo_is_forgotten(c->repo, numbers[i], numbers[i]) &&
		    check_snapshot(c, numbers[i], err) < 0)
			return -1;
	return 0;
}

int bak_check_trees(struct bak_checking *c, struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) uint64_t *numbers = NULL;
	char *omitted = NULL;
	size_t n;
	if (check_unreadable(c, err) < 0)
		return -1;
	if (bak_index_snapshot_numbers(bak_repo_index(c->repo), &numbers, &n, err) < 0)
		return -1;
	for (size_t i = 0; i < n; i++)
		if (check_snapshot(c, numbers[i], err) < 0)
			return -1;
	if (bak_repo_omissions(c->repo, &omitted, err) < 0)
		return -1;
	if (omitted) {
		c->out->missing++;
		c->out->lost++;
		bak_checking_tell(c, "missing snapshots", "snapshots/", omitted);
	}
	free(omitted);
	return 0;
}
