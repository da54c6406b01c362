/*
 * How a mount is told to end, and that it does: by SIGINT, SIGTERM or SIGHUP, or by who unmounted it.
 * What is under way then has a few seconds. What has not ended by then waits for a disk that does not
 * answer: the mount is taken away from under it, so that whoever waits for the mount gets an error,
 * and the process ends.
 *
 * Threads: one of its own waits for the signals, also while the mount is only being made.
 */
#ifndef BAK_FS_ENDING_H
#define BAK_FS_ENDING_H

#include "fs/fs.h"

struct bak_ending;

/* From now on the signals (and SIGPIPE: a job that ends early must not end the mount) are blocked in
 * this thread and those that it starts. */
int bak_ending_new(struct bak_fs *fs, struct bak_ending **out, struct bak_error *err);
/* An eventfd: readable once the mount is to end. Who finds out that it is gone writes to it. */
int bak_ending_fd(const struct bak_ending *ending);
/* The session is mounted: from now on there is something to take away. */
void bak_ending_mounted(struct bak_ending *ending);
void bak_ending_unmount(struct bak_ending *ending);
/* All is over: the signals are as before. NULL is fine. */
void bak_ending_free(struct bak_ending *ending);

#endif
