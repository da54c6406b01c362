/* A finer search for what anchors missed: see gap.h. */
#include "engine/content/gap.h"

#include "engine/content/same.h"

/* Bytes that are hashed. */
#define WORD 12
#define STEP 4

static size_t slot_of(const uint8_t *p)
{
	uint64_t a;
	uint32_t b;
	memcpy(&a, p, 8);
	memcpy(&b, p + 8, 4);
	a = (a ^ ((uint64_t)b << 29)) * 0x9e3779b97f4a7c15u;
	return (size_t)(a >> (64 - BAK_GAP_BITS));
}

void bak_gap_begin(struct bak_gap *gap)
{
	gap->from = gap->to = 0;
}

void bak_gap_index(struct bak_gap *gap, uint64_t off, const uint8_t *old, size_t len)
{
	memset(gap->slots, 0, sizeof gap->slots);
	gap->from = off;
	gap->to = off + len;
	for (size_t i = 0; i + WORD <= len; i += STEP)
		gap->slots[slot_of(old + i)] = (uint16_t)(i / STEP + 1);
}

int bak_gap_next(const struct bak_gap *gap, const uint8_t *old, const uint8_t *p, size_t from,
		 size_t to, size_t min, size_t *out_at, uint64_t *out_old, size_t *out_len)
{
	size_t old_len = (size_t)(gap->to - gap->from);
	for (size_t i = from; i + WORD <= to; i++) {
		unsigned place = gap->slots[slot_of(p + i)];
		if (place == 0)
			continue;
		size_t o = (size_t)(place - 1) * STEP;
		size_t behind = bak_same_behind(p + i, old + o,
						to - i < old_len - o ? to - i : old_len - o);
		if (behind < WORD)
			continue;
		size_t before = bak_same_before(p + i, old + o, i - from < o ? i - from : o);
		if (before + behind < min)
			continue;
		*out_at = i - before;
		*out_old = gap->from + o - before;
		*out_len = before + behind;
		return 1;
	}
	return 0;
}
