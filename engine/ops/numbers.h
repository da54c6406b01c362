/* Sets of snapshot numbers as ranges. */
#ifndef BAK_OPS_NUMBERS_H
#define BAK_OPS_NUMBERS_H

#include "engine/base/buf.h"
#include "engine/storage/index.h"

/* Sorts, and joins what overlaps or touches; returns how many are left. */
size_t bak_numbers_join(struct bak_numbers *v, size_t n);
/* Whether v, joined, has the number. */
bool bak_numbers_have(const struct bak_numbers *v, size_t n, uint64_t number);
/* Appends "2, 4-7, 9", of many only the first and "and 12 more"; terminated. 0, -1 no memory. */
int bak_numbers_print(const struct bak_numbers *v, size_t n, struct bak_buf *out);

#endif
