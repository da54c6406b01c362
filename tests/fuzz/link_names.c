/* Pages of first link numbers. Input: the payload. What decodes must encode to a payload that
 * decodes and encodes to the same bytes. */
#include "engine/objects/tree.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len);

/* Numbers grow. */
static void check(const struct bak_link_names *names)
{
	for (size_t i = 1; i < names->n; i++)
		if (names->lines[i].first <= names->lines[i - 1].first)
			abort();
}

static void encode(const struct bak_link_names *in, struct bak_buf *out)
{
	struct bak_error err = BAK_ERROR_INIT;
	if (bak_link_names_encode(in->lines, in->n, out, &err) < 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_link_names first, second;
	struct bak_buf once = BAK_BUF_INIT, twice = BAK_BUF_INIT;
	if (bak_link_names_decode(p, len, &first, &err) < 0) {
		if (err.code != BAK_CORRUPT)
			abort();
		return 0;
	}
	check(&first);
	encode(&first, &once);
	if (bak_link_names_decode(once.p, once.len, &second, &err) < 0)
		abort();
	encode(&second, &twice);
	if (once.len != twice.len || memcmp(once.p, twice.p, once.len) != 0)
		abort();
	bak_link_names_release(&first);
	bak_link_names_release(&second);
	bak_buf_release(&once);
	bak_buf_release(&twice);
	return 0;
}
