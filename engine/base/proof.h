/*
 * Formats that prove their own end: whether a file is whole, cut off, or something else, found out
 * while its bytes arrive. A driver that has one names it in its struct; the mount feeds it uploads.
 *
 * Threads: a format has no state of its own; one thread at a time per state.
 */
#ifndef BAK_BASE_PROOF_H
#define BAK_BASE_PROOF_H

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

#define BAK_PROOF_STATE_LEN 256
#define BAK_PROOF_WHY_LEN 200

struct bak_proof_format {
	uint64_t window; /* how much of the file it looks at, from the beginning */
	/* That is too much to be read again: what does not arrive in order proves nothing. */
	bool once;
	/* Bytes in order, once. state is zero before the first one; aligned for uint64_t. */
	void (*feed)(void *state, const uint8_t *p, size_t len);
	/* why is filled for CUT and WRONG: a line without the file's name. */
	enum bak_verdict (*verdict)(const void *state, uint64_t size, char why[BAK_PROOF_WHY_LEN]);
};

#endif
