/*
 * Packs as they were written: a view of a backend in which the blocks of a pack that rotted are made
 * anew from its parity (objects/parity.h). Where there is no parity, or too little of it is left,
 * the bytes come as they lie; so nothing from here is believed before it opened.
 *
 * Slow, block by block, and for reads that failed: the way of a sound byte is the backend itself.
 *
 * Memory: one head and one column, however many readers: they take turns.
 * Threads: safe.
 */
#ifndef BAK_CONTENT_HEAL_H
#define BAK_CONTENT_HEAL_H

#include "engine/objects/parity.h"

struct bak_heal;

/* Borrows both. */
int bak_heal_new(struct bak_backend *backend, const struct bak_keyring *ring,
		 struct bak_heal **out_heal, struct bak_error *err);
void bak_heal_free(struct bak_heal *heal); /* NULL is fine */

/* The view, for reading: get and size are all it can do (size: as the pack was, if it was cut).
 * Lives as long as heal, and is not closed. */
struct bak_backend *bak_heal_backend(struct bak_heal *heal);

/* Whether a pack has parity that can be read: else the view shows nothing new. */
bool bak_heal_has(struct bak_heal *heal, const uint8_t pack[16]);
/* Blocks made anew so far. */
uint64_t bak_heal_blocks(struct bak_heal *heal);

#endif
