/* Snapshot files of Qdrant. Input: one, in pieces whose size its first byte says. What the walk makes
 * of it must not depend on the pieces, and nothing that is cut is whole. */
#include "stores/qdrant/tar.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len);

static int count(void *ctx, const char *name, const void *p, size_t len, struct bak_error *err)
{
	uint64_t *bytes = ctx;

	(void)p;
	(void)err;
	if (!len || (!name[0] && name[1]))
		abort();
	*bytes += len;
	return 0;
}

static enum bak_verdict walk(const uint8_t *p, size_t len, size_t piece, uint64_t *bytes)
{
	struct bak_qdrant_tar tar = {.fed = 0};
	struct bak_error err = BAK_ERROR_INIT;
	char why[BAK_PROOF_WHY_LEN];

	*bytes = 0;
	for (size_t at = 0; at < len; at += piece)
		bak_qdrant_tar_feed(&tar, p + at, len - at < piece ? len - at : piece, count, bytes,
				    &err);
	return bak_qdrant_tar_verdict(&tar, why);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len)
{
	uint64_t whole, pieces;

	if (!len)
		return 0;
	enum bak_verdict verdict = walk(p + 1, len - 1, len, &whole);
	if (walk(p + 1, len - 1, (size_t)*p + 1, &pieces) != verdict || whole != pieces)
		abort();
	if (verdict == BAK_VERDICT_WHOLE && ((len - 1) % 512 || whole > len))
		abort();
	return 0;
}
