/* Thin calls over a backend's table, and putting a small object at once: see backend.h. */
#include "engine/storage/backend.h"

#include "engine/base/bytes.h"
#include "engine/base/hash.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* Names are made by our own code, so a bad one is our mistake. */
static bool name_ok(const char *name)
{
	for (const char *part = name;; part++) {
		if (*part == '.' || *part == '/' || *part == '\0')
			return false;
		part += strcspn(part, "/");
		if (!*part)
			return true;
	}
}

void bak_backend_close(struct bak_backend *be)
{
	if (be)
		be->ops->close(be);
}

int bak_backend_get(struct bak_backend *be, const char *name, uint64_t off, size_t len,
		    struct bak_buf *out, struct bak_error *err)
{
	assert(name_ok(name));
	return be->ops->get(be, name, off, len, out, err);
}

int bak_backend_size(struct bak_backend *be, const char *name, uint64_t *out_size,
		     struct bak_error *err)
{
	assert(name_ok(name));
	return be->ops->size(be, name, out_size, err);
}

int bak_backend_list(struct bak_backend *be, const char *prefix, bak_list_fn *fn, void *ctx,
		     struct bak_error *err)
{
	assert(!*prefix || name_ok(prefix));
	return be->ops->list(be, prefix, fn, ctx, err);
}

int bak_backend_remove(struct bak_backend *be, const char *name, struct bak_error *err)
{
	assert(name_ok(name));
	return be->ops->remove(be, name, err);
}

int bak_backend_put(struct bak_backend *be, const char *tmp_prefix, const char *name, const void *p,
		    size_t len, struct bak_error *err)
{
	uint8_t random[8];
	char hex[2 * sizeof random + 1], tmp[128];
	long long now = (long long)time(NULL);
	assert(name_ok(name));
	if (bak_random(random, sizeof random, err) < 0)
		return -1;
	bak_hex(hex, random, sizeof random);
	snprintf(tmp, sizeof tmp, "%s-%lld-%s", tmp_prefix, now, hex);

	struct bak_put *put;
	if (be->ops->put_begin(be, tmp, &put, err) < 0)
		return -1;
	if (be->ops->put_write(put, p, len, err) < 0) {
		be->ops->put_abort(put);
		return -1;
	}
	return be->ops->put_commit(put, name, err);
}
