/* Inode numbers: see ino.h. */
#include "fs/ino.h"

#define RANGE_SHIFT 61
#define VIEW_SHIFT 59
#define NUMBER_BITS 26
#define PREORDER_BITS 33
#define LINK_BITS 35
#define COUNTED_BIT (UINT64_C(1) << 60)

#define MASK(bits) ((UINT64_C(1) << (bits)) - 1)

uint64_t bak_ino_tree(enum bak_view view, uint64_t number, uint64_t preorder)
{
	if (!number || number > MASK(NUMBER_BITS) || preorder > MASK(PREORDER_BITS))
		return 0;
	return (uint64_t)view << VIEW_SHIFT | number << PREORDER_BITS | preorder;
}

uint64_t bak_ino_link(uint64_t number, uint64_t link)
{
	if (!number || number > MASK(NUMBER_BITS) || link > MASK(LINK_BITS))
		return 0;
	return (uint64_t)BAK_RANGE_LINK << RANGE_SHIFT | number << LINK_BITS | link;
}

uint64_t bak_ino_entry(enum bak_view view, uint64_t number, uint64_t preorder,
		       const struct bak_entry *entry)
{
	if (entry->linked)
		return bak_ino_link(number, entry->link);
	if (entry->inode.type != BAK_TYPE_DIR)
		view = BAK_VIEW_SHARED;
	return bak_ino_tree(view, number, preorder);
}

uint64_t bak_ino_counted(uint64_t count)
{
	if (count >= COUNTED_BIT)
		return 0;
	return (uint64_t)BAK_RANGE_CONTROL << RANGE_SHIFT | COUNTED_BIT | count;
}

/* FNV-1a, then MurmurHash3's finaliser: the high bits count as much as the low ones. */
uint64_t bak_ino_hash(enum bak_range range, const char *path, uint64_t salt)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325);
	for (const unsigned char *p = (const unsigned char *)path; *p; p++)
		h = (h ^ *p) * UINT64_C(0x100000001b3);
	h ^= salt * UINT64_C(0x9e3779b97f4a7c15);
	h = (h ^ h >> 33) * UINT64_C(0xff51afd7ed558ccd);
	h = (h ^ h >> 33) * UINT64_C(0xc4ceb9fe1a85ec53);
	h ^= h >> 33;
	uint64_t bits = range == BAK_RANGE_CONTROL ? 60 : 61;
	return (uint64_t)range << RANGE_SHIFT | (h & MASK(bits));
}

struct bak_ino bak_ino_parse(uint64_t ino)
{
	struct bak_ino out = {.range = (enum bak_range)(ino >> RANGE_SHIFT & 3)};
	switch (out.range) {
	case BAK_RANGE_TREE:
		out.view = (enum bak_view)(ino >> VIEW_SHIFT & 3);
		out.number = ino >> PREORDER_BITS & MASK(NUMBER_BITS);
		out.n = ino & MASK(PREORDER_BITS);
		break;
	case BAK_RANGE_LINK:
		out.number = ino >> LINK_BITS & MASK(NUMBER_BITS);
		out.n = ino & MASK(LINK_BITS);
		break;
	case BAK_RANGE_VIRTUAL:
		out.n = ino & MASK(61);
		break;
	case BAK_RANGE_CONTROL:
		out.counted = ino & COUNTED_BIT;
		out.n = ino & MASK(60);
		break;
	}
	return out;
}
