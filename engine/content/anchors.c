/* Where an old version has which bytes: see anchors.h. */
#include "engine/content/anchors.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define MIN_BITS 8
#define MOST ((size_t)32 << 20)
#define MIN_SPACING_BITS 6
#define PLACE_BITS 40
#define PLACE_MASK (((uint64_t)1 << PLACE_BITS) - 1)
/* Places go to the table in groups, whose slots are fetched into the processor's cache together: one
 * by one they cost more than all else here. */
#define GROUP 32
#define HUGE_PAGE ((size_t)2 << 20)
/* The bits of a gear hash that are looked at lie where the last 46 bytes and more decide them. */
#define HASH_SHIFT 40

/* Whether a table of 1 << bits slots may be twice as large. */
static bool may_grow(const struct bak_anchors *a, unsigned bits)
{
	size_t most = a->most ? a->most : MOST;
	return bits < 40 && sizeof *a->slots << (bits + 1) <= most;
}

static int allocate(struct bak_anchors *a, size_t n)
{
	size_t size = n * sizeof *a->slots;
	free(a->slots);
	a->cap = 0;
	a->slots = size < HUGE_PAGE ? malloc(size) : aligned_alloc(HUGE_PAGE, size);
	if (!a->slots)
		return -1;
	if (size >= HUGE_PAGE)
		(void)madvise(a->slots, size, MADV_HUGEPAGE);
	a->cap = n;
	return 0;
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
	if (n > a->cap && allocate(a, n) < 0)
		return bak_error_nomem(err);
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

struct place {
	uint64_t *slot, value;
};

static size_t write_places(const struct place *places, size_t n)
{
	for (size_t i = 0; i < n; i++)
		*places[i].slot = places[i].value;
	return 0;
}

void bak_anchors_add(struct bak_anchors *a, uint64_t off, const uint8_t *p, size_t skip, size_t len)
{
	const uint64_t *gear = a->gear, mask = a->mask;
	size_t i = skip > BAK_ANCHOR_REACH ? skip - BAK_ANCHOR_REACH : 0, n = 0;
	struct place places[GROUP];
	uint64_t h = 0, tag;
	for (; i < skip; i++)
		h = (h << 1) + gear[p[i]];
	for (; i < len; i++) {
		h = (h << 1) + gear[p[i]];
		if ((h & mask) != 0 || off + i + 1 > PLACE_MASK)
			continue;
		places[n].slot = slot_of(a, h, &tag);
		places[n].value = tag | (off + i + 1);
		__builtin_prefetch(places[n].slot, 1);
		if (++n == GROUP)
			n = write_places(places, n);
	}
	write_places(places, n);
}

int bak_anchors_find(const struct bak_anchors *a, uint64_t hash, uint64_t *out_at)
{
	uint64_t tag, slot = *slot_of(a, hash, &tag);
	if (slot == 0 || (slot & ~PLACE_MASK) != tag)
		return 0;
	*out_at = slot & PLACE_MASK;
	return 1;
}
