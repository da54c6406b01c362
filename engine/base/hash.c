/* SHA-256, HMAC-SHA256 and random bytes over OpenSSL: see hash.h. */
#include "engine/base/hash.h"

#include "engine/base/sha_lanes.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK_LEN BAK_SHA_BLOCK

/* After a successful init OpenSSL's digest calls can fail only by our own misuse. */
static void must(int ok)
{
	if (ok != 1)
		abort();
}

int bak_sha256_init(struct bak_sha256 *sha, struct bak_error *err)
{
	*sha = (struct bak_sha256){.lanes = bak_sha_lanes_here()};
	if (sha->lanes) {
		bak_sha256_begin(sha);
		return 0;
	}
	sha->md = EVP_MD_fetch(NULL, "SHA256", NULL);
	sha->ctx = EVP_MD_CTX_new();
	if (!sha->md || !sha->ctx || EVP_DigestInit_ex2(sha->ctx, sha->md, NULL) != 1) {
		bak_sha256_release(sha);
		return bak_error_nomem(err);
	}
	return 0;
}

void bak_sha256_begin(struct bak_sha256 *sha)
{
	static const uint32_t start[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
					  0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
	if (!sha->lanes) {
		must(EVP_DigestInit_ex2(sha->ctx, sha->md, NULL));
		return;
	}
	memcpy(sha->h, start, sizeof start);
	sha->len = 0;
}

/* Fills up a block that was begun, with lanes; the bytes taken. */
static size_t fill_tail(struct bak_sha256 *sha, const uint8_t *p, size_t len)
{
	size_t used = sha->len % BLOCK_LEN;
	size_t n = BLOCK_LEN - used < len ? BLOCK_LEN - used : len;
	if (used == 0)
		return 0;
	memcpy(sha->tail + used, p, n);
	sha->len += n;
	if (used + n == BLOCK_LEN)
		bak_sha_lanes_one(sha->h, sha->tail, 1);
	return n;
}

void bak_sha256_update(struct bak_sha256 *sha, const void *bytes, size_t len)
{
	const uint8_t *p = bytes;
	if (!sha->lanes) {
		must(EVP_DigestUpdate(sha->ctx, p, len));
		return;
	}
	if (len == 0)
		return;
	size_t n = fill_tail(sha, p, len);
	p += n;
	len -= n;
	bak_sha_lanes_one(sha->h, p, len / BLOCK_LEN);
	memcpy(sha->tail, p + len / BLOCK_LEN * BLOCK_LEN, len % BLOCK_LEN);
	sha->len += len;
}

void bak_sha256_update_both(struct bak_sha256 *a, struct bak_sha256 *b, const void *bytes,
			    size_t len)
{
	const uint8_t *p = bytes;
	size_t from_a = 0, from_b = 0, both = 0;
	if (a->lanes && b->lanes && len > 0) {
		from_a = fill_tail(a, p, len);
		from_b = fill_tail(b, p, len);
		size_t later = from_a > from_b ? from_a : from_b;
		both = (len - later) / BLOCK_LEN;
		bak_sha_lanes_two(a->h, p + from_a, b->h, p + from_b, both);
		both *= BLOCK_LEN;
		a->len += both;
		b->len += both;
	}
	bak_sha256_update(a, p + from_a + both, len - from_a - both);
	bak_sha256_update(b, p + from_b + both, len - from_b - both);
}

void bak_sha256_final(struct bak_sha256 *sha, uint8_t out[BAK_SHA256_LEN])
{
	unsigned n = 0;
	if (!sha->lanes) {
		must(EVP_DigestFinal_ex(sha->ctx, out, &n));
		return;
	}
	uint64_t bits = sha->len * 8;
	size_t used = sha->len % BLOCK_LEN;
	uint8_t end[2 * BLOCK_LEN] = {0};
	size_t end_len = used < BLOCK_LEN - 8 ? BLOCK_LEN : 2 * BLOCK_LEN;
	memcpy(end, sha->tail, used);
	end[used] = 0x80;
	for (int i = 0; i < 8; i++)
		end[end_len - 1 - (size_t)i] = (uint8_t)(bits >> 8 * i);
	bak_sha_lanes_one(sha->h, end, end_len / BLOCK_LEN);
	for (int i = 0; i < BAK_SHA256_LEN; i++)
		out[i] = (uint8_t)(sha->h[i / 4] >> (24 - 8 * (i % 4)));
}

void bak_sha256_release(struct bak_sha256 *sha)
{
	EVP_MD_CTX_free(sha->ctx);
	EVP_MD_free(sha->md);
	bak_wipe(sha, sizeof *sha);
}

/* --- HMAC --- */

static void key_block(const uint8_t key[32], uint8_t pad, uint8_t block[BLOCK_LEN])
{
	memset(block, pad, BLOCK_LEN);
	for (size_t i = 0; i < 32; i++)
		block[i] ^= key[i];
}

static void *keyed_context(const struct bak_sha256 *sha, const uint8_t key[32], uint8_t pad)
{
	uint8_t block[BLOCK_LEN];
	key_block(key, pad, block);
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	if (ctx && (EVP_DigestInit_ex2(ctx, sha->md, NULL) != 1 ||
		    EVP_DigestUpdate(ctx, block, sizeof block) != 1)) {
		EVP_MD_CTX_free(ctx);
		ctx = NULL;
	}
	OPENSSL_cleanse(block, sizeof block);
	return ctx;
}

static void keyed_state(struct bak_sha256 *sha, const uint8_t key[32], uint8_t pad, uint32_t out[8])
{
	uint8_t block[BLOCK_LEN];
	key_block(key, pad, block);
	bak_sha256_begin(sha);
	bak_sha256_update(sha, block, sizeof block);
	memcpy(out, sha->h, sizeof sha->h);
	OPENSSL_cleanse(block, sizeof block);
}

int bak_hmac_init(struct bak_hmac *hmac, const uint8_t key[32], struct bak_error *err)
{
	*hmac = (struct bak_hmac){0};
	if (bak_sha256_init(&hmac->work, err) < 0)
		return -1;
	if (hmac->work.lanes) {
		keyed_state(&hmac->work, key, 0x36, hmac->inner_h);
		keyed_state(&hmac->work, key, 0x5c, hmac->outer_h);
		return 0;
	}
	hmac->inner = keyed_context(&hmac->work, key, 0x36);
	hmac->outer = keyed_context(&hmac->work, key, 0x5c);
	if (!hmac->inner || !hmac->outer) {
		bak_hmac_release(hmac);
		return bak_error_nomem(err);
	}
	return 0;
}

/* Goes on behind a key block. */
static void resume(struct bak_sha256 *work, const uint32_t h[8], const void *ctx)
{
	if (!work->lanes) {
		must(EVP_MD_CTX_copy_ex(work->ctx, ctx));
		return;
	}
	memcpy(work->h, h, sizeof work->h);
	work->len = BLOCK_LEN;
}

void bak_hmac_begin(struct bak_hmac *hmac)
{
	resume(&hmac->work, hmac->inner_h, hmac->inner);
}

void bak_hmac_update(struct bak_hmac *hmac, const void *p, size_t len)
{
	bak_sha256_update(&hmac->work, p, len);
}

void bak_hmac_update_both(struct bak_hmac *hmac, struct bak_sha256 *sha, const void *p, size_t len)
{
	if (sha)
		bak_sha256_update_both(&hmac->work, sha, p, len);
	else
		bak_sha256_update(&hmac->work, p, len);
}

void bak_hmac_final(struct bak_hmac *hmac, uint8_t out[BAK_SHA256_LEN])
{
	uint8_t inner[BAK_SHA256_LEN];
	bak_sha256_final(&hmac->work, inner);
	resume(&hmac->work, hmac->outer_h, hmac->outer);
	bak_sha256_update(&hmac->work, inner, sizeof inner);
	bak_sha256_final(&hmac->work, out);
}

void bak_hmac_release(struct bak_hmac *hmac)
{
	EVP_MD_CTX_free(hmac->inner);
	EVP_MD_CTX_free(hmac->outer);
	bak_sha256_release(&hmac->work);
	bak_wipe(hmac, sizeof *hmac);
}

int bak_hmac_once(const uint8_t key[32], const void *p, size_t len, uint8_t out[BAK_SHA256_LEN],
		  struct bak_error *err)
{
	unsigned n = BAK_SHA256_LEN;
	if (!HMAC(EVP_sha256(), key, 32, p, len, out, &n))
		return bak_error_nomem(err);
	return 0;
}

int bak_random(void *out, size_t len, struct bak_error *err)
{
	if (RAND_bytes(out, (int)len) != 1)
		return bak_error_set(err, BAK_IO, "the system gave no random bytes");
	return 0;
}

void bak_wipe(void *p, size_t len)
{
	OPENSSL_cleanse(p, len);
}
