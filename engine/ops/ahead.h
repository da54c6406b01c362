/*
 * Reading ahead of somebody who goes through a whole snapshot in order (restore, verify): a thread
 * that decodes what comes next into the reading side's cache, never more than a window beyond what
 * was taken. It only warms the cache: what it cannot read, the reader finds out by itself.
 *
 * Threads: started, told and stopped by one thread.
 */
#ifndef BAK_OPS_AHEAD_H
#define BAK_OPS_AHEAD_H

#include "engine/content/folder.h"

/* Bytes of files beyond the reader: far enough for both cores, small beside any cache. */
#define BAK_AHEAD_WINDOW (24u << 20)

struct bak_ahead;

/* NULL when no thread is to be had: then everything works as without. Borrows tree's parts. */
struct bak_ahead *bak_ahead_start(const struct bak_tree *tree);
/* The reader has taken so many more bytes of files; NULL is fine. */
void bak_ahead_took(struct bak_ahead *ahead, uint64_t bytes);
void bak_ahead_stop(struct bak_ahead *ahead); /* NULL is fine */

#endif
