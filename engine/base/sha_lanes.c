/* SHA-256 in one or two lanes: see sha_lanes.h. */
#include "engine/base/sha_lanes.h"

#if defined __x86_64__

#include <immintrin.h>

#define TARGET __attribute__((target("sha,sse4.1,ssse3")))

static const uint32_t round_constants[64] __attribute__((aligned(16))) = {
	0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4,
	0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe,
	0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f,
	0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7,
	0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc,
	0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b,
	0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116,
	0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
	0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7,
	0xc67178f2};

/* The state as the instructions want it: A B E F and C D G H, highest word first. */
struct lane {
	__m128i abef, cdgh;
	__m128i w[4]; /* the schedule's last 16 words */
};

TARGET static inline void load(struct lane *lane, const uint32_t h[8])
{
	__m128i abcd = _mm_loadu_si128((const __m128i *)(const void *)h);
	__m128i efgh = _mm_loadu_si128((const __m128i *)(const void *)(h + 4));
	__m128i badc = _mm_shuffle_epi32(abcd, 0xb1), hgfe = _mm_shuffle_epi32(efgh, 0x1b);
	lane->abef = _mm_alignr_epi8(badc, hgfe, 8);
	lane->cdgh = _mm_blend_epi16(hgfe, badc, 0xf0);
}

TARGET static inline void store(const struct lane *lane, uint32_t h[8])
{
	__m128i feba = _mm_shuffle_epi32(lane->abef, 0x1b);
	__m128i dchg = _mm_shuffle_epi32(lane->cdgh, 0xb1);
	_mm_storeu_si128((__m128i *)(void *)h, _mm_blend_epi16(feba, dchg, 0xf0));
	_mm_storeu_si128((__m128i *)(void *)(h + 4), _mm_alignr_epi8(dchg, feba, 8));
}

/* Words 4 i to 4 i + 3 of the schedule, then four rounds with them. */
TARGET static inline void four_rounds(struct lane *lane, const uint8_t *p, int i)
{
	const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
	__m128i *w = lane->w;
	if (i < 4) {
		__m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)(p + 16 * i));
		w[i] = _mm_shuffle_epi8(bytes, swap);
	} else {
		__m128i seven_ago = _mm_alignr_epi8(w[(i + 3) & 3], w[(i + 2) & 3], 4);
		__m128i sum = _mm_sha256msg1_epu32(w[i & 3], w[(i + 1) & 3]);
		w[i & 3] = _mm_sha256msg2_epu32(_mm_add_epi32(sum, seven_ago), w[(i + 3) & 3]);
	}
	__m128i k = _mm_load_si128((const __m128i *)(const void *)(round_constants + 4 * i));
	__m128i wk = _mm_add_epi32(w[i & 3], k);
	lane->cdgh = _mm_sha256rnds2_epu32(lane->cdgh, lane->abef, wk);
	lane->abef = _mm_sha256rnds2_epu32(lane->abef, lane->cdgh, _mm_shuffle_epi32(wk, 0x0e));
}

TARGET static inline void add_state(struct lane *lane, const struct lane *before)
{
	lane->abef = _mm_add_epi32(lane->abef, before->abef);
	lane->cdgh = _mm_add_epi32(lane->cdgh, before->cdgh);
}

TARGET void bak_sha_lanes_one(uint32_t h[8], const uint8_t *p, size_t blocks)
{
	struct lane lane;
	load(&lane, h);
	for (; blocks > 0; blocks--, p += BAK_SHA_BLOCK) {
		const struct lane before = lane;
#pragma GCC unroll 16
		for (int i = 0; i < 16; i++)
			four_rounds(&lane, p, i);
		add_state(&lane, &before);
	}
	store(&lane, h);
}

TARGET void bak_sha_lanes_two(uint32_t ha[8], const uint8_t *a, uint32_t hb[8], const uint8_t *b,
			      size_t blocks)
{
	struct lane x, y;
	load(&x, ha);
	load(&y, hb);
	for (; blocks > 0; blocks--, a += BAK_SHA_BLOCK, b += BAK_SHA_BLOCK) {
		const struct lane before_x = x, before_y = y;
#pragma GCC unroll 16
		for (int i = 0; i < 16; i++) {
			four_rounds(&x, a, i);
			four_rounds(&y, b, i);
		}
		add_state(&x, &before_x);
		add_state(&y, &before_y);
	}
	store(&x, ha);
	store(&y, hb);
}

bool bak_sha_lanes_here(void)
{
	unsigned a, b, c, d;
	/* Leaf 7: the SHA extensions; GCC 12's __builtin_cpu_supports does not know them. */
	__asm__("cpuid" : "=a"(a), "=b"(b), "=c"(c), "=d"(d) : "a"(7), "c"(0));
	return b >> 29 & 1 && __builtin_cpu_supports("sse4.1") && __builtin_cpu_supports("ssse3");
}

#else

#include <stdlib.h>

bool bak_sha_lanes_here(void)
{
	return false;
}

void bak_sha_lanes_one(uint32_t h[8], const uint8_t *p, size_t blocks)
{
	(void)h, (void)p, (void)blocks;
	abort();
}

void bak_sha_lanes_two(uint32_t ha[8], const uint8_t *a, uint32_t hb[8], const uint8_t *b,
		       size_t blocks)
{
	(void)ha, (void)a, (void)hb, (void)b, (void)blocks;
	abort();
}

#endif
