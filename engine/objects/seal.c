/* AES-256-GCM with a key of its own for each sealing: see seal.h. */
#include "engine/objects/seal.h"

#include "engine/base/hash.h"

#include <limits.h>
#include <openssl/evp.h>
#include <string.h>

static const uint8_t zero_nonce[12];

int bak_subkey(const uint8_t master[32], const char *label, const uint8_t salt[BAK_SALT_BYTES],
	       const void *context, size_t context_len, uint8_t out[32], struct bak_error *err)
{
	BAK_AUTO(bak_buf_release) struct bak_buf message = BAK_BUF_INIT;
	if (bak_buf_append(&message, label, strlen(label) + 1) < 0 ||
	    bak_buf_append(&message, salt, BAK_SALT_BYTES) < 0 ||
	    bak_buf_append(&message, context, context_len) < 0)
		return bak_error_nomem(err);
	return bak_hmac_once(master, message.p, message.len, out, err);
}

static int check_len(size_t aad_len, size_t len, struct bak_error *err)
{
	if (aad_len > INT_MAX || len > INT_MAX)
		return bak_error_set(err, BAK_UNSUPPORTED, "too long to be sealed: %zu bytes", len);
	return 0;
}

int bak_gcm_seal(const uint8_t key[32], const void *aad, size_t aad_len, const void *in, size_t len,
		 uint8_t *out, struct bak_error *err)
{
	int n;
	if (check_len(aad_len, len, err) < 0)
		return -1;
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	bool ok = ctx && EVP_EncryptInit_ex2(ctx, EVP_aes_256_gcm(), key, zero_nonce, NULL) == 1 &&
		  EVP_EncryptUpdate(ctx, NULL, &n, aad, (int)aad_len) == 1 &&
		  (len == 0 || EVP_EncryptUpdate(ctx, out, &n, in, (int)len) == 1) &&
		  EVP_EncryptFinal_ex(ctx, out + len, &n) == 1 &&
		  EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, BAK_TAG_BYTES, out + len) == 1;
	EVP_CIPHER_CTX_free(ctx);
	return ok ? 0 : bak_error_nomem(err);
}

int bak_gcm_open(const uint8_t key[32], const void *aad, size_t aad_len, const void *in, size_t len,
		 uint8_t *out, struct bak_error *err)
{
	int n;
	uint8_t tag[BAK_TAG_BYTES];
	if (check_len(aad_len, len, err) < 0)
		return -1;
	memcpy(tag, (const uint8_t *)in + len, sizeof tag);
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	bool ok = ctx && EVP_DecryptInit_ex2(ctx, EVP_aes_256_gcm(), key, zero_nonce, NULL) == 1 &&
		  EVP_DecryptUpdate(ctx, NULL, &n, aad, (int)aad_len) == 1 &&
		  (len == 0 || EVP_DecryptUpdate(ctx, out, &n, in, (int)len) == 1) &&
		  EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, BAK_TAG_BYTES, tag) == 1;
	if (!ok) {
		EVP_CIPHER_CTX_free(ctx);
		return bak_error_nomem(err);
	}
	int opened = EVP_DecryptFinal_ex(ctx, out + len, &n) == 1;
	EVP_CIPHER_CTX_free(ctx);
	if (!opened)
		bak_wipe(out, len);
	return opened;
}

/* Associated data of an object: repository id || name. */
static int object_aad(const struct bak_keyring *ring, const char *name, struct bak_buf *out,
		      struct bak_error *err)
{
	if (bak_buf_append(out, ring->repo_id, BAK_REPO_ID_BYTES) < 0 ||
	    bak_buf_append(out, name, strlen(name)) < 0)
		return bak_error_nomem(err);
	return 0;
}

int bak_object_seal(const struct bak_keyring *ring, const char *name, const void *payload,
		    size_t len, struct bak_buf *out, struct bak_error *err)
{
	BAK_AUTO(bak_buf_release) struct bak_buf aad = BAK_BUF_INIT;
	uint8_t salt[BAK_SALT_BYTES], key[32];
	const uint8_t *master = ring->masters[ring->n_masters - 1].key;
	if (object_aad(ring, name, &aad, err) < 0 || bak_random(salt, sizeof salt, err) < 0 ||
	    bak_subkey(master, "bakfs object", salt, name, strlen(name), key, err) < 0)
		return -1;
	if (len > SIZE_MAX / 4 || bak_buf_append(out, salt, sizeof salt) < 0 ||
	    bak_buf_reserve(out, len + BAK_TAG_BYTES) < 0)
		return bak_error_nomem(err);
	int result = bak_gcm_seal(key, aad.p, aad.len, payload, len, out->p + out->len, err);
	bak_wipe(key, sizeof key);
	if (result == 0)
		out->len += len + BAK_TAG_BYTES;
	return result;
}

int bak_object_open(const struct bak_keyring *ring, const char *name, const void *sealed,
		    size_t len, struct bak_buf *out, struct bak_error *err)
{
	BAK_AUTO(bak_buf_release) struct bak_buf aad = BAK_BUF_INIT;
	const uint8_t *salt = sealed;
	if (len < BAK_SALT_BYTES + BAK_TAG_BYTES)
		return bak_error_set(err, BAK_CORRUPT, "%s is cut off", name);
	size_t payload_len = len - BAK_SALT_BYTES - BAK_TAG_BYTES;
	if (object_aad(ring, name, &aad, err) < 0)
		return -1;
	if (bak_buf_reserve(out, payload_len + 1) < 0)
		return bak_error_nomem(err);
	int opened = 0;
	size_t tried, n = 0;
	do {
		tried = n;
		n = bak_keyring_openers(ring);
		for (size_t i = n; i-- > tried && opened == 0;) {
			uint8_t key[32];
			if (bak_subkey(ring->masters[i].key, "bakfs object", salt, name,
				       strlen(name), key, err) < 0)
				return -1;
			opened = bak_gcm_open(key, aad.p, aad.len, salt + BAK_SALT_BYTES,
					      payload_len, out->p + out->len, err);
			bak_wipe(key, sizeof key);
		}
	} while (opened == 0 && bak_keyring_reload(ring, n));
	if (opened < 0)
		return -1;
	if (!opened)
		return bak_error_set(err, BAK_CORRUPT, "%s does not open: damaged", name);
	out->len += payload_len;
	return 0;
}
