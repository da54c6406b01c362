/* Dumps of PostgreSQL, walked. Input: the file. However it is cut into pieces the verdict is the
 * same, and a bad one says why. */
#include "stores/postgresql/dump.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len);

static size_t texts;

static void count_text(void *ctx, enum bak_pg_text which, const uint8_t *p, size_t len)
{
	(void)ctx;
	if (which >= BAK_PG_TEXT_NONE)
		abort();
	for (size_t i = 0; i < len; i++)
		texts += p[i];
}

static enum bak_verdict walk(const uint8_t *p, size_t len, size_t piece, char *why)
{
	struct bak_pg_dump dump = {.fed = 0};

	for (size_t at = 0; at < len; at += piece)
		bak_pg_dump_feed(&dump, p + at, len - at < piece ? len - at : piece, count_text,
				 NULL);
	return bak_pg_dump_verdict(&dump, why);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len)
{
	char why[BAK_PROOF_WHY_LEN], again[BAK_PROOF_WHY_LEN];
	enum bak_verdict whole = walk(p, len, len ? len : 1, why);
	bool bad = whole == BAK_VERDICT_CUT || whole == BAK_VERDICT_WRONG;

	if (walk(p, len, 7, again) != whole || strcmp(why, again) != 0 || bad != (*why != '\0'))
		abort();
	return 0;
}
