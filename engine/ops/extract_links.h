/*
 * Under which path an inode with several names was extracted first: link number to path, a hash
 * table. Nothing is ever taken out.
 */
#ifndef BAK_OPS_EXTRACT_LINKS_H
#define BAK_OPS_EXTRACT_LINKS_H

#include "engine/base/error.h"

#include <stddef.h>
#include <stdint.h>

struct bak_extract_links {
	size_t n, cap; /* cap: a power of two, or 0 */
	struct bak_extract_link {
		uint64_t number; /* 0: free */
		char *path;
	} * v;
};

/* NULL: not there. Borrowed. */
const char *bak_extract_links_get(const struct bak_extract_links *links, uint64_t number);
int bak_extract_links_put(struct bak_extract_links *links, uint64_t number, const char *path,
			  struct bak_error *err);
void bak_extract_links_release(struct bak_extract_links *links);

#endif
