/* Folder pages. Input: the payload. What decodes must encode to a payload that decodes
 * and encodes to the same bytes. */
#include "engine/objects/tree.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len);

/* Names are sorted; numbers grow by one and what lies below. */
static void check(const struct bak_page *page)
{
	struct bak_totals totals = {.entries = 0};
	for (size_t i = 0; i < page->n; i++) {
		const struct bak_entry *e = &page->entries[i];
		const struct bak_entry *before = i ? e - 1 : NULL;
		uint64_t below = e->inode.type == BAK_TYPE_DIR ? e->inode.totals.entries : 0;
		if (page->preorder[i + 1] != page->preorder[i] + 1 + below)
			abort();
		if (before &&
		    bak_name_cmp(before->name, before->name_len, e->name, e->name_len) >= 0)
			abort();
		bak_totals_add_entry(&totals, e);
	}
	if (totals.entries != page->preorder[page->n])
		abort();
}

static void encode(const struct bak_page *in, struct bak_buf *out)
{
	struct bak_error err = BAK_ERROR_INIT;
	if (bak_page_encode(in->entries, in->n, out, &err) < 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_page first, second;
	struct bak_buf once = BAK_BUF_INIT, twice = BAK_BUF_INIT;
	if (bak_page_decode(p, len, &first, &err) < 0) {
		if (err.code != BAK_CORRUPT)
			abort();
		return 0;
	}
	check(&first);
	encode(&first, &once);
	if (bak_page_decode(once.p, once.len, &second, &err) < 0)
		abort();
	encode(&second, &twice);
	if (once.len != twice.len || memcmp(once.p, twice.p, once.len) != 0)
		abort();
	bak_page_release(&first);
	bak_page_release(&second);
	bak_buf_release(&once);
	bak_buf_release(&twice);
	return 0;
}
