/* A set of places: see place_set.h. */
#include "engine/base/place_set.h"

#include <stdlib.h>

static size_t slot_of(const struct bak_place_set *set, const struct bak_place *place)
{
	uint64_t h;
	memcpy(&h, place->seg.run, sizeof h);
	h ^= ((uint64_t)place->seg.n << 32 | place->off) * 0x9e3779b97f4a7c15u;
	h *= 0xff51afd7ed558ccdu;
	size_t i = (size_t)(h >> 24) & (set->cap - 1);
	while (set->used[i] &&
	       !(set->v[i].off == place->off && bak_seg_id_equal(&set->v[i].seg, &place->seg)))
		i = (i + 1) & (set->cap - 1);
	return i;
}

static int grow(struct bak_place_set *set)
{
	struct bak_place_set bigger = {.cap = set->cap ? 2 * set->cap : 256, .n = set->n};
	bigger.v = calloc(bigger.cap, sizeof *bigger.v);
	bigger.used = calloc(bigger.cap, 1);
	if (!bigger.v || !bigger.used) {
		bak_place_set_release(&bigger);
		return -1;
	}
	for (size_t i = 0; i < set->cap; i++) {
		if (!set->used[i])
			continue;
		size_t k = slot_of(&bigger, &set->v[i]);
		bigger.v[k] = set->v[i];
		bigger.used[k] = 1;
	}
	bak_place_set_release(set);
	*set = bigger;
	return 0;
}

int bak_place_set_add(struct bak_place_set *set, const struct bak_place *place)
{
	if (2 * (set->n + 1) > set->cap && grow(set) < 0)
		return -1;
	size_t i = slot_of(set, place);
	if (set->used[i])
		return 0;
	set->v[i] = *place;
	set->used[i] = 1;
	set->n++;
	return 1;
}

bool bak_place_set_has(const struct bak_place_set *set, const struct bak_place *place)
{
	return set->n > 0 && set->used[slot_of(set, place)];
}

void bak_place_set_release(struct bak_place_set *set)
{
	free(set->v);
	free(set->used);
	*set = (struct bak_place_set){0};
}
