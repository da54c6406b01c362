/* Borrowed ranges in an ordered array: see loans.h. */
#include "fs/loans.h"

#include <stdlib.h>
#include <string.h>

static void origin_drop(struct bak_origin *origin)
{
	if (--origin->refs == 0)
		origin->release(origin);
}

void bak_loans_release(struct bak_loans *loans)
{
	for (size_t i = 0; i < loans->n; i++)
		origin_drop(loans->v[i].origin);
	free(loans->v);
	*loans = (struct bak_loans){.v = NULL};
}

/* The first place whose range ends behind off. */
static size_t place_of(const struct bak_loans *loans, uint64_t off)
{
	size_t low = 0, high = loans->n;
	while (low < high) {
		size_t mid = low + (high - low) / 2;
		if (loans->v[mid].off + loans->v[mid].len <= off)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

const struct bak_loan *bak_loans_find(const struct bak_loans *loans, uint64_t off)
{
	size_t at = place_of(loans, off);
	return at < loans->n ? &loans->v[at] : NULL;
}

static int reserve(struct bak_loans *loans)
{
	if (loans->n < loans->cap)
		return 0;
	size_t cap = loans->cap ? loans->cap * 2 : 4;
	struct bak_loan *v = realloc(loans->v, cap * sizeof *v);
	if (!v)
		return -1;
	loans->v = v;
	loans->cap = cap;
	return 0;
}

static void insert(struct bak_loans *loans, size_t at, struct bak_loan loan)
{
	memmove(loans->v + at + 1, loans->v + at, (loans->n - at) * sizeof *loans->v);
	loans->v[at] = loan;
	loans->n++;
	loans->total += loan.len;
}

static void take_away(struct bak_loans *loans, size_t at, size_t n)
{
	for (size_t i = at; i < at + n; i++) {
		loans->total -= loans->v[i].len;
		origin_drop(loans->v[i].origin);
	}
	memmove(loans->v + at, loans->v + at + n, (loans->n - at - n) * sizeof *loans->v);
	loans->n -= n;
}

int bak_loans_cut(struct bak_loans *loans, uint64_t off, uint64_t len)
{
	uint64_t end = len > UINT64_MAX - off ? UINT64_MAX : off + len;
	size_t at = place_of(loans, off);
	if (at == loans->n || loans->v[at].off >= end)
		return 0;
	struct bak_loan *loan = &loans->v[at];
	if (loan->off < off && loan->off + loan->len > end) {
		/* Out of its middle: two are left. */
		if (reserve(loans) < 0)
			return -1;
		loan = &loans->v[at];
		struct bak_loan rest = {end, loan->off + loan->len - end,
					loan->from + (end - loan->off), loan->origin};
		rest.origin->refs++;
		loans->total -= loan->off + loan->len - off;
		loan->len = off - loan->off;
		insert(loans, at + 1, rest);
		return 0;
	}
	if (loan->off < off) {
		loans->total -= loan->off + loan->len - off;
		loan->len = off - loan->off;
		at++;
	}
	size_t n = 0;
	while (at + n < loans->n && loans->v[at + n].off + loans->v[at + n].len <= end)
		n++;
	take_away(loans, at, n);
	if (at < loans->n && loans->v[at].off < end) {
		uint64_t cut = end - loans->v[at].off;
		loans->v[at].off += cut;
		loans->v[at].from += cut;
		loans->v[at].len -= cut;
		loans->total -= cut;
	}
	return 0;
}

/* A copy comes in pieces: each goes on where the one before it ended. */
static bool goes_on(const struct bak_loan *loan, uint64_t off, uint64_t from,
		    const struct bak_origin *origin)
{
	return loan->origin->id == origin->id && loan->off + loan->len == off &&
	       loan->from + loan->len == from;
}

int bak_loans_add(struct bak_loans *loans, uint64_t off, uint64_t len, uint64_t from,
		  struct bak_origin *origin)
{
	if (len && (bak_loans_cut(loans, off, len) < 0 || reserve(loans) < 0)) {
		origin_drop(origin);
		return -1;
	}
	size_t at = place_of(loans, off);
	if (len && at && goes_on(&loans->v[at - 1], off, from, origin)) {
		loans->v[at - 1].len += len;
		loans->total += len;
	} else if (len) {
		insert(loans, at, (struct bak_loan){off, len, from, origin});
		return 0;
	}
	origin_drop(origin);
	return 0;
}
