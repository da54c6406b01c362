/* Sets of snapshot numbers as ranges: see numbers.h. */
#include "engine/ops/numbers.h"

#include <stdlib.h>

/* Of more ranges only the first are printed: a line stays a line. */
#define PRINTED 10

static int range_cmp(const void *a, const void *b)
{
	const struct bak_numbers *x = a, *y = b;
	return x->first < y->first ? -1 : x->first > y->first;
}

size_t bak_numbers_join(struct bak_numbers *v, size_t n)
{
	size_t kept = 0;
	if (n)
		qsort(v, n, sizeof *v, range_cmp);
	for (size_t i = 0; i < n; i++) {
		if (kept &&
		    (v[i].first <= v[kept - 1].last || v[i].first - v[kept - 1].last == 1)) {
			if (v[i].last > v[kept - 1].last)
				v[kept - 1].last = v[i].last;
		} else {
			v[kept++] = v[i];
		}
	}
	return kept;
}

bool bak_numbers_have(const struct bak_numbers *v, size_t n, uint64_t number)
{
	size_t lo = 0, hi = n;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (v[mid].last < number)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < n && v[lo].first <= number;
}

int bak_numbers_print(const struct bak_numbers *v, size_t n, struct bak_buf *out)
{
	uint64_t more = 0;
	for (size_t i = 0; i < n; i++) {
		if (i >= PRINTED)
			more += v[i].last - v[i].first + 1;
		else if (bak_buf_printf(out, v[i].first == v[i].last ? "%s%llu" : "%s%llu-%llu",
					i ? ", " : "", (unsigned long long)v[i].first,
					(unsigned long long)v[i].last) < 0)
			return -1;
	}
	return more ? bak_buf_printf(out, " and %llu more", (unsigned long long)more) : 0;
}
