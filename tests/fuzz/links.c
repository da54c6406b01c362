/* Link pages. Input: the payload. What decodes must encode to a payload that decodes
 * and encodes to the same bytes. */
#include "engine/objects/tree.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len);

/* Numbers grow; no folder has several names. */
static void check(const struct bak_links *links)
{
	for (size_t i = 0; i < links->n; i++) {
		const struct bak_link *link = &links->links[i];
		if ((i && link->number <= link[-1].number) || link->inode.type == BAK_TYPE_DIR)
			abort();
	}
}

static void encode(const struct bak_links *in, struct bak_buf *out)
{
	struct bak_error err = BAK_ERROR_INIT;
	if (bak_links_encode(in->links, in->n, out, &err) < 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_links first, second;
	struct bak_buf once = BAK_BUF_INIT, twice = BAK_BUF_INIT;
	if (bak_links_decode(p, len, &first, &err) < 0) {
		if (err.code != BAK_CORRUPT)
			abort();
		return 0;
	}
	check(&first);
	encode(&first, &once);
	if (bak_links_decode(once.p, once.len, &second, &err) < 0)
		abort();
	encode(&second, &twice);
	if (once.len != twice.len || memcmp(once.p, twice.p, once.len) != 0)
		abort();
	bak_links_release(&first);
	bak_links_release(&second);
	bak_buf_release(&once);
	bak_buf_release(&twice);
	return 0;
}
