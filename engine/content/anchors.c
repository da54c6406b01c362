/* Where an old version has which bytes: see anchors.h. */
#include "engine/content/anchors.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define MIN_BITS 8
#define MOST ((size_t)64 << 20)
#define MIN_SPACING_BITS 6
#define PLACE_BITS 40
#define PLACE_MASK (((uint64_t)1 << PLACE_BITS) - 1)
/* The bits of a gear hash that are looked at lie where the last 46 bytes and more decide them. */
#define HASH_SHIFT 40

/* Whether a table of 1 << bits slots may be twice as large. */
static bool may_grow(const struct bak_anchors *a, unsigned bits)
{
	size_t most = a->most ? a->most : MOST;
	return bits < 40 && sizeof *a->slots << (bits + 1) <= most;
}

int bak_anchors_begin(struct bak_anchors *a, uint64_t size, struct bak_error *err)
{
	unsigned bits = MIN_BITS, spacing = MIN_SPACING_BITS;
	/* Twice as many slots as anchors. */
	while (may_grow(a, bits) && ((uint64_t)1 << bits) < size >> (spacing - 1))
		bits++;
	while (((uint64_t)1 << bits) < size >> (spacing - 1))
		spacing++;
	size_t n = (size_t)1 << bits;
	if (n > a->cap) {
		free(a->slots);
		a->cap = 0;
		a->slots = malloc(n * sizeof *a->slots);
		if (!a->slots)
			return bak_error_nomem(err);
		a->cap = n;
	}
	memset(a->slots, 0, n * sizeof *a->slots);
	a->bits = bits;
	a->spacing = 1u << spacing;
	a->mask = (((uint64_t)1 << spacing) - 1) << HASH_SHIFT;
	return 0;
}

void bak_anchors_release(struct bak_anchors *a)
{
	free(a->slots);
	a->slots = NULL;
	a->cap = 0;
}

/* The slot's index above, its tag in the highest bits of what is stored. */
static uint64_t *slot_of(const struct bak_anchors *a, uint64_t hash, uint64_t *out_tag)
{
	uint64_t mixed = hash * 0x9e3779b97f4a7c15u;
	*out_tag = (mixed & 0xffffff) << PLACE_BITS;
	return &a->slots[mixed >> (64 - a->bits)];
}

void bak_anchors_add(struct bak_anchors *a, uint64_t off, const uint8_t *p, size_t skip, size_t len)
{
	size_t i = skip > BAK_ANCHOR_REACH ? skip - BAK_ANCHOR_REACH : 0;
	uint64_t h = 0, tag;
	for (; i < skip; i++)
		h = (h << 1) + a->gear[p[i]];
	for (; i < len; i++) {
		h = (h << 1) + a->gear[p[i]];
		if ((h & a->mask) != 0 || off + i + 1 > PLACE_MASK)
			continue;
		uint64_t *slot = slot_of(a, h, &tag);
		*slot = tag | (off + i + 1);
	}
}

int bak_anchors_find(const struct bak_anchors *a, uint64_t hash, uint64_t *out_at)
{
	uint64_t tag, slot = *slot_of(a, hash, &tag);
	if (slot == 0 || (slot & ~PLACE_MASK) != tag)
		return 0;
	*out_at = slot & PLACE_MASK;
	return 1;
}
