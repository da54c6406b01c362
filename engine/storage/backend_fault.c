/*
 * A backend that passes everything on to another one and fails its n-th call: how the tests ask
 * "and if this very call had failed?". A failing put_commit has changed nothing.
 */
#include "engine/storage/backend.h"

#include <stdatomic.h>
#include <stdlib.h>

struct fault_backend {
	struct bak_backend base;
	struct bak_backend *inner;
	atomic_uint_fast64_t calls, fail_at;
	atomic_bool sticky;
};

struct fault_put {
	struct bak_put base;
	struct bak_put *inner;
};

static struct bak_backend *inner_of(struct bak_backend *be)
{
	return ((struct fault_backend *)be)->inner;
}

/* Counts a call: -1 when it is one that fails. */
static int count(struct bak_backend *be, struct bak_error *err)
{
	struct fault_backend *fault = (struct fault_backend *)be;
	uint64_t n = atomic_fetch_add(&fault->calls, 1) + 1;
	uint64_t at = atomic_load(&fault->fail_at);
	if (at && (n == at || (n > at && atomic_load(&fault->sticky))))
		return bak_error_set(err, BAK_IO, "injected failure");
	return 0;
}

static int fault_get(struct bak_backend *be, const char *name, uint64_t off, size_t len,
		     struct bak_buf *out, struct bak_error *err)
{
	return count(be, err) < 0 ? -1 : bak_backend_get(inner_of(be), name, off, len, out, err);
}

static int fault_size(struct bak_backend *be, const char *name, uint64_t *out_size,
		      struct bak_error *err)
{
	return count(be, err) < 0 ? -1 : bak_backend_size(inner_of(be), name, out_size, err);
}

static int fault_put_begin(struct bak_backend *be, const char *tmp, struct bak_put **out_put,
			   struct bak_error *err)
{
	struct bak_backend *inner = inner_of(be);
	if (count(be, err) < 0)
		return -1;
	struct fault_put *put = calloc(1, sizeof *put);
	if (!put)
		return bak_error_nomem(err);
	put->base.backend = be;
	if (inner->ops->put_begin(inner, tmp, &put->inner, err) < 0) {
		free(put);
		return -1;
	}
	*out_put = &put->base;
	return 0;
}

static int fault_put_write(struct bak_put *base, const void *p, size_t len, struct bak_error *err)
{
	struct fault_put *put = (struct fault_put *)base;
	if (count(base->backend, err) < 0)
		return -1;
	return inner_of(base->backend)->ops->put_write(put->inner, p, len, err);
}

static void fault_put_abort(struct bak_put *base)
{
	struct fault_put *put = (struct fault_put *)base;
	if (!put)
		return;
	inner_of(base->backend)->ops->put_abort(put->inner);
	free(put);
}

static int fault_put_commit(struct bak_put *base, const char *name, struct bak_error *err)
{
	struct fault_put *put = (struct fault_put *)base;
	if (count(base->backend, err) < 0) {
		fault_put_abort(base);
		return -1;
	}
	int result = inner_of(base->backend)->ops->put_commit(put->inner, name, err);
	free(put);
	return result;
}

static int fault_list(struct bak_backend *be, const char *prefix, bak_list_fn *fn, void *ctx,
		      struct bak_error *err)
{
	return count(be, err) < 0 ? -1 : bak_backend_list(inner_of(be), prefix, fn, ctx, err);
}

static int fault_remove(struct bak_backend *be, const char *name, struct bak_error *err)
{
	return count(be, err) < 0 ? -1 : bak_backend_remove(inner_of(be), name, err);
}

static int fault_make_folder(struct bak_backend *be, const char *name, struct bak_error *err)
{
	struct bak_backend *inner = inner_of(be);
	return count(be, err) < 0 ? -1 : inner->ops->make_folder(inner, name, err);
}

static int fault_sync(struct bak_backend *be, const char *folder, struct bak_error *err)
{
	struct bak_backend *inner = inner_of(be);
	return count(be, err) < 0 ? -1 : inner->ops->sync(inner, folder, err);
}

static int fault_space(struct bak_backend *be, uint64_t *out_free, uint64_t *out_total,
		       struct bak_error *err)
{
	struct bak_backend *inner = inner_of(be);
	return count(be, err) < 0 ? -1 : inner->ops->space(inner, out_free, out_total, err);
}

static void fault_close(struct bak_backend *be)
{
	free(be);
}

static const struct bak_backend_ops fault_ops = {
	.get = fault_get,
	.size = fault_size,
	.put_begin = fault_put_begin,
	.put_write = fault_put_write,
	.put_commit = fault_put_commit,
	.put_abort = fault_put_abort,
	.list = fault_list,
	.remove = fault_remove,
	.make_folder = fault_make_folder,
	.sync = fault_sync,
	.space = fault_space,
	.close = fault_close,
};

int bak_backend_fault_new(struct bak_backend *inner, struct bak_backend **out_backend,
			  struct bak_error *err)
{
	struct fault_backend *fault = calloc(1, sizeof *fault);
	if (!fault)
		return bak_error_nomem(err);
	fault->base.ops = &fault_ops;
	fault->inner = inner;
	*out_backend = &fault->base;
	return 0;
}

void bak_backend_fault_arm(struct bak_backend *be, uint64_t fail_at, bool sticky)
{
	struct fault_backend *fault = (struct fault_backend *)be;
	atomic_store(&fault->calls, 0);
	atomic_store(&fault->fail_at, fail_at);
	atomic_store(&fault->sticky, sticky);
}

uint64_t bak_backend_fault_calls(const struct bak_backend *be)
{
	return atomic_load(&((const struct fault_backend *)be)->calls);
}
