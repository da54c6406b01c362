/* Whether a SQLite database is whole: the header counts the pages (sqlite.org/fileformat2.html,
 * 1.3). */
#include "stores/sqlite/sqlite.h"

#include <stdio.h>
#include <string.h>

#define SQLITE_HEAD 100

struct sqlite_state {
	uint8_t head[SQLITE_HEAD];
	uint32_t len;
};
_Static_assert(sizeof(struct sqlite_state) <= BAK_PROOF_STATE_LEN, "the state has its room");

static void sqlite_feed(void *state, const uint8_t *p, size_t len)
{
	struct sqlite_state *s = state;
	size_t n = SQLITE_HEAD - s->len;
	if (n > len)
		n = len;
	memcpy(s->head + s->len, p, n);
	s->len += (uint32_t)n;
}

static uint32_t be32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static enum bak_verdict sqlite_verdict(const void *state, uint64_t size,
				       char why[BAK_PROOF_WHY_LEN])
{
	static const char magic[16] = "SQLite format 3";
	const struct sqlite_state *s = state;
	uint32_t seen = s->len < sizeof magic ? s->len : (uint32_t)sizeof magic;
	uint32_t page = (uint32_t)s->head[16] << 8 | s->head[17];
	page = page == 1 ? 65536 : page;
	if (memcmp(s->head, magic, seen) != 0 ||
	    (s->len >= 18 && (page < 512 || (page & (page - 1))))) {
		snprintf(why, BAK_PROOF_WHY_LEN, "not a SQLite database");
		return BAK_VERDICT_WRONG;
	}
	if (s->len < SQLITE_HEAD) {
		snprintf(why, BAK_PROOF_WHY_LEN, "cut off within the header of a SQLite database");
		return BAK_VERDICT_CUT;
	}
	/* Old writers left the count as it was: then the two change counters differ. */
	uint64_t want = (uint64_t)be32(s->head + 28) * page;
	bool counted = want && be32(s->head + 24) == be32(s->head + 92);
	if (!counted && size % page == 0)
		return BAK_VERDICT_UNPROVABLE;
	if (counted && size == want)
		return BAK_VERDICT_WHOLE;
	if (counted && size > want) {
		snprintf(why, BAK_PROOF_WHY_LEN,
			 "%llu bytes, but the SQLite database in it has only %llu",
			 (unsigned long long)size, (unsigned long long)want);
		return BAK_VERDICT_WRONG;
	}
	snprintf(why, BAK_PROOF_WHY_LEN, "cut off: %llu of %llu bytes of a SQLite database",
		 (unsigned long long)size,
		 (unsigned long long)(counted ? want : (size / page + 1) * page));
	return BAK_VERDICT_CUT;
}

const struct bak_proof_format bak_sqlite_proof = {
	.window = SQLITE_HEAD,
	.feed = sqlite_feed,
	.verdict = sqlite_verdict,
};
