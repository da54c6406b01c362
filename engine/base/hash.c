/* SHA-256, HMAC-SHA256 and random bytes over OpenSSL: see hash.h. */
#include "engine/base/hash.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK_LEN 64

/* After a successful init OpenSSL's digest calls can fail only by our own misuse. */
static void must(int ok)
{
	if (ok != 1)
		abort();
}

int bak_sha256_init(struct bak_sha256 *sha, struct bak_error *err)
{
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
	must(EVP_DigestInit_ex2(sha->ctx, sha->md, NULL));
}

void bak_sha256_update(struct bak_sha256 *sha, const void *p, size_t len)
{
	must(EVP_DigestUpdate(sha->ctx, p, len));
}

void bak_sha256_final(struct bak_sha256 *sha, uint8_t out[BAK_SHA256_LEN])
{
	unsigned n = 0;
	must(EVP_DigestFinal_ex(sha->ctx, out, &n));
}

void bak_sha256_release(struct bak_sha256 *sha)
{
	EVP_MD_CTX_free(sha->ctx);
	EVP_MD_free(sha->md);
	*sha = (struct bak_sha256){0};
}

static void *keyed_context(const struct bak_sha256 *sha, const uint8_t key[32], uint8_t pad)
{
	uint8_t block[BLOCK_LEN];
	memset(block, pad, sizeof block);
	for (size_t i = 0; i < 32; i++)
		block[i] ^= key[i];
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	if (ctx && (EVP_DigestInit_ex2(ctx, sha->md, NULL) != 1 ||
		    EVP_DigestUpdate(ctx, block, sizeof block) != 1)) {
		EVP_MD_CTX_free(ctx);
		ctx = NULL;
	}
	OPENSSL_cleanse(block, sizeof block);
	return ctx;
}

int bak_hmac_init(struct bak_hmac *hmac, const uint8_t key[32], struct bak_error *err)
{
	*hmac = (struct bak_hmac){0};
	if (bak_sha256_init(&hmac->work, err) < 0)
		return -1;
	hmac->inner = keyed_context(&hmac->work, key, 0x36);
	hmac->outer = keyed_context(&hmac->work, key, 0x5c);
	if (!hmac->inner || !hmac->outer) {
		bak_hmac_release(hmac);
		return bak_error_nomem(err);
	}
	return 0;
}

void bak_hmac_begin(struct bak_hmac *hmac)
{
	must(EVP_MD_CTX_copy_ex(hmac->work.ctx, hmac->inner));
}

void bak_hmac_update(struct bak_hmac *hmac, const void *p, size_t len)
{
	bak_sha256_update(&hmac->work, p, len);
}

void bak_hmac_final(struct bak_hmac *hmac, uint8_t out[BAK_SHA256_LEN])
{
	uint8_t inner[BAK_SHA256_LEN];
	bak_sha256_final(&hmac->work, inner);
	must(EVP_MD_CTX_copy_ex(hmac->work.ctx, hmac->outer));
	bak_sha256_update(&hmac->work, inner, sizeof inner);
	bak_sha256_final(&hmac->work, out);
}

void bak_hmac_release(struct bak_hmac *hmac)
{
	EVP_MD_CTX_free(hmac->inner);
	EVP_MD_CTX_free(hmac->outer);
	bak_sha256_release(&hmac->work);
	*hmac = (struct bak_hmac){0};
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
