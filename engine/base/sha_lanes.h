/*
 * The rounds of SHA-256 (FIPS 180-4) by the SHA extensions of x86, for one stream or for two in
 * step. One stream waits for each instruction's answer; a second one fills that time, so two take
 * hardly longer than one. Nothing but whole blocks: padding and lengths are hash.c's.
 *
 * Threads: pure functions.
 */
#ifndef BAK_BASE_SHA_LANES_H
#define BAK_BASE_SHA_LANES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BAK_SHA_BLOCK 64

/* Whether this processor has them; without, none of the others may be called. */
bool bak_sha_lanes_here(void);
/* h: the eight words of the state, in the standard's order. */
void bak_sha_lanes_one(uint32_t h[8], const uint8_t *p, size_t blocks);
void bak_sha_lanes_two(uint32_t ha[8], const uint8_t *a, uint32_t hb[8], const uint8_t *b,
		       size_t blocks);

#endif
