/* The request threads: see loop.h. */
#include "fs/loop.h"

#ifndef FUSE_USE_VERSION
#define FUSE_USE_VERSION 312
#endif
#include <errno.h>
#include <fuse_lowlevel.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

#define THREADS_MAX 16u
/* Who got an answer mostly asks again at once. A thread that looks so often for the next request
 * before it sleeps need not be woken for it, which takes longer than most answers, on a virtual
 * machine above all. */
#define LOOKS 20

struct worker {
	struct bak_loop *loop;
	pthread_t thread;
	struct fuse_buf buf;
};

struct bak_loop {
	struct fuse_session *session;
	int ended_fd;
	unsigned n;
	struct worker workers[THREADS_MAX];
};

static void tell_ended(struct bak_loop *loop)
{
	uint64_t one = 1;
	if (write(loop->ended_fd, &one, sizeof one) < 0)
		return; /* the counter is full: it was told */
}

static void look_for_next(struct fuse_session *session)
{
	struct pollfd fd = {.fd = fuse_session_fd(session), .events = POLLIN};
	for (unsigned i = 0; i < LOOKS && poll(&fd, 1, 0) == 0; i++)
		sched_yield();
}

/* AddressSanitizer does not see that a cancelled thread leaves its frames: it must not mark this
 * one.
 */
__attribute__((no_sanitize_address)) static void *worker_main(void *arg)
{
	struct worker *w = arg;
	struct fuse_session *session = w->loop->session;
	int was;
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &was);
	for (;;) {
		/* The one place where a thread may be told to end: it holds nothing here. */
		pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &was);
		int n = fuse_session_receive_buf(session, &w->buf);
		pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &was);
		if (n == -EINTR || n == -EAGAIN)
			continue;
		if (n <= 0)
			break;
		fuse_session_process_buf(session, &w->buf);
		look_for_next(session);
	}
	tell_ended(w->loop);
	return NULL;
}

static unsigned threads_for_machine(void)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	unsigned n = cores < 2 ? 4 : 2 * (unsigned)cores;
	return n > THREADS_MAX ? THREADS_MAX : n;
}

int bak_loop_first(struct fuse_session *session, struct bak_error *err)
{
	struct fuse_buf buf = {.mem = NULL};
	int n;
	do {
		n = fuse_session_receive_buf(session, &buf);
	} while (n == -EINTR);
	if (n > 0)
		fuse_session_process_buf(session, &buf);
	free(buf.mem);
	if (n <= 0 || fuse_session_exited(session))
		return bak_error_set(err, BAK_UNSUPPORTED,
				     "the kernel's FUSE did not accept this mount");
	return 0;
}

int bak_loop_start(struct fuse_session *session, unsigned n, int ended_fd, struct bak_loop **out,
		   struct bak_error *err)
{
	struct bak_loop *loop = calloc(1, sizeof *loop);
	if (!loop)
		return bak_error_nomem(err);
	loop->session = session;
	loop->ended_fd = ended_fd;
	if (!n)
		n = threads_for_machine();
	for (; loop->n < n && loop->n < THREADS_MAX; loop->n++) {
		struct worker *w = &loop->workers[loop->n];
		w->loop = loop;
		int no = pthread_create(&w->thread, NULL, worker_main, w);
		if (!no)
			continue;
		bak_loop_stop(loop);
		return bak_error_sys(err, no, "start a request thread");
	}
	*out = loop;
	return 0;
}

void bak_loop_stop(struct bak_loop *loop)
{
	if (!loop)
		return;
	fuse_session_exit(loop->session);
	for (unsigned i = 0; i < loop->n; i++)
		pthread_cancel(loop->workers[i].thread);
	for (unsigned i = 0; i < loop->n; i++) {
		pthread_join(loop->workers[i].thread, NULL);
		free(loop->workers[i].buf.mem);
	}
	free(loop);
}
