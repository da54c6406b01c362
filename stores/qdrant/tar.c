/* Snapshot files walked while they arrive: see tar.h. */
#include "stores/qdrant/tar.h"

#include <stdio.h>
#include <string.h>

enum { BLOCK = 512 };
/* Fields of a header: [offset, end). */
enum {
	NAME_END = 100,
	SIZE_OFF = 124,
	SIZE_END = 136,
	SUM_OFF = 148,
	SUM_END = 156,
	TYPE_OFF = 156,
	MAGIC_OFF = 257,
	MAGIC_END = 262,
	MORE_OFF = 482,     /* sparse: whether blocks of further ranges follow */
	NEXT_MORE_OFF = 504 /* the same in such a block */
};
enum { TYPE_SPARSE = 'S' };
/* An entry larger than this is no entry. */
#define SIZE_MAX_SANE ((uint64_t)1 << 56)

enum state { STATE_HEADER, STATE_RANGES, STATE_DATA, STATE_END };

_Static_assert(sizeof(struct bak_qdrant_tar) <= BAK_PROOF_STATE_LEN, "the state has its room");

/* --- a header, byte by byte --- */

static void begin_block(struct bak_qdrant_tar *t)
{
	t->at = 0;
	t->nonzero = false;
	if (t->state != STATE_HEADER)
		return;
	t->sum = t->said = 0;
	t->size = 0;
	t->number_end = 0;
	t->extended = false;
	memset(t->name, 0, sizeof t->name);
}

/* Octal digits up to a space or zero; or, its first bit set, base 256. */
static void feed_size(struct bak_qdrant_tar *t, uint8_t c)
{
	enum { OCTAL, ENDED, BINARY };

	if (t->at == SIZE_OFF && (c & 0x80)) {
		t->number_end = BINARY;
		t->size = c & 0x7f;
		return;
	}
	if (t->number_end == BINARY) {
		t->bad |= t->size > SIZE_MAX_SANE >> 8;
		t->size = t->size << 8 | c;
	} else if (c >= '0' && c <= '7' && t->number_end == OCTAL) {
		t->size = t->size << 3 | (uint64_t)(c - '0');
	} else if (c == '\0' || (c == ' ' && t->size > 0)) {
		t->number_end = ENDED;
	} else if (c != ' ') {
		t->bad |= t->nonzero;
	}
}

static void feed_header(struct bak_qdrant_tar *t, uint8_t c)
{
	static const char magic[] = "ustar";

	t->sum += t->at >= SUM_OFF && t->at < SUM_END ? ' ' : c;
	t->nonzero |= c != 0;
	if (t->at < NAME_END)
		t->name[t->at] = (char)c;
	else if (t->at >= SIZE_OFF && t->at < SIZE_END)
		feed_size(t, c);
	else if (t->at >= SUM_OFF && t->at < SUM_END && c >= '0' && c <= '7')
		t->said = t->said << 3 | (uint32_t)(c - '0');
	else if (t->at == TYPE_OFF)
		t->type = c;
	else if (t->at >= MAGIC_OFF && t->at < MAGIC_END)
		t->bad |= t->nonzero && c != (uint8_t)magic[t->at - MAGIC_OFF];
	else if (t->at == MORE_OFF)
		t->extended = c != 0;
}

/* --- what an entry tells --- */

static bool ends_in(const char *name, const char *end)
{
	size_t len = strlen(name), n = strlen(end);

	return len >= n && strcmp(name + len - n, end) == 0;
}

/* At the top: config.json, shard folders "0/", and of other kinds of snapshots segments/ and files
 * that are snapshots themselves. */
static void note_name(struct bak_qdrant_tar *t)
{
	size_t skip = strncmp(t->name, "./", 2) == 0 ? 2 : 0, digits;

	memmove(t->name, t->name + skip, sizeof t->name - skip);
	digits = strspn(t->name, "0123456789");
	t->config |= strcmp(t->name, "config.json") == 0;
	t->shard |= digits > 0 && t->name[digits] == '/';
	t->segments |= strncmp(t->name, "segments/", 9) == 0;
	t->snapshots |= !strchr(t->name, '/') && ends_in(t->name, ".snapshot");
}

static void end_header(struct bak_qdrant_tar *t)
{
	if (!t->nonzero) {
		t->zero_blocks = 1;
		t->state = STATE_END;
		return;
	}
	t->bad |= t->sum != t->said || t->size > SIZE_MAX_SANE;
	if (t->bad)
		return;
	t->entries++;
	note_name(t);
	t->data = t->size;
	t->left = (t->size + BLOCK - 1) / BLOCK * BLOCK;
	if (t->type == TYPE_SPARSE && t->extended)
		t->state = STATE_RANGES;
	else if (t->left > 0)
		t->state = STATE_DATA;
}

static void end_block(struct bak_qdrant_tar *t)
{
	switch ((enum state)t->state) {
	case STATE_HEADER:
		end_header(t);
		break;
	case STATE_RANGES:
		if (!t->extended)
			t->state = t->left > 0 ? STATE_DATA : STATE_HEADER;
		break;
	case STATE_END:
		if (t->zero_blocks < 2)
			t->zero_blocks++;
		t->bad |= t->nonzero;
		break;
	case STATE_DATA:
		break;
	}
	begin_block(t);
}

/* A byte of a block that is not data. */
static void feed_byte(struct bak_qdrant_tar *t, uint8_t c)
{
	if (t->state == STATE_HEADER)
		feed_header(t, c);
	else if (t->state == STATE_RANGES && t->at == NEXT_MORE_OFF)
		t->extended = c != 0;
	else if (t->state == STATE_END)
		t->nonzero |= c != 0;
	if (++t->at == BLOCK)
		end_block(t);
}

/* As much of the piece as is data; -1. */
static int64_t feed_data(struct bak_qdrant_tar *t, const uint8_t *p, size_t len,
			 bak_qdrant_tar_take *take, void *ctx, struct bak_error *err)
{
	size_t n = t->left < len ? (size_t)t->left : len;
	size_t real = t->data < n ? (size_t)t->data : n;

	if (real && take && take(ctx, t->name, p, real, err) < 0)
		return -1;
	t->data -= real;
	t->left -= n;
	if (t->left == 0) {
		t->state = STATE_HEADER;
		begin_block(t);
	}
	return (int64_t)n;
}

int bak_qdrant_tar_feed(struct bak_qdrant_tar *tar, const uint8_t *p, size_t len,
			bak_qdrant_tar_take *take, void *ctx, struct bak_error *err)
{
	tar->fed += len;
	while (len > 0 && !tar->bad) {
		int64_t n = 1;

		if (tar->state == STATE_DATA)
			n = feed_data(tar, p, len, take, ctx, err);
		else
			feed_byte(tar, *p);
		if (n < 0)
			return -1;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

/* --- the verdict --- */

static enum bak_verdict wrong(char why[BAK_PROOF_WHY_LEN], const char *what)
{
	snprintf(why, BAK_PROOF_WHY_LEN, "%s", what);
	return BAK_VERDICT_WRONG;
}

enum bak_verdict bak_qdrant_tar_verdict(const struct bak_qdrant_tar *t, char why[BAK_PROOF_WHY_LEN])
{
	if (t->fed == 0)
		return BAK_VERDICT_EMPTY;
	if (t->bad && t->entries == 0)
		return wrong(why, "not a snapshot of Qdrant: it is no tar archive");
	if (t->bad)
		return wrong(why, "damaged: the tar archive cannot be followed to its end");
	if (t->state != STATE_END || t->zero_blocks < 2 || t->at != 0) {
		snprintf(why, BAK_PROOF_WHY_LEN,
			 "cut off: the end of the tar archive is missing (%llu bytes are there)",
			 (unsigned long long)t->fed);
		return BAK_VERDICT_CUT;
	}
	if (t->config && t->snapshots)
		return wrong(why, "a snapshot of a whole server: unpack it, and take the "
				  "collections' snapshots in it");
	if (!t->config && t->segments)
		return wrong(why, "a snapshot of a single shard: take one of the collection");
	if (!t->config || !t->shard)
		return wrong(why, "not a snapshot of a Qdrant collection: it has no config.json "
				  "or no shards");
	return BAK_VERDICT_WHOLE;
}

static void proof_feed(void *state, const uint8_t *p, size_t len)
{
	struct bak_error none = BAK_ERROR_INIT;

	bak_qdrant_tar_feed(state, p, len, NULL, NULL, &none);
}

static enum bak_verdict proof_verdict(const void *state, uint64_t size, char why[BAK_PROOF_WHY_LEN])
{
	(void)size;
	return bak_qdrant_tar_verdict(state, why);
}

const struct bak_proof_format bak_qdrant_proof = {
	.window = UINT64_MAX,
	.once = true,
	.feed = proof_feed,
	.verdict = proof_verdict,
};
