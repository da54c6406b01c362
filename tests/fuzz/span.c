/* Span nodes. Input: the payload. What decodes must encode to a payload that decodes
 * and encodes to the same bytes. */
#include "engine/objects/tree.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len);

/* Extents cover the span without gaps, none is empty, and each byte finds its own. */
static void check(const struct bak_span *span)
{
	uint64_t at = 0;
	for (size_t i = 0; i < span->n_extents; i++) {
		const struct bak_extent *e = &span->extents[i];
		if (span->at[i] != at || e->len == 0 || bak_span_find(span, at) != i ||
		    bak_span_find(span, at + e->len - 1) != i)
			abort();
		if (e->kind == BAK_EXTENT_BYTES && e->off + e->len > UINT32_MAX)
			abort();
		at += e->len;
	}
	if (at != span->len)
		abort();
}

static void encode(const struct bak_span *in, struct bak_buf *out)
{
	struct bak_error err = BAK_ERROR_INIT;
	if (bak_span_encode(in, out, &err) < 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_span first, second;
	struct bak_buf once = BAK_BUF_INIT, twice = BAK_BUF_INIT;
	if (bak_span_decode(p, len, &first, &err) < 0) {
		if (err.code != BAK_CORRUPT)
			abort();
		return 0;
	}
	check(&first);
	encode(&first, &once);
	if (bak_span_decode(once.p, once.len, &second, &err) < 0)
		abort();
	encode(&second, &twice);
	if (once.len != twice.len || memcmp(once.p, twice.p, once.len) != 0)
		abort();
	bak_span_release(&first);
	bak_span_release(&second);
	bak_buf_release(&once);
	bak_buf_release(&twice);
	return 0;
}
