/*
 * The catalogue of snapshots: brings the index up to date with the repository, whoever changed it.
 * See repo.h; forget records and tags are in catalog_records.c, packs in catalog_packs.c.
 *
 * Order of listings (bakfs-repository(5)): snapshots/, then forgotten/. A listing that fails, or a
 * repository without bakfs.json, changes nothing. What the index knows is read before the listing:
 * what another process adds in between is then not taken for gone.
 *
 * Names are not believed: whoever can write to the storage may put anything there, also a number
 * near the highest of all. A number counts once its snapshot or its record opened.
 */
#include "engine/ops/catalog.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* --- lists of snapshots --- */

struct numbers {
	uint64_t *v;
	size_t n, cap;
};

static int add_number(struct numbers *list, uint64_t number)
{
	if (bak_grow(&list->v, &list->cap, list->n, sizeof *list->v) < 0)
		return -1;
	list->v[list->n++] = number;
	return 0;
}

static int number_cmp(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;
	return *x < *y ? -1 : *x > *y;
}

bool bak_catalog_number(const char *text, uint64_t *out, const char **out_end)
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

struct objects {
	struct bak_snapshot_object *v; /* by number */
	size_t n, cap;
};

static int list_snapshot(void *ctx, const char *name, uint64_t size)
{
	struct objects *list = ctx;
	struct bak_snapshot_object object = {.len = size};
	const char *end;
	if (!bak_catalog_number(name + strlen("snapshots/"), &object.number, &end) || *end)
		return 0;
	if (bak_grow(&list->v, &list->cap, list->n, sizeof *list->v) < 0)
		return 1;
	list->v[list->n++] = object;
	return 0;
}

static int object_cmp(const void *a, const void *b)
{
	const struct bak_snapshot_object *x = a, *y = b;
	return x->number < y->number ? -1 : x->number > y->number;
}

static int list_snapshots(struct bak_repo *repo, struct objects *out, struct bak_error *err)
{
	int rc = bak_backend_list(repo->backend, "snapshots", list_snapshot, out, err);
	if (rc > 0)
		return bak_error_nomem(err);
	if (rc == 0 && out->n)
		qsort(out->v, out->n, sizeof *out->v, object_cmp);
	return rc;
}

/* The same number with the same length. An old copy of the storage that was put back and then
 * written to from elsewhere may hold another snapshot under the number. */
static bool has_object(const struct objects *list, const struct bak_snapshot_object *object)
{
	const struct bak_snapshot_object *found = list->n ? bsearch(object, list->v, list->n,
								    sizeof *list->v, object_cmp)
							  : NULL;
	return found && found->len == object->len;
}

/* --- bringing the index up to date --- */

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

int bak_catalog_sync(struct bak_repo *repo, const char *folder, bool *done, struct bak_error *err)
{
	if (!*done && repo->backend->ops->sync(repo->backend, folder, err) < 0)
		return -1;
	*done = true;
	return 0;
}

static int add_snapshot(struct bak_repo *repo, const struct bak_snapshot_object *object,
			bool *synced, struct bak_error *err)
{
	struct bak_snapshot s = {0};
	int rc = bak_snapshot_load(repo->backend, &repo->ring, object->number, &s, err);
	if (rc == 1 && bak_catalog_sync(repo, "snapshots", synced, err) < 0) {
		bak_snapshot_release(&s);
		return -1;
	}
	if (rc <= 0)
		return rc;
	const struct bak_totals *t = &s.root.totals;
	struct bak_snapshot_row row = {.number = object->number,
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
				       .object_len = object->len,
				       .tags = (char[]){""}};
	rc = bak_index_add_snapshot(repo->index, &row, err);
	bak_snapshot_release(&s);
	return rc < 0 ? -1 : 1;
}

/* Snapshots that are new. One that does not open, or is of a newer version, is kept in mind as
 * unreadable. */
static int add_new(struct bak_repo *repo, const struct objects *list, const struct objects *known,
		   bool *changed, struct bak_error *err)
{
	struct numbers unreadable = {0};
	bool synced = false;
	int rc = 0;
	for (size_t i = 0; i < list->n && rc >= 0; i++) {
		struct bak_error mine = BAK_ERROR_INIT;
		if (has_object(known, &list->v[i]))
			continue;
		rc = add_snapshot(repo, &list->v[i], &synced, &mine);
		*changed |= rc == 1;
		if (rc >= 0)
			continue;
		if ((mine.code == BAK_CORRUPT || mine.code == BAK_UNSUPPORTED) &&
		    add_number(&unreadable, list->v[i].number) == 0)
			rc = 0;
		else
			*err = mine;
	}
	free(repo->unreadable);
	repo->unreadable = unreadable.v;
	repo->n_unreadable = unreadable.n;
	return rc < 0 ? -1 : 0;
}

static int drop_gone(struct bak_repo *repo, const struct objects *list, const struct objects *known,
		     bool *changed, struct bak_error *err)
{
	bool sure = false;
	for (size_t i = 0; i < known->n; i++) {
		if (has_object(list, &known->v[i]))
			continue;
		if (!sure && bak_catalog_still_there(repo, err) < 0)
			return -1;
		sure = true;
		if (bak_index_drop_snapshot(repo->index, known->v[i].number, err) < 0)
			return -1;
		*changed = true;
	}
	return 0;
}

static int refresh_snapshots(struct bak_repo *repo, bool *changed, struct bak_error *err)
{
	struct objects known = {0}, list = {0};
	struct bak_records records = {.n_gone = 0};
	uint64_t highest = 0;
	int rc = bak_index_snapshot_objects(repo->index, &known.v, &known.n, err);
	if (rc == 0)
		rc = list_snapshots(repo, &list, err);
	if (rc == 0)
		rc = bak_records_list(repo, &records, err);
	if (rc == 0)
		rc = drop_gone(repo, &list, &known, changed, err);
	if (rc == 0)
		rc = add_new(repo, &list, &known, changed, err);
	if (rc == 0)
		rc = bak_records_apply(repo, &records, changed, err);
	if (rc == 0)
		rc = bak_index_highest(repo->index, &highest, err);
	if (rc == 0)
		bak_state_saw(repo, highest);
	free(known.v);
	free(list.v);
	bak_records_release(&records);
	return rc;
}

int bak_repo_refresh_snapshots(struct bak_repo *repo, bool *out_changed, struct bak_error *err)
{
	bool packs;
	*out_changed = false;
	pthread_mutex_lock(&repo->lock);
	int rc = refresh_snapshots(repo, out_changed, err);
	/* What a new snapshot refers to lies in packs that may be new too. */
	if (rc == 0 && *out_changed)
		rc = bak_catalog_refresh_packs(repo, &packs, err);
	pthread_mutex_unlock(&repo->lock);
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
	while (repo->n_unreadable && bsearch(out_number, repo->unreadable, repo->n_unreadable,
					     sizeof *repo->unreadable, number_cmp))
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
	bool changed;
	pthread_mutex_lock(&repo->lock);
	int rc = bak_catalog_still_there(repo, err);
	if (rc == 0)
		rc = bak_index_begin(repo->index, true, err);
	if (rc == 0) {
		repo->n_gone = 0;
		rc = bak_catalog_refresh_packs(repo, &changed, err);
		if (rc == 0)
			rc = refresh_snapshots(repo, &changed, err);
		/* All of it or, after a failure, what was there before. */
		if (bak_index_end(repo->index, rc == 0, err) < 0)
			rc = -1;
	}
	if (rc == 0)
		rc = count_walked(repo, out_packs, out_damaged, err);
	pthread_mutex_unlock(&repo->lock);
	return rc;
}
