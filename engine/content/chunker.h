/*
 * Where chunks end: a gear hash over the bytes, normalised (FastCDC, Xia et al. 2016: a stricter
 * mask before the average length, a looser one behind it), boundaries judged by the hash's high
 * bits.
 *
 * The table is keyed: gear[i] = first 8 bytes, little endian, of HMAC-SHA256(gear key, u8 i). It is
 * defence in depth only: segments hide chunk sizes anyway.
 * Threads: const after init.
 */
#ifndef BAK_CONTENT_CHUNKER_H
#define BAK_CONTENT_CHUNKER_H

#include "engine/base/error.h"

#include <stddef.h>
#include <stdint.h>

struct bak_chunker {
	uint64_t gear[256];
	uint32_t min, avg, max;
	uint64_t strict, loose;
};

/* min < avg < max, avg a power of two from 1 KiB to 16 MiB, else BAK_CORRUPT (they come from
 * bakfs.json). */
int bak_chunker_init(struct bak_chunker *c, const uint8_t gear_key[32], uint32_t min, uint32_t avg,
		     uint32_t max, struct bak_error *err);
/* Length of the first chunk of p: at most max, at most len. The answer is final when len >= max or
 * p[0, len) is all that is left. */
size_t bak_chunker_cut(const struct bak_chunker *c, const uint8_t *p, size_t len);

#endif
