/*
 * Forget records and tags in the catalogue: see catalog.h.
 *
 * A record counts only if it opens: who cannot seal cannot hide a snapshot, nor its tags. One that
 * is gone counts no more: the index says what the repository says; what this machine has seen is
 * in its state.
 */
#include "engine/ops/catalog.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

void bak_records_release(struct bak_records *records)
{
	free(records->gone);
	free(records->tags);
	*records = (struct bak_records){.n_gone = 0};
}

/* --- listing --- */

static int list_gone(void *ctx, const char *name, uint64_t size)
{
	struct bak_records *r = ctx;
	struct bak_numbers range;
	const char *end;
	(void)size;
	if (!bak_catalog_number(name + strlen("forgotten/"), &range.first, &end))
		return 0;
	range.last = range.first;
	if (*end == '-' && !bak_catalog_number(end + 1, &range.last, &end))
		return 0;
	if (*end || range.last < range.first)
		return 0;
	if (bak_grow(&r->gone, &r->cap_gone, r->n_gone, sizeof *r->gone) < 0)
		return 1;
	r->gone[r->n_gone++] = range;
	return 0;
}

static int list_tag(void *ctx, const char *name, uint64_t size)
{
	struct bak_records *r = ctx;
	struct bak_tag_version tag;
	const char *end;
	(void)size;
	if (!bak_catalog_number(name + strlen("tags/"), &tag.number, &end) || *end != '-' ||
	    !bak_catalog_number(end + 1, &tag.version, &end) || *end)
		return 0;
	if (bak_grow(&r->tags, &r->cap_tags, r->n_tags, sizeof *r->tags) < 0)
		return 1;
	r->tags[r->n_tags++] = tag;
	return 0;
}

static int range_cmp(const void *a, const void *b)
{
	const struct bak_numbers *x = a, *y = b;
	if (x->first != y->first)
		return x->first < y->first ? -1 : 1;
	return x->last < y->last ? -1 : x->last > y->last;
}

static int tag_cmp(const void *a, const void *b)
{
	const struct bak_tag_version *x = a, *y = b;
	if (x->number != y->number)
		return x->number < y->number ? -1 : 1;
	return x->version > y->version ? -1 : x->version < y->version;
}

int bak_records_list(struct bak_repo *repo, struct bak_records *out, struct bak_error *err)
{
	int rc = bak_backend_list(repo->backend, "forgotten", list_gone, out, err);
	if (rc == 0)
		rc = bak_backend_list(repo->backend, "tags", list_tag, out, err);
	if (rc > 0)
		return bak_error_nomem(err);
	if (rc == 0 && out->n_gone)
		qsort(out->gone, out->n_gone, sizeof *out->gone, range_cmp);
	if (rc == 0 && out->n_tags)
		qsort(out->tags, out->n_tags, sizeof *out->tags, tag_cmp);
	return rc;
}

/* --- forgotten --- */

/* What opens but is no JSON object is nothing that we know. */
static bool is_object(const struct bak_buf *text)
{
	json_t *json = json_loadb((const char *)text->p, text->len, 0, NULL);
	bool good = json_is_object(json);
	json_decref(json);
	return good;
}

void bak_forgotten_name(const struct bak_numbers *range, char out[BAK_FORGOTTEN_NAME_LEN])
{
	int n = snprintf(out, BAK_FORGOTTEN_NAME_LEN, "forgotten/%llu",
			 (unsigned long long)range->first);
	if (range->first != range->last)
		snprintf(out + n, (size_t)(BAK_FORGOTTEN_NAME_LEN - n), "-%llu",
			 (unsigned long long)range->last);
}

/* A record that the index does not know: 1 it counts, 0, -1. */
static int take_record(struct bak_repo *repo, struct bak_records *r,
		       const struct bak_numbers *range, bool *changed, struct bak_error *err)
{
	BAK_AUTO(bak_buf_release) struct bak_buf json = BAK_BUF_INIT;
	char name[BAK_FORGOTTEN_NAME_LEN];
	bak_forgotten_name(range, name);
	int rc = bak_catalog_read(repo, name, &json, err);
	if (rc <= 0 || !is_object(&json))
		return rc < 0 ? -1 : 0;
	if (bak_catalog_sync(repo, "forgotten", &r->forgotten_synced, err) < 0)
		return -1;
	*changed = true;
	return bak_index_forget(repo->index, range->first, range->last, err) < 0 ? -1 : 1;
}

/* Records that the index knows and that are not listed any more. */
static int drop_records(struct bak_repo *repo, const struct bak_records *r,
			const struct bak_numbers *known, size_t n, bool *changed,
			struct bak_error *err)
{
	for (size_t i = 0; i < n; i++) {
		if (r->n_gone && bsearch(&known[i], r->gone, r->n_gone, sizeof *r->gone, range_cmp))
			continue;
		if (bak_catalog_still_there(repo, err) < 0 ||
		    bak_index_unforget(repo->index, known[i].first, known[i].last, err) < 0)
			return -1;
		*changed = true;
	}
	return 0;
}

/* Afterwards repo->gone are the records that count. */
static int apply_forgotten(struct bak_repo *repo, struct bak_records *r, bool *changed,
			   struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) struct bak_numbers *known = NULL;
	size_t n_known = 0, n = 0;
	if (bak_index_forgotten(repo->index, &known, &n_known, err) < 0 ||
	    drop_records(repo, r, known, n_known, changed, err) < 0)
		return -1;
	for (size_t i = 0; i < r->n_gone; i++) {
		int rc = 1;
		if (!n_known || !bsearch(&r->gone[i], known, n_known, sizeof *known, range_cmp))
			rc = take_record(repo, r, &r->gone[i], changed, err);
		if (rc < 0)
			return -1;
		if (rc == 1)
			r->gone[n++] = r->gone[i];
	}
	free(repo->gone);
	repo->gone = r->gone;
	repo->n_gone = n;
	r->gone = NULL;
	r->n_gone = r->cap_gone = 0;
	return 0;
}

bool bak_catalog_is_forgotten(const struct bak_repo *repo, const struct bak_numbers *range)
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

int bak_catalog_forgot(struct bak_repo *repo, const struct bak_numbers *range,
		       struct bak_error *err)
{
	void *p = realloc(repo->gone, (repo->n_gone + 1) * sizeof *repo->gone);
	if (!p)
		return bak_error_nomem(err);
	repo->gone = p;
	if (bak_index_forget(repo->index, range->first, range->last, err) < 0)
		return -1;
	size_t at = repo->n_gone++;
	for (; at && range_cmp(range, &repo->gone[at - 1]) < 0; at--)
		repo->gone[at] = repo->gone[at - 1];
	repo->gone[at] = *range;
	return 0;
}

/* --- tags --- */

void bak_tags_name(const struct bak_tag_version *tag, char out[BAK_TAGS_NAME_LEN])
{
	snprintf(out, BAK_TAGS_NAME_LEN, "tags/%llu-%llu", (unsigned long long)tag->number,
		 (unsigned long long)tag->version);
}

/* "a,b" of {"tags":["a","b"]}: 1, 0 it is no such thing, -1 no memory. */
static int join_tags(const struct bak_buf *text, struct bak_buf *out)
{
	json_t *object = json_loadb((const char *)text->p, text->len, 0, NULL);
	const json_t *tags = json_object_get(object, "tags"), *tag;
	size_t i;
	int rc = json_is_array(tags);
	if (rc && bak_buf_reserve(out, 1) < 0)
		rc = -1;
	json_array_foreach(tags, i, tag)
	{
		if (json_is_string(tag) &&
		    bak_buf_printf(out, "%s%s", out->len ? "," : "", json_string_value(tag)) < 0)
			rc = -1;
	}
	if (rc == 1 && bak_buf_append(out, "", 1) < 0)
		rc = -1;
	json_decref(object);
	return rc;
}

/* 1 these are the snapshot's tags now, 0 they do not open, -1. */
static int take_tags(struct bak_repo *repo, struct bak_records *r,
		     const struct bak_tag_version *tag, bool *changed, struct bak_error *err)
{
	char name[BAK_TAGS_NAME_LEN];
	BAK_AUTO(bak_buf_release) struct bak_buf json = BAK_BUF_INIT;
	BAK_AUTO(bak_buf_release) struct bak_buf joined = BAK_BUF_INIT;
	bak_tags_name(tag, name);
	int rc = bak_catalog_read(repo, name, &json, err);
	if (rc <= 0)
		return rc;
	rc = join_tags(&json, &joined);
	if (rc <= 0)
		return rc < 0 ? bak_error_nomem(err) : 0;
	if (bak_catalog_sync(repo, "tags", &r->tags_synced, err) < 0)
		return -1;
	*changed = true;
	return bak_index_set_tags(repo->index, tag->number, tag->version, (char *)joined.p, err) < 0
		       ? -1
		       : 1;
}

static int number_cmp(const void *a, const void *b)
{
	const struct bak_tag_version *x = a, *y = b;
	return x->number < y->number ? -1 : x->number > y->number;
}

/* The tags of one snapshot: n versions, the highest first. The first that opens counts. */
static int apply_tags_of(struct bak_repo *repo, struct bak_records *r,
			 const struct bak_tag_version *tags, size_t n,
			 const struct bak_tag_version *known, bool *changed, struct bak_error *err)
{
	int rc = 0;
	for (size_t i = 0; i < n && rc == 0; i++)
		rc = known && known->version == tags[i].version
			     ? 1
			     : take_tags(repo, r, &tags[i], changed, err);
	return rc < 0 ? -1 : 0;
}

static int drop_tags(struct bak_repo *repo, const struct bak_records *r,
		     const struct bak_tag_version *known, size_t n, bool *changed,
		     struct bak_error *err)
{
	for (size_t i = 0; i < n; i++) {
		if (r->n_tags && bsearch(&known[i], r->tags, r->n_tags, sizeof *r->tags, tag_cmp))
			continue;
		if (bak_catalog_still_there(repo, err) < 0 ||
		    bak_index_drop_tags(repo->index, known[i].number, err) < 0)
			return -1;
		*changed = true;
	}
	return 0;
}

static int apply_tags(struct bak_repo *repo, struct bak_records *r, bool *changed,
		      struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) struct bak_tag_version *known = NULL;
	size_t n_known = 0, n;
	if (bak_index_tag_versions(repo->index, &known, &n_known, err) < 0 ||
	    drop_tags(repo, r, known, n_known, changed, err) < 0)
		return -1;
	for (size_t i = 0; i < r->n_tags; i += n) {
		const struct bak_tag_version *mine = NULL;
		for (n = 1; i + n < r->n_tags && r->tags[i + n].number == r->tags[i].number; n++)
			;
		if (n_known)
			mine = bsearch(&r->tags[i], known, n_known, sizeof *known, number_cmp);
		if (apply_tags_of(repo, r, &r->tags[i], n, mine, changed, err) < 0)
			return -1;
	}
	return 0;
}

int bak_records_apply(struct bak_repo *repo, struct bak_records *records, bool *changed,
		      struct bak_error *err)
{
	return apply_forgotten(repo, records, changed, err) < 0 ||
			       apply_tags(repo, records, changed, err) < 0
		       ? -1
		       : 0;
}
