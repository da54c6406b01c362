/*
 * The catalogue of snapshots, forget records and tags: brings the index up to date with the
 * repository, whoever changed it. See repo.h; packs are in catalog_packs.c.
 *
 * Order of listings (bakfs-repository(5)): snapshots/, then forgotten/. A listing that fails, or a
 * repository without bakfs.json, changes nothing. What the index knows is read before the listing:
 * what another process adds in between is then not taken for gone.
 *
 * Names are not believed: whoever can write to the storage may put anything there, also a number
 * near the highest of all. A number counts once its snapshot or its record opened.
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
	if (bak_grow(&list->v, &list->cap, list->n, sizeof *list->v) < 0)
		return 1;
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

static int range_cmp(const void *a, const void *b)
{
	const struct bak_range *x = a, *y = b;
	if (x->first != y->first)
		return x->first < y->first ? -1 : 1;
	return x->last < y->last ? -1 : x->last > y->last;
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
	if (rc == 0 && out->n_gone)
		qsort(out->gone, out->n_gone, sizeof *out->gone, range_cmp);
	return rc;
}

int bak_catalog_read(struct bak_repo *repo, const char *name, struct bak_buf *out,
		     struct bak_error *err)
{
	int rc = bak_record_get(repo->backend, &repo->ring, name, out, err);
	return rc < 0 && err->code == BAK_CORRUPT ? 0 : rc;
}

int bak_catalog_still_there(struct bak_repo *repo, struct bak_error *err)
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

/* Snapshots that are new. One that does not open, or is of a newer version, is kept in mind as
 * unreadable. */
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
		if ((mine.code == BAK_CORRUPT || mine.code == BAK_UNSUPPORTED) &&
		    add_number(&unreadable, number) == 0)
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
		if (!sure && bak_catalog_still_there(repo, err) < 0)
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

/* What opens but is no JSON object is nothing that we know. */
static bool is_object(const struct bak_buf *text)
{
	json_t *json = json_loadb((const char *)text->p, text->len, 0, NULL);
	bool good = json_is_object(json);
	json_decref(json);
	return good;
}

void bak_forgotten_name(const struct bak_range *range, char out[BAK_FORGOTTEN_NAME_LEN])
{
	int n = snprintf(out, BAK_FORGOTTEN_NAME_LEN, "forgotten/%llu",
			 (unsigned long long)range->first);
	if (range->first != range->last)
		snprintf(out + n, (size_t)(BAK_FORGOTTEN_NAME_LEN - n), "-%llu",
			 (unsigned long long)range->last);
}

/* A record counts only if it opens: who cannot seal cannot hide a snapshot. 1, 0, -1. */
static int forget_range(struct bak_repo *repo, const struct bak_range *range, bool *changed,
			struct bak_error *err)
{
	BAK_AUTO(bak_buf_release) struct bak_buf json = BAK_BUF_INIT;
	char name[BAK_FORGOTTEN_NAME_LEN];
	int rc = bak_index_has_forgotten(repo->index, range->first, range->last, err);
	if (rc != 0)
		return rc;
	bak_forgotten_name(range, name);
	rc = bak_catalog_read(repo, name, &json, err);
	if (rc <= 0 || !is_object(&json))
		return rc < 0 ? -1 : 0;
	*changed = true;
	return bak_index_forget(repo->index, range->first, range->last, err) < 0 ? -1 : 1;
}

/* Afterwards repo->gone are the records that count. */
static int apply_forgotten(struct bak_repo *repo, struct listing *l, bool *changed,
			   struct bak_error *err)
{
	size_t n = 0;
	if (same_ranges(repo, l))
		return 0;
	for (size_t i = 0; i < l->n_gone; i++) {
		int rc = forget_range(repo, &l->gone[i], changed, err);
		if (rc < 0)
			return -1;
		if (rc == 1)
			l->gone[n++] = l->gone[i];
	}
	free(repo->gone);
	repo->gone = l->gone;
	repo->n_gone = n;
	l->gone = NULL;
	l->n_gone = 0;
	return 0;
}

bool bak_catalog_is_forgotten(const struct bak_repo *repo, const struct bak_range *range)
{
	uint64_t from = range->first;
	for (size_t i = 0; i < repo->n_gone && repo->gone[i].first <= from; i++) {
		if (repo->gone[i].last >= range->last)
			return true;
		if (repo->gone[i].last >= from)
			from = repo->gone[i].last + 1;
	}
	return false;
}

int bak_catalog_forgot(struct bak_repo *repo, const struct bak_range *range, struct bak_error *err)
{
	void *p = realloc(repo->gone, (repo->n_gone + 1) * sizeof *repo->gone);
	if (!p)
		return bak_error_nomem(err);
	repo->gone = p;
	if (bak_index_forget(repo->index, range->first, range->last, err) < 0)
		return -1;
	repo->gone[repo->n_gone++] = *range;
	qsort(repo->gone, repo->n_gone, sizeof *repo->gone, range_cmp);
	return 0;
}

static int apply_tag(struct bak_repo *repo, const struct tag *tag, bool *changed,
		     struct bak_error *err)
{
	char name[64];
	BAK_AUTO(bak_buf_release) struct bak_buf json = BAK_BUF_INIT;
	BAK_AUTO(bak_buf_release) struct bak_buf joined = BAK_BUF_INIT;
	uint64_t version = 0;
	int rc = bak_index_tag_version(repo->index, tag->number, &version, err);
	if (rc < 0 || (rc == 1 && version >= tag->version))
		return rc < 0 ? -1 : 0;
	snprintf(name, sizeof name, "tags/%llu-%llu", (unsigned long long)tag->number,
		 (unsigned long long)tag->version);
	rc = bak_catalog_read(repo, name, &json, err);
	if (rc <= 0)
		return rc;
	json_t *object = json_loadb((const char *)json.p, json.len, 0, NULL), *tag_name;
	size_t i;
	if (!json_is_array(json_object_get(object, "tags"))) {
		json_decref(object);
		return 0;
	}
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
	if (apply_forgotten(repo, l, changed, err) < 0)
		return -1;
	for (size_t i = 0; i < l->n_tags; i++)
		if (apply_tag(repo, &l->tags[i], changed, err) < 0)
			return -1;
	if (bak_index_highest(repo->index, &highest, err) < 0)
		return -1;
	bak_state_save(repo, highest);
	return 0;
}

int bak_repo_refresh_snapshots(struct bak_repo *repo, bool *out_changed, struct bak_error *err)
{
	struct listing l = {.n_gone = 0};
	bool packs;
	*out_changed = false;
	pthread_mutex_lock(&repo->lock);
	int rc = refresh_snapshots(repo, &l, out_changed, err);
	/* What a new snapshot refers to lies in packs that may be new too. */
	if (rc == 0 && *out_changed)
		rc = bak_catalog_refresh_packs(repo, &packs, err);
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
	*out_number = highest + 1;
	while (has_number(repo->unreadable, repo->n_unreadable, *out_number))
		++*out_number;
	pthread_mutex_unlock(&repo->lock);
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

/* The smallest of v that is >= from, or UINT64_MAX. */
static uint64_t at_least(const uint64_t *v, size_t n, uint64_t from)
{
	size_t lo = 0, hi = n;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (v[mid] < from)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < n ? v[lo] : UINT64_MAX;
}

/* What accounts for number from, or else begins next behind it: [*out_first, *out_last]. */
static void next_accounted(const struct bak_repo *repo, const uint64_t *known, size_t n,
			   uint64_t from, uint64_t *out_first, uint64_t *out_last)
{
	uint64_t a = at_least(known, n, from);
	uint64_t b = at_least(repo->unreadable, repo->n_unreadable, from);
	*out_first = *out_last = a < b ? a : b;
	for (size_t i = 0; i < repo->n_gone && repo->gone[i].first <= *out_first; i++) {
		if (repo->gone[i].last < from)
			continue;
		*out_first = repo->gone[i].first;
		*out_last = repo->gone[i].last;
		return;
	}
}

/* Appends the gaps below and up to highest; counts the numbers missing. */
static int put_gaps(const struct bak_repo *repo, const uint64_t *known, size_t n, uint64_t highest,
		    struct bak_buf *text, uint64_t *out_missing)
{
	uint64_t first, last;
	for (uint64_t from = 1; from <= highest; from = last + 1) {
		next_accounted(repo, known, n, from, &first, &last);
		if (first <= from)
			continue;
		/* A gap from here to what comes next. */
		last = first - 1 < highest ? first - 1 : highest;
		*out_missing += last - from + 1;
		if (bak_buf_printf(text, from == last ? "%s%llu" : "%s%llu-%llu",
				   text->len ? ", " : "", (unsigned long long)from,
				   (unsigned long long)last) < 0)
			return -1;
	}
	return 0;
}

static int put_unreadable(const struct bak_repo *repo, struct bak_buf *text)
{
	int bad = 0;
	for (size_t i = 0; i < repo->n_unreadable && !bad; i++)
		bad = bak_buf_printf(text, i ? ", %llu" : "%llu",
				     (unsigned long long)repo->unreadable[i]) < 0;
	return bad ? -1 : 0;
}

/* "snapshot 2 <one>", "snapshots 2, 4 <many>", nothing for none. */
static int put_phrase(struct bak_buf *out, const struct bak_buf *numbers, uint64_t n,
		      const char *one, const char *many)
{
	if (n == 0)
		return 0;
	return bak_buf_printf(out, "%ssnapshot%s %.*s %s", out->len ? "; " : "", n > 1 ? "s" : "",
			      (int)numbers->len, (char *)numbers->p, n > 1 ? many : one);
}

int bak_repo_omissions(struct bak_repo *repo, char **out_text, struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) uint64_t *known = NULL;
	BAK_AUTO(bak_buf_release) struct bak_buf gaps = BAK_BUF_INIT;
	BAK_AUTO(bak_buf_release) struct bak_buf unreadable = BAK_BUF_INIT;
	struct bak_buf text = BAK_BUF_INIT;
	uint64_t missing = 0;
	size_t n;
	*out_text = NULL;
	if (bak_index_snapshot_numbers(repo->index, &known, &n, err) < 0)
		return -1;
	pthread_mutex_lock(&repo->lock);
	uint64_t highest = repo->highest;
	if (n && known[n - 1] > highest)
		highest = known[n - 1];
	int bad = put_gaps(repo, known, n, highest, &gaps, &missing) < 0 ||
		  put_unreadable(repo, &unreadable) < 0 ||
		  put_phrase(&text, &gaps, missing, "is neither there nor recorded as forgotten",
			     "are neither there nor recorded as forgotten") < 0 ||
		  put_phrase(&text, &unreadable, repo->n_unreadable, "is there but does not open",
			     "are there but do not open") < 0;
	pthread_mutex_unlock(&repo->lock);
	if (bad) {
		bak_buf_release(&text);
		return bak_error_nomem(err);
	}
	/* bak_buf_printf leaves a zero behind the text. */
	*out_text = (char *)text.p;
	return 0;
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
	int rc = bak_catalog_still_there(repo, err);
	if (rc == 0)
		rc = bak_index_begin(repo->index, true, err);
	if (rc == 0) {
		repo->n_gone = 0;
		rc = bak_catalog_refresh_packs(repo, &changed, err);
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
