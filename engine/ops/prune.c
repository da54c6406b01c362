/* A prune, step by step: see prune.h. */
#include "engine/ops/prune_private.h"

#include "engine/ops/repo_private.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

/* Packs that are rewritten before their space is given back. */
#define ALONE_BATCH 4

/* --- small things --- */

int bak_pack_ids_add(struct bak_pack_ids *ids, const uint8_t id[BAK_PACK_ID_BYTES])
{
	if (bak_grow(&ids->v, &ids->cap, ids->n, sizeof *ids->v) < 0)
		return -1;
	memcpy(ids->v[ids->n++], id, BAK_PACK_ID_BYTES);
	return 0;
}

static int id_cmp(const void *a, const void *b)
{
	return memcmp(a, b, BAK_PACK_ID_BYTES);
}

void bak_pack_ids_sort(struct bak_pack_ids *ids)
{
	if (ids->n)
		qsort(ids->v, ids->n, sizeof *ids->v, id_cmp);
}

bool bak_pack_ids_has(const struct bak_pack_ids *ids, const uint8_t id[BAK_PACK_ID_BYTES])
{
	return ids->n && bsearch(id, ids->v, ids->n, sizeof *ids->v, id_cmp);
}

void bak_pack_ids_release(struct bak_pack_ids *ids)
{
	free(ids->v);
	*ids = (struct bak_pack_ids){.n = 0};
}

static int row_cmp(const void *id, const void *row)
{
	return memcmp(id, ((const struct bak_pack_row *)row)->id, BAK_PACK_ID_BYTES);
}

const struct bak_pack_row *bak_prune_row(const struct bak_pack_row *rows, size_t n,
					 const uint8_t id[BAK_PACK_ID_BYTES])
{
	return n ? bsearch(id, rows, n, sizeof *rows, row_cmp) : NULL;
}

void bak_prune_progress(struct bak_prune *p, const char *what, uint64_t done, uint64_t total)
{
	if (p->conf->progress)
		p->conf->progress(p->conf->ctx, what, done, total);
}

void bak_prune_warn(struct bak_prune *p, const char *fmt, ...)
{
	char text[256];
	va_list args;
	va_start(args, fmt);
	vsnprintf(text, sizeof text, fmt, args);
	va_end(args);
	if (p->conf->warn)
		p->conf->warn(p->conf->ctx, text);
}

int bak_prune_check_lease(struct bak_prune *p, struct bak_error *err)
{
	unsigned lapses;
	if (bak_hold_check(p->hold, &lapses, err) < 0)
		return -1;
	return lapses == p->lapses ? 0
				   : bak_error_set(err, BAK_UNAVAILABLE,
						   "this machine slept too long: prune again");
}

/* --- which snapshots there are --- */

/* Records of forgotten snapshots, with their time. */
struct forgotten {
	struct record {
		struct bak_numbers range;
		int64_t time;
	} * v;
	size_t n, cap;
	struct bak_repo *repo;
	struct bak_error *err;
};

static bool parse_range(const char *name, struct bak_numbers *out)
{
	unsigned long long first, last;
	char rest;
	int n = sscanf(name, "forgotten/%llu-%llu%c", &first, &last, &rest);
	*out = (struct bak_numbers){first, n == 2 ? last : first};
	return n == 2 || (n == 1 && sscanf(name, "forgotten/%llu%c", &first, &rest) == 1);
}

/* One that does not open, or says no time, is passed over: then its snapshots live on. */
static int add_record(void *ctx, const char *name, uint64_t size)
{
	struct forgotten *f = ctx;
	BAK_AUTO(bak_buf_release) struct bak_buf text = BAK_BUF_INIT;
	struct record record;
	(void)size;
	if (!parse_range(name, &record.range))
		return 0;
	int rc = bak_catalog_read(f->repo, name, &text, f->err);
	if (rc <= 0)
		return rc;
	json_t *json = json_loadb((const char *)text.p, text.len, 0, NULL);
	const char *time = json_string_value(json_object_get(json, "time"));
	bool good = time && bak_time_parse(time, &record.time);
	json_decref(json);
	if (!good)
		return 0;
	if (bak_grow(&f->v, &f->cap, f->n, sizeof *f->v) < 0)
		return bak_error_nomem(f->err);
	f->v[f->n++] = record;
	return 0;
}

/* Forgotten for so long that no backup builds on it. */
static bool is_due(const struct bak_prune *p, const struct forgotten *f, uint64_t number)
{
	int64_t now = bak_repo_now(p->repo);
	for (size_t i = 0; i < f->n; i++) {
		const struct record *r = &f->v[i];
		if (number >= r->range.first && number <= r->range.last &&
		    (p->conf->alone ||
		     (now - r->time >= BAK_LEASE_S && !bak_leases_before(&p->leases, r->time))))
			return true;
	}
	return false;
}

/* Without these nobody knows what is used. */
static int refuse_omissions(struct bak_prune *p, struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) char *text = NULL;
	if (bak_repo_omissions(p->repo, &text, err) < 0)
		return -1;
	if (!text)
		return 0;
	return bak_error_set(err, BAK_REFUSED,
			     "%s: what was saved there would be deleted. `bakfs forget` records a "
			     "loss",
			     text);
}

/* --- looking --- */

static int walk_snapshot(struct bak_prune *p, uint64_t number, struct bak_error *err)
{
	struct bak_snapshot snapshot = {0};
	if (bak_grow(&p->walked, &p->cap_walked, p->n_walked, sizeof *p->walked) < 0)
		return bak_error_nomem(err);
	int rc = bak_snapshot_load(bak_repo_backend(p->repo), bak_repo_ring(p->repo), number,
				   &snapshot, err);
	if (rc == 0)
		rc = bak_error_set(err, BAK_UNAVAILABLE, "it has just gone");
	else if (rc == 1)
		rc = bak_live_snapshot(p->live, &snapshot, err);
	bak_snapshot_release(&snapshot);
	if (rc < 0)
		return bak_error_wrap(err, "snapshot %llu", (unsigned long long)number);
	p->walked[p->n_walked++] = number;
	return 0;
}

static bool is_walked(const struct bak_prune *p, uint64_t number)
{
	for (size_t i = 0; i < p->n_walked; i++)
		if (p->walked[i] == number)
			return true;
	return false;
}

static int walk_new(struct bak_prune *p, const struct forgotten *f, struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) uint64_t *numbers = NULL;
	size_t n;
	if (bak_index_snapshot_numbers(bak_repo_index(p->repo), &numbers, &n, err) < 0)
		return -1;
	p->out->snapshots = 0;
	for (size_t i = 0; i < n; i++) {
		bak_prune_progress(p, "walking snapshots", i, n);
		if (is_due(p, f, numbers[i]))
			continue;
		p->out->snapshots++;
		if (!is_walked(p, numbers[i]) && walk_snapshot(p, numbers[i], err) < 0)
			return -1;
	}
	return 0;
}

struct due_list {
	struct bak_prune *p;
	const struct forgotten *f;
};

/* snapshots/<n>, tags/<n>-<m> */
static int add_due(void *ctx, const char *name, uint64_t size)
{
	const struct due_list *d = ctx;
	unsigned long long number;
	(void)size;
	if ((sscanf(name, "snapshots/%llu", &number) != 1 &&
	     sscanf(name, "tags/%llu-", &number) != 1) ||
	    !is_due(d->p, d->f, number))
		return 0;
	return bak_buf_append(&d->p->due, name, strlen(name) + 1) < 0;
}

static int list_due(struct bak_prune *p, const struct forgotten *f, struct bak_error *err)
{
	struct due_list list = {p, f};
	struct bak_backend *backend = bak_repo_backend(p->repo);
	p->due.len = 0;
	int rc = bak_backend_list(backend, "snapshots", add_due, &list, err);
	if (rc == 0)
		rc = bak_backend_list(backend, "tags", add_due, &list, err);
	return rc > 0 ? bak_error_nomem(err) : rc;
}

int bak_prune_look(struct bak_prune *p, struct bak_error *err)
{
	struct forgotten f = {.repo = p->repo, .err = err};
	bool changed;
	bak_leases_release(&p->leases);
	int rc = bak_leases_list(p->repo, p->hold ? bak_hold_id(p->hold) : NULL, &p->leases, err);
	if (rc == 0)
		rc = bak_repo_refresh_snapshots(p->repo, &changed, err);
	if (rc == 0)
		rc = refuse_omissions(p, err);
	if (rc == 0)
		rc = bak_backend_list(bak_repo_backend(p->repo), "forgotten", add_record, &f, err);
	if (rc == 0)
		rc = walk_new(p, &f, err);
	if (rc == 0)
		rc = list_due(p, &f, err);
	free(f.v);
	return rc;
}

/* --- doing --- */

static uint64_t count_due(const struct bak_prune *p)
{
	uint64_t n = 0;
	for (size_t at = 0; at < p->due.len; at += strlen((char *)p->due.p + at) + 1)
		n += strncmp((char *)p->due.p + at, "snapshots/", 10) == 0;
	return n;
}

/* Their records stay: the numbers are not used again. */
static int remove_due(struct bak_prune *p, struct bak_error *err)
{
	bool changed;
	for (size_t at = 0; at < p->due.len; at += strlen((char *)p->due.p + at) + 1) {
		const char *name = (char *)p->due.p + at;
		int rc = bak_backend_remove(bak_repo_backend(p->repo), name, err);
		if (rc < 0)
			return -1;
		p->out->removed_snapshots += rc == 1 && strncmp(name, "snapshots/", 10) == 0;
	}
	return p->due.len ? bak_repo_refresh_snapshots(p->repo, &changed, err) : 0;
}

/* The counters that tell of deeds: a plan filled them with intentions. */
static void forget_plan(struct bak_prune_result *r)
{
	r->removed_snapshots = r->swept_packs = r->swept_bytes = 0;
	r->condemned_packs = r->condemned_bytes = 0;
	r->copied_segments = r->copied_bytes = 0;
}

/* Nobody else is at work: what was condemned goes at once, a few packs at a time, so that little
 * room is needed for what is copied. */
static int do_alone(struct bak_prune *p, const struct bak_pack_ids *chosen, struct bak_error *err)
{
	for (size_t i = 0; i < chosen->n; i += ALONE_BATCH) {
		size_t left = chosen->n - i;
		struct bak_pack_ids some = {.n = left < ALONE_BATCH ? left : ALONE_BATCH,
					    .v = chosen->v + i};
		if (bak_prune_condemn(p, &some, err) < 0 || bak_prune_sweep(p, false, err) < 0)
			return -1;
	}
	p->out->condemned_packs = p->out->condemned_bytes = 0;
	return 0;
}

static int do_it(struct bak_prune *p, const struct bak_pack_ids *chosen, struct bak_error *err)
{
	forget_plan(p->out);
	/* Lists leases, then snapshots, then (in the sweep) condemnations and packs. */
	if (bak_prune_look(p, err) < 0 || remove_due(p, err) < 0 ||
	    bak_prune_sweep(p, false, err) < 0)
		return -1;
	return p->conf->alone ? do_alone(p, chosen, err) : bak_prune_condemn(p, chosen, err);
}

static int count_bytes(struct bak_prune *p, uint64_t *out_packs, uint64_t *out_bytes,
		       struct bak_error *err)
{
	struct bak_index_counts counts;
	if (bak_index_counts(bak_repo_index(p->repo), &counts, err) < 0)
		return -1;
	*out_packs = counts.packs;
	*out_bytes = counts.pack_bytes;
	return 0;
}

/* Packs before leases, leases before snapshots: so a backup that ends meanwhile is seen by one of
 * the three, and none is missed. */
static int plan(struct bak_prune *p, struct bak_pack_ids *chosen, struct bak_error *err)
{
	bool changed;
	if (bak_repo_refresh_packs(p->repo, &changed, err) < 0 ||
	    bak_index_packs(bak_repo_index(p->repo), &p->packs, &p->n_packs, err) < 0 ||
	    count_bytes(p, &p->out->packs, &p->out->bytes, err) < 0)
		return -1;
	if (bak_prune_look(p, err) < 0 || bak_prune_sweep(p, true, err) < 0 ||
	    bak_prune_plan(p, chosen, err) < 0)
		return -1;
	p->out->removed_snapshots = count_due(p);
	p->out->after_bytes = p->out->bytes - p->out->swept_bytes;
	if (p->conf->planned)
		p->conf->planned(p->conf->ctx, p->out);
	return 0;
}

static int prune(struct bak_prune *p, struct bak_error *err)
{
	struct bak_pack_ids chosen = {.n = 0};
	uint64_t packs;
	int rc = 0;
	if (!p->conf->dry_run)
		rc = bak_hold_begin(p->repo, p->conf->alone ? BAK_HOLD_ALONE : BAK_HOLD_PRUNE, NULL,
				    0, &p->hold, err);
	if (rc == 0 && p->hold)
		rc = bak_hold_check(p->hold, &p->lapses, err);
	if (rc == 0)
		rc = bak_live_new(p->repo, p->conf->ranges_max, &p->live, err);
	if (rc == 0)
		rc = plan(p, &chosen, err);
	if (rc == 0 && p->hold)
		rc = do_it(p, &chosen, err);
	if (rc == 0 && p->hold)
		rc = count_bytes(p, &packs, &p->out->after_bytes, err);
	bak_pack_ids_release(&chosen);
	return rc;
}

int bak_prune(struct bak_repo *repo, const struct bak_prune_conf *conf,
	      struct bak_prune_result *out, struct bak_error *err)
{
	struct bak_prune p = {.repo = repo, .conf = conf, .out = out};
	*out = (struct bak_prune_result){0};
	int rc = prune(&p, err);
	bak_live_free(p.live);
	bak_hold_end(p.hold);
	bak_leases_release(&p.leases);
	bak_pack_ids_release(&p.kept);
	bak_buf_release(&p.due);
	free(p.packs);
	free(p.walked);
	return rc;
}
