/*
 * A backend around one that may not answer: a disk of the network whose server is gone. What reads is
 * done by threads of its own, and whoever waits longer than his patience gets BAK_UNAVAILABLE. The
 * thread stays behind until the answer comes; while one does, others are not waited for long, and the
 * less the more there are: who asks for what is known must not wait for all of them.
 *
 * Writing is passed on as it is: half a put is nobody's.
 */
#include "engine/storage/backend.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* More than this are never behind: then calls fail at once. */
#define THREADS_MAX 32
/* While somebody is behind; shared by those who are, but a disk that answers always has time to. */
#define SHORT_PATIENCE_MS 1000u
#define SHORTEST_PATIENCE_MS 100u

enum what { GET, SIZE, LIST, SPACE };

/* One call. It is freed by the last of the two who have it: the caller and the thread. */
struct call {
	struct call *next;
	enum what what;
	char *name;
	uint64_t off;
	size_t len;
	pthread_cond_t answered;
	bool done, abandoned;
	int rc;
	struct bak_error err;
	struct bak_buf bytes;  /* GET; LIST: sizes and names one behind another */
	uint64_t number, more; /* SIZE; SPACE: free and total */
};

struct patient {
	struct bak_backend base;
	struct bak_backend *inner;
	unsigned patience_ms;
	pthread_mutex_t lock; /* guards all below, and what calls say of themselves */
	pthread_condattr_t clock;
	pthread_cond_t asked, ended;
	struct call *first, **last;
	unsigned n_threads, n_idle, n_behind; /* behind: at work for somebody who left */
	bool closing, left;                   /* left: the last thread frees it */
};

static struct patient *patient_of(struct bak_backend *be)
{
	return (struct patient *)be;
}

static void call_free(struct call *call)
{
	pthread_cond_destroy(&call->answered);
	bak_buf_release(&call->bytes);
	free(call->name);
	free(call);
}

/* --- the threads --- */

static int note_listed(void *ctx, const char *name, uint64_t size)
{
	struct bak_buf *list = ctx;
	if (bak_buf_append(list, &size, sizeof size) < 0 ||
	    bak_buf_append(list, name, strlen(name) + 1) < 0)
		return -2;
	return 0;
}

static void do_call(struct bak_backend *inner, struct call *call)
{
	switch (call->what) {
	case GET:
		call->rc = inner->ops->get(inner, call->name, call->off, call->len, &call->bytes,
					   &call->err);
		break;
	case SIZE:
		call->rc = inner->ops->size(inner, call->name, &call->number, &call->err);
		break;
	case LIST:
		call->rc = inner->ops->list(inner, call->name, note_listed, &call->bytes,
					    &call->err);
		if (call->rc == -2)
			call->rc = bak_error_nomem(&call->err);
		break;
	case SPACE:
		call->rc = inner->ops->space(inner, &call->number, &call->more, &call->err);
		break;
	}
}

static void patient_free(struct patient *p)
{
	bak_backend_close(p->inner);
	pthread_mutex_destroy(&p->lock);
	pthread_cond_destroy(&p->asked);
	pthread_cond_destroy(&p->ended);
	pthread_condattr_destroy(&p->clock);
	free(p);
}

static void *serve(void *arg)
{
	struct patient *p = arg;
	pthread_mutex_lock(&p->lock);
	for (;;) {
		while (!p->first && !p->closing) {
			p->n_idle++;
			pthread_cond_wait(&p->asked, &p->lock);
			p->n_idle--;
		}
		struct call *call = p->first;
		if (!call)
			break;
		p->first = call->next;
		if (!p->first)
			p->last = &p->first;
		pthread_mutex_unlock(&p->lock);
		do_call(p->inner, call);
		pthread_mutex_lock(&p->lock);
		call->done = true;
		if (call->abandoned) {
			p->n_behind--;
			call_free(call);
		} else {
			pthread_cond_signal(&call->answered);
		}
	}
	bool last = --p->n_threads == 0 && p->left;
	pthread_cond_broadcast(&p->ended);
	pthread_mutex_unlock(&p->lock);
	if (last)
		patient_free(p);
	return NULL;
}

/* Enough threads for what is asked. The lock is held. */
static int have_thread(struct patient *p, struct bak_error *err)
{
	pthread_attr_t attr;
	pthread_t thread;
	if (p->n_idle && !p->first)
		return 0;
	if (p->n_threads >= THREADS_MAX)
		return 0;
	sigset_t all, was;
	sigfillset(&all);
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_sigmask(SIG_BLOCK, &all, &was); /* signals are the program's own threads' */
	int e = pthread_create(&thread, &attr, serve, p);
	pthread_sigmask(SIG_SETMASK, &was, NULL);
	pthread_attr_destroy(&attr);
	if (e && !p->n_threads)
		return bak_error_sys(err, e, "ask the repository");
	p->n_threads += !e;
	return 0;
}

/* --- calls --- */

static struct call *call_new(struct patient *p, enum what what, const char *name,
			     struct bak_error *err)
{
	struct call *call = calloc(1, sizeof *call);
	if (call && (call->name = strdup(name))) {
		call->what = what;
		pthread_cond_init(&call->answered, &p->clock);
		return call;
	}
	free(call);
	bak_error_nomem(err);
	return NULL;
}

static struct timespec after_ms(unsigned ms)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_sec += ms / 1000;
	t.tv_nsec += (long)(ms % 1000) * 1000000;
	if (t.tv_nsec >= 1000000000) {
		t.tv_sec++;
		t.tv_nsec -= 1000000000;
	}
	return t;
}

/* A call that nobody has begun is taken back; one that is under way is left behind. */
static int give_up(struct patient *p, struct call *call, unsigned ms, struct bak_error *err)
{
	struct call **at = &p->first;
	while (*at && *at != call)
		at = &(*at)->next;
	if (*at) {
		*at = call->next;
		if (!*at)
			p->last = at;
		call_free(call);
	} else {
		call->abandoned = true;
		p->n_behind++;
	}
	if (ms < 1000)
		return bak_error_set(err, BAK_UNAVAILABLE, "the repository does not answer");
	return bak_error_set(err, BAK_UNAVAILABLE, "the repository did not answer for %u s",
			     ms / 1000);
}

/* The lock is held. */
static unsigned patience_now(const struct patient *p)
{
	if (!p->n_behind)
		return p->patience_ms;
	unsigned ms = SHORT_PATIENCE_MS / p->n_behind;
	if (ms < SHORTEST_PATIENCE_MS)
		ms = SHORTEST_PATIENCE_MS;
	return ms < p->patience_ms ? ms : p->patience_ms;
}

/* -1: there is no call any more. 0: it is done, and the caller's. */
static int ask(struct patient *p, struct call *call, struct bak_error *err)
{
	pthread_mutex_lock(&p->lock);
	unsigned ms = patience_now(p);
	struct timespec until = after_ms(ms);
	int rc = p->n_behind >= THREADS_MAX
			 ? bak_error_set(err, BAK_UNAVAILABLE, "the repository does not answer")
			 : have_thread(p, err);
	if (rc < 0) {
		call_free(call);
	} else {
		*p->last = call;
		p->last = &call->next;
		pthread_cond_signal(&p->asked);
		int e = 0;
		while (!call->done && !e)
			e = pthread_cond_timedwait(&call->answered, &p->lock, &until);
		if (!call->done)
			rc = give_up(p, call, ms, err);
	}
	pthread_mutex_unlock(&p->lock);
	return rc;
}

/* The call's answer, and its end. */
static int answer(struct call *call, struct bak_error *err)
{
	int rc = call->rc;
	if (rc < 0)
		*err = call->err;
	call_free(call);
	return rc;
}

static int patient_get(struct bak_backend *be, const char *name, uint64_t off, size_t len,
		       struct bak_buf *out, struct bak_error *err)
{
	struct call *call = call_new(patient_of(be), GET, name, err);
	if (!call)
		return -1;
	call->off = off;
	call->len = len;
	if (ask(patient_of(be), call, err) < 0)
		return -1;
	if (call->rc > 0 && !out->p) {
		*out = call->bytes;
		call->bytes = (struct bak_buf)BAK_BUF_INIT;
	} else if (call->rc > 0 && bak_buf_append(out, call->bytes.p, call->bytes.len) < 0) {
		call->rc = bak_error_nomem(&call->err);
	}
	return answer(call, err);
}

static int patient_size(struct bak_backend *be, const char *name, uint64_t *out_size,
			struct bak_error *err)
{
	struct call *call = call_new(patient_of(be), SIZE, name, err);
	if (!call || ask(patient_of(be), call, err) < 0)
		return -1;
	if (call->rc > 0)
		*out_size = call->number;
	return answer(call, err);
}

static int patient_list(struct bak_backend *be, const char *prefix, bak_list_fn *fn, void *ctx,
			struct bak_error *err)
{
	struct call *call = call_new(patient_of(be), LIST, prefix, err);
	if (!call || ask(patient_of(be), call, err) < 0)
		return -1;
	/* On the caller's thread, for what is his. */
	for (size_t at = 0; call->rc == 0 && at < call->bytes.len;) {
		uint64_t size;
		memcpy(&size, call->bytes.p + at, sizeof size);
		const char *name = (const char *)call->bytes.p + at + sizeof size;
		int rc = fn(ctx, name, size);
		if (rc) {
			call_free(call);
			return rc;
		}
		at += sizeof size + strlen(name) + 1;
	}
	return answer(call, err);
}

static int patient_space(struct bak_backend *be, uint64_t *out_free, uint64_t *out_total,
			 struct bak_error *err)
{
	struct call *call = call_new(patient_of(be), SPACE, "", err);
	if (!call || ask(patient_of(be), call, err) < 0)
		return -1;
	if (call->rc >= 0) {
		*out_free = call->number;
		*out_total = call->more;
	}
	return answer(call, err);
}

/* --- what is passed on; a put is the inner backend's, with its table --- */

static int patient_put_begin(struct bak_backend *be, const char *tmp, struct bak_put **out_put,
			     struct bak_error *err)
{
	struct bak_backend *inner = patient_of(be)->inner;
	return inner->ops->put_begin(inner, tmp, out_put, err);
}

static int patient_put_write(struct bak_put *put, const void *p, size_t len, struct bak_error *err)
{
	return put->backend->ops->put_write(put, p, len, err);
}

static int patient_put_commit(struct bak_put *put, const char *name, struct bak_error *err)
{
	return put->backend->ops->put_commit(put, name, err);
}

static void patient_put_abort(struct bak_put *put)
{
	if (put)
		put->backend->ops->put_abort(put);
}

static int patient_remove(struct bak_backend *be, const char *name, struct bak_error *err)
{
	struct bak_backend *inner = patient_of(be)->inner;
	return inner->ops->remove(inner, name, err);
}

static int patient_make_folder(struct bak_backend *be, const char *name, struct bak_error *err)
{
	struct bak_backend *inner = patient_of(be)->inner;
	return inner->ops->make_folder(inner, name, err);
}

static int patient_sync(struct bak_backend *be, const char *folder, struct bak_error *err)
{
	struct bak_backend *inner = patient_of(be)->inner;
	return inner->ops->sync(inner, folder, err);
}

/* --- life --- */

/* Who is behind may come back long after us, and needs what there is: the last one frees it. */
static void patient_close(struct bak_backend *be)
{
	struct patient *p = patient_of(be);
	pthread_mutex_lock(&p->lock);
	p->closing = true;
	pthread_cond_broadcast(&p->asked);
	while (p->n_threads > p->n_behind)
		pthread_cond_wait(&p->ended, &p->lock);
	bool left = p->left = p->n_threads > 0;
	pthread_mutex_unlock(&p->lock);
	if (!left)
		patient_free(p);
}

static const struct bak_backend_ops patient_ops = {
	.get = patient_get,
	.size = patient_size,
	.put_begin = patient_put_begin,
	.put_write = patient_put_write,
	.put_commit = patient_put_commit,
	.put_abort = patient_put_abort,
	.list = patient_list,
	.remove = patient_remove,
	.make_folder = patient_make_folder,
	.sync = patient_sync,
	.space = patient_space,
	.close = patient_close,
};

int bak_backend_patient_new(struct bak_backend *inner, unsigned patience_ms,
			    struct bak_backend **out_backend, struct bak_error *err)
{
	struct patient *p = calloc(1, sizeof *p);
	if (!p)
		return bak_error_nomem(err);
	p->base.ops = &patient_ops;
	p->inner = inner;
	p->patience_ms = patience_ms;
	p->last = &p->first;
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->asked, NULL);
	pthread_cond_init(&p->ended, NULL);
	pthread_condattr_init(&p->clock);
	pthread_condattr_setclock(&p->clock, CLOCK_MONOTONIC);
	*out_backend = &p->base;
	return 0;
}
