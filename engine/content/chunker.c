/* Where chunks end: see chunker.h. */
#include "engine/content/chunker.h"

#include "engine/base/bytes.h"
#include "engine/base/hash.h"

/* NC2 of FastCDC: two bits more before the average, two fewer behind it. */
#define NORMALISE 2

static uint64_t high_mask(unsigned bits)
{
	return ~(uint64_t)0 << (64 - bits);
}

int bak_chunker_init(struct bak_chunker *c, const uint8_t gear_key[32], uint32_t min, uint32_t avg,
		     uint32_t max, struct bak_error *err)
{
	if (avg < 1024 || avg > 16u << 20 || (avg & (avg - 1)) || min < 64 || min >= avg ||
	    max <= avg || max > 64u << 20)
		return bak_error_set(err, BAK_CORRUPT, "impossible chunk sizes %u/%u/%u", min, avg,
				     max);
	unsigned bits = (unsigned)__builtin_ctz(avg);
	c->min = min;
	c->avg = avg;
	c->max = max;
	c->strict = high_mask(bits + NORMALISE);
	c->loose = high_mask(bits - NORMALISE);
	for (unsigned i = 0; i < 256; i++) {
		uint8_t byte = (uint8_t)i, mac[BAK_SHA256_LEN];
		if (bak_hmac_once(gear_key, &byte, 1, mac, err) < 0)
			return -1;
		c->gear[i] = bak_load_u64(mac);
	}
	return 0;
}

size_t bak_chunker_cut(const struct bak_chunker *c, const uint8_t *p, size_t len)
{
	if (len <= c->min)
		return len;
	size_t end = len < c->max ? len : c->max;
	size_t normal = end < c->avg ? end : c->avg;
	/* The hash forgets after 64 bytes, so it may start that far before the earliest cut. */
	size_t i = c->min - 64;
	uint64_t h = 0;
	for (; i < c->min; i++)
		h = (h << 1) + c->gear[p[i]];
	for (; i < normal; i++) {
		h = (h << 1) + c->gear[p[i]];
		if (!(h & c->strict))
			return i + 1;
	}
	for (; i < end; i++) {
		h = (h << 1) + c->gear[p[i]];
		if (!(h & c->loose))
			return i + 1;
	}
	return end;
}
