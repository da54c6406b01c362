/*
 * A set of places (segment, offset): what a walk has seen already. Grows; not for other threads.
 */
#ifndef BAK_BASE_PLACE_SET_H
#define BAK_BASE_PLACE_SET_H

#include "engine/base/ids.h"

#include <stddef.h>

struct bak_place {
	struct bak_seg_id seg;
	uint32_t off;
};

struct bak_place_set {
	size_t n, cap; /* cap: 0 or a power of two */
	struct bak_place *v;
	uint8_t *used;
};

/* 1 added, 0 was there already, -1 no memory. */
int bak_place_set_add(struct bak_place_set *set, const struct bak_place *place);
bool bak_place_set_has(const struct bak_place_set *set, const struct bak_place *place);
void bak_place_set_release(struct bak_place_set *set);

#endif
