/*
 * SHA-256, HMAC-SHA256, random bytes, wiping: the parts of OpenSSL that are not the cipher (that
 * one is called by objects/seal.c and objects/keyring.c alone).
 *
 * Threads: a struct bak_sha256 or bak_hmac belongs to one thread at a time.
 */
#ifndef BAK_BASE_HASH_H
#define BAK_BASE_HASH_H

#include "engine/base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BAK_SHA256_LEN 32

/* By the processor's own instructions where it has them (sha_lanes.h), else by OpenSSL. */
struct bak_sha256 {
	bool lanes;
	/* With lanes: the state, the bytes so far, and those of the block that is not yet full. */
	uint32_t h[8];
	uint64_t len;
	uint8_t tail[64];
	/* Without. */
	void *ctx; /* EVP_MD_CTX, reused from one message to the next */
	void *md;  /* EVP_MD, fetched once */
};

int bak_sha256_init(struct bak_sha256 *sha, struct bak_error *err);
/* Starts a message; update and final belong to the message begun last. */
void bak_sha256_begin(struct bak_sha256 *sha);
void bak_sha256_update(struct bak_sha256 *sha, const void *p, size_t len);
/* Two messages go on by the same bytes: cheaper than one after the other. */
void bak_sha256_update_both(struct bak_sha256 *a, struct bak_sha256 *b, const void *p, size_t len);
void bak_sha256_final(struct bak_sha256 *sha, uint8_t out[BAK_SHA256_LEN]);
void bak_sha256_release(struct bak_sha256 *sha);

/* HMAC-SHA256 (RFC 2104) with the key's two blocks hashed once. */
struct bak_hmac {
	struct bak_sha256 work;
	uint32_t inner_h[8], outer_h[8]; /* after the key block, with lanes */
	void *inner, *outer;             /* EVP_MD_CTX after it, without */
};

int bak_hmac_init(struct bak_hmac *hmac, const uint8_t key[32], struct bak_error *err);
void bak_hmac_begin(struct bak_hmac *hmac);
void bak_hmac_update(struct bak_hmac *hmac, const void *p, size_t len);
/* The same bytes go to a message of their own too; NULL: they do not. */
void bak_hmac_update_both(struct bak_hmac *hmac, struct bak_sha256 *sha, const void *p, size_t len);
void bak_hmac_final(struct bak_hmac *hmac, uint8_t out[BAK_SHA256_LEN]);
void bak_hmac_release(struct bak_hmac *hmac);

/* One message, one call; for keys used once. */
int bak_hmac_once(const uint8_t key[32], const void *p, size_t len, uint8_t out[BAK_SHA256_LEN],
		  struct bak_error *err);

int bak_random(void *out, size_t len, struct bak_error *err);
void bak_wipe(void *p, size_t len);

#endif
