/* A run: its lease, and the catalogue brought up to date before it begins. See backup.h. */
#include "engine/ops/run.h"

#include <stdlib.h>

static int copy_texts(struct bak_run *run, const char *type, const char *description,
		      const char *const *stores, size_t n, struct bak_error *err)
{
	run->type = strdup(type);
	run->description = strdup(description ? description : "");
	run->stores = calloc(n + 1, sizeof *run->stores);
	if (!run->type || !run->description || !run->stores)
		return bak_error_nomem(err);
	for (; run->n_stores < n; run->n_stores++) {
		run->stores[run->n_stores] = strdup(stores[run->n_stores]);
		if (!run->stores[run->n_stores])
			return bak_error_nomem(err);
	}
	return 0;
}

/* The order matters: leases (bak_hold_begin lists them), then condemnations and packs, then
 * snapshots (bakfs-repository(5)). */
int bak_run_look(struct bak_run *run, struct bak_error *err)
{
	bool changed;
	return bak_repo_refresh_packs(run->repo, &changed, err) < 0 ||
			       bak_repo_refresh_snapshots(run->repo, &changed, err) < 0
		       ? -1
		       : 0;
}

int bak_run_begin(struct bak_repo *repo, const char *type, const char *description,
		  const char *const *stores, size_t n_stores, struct bak_run **out_run,
		  struct bak_error *err)
{
	struct bak_run *run = calloc(1, sizeof *run);
	if (!run)
		return bak_error_nomem(err);
	run->repo = repo;
	if (copy_texts(run, type, description, stores, n_stores, err) < 0 ||
	    bak_hold_begin(repo, BAK_HOLD_BACKUP, stores, n_stores, &run->hold, err) < 0)
		goto fail;
	memcpy(run->bytes, bak_hold_run(run->hold), sizeof run->bytes);
	memcpy(run->id, bak_hold_id(run->hold), sizeof run->id);
	run->start = bak_hold_start(run->hold);
	if (bak_run_look(run, err) < 0)
		goto fail;
	*out_run = run;
	return 0;
fail:
	bak_run_end(run);
	return -1;
}

void bak_run_end(struct bak_run *run)
{
	if (!run)
		return;
	bak_hold_end(run->hold);
	for (size_t i = 0; i < run->n_stores; i++)
		free(run->stores[i]);
	free(run->stores);
	free(run->type);
	free(run->description);
	free(run);
}

int64_t bak_run_stamp(const struct bak_run *run)
{
	return run->stamp;
}

const char *bak_run_id(const struct bak_run *run)
{
	return run->id;
}
