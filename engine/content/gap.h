/*
 * A finer search for what anchors missed: a gap between two matches, against the old version's
 * bytes around the same place, from every fourth byte. For cells that move within a page, rows that
 * move a little, words put in.
 *
 * Threads: one.
 */
#ifndef BAK_CONTENT_GAP_H
#define BAK_CONTENT_GAP_H

#include <stddef.h>
#include <stdint.h>

#define BAK_GAP_BITS 14
/* Old bytes that are searched at most: one place in four goes to the table, which has as many
 * slots. */
#define BAK_GAP_OLD_MAX ((size_t)4 << BAK_GAP_BITS)

struct bak_gap {
	uint64_t from, to;                  /* the old version's bytes in the table */
	uint16_t slots[1u << BAK_GAP_BITS]; /* number of the place + 1, 0: free */
};

void bak_gap_begin(struct bak_gap *gap); /* another old version */

/* Remembers old[0, len), which stands at off in the old version. */
void bak_gap_index(struct bak_gap *gap, uint64_t off, const uint8_t *old, size_t len);

/* The first match of at least min bytes in p[from, to), against what was indexed: old is that, in
 * memory. 1, where it begins (never before `from`), where in the old version, its length; or 0. */
int bak_gap_next(const struct bak_gap *gap, const uint8_t *old, const uint8_t *p, size_t from,
		 size_t to, size_t min, size_t *out_at, uint64_t *out_old, size_t *out_len);

#endif
