/* Unions of ranges: see ranges.h. */
#include "engine/base/ranges.h"

#include "engine/base/buf.h"

#include <stdlib.h>
#include <string.h>

/* The first range that ends at off or behind it. */
static size_t first_touching(const struct bak_ranges *r, uint32_t off)
{
	size_t low = 0, high = r->n;
	while (low < high) {
		size_t mid = low + (high - low) / 2;
		if (r->v[mid].end < off)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

int bak_ranges_add(struct bak_ranges *r, uint32_t off, uint32_t len)
{
	uint32_t end = off + len;
	size_t from = first_touching(r, off), to = from;
	if (len == 0)
		return 0;
	for (; to < r->n && r->v[to].off <= end; to++) {
		off = r->v[to].off < off ? r->v[to].off : off;
		end = r->v[to].end > end ? r->v[to].end : end;
	}
	if (to == from && bak_grow(&r->v, &r->cap, r->n, sizeof *r->v) < 0)
		return -1;
	if (to != from + 1 && r->n > to)
		memmove(&r->v[from + 1], &r->v[to], (r->n - to) * sizeof *r->v);
	r->v[from] = (struct bak_off_end){off, end};
	r->n = r->n + 1 + from - to;
	return 0;
}

bool bak_ranges_has(const struct bak_ranges *r, uint32_t off, uint32_t len)
{
	/* The one that ends behind off. */
	size_t at = first_touching(r, off + (len > 0));
	return at < r->n && r->v[at].off <= off && (uint64_t)off + len <= r->v[at].end;
}

uint64_t bak_ranges_total(const struct bak_ranges *r)
{
	uint64_t total = 0;
	for (size_t i = 0; i < r->n; i++)
		total += r->v[i].end - r->v[i].off;
	return total;
}

void bak_ranges_release(struct bak_ranges *r)
{
	free(r->v);
	*r = (struct bak_ranges){.n = 0};
}
