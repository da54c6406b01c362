/* Blocks of extended attributes. Input: the block. Each name and value lies in it, one behind
 * another, and the walk ends. */
#include "engine/objects/tree.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len)
{
	size_t at = 0, before = 0, name_len, value_len;
	const char *name;
	const uint8_t *value;
	int rc;
	while ((rc = bak_xattrs_next(p, len, &at, &name, &name_len, &value, &value_len)) == 1) {
		const uint8_t *n = (const uint8_t *)name;
		if (name_len == 0 || n <= p + before || n + name_len >= value ||
		    value + value_len != p + at || at > len || at <= before)
			abort();
		before = at;
	}
	if (rc == 0 && at != len)
		abort();
	return 0;
}
