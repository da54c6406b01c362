/* Leases, kept fresh, and what others left: see hold.h. */
#include "engine/ops/hold.h"

#include "engine/base/hash.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define RENEW_S 300

static const char *const kinds[] = {
	[BAK_HOLD_BACKUP] = "backup", [BAK_HOLD_PRUNE] = "prune", [BAK_HOLD_ALONE] = "alone"};

struct bak_hold {
	struct bak_repo *repo; /* borrowed */
	enum bak_hold_kind kind;
	uint8_t bytes[8];
	char id[17];
	char **stores;
	size_t n_stores;
	bool has_lease, has_lock, has_thread;
	pthread_t thread;
	pthread_mutex_t lock; /* guards what follows */
	pthread_cond_t changed;
	bool ending;
	unsigned lease_n, lapses;
	int64_t start, time; /* of the lease: begun, renewed */
};

static int copy_stores(struct bak_hold *hold, const char *const *stores, size_t n,
		       struct bak_error *err)
{
	hold->stores = calloc(n + 1, sizeof *hold->stores);
	if (!hold->stores)
		return bak_error_nomem(err);
	for (size_t i = 0; i < n; i++) {
		if (!bak_store_name_ok(stores[i]))
			return bak_error_set(err, BAK_USAGE,
					     "a store's name is 1 to 64 letters, digits, _ or -");
		hold->stores[i] = strdup(stores[i]);
		if (!hold->stores[i])
			return bak_error_nomem(err);
		hold->n_stores++;
	}
	return 0;
}

static int put_lease(struct bak_hold *hold, unsigned n, int64_t start, int64_t now,
		     struct bak_error *err)
{
	struct bak_lease lease = {0};
	if (bak_lease_self(&lease, kinds[hold->kind], hold->id, bak_repo_host(hold->repo), now,
			   err) < 0)
		return -1;
	lease.start = start;
	lease.stores = hold->stores;
	lease.n_stores = hold->n_stores;
	int rc = bak_lease_put(bak_repo_backend(hold->repo), bak_repo_ring(hold->repo), &lease, n,
			       err);
	lease.stores = NULL; /* borrowed */
	lease.n_stores = 0;
	bak_lease_release(&lease);
	return rc;
}

/* --- renewal --- */

/* 1 it is there and young enough, 0 lapsed, -1. Call with the lock held, as what follows. */
static int still_live(struct bak_hold *hold, struct bak_error *err)
{
	char name[48];
	uint64_t size;
	if (bak_repo_now(hold->repo) - hold->time >= BAK_LEASE_S)
		return 0;
	snprintf(name, sizeof name, "running/%s-%u", hold->id, hold->lease_n);
	return bak_backend_size(bak_repo_backend(hold->repo), name, &size, err);
}

static int renew(struct bak_hold *hold, struct bak_error *err)
{
	struct bak_error scratch = BAK_ERROR_INIT;
	int64_t now = bak_repo_now(hold->repo);
	int live = still_live(hold, err);
	int64_t start = live == 1 ? hold->start : now;
	if (live < 0 || put_lease(hold, hold->lease_n + 1, start, now, err) < 0)
		return -1;
	/* An old one that stays is dead by its time. */
	bak_lease_remove(bak_repo_backend(hold->repo), hold->id, hold->lease_n, &scratch);
	hold->lease_n++;
	hold->lapses += live == 0;
	hold->start = start;
	hold->time = now;
	return 0;
}

int bak_hold_renew(struct bak_hold *hold, struct bak_error *err)
{
	pthread_mutex_lock(&hold->lock);
	int rc = renew(hold, err);
	pthread_mutex_unlock(&hold->lock);
	return rc;
}

int bak_hold_check(struct bak_hold *hold, unsigned *out_lapses, struct bak_error *err)
{
	pthread_mutex_lock(&hold->lock);
	int64_t age = bak_repo_now(hold->repo) - hold->time;
	int rc = age >= 0 && age < 2 * RENEW_S ? still_live(hold, err) : 0;
	if (rc == 0)
		rc = renew(hold, err);
	*out_lapses = hold->lapses;
	pthread_mutex_unlock(&hold->lock);
	return rc < 0 ? -1 : 0;
}

int64_t bak_hold_age(struct bak_hold *hold)
{
	pthread_mutex_lock(&hold->lock);
	int64_t age = bak_repo_now(hold->repo) - hold->time;
	pthread_mutex_unlock(&hold->lock);
	return age;
}

/* A renewal that fails is tried again at the next turn; a day allows for many. */
static void *renew_main(void *arg)
{
	struct bak_hold *hold = arg;
	struct bak_error scratch = BAK_ERROR_INIT;
	pthread_mutex_lock(&hold->lock);
	while (!hold->ending) {
		struct timespec until;
		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_sec += RENEW_S;
		int rc = 0;
		while (!hold->ending && rc != ETIMEDOUT)
			rc = pthread_cond_timedwait(&hold->changed, &hold->lock, &until);
		if (!hold->ending)
			renew(hold, &scratch);
	}
	pthread_mutex_unlock(&hold->lock);
	return NULL;
}

/* --- what others do, and what they left --- */

struct others {
	const struct bak_hold *hold;
	int64_t now;
	char live[64][17]; /* runs with a live lease: their unfinished files stay */
	size_t n_live;
	bool too_many;
	char dead[64][64]; /* names of dead leases */
	size_t n_dead;
	bool busy;
	struct bak_error why;
};

static const char *shared_store(const struct bak_hold *hold, const struct bak_lease *lease)
{
	for (size_t i = 0; i < hold->n_stores; i++)
		for (size_t k = 0; k < lease->n_stores; k++)
			if (strcmp(hold->stores[i], lease->stores[k]) == 0)
				return hold->stores[i];
	return NULL;
}

/* Says why a live lease does not bear ours, if so. */
static void judge(struct others *o, const struct bak_lease *lease)
{
	const struct bak_hold *hold = o->hold;
	bool alone = strcmp(lease->kind, kinds[BAK_HOLD_ALONE]) == 0;
	bool prune = strcmp(lease->kind, kinds[BAK_HOLD_PRUNE]) == 0;
	const char *store = shared_store(hold, lease);
	if (o->busy)
		return;
	o->busy = true;
	if (alone)
		bak_error_set(&o->why, BAK_BUSY, "process %lld on %s works alone on the repository",
			      (long long)lease->pid, lease->host);
	else if (store)
		bak_error_set(&o->why, BAK_BUSY,
			      "store %s is being backed up by process %lld on %s", store,
			      (long long)lease->pid, lease->host);
	else if (prune && hold->kind == BAK_HOLD_PRUNE)
		bak_error_set(&o->why, BAK_BUSY, "process %lld on %s prunes the repository",
			      (long long)lease->pid, lease->host);
	else if (hold->kind == BAK_HOLD_ALONE)
		bak_error_set(&o->why, BAK_BUSY,
			      "process %lld on %s is at work on the repository (%s)",
			      (long long)lease->pid, lease->host, lease->kind);
	else
		o->busy = false;
}

static int look_at_lease(void *ctx, const char *name, const struct bak_lease *lease)
{
	struct others *o = ctx;
	if (strcmp(lease->run, o->hold->id) == 0)
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
	judge(o, lease);
	return 0;
}

struct leftovers {
	const struct others *others;
	struct bak_buf names; /* terminated, one behind another */
};

/* tmp/<run, 16 hex>-...: whose run has no live lease. */
static bool run_is_over(const struct others *others, const char *file)
{
	if (strncmp(file, others->hold->id, 16) == 0 || others->too_many)
		return false;
	for (size_t i = 0; i < others->n_live; i++)
		if (strncmp(file, others->live[i], 16) == 0)
			return false;
	return true;
}

/* tmp/<prefix>-<time>-...: a small object of who has no lease, written in a moment or never. */
static bool is_old(const struct others *others, const char *file)
{
	const char *dash = strchr(file, '-');
	char *end;
	long long began = dash ? strtoll(dash + 1, &end, 10) : 0;
	return began > 0 && *end == '-' && began < others->now - BAK_LEASE_S - BAK_CLOCKS_S;
}

static int look_at_tmp(void *ctx, const char *name, uint64_t size)
{
	struct leftovers *l = ctx;
	const char *file = name + strlen("tmp/");
	bool of_run = strspn(file, "0123456789abcdef") == 16 && file[16] == '-';
	(void)size;
	if (of_run ? run_is_over(l->others, file) : is_old(l->others, file))
		return bak_buf_append(&l->names, name, strlen(name) + 1);
	return 0;
}

/* Space of failed runs is given back; what cannot be removed stays for the next run. */
static void clear_away(struct bak_hold *hold, const struct others *others)
{
	struct bak_backend *backend = bak_repo_backend(hold->repo);
	struct bak_error scratch = BAK_ERROR_INIT;
	struct leftovers l = {.others = others};
	bak_backend_list(backend, "tmp", look_at_tmp, &l, &scratch);
	for (size_t at = 0; at < l.names.len; at += strlen((char *)l.names.p + at) + 1)
		bak_backend_remove(backend, (char *)l.names.p + at, &scratch);
	for (size_t i = 0; i < others->n_dead; i++)
		bak_backend_remove(backend, others->dead[i], &scratch);
	bak_buf_release(&l.names);
}

static int look_around(struct bak_hold *hold, struct bak_error *err)
{
	struct others *others = calloc(1, sizeof *others);
	if (!others)
		return bak_error_nomem(err);
	others->hold = hold;
	others->now = bak_repo_now(hold->repo);
	int rc = bak_lease_each(bak_repo_backend(hold->repo), bak_repo_ring(hold->repo),
				look_at_lease, others, err);
	if (rc == 0 && others->busy) {
		*err = others->why;
		rc = -1;
	}
	if (rc == 0)
		clear_away(hold, others);
	free(others);
	return rc;
}

/* --- begin and end --- */

static int start_thread(struct bak_hold *hold, struct bak_error *err)
{
	pthread_condattr_t attr;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_mutex_init(&hold->lock, NULL);
	pthread_cond_init(&hold->changed, &attr);
	pthread_condattr_destroy(&attr);
	hold->has_lock = true;
	if (pthread_create(&hold->thread, NULL, renew_main, hold) != 0)
		return bak_error_set(err, BAK_NO_MEMORY, "no thread to be had");
	hold->has_thread = true;
	return 0;
}

/* What was left by somebody who was killed when he had filled the disk gives room for it. */
static int put_first_lease(struct bak_hold *hold, struct bak_error *err)
{
	struct bak_error scratch = BAK_ERROR_INIT;
	if (put_lease(hold, 0, hold->start, hold->time, err) == 0)
		return 0;
	if (err->code != BAK_NO_SPACE || look_around(hold, &scratch) < 0)
		return -1;
	return put_lease(hold, 0, hold->start, hold->time, err);
}

int bak_hold_begin(struct bak_repo *repo, enum bak_hold_kind kind, const char *const *stores,
		   size_t n_stores, struct bak_hold **out_hold, struct bak_error *err)
{
	struct bak_hold *hold = calloc(1, sizeof *hold);
	if (!hold)
		return bak_error_nomem(err);
	hold->repo = repo;
	hold->kind = kind;
	hold->start = hold->time = bak_repo_now(repo);
	if (bak_random(hold->bytes, sizeof hold->bytes, err) < 0 ||
	    copy_stores(hold, stores, n_stores, err) < 0)
		goto fail;
	bak_hex(hold->id, hold->bytes, sizeof hold->bytes);
	if (put_first_lease(hold, err) < 0)
		goto fail;
	hold->has_lease = true;
	if (look_around(hold, err) < 0 || start_thread(hold, err) < 0)
		goto fail;
	*out_hold = hold;
	return 0;
fail:
	bak_hold_end(hold);
	return -1;
}

void bak_hold_end(struct bak_hold *hold)
{
	if (!hold)
		return;
	if (hold->has_thread) {
		pthread_mutex_lock(&hold->lock);
		hold->ending = true;
		pthread_cond_signal(&hold->changed);
		pthread_mutex_unlock(&hold->lock);
		pthread_join(hold->thread, NULL);
	}
	if (hold->has_lock) {
		pthread_mutex_destroy(&hold->lock);
		pthread_cond_destroy(&hold->changed);
	}
	struct bak_error scratch = BAK_ERROR_INIT;
	if (hold->has_lease)
		bak_lease_remove(bak_repo_backend(hold->repo), hold->id, hold->lease_n, &scratch);
	for (size_t i = 0; i < hold->n_stores; i++)
		free(hold->stores[i]);
	free(hold->stores);
	free(hold);
}

const uint8_t *bak_hold_run(const struct bak_hold *hold)
{
	return hold->bytes;
}

const char *bak_hold_id(const struct bak_hold *hold)
{
	return hold->id;
}

int64_t bak_hold_start(struct bak_hold *hold)
{
	pthread_mutex_lock(&hold->lock);
	int64_t start = hold->start;
	pthread_mutex_unlock(&hold->lock);
	return start;
}

/* --- leases of others --- */

void bak_leases_release(struct bak_leases *leases)
{
	free(leases->v);
	*leases = (struct bak_leases){.n = 0};
}

struct listing {
	struct bak_leases *out;
	const char *but;
	int64_t now;
};

static int add_live(void *ctx, const char *name, const struct bak_lease *lease)
{
	const struct listing *l = ctx;
	struct bak_leases *out = l->out;
	(void)name;
	if ((l->but && strcmp(lease->run, l->but) == 0) || bak_lease_dead(lease, l->now))
		return 0;
	if (bak_grow(&out->v, &out->cap, out->n, sizeof *out->v) < 0)
		return 1;
	out->v[out->n].start = lease->start;
	memcpy(out->v[out->n++].run, lease->run, sizeof lease->run);
	return 0;
}

int bak_leases_list(struct bak_repo *repo, const char *but, struct bak_leases *out,
		    struct bak_error *err)
{
	struct listing l = {out, but, bak_repo_now(repo)};
	*out = (struct bak_leases){.n = 0};
	int rc = bak_lease_each(bak_repo_backend(repo), bak_repo_ring(repo), add_live, &l, err);
	return rc > 0 ? bak_error_nomem(err) : rc;
}

bool bak_leases_before(const struct bak_leases *leases, int64_t time)
{
	for (size_t i = 0; i < leases->n; i++)
		if (leases->v[i].start <= time + BAK_CLOCKS_S)
			return true;
	return false;
}
