/* Dumps of neo4j-admin. Input: one, in pieces whose size its first byte says. What is made of it must
 * not depend on the pieces, what comes out must itself be whole, and the proof by blocks must not
 * call a whole one cut. */
#include "stores/neo4j/archive.h"

#include "engine/base/buf.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len);

static int gather(void *ctx, const void *p, size_t len, struct bak_error *err)
{
	(void)err;
	return bak_buf_append(ctx, p, len);
}

static int unpack(const uint8_t *p, size_t len, size_t piece, struct bak_buf *out,
		  struct bak_neo4j_archive_stats *stats)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_neo4j_archive *a;
	int rc = bak_neo4j_archive_new(gather, out, &a, &err);

	*stats = (struct bak_neo4j_archive_stats){.files = 0};
	for (size_t at = 0; rc == 0 && at < len; at += piece)
		rc = bak_neo4j_archive_feed(a, p + at, len - at < piece ? len - at : piece, &err);
	if (rc == 0)
		rc = bak_neo4j_archive_end(a, stats, &err);
	bak_neo4j_archive_free(a);
	return rc;
}

static void prove(const uint8_t *p, size_t len, size_t piece, bool whole)
{
	uint64_t state[BAK_PROOF_STATE_LEN / 8] = {0};
	char why[BAK_PROOF_WHY_LEN];

	for (size_t at = 0; at < len; at += piece)
		bak_neo4j_proof.feed(state, p + at, len - at < piece ? len - at : piece);
	enum bak_verdict verdict = bak_neo4j_proof.verdict(state, len, why);
	if (whole && verdict != BAK_VERDICT_WHOLE && verdict != BAK_VERDICT_UNPROVABLE)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len)
{
	struct bak_buf whole = BAK_BUF_INIT, pieces = BAK_BUF_INIT, again = BAK_BUF_INIT;
	struct bak_neo4j_archive_stats a, b, c;

	if (!len)
		return 0;
	size_t piece = (size_t)*p + 1;
	int rc = unpack(p + 1, len - 1, len, &whole, &a);
	if (unpack(p + 1, len - 1, piece, &pieces, &b) != rc)
		abort();
	prove(p + 1, len - 1, piece, rc == 0);
	if (rc == 0) {
		if (a.files != b.files || a.bytes != b.bytes || whole.len != pieces.len ||
		    memcmp(whole.p, pieces.p, whole.len) != 0)
			abort();
		if (unpack(whole.p, whole.len, 1000, &again, &c) < 0 || c.bytes != a.bytes)
			abort();
		prove(whole.p, whole.len, piece, true);
	}
	bak_buf_release(&whole);
	bak_buf_release(&pieces);
	bak_buf_release(&again);
	return 0;
}
