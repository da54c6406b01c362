/*
 * Objects in memory: the reference for what a backend does, and the double in tests. Linear search;
 * what is under way (below tmp/) is not listed.
 */
#include "engine/storage/backend.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct mem_object {
	char *name;
	struct bak_buf bytes;
};

struct mem_backend {
	struct bak_backend base;
	pthread_mutex_t lock; /* guards objects, n and cap */
	struct mem_object *objects;
	size_t n, cap;
};

struct mem_put {
	struct bak_put base;
	struct bak_buf bytes;
};

static struct mem_backend *mem_of(struct bak_backend *be)
{
	return (struct mem_backend *)be;
}

/* Call with the lock held. */
static struct mem_object *find(struct mem_backend *mem, const char *name)
{
	for (size_t i = 0; i < mem->n; i++)
		if (strcmp(mem->objects[i].name, name) == 0)
			return &mem->objects[i];
	return NULL;
}

static int mem_get(struct bak_backend *be, const char *name, uint64_t off, size_t len,
		   struct bak_buf *out, struct bak_error *err)
{
	struct mem_backend *mem = mem_of(be);
	int found = 0;
	pthread_mutex_lock(&mem->lock);
	const struct mem_object *object = find(mem, name);
	if (object) {
		found = 1;
		if (off < object->bytes.len) {
			size_t left = object->bytes.len - (size_t)off;
			if (bak_buf_append(out, object->bytes.p + off, len < left ? len : left) < 0)
				found = bak_error_nomem(err);
		}
	}
	pthread_mutex_unlock(&mem->lock);
	return found;
}

static int mem_size(struct bak_backend *be, const char *name, uint64_t *out_size,
		    struct bak_error *err)
{
	(void)err;
	struct mem_backend *mem = mem_of(be);
	pthread_mutex_lock(&mem->lock);
	const struct mem_object *object = find(mem, name);
	if (object)
		*out_size = object->bytes.len;
	pthread_mutex_unlock(&mem->lock);
	return object != NULL;
}

static int mem_put_begin(struct bak_backend *be, const char *tmp, struct bak_put **out_put,
			 struct bak_error *err)
{
	(void)tmp;
	struct mem_put *put = calloc(1, sizeof *put);
	if (!put)
		return bak_error_nomem(err);
	put->base.backend = be;
	*out_put = &put->base;
	return 0;
}

static int mem_put_write(struct bak_put *base, const void *p, size_t len, struct bak_error *err)
{
	struct mem_put *put = (struct mem_put *)base;
	return bak_buf_append(&put->bytes, p, len) < 0 ? bak_error_nomem(err) : 0;
}

static void mem_put_abort(struct bak_put *base)
{
	struct mem_put *put = (struct mem_put *)base;
	if (!put)
		return;
	bak_buf_release(&put->bytes);
	free(put);
}

/* Call with the lock held. Takes over name and bytes. */
static int add_object(struct mem_backend *mem, char *name, struct bak_buf bytes)
{
	if (mem->n == mem->cap) {
		size_t cap = mem->cap ? 2 * mem->cap : 16;
		struct mem_object *grown = realloc(mem->objects, cap * sizeof *grown);
		if (!grown)
			return -1;
		mem->objects = grown;
		mem->cap = cap;
	}
	mem->objects[mem->n++] = (struct mem_object){.name = name, .bytes = bytes};
	return 0;
}

static int mem_put_commit(struct bak_put *base, const char *name, struct bak_error *err)
{
	struct mem_put *put = (struct mem_put *)base;
	struct mem_backend *mem = mem_of(base->backend);
	char *copy = strdup(name);
	int result = 1;
	pthread_mutex_lock(&mem->lock);
	if (find(mem, name))
		result = 0;
	else if (!copy || add_object(mem, copy, put->bytes) < 0)
		result = bak_error_nomem(err);
	pthread_mutex_unlock(&mem->lock);
	if (result == 1)
		put->bytes = (struct bak_buf)BAK_BUF_INIT;
	else
		free(copy);
	mem_put_abort(base);
	return result;
}

/* Copies of the listed names and sizes, so that fn runs without the lock. */
struct mem_name {
	char *name;
	uint64_t size;
};

static bool below(const char *name, const char *prefix)
{
	size_t len = strlen(prefix);
	return len == 0 || (strncmp(name, prefix, len) == 0 && name[len] == '/');
}

static int copy_names(struct mem_backend *mem, const char *prefix, struct mem_name **out_names,
		      size_t *out_n)
{
	int result = 0;
	pthread_mutex_lock(&mem->lock);
	*out_n = 0;
	*out_names = calloc(mem->n + 1, sizeof **out_names);
	for (size_t i = 0; *out_names && i < mem->n; i++) {
		if (!below(mem->objects[i].name, prefix))
			continue;
		struct mem_name *to = &(*out_names)[*out_n];
		to->name = strdup(mem->objects[i].name);
		to->size = mem->objects[i].bytes.len;
		if (!to->name)
			result = -1;
		else
			++*out_n;
	}
	if (!*out_names)
		result = -1;
	pthread_mutex_unlock(&mem->lock);
	return result;
}

static int mem_list(struct bak_backend *be, const char *prefix, bak_list_fn *fn, void *ctx,
		    struct bak_error *err)
{
	struct mem_name *names;
	size_t n;
	int result = copy_names(mem_of(be), prefix, &names, &n);
	if (result < 0)
		bak_error_nomem(err);
	for (size_t i = 0; i < n; i++) {
		if (result == 0)
			result = fn(ctx, names[i].name, names[i].size);
		free(names[i].name);
	}
	free(names);
	return result;
}

static int mem_remove(struct bak_backend *be, const char *name, struct bak_error *err)
{
	(void)err;
	struct mem_backend *mem = mem_of(be);
	pthread_mutex_lock(&mem->lock);
	struct mem_object *object = find(mem, name);
	int found = object != NULL;
	if (object) {
		free(object->name);
		bak_buf_release(&object->bytes);
		*object = mem->objects[--mem->n];
	}
	pthread_mutex_unlock(&mem->lock);
	return found;
}

static int mem_make_folder(struct bak_backend *be, const char *name, struct bak_error *err)
{
	(void)be, (void)name, (void)err;
	return 0;
}

static int mem_sync(struct bak_backend *be, const char *folder, struct bak_error *err)
{
	(void)be, (void)folder, (void)err;
	return 0;
}

static int mem_space(struct bak_backend *be, uint64_t *out_free, uint64_t *out_total,
		     struct bak_error *err)
{
	(void)be, (void)err;
	*out_free = *out_total = UINT64_MAX;
	return 0;
}

static void mem_close(struct bak_backend *be)
{
	struct mem_backend *mem = mem_of(be);
	for (size_t i = 0; i < mem->n; i++) {
		free(mem->objects[i].name);
		bak_buf_release(&mem->objects[i].bytes);
	}
	free(mem->objects);
	pthread_mutex_destroy(&mem->lock);
	free(mem);
}

static const struct bak_backend_ops mem_ops = {
	.get = mem_get,
	.size = mem_size,
	.put_begin = mem_put_begin,
	.put_write = mem_put_write,
	.put_commit = mem_put_commit,
	.put_abort = mem_put_abort,
	.list = mem_list,
	.remove = mem_remove,
	.make_folder = mem_make_folder,
	.sync = mem_sync,
	.space = mem_space,
	.close = mem_close,
};

int bak_backend_mem_new(struct bak_backend **out_backend, struct bak_error *err)
{
	struct mem_backend *mem = calloc(1, sizeof *mem);
	if (!mem)
		return bak_error_nomem(err);
	mem->base.ops = &mem_ops;
	pthread_mutex_init(&mem->lock, NULL);
	*out_backend = &mem->base;
	return 0;
}
