/* Inner nodes. Input: the payload. What decodes must encode to a payload that decodes
 * and encodes to the same bytes. */
#include "engine/objects/tree.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len);

/* Lines cover the node without gaps. */
static void check(const struct bak_inner *inner)
{
	for (size_t i = 0; i < inner->n; i++)
		if (inner->lines[i].len == 0 ||
		    inner->at[i + 1] != inner->at[i] + inner->lines[i].len)
			abort();
}

static void encode(const struct bak_inner *in, struct bak_buf *out)
{
	struct bak_error err = BAK_ERROR_INIT;
	if (bak_inner_encode(in->lines, in->n, out, &err) < 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_inner first, second;
	struct bak_buf once = BAK_BUF_INIT, twice = BAK_BUF_INIT;
	if (bak_inner_decode(p, len, &first, &err) < 0) {
		if (err.code != BAK_CORRUPT)
			abort();
		return 0;
	}
	check(&first);
	encode(&first, &once);
	if (bak_inner_decode(once.p, once.len, &second, &err) < 0)
		abort();
	encode(&second, &twice);
	if (once.len != twice.len || memcmp(once.p, twice.p, once.len) != 0)
		abort();
	bak_inner_release(&first);
	bak_inner_release(&second);
	bak_buf_release(&once);
	bak_buf_release(&twice);
	return 0;
}
