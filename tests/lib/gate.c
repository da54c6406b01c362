/* A backend that stops its actor before a call: see gate.h. */
#include "tests/lib/gate.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct bak_gate {
	struct bak_backend base;
	struct bak_backend *inner;
	pthread_mutex_t turn; /* held through each call: one at a time, none while it stands */

	pthread_mutex_t lock; /* guards what follows */
	pthread_cond_t changed;
	uint64_t calls, stop_at, kill_at;
	bool pass_leases, standing, ended, running;
	pthread_t thread;
	void (*actor)(void *ctx);
	void *ctx;
};

struct gate_put {
	struct bak_put base;
	struct bak_put *inner;
	bool lease;
};

static struct bak_gate *gate_of(struct bak_backend *be)
{
	return (struct bak_gate *)be;
}

static bool is_lease(const char *name)
{
	return strncmp(name, "running", 7) == 0;
}

/* Stands before the call if it is the one. -1 when it is to fail. Leaves turn held, unless -1. */
static int enter(struct bak_gate *gate, bool lease, struct bak_error *err)
{
	pthread_mutex_lock(&gate->lock);
	bool pass = lease && gate->pass_leases;
	pthread_mutex_unlock(&gate->lock);
	if (pass)
		return 0;
	pthread_mutex_lock(&gate->turn);
	pthread_mutex_lock(&gate->lock);
	gate->calls++;
	if (gate->stop_at && gate->calls == gate->stop_at) {
		gate->standing = true;
		pthread_cond_broadcast(&gate->changed);
		while (gate->standing)
			pthread_cond_wait(&gate->changed, &gate->lock);
	}
	bool dead = gate->kill_at && gate->calls >= gate->kill_at;
	pthread_mutex_unlock(&gate->lock);
	if (!dead)
		return 1;
	pthread_mutex_unlock(&gate->turn);
	return bak_error_set(err, BAK_IO, "killed");
}

static void leave(struct bak_gate *gate, int entered)
{
	if (entered == 1)
		pthread_mutex_unlock(&gate->turn);
}

static int gate_get(struct bak_backend *be, const char *name, uint64_t off, size_t len,
		    struct bak_buf *out, struct bak_error *err)
{
	int in = enter(gate_of(be), is_lease(name), err);
	int rc = in < 0 ? -1 : bak_backend_get(gate_of(be)->inner, name, off, len, out, err);
	leave(gate_of(be), in);
	return rc;
}

static int gate_size(struct bak_backend *be, const char *name, uint64_t *out_size,
		     struct bak_error *err)
{
	int in = enter(gate_of(be), is_lease(name), err);
	int rc = in < 0 ? -1 : bak_backend_size(gate_of(be)->inner, name, out_size, err);
	leave(gate_of(be), in);
	return rc;
}

/* Records go through tmp/record-...: among them leases, which cannot be told yet. */
static int gate_put_begin(struct bak_backend *be, const char *tmp, struct bak_put **out_put,
			  struct bak_error *err)
{
	struct bak_backend *inner = gate_of(be)->inner;
	bool record = strncmp(tmp, "record", 6) == 0;
	struct gate_put *put = calloc(1, sizeof *put);
	if (!put)
		return bak_error_nomem(err);
	put->base.backend = be;
	put->lease = record;
	int in = enter(gate_of(be), record, err);
	int rc = in < 0 ? -1 : inner->ops->put_begin(inner, tmp, &put->inner, err);
	leave(gate_of(be), in);
	if (rc < 0)
		free(put);
	else
		*out_put = &put->base;
	return rc;
}

static int gate_put_write(struct bak_put *base, const void *p, size_t len, struct bak_error *err)
{
	struct gate_put *put = (struct gate_put *)base;
	struct bak_gate *gate = gate_of(base->backend);
	int in = enter(gate, put->lease, err);
	int rc = in < 0 ? -1 : gate->inner->ops->put_write(put->inner, p, len, err);
	leave(gate, in);
	return rc;
}

static void gate_put_abort(struct bak_put *base)
{
	struct gate_put *put = (struct gate_put *)base;
	if (!put)
		return;
	gate_of(base->backend)->inner->ops->put_abort(put->inner);
	free(put);
}

static int gate_put_commit(struct bak_put *base, const char *name, struct bak_error *err)
{
	struct gate_put *put = (struct gate_put *)base;
	struct bak_gate *gate = gate_of(base->backend);
	int in = enter(gate, is_lease(name), err);
	if (in < 0) {
		gate_put_abort(base);
		return -1;
	}
	int rc = gate->inner->ops->put_commit(put->inner, name, err);
	leave(gate, in);
	free(put);
	return rc;
}

static int gate_list(struct bak_backend *be, const char *prefix, bak_list_fn *fn, void *ctx,
		     struct bak_error *err)
{
	/* What fn asks of the storage is a call of its own: the names are taken at once. */
	int in = enter(gate_of(be), is_lease(prefix), err);
	leave(gate_of(be), in);
	return in < 0 ? -1 : bak_backend_list(gate_of(be)->inner, prefix, fn, ctx, err);
}

static int gate_remove(struct bak_backend *be, const char *name, struct bak_error *err)
{
	int in = enter(gate_of(be), is_lease(name), err);
	int rc = in < 0 ? -1 : bak_backend_remove(gate_of(be)->inner, name, err);
	leave(gate_of(be), in);
	return rc;
}

static int gate_make_folder(struct bak_backend *be, const char *name, struct bak_error *err)
{
	struct bak_backend *inner = gate_of(be)->inner;
	return inner->ops->make_folder(inner, name, err);
}

static int gate_sync(struct bak_backend *be, const char *folder, struct bak_error *err)
{
	struct bak_backend *inner = gate_of(be)->inner;
	return inner->ops->sync(inner, folder, err);
}

static int gate_space(struct bak_backend *be, uint64_t *out_free, uint64_t *out_total,
		      struct bak_error *err)
{
	struct bak_backend *inner = gate_of(be)->inner;
	return inner->ops->space(inner, out_free, out_total, err);
}

static void gate_close(struct bak_backend *be)
{
	(void)be;
}

static const struct bak_backend_ops gate_ops = {
	.get = gate_get,
	.size = gate_size,
	.put_begin = gate_put_begin,
	.put_write = gate_put_write,
	.put_commit = gate_put_commit,
	.put_abort = gate_put_abort,
	.list = gate_list,
	.remove = gate_remove,
	.make_folder = gate_make_folder,
	.sync = gate_sync,
	.space = gate_space,
	.close = gate_close,
};

struct bak_gate *bak_gate_new(struct bak_backend *inner)
{
	struct bak_gate *gate = calloc(1, sizeof *gate);
	if (!gate)
		abort();
	gate->base.ops = &gate_ops;
	gate->inner = inner;
	pthread_mutex_init(&gate->turn, NULL);
	pthread_mutex_init(&gate->lock, NULL);
	pthread_cond_init(&gate->changed, NULL);
	return gate;
}

void bak_gate_free(struct bak_gate *gate)
{
	if (!gate)
		return;
	bak_gate_finish(gate);
	pthread_mutex_destroy(&gate->turn);
	pthread_mutex_destroy(&gate->lock);
	pthread_cond_destroy(&gate->changed);
	free(gate);
}

struct bak_backend *bak_gate_backend(struct bak_gate *gate)
{
	return &gate->base;
}

uint64_t bak_gate_calls(struct bak_gate *gate)
{
	pthread_mutex_lock(&gate->lock);
	uint64_t calls = gate->calls;
	pthread_mutex_unlock(&gate->lock);
	return calls;
}

void bak_gate_stop_at(struct bak_gate *gate, uint64_t n)
{
	pthread_mutex_lock(&gate->lock);
	gate->stop_at = n ? gate->calls + n : 0;
	pthread_mutex_unlock(&gate->lock);
}

void bak_gate_kill_at(struct bak_gate *gate, uint64_t n)
{
	pthread_mutex_lock(&gate->lock);
	gate->kill_at = n ? gate->calls + n : 0;
	pthread_mutex_unlock(&gate->lock);
}

void bak_gate_pass_leases(struct bak_gate *gate)
{
	pthread_mutex_lock(&gate->lock);
	gate->pass_leases = true;
	pthread_mutex_unlock(&gate->lock);
}

static void *actor_main(void *arg)
{
	struct bak_gate *gate = arg;
	gate->actor(gate->ctx);
	pthread_mutex_lock(&gate->lock);
	gate->ended = true;
	pthread_cond_broadcast(&gate->changed);
	pthread_mutex_unlock(&gate->lock);
	return NULL;
}

static bool wait_for_it(struct bak_gate *gate)
{
	pthread_mutex_lock(&gate->lock);
	while (!gate->standing && !gate->ended)
		pthread_cond_wait(&gate->changed, &gate->lock);
	bool standing = gate->standing;
	pthread_mutex_unlock(&gate->lock);
	return standing;
}

bool bak_gate_start(struct bak_gate *gate, void (*actor)(void *ctx), void *ctx)
{
	gate->actor = actor;
	gate->ctx = ctx;
	gate->ended = false;
	if (pthread_create(&gate->thread, NULL, actor_main, gate) != 0)
		abort();
	gate->running = true;
	return wait_for_it(gate);
}

bool bak_gate_go_on(struct bak_gate *gate, uint64_t stop_at)
{
	pthread_mutex_lock(&gate->lock);
	gate->stop_at = stop_at ? gate->calls + stop_at : 0;
	gate->standing = false;
	pthread_cond_broadcast(&gate->changed);
	pthread_mutex_unlock(&gate->lock);
	return wait_for_it(gate);
}

void bak_gate_finish(struct bak_gate *gate)
{
	if (!gate->running)
		return;
	bak_gate_go_on(gate, 0);
	pthread_join(gate->thread, NULL);
	gate->running = false;
}
