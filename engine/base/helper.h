/*
 * A thread that does one thing at a time for its owner, who does something else meanwhile.
 *
 * Threads: one owner. Errors: of the work, handed on by the next wait; signals stay the owner's.
 */
#ifndef BAK_BASE_HELPER_H
#define BAK_BASE_HELPER_H

#include "engine/base/error.h"

struct bak_helper;

typedef int bak_helper_work(void *ctx, struct bak_error *err);

int bak_helper_new(struct bak_helper **out_helper, struct bak_error *err);
/* Waits for what is under way. NULL is fine. */
void bak_helper_free(struct bak_helper *helper);
/* Begins work(ctx) and returns. What was started before has been waited for. */
void bak_helper_start(struct bak_helper *helper, bak_helper_work *work, void *ctx);
/* Until the work is done: its result. 0 when nothing was started since the last wait. NULL is
 * fine. */
int bak_helper_wait(struct bak_helper *helper, struct bak_error *err);

#endif
