/*
 * An upload under way, held against the format of its store's driver (engine/base/proof.h).
 *
 * A format sees bytes [0, window) in order, once. Programs that write out of order, or write over
 * what they wrote, are read again from the file when the verdict is asked for; where a format
 * says that this takes too long, they prove nothing, and start by a touch.
 * Threads: none of its own; one at a time per struct.
 */
#ifndef BAK_FS_PROOF_H
#define BAK_FS_PROOF_H

#include "engine/base/proof.h"

#include <stdbool.h>

struct bak_proof {
	const struct bak_proof_format *format; /* may be NULL */
	uint64_t fed;
	bool stale;       /* what was fed is not what the file holds */
	uint64_t changes; /* of the file, counted */
	uint64_t state[BAK_PROOF_STATE_LEN / 8];
};

/* format NULL: nothing can be proven. */
void bak_proof_init(struct bak_proof *proof, const struct bak_proof_format *format);
void bak_proof_write(struct bak_proof *proof, uint64_t off, const void *p, size_t len);
/* How many bytes it would look at if they were written at off. */
uint64_t bak_proof_wants(const struct bak_proof *proof, uint64_t off);
void bak_proof_truncate(struct bak_proof *proof, uint64_t size);
/* Reads [off, off + len) of the file: all of it, or -1. */
typedef int bak_proof_read_fn(void *ctx, uint64_t off, void *p, size_t len);
/* Whether the verdict will read the file again, as much of it as the format looks at. */
bool bak_proof_is_behind(const struct bak_proof *proof, uint64_t size);
/* -1 when the file could not be read again. */
int bak_proof_verdict(struct bak_proof *proof, uint64_t size, bak_proof_read_fn *read, void *ctx,
		      enum bak_verdict *out, char why[BAK_PROOF_WHY_LEN]);

#endif
