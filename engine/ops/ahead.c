/* Reading ahead of somebody who goes through a whole snapshot: see ahead.h. */
#include "engine/ops/ahead.h"

#include "engine/content/reader.h"
#include "engine/ops/walk.h"

#include <pthread.h>
#include <stdlib.h>

struct bak_ahead {
	struct bak_tree tree;
	pthread_t thread;
	pthread_mutex_t lock; /* guards what follows */
	pthread_cond_t changed;
	uint64_t taken; /* by the reader */
	bool stopping;
};

/* Waits until byte `at` of all files is within the window; false: stop. */
static bool wait_turn(struct bak_ahead *a, uint64_t at)
{
	pthread_mutex_lock(&a->lock);
	while (!a->stopping && at > a->taken + BAK_AHEAD_WINDOW)
		pthread_cond_wait(&a->changed, &a->lock);
	bool go = !a->stopping;
	pthread_mutex_unlock(&a->lock);
	return go;
}

struct course {
	struct bak_ahead *ahead;
	uint64_t at; /* bytes of files that come before, holes not counted */
};

static int warm_extent(void *ctx, uint64_t off, const struct bak_extent *extent,
		       struct bak_error *err)
{
	struct course *c = ctx;
	const uint8_t *p;
	struct bak_pin *pin = NULL;
	(void)off;
	if (extent->kind == BAK_EXTENT_HOLE)
		return 0;
	if (!wait_turn(c->ahead, c->at))
		return bak_error_set(err, BAK_CANCELLED, "stopped");
	c->at += extent->len;
	if (extent->kind == BAK_EXTENT_BYTES)
		bak_source_bytes(c->ahead->tree.source, &extent->seg, extent->off,
				 (uint32_t)extent->len, &p, &pin, err);
	bak_pin_put(pin);
	return 0;
}

static int warm_file(void *ctx, const char *path, const struct bak_inode *inode,
		     struct bak_error *err)
{
	struct course *c = ctx;
	(void)path;
	if (bak_each_extent(c->ahead->tree.source, &inode->content, inode->size, warm_extent, c,
			    err) < 0 &&
	    err->code == BAK_CANCELLED)
		return -1;
	return 0;
}

static int pass_over(void *ctx, const char *path, const struct bak_gap *gap, struct bak_error *err)
{
	(void)ctx;
	(void)path;
	(void)gap;
	(void)err;
	return 0;
}

static void *ahead_main(void *arg)
{
	struct bak_ahead *a = arg;
	struct course course = {.ahead = a};
	struct bak_error scratch = BAK_ERROR_INIT;
	struct bak_walk walk = {
		.tree = a->tree, .file = warm_file, .damaged = pass_over, .ctx = &course};
	bak_walk(&walk, &scratch);
	return NULL;
}

struct bak_ahead *bak_ahead_start(const struct bak_tree *tree)
{
	struct bak_ahead *a = calloc(1, sizeof *a);
	if (!a)
		return NULL;
	a->tree = *tree;
	pthread_mutex_init(&a->lock, NULL);
	pthread_cond_init(&a->changed, NULL);
	if (pthread_create(&a->thread, NULL, ahead_main, a) == 0)
		return a;
	pthread_mutex_destroy(&a->lock);
	pthread_cond_destroy(&a->changed);
	free(a);
	return NULL;
}

void bak_ahead_took(struct bak_ahead *a, uint64_t bytes)
{
	if (!a)
		return;
	pthread_mutex_lock(&a->lock);
	a->taken += bytes;
	pthread_cond_signal(&a->changed);
	pthread_mutex_unlock(&a->lock);
}

void bak_ahead_stop(struct bak_ahead *a)
{
	if (!a)
		return;
	pthread_mutex_lock(&a->lock);
	a->stopping = true;
	pthread_cond_signal(&a->changed);
	pthread_mutex_unlock(&a->lock);
	pthread_join(a->thread, NULL);
	pthread_mutex_destroy(&a->lock);
	pthread_cond_destroy(&a->changed);
	free(a);
}
