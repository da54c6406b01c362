/*
 * Memory for secrets: pages of their own, kept out of swap and of core dumps where the system lets
 * us, wiped before they go. For a few small things: each takes whole pages. Where locking is not
 * allowed (a limit, a container) the memory is used as it is: that is no error.
 */
#ifndef BAK_BASE_LOCKED_H
#define BAK_BASE_LOCKED_H

#include <stddef.h>

/* Zeroed; NULL for lack of memory. */
void *bak_locked_alloc(size_t len);
/* p as it was allocated with len; NULL is fine. */
void bak_locked_free(void *p, size_t len);

#endif
