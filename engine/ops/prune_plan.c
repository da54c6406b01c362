/* Which packs have so much garbage that they are rewritten, and their condemnation: see
 * prune_private.h. */
#include "engine/ops/prune_private.h"

#include "engine/base/bytes.h"
#include "engine/objects/condemned.h"

#include <stdlib.h>

#define MAX_COPIES 16
/* Packs that are condemned together: what is lost when a prune is killed is the copying of them. */
#define BATCH 16

struct candidate {
	const struct bak_pack_row *row;
	uint64_t all, dead; /* bytes of its records; of those, that nobody needs */
	uint64_t spare;     /* that other packs have too, as it seems */
	bool chosen;
};

struct plan {
	struct bak_prune *p;
	struct candidate *v; /* in the order of ids, as p->packs */
	struct candidate **order;
	size_t n;
};

/* --- a pack's garbage --- */

/* Bytes of the record that would go if it was copied; seg NULL: all. */
static uint64_t dead_bytes(const struct bak_live_seg *seg, const struct bak_ranges *ranges,
			   const struct bak_seg_copy *copy)
{
	if (!seg)
		return copy->len;
	uint64_t live = ranges && seg->tree ? bak_ranges_total(ranges) : seg->bytes;
	if (live * 100 >= (uint64_t)copy->raw_len * BAK_PRUNE_HOLED)
		return 0;
	return (uint64_t)copy->len * (copy->raw_len - live) / copy->raw_len;
}

static int candidate_cmp(const void *key, const void *candidate)
{
	return memcmp(key, ((const struct candidate *)candidate)->row->id, BAK_PACK_ID_BYTES);
}

static bool is_chosen(const struct plan *plan, const uint8_t id[BAK_PACK_ID_BYTES])
{
	const struct candidate *c = plan->n ? bsearch(id, plan->v, plan->n, sizeof *plan->v,
						      candidate_cmp)
					    : NULL;
	return c && c->chosen;
}

/* Whether enough other packs that stay serve the segment: 1, 0, -1. */
static int is_spare(const struct plan *plan, const struct bak_seg_copy *copy,
		    const struct bak_live_seg *seg, struct bak_error *err)
{
	struct bak_seg_copy copies[MAX_COPIES];
	unsigned others = 0;
	size_t n;
	if (bak_index_find_segment(bak_repo_index(plan->p->repo), &copy->id, copies, MAX_COPIES, &n,
				   err) < 0)
		return -1;
	for (size_t i = 0; i < n && i < MAX_COPIES; i++) {
		if (copies[i].condemned ||
		    memcmp(copies[i].pack, copy->pack, BAK_PACK_ID_BYTES) == 0 ||
		    is_chosen(plan, copies[i].pack))
			continue;
		int rc = bak_prune_serves(plan->p, &copies[i], seg, err);
		if (rc < 0)
			return -1;
		others += rc == 1;
	}
	return others >= bak_prune_needed(copy->type);
}

/* Fills dead and spare, as things stand. */
static int weigh(const struct plan *plan, struct candidate *c, struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) struct bak_seg_copy *copies = NULL;
	struct bak_live *live = plan->p->live;
	size_t n;
	c->all = c->dead = c->spare = 0;
	if (bak_index_pack_segments(bak_repo_index(plan->p->repo), c->row->id, &copies, &n, err) <
	    0)
		return -1;
	for (size_t i = 0; i < n; i++) {
		const struct bak_live_seg *seg = bak_live_find(live, &copies[i].id);
		uint64_t dead = dead_bytes(seg, seg ? bak_live_ranges(live, seg) : NULL,
					   &copies[i]);
		int spare = seg ? is_spare(plan, &copies[i], seg, err) : 0;
		if (spare < 0)
			return -1;
		c->all += copies[i].len;
		c->dead += dead;
		c->spare += spare ? copies[i].len - dead : 0;
	}
	return 0;
}

static bool worth_it(const struct plan *plan, const struct candidate *c)
{
	int max = plan->p->conf->max_unused < 0 ? BAK_PRUNE_UNUSED : plan->p->conf->max_unused;
	uint64_t waste = c->dead + c->spare;
	return c->all > 0 && (waste == c->all || waste * 100 > c->all * (unsigned)max);
}

/* Most garbage first; of packs that have the same in them the one with more that is dead. */
static int order_cmp(const void *a, const void *b)
{
	const struct candidate *x = *(struct candidate *const *)a,
			       *y = *(struct candidate *const *)b;
	long double wx = (long double)(x->dead + x->spare) / (long double)(x->all + 1);
	long double wy = (long double)(y->dead + y->spare) / (long double)(y->all + 1);
	if (wx != wy)
		return wx > wy ? -1 : 1;
	long double dx = (long double)x->dead / (long double)(x->all + 1);
	long double dy = (long double)y->dead / (long double)(y->all + 1);
	if (dx != dy)
		return dx > dy ? -1 : 1;
	return memcmp(x->row->id, y->row->id, BAK_PACK_ID_BYTES);
}

/* --- choosing --- */

static bool run_is_live(const struct bak_prune *p, const uint8_t run[8])
{
	char hex[17];
	bak_hex(hex, run, 8);
	for (size_t i = 0; i < p->leases.n; i++)
		if (strcmp(p->leases.v[i].run, hex) == 0)
			return true;
	return false;
}

static int mark_inexact(struct bak_prune *p, const struct bak_pack_row *row, struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) struct bak_seg_copy *copies = NULL;
	size_t n;
	if (bak_index_pack_segments(bak_repo_index(p->repo), row->id, &copies, &n, err) < 0)
		return -1;
	for (size_t i = 0; i < n; i++) {
		struct bak_live_seg *seg = bak_live_find(p->live, &copies[i].id);
		if (seg && bak_prune_inexact(seg, &copies[i], p->live))
			seg->marked = true;
	}
	return 0;
}

/* Not those that are condemned already, nor of runs that are at work: what they refer to is not
 * known. A damaged footer does not say all that lies in its pack. */
static int collect(struct plan *plan, struct bak_error *err)
{
	struct bak_prune *p = plan->p;
	for (size_t i = 0; i < p->n_packs; i++) {
		const struct bak_pack_row *row = &p->packs[i];
		p->out->damaged_packs += row->walked && !row->condemned;
		if (row->condemned || row->walked || run_is_live(p, row->run))
			continue;
		plan->v[plan->n] = (struct candidate){.row = row};
		plan->order[plan->n] = &plan->v[plan->n];
		plan->n++;
		if (mark_inexact(p, row, err) < 0)
			return -1;
	}
	return bak_live_count(p->live, NULL, NULL, err);
}

static int choose(struct plan *plan, struct bak_pack_ids *out, struct bak_error *err)
{
	struct bak_prune_result *result = plan->p->out;
	for (size_t i = 0; i < plan->n; i++) {
		bak_prune_progress(plan->p, "looking for garbage", i, plan->n);
		if (weigh(plan, &plan->v[i], err) < 0)
			return -1;
	}
	qsort(plan->order, plan->n, sizeof *plan->order, order_cmp);
	for (size_t i = 0; i < plan->n; i++) {
		struct candidate *c = plan->order[i];
		/* What was chosen before is no other place any more. */
		if (!worth_it(plan, c) || (c->spare && weigh(plan, c, err) < 0))
			continue;
		if (!worth_it(plan, c))
			continue;
		c->chosen = true;
		result->condemned_packs++;
		result->condemned_bytes += c->row->size;
		result->copied_bytes += c->all - c->dead - c->spare;
		if (bak_pack_ids_add(out, c->row->id) < 0)
			return bak_error_nomem(err);
	}
	return 0;
}

int bak_prune_plan(struct bak_prune *p, struct bak_pack_ids *out_packs, struct bak_error *err)
{
	struct plan plan = {.p = p};
	int rc = 0;
	plan.v = calloc(p->n_packs + 1, sizeof *plan.v);
	plan.order = calloc(p->n_packs + 1, sizeof *plan.order);
	if (!plan.v || !plan.order)
		rc = bak_error_nomem(err);
	if (rc == 0)
		rc = collect(&plan, err);
	if (rc == 0)
		rc = choose(&plan, out_packs, err);
	free(plan.v);
	free(plan.order);
	return rc;
}

/* --- condemnation --- */

/* Everything live in them lies elsewhere by now, and is durable. */
static int put_condemnation(struct bak_prune *p, const struct bak_pack_ids *batch,
			    struct bak_error *err)
{
	char name[BAK_CONDEMNED_NAME_LEN];
	struct bak_condemned condemned = {.time = bak_repo_now(p->repo)};
	memcpy(condemned.run, bak_hold_id(p->hold), sizeof condemned.run);
	condemned.packs = calloc(batch->n + 1, sizeof *condemned.packs);
	if (!condemned.packs)
		return bak_error_nomem(err);
	for (size_t i = 0; i < batch->n; i++)
		if (!bak_pack_ids_has(&p->kept, batch->v[i]))
			memcpy(condemned.packs[condemned.n++], batch->v[i], BAK_PACK_ID_BYTES);
	int rc = condemned.n ? bak_condemned_put(bak_repo_backend(p->repo), bak_repo_ring(p->repo),
						 &condemned, name, err)
			     : 0;
	for (size_t i = 0; i < condemned.n && rc == 0; i++) {
		rc = bak_index_condemn_pack(bak_repo_index(p->repo), condemned.packs[i], true, err);
		p->out->condemned_packs++;
		p->out->condemned_bytes +=
			bak_prune_row(p->packs, p->n_packs, condemned.packs[i])->size;
	}
	if (condemned.n && !p->out->next)
		p->out->next = condemned.time + BAK_LEASE_S;
	bak_condemned_release(&condemned);
	return rc;
}

int bak_prune_condemn(struct bak_prune *p, const struct bak_pack_ids *packs, struct bak_error *err)
{
	for (size_t i = 0; i < packs->n; i += BATCH) {
		struct bak_pack_ids batch = {.n = 0};
		int rc = 0;
		for (size_t k = i; k < packs->n && k < i + BATCH && rc == 0; k++)
			rc = bak_pack_ids_add(&batch, packs->v[k]) < 0 ? bak_error_nomem(err) : 0;
		bak_pack_ids_sort(&batch);
		if (rc == 0)
			rc = bak_prune_evacuate(p, &batch, err);
		if (rc == 0)
			rc = put_condemnation(p, &batch, err);
		bak_pack_ids_release(&batch);
		if (rc < 0)
			return -1;
	}
	return 0;
}
