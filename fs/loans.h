/*
 * Ranges of an upload that are bytes of another file: what COPY_FILE_RANGE from a snapshot leaves
 * behind instead of a copy.
 *
 * Invariant: v is sorted by off, no range is empty, none overlaps another, ends are below 2^63.
 * Ownership: an origin is shared by the pieces of what was borrowed from it, and released with the
 *   last one.
 * Threads: none of its own; the blob's lock guards it.
 */
#ifndef BAK_FS_LOANS_H
#define BAK_FS_LOANS_H

#include "engine/base/error.h"

#include <stdbool.h>

#include <stddef.h>
#include <stdint.h>

struct bak_origin {
	uint64_t id; /* equal for one file */
	unsigned refs;
	/* All of [off, off + len), or -1. Without any lock of ours but the blob's. */
	int (*read)(struct bak_origin *origin, uint64_t off, void *p, size_t len,
		    struct bak_error *err);
	void (*release)(struct bak_origin *origin);
};

struct bak_loan {
	uint64_t off, len, from; /* [off, off + len) is the origin's [from, from + len) */
	struct bak_origin *origin;
};

struct bak_loans {
	struct bak_loan *v;
	size_t n, cap;
	uint64_t total; /* bytes */
};

void bak_loans_release(struct bak_loans *loans);
/* Takes one reference of origin over, also on failure: -1 without memory. */
int bak_loans_add(struct bak_loans *loans, uint64_t off, uint64_t len, uint64_t from,
		  struct bak_origin *origin);
/* From now on [off, off + len) is not borrowed; len UINT64_MAX: to the end. -1 without memory. */
int bak_loans_cut(struct bak_loans *loans, uint64_t off, uint64_t len);
/* The first range that ends behind off, NULL for none. */
const struct bak_loan *bak_loans_find(const struct bak_loans *loans, uint64_t off);

#endif
