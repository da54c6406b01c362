/* A run: its lease, kept fresh, and what is cleared away before it begins. See backup.h. */
#include "engine/ops/run.h"

#include "engine/base/hash.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* A lease is renewed this often; it is dead after 24 h. */
#define RENEW_S 300

static int copy_stores(struct bak_run *run, const char *const *stores, size_t n,
		       struct bak_error *err)
{
	run->stores = calloc(n + 1, sizeof *run->stores);
	if (!run->stores)
		return bak_error_nomem(err);
	for (size_t i = 0; i < n; i++) {
		if (!bak_store_name_ok(stores[i]))
			return bak_error_set(err, BAK_USAGE,
					     "a store's name is 1 to 64 letters, digits, _ or -");
		run->stores[i] = strdup(stores[i]);
		if (!run->stores[i])
			return bak_error_nomem(err);
		run->n_stores++;
	}
	return 0;
}

static int put_lease(struct bak_run *run, unsigned n, struct bak_error *err)
{
	struct bak_lease lease = {0};
	int64_t now = time(NULL);
	if (bak_lease_self(&lease, "backup", run->id, bak_repo_host(run->repo), now, err) < 0)
		return -1;
	lease.start = run->start;
	lease.stores = run->stores;
	lease.n_stores = run->n_stores;
	int rc = bak_lease_put(bak_repo_backend(run->repo), bak_repo_ring(run->repo), &lease, n,
			       err);
	lease.stores = NULL; /* borrowed */
	lease.n_stores = 0;
	bak_lease_release(&lease);
	return rc;
}

/* A renewal that fails is tried again at the next turn; 24 h allow for many. */
static void renew(struct bak_run *run)
{
	struct bak_error scratch = BAK_ERROR_INIT;
	if (put_lease(run, run->lease_n + 1, &scratch) < 0)
		return;
	bak_lease_remove(bak_repo_backend(run->repo), run->id, run->lease_n, &scratch);
	run->lease_n++;
}

static void *renew_main(void *arg)
{
	struct bak_run *run = arg;
	pthread_mutex_lock(&run->lock);
	while (!run->ending) {
		struct timespec until;
		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_sec += RENEW_S;
		int rc = 0;
		while (!run->ending && rc != ETIMEDOUT)
			rc = pthread_cond_timedwait(&run->changed, &run->lock, &until);
		if (!run->ending)
			renew(run);
	}
	pthread_mutex_unlock(&run->lock);
	return NULL;
}

/* --- what other runs left --- */

struct others {
	const struct bak_run *run;
	int64_t now;
	char live[64][17]; /* runs with a live lease: their unfinished files stay */
	size_t n_live;
	bool too_many;
	char dead[64][64]; /* names of dead leases */
	size_t n_dead;
	char busy_store[BAK_STORE_NAME_MAX + 1], busy_host[256];
	int64_t busy_pid;
};

static bool names_our_store(const struct bak_run *run, const struct bak_lease *lease,
			    const char **out_store)
{
	for (size_t i = 0; i < run->n_stores; i++)
		for (size_t k = 0; k < lease->n_stores; k++)
			if (strcmp(run->stores[i], lease->stores[k]) == 0) {
				*out_store = run->stores[i];
				return true;
			}
	return false;
}

static int look_at_lease(void *ctx, const char *name, const struct bak_lease *lease)
{
	struct others *o = ctx;
	const char *store;
	if (strcmp(lease->run, o->run->id) == 0)
		return 0;
	if (bak_lease_dead(lease, o->now)) {
		if (o->n_dead < 64)
			snprintf(o->dead[o->n_dead++], sizeof o->dead[0], "%s", name);
		return 0;
	}
	if (o->n_live < 64)
		snprintf(o->live[o->n_live++], sizeof o->live[0], "%s", lease->run);
	else
		o->too_many = true;
	if (!o->busy_store[0] && names_our_store(o->run, lease, &store)) {
		snprintf(o->busy_store, sizeof o->busy_store, "%s", store);
		snprintf(o->busy_host, sizeof o->busy_host, "%s", lease->host);
		o->busy_pid = lease->pid;
	}
	return 0;
}

struct leftovers {
	const struct others *others;
	struct bak_buf names; /* terminated, one behind another */
};

/* tmp/<run, 16 hex>-...: whose run has no live lease. */
static int look_at_tmp(void *ctx, const char *name, uint64_t size)
{
	struct leftovers *l = ctx;
	const char *file = name + strlen("tmp/");
	(void)size;
	if (strspn(file, "0123456789abcdef") != 16 || file[16] != '-' ||
	    strncmp(file, l->others->run->id, 16) == 0)
		return 0;
	for (size_t i = 0; i < l->others->n_live; i++)
		if (strncmp(file, l->others->live[i], 16) == 0)
			return 0;
	return bak_buf_append(&l->names, name, strlen(name) + 1);
}

/* Space of failed runs is given back; what cannot be removed stays for the next run. */
static void clear_away(struct bak_run *run, const struct others *others)
{
	struct bak_backend *backend = bak_repo_backend(run->repo);
	struct bak_error scratch = BAK_ERROR_INIT;
	struct leftovers l = {.others = others};
	if (!others->too_many)
		bak_backend_list(backend, "tmp", look_at_tmp, &l, &scratch);
	for (size_t at = 0; at < l.names.len; at += strlen((char *)l.names.p + at) + 1)
		bak_backend_remove(backend, (char *)l.names.p + at, &scratch);
	for (size_t i = 0; i < others->n_dead; i++)
		bak_backend_remove(backend, others->dead[i], &scratch);
	bak_buf_release(&l.names);
}

/* The order matters: leases, then condemnations and packs, then snapshots (bakfs-repository(5)). */
static int look_around(struct bak_run *run, struct bak_error *err)
{
	struct others *others = calloc(1, sizeof *others);
	bool changed;
	if (!others)
		return bak_error_nomem(err);
	others->run = run;
	others->now = time(NULL);
	int rc = bak_lease_each(bak_repo_backend(run->repo), bak_repo_ring(run->repo),
				look_at_lease, others, err);
	if (rc == 0 && others->busy_store[0])
		rc = bak_error_set(
			err, BAK_BUSY, "store %s is being backed up by process %lld on %s",
			others->busy_store, (long long)others->busy_pid, others->busy_host);
	if (rc == 0)
		clear_away(run, others);
	free(others);
	if (rc < 0)
		return -1;
	return bak_repo_refresh_packs(run->repo, &changed, err) < 0 ||
			       bak_repo_refresh_snapshots(run->repo, &changed, err) < 0
		       ? -1
		       : 0;
}

/* --- begin and end --- */

static int start_thread(struct bak_run *run, struct bak_error *err)
{
	pthread_condattr_t attr;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_mutex_init(&run->lock, NULL);
	pthread_cond_init(&run->changed, &attr);
	pthread_condattr_destroy(&attr);
	run->has_lock = true;
	if (pthread_create(&run->thread, NULL, renew_main, run) != 0)
		return bak_error_set(err, BAK_NO_MEMORY, "no thread to be had");
	run->has_thread = true;
	return 0;
}

int bak_run_begin(struct bak_repo *repo, const char *type, const char *description,
		  const char *const *stores, size_t n_stores, struct bak_run **out_run,
		  struct bak_error *err)
{
	struct bak_run *run = calloc(1, sizeof *run);
	if (!run)
		return bak_error_nomem(err);
	run->repo = repo;
	run->start = time(NULL);
	run->type = strdup(type);
	run->description = strdup(description ? description : "");
	if (!run->type || !run->description) {
		bak_error_nomem(err);
		goto fail;
	}
	if (bak_random(run->bytes, sizeof run->bytes, err) < 0 ||
	    copy_stores(run, stores, n_stores, err) < 0)
		goto fail;
	bak_hex(run->id, run->bytes, sizeof run->bytes);
	if (put_lease(run, run->lease_n, err) < 0)
		goto fail;
	run->has_lease = true;
	if (look_around(run, err) < 0 || start_thread(run, err) < 0)
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
	if (run->has_thread) {
		pthread_mutex_lock(&run->lock);
		run->ending = true;
		pthread_cond_signal(&run->changed);
		pthread_mutex_unlock(&run->lock);
		pthread_join(run->thread, NULL);
	}
	if (run->has_lock) {
		pthread_mutex_destroy(&run->lock);
		pthread_cond_destroy(&run->changed);
	}
	struct bak_error scratch = BAK_ERROR_INIT;
	if (run->has_lease)
		bak_lease_remove(bak_repo_backend(run->repo), run->id, run->lease_n, &scratch);
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
