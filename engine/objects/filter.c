/* The transposing filter: see filter.h. */
#include "engine/objects/filter.h"

#include <math.h>
#include <string.h>

/* n is a constant in the two widths that the writer uses, so that the loops become shuffles. */
static inline void apply(unsigned n, const uint8_t *in, size_t count, uint8_t *out)
{
	for (unsigned plane = 0; plane < n; plane++)
		for (size_t i = 0; i < count; i++)
			out[plane * count + i] = in[i * n + plane];
}

static inline void undo(unsigned n, const uint8_t *in, size_t count, uint8_t *out)
{
	for (size_t i = 0; i < count; i++)
		for (unsigned plane = 0; plane < n; plane++)
			out[i * n + plane] = in[plane * count + i];
}

void bak_filter_apply(unsigned n, const uint8_t *in, size_t len, uint8_t *out)
{
	size_t count = len / n, body = count * n;
	if (n == 4)
		apply(4, in, count, out);
	else if (n == 8)
		apply(8, in, count, out);
	else
		apply(n, in, count, out);
	memcpy(out + body, in + body, len - body);
}

void bak_filter_undo(unsigned n, const uint8_t *in, size_t len, uint8_t *out)
{
	size_t count = len / n, body = count * n;
	if (n == 4)
		undo(4, in, count, out);
	else if (n == 8)
		undo(8, in, count, out);
	else
		undo(n, in, count, out);
	memcpy(out + body, in + body, len - body);
}

/* Bits that order-0 coding needs for a plane of count bytes, with the correction for small samples
 * (Miller and Madow 1955): without it 2,000 random bytes look as if they could shrink. */
static double plane_bits(const uint32_t counts[256], size_t count)
{
	double bits = 0;
	unsigned used = 0;
	for (int i = 0; i < 256; i++) {
		if (!counts[i])
			continue;
		bits += counts[i] * log2((double)count / counts[i]);
		used++;
	}
	bits += (used - 1) / (2 * M_LN2);
	return bits < 8.0 * (double)count ? bits : 8.0 * (double)count;
}

size_t bak_filter_estimate(unsigned n, const uint8_t *sample, size_t len)
{
	size_t count = len / n;
	double bits = 0;
	for (unsigned plane = 0; plane < n && count; plane++) {
		uint32_t counts[256] = {0};
		for (size_t i = 0; i < count; i++)
			counts[sample[i * n + plane]]++;
		bits += plane_bits(counts, count);
	}
	return (size_t)(bits / 8) + len % n;
}
