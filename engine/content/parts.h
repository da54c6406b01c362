/*
 * What a span is to be made of, before any of it is stored: bytes that older segments have, fresh
 * bytes, holes and zeros. Only when all is gathered it is decided which older segments are worth
 * it: a span that is spread over many reads slowly, and a few bytes of a segment cost more in the
 * list than as bytes.
 *
 * Threads: one.
 */
#ifndef BAK_CONTENT_PARTS_H
#define BAK_CONTENT_PARTS_H

#include "engine/base/ids.h"

#include <stdbool.h>
#include <stddef.h>

struct bak_part {
	bool fresh;   /* to be stored anew; extent has only the length */
	uint32_t off; /* of its bytes in the span's buffer; holes and zeros have none */
	uint32_t use; /* known bytes: number in the table of segments */
	struct bak_extent extent;
};

struct bak_parts {
	struct bak_part *v;
	size_t n, cap;
	struct bak_part_use {
		struct bak_seg_id seg;
		uint64_t bytes;
		bool keep;
	} * uses;
	size_t n_uses, cap_uses;
};

void bak_parts_clear(struct bak_parts *parts);
void bak_parts_release(struct bak_parts *parts);
/* Each joins what touches the part before. -1 for lack of memory. */
int bak_parts_known(struct bak_parts *parts, uint32_t off, const struct bak_extent *extent);
int bak_parts_fresh(struct bak_parts *parts, uint32_t off, uint64_t len);
/* Makes fresh what is not worth its place in the list: segments that give little, a few bytes
 * between fresh ones. 1 what was found is too scattered to be worth it, 0, -1 for lack of memory. */
int bak_parts_settle(struct bak_parts *parts);
/* Whether anything is left that older segments have. */
bool bak_parts_any_known(const struct bak_parts *parts);

#endif
