/* Packs whose grace is over are deleted: see prune.h. */
#include "engine/objects/condemned.h"
#include "engine/objects/parity.h"
#include "engine/ops/prune_private.h"

#include <stdlib.h>

struct sweep {
	struct bak_prune *p;
	int64_t now;
	struct bak_pack_ids due;
	struct bak_pack_ids given_up; /* of those, from which nothing more is hoped for */
	/* Condemnations that are due. */
	struct ended {
		char name[BAK_CONDEMNED_NAME_LEN];
		struct bak_pack_ids packs;
	} * ended;
	size_t n_ended, cap_ended;
};

/* Every backup that may not know of it is gone. */
static bool is_due(const struct sweep *s, const struct bak_condemned *condemned)
{
	if (s->p->conf->alone)
		return true;
	return s->now - condemned->time >= BAK_LEASE_S &&
	       !bak_leases_before(&s->p->leases, condemned->time);
}

static void tell_waiting(struct sweep *s, const struct bak_condemned *condemned)
{
	struct bak_prune_result *out = s->p->out;
	int64_t when = condemned->time + BAK_LEASE_S;
	for (size_t i = 0; i < condemned->n; i++) {
		const struct bak_pack_row *row = bak_prune_row(s->p->packs, s->p->n_packs,
							       condemned->packs[i]);
		out->waiting_packs += row != NULL;
		out->waiting_bytes += row ? row->size : 0;
	}
	if (!out->next || when < out->next)
		out->next = when;
}

static int look_at(void *ctx, const char *name, const struct bak_condemned *condemned)
{
	struct sweep *s = ctx;
	if (!is_due(s, condemned)) {
		tell_waiting(s, condemned);
		return 0;
	}
	if (bak_grow(&s->ended, &s->cap_ended, s->n_ended, sizeof *s->ended) < 0)
		return 1;
	struct ended *ended = &s->ended[s->n_ended++];
	*ended = (struct ended){.packs = {.n = 0}};
	memcpy(ended->name, name, strlen(name) + 1);
	for (size_t i = 0; i < condemned->n; i++)
		if (bak_pack_ids_add(&ended->packs, condemned->packs[i]) < 0 ||
		    bak_pack_ids_add(&s->due, condemned->packs[i]) < 0 ||
		    (condemned->damaged && bak_pack_ids_add(&s->given_up, condemned->packs[i]) < 0))
			return 1;
	return 0;
}

/* Only packs that are still there. */
static int list_due(struct sweep *s, struct bak_pack_row **rows, size_t *n_rows,
		    struct bak_error *err)
{
	struct bak_repo *repo = s->p->repo;
	int rc = bak_condemned_each(bak_repo_backend(repo), bak_repo_ring(repo), look_at, s, err);
	if (rc != 0)
		return rc > 0 ? bak_error_nomem(err) : -1;
	if (bak_index_packs(bak_repo_index(repo), rows, n_rows, err) < 0)
		return -1;
	bak_pack_ids_sort(&s->due);
	bak_pack_ids_sort(&s->given_up);
	size_t n = 0;
	for (size_t i = 0; i < s->due.n; i++)
		if (bak_prune_row(*rows, *n_rows, s->due.v[i]) &&
		    (n == 0 || memcmp(s->due.v[n - 1], s->due.v[i], BAK_PACK_ID_BYTES) != 0))
			memmove(s->due.v[n++], s->due.v[i], BAK_PACK_ID_BYTES);
	s->due.n = n;
	return 0;
}

static int delete_pack(struct sweep *s, const struct bak_pack_row *row, struct bak_error *err)
{
	struct bak_backend *backend = bak_repo_backend(s->p->repo);
	char pack[BAK_PACK_NAME_LEN], parity[BAK_PARITY_NAME_LEN];
	bak_pack_name(row->id, pack);
	bak_parity_name(row->id, parity);
	if (bak_backend_remove(backend, pack, err) < 0 ||
	    bak_backend_remove(backend, parity, err) < 0)
		return -1;
	s->p->out->swept_packs++;
	s->p->out->swept_bytes += row->size;
	return bak_index_drop_pack(bak_repo_index(s->p->repo), row->id, err);
}

static bool is_kept(const struct sweep *s, const uint8_t id[BAK_PACK_ID_BYTES])
{
	return bak_pack_ids_has(&s->p->kept, id) && !bak_pack_ids_has(&s->given_up, id);
}

/* Packs first, condemnations last: who lists in the other order never trusts a pack that has just
 * gone. A condemnation of which a pack had to be kept stays. */
static int delete_due(struct sweep *s, const struct bak_pack_row *rows, size_t n_rows,
		      struct bak_error *err)
{
	struct bak_prune *p = s->p;
	for (size_t i = 0; i < s->due.n; i++) {
		bak_prune_progress(p, "deleting packs", i, s->due.n);
		if (!is_kept(s, s->due.v[i]) &&
		    delete_pack(s, bak_prune_row(rows, n_rows, s->due.v[i]), err) < 0)
			return -1;
	}
	for (size_t i = 0; i < s->n_ended; i++) {
		bool keep = false;
		for (size_t k = 0; k < s->ended[i].packs.n; k++)
			keep |= is_kept(s, s->ended[i].packs.v[k]);
		if (!keep &&
		    bak_condemned_remove(bak_repo_backend(p->repo), s->ended[i].name, err) < 0)
			return -1;
	}
	return 0;
}

static int sweep(struct sweep *s, bool only_say, struct bak_error *err)
{
	struct bak_prune *p = s->p;
	BAK_AUTO(bak_free_ptr) struct bak_pack_row *rows = NULL;
	size_t n_rows = 0;
	bool changed;
	p->out->waiting_packs = p->out->waiting_bytes = 0;
	p->out->next = 0;
	if (bak_repo_refresh_packs(p->repo, &changed, err) < 0 ||
	    list_due(s, &rows, &n_rows, err) < 0)
		return -1;
	for (size_t i = 0; only_say && i < s->due.n; i++) {
		p->out->swept_packs++;
		p->out->swept_bytes += bak_prune_row(rows, n_rows, s->due.v[i])->size;
	}
	if (only_say || s->n_ended == 0)
		return 0;
	if (bak_prune_evacuate(p, &s->due, err) < 0 || bak_prune_check_lease(p, err) < 0)
		return -1;
	return delete_due(s, rows, n_rows, err);
}

int bak_prune_sweep(struct bak_prune *p, bool only_say, struct bak_error *err)
{
	struct sweep s = {.p = p, .now = bak_repo_now(p->repo)};
	int rc = sweep(&s, only_say, err);
	for (size_t i = 0; i < s.n_ended; i++)
		bak_pack_ids_release(&s.ended[i].packs);
	free(s.ended);
	bak_pack_ids_release(&s.due);
	bak_pack_ids_release(&s.given_up);
	return rc;
}
