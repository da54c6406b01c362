/* What snapshots refer to, walked and counted: see live.h. */
#include "engine/ops/live.h"

#include "engine/objects/refs.h"

#include <stdlib.h>

#define RANGES_MAX ((size_t)64 << 20)
/* Rows of the index that are written together. */
#define ROWS 512

/* What is to be kept in the index. */
struct queue {
	struct bak_refs_row rows[ROWS];
	size_t n;
	struct bak_buf bytes;
};

struct bak_live {
	struct bak_repo *repo;
	size_t ranges_max, ranges_bytes; /* of data segments */
	/* Run parts by number; found by a table of numbers + 1. */
	uint8_t (*runs)[BAK_RUN_BYTES];
	uint32_t *run_table;
	size_t n_runs, cap_runs, run_slots;
	uint32_t last_run;
	/* Segments, found by a table of places + 1. */
	struct bak_live_seg *segs;
	uint32_t *seg_table;
	size_t n_segs, cap_segs, seg_slots;
	struct bak_ranges *unions; /* the first is not used */
	size_t n_unions, cap_unions;
	/* The walk. */
	struct bak_ref *stack;
	size_t n_stack, cap_stack;
	uint64_t n_objects; /* live tree objects */
	bool counted;       /* some data segment is */
	struct bak_refs refs;
	struct bak_buf kept;
	struct queue queue;
};

int bak_live_new(struct bak_repo *repo, size_t ranges_max, struct bak_live **out_live,
		 struct bak_error *err)
{
	struct bak_live *live = calloc(1, sizeof *live);
	if (!live)
		return bak_error_nomem(err);
	live->repo = repo;
	live->ranges_max = ranges_max ? ranges_max : RANGES_MAX;
	live->n_unions = 1;
	*out_live = live;
	return 0;
}

void bak_live_free(struct bak_live *live)
{
	if (!live)
		return;
	for (size_t i = 1; i < live->n_unions; i++)
		bak_ranges_release(&live->unions[i]);
	free(live->unions);
	free(live->runs);
	free(live->run_table);
	free(live->segs);
	free(live->seg_table);
	free(live->stack);
	bak_refs_release(&live->refs);
	bak_buf_release(&live->kept);
	bak_buf_release(&live->queue.bytes);
	free(live);
}

/* --- tables --- */

static size_t mix(uint64_t v)
{
	return (size_t)((v * UINT64_C(0x9e3779b97f4a7c15)) >> 20);
}

/* Run parts are random. */
static size_t run_home(const uint8_t run[BAK_RUN_BYTES], size_t slots)
{
	uint64_t v;
	memcpy(&v, run, sizeof v);
	return mix(v) & (slots - 1);
}

static size_t seg_home(uint32_t run, uint32_t n, size_t slots)
{
	return mix((uint64_t)run << 32 | n) & (slots - 1);
}

/* Where the run is, or the free place where it would go. */
static uint32_t *run_place(const struct bak_live *live, const uint8_t run[BAK_RUN_BYTES])
{
	size_t i = run_home(run, live->run_slots);
	while (live->run_table[i] &&
	       memcmp(live->runs[live->run_table[i] - 1], run, BAK_RUN_BYTES) != 0)
		i = (i + 1) & (live->run_slots - 1);
	return &live->run_table[i];
}

static uint32_t *seg_place(const struct bak_live *live, uint32_t run, uint32_t n)
{
	size_t i = seg_home(run, n, live->seg_slots);
	while (live->seg_table[i] && (live->segs[live->seg_table[i] - 1].n != n ||
				      live->segs[live->seg_table[i] - 1].run != run))
		i = (i + 1) & (live->seg_slots - 1);
	return &live->seg_table[i];
}

/* Doubles a table that is half full; the caller fills it again. 1 grown, 0 no need, -1. */
static int grow_table(uint32_t **table, size_t *slots, size_t n)
{
	if (2 * (n + 1) <= *slots)
		return 0;
	size_t want = *slots ? 2 * *slots : 1024;
	uint32_t *bigger = calloc(want, sizeof *bigger);
	if (!bigger)
		return -1;
	free(*table);
	*table = bigger;
	*slots = want;
	return 1;
}

static int run_number(struct bak_live *live, const uint8_t run[BAK_RUN_BYTES], uint32_t *out)
{
	if (live->last_run < live->n_runs &&
	    memcmp(live->runs[live->last_run], run, BAK_RUN_BYTES) == 0) {
		*out = live->last_run;
		return 0;
	}
	int grown = grow_table(&live->run_table, &live->run_slots, live->n_runs);
	if (grown < 0)
		return -1;
	for (size_t i = 0; grown && i < live->n_runs; i++)
		*run_place(live, live->runs[i]) = (uint32_t)i + 1;
	uint32_t *place = run_place(live, run);
	if (!*place) {
		if (bak_grow(&live->runs, &live->cap_runs, live->n_runs, sizeof *live->runs) < 0)
			return -1;
		memcpy(live->runs[live->n_runs++], run, BAK_RUN_BYTES);
		*place = (uint32_t)live->n_runs;
	}
	*out = live->last_run = *place - 1;
	return 0;
}

struct bak_live_seg *bak_live_find(struct bak_live *live, const struct bak_seg_id *id)
{
	uint32_t *run = live->run_slots ? run_place(live, id->run) : NULL;
	uint32_t *seg = run && *run && live->seg_slots ? seg_place(live, *run - 1, id->n) : NULL;
	return seg && *seg ? &live->segs[*seg - 1] : NULL;
}

/* The segment, made when it is new; NULL for lack of memory. */
static struct bak_live_seg *make_seg(struct bak_live *live, const struct bak_seg_id *id)
{
	uint32_t run;
	if (run_number(live, id->run, &run) < 0)
		return NULL;
	int grown = grow_table(&live->seg_table, &live->seg_slots, live->n_segs);
	if (grown < 0)
		return NULL;
	for (size_t i = 0; grown && i < live->n_segs; i++)
		*seg_place(live, live->segs[i].run, live->segs[i].n) = (uint32_t)i + 1;
	uint32_t *place = seg_place(live, run, id->n);
	if (!*place) {
		if (bak_grow(&live->segs, &live->cap_segs, live->n_segs, sizeof *live->segs) < 0)
			return NULL;
		live->segs[live->n_segs++] = (struct bak_live_seg){.run = run, .n = id->n};
		*place = (uint32_t)live->n_segs;
	}
	return &live->segs[*place - 1];
}

static struct bak_seg_id id_of(const struct bak_live *live, const struct bak_live_seg *seg)
{
	struct bak_seg_id id = {.n = seg->n};
	memcpy(id.run, live->runs[seg->run], BAK_RUN_BYTES);
	return id;
}

/* --- unions --- */

static int new_union(struct bak_live *live, struct bak_live_seg *seg)
{
	if (live->n_unions >= 1u << 28 ||
	    bak_grow(&live->unions, &live->cap_unions, live->n_unions, sizeof *live->unions) < 0)
		return -1;
	live->unions[live->n_unions] = (struct bak_ranges){.n = 0};
	seg->ranges = (unsigned)live->n_unions++ & 0xfffffff;
	return 0;
}

static int add_range(struct bak_live *live, struct bak_live_seg *seg, uint32_t off, uint32_t len)
{
	if (len > UINT32_MAX - off)
		len = UINT32_MAX - off;
	if (!seg->ranges && new_union(live, seg) < 0)
		return -1;
	struct bak_ranges *ranges = &live->unions[seg->ranges];
	size_t before = ranges->cap;
	int rc = bak_ranges_add(ranges, off, len);
	if (!seg->tree)
		live->ranges_bytes += (ranges->cap - before) * sizeof *ranges->v;
	return rc;
}

/* The union's number stays with the segment: it may be counted again. */
static void drop_union(struct bak_live *live, struct bak_live_seg *seg)
{
	seg->counted = false;
	if (!seg->ranges)
		return;
	live->ranges_bytes -= live->unions[seg->ranges].cap * sizeof *live->unions->v;
	bak_ranges_release(&live->unions[seg->ranges]);
}

const struct bak_ranges *bak_live_ranges(const struct bak_live *live,
					 const struct bak_live_seg *seg)
{
	return seg->ranges && (seg->tree || seg->counted) ? &live->unions[seg->ranges] : NULL;
}

/* --- the walk --- */

static int flush_rows(struct bak_live *live, struct bak_error *err)
{
	struct queue *q = &live->queue;
	int rc = q->n ? bak_index_add_refs(bak_repo_index(live->repo), q->rows, q->n, &q->bytes,
					   err)
		      : 0;
	q->n = 0;
	q->bytes.len = 0;
	return rc;
}

static int keep_row(struct bak_live *live, const struct bak_ref *ref, struct bak_error *err)
{
	struct queue *q = &live->queue;
	struct bak_refs_row row = {
		.seg = ref->seg, .off = ref->off, .len = ref->len, .at = q->bytes.len};
	if (bak_refs_encode(&live->refs, &q->bytes) < 0)
		return bak_error_nomem(err);
	row.n = q->bytes.len - row.at;
	q->rows[q->n++] = row;
	return q->n == ROWS ? flush_rows(live, err) : 0;
}

/* What the object refers to, from the index or from itself. */
static int load_refs(struct bak_live *live, const struct bak_ref *ref, struct bak_error *err)
{
	enum bak_object_kind kind;
	const uint8_t *payload;
	uint32_t len;
	BAK_AUTO(bak_pin_put_ptr) struct bak_pin *pin = NULL;
	live->kept.len = 0;
	int rc = bak_index_find_refs(bak_repo_index(live->repo), &ref->seg, ref->off, &live->kept,
				     err);
	if (rc == 1)
		rc = bak_refs_decode(live->kept.p, live->kept.len, &live->refs);
	if (rc != 0)
		return rc < 0 ? bak_error_nomem(err) : 0;
	if (bak_source_object(bak_repo_source(live->repo), ref, &kind, &payload, &len, &pin, err) <
		    0 ||
	    bak_refs_of(kind, payload, len, &live->refs, err) < 0)
		return -1;
	return keep_row(live, ref, err);
}

static int push(struct bak_live *live, const struct bak_ref *ref)
{
	if (bak_grow(&live->stack, &live->cap_stack, live->n_stack, sizeof *live->stack) < 0)
		return -1;
	live->stack[live->n_stack++] = *ref;
	return 0;
}

static int enter(struct bak_live *live, const struct bak_ref *ref, struct bak_error *err)
{
	struct bak_live_seg *tree = make_seg(live, &ref->seg);
	int bad = tree == NULL;
	if (tree && tree->ranges && bak_ranges_has(&live->unions[tree->ranges], ref->off, ref->len))
		return 0;
	if (tree) {
		tree->tree = true;
		bad |= add_range(live, tree, ref->off, ref->len) < 0;
	}
	if (bad)
		return bak_error_nomem(err);
	if (load_refs(live, ref, err) < 0)
		return -1;
	live->n_objects++;
	for (size_t i = 0; i < live->refs.n_trees; i++)
		bad |= push(live, &live->refs.trees[i]) < 0;
	for (size_t i = 0; i < live->refs.n_uses && !bad; i++) {
		const struct bak_use *use = &live->refs.uses[i];
		struct bak_live_seg *seg = make_seg(live, &use->seg);
		bad |= seg == NULL;
		if (seg && !seg->tree && use->len > seg->bytes)
			seg->bytes = use->len;
	}
	return bad ? bak_error_nomem(err) : 0;
}

int bak_live_snapshot(struct bak_live *live, const struct bak_snapshot *snapshot,
		      struct bak_error *err)
{
	int rc = 0;
	for (size_t i = 0; live->counted && i < live->n_segs; i++)
		if (!live->segs[i].tree && live->segs[i].counted)
			drop_union(live, &live->segs[i]);
	live->counted = false;
	live->n_stack = 0;
	if ((snapshot->root.dir.len && push(live, &snapshot->root.dir) < 0) ||
	    (snapshot->link_table.len && push(live, &snapshot->link_table) < 0))
		return bak_error_nomem(err);
	while (rc == 0 && live->n_stack > 0) {
		struct bak_ref ref = live->stack[--live->n_stack];
		rc = enter(live, &ref, err);
	}
	return rc == 0 ? flush_rows(live, err) : -1;
}

/* --- counting --- */

/* Too much memory: unions of what was counted before go, then the later half of the group is put
 * off. A single segment is always counted. */
static void make_room(struct bak_live *live)
{
	size_t active = 0, keep;
	for (size_t i = 0; i < live->n_segs; i++) {
		struct bak_live_seg *seg = &live->segs[i];
		if (!seg->tree && !seg->active && seg->ranges)
			drop_union(live, seg);
		active += seg->active;
	}
	if (live->ranges_bytes <= live->ranges_max || active < 2)
		return;
	keep = active / 2;
	for (size_t i = 0; i < live->n_segs; i++) {
		struct bak_live_seg *seg = &live->segs[i];
		if (!seg->active || keep > 0) {
			keep -= seg->active;
			continue;
		}
		seg->active = false;
		drop_union(live, seg);
	}
}

static int add_if_active(struct bak_live *live, const struct bak_seg_id *id, uint32_t off,
			 uint64_t len, struct bak_error *err)
{
	struct bak_live_seg *seg = bak_live_find(live, id);
	if (!seg || !seg->active)
		return 0;
	if (add_range(live, seg, off, len < UINT32_MAX ? (uint32_t)len : UINT32_MAX) < 0)
		return bak_error_nomem(err);
	if (live->ranges_bytes > live->ranges_max)
		make_room(live);
	return 0;
}

static bool uses_active(struct bak_live *live)
{
	for (size_t i = 0; i < live->refs.n_uses; i++) {
		const struct bak_live_seg *seg = bak_live_find(live, &live->refs.uses[i].seg);
		if (seg && seg->active)
			return true;
	}
	return false;
}

/* The ranges that one live object uses of the group's segments. */
static int count_object(struct bak_live *live, const struct bak_ref *ref, struct bak_error *err)
{
	const struct bak_span *span;
	BAK_AUTO(bak_pin_put_ptr) struct bak_pin *pin = NULL;
	if (!uses_active(live))
		return 0;
	for (size_t i = 0; live->refs.exact && i < live->refs.n_uses; i++) {
		const struct bak_use *use = &live->refs.uses[i];
		if (add_if_active(live, &use->seg, use->off, use->len, err) < 0)
			return -1;
	}
	if (live->refs.exact)
		return 0;
	if (bak_source_span(bak_repo_source(live->repo), ref, &span, &pin, err) < 0)
		return -1;
	for (size_t i = 0; i < span->n_extents; i++) {
		const struct bak_extent *extent = &span->extents[i];
		if (extent->kind == BAK_EXTENT_BYTES &&
		    add_if_active(live, &extent->seg, extent->off, extent->len, err) < 0)
			return -1;
	}
	return 0;
}

/* All live objects of one tree segment. */
static int count_tree(struct bak_live *live, const struct bak_live_seg *tree, uint64_t *n_seen,
		      struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) struct bak_refs_row *rows = NULL;
	BAK_AUTO(bak_buf_release) struct bak_buf bytes = BAK_BUF_INIT;
	struct bak_seg_id id = id_of(live, tree);
	size_t n;
	int rc = bak_index_refs_of_segment(bak_repo_index(live->repo), &id, &rows, &n, &bytes, err);
	for (size_t i = 0; rc == 0 && i < n; i++) {
		struct bak_ref ref = {rows[i].seg, rows[i].off, rows[i].len};
		if (!bak_ranges_has(&live->unions[tree->ranges], ref.off, ref.len))
			continue;
		int good = bak_refs_decode(bytes.p + rows[i].at, rows[i].n, &live->refs);
		*n_seen += good == 1;
		if (good < 0)
			rc = bak_error_nomem(err);
		else if (good == 1)
			rc = count_object(live, &ref, err);
	}
	return rc;
}

/* Nothing must be missed, or what is live would pass for dead: another process may have made the
 * index anew meanwhile. */
static int count_group(struct bak_live *live, struct bak_error *err)
{
	uint64_t n_seen = 0;
	for (size_t i = 0; i < live->n_segs; i++) {
		if (!live->segs[i].tree)
			continue;
		if (count_tree(live, &live->segs[i], &n_seen, err) < 0)
			return -1;
	}
	if (n_seen != live->n_objects)
		return bak_error_set(err, BAK_UNAVAILABLE,
				     "the index was made anew meanwhile: try again");
	return 0;
}

static int end_group(struct bak_live *live, bak_live_fn *fn, void *ctx, struct bak_error *err)
{
	static const struct bak_ranges none = {.n = 0};
	int rc = 0;
	for (size_t i = 0; i < live->n_segs && rc == 0; i++) {
		struct bak_live_seg *seg = &live->segs[i];
		if (!seg->active)
			continue;
		seg->active = seg->marked = false;
		seg->counted = live->counted = true;
		const struct bak_ranges *ranges = seg->ranges ? &live->unions[seg->ranges] : &none;
		uint64_t total = bak_ranges_total(ranges);
		seg->bytes = total < UINT32_MAX ? (uint32_t)total : UINT32_MAX;
		struct bak_seg_id id = id_of(live, seg);
		rc = fn ? fn(ctx, &id, seg, ranges, err) : 0;
	}
	return rc;
}

int bak_live_count(struct bak_live *live, bak_live_fn *fn, void *ctx, struct bak_error *err)
{
	for (;;) {
		size_t n = 0;
		for (size_t i = 0; i < live->n_segs; i++) {
			struct bak_live_seg *seg = &live->segs[i];
			if (!seg->marked || seg->tree)
				continue;
			drop_union(live, seg);
			seg->active = true;
			n++;
		}
		if (n == 0)
			return 0;
		if (count_group(live, err) < 0 || end_group(live, fn, ctx, err) < 0)
			return -1;
	}
}

int bak_live_all(struct bak_live *live, bak_live_fn *fn, void *ctx, struct bak_error *err)
{
	for (size_t i = 0; i < live->n_segs; i++) {
		struct bak_live_seg *seg = &live->segs[i];
		struct bak_seg_id id = id_of(live, seg);
		if (!seg->tree)
			seg->marked = true;
		else if (fn(ctx, &id, seg, &live->unions[seg->ranges], err) < 0)
			return -1;
	}
	return bak_live_count(live, fn, ctx, err);
}
