/*
 * The keyed hashes of what is read, computed again: finds what authentication cannot, mistakes in
 * our own code between a decoded segment and a file's bytes.
 *
 * Spans have a hash over their chunks' hashes (objects/span.h); a file that is one extent has none
 * but its SHA-256. What was found right lately is not computed again: a struct bak_recheck
 * remembers that, by place.
 *
 * Threads: safe.
 */
#ifndef BAK_CONTENT_RECHECK_H
#define BAK_CONTENT_RECHECK_H

#include "engine/content/reader.h"

#include <stdatomic.h>

#define BAK_RECHECK_SLOTS 256u

/* Begins as all zero. */
struct bak_recheck {
	atomic_uint_fast64_t right[BAK_RECHECK_SLOTS];
};

/* The spans of a file that [off, off + len) touches. BAK_CORRUPT when one is not what it was. */
int bak_recheck_range(struct bak_recheck *recheck, struct bak_source *source,
		      const struct bak_keyring *ring, const struct bak_inode *file, uint64_t off,
		      size_t len, struct bak_error *err);

#endif
