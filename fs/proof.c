/* Uploads held against a format: see proof.h. */
#include "fs/proof.h"

#include <string.h>

static void start_over(struct bak_proof *proof)
{
	proof->fed = 0;
	proof->stale = false;
	memset(proof->state, 0, sizeof proof->state);
}

void bak_proof_init(struct bak_proof *proof, const struct bak_proof_format *format)
{
	*proof = (struct bak_proof){.format = format};
}

static void feed(struct bak_proof *proof, uint64_t off, const void *p, size_t len)
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

uint64_t bak_proof_wants(const struct bak_proof *proof, uint64_t off)
{
	if (!proof->format || proof->stale || off != proof->fed || off >= proof->format->window)
		return 0;
	return proof->format->window - off;
}

void bak_proof_write(struct bak_proof *proof, uint64_t off, const void *p, size_t len)
{
	proof->changes++;
	feed(proof, off, p, len);
}

void bak_proof_truncate(struct bak_proof *proof, uint64_t size)
{
	proof->changes++;
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
		feed(proof, proof->fed, piece, len);
	}
	return 0;
}

static uint64_t until_of(const struct bak_proof *proof, uint64_t size)
{
	return size < proof->format->window ? size : proof->format->window;
}

bool bak_proof_is_behind(const struct bak_proof *proof, uint64_t size)
{
	return proof->format && !proof->format->once && size &&
	       (proof->stale || proof->fed != until_of(proof, size));
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
	bool in_order = !proof->stale && proof->fed == until_of(proof, size);
	if (!in_order && proof->format->once) {
		*out = BAK_VERDICT_UNPROVABLE;
		return 0;
	}
	if (!in_order && read_again(proof, until_of(proof, size), read, ctx) < 0)
		return -1;
	*out = proof->format->verdict(proof->state, size, why);
	return 0;
}
