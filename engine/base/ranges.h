/*
 * A union of ranges of 32 bit numbers: what is in one of them, however often. Sorted, none touching
 * another. Grows; not for other threads. Adding costs a move of what lies behind: for thousands of
 * ranges, not for millions.
 */
#ifndef BAK_BASE_RANGES_H
#define BAK_BASE_RANGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bak_ranges {
	size_t n, cap;
	struct bak_off_end {
		uint32_t off, end;
	} * v;
};

/* [off, off + len); the end is at most UINT32_MAX. -1 for lack of memory, all as it was. */
int bak_ranges_add(struct bak_ranges *ranges, uint32_t off, uint32_t len);
/* Whether all of it is in. */
bool bak_ranges_has(const struct bak_ranges *ranges, uint32_t off, uint32_t len);
uint64_t bak_ranges_total(const struct bak_ranges *ranges);
void bak_ranges_release(struct bak_ranges *ranges);

#endif
