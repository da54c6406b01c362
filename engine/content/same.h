/* How far two stretches of bytes are the same. */
#ifndef BAK_CONTENT_SAME_H
#define BAK_CONTENT_SAME_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* From a and b on, at most max. */
static inline size_t bak_same_behind(const uint8_t *a, const uint8_t *b, size_t max)
{
	size_t n = 0;
	uint64_t x, y;
	for (; n + 8 <= max; n += 8) {
		memcpy(&x, a + n, 8);
		memcpy(&y, b + n, 8);
		if (x != y)
			break;
	}
	while (n < max && a[n] == b[n])
		n++;
	return n;
}

/* The bytes just before a and b, at most max. */
static inline size_t bak_same_before(const uint8_t *a, const uint8_t *b, size_t max)
{
	size_t n = 0;
	while (n < max && a[-1 - (ptrdiff_t)n] == b[-1 - (ptrdiff_t)n])
		n++;
	return n;
}

#endif
