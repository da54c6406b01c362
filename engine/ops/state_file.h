/*
 * Small files in the state folder, each replaced as a whole: <name>, written as <name>.new, under a
 * lock of its own (<name>.lock), so that processes do not write over each other.
 *
 * A state that cannot be read or written is no reason for anything to fail.
 */
#ifndef BAK_OPS_STATE_FILE_H
#define BAK_OPS_STATE_FILE_H

#include "engine/base/buf.h"

struct bak_repo;

/* Held until the descriptor is closed; -1 when there is no state folder to write to. Waits for who
 * has it. */
int bak_state_lock(const struct bak_repo *repo, const char *name);
/* Appends the text with a NUL behind it, which is not counted. 1, 0 none, -1. */
int bak_state_read(const struct bak_repo *repo, const char *name, struct bak_buf *out);
/* Durable on return; an empty text removes the file. With the lock held. */
void bak_state_write(const struct bak_repo *repo, const char *name, const struct bak_buf *text);

#endif
