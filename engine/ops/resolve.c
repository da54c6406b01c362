/* Snapshot IDs as users write them, and which snapshot is the latest: see repo.h. */
#include "engine/ops/repo_private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

bool bak_type_counts_as_latest(const char *type)
{
	return strcmp(type, "manual") == 0 || strcmp(type, "daily") == 0 ||
	       strcmp(type, "weekly") == 0 || strcmp(type, "monthly") == 0;
}

static int keep_latest(void *ctx, const struct bak_snapshot_row *row)
{
	if (bak_type_counts_as_latest(row->type))
		*(uint64_t *)ctx = row->number;
	return 0;
}

int bak_repo_latest(struct bak_repo *repo, const char *store, uint64_t *out_number,
		    struct bak_error *err)
{
	*out_number = 0;
	if (bak_index_each_snapshot(repo->index, store, keep_latest, out_number, err) < 0)
		return -1;
	return *out_number ? 1 : 0;
}

/* What an ID asks for, and the numbers found so far. */
struct search {
	enum { EVERY_LATEST, STORE_LATEST, STORE_STAMP, RUN_STAMP } kind;
	int64_t stamp;
	size_t n, cap;
	struct hit {
		uint64_t number;
		char store[BAK_STORE_NAME_MAX + 1];
	} * hits;
};

static int add_hit(struct search *s, const struct bak_snapshot_row *row)
{
	/* Of each store only the newest is wanted. */
	if (s->kind == EVERY_LATEST || s->kind == STORE_LATEST)
		for (size_t i = 0; i < s->n; i++)
			if (strcmp(s->hits[i].store, row->store) == 0) {
				s->hits[i].number = row->number;
				return 0;
			}
	if (bak_grow(&s->hits, &s->cap, s->n, sizeof *s->hits) < 0)
		return 1;
	struct hit *hit = &s->hits[s->n++];
	hit->number = row->number;
	snprintf(hit->store, sizeof hit->store, "%s", row->store);
	return 0;
}

static int match(void *ctx, const struct bak_snapshot_row *row)
{
	struct search *s = ctx;
	bool hit = false;
	switch (s->kind) {
	case EVERY_LATEST:
	case STORE_LATEST:
		hit = bak_type_counts_as_latest(row->type);
		break;
	case STORE_STAMP:
		hit = row->stamp == s->stamp;
		break;
	case RUN_STAMP:
		hit = row->run_stamp == s->stamp;
		break;
	}
	return hit ? add_hit(s, row) : 0;
}

static int by_number(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;
	return *x < *y ? -1 : *x > *y;
}

static int run_search(struct bak_repo *repo, const char *id, const char *store, struct search *s,
		      uint64_t **out_numbers, size_t *out_n, struct bak_error *err)
{
	int rc = bak_index_each_snapshot(repo->index, store, match, s, err);
	if (rc > 0)
		rc = bak_error_nomem(err);
	if (rc == 0 && s->n == 0)
		rc = bak_error_set(err, BAK_NOT_FOUND, "no snapshot %s", id);
	uint64_t *numbers = rc == 0 ? calloc(s->n, sizeof *numbers) : NULL;
	if (rc == 0 && !numbers)
		rc = bak_error_nomem(err);
	if (rc == 0) {
		for (size_t i = 0; i < s->n; i++)
			numbers[i] = s->hits[i].number;
		qsort(numbers, s->n, sizeof *numbers, by_number);
		*out_numbers = numbers;
		*out_n = s->n;
	}
	free(s->hits);
	return rc;
}

static int resolve_number(struct bak_repo *repo, const char *id, uint64_t **out_numbers,
			  size_t *out_n, struct bak_error *err)
{
	struct bak_snapshot_row row = {0};
	errno = 0;
	uint64_t number = strtoull(id, NULL, 10);
	int rc = errno ? 0 : bak_index_snapshot(repo->index, number, &row, err);
	bool there = rc == 1 && !row.forgotten;
	bak_snapshot_row_release(&row);
	if (rc < 0)
		return -1;
	if (!there)
		return bak_error_set(err, BAK_NOT_FOUND, "no snapshot %s", id);
	*out_numbers = malloc(sizeof **out_numbers);
	if (!*out_numbers)
		return bak_error_nomem(err);
	**out_numbers = number;
	*out_n = 1;
	return 0;
}

int bak_repo_resolve(struct bak_repo *repo, const char *id, uint64_t **out_numbers, size_t *out_n,
		     struct bak_error *err)
{
	struct search s = {0};
	char store[BAK_STORE_NAME_MAX + 1];
	const char *at = strchr(id, '@');
	if (id[0] && id[strspn(id, "0123456789")] == '\0')
		return resolve_number(repo, id, out_numbers, out_n, err);
	if (strcmp(id, "latest") == 0)
		return run_search(repo, id, NULL, &s, out_numbers, out_n, err);
	if (!at) {
		s.kind = RUN_STAMP;
		if (bak_stamp_parse(id, &s.stamp))
			return run_search(repo, id, NULL, &s, out_numbers, out_n, err);
	} else if ((size_t)(at - id) < sizeof store) {
		snprintf(store, sizeof store, "%.*s", (int)(at - id), id);
		s.kind = strcmp(at + 1, "latest") == 0 ? STORE_LATEST : STORE_STAMP;
		if (bak_store_name_ok(store) &&
		    (s.kind == STORE_LATEST || bak_stamp_parse(at + 1, &s.stamp)))
			return run_search(repo, id, store, &s, out_numbers, out_n, err);
	}
	return bak_error_set(err, BAK_USAGE,
			     "%s is no ID: a number, latest, STORE@latest, STORE@STAMP, or a run's "
			     "stamp",
			     id);
}
