/* Building a catalogue and finding things in it: see catalog.h. */
#include "fs/catalog.h"

#include "fs/ino.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Strings live as long as the catalogue; there are few of them, rows share them. */
struct text_block {
	struct text_block *next;
	char text[];
};

struct node_slot {
	uint64_t ino;
	struct bak_vnode node;
};

struct bak_catalog_private {
	atomic_uint refs;
	struct text_block *texts;
	uint32_t *lists; /* the snapshot lists of all stores and runs */
	struct node_slot *slots;
	size_t n_slots; /* a power of two, at most half full */
};

static const char *text_keep(struct bak_catalog *cat, const char *text)
{
	size_t len = strlen(text) + 1;
	struct text_block *block = malloc(sizeof *block + len);
	if (!block)
		return NULL;
	memcpy(block->text, text, len);
	block->next = cat->p->texts;
	cat->p->texts = block;
	return block->text;
}

/* Reading the index */

struct build {
	struct bak_catalog *cat;
	const char *only_store;
	uint64_t only_snapshot;
	size_t cap_snaps, cap_stores, cap_runs;
	uint32_t *run_at; /* hash of run ids: index + 1 */
	size_t n_run_at;
	struct bak_error *err;
};

static int grow(void **array, size_t *cap, size_t n, size_t item)
{
	if (n < *cap)
		return 0;
	size_t more = *cap ? *cap * 2 : 64;
	void *p = realloc(*array, more * item);
	if (!p)
		return -1;
	*array = p;
	*cap = more;
	return 0;
}

static uint32_t store_find_or_add(struct build *b, const char *name)
{
	struct bak_catalog *cat = b->cat;
	for (uint32_t i = 0; i < cat->n_stores; i++)
		if (strcmp(cat->stores[i].name, name) == 0)
			return i;
	if (grow((void **)&cat->stores, &b->cap_stores, cat->n_stores, sizeof *cat->stores) < 0)
		return BAK_CAT_NONE;
	const char *kept = text_keep(cat, name);
	if (!kept)
		return BAK_CAT_NONE;
	cat->stores[cat->n_stores] = (struct bak_cat_store){
		.name = kept,
		.order = bak_ino_hash(BAK_RANGE_VIRTUAL, name, 0) & (UINT64_MAX >> 8),
		.latest = BAK_CAT_NONE,
	};
	return cat->n_stores++;
}

/* Open addressing over run ids; kept at most half full. */
static int run_table_grow(struct build *b)
{
	size_t n = b->n_run_at ? b->n_run_at * 2 : 128;
	uint32_t *table = calloc(n, sizeof *table);
	if (!table)
		return -1;
	for (uint32_t i = 0; i < b->cat->n_runs; i++) {
		size_t at = bak_ino_hash(BAK_RANGE_VIRTUAL, b->cat->runs[i].id, 1) & (n - 1);
		while (table[at])
			at = (at + 1) & (n - 1);
		table[at] = i + 1;
	}
	free(b->run_at);
	b->run_at = table;
	b->n_run_at = n;
	return 0;
}

static uint32_t run_find_or_add(struct build *b, const struct bak_snapshot_row *row)
{
	struct bak_catalog *cat = b->cat;
	if (cat->n_runs * 2 >= b->n_run_at && run_table_grow(b) < 0)
		return BAK_CAT_NONE;
	size_t at = bak_ino_hash(BAK_RANGE_VIRTUAL, row->run, 1) & (b->n_run_at - 1);
	for (; b->run_at[at]; at = (at + 1) & (b->n_run_at - 1))
		if (strcmp(cat->runs[b->run_at[at] - 1].id, row->run) == 0)
			return b->run_at[at] - 1;
	if (grow((void **)&cat->runs, &b->cap_runs, cat->n_runs, sizeof *cat->runs) < 0)
		return BAK_CAT_NONE;
	struct bak_cat_run run = {.stamp = row->run_stamp};
	run.id = text_keep(cat, row->run);
	run.type = text_keep(cat, row->type);
	if (!run.id || !run.type)
		return BAK_CAT_NONE;
	cat->runs[cat->n_runs] = run;
	b->run_at[at] = ++cat->n_runs;
	return cat->n_runs - 1;
}

/* Stamps that make no four-digit year cannot be shown as names; a row like that is a damaged
 * index's, and the next rebuild of it puts that right. */
static bool stamp_shows(int64_t stamp)
{
	return stamp >= 0 && stamp < INT64_C(253402300800);
}

static int row_add(void *ctx, const struct bak_snapshot_row *row)
{
	struct build *b = ctx;
	struct bak_catalog *cat = b->cat;
	if (b->only_store && strcmp(b->only_store, row->store) != 0)
		return 0;
	if (b->only_snapshot && b->only_snapshot != row->number)
		return 0;
	if (!stamp_shows(row->stamp) || !stamp_shows(row->run_stamp) ||
	    !bak_store_name_ok(row->store) || strchr(row->type, '/') ||
	    !bak_ino_tree(BAK_VIEW_SHARED, row->number, 0))
		return 0;
	size_t cap = b->cap_snaps;
	if (grow((void **)&cat->snaps, &cap, cat->n_snaps, sizeof *cat->snaps) < 0)
		return bak_error_nomem(b->err);
	b->cap_snaps = cap;
	struct bak_cat_snap *snap = &cat->snaps[cat->n_snaps];
	*snap = (struct bak_cat_snap){
		.number = row->number,
		.stamp = row->stamp,
		.store = store_find_or_add(b, row->store),
		.run = run_find_or_add(b, row),
		.manifest_len = row->manifest_len,
		.added = row->added,
		.totals = {.entries = row->entries,
			   .files = row->files,
			   .escaped = row->escaped,
			   .bytes = row->bytes,
			   .sums_len = row->sums_len},
		.counts = bak_type_counts_as_latest(row->type),
	};
	if (snap->store == BAK_CAT_NONE || snap->run == BAK_CAT_NONE)
		return bak_error_nomem(b->err);
	bak_stamp_format(snap->stamp, snap->name);
	if (snap->stamp > cat->newest)
		cat->newest = snap->stamp;
	cat->n_snaps++;
	return 0;
}

/* Sorting and lists */

static int store_cmp(const void *a, const void *b)
{
	const struct bak_cat_store *x = a, *y = b;
	if (x->order != y->order)
		return x->order < y->order ? -1 : 1;
	return strcmp(x->name, y->name);
}

static int run_cmp(const void *a, const void *b)
{
	const struct bak_cat_run *x = a, *y = b;
	if (x->stamp != y->stamp)
		return x->stamp < y->stamp ? -1 : 1;
	return strcmp(x->id, y->id);
}

static int stamp_cmp(const void *a, const void *b, void *ctx)
{
	const struct bak_cat_snap *snaps = ctx;
	const struct bak_cat_snap *x = &snaps[*(const uint32_t *)a];
	const struct bak_cat_snap *y = &snaps[*(const uint32_t *)b];
	if (x->stamp != y->stamp)
		return x->stamp < y->stamp ? -1 : 1;
	return x->number < y->number ? -1 : 1;
}

/* Sorts stores and runs and gives the snapshots their new places. Until here, n_snaps of a store or
 * run is unused: it carries the old index through the sort. */
static int sort_owners(struct bak_catalog *cat, struct bak_error *err)
{
	size_t n = (size_t)cat->n_stores + cat->n_runs;
	BAK_AUTO(bak_free_ptr) uint32_t *place = malloc((n + 1) * sizeof *place);
	if (!place)
		return bak_error_nomem(err);
	uint32_t *store_place = place, *run_place = place + cat->n_stores;
	for (uint32_t i = 0; i < cat->n_stores; i++)
		cat->stores[i].n_snaps = i;
	for (uint32_t i = 0; i < cat->n_runs; i++)
		cat->runs[i].n_snaps = i;
	if (cat->n_stores)
		qsort(cat->stores, cat->n_stores, sizeof *cat->stores, store_cmp);
	if (cat->n_runs)
		qsort(cat->runs, cat->n_runs, sizeof *cat->runs, run_cmp);
	for (uint32_t i = 0; i < cat->n_stores; i++) {
		store_place[cat->stores[i].n_snaps] = i;
		cat->stores[i].n_snaps = 0;
	}
	for (uint32_t i = 0; i < cat->n_runs; i++) {
		run_place[cat->runs[i].n_snaps] = i;
		cat->runs[i].n_snaps = 0;
	}
	for (uint32_t i = 0; i < cat->n_snaps; i++) {
		struct bak_cat_snap *snap = &cat->snaps[i];
		snap->store = store_place[snap->store];
		snap->run = run_place[snap->run];
		cat->stores[snap->store].n_snaps++;
		cat->runs[snap->run].n_snaps++;
	}
	return 0;
}

static int make_lists(struct bak_catalog *cat, struct bak_error *err)
{
	uint32_t *next = malloc(((size_t)cat->n_snaps * 2 + 1) * sizeof *next);
	if (!next)
		return bak_error_nomem(err);
	cat->p->lists = next;
	for (uint32_t i = 0; i < cat->n_stores; i++) {
		cat->stores[i].snaps = next;
		next += cat->stores[i].n_snaps;
		cat->stores[i].n_snaps = 0;
	}
	for (uint32_t i = 0; i < cat->n_runs; i++) {
		cat->runs[i].snaps = next;
		next += cat->runs[i].n_snaps;
		cat->runs[i].n_snaps = 0;
	}
	for (uint32_t i = 0; i < cat->n_snaps; i++) {
		const struct bak_cat_snap *snap = &cat->snaps[i];
		struct bak_cat_store *store = &cat->stores[snap->store];
		struct bak_cat_run *run = &cat->runs[snap->run];
		store->snaps[store->n_snaps++] = i;
		run->snaps[run->n_snaps++] = i;
		run->files += snap->totals.files;
		if (snap->counts)
			store->latest = i; /* numbers rise: the last one is the newest */
	}
	for (uint32_t i = 0; i < cat->n_stores; i++)
		qsort_r(cat->stores[i].snaps, cat->stores[i].n_snaps, sizeof(uint32_t), stamp_cmp,
			cat->snaps);
	return 0;
}

static int make_days(struct bak_catalog *cat, struct bak_error *err)
{
	cat->days = calloc((size_t)cat->n_runs + 1, sizeof *cat->days);
	if (!cat->days)
		return bak_error_nomem(err);
	for (uint32_t i = 0; i < cat->n_runs; i++) {
		struct bak_cat_run *run = &cat->runs[i];
		char stamp[BAK_STAMP_LEN + 1];
		bak_stamp_format(run->stamp, stamp);
		snprintf(run->name, sizeof run->name, "%.6sZ-%s", stamp + 9, run->type);
		int64_t day = run->stamp / 86400;
		if (!cat->n_days || cat->days[cat->n_days - 1].day != day) {
			struct bak_cat_day *made = &cat->days[cat->n_days++];
			*made = (struct bak_cat_day){.day = day, .first_run = i};
			snprintf(made->name, sizeof made->name, "%.4s-%.2s-%.2s", stamp, stamp + 4,
				 stamp + 6);
		}
		run->day = cat->n_days - 1;
		cat->days[run->day].n_runs++;
	}
	return 0;
}

/* Inode numbers */

/* Two paths of one hash are told apart by a salt: as good as never needed, and the same each time
 * for the same catalogue. */
static uint64_t node_add(struct bak_catalog *cat, const char *path, uint64_t salt,
			 enum bak_vkind kind, uint32_t index)
{
	struct bak_catalog_private *p = cat->p;
	for (;; salt += UINT64_C(1) << 48) {
		uint64_t ino = bak_ino_hash(BAK_RANGE_VIRTUAL, path, salt);
		size_t at = ino & (p->n_slots - 1);
		while (p->slots[at].ino && p->slots[at].ino != ino)
			at = (at + 1) & (p->n_slots - 1);
		if (p->slots[at].ino)
			continue;
		p->slots[at] = (struct node_slot){ino, {kind, index}};
		return ino;
	}
}

static void nodes_of_store(struct bak_catalog *cat, uint32_t i)
{
	char path[256];
	struct bak_cat_store *store = &cat->stores[i];
	snprintf(path, sizeof path, "/by-store/%s", store->name);
	store->ino = node_add(cat, path, 0, BAK_V_STORE, i);
	if (store->latest == BAK_CAT_NONE)
		return;
	uint64_t number = cat->snaps[store->latest].number;
	snprintf(path, sizeof path, "/by-store/%s/latest", store->name);
	store->link_ino = node_add(cat, path, number, BAK_V_STORE_LATEST, i);
	snprintf(path, sizeof path, "/latest/%s.json", store->name);
	node_add(cat, path, number, BAK_V_LATEST_MANIFEST, i);
	snprintf(path, sizeof path, "/latest/%s.sha256", store->name);
	node_add(cat, path, number, BAK_V_LATEST_SUMS, i);
}

/* The numbers of a run's snapshots as one number: another set, another text. */
static uint64_t run_salt(const struct bak_catalog *cat, const struct bak_cat_run *run)
{
	uint64_t h = run->n_snaps;
	for (uint32_t i = 0; i < run->n_snaps; i++)
		h = (h ^ cat->snaps[run->snaps[i]].number) * UINT64_C(0x100000001b3);
	return h;
}

static void nodes_of_run(struct bak_catalog *cat, uint32_t i)
{
	char path[256];
	struct bak_cat_run *run = &cat->runs[i];
	const char *day = cat->days[run->day].name;
	snprintf(path, sizeof path, "/by-date/%s/%s", day, run->name);
	run->ino = node_add(cat, path, 0, BAK_V_RUN, i);
	snprintf(path, sizeof path, "/by-date/%s/%s/manifest.json", day, run->name);
	run->manifest_ino = node_add(cat, path, run_salt(cat, run), BAK_V_RUN_MANIFEST, i);
	snprintf(path, sizeof path, "/by-date/%s/%s/SHA256SUMS", day, run->name);
	run->sums_ino = node_add(cat, path, run_salt(cat, run), BAK_V_RUN_SUMS, i);
}

static void snap_path(const struct bak_catalog *cat, const struct bak_cat_snap *snap,
		      const char *suffix, char *out, size_t out_len)
{
	snprintf(out, out_len, "/by-store/%s/%s%s", cat->stores[snap->store].name, snap->name,
		 suffix);
}

static int make_nodes(struct bak_catalog *cat, struct bak_error *err)
{
	size_t n = 3 + (size_t)cat->n_stores * 4 + (size_t)cat->n_runs * 3 + cat->n_days +
		   (size_t)cat->n_snaps * 2;
	size_t cap = 64;
	while (cap < n * 2)
		cap *= 2;
	cat->p->slots = calloc(cap, sizeof *cat->p->slots);
	if (!cat->p->slots)
		return bak_error_nomem(err);
	cat->p->n_slots = cap;
	cat->by_date_ino = node_add(cat, "/by-date", 0, BAK_V_BY_DATE, 0);
	cat->by_store_ino = node_add(cat, "/by-store", 0, BAK_V_BY_STORE, 0);
	cat->latest_ino = node_add(cat, "/latest", 0, BAK_V_LATEST, 0);
	char path[256];
	for (uint32_t i = 0; i < cat->n_days; i++) {
		snprintf(path, sizeof path, "/by-date/%s", cat->days[i].name);
		cat->days[i].ino = node_add(cat, path, 0, BAK_V_DAY, i);
	}
	for (uint32_t i = 0; i < cat->n_stores; i++)
		nodes_of_store(cat, i);
	for (uint32_t i = 0; i < cat->n_runs; i++)
		nodes_of_run(cat, i);
	for (uint32_t i = 0; i < cat->n_snaps; i++) {
		snap_path(cat, &cat->snaps[i], ".json", path, sizeof path);
		node_add(cat, path, 0, BAK_V_SNAP_MANIFEST, i);
		snap_path(cat, &cat->snaps[i], ".sha256", path, sizeof path);
		node_add(cat, path, 0, BAK_V_SNAP_SUMS, i);
	}
	return 0;
}

/* Life */

static void catalog_free(struct bak_catalog *cat)
{
	while (cat->p->texts) {
		struct text_block *next = cat->p->texts->next;
		free(cat->p->texts);
		cat->p->texts = next;
	}
	free(cat->p->lists);
	free(cat->p->slots);
	free(cat->p);
	free(cat->snaps);
	free(cat->stores);
	free(cat->runs);
	free(cat->days);
	free(cat);
}

static struct bak_catalog *catalog_new(void)
{
	struct bak_catalog *cat = calloc(1, sizeof *cat);
	struct bak_catalog_private *p = calloc(1, sizeof *p);
	if (!cat || !p) {
		free(cat);
		free(p);
		return NULL;
	}
	atomic_init(&p->refs, 1);
	cat->p = p;
	return cat;
}

int bak_catalog_build(struct bak_repo *repo, const char *only_store, uint64_t only_snapshot,
		      struct bak_catalog **out, struct bak_error *err)
{
	struct bak_catalog *cat = catalog_new();
	if (!cat)
		return bak_error_nomem(err);
	struct build build = {
		.cat = cat, .only_store = only_store, .only_snapshot = only_snapshot, .err = err};
	struct bak_index *index = bak_repo_index(repo);
	/* The version first: what comes in between is then seen as a change. */
	int rc = bak_index_version(index, &cat->version, err);
	if (rc >= 0)
		rc = bak_index_each_snapshot(index, only_store, row_add, &build, err);
	free(build.run_at);
	if (rc < 0 || sort_owners(cat, err) < 0 || make_lists(cat, err) < 0 ||
	    make_days(cat, err) < 0 || make_nodes(cat, err) < 0) {
		catalog_free(cat);
		return -1;
	}
	*out = cat;
	return 0;
}

void bak_catalog_ref(struct bak_catalog *cat)
{
	atomic_fetch_add(&cat->p->refs, 1);
}

void bak_catalog_unref(struct bak_catalog *cat)
{
	if (cat && atomic_fetch_sub(&cat->p->refs, 1) == 1)
		catalog_free(cat);
}

/* Finding */

bool bak_catalog_node(const struct bak_catalog *cat, uint64_t ino, struct bak_vnode *out)
{
	if (ino == BAK_INO_ROOT) {
		*out = (struct bak_vnode){BAK_V_ROOT, 0};
		return true;
	}
	const struct bak_catalog_private *p = cat->p;
	size_t at = ino & (p->n_slots - 1);
	for (; p->slots[at].ino; at = (at + 1) & (p->n_slots - 1)) {
		if (p->slots[at].ino != ino)
			continue;
		*out = p->slots[at].node;
		return true;
	}
	return false;
}

static uint64_t ino_by_path(const struct bak_catalog *cat, const char *path, uint64_t salt,
			    struct bak_vnode node)
{
	for (;; salt += UINT64_C(1) << 48) {
		uint64_t ino = bak_ino_hash(BAK_RANGE_VIRTUAL, path, salt);
		struct bak_vnode found;
		if (!bak_catalog_node(cat, ino, &found))
			return 0;
		if (found.kind == node.kind && found.index == node.index)
			return ino;
	}
}

static uint64_t ino_beside(const struct bak_catalog *cat, struct bak_vnode node)
{
	char path[256];
	if (node.kind == BAK_V_SNAP_MANIFEST || node.kind == BAK_V_SNAP_SUMS) {
		snap_path(cat, &cat->snaps[node.index],
			  node.kind == BAK_V_SNAP_SUMS ? ".sha256" : ".json", path, sizeof path);
		return ino_by_path(cat, path, 0, node);
	}
	const struct bak_cat_store *store = &cat->stores[node.index];
	if (store->latest == BAK_CAT_NONE)
		return 0;
	snprintf(path, sizeof path, "/latest/%s%s", store->name,
		 node.kind == BAK_V_LATEST_SUMS ? ".sha256" : ".json");
	return ino_by_path(cat, path, cat->snaps[store->latest].number, node);
}

uint64_t bak_catalog_ino(const struct bak_catalog *cat, struct bak_vnode node)
{
	switch (node.kind) {
	case BAK_V_ROOT:
		return BAK_INO_ROOT;
	case BAK_V_BY_DATE:
		return cat->by_date_ino;
	case BAK_V_BY_STORE:
		return cat->by_store_ino;
	case BAK_V_LATEST:
		return cat->latest_ino;
	case BAK_V_DAY:
		return cat->days[node.index].ino;
	case BAK_V_RUN:
		return cat->runs[node.index].ino;
	case BAK_V_RUN_MANIFEST:
		return cat->runs[node.index].manifest_ino;
	case BAK_V_RUN_SUMS:
		return cat->runs[node.index].sums_ino;
	case BAK_V_STORE:
		return cat->stores[node.index].ino;
	case BAK_V_STORE_LATEST:
		return cat->stores[node.index].link_ino;
	default:
		return ino_beside(cat, node);
	}
}

const struct bak_cat_snap *bak_catalog_snap(const struct bak_catalog *cat, uint64_t number)
{
	uint32_t low = 0, high = cat->n_snaps;
	while (low < high) {
		uint32_t mid = low + (high - low) / 2;
		if (cat->snaps[mid].number < number)
			low = mid + 1;
		else
			high = mid;
	}
	return low < cat->n_snaps && cat->snaps[low].number == number ? &cat->snaps[low] : NULL;
}

const struct bak_cat_store *bak_catalog_store(const struct bak_catalog *cat, const char *name,
					      size_t len)
{
	for (uint32_t i = 0; i < cat->n_stores; i++)
		if (strlen(cat->stores[i].name) == len &&
		    memcmp(cat->stores[i].name, name, len) == 0)
			return &cat->stores[i];
	return NULL;
}

const struct bak_cat_snap *bak_catalog_stamp(const struct bak_catalog *cat,
					     const struct bak_cat_store *store, const char *stamp,
					     size_t len)
{
	if (len != BAK_STAMP_LEN)
		return NULL;
	uint32_t low = 0, high = store->n_snaps;
	while (low < high) {
		uint32_t mid = low + (high - low) / 2;
		if (memcmp(cat->snaps[store->snaps[mid]].name, stamp, len) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	if (low == store->n_snaps)
		return NULL;
	const struct bak_cat_snap *snap = &cat->snaps[store->snaps[low]];
	return memcmp(snap->name, stamp, len) == 0 ? snap : NULL;
}

const struct bak_cat_day *bak_catalog_day(const struct bak_catalog *cat, const char *name)
{
	uint32_t low = 0, high = cat->n_days;
	while (low < high) {
		uint32_t mid = low + (high - low) / 2;
		int cmp = strcmp(cat->days[mid].name, name);
		if (cmp == 0)
			return &cat->days[mid];
		if (cmp < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return NULL;
}

const struct bak_cat_run *bak_catalog_run(const struct bak_catalog *cat,
					  const struct bak_cat_day *day, const char *name)
{
	for (uint32_t i = day->first_run; i < day->first_run + day->n_runs; i++)
		if (strcmp(cat->runs[i].name, name) == 0)
			return &cat->runs[i];
	return NULL;
}

/* The current one */

struct bak_catalog_box {
	pthread_mutex_t lock; /* guards current */
	struct bak_catalog *current;
};

struct bak_catalog_box *bak_catalog_box_new(struct bak_catalog *first)
{
	struct bak_catalog_box *box = malloc(sizeof *box);
	if (!box)
		return NULL;
	pthread_mutex_init(&box->lock, NULL);
	box->current = first;
	return box;
}

void bak_catalog_box_free(struct bak_catalog_box *box)
{
	if (!box)
		return;
	bak_catalog_unref(box->current);
	pthread_mutex_destroy(&box->lock);
	free(box);
}

struct bak_catalog *bak_catalog_box_get(struct bak_catalog_box *box)
{
	pthread_mutex_lock(&box->lock);
	struct bak_catalog *cat = box->current;
	bak_catalog_ref(cat);
	pthread_mutex_unlock(&box->lock);
	return cat;
}

struct bak_catalog *bak_catalog_box_swap(struct bak_catalog_box *box, struct bak_catalog *next)
{
	pthread_mutex_lock(&box->lock);
	struct bak_catalog *was = box->current;
	box->current = next;
	pthread_mutex_unlock(&box->lock);
	return was;
}
