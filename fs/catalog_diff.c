/* What differs between two catalogues, as names in folders: see catalog.h. */
#include "fs/catalog.h"

#include <stdio.h>
#include <string.h>

struct diff {
	const struct bak_catalog *was, *is;
	bak_catalog_diff_fn *fn;
	void *ctx;
};

static void tell(const struct diff *d, uint64_t parent, const char *name)
{
	d->fn(d->ctx, parent, name);
}

static void tell_with_suffixes(const struct diff *d, uint64_t parent, const char *name)
{
	char file[BAK_STORE_NAME_MAX + 16];
	tell(d, parent, name);
	snprintf(file, sizeof file, "%s.json", name);
	tell(d, parent, file);
	snprintf(file, sizeof file, "%s.sha256", name);
	tell(d, parent, file);
}

static uint64_t latest_number(const struct bak_catalog *cat, const struct bak_cat_store *store)
{
	return store && store->latest != BAK_CAT_NONE ? cat->snaps[store->latest].number : 0;
}

/* Both lists are sorted by stamp: one walk over the two. */
static void diff_stamps(const struct diff *d, const struct bak_cat_store *was,
			const struct bak_cat_store *is)
{
	uint32_t a = 0, b = 0;
	while (a < was->n_snaps || b < is->n_snaps) {
		const struct bak_cat_snap *x = a < was->n_snaps ? &d->was->snaps[was->snaps[a]]
								: NULL;
		const struct bak_cat_snap *y = b < is->n_snaps ? &d->is->snaps[is->snaps[b]] : NULL;
		bool left = x && (!y || x->stamp <= y->stamp);
		bool right = y && (!x || y->stamp <= x->stamp);
		if (!(left && right && x->number == y->number))
			tell_with_suffixes(d, is->ino, left ? x->name : y->name);
		a += left;
		b += right;
	}
}

static void diff_stores(const struct diff *d)
{
	for (uint32_t i = 0; i < d->was->n_stores; i++) {
		const struct bak_cat_store *was = &d->was->stores[i];
		if (bak_catalog_store(d->is, was->name, strlen(was->name)))
			continue;
		tell(d, d->is->by_store_ino, was->name);
		tell_with_suffixes(d, d->is->latest_ino, was->name);
	}
	for (uint32_t i = 0; i < d->is->n_stores; i++) {
		const struct bak_cat_store *is = &d->is->stores[i];
		const struct bak_cat_store *was = bak_catalog_store(d->was, is->name,
								    strlen(is->name));
		if (!was)
			tell(d, d->is->by_store_ino, is->name);
		else
			diff_stamps(d, was, is);
		if (latest_number(d->was, was) == latest_number(d->is, is))
			continue;
		if (was)
			tell(d, is->ino, "latest");
		tell_with_suffixes(d, d->is->latest_ino, is->name);
	}
}

static bool run_has_store(const struct bak_catalog *cat, const struct bak_cat_run *run,
			  const char *store)
{
	for (uint32_t i = 0; i < run->n_snaps; i++)
		if (strcmp(cat->stores[cat->snaps[run->snaps[i]].store].name, store) == 0)
			return true;
	return false;
}

/* The names of stores that only one of two states of a run has. */
static bool diff_members(const struct diff *d, uint64_t parent, const struct bak_catalog *a_cat,
			 const struct bak_cat_run *a, const struct bak_catalog *b_cat,
			 const struct bak_cat_run *b)
{
	bool changed = false;
	for (uint32_t i = 0; i < a->n_snaps; i++) {
		const char *store = a_cat->stores[a_cat->snaps[a->snaps[i]].store].name;
		if (run_has_store(b_cat, b, store))
			continue;
		tell(d, parent, store);
		changed = true;
	}
	return changed;
}

static void diff_run(const struct diff *d, const struct bak_cat_run *was,
		     const struct bak_cat_run *is)
{
	bool gone = diff_members(d, is->ino, d->was, was, d->is, is);
	bool come = diff_members(d, is->ino, d->is, is, d->was, was);
	if (!gone && !come)
		return;
	tell(d, is->ino, "manifest.json");
	tell(d, is->ino, "SHA256SUMS");
}

static void diff_day(const struct diff *d, const struct bak_cat_day *was,
		     const struct bak_cat_day *is)
{
	for (uint32_t i = was->first_run; i < was->first_run + was->n_runs; i++)
		if (!bak_catalog_run(d->is, is, d->was->runs[i].name))
			tell(d, is->ino, d->was->runs[i].name);
	for (uint32_t i = is->first_run; i < is->first_run + is->n_runs; i++) {
		const struct bak_cat_run *run = &d->is->runs[i];
		const struct bak_cat_run *before = bak_catalog_run(d->was, was, run->name);
		if (before)
			diff_run(d, before, run);
		else
			tell(d, is->ino, run->name);
	}
}

static void diff_days(const struct diff *d)
{
	for (uint32_t i = 0; i < d->was->n_days; i++)
		if (!bak_catalog_day(d->is, d->was->days[i].name))
			tell(d, d->is->by_date_ino, d->was->days[i].name);
	for (uint32_t i = 0; i < d->is->n_days; i++) {
		const struct bak_cat_day *is = &d->is->days[i];
		const struct bak_cat_day *was = bak_catalog_day(d->was, is->name);
		if (was)
			diff_day(d, was, is);
		else
			tell(d, d->is->by_date_ino, is->name);
	}
}

void bak_catalog_diff(const struct bak_catalog *was, const struct bak_catalog *is,
		      bak_catalog_diff_fn *fn, void *ctx)
{
	struct diff d = {.was = was, .is = is, .fn = fn, .ctx = ctx};
	diff_stores(&d);
	diff_days(&d);
}
