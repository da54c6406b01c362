/*
 * The catalogue: brings the index up to date with the repository, whoever changed it. See repo.h.
 *
 * Order of listings (bakfs-repository(5)): snapshots/, then forgotten/; condemned/, then packs/. A
 * listing that fails, or a repository without bakfs.json, changes nothing. What the index knows is
 * read before the listing: what another process adds in between is then not taken for gone.
 */
#include "engine/ops/repo_private.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

/* --- lists of numbers --- */

struct numbers {
	uint64_t *v;
	size_t n, cap;
};

static int add_number(struct numbers *list, uint64_t number)
{
	if (list->n == list->cap) {
		size_t cap = list->cap ? 2 * list->cap : 64;
		void *p = realloc(list->v, cap * sizeof *list->v);
		if (!p)
			return 1;
		list->v = p;
		list->cap = cap;
	}
	list->v[list->n++] = number;
	return 0;
}

static int number_cmp(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;
	return *x < *y ? -1 : *x > *y;
}

static bool has_number(const uint64_t *v, size_t n, uint64_t number)
{
	return n && bsearch(&number, v, n, sizeof *v, number_cmp);
}

/* A decimal number without leading zeros that ends at *out_end. */
static bool parse_number(const char *text, uint64_t *out, const char **out_end)
{
	char *end;
	if (text[0] < '1' || text[0] > '9')
		return false;
	errno = 0;
	unsigned long long n = strtoull(text, &end, 10);
	if (errno || n > INT64_MAX)
		return false;
	*out = n;
	*out_end = end;
	return true;
}

/* --- snapshots --- */

struct listing {
	struct numbers snapshots;
	struct bak_range *gone;
	size_t n_gone;
	struct tag {
		uint64_t number, version;
	} * tags;
	size_t n_tags;
};

static void listing_release(struct listing *l)
{
	free(l->snapshots.v);
	free(l->gone);
	free(l->tags);
}

static int list_snapshot(void *ctx, const char *name, uint64_t size)
{
	struct listing *l = ctx;
	uint64_t number;
	const char *end;
	(void)size;
	if (!parse_number(name + strlen("snapshots/"), &number, &end) || *end)
		return 0;
	return add_number(&l->snapshots, number);
}

static int list_gone(void *ctx, const char *name, uint64_t size)
{
	struct listing *l = ctx;
	struct bak_range range;
	const char *end;
	(void)size;
	if (!parse_number(name + strlen("forgotten/"), &range.first, &end))
		return 0;
	range.last = range.first;
	if (*end == '-' && !parse_number(end + 1, &range.last, &end))
		return 0;
	if (*end || range.last < range.first)
		return 0;
	void *p = realloc(l->gone, (l->n_gone + 1) * sizeof *l->gone);
	if (!p)
		return 1;
	l->gone = p;
	l->gone[l->n_gone++] = range;
	return 0;
}

/* Keeps the highest version of each number. */
static int list_tag(void *ctx, const char *name, uint64_t size)
{
	struct listing *l = ctx;
	struct tag tag;
	const char *end;
	(void)size;
	if (!parse_number(name + strlen("tags/"), &tag.number, &end) || *end != '-' ||
	    !parse_number(end + 1, &tag.version, &end) || *end)
		return 0;
	for (size_t i = 0; i < l->n_tags; i++)
		if (l->tags[i].number == tag.number) {
			if (tag.version > l->tags[i].version)
				l->tags[i].version = tag.version;
			return 0;
		}
	void *p = realloc(l->tags, (l->n_tags + 1) * sizeof *l->tags);
	if (!p)
		return 1;
	l->tags = p;
	l->tags[l->n_tags++] = tag;
	return 0;
}

static int list_all(struct bak_repo *repo, struct listing *out, struct bak_error *err)
{
	int rc = bak_backend_list(repo->backend, "snapshots", list_snapshot, out, err);
	if (rc == 0)
		rc = bak_backend_list(repo->backend, "forgotten", list_gone, out, err);
	if (rc == 0)
		rc = bak_backend_list(repo->backend, "tags", list_tag, out, err);
	if (rc > 0)
		return bak_error_nomem(err);
	if (rc == 0 && out->snapshots.n)
		qsort(out->snapshots.v, out->snapshots.n, sizeof *out->snapshots.v, number_cmp);
	return rc;
}

/* Before anything is dropped from the index: the storage may just be away (not mounted). */
static int still_there(struct bak_repo *repo, struct bak_error *err)
{
	uint64_t size;
	int rc = bak_backend_size(repo->backend, "bakfs.json", &size, err);
	if (rc == 0)
		return bak_error_set(err, BAK_UNAVAILABLE, "%s has no bakfs.json: is it mounted?",
				     repo->path);
	return rc < 0 ? -1 : 0;
}

static int add_snapshot(struct bak_repo *repo, uint64_t number, struct bak_error *err)
{
	struct bak_snapshot s = {0};
	int rc = bak_snapshot_load(repo->backend, &repo->ring, number, &s, err);
	if (rc <= 0)
		return rc;
	const struct bak_totals *t = &s.root.totals;
	struct bak_snapshot_row row = {.number = number,
				       .store = s.store,
				       .type = s.type,
				       .host = s.host,
				       .run = s.run,
				       .description = s.description,
				       .driver = s.driver,
				       .stamp = s.stamp,
				       .run_stamp = s.run_stamp,
				       .entries = t->entries,
				       .files = t->files,
				       .escaped = t->escaped,
				       .bytes = t->bytes + s.link_bytes,
				       .sums_len = t->sums_len,
				       .added = s.added,
				       .manifest_len = s.manifest_len,
				       .tags = (char[]){""}};
	rc = bak_index_add_snapshot(repo->index, &row, err);
	bak_snapshot_release(&s);
	return rc < 0 ? -1 : 1;
}

/* Snapshots that are new. One that does not open is kept in mind as unreadable. */
static int add_new(struct bak_repo *repo, const struct listing *l, const uint64_t *known, size_t n,
		   bool *changed, struct bak_error *err)
{
	struct numbers unreadable = {0};
	int rc = 0;
	for (size_t i = 0; i < l->snapshots.n && rc >= 0; i++) {
		uint64_t number = l->snapshots.v[i];
		if (has_number(known, n, number))
			continue;
		struct bak_error mine = BAK_ERROR_INIT;
		rc = add_snapshot(repo, number, &mine);
		*changed |= rc == 1;
		if (rc >= 0)
			continue;
		if (mine.code == BAK_CORRUPT && add_number(&unreadable, number) == 0)
			rc = 0;
		else
			*err = mine;
	}
	free(repo->unreadable);
	repo->unreadable = unreadable.v;
	repo->n_unreadable = unreadable.n;
	return rc < 0 ? -1 : 0;
}

static int drop_gone(struct bak_repo *repo, const struct listing *l, const uint64_t *known,
		     size_t n, bool *changed, struct bak_error *err)
{
	bool sure = false;
	for (size_t i = 0; i < n; i++) {
		if (has_number(l->snapshots.v, l->snapshots.n, known[i]))
			continue;
		if (!sure && still_there(repo, err) < 0)
			return -1;
		sure = true;
		if (bak_index_drop_snapshot(repo->index, known[i], err) < 0)
			return -1;
		*changed = true;
	}
	return 0;
}

static bool same_ranges(const struct bak_repo *repo, const struct listing *l)
{
	return repo->n_gone == l->n_gone &&
	       (l->n_gone == 0 || memcmp(repo->gone, l->gone, l->n_gone * sizeof *l->gone) == 0);
}

/* A record counts only if it opens: who cannot seal cannot hide a snapshot. */
static int forget_range(struct bak_repo *repo, const struct bak_range *range, bool *changed,
			struct bak_error *err)
{
	BAK_AUTO(bak_buf_release) struct bak_buf json = BAK_BUF_INIT;
	char name[64];
	int rc = bak_index_has_forgotten(repo->index, range->first, range->last, err);
	if (rc != 0)
		return rc < 0 ? -1 : 0;
	if (range->first == range->last)
		snprintf(name, sizeof name, "forgotten/%llu", (unsigned long long)range->first);
	else
		snprintf(name, sizeof name, "forgotten/%llu-%llu", (unsigned long long)range->first,
			 (unsigned long long)range->last);
	struct bak_error scratch = BAK_ERROR_INIT;
	rc = bak_record_get(repo->backend, &repo->ring, name, &json, &scratch);
	if (rc <= 0)
		return 0;
	*changed = true;
	return bak_index_forget(repo->index, range->first, range->last, err);
}

static int apply_forgotten(struct bak_repo *repo, struct listing *l, bool *changed,
			   struct bak_error *err)
{
	if (same_ranges(repo, l))
		return 0;
	for (size_t i = 0; i < l->n_gone; i++)
		if (forget_range(repo, &l->gone[i], changed, err) < 0)
			return -1;
	free(repo->gone);
	repo->gone = l->gone;
	repo->n_gone = l->n_gone;
	l->gone = NULL;
	l->n_gone = 0;
	return 0;
}

static int apply_tag(struct bak_repo *repo, const struct tag *tag, bool *changed,
		     struct bak_error *err)
{
	char name[64];
	BAK_AUTO(bak_buf_release) struct bak_buf json = BAK_BUF_INIT;
	BAK_AUTO(bak_buf_release) struct bak_buf joined = BAK_BUF_INIT;
	struct bak_error scratch = BAK_ERROR_INIT;
	uint64_t version = 0;
	int rc = bak_index_tag_version(repo->index, tag->number, &version, err);
	if (rc < 0 || (rc == 1 && version >= tag->version))
		return rc < 0 ? -1 : 0;
	snprintf(name, sizeof name, "tags/%llu-%llu", (unsigned long long)tag->number,
		 (unsigned long long)tag->version);
	if (bak_record_get(repo->backend, &repo->ring, name, &json, &scratch) != 1)
		return 0;
	json_t *object = json_loadb((const char *)json.p, json.len, 0, NULL), *tag_name;
	size_t i;
	int bad = bak_buf_reserve(&joined, 1) < 0;
	json_array_foreach(json_object_get(object, "tags"), i,
			   tag_name) if (json_is_string(tag_name))
		bad |= bak_buf_printf(&joined, "%s%s", joined.len ? "," : "",
				      json_string_value(tag_name)) < 0;
	json_decref(object);
	if (bad || bak_buf_append(&joined, "", 1) < 0)
		return bak_error_nomem(err);
	*changed = true;
	return bak_index_set_tags(repo->index, tag->number, tag->version, (char *)joined.p, err);
}

static int refresh_snapshots(struct bak_repo *repo, struct listing *l, bool *changed,
			     struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) uint64_t *known = NULL;
	size_t n = 0;
	uint64_t highest = 0;
	if (bak_index_snapshot_numbers(repo->index, &known, &n, err) < 0 ||
	    list_all(repo, l, err) < 0 || drop_gone(repo, l, known, n, changed, err) < 0 ||
	    add_new(repo, l, known, n, changed, err) < 0)
		return -1;
	for (size_t i = 0; i < l->n_gone; i++)
		if (l->gone[i].last > highest)
			highest = l->gone[i].last;
	if (l->snapshots.n && l->snapshots.v[l->snapshots.n - 1] > highest)
		highest = l->snapshots.v[l->snapshots.n - 1];
	if (apply_forgotten(repo, l, changed, err) < 0)
		return -1;
	for (size_t i = 0; i < l->n_tags; i++)
		if (apply_tag(repo, &l->tags[i], changed, err) < 0)
			return -1;
	bak_state_save(repo, highest);
	return 0;
}

static int refresh_packs(struct bak_repo *repo, bool *changed, struct bak_error *err);

int bak_repo_refresh_snapshots(struct bak_repo *repo, bool *out_changed, struct bak_error *err)
{
	struct listing l = {.n_gone = 0};
	bool packs;
	*out_changed = false;
	pthread_mutex_lock(&repo->lock);
	int rc = refresh_snapshots(repo, &l, out_changed, err);
	/* What a new snapshot refers to lies in packs that may be new too. */
	if (rc == 0 && *out_changed)
		rc = refresh_packs(repo, &packs, err);
	pthread_mutex_unlock(&repo->lock);
	listing_release(&l);
	return rc;
}

int bak_repo_next_number(struct bak_repo *repo, uint64_t *out_number, struct bak_error *err)
{
	uint64_t highest = 0;
	if (bak_index_highest(repo->index, &highest, err) < 0)
		return -1;
	pthread_mutex_lock(&repo->lock);
	if (repo->highest > highest)
		highest = repo->highest;
	for (size_t i = 0; i < repo->n_unreadable; i++)
		if (repo->unreadable[i] > highest)
			highest = repo->unreadable[i];
	pthread_mutex_unlock(&repo->lock);
	*out_number = highest + 1;
	return 0;
}

int bak_repo_snapshot(struct bak_repo *repo, uint64_t number, struct bak_snapshot *out,
		      struct bak_error *err)
{
	struct bak_snapshot_row row = {0};
	int rc = bak_index_snapshot(repo->index, number, &row, err);
	bool forgotten = rc == 1 && row.forgotten;
	bak_snapshot_row_release(&row);
	if (rc < 0 || forgotten)
		return rc < 0 ? -1 : 0;
	return bak_snapshot_load(repo->backend, &repo->ring, number, out, err);
}

/* --- omissions --- */

static bool is_forgotten(const struct bak_repo *repo, uint64_t number)
{
	for (size_t i = 0; i < repo->n_gone; i++)
		if (number >= repo->gone[i].first && number <= repo->gone[i].last)
			return true;
	return false;
}

int bak_repo_omissions(struct bak_repo *repo, char **out_text, struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) uint64_t *known = NULL;
	BAK_AUTO(bak_buf_release) struct bak_buf text = BAK_BUF_INIT;
	size_t n, missing = 0;
	int bad = 0;
	*out_text = NULL;
	if (bak_index_snapshot_numbers(repo->index, &known, &n, err) < 0)
		return -1;
	pthread_mutex_lock(&repo->lock);
	uint64_t highest = repo->highest, from = 0;
	if (n && known[n - 1] > highest)
		highest = known[n - 1];
	for (uint64_t i = 1; i <= highest + 1 && !bad; i++) {
		bool gap = i <= highest && !has_number(known, n, i) && !is_forgotten(repo, i) &&
			   !has_number(repo->unreadable, repo->n_unreadable, i);
		missing += gap;
		if (gap && !from)
			from = i;
		if (gap || !from)
			continue;
		bad = bak_buf_printf(&text, from == i - 1 ? "%s%llu" : "%s%llu-%llu",
				     text.len ? ", " : "", (unsigned long long)from,
				     (unsigned long long)i - 1) < 0;
		from = 0;
	}
	pthread_mutex_unlock(&repo->lock);
	if (bad)
		return bak_error_nomem(err);
	if (missing &&
	    asprintf(out_text, "snapshot%s %.*s %s neither there nor recorded as forgotten",
		     missing > 1 ? "s" : "", (int)text.len, (char *)text.p,
		     missing > 1 ? "are" : "is") < 0)
		return bak_error_nomem(err);
	return 0;
}

/* --- packs --- */

struct pack_listing {
	struct listed {
		uint8_t id[BAK_PACK_ID_BYTES];
		uint64_t size;
		bool known;
	} * v;
	size_t n, cap;
	struct bak_buf condemned; /* ids, one behind another */
	struct bak_repo *repo;
};

static int list_pack(void *ctx, const char *name, uint64_t size)
{
	struct pack_listing *l = ctx;
	struct listed pack = {.size = size};
	if (!bak_pack_id_of_name(name, pack.id))
		return 0;
	if (l->n == l->cap) {
		size_t cap = l->cap ? 2 * l->cap : 64;
		void *p = realloc(l->v, cap * sizeof *l->v);
		if (!p)
			return 1;
		l->v = p;
		l->cap = cap;
	}
	l->v[l->n++] = pack;
	return 0;
}

/* A condemnation that does not open condemns nothing. */
static int list_condemned(void *ctx, const char *name, uint64_t size)
{
	struct pack_listing *l = ctx;
	struct bak_error scratch = BAK_ERROR_INIT;
	BAK_AUTO(bak_buf_release) struct bak_buf json = BAK_BUF_INIT;
	(void)size;
	if (bak_record_get(l->repo->backend, &l->repo->ring, name, &json, &scratch) != 1)
		return 0;
	json_t *object = json_loadb((const char *)json.p, json.len, 0, NULL), *pack;
	size_t i;
	int bad = 0;
	json_array_foreach(json_object_get(object, "packs"), i, pack)
	{
		uint8_t id[BAK_PACK_ID_BYTES];
		if (json_is_string(pack) && bak_unhex(id, sizeof id, json_string_value(pack)))
			bad |= bak_buf_append(&l->condemned, id, sizeof id) < 0;
	}
	json_decref(object);
	return bad;
}

static bool is_condemned(const struct pack_listing *l, const uint8_t id[BAK_PACK_ID_BYTES])
{
	for (size_t at = 0; at < l->condemned.len; at += BAK_PACK_ID_BYTES)
		if (memcmp(l->condemned.p + at, id, BAK_PACK_ID_BYTES) == 0)
			return true;
	return false;
}

static int listed_cmp(const void *a, const void *b)
{
	return memcmp(((const struct listed *)a)->id, ((const struct listed *)b)->id,
		      BAK_PACK_ID_BYTES);
}

/* A damaged end: chunks are not found again, segments and nodes are. */
static int add_walked(struct bak_repo *repo, const uint8_t id[BAK_PACK_ID_BYTES], bool condemned,
		      struct bak_error *err)
{
	struct bak_footer footer = {.run_start = 0};
	uint64_t lost;
	int rc = bak_pack_walk(repo->backend, &repo->ring, id, &footer, &lost, err);
	if (rc <= 0)
		return rc;
	footer.rows.pack.condemned = condemned;
	rc = bak_index_add_pack(repo->index, &footer.rows, err);
	bak_footer_release(&footer);
	return rc < 0 ? -1 : 1;
}

static int add_pack(struct bak_repo *repo, const uint8_t id[BAK_PACK_ID_BYTES], bool condemned,
		    struct bak_error *err)
{
	struct bak_footer footer = {.run_start = 0};
	int rc = bak_pack_read_footer(repo->backend, &repo->ring, id, &footer, err);
	if (rc == 0)
		return 0;
	if (rc < 0)
		return err->code == BAK_CORRUPT ? add_walked(repo, id, condemned, err) : -1;
	footer.rows.pack.condemned = condemned;
	rc = bak_index_add_pack(repo->index, &footer.rows, err);
	bak_footer_release(&footer);
	return rc < 0 ? -1 : 1;
}

/* Packs of the index that are gone, or whose condemnation changed. Marks those listed as known. */
static int compare_known(struct bak_repo *repo, struct pack_listing *l,
			 const struct bak_pack_row *known, size_t n, bool *changed,
			 struct bak_error *err)
{
	bool sure = false;
	for (size_t i = 0; i < n; i++) {
		struct listed want;
		memcpy(want.id, known[i].id, sizeof want.id);
		struct listed *found = l->n ? bsearch(&want, l->v, l->n, sizeof *l->v, listed_cmp)
					    : NULL;
		bool condemned = is_condemned(l, known[i].id);
		if (found) {
			found->known = true;
			if (condemned == known[i].condemned)
				continue;
			if (bak_index_condemn_pack(repo->index, known[i].id, condemned, err) < 0)
				return -1;
		} else {
			if (!sure && still_there(repo, err) < 0)
				return -1;
			sure = true;
			if (bak_index_drop_pack(repo->index, known[i].id, err) < 0)
				return -1;
		}
		*changed = true;
	}
	return 0;
}

static int add_unknown(struct bak_repo *repo, struct pack_listing *l, bool *changed,
		       struct bak_error *err)
{
	size_t total = 0, done = 0;
	for (size_t i = 0; i < l->n; i++)
		total += !l->v[i].known;
	for (size_t i = 0; i < l->n; i++) {
		if (l->v[i].known)
			continue;
		int rc = add_pack(repo, l->v[i].id, is_condemned(l, l->v[i].id), err);
		if (rc < 0)
			return -1;
		*changed |= rc == 1;
		if (repo->progress)
			repo->progress(repo->progress_ctx, "reading pack footers", ++done, total);
	}
	return 0;
}

static int refresh_packs(struct bak_repo *repo, bool *changed, struct bak_error *err)
{
	struct pack_listing l = {.repo = repo};
	BAK_AUTO(bak_free_ptr) struct bak_pack_row *known = NULL;
	size_t n;
	*changed = false;
	if (bak_index_packs(repo->index, &known, &n, err) < 0)
		return -1;
	int rc = bak_backend_list(repo->backend, "condemned", list_condemned, &l, err);
	if (rc == 0)
		rc = bak_backend_list(repo->backend, "packs", list_pack, &l, err);
	if (rc > 0)
		rc = bak_error_nomem(err);
	if (rc == 0 && l.n)
		qsort(l.v, l.n, sizeof *l.v, listed_cmp);
	if (rc == 0)
		rc = compare_known(repo, &l, known, n, changed, err);
	if (rc == 0)
		rc = add_unknown(repo, &l, changed, err);
	free(l.v);
	bak_buf_release(&l.condemned);
	return rc;
}

int bak_repo_refresh_packs(struct bak_repo *repo, bool *out_changed, struct bak_error *err)
{
	pthread_mutex_lock(&repo->lock);
	int rc = refresh_packs(repo, out_changed, err);
	pthread_mutex_unlock(&repo->lock);
	return rc;
}

/* --- from scratch --- */

static int count_walked(struct bak_repo *repo, uint64_t *out_packs, uint64_t *out_damaged,
			struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) struct bak_pack_row *packs = NULL;
	size_t n;
	if (bak_index_packs(repo->index, &packs, &n, err) < 0)
		return -1;
	*out_packs = n;
	*out_damaged = 0;
	for (size_t i = 0; i < n; i++)
		*out_damaged += packs[i].walked;
	return 0;
}

int bak_repo_reindex(struct bak_repo *repo, uint64_t *out_packs, uint64_t *out_damaged,
		     struct bak_error *err)
{
	struct listing l = {.n_gone = 0};
	bool changed;
	pthread_mutex_lock(&repo->lock);
	int rc = still_there(repo, err);
	if (rc == 0)
		rc = bak_index_begin(repo->index, true, err);
	if (rc == 0) {
		repo->n_gone = 0;
		rc = refresh_packs(repo, &changed, err);
		if (rc == 0)
			rc = refresh_snapshots(repo, &l, &changed, err);
		/* All of it or, after a failure, what was there before. */
		if (bak_index_end(repo->index, rc == 0, err) < 0)
			rc = -1;
	}
	if (rc == 0)
		rc = count_walked(repo, out_packs, out_damaged, err);
	pthread_mutex_unlock(&repo->lock);
	listing_release(&l);
	return rc;
}
