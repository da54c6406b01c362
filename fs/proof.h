/*
 * Formats that prove their own end: whether a file that is being written is whole, cut off, or
 * something else, found out while its bytes arrive. One format per driver, in a table.
 *
 * A format sees bytes [0, window) in order, once. Programs that write out of order, or write over
 * what they wrote, are read again from the file when the verdict is asked for.
 * Threads: none of its own; one at a time per struct.
 */
#ifndef BAK_FS_PROOF_H
#define BAK_FS_PROOF_H

#include "engine/base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum bak_verdict {
	BAK_VERDICT_EMPTY,      /* nothing is there yet */
	BAK_VERDICT_WHOLE,      /* all of it is there: it says so itself */
	BAK_VERDICT_CUT,        /* the end is missing */
	BAK_VERDICT_WRONG,      /* it is not what this store takes */
	BAK_VERDICT_UNPROVABLE, /* nothing in it tells */
};

#define BAK_PROOF_STATE_LEN 128
#define BAK_PROOF_WHY_LEN 200

struct bak_proof_format {
	const char *driver;
	uint64_t window; /* how much of the file it looks at, from the beginning */
	/* state is zero before the first byte. */
	void (*feed)(void *state, const uint8_t *p, size_t len);
	/* why is filled for CUT and WRONG: a line without the file's name. */
	enum bak_verdict (*verdict)(const void *state, uint64_t size, char why[BAK_PROOF_WHY_LEN]);
};

/* NULL: no upload to this driver can prove anything. */
const struct bak_proof_format *bak_proof_format_of(const char *driver);

struct bak_proof {
	const struct bak_proof_format *format; /* may be NULL */
	uint64_t fed;
	bool stale; /* what was fed is not what the file holds */
	uint64_t state[BAK_PROOF_STATE_LEN / 8];
};

void bak_proof_init(struct bak_proof *proof, const char *driver);
void bak_proof_write(struct bak_proof *proof, uint64_t off, const void *p, size_t len);
void bak_proof_truncate(struct bak_proof *proof, uint64_t size);
/* Reads [off, off + len) of the file: all of it, or -1. */
typedef int bak_proof_read_fn(void *ctx, uint64_t off, void *p, size_t len);
/* -1 when the file could not be read again. */
int bak_proof_verdict(struct bak_proof *proof, uint64_t size, bak_proof_read_fn *read, void *ctx,
		      enum bak_verdict *out, char why[BAK_PROOF_WHY_LEN]);

#endif
