/*
 * A page of points as the server answers a scroll: where each point's JSON stands in it, so that it
 * can be kept to the byte; a number that is read and written again need not be the same. For hostile
 * input.
 */
#ifndef BAK_STORES_QDRANT_PAGE_H
#define BAK_STORES_QDRANT_PAGE_H

#include "engine/base/error.h"

#include <stddef.h>

struct bak_qdrant_page {
	const char
		*next; /* the next page's offset, JSON, borrowed; next_len 0: this was the last */
	size_t next_len;
};
/* An object in one line. */
typedef int bak_qdrant_point_fn(void *ctx, const char *p, size_t len, struct bak_error *err);
/* BAK_CORRUPT when it is no such answer. */
int bak_qdrant_page_read(const char *p, size_t len, bak_qdrant_point_fn *point, void *ctx,
			 struct bak_qdrant_page *out, struct bak_error *err);

#endif
