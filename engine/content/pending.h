/*
 * What this run has stored but the index does not know yet: chunks or span nodes by their hash,
 * until their pack is durable. Open addressing; grows; not for other threads.
 */
#ifndef BAK_CONTENT_PENDING_H
#define BAK_CONTENT_PENDING_H

#include "engine/base/ids.h"

#include <stddef.h>

struct bak_pending {
	size_t n, cap; /* cap: 0 or a power of two */
	struct bak_pending_row {
		struct bak_hash hash;
		uint32_t seg; /* counter of the run's own segment, + 1; 0: free */
		uint32_t off, len;
	} * rows;
};

/* Replaces nothing: the first place of a hash stays. -1 for lack of memory. */
int bak_pending_add(struct bak_pending *pending, const struct bak_hash *hash, uint32_t seg,
		    uint32_t off, uint32_t len);
/* 1 and the row, or 0. */
int bak_pending_find(const struct bak_pending *pending, const struct bak_hash *hash,
		     uint32_t *out_seg, uint32_t *out_off, uint32_t *out_len);
void bak_pending_remove(struct bak_pending *pending, const struct bak_hash *hash);
void bak_pending_release(struct bak_pending *pending);

#endif
