/* A thread that does one thing at a time: see helper.h. */
#include "engine/base/helper.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>

struct bak_helper {
	pthread_t thread;
	pthread_mutex_t mutex;
	pthread_cond_t changed;
	bak_helper_work *work; /* NULL: nothing to do */
	void *ctx;
	bool ends;
	int rc;
	struct bak_error err;
};

static void *serve(void *arg)
{
	struct bak_helper *h = arg;
	pthread_mutex_lock(&h->mutex);
	for (;;) {
		while (!h->work && !h->ends)
			pthread_cond_wait(&h->changed, &h->mutex);
		if (!h->work)
			break;
		pthread_mutex_unlock(&h->mutex);
		int rc = h->work(h->ctx, &h->err);
		pthread_mutex_lock(&h->mutex);
		h->rc = rc;
		h->work = NULL;
		pthread_cond_broadcast(&h->changed);
	}
	pthread_mutex_unlock(&h->mutex);
	return NULL;
}

int bak_helper_new(struct bak_helper **out_helper, struct bak_error *err)
{
	struct bak_helper *h = calloc(1, sizeof *h);
	sigset_t all, before;
	if (!h)
		return bak_error_nomem(err);
	pthread_mutex_init(&h->mutex, NULL);
	pthread_cond_init(&h->changed, NULL);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int rc = pthread_create(&h->thread, NULL, serve, h);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (rc != 0) {
		pthread_cond_destroy(&h->changed);
		pthread_mutex_destroy(&h->mutex);
		free(h);
		return bak_error_sys(err, rc, "thread");
	}
	*out_helper = h;
	return 0;
}

void bak_helper_free(struct bak_helper *h)
{
	if (!h)
		return;
	pthread_mutex_lock(&h->mutex);
	h->ends = true;
	pthread_cond_broadcast(&h->changed);
	pthread_mutex_unlock(&h->mutex);
	pthread_join(h->thread, NULL);
	pthread_cond_destroy(&h->changed);
	pthread_mutex_destroy(&h->mutex);
	free(h);
}

void bak_helper_start(struct bak_helper *h, bak_helper_work *work, void *ctx)
{
	pthread_mutex_lock(&h->mutex);
	assert(!h->work);
	h->err = (struct bak_error)BAK_ERROR_INIT;
	h->work = work;
	h->ctx = ctx;
	pthread_cond_broadcast(&h->changed);
	pthread_mutex_unlock(&h->mutex);
}

int bak_helper_wait(struct bak_helper *h, struct bak_error *err)
{
	if (!h)
		return 0;
	pthread_mutex_lock(&h->mutex);
	while (h->work)
		pthread_cond_wait(&h->changed, &h->mutex);
	int rc = h->rc;
	if (rc < 0)
		*err = h->err;
	h->rc = 0;
	pthread_mutex_unlock(&h->mutex);
	return rc;
}
