/*
 * The catalogue of packs: which there are, which are condemned, what their footers say. See repo.h.
 *
 * Order of listings (bakfs-repository(5)): condemned/, then packs/. What the index knows is read
 * before: what another process adds in between is then not taken for gone.
 */
#include "engine/ops/repo_private.h"

#include "engine/objects/condemned.h"

#include <stdio.h>
#include <stdlib.h>

struct pack_listing {
	struct listed {
		uint8_t id[BAK_PACK_ID_BYTES];
		uint64_t size;
		bool known;
	} * v;
	size_t n, cap;
	struct bak_buf condemned; /* ids, one behind another */
};

static int list_pack(void *ctx, const char *name, uint64_t size)
{
	struct pack_listing *l = ctx;
	struct listed pack = {.size = size};
	if (!bak_pack_id_of_name(name, pack.id))
		return 0;
	if (bak_grow(&l->v, &l->cap, l->n, sizeof *l->v) < 0)
		return 1;
	l->v[l->n++] = pack;
	return 0;
}

/* A condemnation that does not open condemns nothing; one that cannot be read ends the refresh. */
static int list_condemned(void *ctx, const char *name, const struct bak_condemned *condemned)
{
	struct pack_listing *l = ctx;
	(void)name;
	return bak_buf_append(&l->condemned, condemned->packs, condemned->n * BAK_PACK_ID_BYTES) <
	       0;
}

static int id_cmp(const void *a, const void *b)
{
	return memcmp(a, b, BAK_PACK_ID_BYTES);
}

static bool is_condemned(const struct pack_listing *l, const uint8_t id[BAK_PACK_ID_BYTES])
{
	size_t n = l->condemned.len / BAK_PACK_ID_BYTES;
	return n && bsearch(id, l->condemned.p, n, BAK_PACK_ID_BYTES, id_cmp);
}

static int listed_cmp(const void *a, const void *b)
{
	return memcmp(((const struct listed *)a)->id, ((const struct listed *)b)->id,
		      BAK_PACK_ID_BYTES);
}

/* A damaged end that no parity gives back, or one of a newer version: chunks are not found again,
 * segments and nodes are. */
static int add_walked(struct bak_repo *repo, const uint8_t id[BAK_PACK_ID_BYTES], bool condemned,
		      struct bak_error *err)
{
	struct bak_footer footer = {.run_start = 0};
	uint64_t lost;
	int rc = bak_pack_walk(bak_source_mended(repo->source), &repo->ring, id, &footer, &lost,
			       err);
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
	struct bak_error scratch = BAK_ERROR_INIT;
	if (rc < 0 && (err->code == BAK_CORRUPT || err->code == BAK_IO) &&
	    bak_pack_read_footer(bak_source_mended(repo->source), &repo->ring, id, &footer,
				 &scratch) == 1)
		rc = 1;
	if (rc == 0)
		return 0;
	if (rc < 0 && (err->code == BAK_CORRUPT || err->code == BAK_UNSUPPORTED))
		return add_walked(repo, id, condemned, err);
	if (rc < 0)
		return -1;
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
			if (!sure && bak_catalog_still_there(repo, err) < 0)
				return -1;
			sure = true;
			if (bak_index_drop_pack(repo->index, known[i].id, err) < 0)
				return -1;
		}
		*changed = true;
	}
	return 0;
}

/* Packs are sorted, so those of one folder follow one another. */
static int sync_unknown(struct bak_repo *repo, const struct pack_listing *l, struct bak_error *err)
{
	bool whole = false;
	int last = -1;
	for (size_t i = 0; i < l->n; i++) {
		char folder[16];
		bool done = false;
		if (l->v[i].known || l->v[i].id[0] == last)
			continue;
		last = l->v[i].id[0];
		snprintf(folder, sizeof folder, "packs/%02x", (unsigned)last);
		if (bak_catalog_sync(repo, folder, &done, err) < 0 ||
		    bak_catalog_sync(repo, "packs", &whole, err) < 0)
			return -1;
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

int bak_catalog_refresh_packs(struct bak_repo *repo, bool *changed, struct bak_error *err)
{
	struct pack_listing l = {.n = 0};
	BAK_AUTO(bak_free_ptr) struct bak_pack_row *known = NULL;
	size_t n;
	*changed = false;
	if (bak_index_packs(repo->index, &known, &n, err) < 0)
		return -1;
	int rc = bak_condemned_each(repo->backend, &repo->ring, list_condemned, &l, err);
	if (rc == 0)
		rc = bak_backend_list(repo->backend, "packs", list_pack, &l, err);
	if (rc > 0)
		rc = bak_error_nomem(err);
	if (rc == 0 && l.condemned.len)
		qsort(l.condemned.p, l.condemned.len / BAK_PACK_ID_BYTES, BAK_PACK_ID_BYTES,
		      id_cmp);
	if (rc == 0 && l.n)
		qsort(l.v, l.n, sizeof *l.v, listed_cmp);
	if (rc == 0)
		rc = compare_known(repo, &l, known, n, changed, err);
	if (rc == 0)
		rc = sync_unknown(repo, &l, err);
	if (rc == 0)
		rc = add_unknown(repo, &l, changed, err);
	free(l.v);
	bak_buf_release(&l.condemned);
	return rc;
}

int bak_repo_refresh_packs(struct bak_repo *repo, bool *out_changed, struct bak_error *err)
{
	pthread_mutex_lock(&repo->lock);
	int rc = bak_catalog_refresh_packs(repo, out_changed, err);
	pthread_mutex_unlock(&repo->lock);
	return rc;
}
