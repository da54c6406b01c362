/* Answers of a search, and files of documents. Input: a byte that says which, and how large the
 * pieces are, then the bytes. What is made of them must not depend on the pieces, and each document
 * that is taken, written out, must be read again as the same. */
#include "stores/opensearch/text.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len);

struct seen {
	struct bak_buf out;
	uint64_t n;
};

static int take(void *ctx, const struct bak_os_document *document, struct bak_error *err)
{
	struct seen *seen = ctx;

	(void)err;
	if (document->id.len < 3 || !document->source.len || *document->source.p != '{')
		abort();
	seen->n++;
	return bak_os_document_write(document, &seen->out);
}

static int parse_lines(const uint8_t *p, size_t len, size_t piece, struct seen *seen)
{
	struct bak_os_lines lines = {.take = take, .ctx = seen};
	struct bak_error err = BAK_ERROR_INIT;
	int rc = 0;

	for (size_t at = 0; rc == 0 && at < len; at += piece)
		rc = bak_os_lines_feed(&lines, p + at, len - at < piece ? len - at : piece, &err);
	if (rc == 0)
		rc = bak_os_lines_end(&lines, &err);
	bak_os_lines_release(&lines);
	return rc;
}

static int parse_hits(const uint8_t *p, size_t len, size_t piece, struct seen *seen)
{
	struct bak_os_hits hits = {.take = take, .ctx = seen};
	struct bak_error err = BAK_ERROR_INIT;
	int rc = 0;

	for (size_t at = 0; rc == 0 && at < len; at += piece)
		rc = bak_os_hits_feed(&hits, p + at, len - at < piece ? len - at : piece, &err);
	if (rc == 0 && bak_os_hits_end(&hits)->len > len)
		abort();
	bak_os_hits_release(&hits);
	return rc;
}

static bool is_same(const struct seen *a, const struct seen *b)
{
	return a->n == b->n && a->out.len == b->out.len &&
	       (!a->out.len || memcmp(a->out.p, b->out.p, a->out.len) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len)
{
	struct seen whole = {.n = 0}, pieces = {.n = 0}, again = {.n = 0};

	if (!len)
		return 0;
	int (*parse)(const uint8_t *, size_t, size_t, struct seen *) = *p & 1 ? parse_hits
									      : parse_lines;
	int rc = parse(p + 1, len - 1, len, &whole);

	if (parse(p + 1, len - 1, (size_t)*p / 2 + 1, &pieces) != rc || !is_same(&whole, &pieces))
		abort();
	if (parse_lines(whole.out.p, whole.out.len, whole.out.len + 1, &again) < 0 ||
	    !is_same(&whole, &again))
		abort();
	bak_buf_release(&whole.out);
	bak_buf_release(&pieces.out);
	bak_buf_release(&again.out);
	return 0;
}
