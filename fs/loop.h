/*
 * The threads that take requests from the kernel and answer them. Their number is fixed: a thread
 * costs 1 MiB of buffer, and starting one under load costs more than having it.
 */
#ifndef BAK_FS_LOOP_H
#define BAK_FS_LOOP_H

#include "engine/base/error.h"

struct fuse_session;
struct bak_loop;

/* The first request, INIT, is answered by the caller's thread: when this returns, the connection
 * stands. BAK_UNSUPPORTED when kernel and library do not agree. */
int bak_loop_first(struct fuse_session *session, struct bak_error *err);
/* n 0: as many as fit the machine. ended_fd: an eventfd, written when the mount is gone. */
int bak_loop_start(struct fuse_session *session, unsigned n, int ended_fd, struct bak_loop **out,
		   struct bak_error *err);
/* Waits for the requests under way and ends the threads; NULL is fine. */
void bak_loop_stop(struct bak_loop *loop);

#endif
