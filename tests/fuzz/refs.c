/* What a tree object refers to, as the index keeps it. What decodes must encode to something that
 * decodes to the same. */
#include "engine/objects/refs.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len)
{
	struct bak_refs one = {.n_trees = 0}, two = {.n_trees = 0};
	struct bak_buf text = BAK_BUF_INIT;
	if (bak_refs_decode(p, len, &one) == 1) {
		if (bak_refs_encode(&one, &text) < 0 ||
		    bak_refs_decode(text.p, text.len, &two) != 1 || one.exact != two.exact ||
		    one.n_trees != two.n_trees || one.n_uses != two.n_uses)
			abort();
		for (size_t i = 0; i < one.n_uses; i++)
			if (memcmp(&one.uses[i], &two.uses[i], sizeof one.uses[i]) != 0)
				abort();
	}
	bak_refs_release(&one);
	bak_refs_release(&two);
	bak_buf_release(&text);
	return 0;
}
