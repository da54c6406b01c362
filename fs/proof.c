/* Formats that prove their own end: see proof.h. */
#include "fs/proof.h"

#include <stdio.h>
#include <string.h>

/* --- SQLite: the header counts the pages (sqlite.org/fileformat2.html, 1.3) --- */

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

static const struct bak_proof_format formats[] = {
	{"sqlite", SQLITE_HEAD, sqlite_feed, sqlite_verdict},
};

const struct bak_proof_format *bak_proof_format_of(const char *driver)
{
	for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
		if (strcmp(formats[i].driver, driver) == 0)
			return &formats[i];
	return NULL;
}

/* --- feeding --- */

static void start_over(struct bak_proof *proof)
{
	proof->fed = 0;
	proof->stale = false;
	memset(proof->state, 0, sizeof proof->state);
}

void bak_proof_init(struct bak_proof *proof, const char *driver)
{
	*proof = (struct bak_proof){.format = bak_proof_format_of(driver)};
}

void bak_proof_write(struct bak_proof *proof, uint64_t off, const void *p, size_t len)
{
	if (!proof->format || proof->stale || off >= proof->format->window)
		return;
	if (off != proof->fed) {
		proof->stale = true;
		return;
	}
	if (len > proof->format->window - off)
		len = (size_t)(proof->format->window - off);
	proof->format->feed(proof->state, p, len);
	proof->fed += len;
}

void bak_proof_truncate(struct bak_proof *proof, uint64_t size)
{
	if (size == 0)
		start_over(proof);
	else if (size < proof->fed)
		proof->stale = true;
}

static int read_again(struct bak_proof *proof, uint64_t until, bak_proof_read_fn *read, void *ctx)
{
	uint8_t piece[16384];
	start_over(proof);
	while (proof->fed < until) {
		size_t len = until - proof->fed < sizeof piece ? (size_t)(until - proof->fed)
							       : sizeof piece;
		if (read(ctx, proof->fed, piece, len) < 0) {
			proof->stale = true;
			return -1;
		}
		bak_proof_write(proof, proof->fed, piece, len);
	}
	return 0;
}

int bak_proof_verdict(struct bak_proof *proof, uint64_t size, bak_proof_read_fn *read, void *ctx,
		      enum bak_verdict *out, char why[BAK_PROOF_WHY_LEN])
{
	why[0] = '\0';
	if (size == 0) {
		*out = BAK_VERDICT_EMPTY;
		return 0;
	}
	if (!proof->format) {
		*out = BAK_VERDICT_UNPROVABLE;
		return 0;
	}
	uint64_t until = size < proof->format->window ? size : proof->format->window;
	if ((proof->stale || proof->fed != until) && read_again(proof, until, read, ctx) < 0)
		return -1;
	*out = proof->format->verdict(proof->state, size, why);
	return 0;
}
