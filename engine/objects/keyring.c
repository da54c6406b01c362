/* The key ring and its slots: see keyring.h. With seal.c the only caller of the cipher. */
#include "engine/objects/keyring.h"

#include "engine/base/bytes.h"
#include "engine/base/hash.h"
#include "engine/base/locked.h"
#include "engine/objects/seal.h"
#include "engine/objects/snapshot.h"

#include <jansson.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SLOT_VERSION 1
#define RING_VERSION 1
#define SALT_LEN 16
#define RING_FIXED 66 /* up to the masters */
#define MASTER_LEN 36

/* scrypt's working memory is 128 * n * r; more than this is somebody's attack on the machine. */
#define SCRYPT_MAX_MEMORY (1ull << 30)
#define SCRYPT_MAX_P 16
#define SCRYPT_R 8

/* A slot as its JSON says; strings are borrowed from the JSON. */
struct slot {
	const char *kind, *label, *created;
	uint8_t salt[SALT_LEN];
	uint64_t n, r, p; /* scrypt */
	const char *ring_hex;
};

/* All keys lie in one block, with room for every master there may be: it never moves, so that
 * threads may use it while masters are added. */
struct block {
	uint8_t id_key[32], gear_key[32];
	struct bak_master masters[BAK_KEYRING_MAX_MASTERS];
};

static int ring_alloc(struct bak_keyring *out, struct bak_error *err)
{
	struct block *block = bak_locked_alloc(sizeof *block);
	if (!block)
		return bak_error_nomem(err);
	*out = (struct bak_keyring){.id_key = block->id_key,
				    .gear_key = block->gear_key,
				    .masters = block->masters,
				    .block = block};
	return 0;
}

void bak_keyring_release(struct bak_keyring *ring)
{
	bak_locked_free(ring->block, sizeof(struct block));
	*ring = (struct bak_keyring){.n_masters = 0};
}

static int new_master(struct bak_keyring *ring, struct bak_error *err)
{
	struct bak_master *master = &ring->masters[ring->n_masters];
	bool taken = true;
	if (bak_random(master->key, sizeof master->key, err) < 0)
		return -1;
	while (taken) {
		if (bak_random(&master->number, sizeof master->number, err) < 0)
			return -1;
		taken = master->number == 0;
		for (size_t i = 0; i < ring->n_masters; i++)
			taken |= ring->masters[i].number == master->number;
	}
	ring->n_masters++;
	return 0;
}

int bak_keyring_generate(struct bak_keyring *out, struct bak_error *err)
{
	if (ring_alloc(out, err) < 0)
		return -1;
	if (bak_random(out->repo_id, sizeof out->repo_id, err) == 0 &&
	    bak_random(out->id_key, 32, err) == 0 && bak_random(out->gear_key, 32, err) == 0 &&
	    new_master(out, err) == 0)
		return 0;
	bak_keyring_release(out);
	return -1;
}

int bak_keyring_rotate(const struct bak_keyring *ring, struct bak_keyring *out,
		       struct bak_error *err)
{
	size_t n = bak_keyring_openers(ring);
	*out = (struct bak_keyring){.n_masters = 0};
	if (n >= BAK_KEYRING_MAX_MASTERS)
		return bak_error_set(err, BAK_REFUSED, "the key ring is full: %zu keys", n);
	if (ring_alloc(out, err) < 0)
		return -1;
	memcpy(out->repo_id, ring->repo_id, sizeof out->repo_id);
	memcpy(out->id_key, ring->id_key, 32);
	memcpy(out->gear_key, ring->gear_key, 32);
	memcpy(out->masters, ring->masters, n * sizeof *out->masters);
	out->n_masters = n;
	if (new_master(out, err) == 0)
		return 0;
	bak_keyring_release(out);
	return -1;
}

size_t bak_keyring_openers(const struct bak_keyring *ring)
{
	return ring->n_masters + __atomic_load_n(&ring->n_later, __ATOMIC_ACQUIRE);
}

static bool has_master(const struct bak_keyring *ring, size_t n, uint32_t number)
{
	for (size_t i = 0; i < n; i++)
		if (ring->masters[i].number == number)
			return true;
	return false;
}

void bak_keyring_add(struct bak_keyring *ring, const struct bak_keyring *other)
{
	size_t n = bak_keyring_openers(ring);
	for (size_t i = 0; i < other->n_masters && n < BAK_KEYRING_MAX_MASTERS; i++)
		if (!has_master(ring, n, other->masters[i].number))
			ring->masters[n++] = other->masters[i];
	__atomic_store_n(&ring->n_later, n - ring->n_masters, __ATOMIC_RELEASE);
}

bool bak_keyring_reload(const struct bak_keyring *ring, size_t tried)
{
	if (!ring->reload)
		return false;
	if (bak_keyring_openers(ring) == tried)
		ring->reload(ring->reload_ctx);
	return bak_keyring_openers(ring) > tried;
}

/* The ring as bytes; the caller wipes them. */
static int ring_pack(const struct bak_keyring *ring, struct bak_buf *out, struct bak_error *err)
{
	size_t n = bak_keyring_openers(ring), len = RING_FIXED + n * MASTER_LEN;
	if (bak_buf_resize(out, len) < 0)
		return bak_error_nomem(err);
	uint8_t *p = out->p;
	p[0] = RING_VERSION;
	memcpy(p + 1, ring->id_key, 32);
	memcpy(p + 33, ring->gear_key, 32);
	p[65] = (uint8_t)n;
	for (size_t i = 0; i < n; i++) {
		uint8_t *at = p + RING_FIXED + i * MASTER_LEN;
		bak_store_u32(at, ring->masters[i].number);
		memcpy(at + 4, ring->masters[i].key, 32);
	}
	return 0;
}

static int ring_unpack(const uint8_t *p, size_t len, struct bak_keyring *out, struct bak_error *err)
{
	if (len < 1 || p[0] != RING_VERSION)
		return bak_error_set(err, BAK_UNSUPPORTED, "its key ring is of a newer version");
	if (len < RING_FIXED || p[65] == 0 || len != RING_FIXED + (size_t)p[65] * MASTER_LEN)
		return bak_error_set(err, BAK_CORRUPT, "its key ring has an impossible length");
	if (ring_alloc(out, err) < 0)
		return -1;
	memcpy(out->id_key, p + 1, 32);
	memcpy(out->gear_key, p + 33, 32);
	out->n_masters = p[65];
	for (size_t i = 0; i < out->n_masters; i++) {
		const uint8_t *at = p + RING_FIXED + i * MASTER_LEN;
		out->masters[i].number = bak_load_u32(at);
		memcpy(out->masters[i].key, at + 4, 32);
	}
	return 0;
}

static int derive_scrypt(const struct bak_secret *secret, const struct slot *slot, uint8_t out[32],
			 struct bak_error *err)
{
	uint64_t memory = 128 * slot->n * slot->r + 128 * slot->r * slot->p + (1 << 20);
	if (EVP_PBE_scrypt((const char *)secret->p, secret->len, slot->salt, SALT_LEN, slot->n,
			   slot->r, slot->p, memory, out, 32) != 1)
		return bak_error_set(err, BAK_NO_MEMORY,
				     "scrypt failed: it needs %llu MB of memory",
				     (unsigned long long)(memory >> 20));
	return 0;
}

static int derive_hkdf(const struct bak_secret *secret, const struct slot *slot, uint8_t out[32],
		       struct bak_error *err)
{
	char digest[] = "SHA256", info[] = "bakfs key slot";
	uint8_t salt[SALT_LEN];
	memcpy(salt, slot->salt, SALT_LEN);
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, secret->p, secret->len),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, salt, SALT_LEN),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, info, strlen(info)),
		OSSL_PARAM_construct_end(),
	};
	EVP_KDF *kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
	EVP_KDF_CTX *ctx = EVP_KDF_CTX_new(kdf);
	int ok = ctx && EVP_KDF_derive(ctx, out, 32, params) == 1;
	EVP_KDF_CTX_free(ctx);
	EVP_KDF_free(kdf);
	return ok ? 0 : bak_error_nomem(err);
}

static int derive(const struct bak_secret *secret, const struct slot *slot, uint8_t out[32],
		  struct bak_error *err)
{
	return secret->kind == BAK_SECRET_PASSWORD ? derive_scrypt(secret, slot, out, err)
						   : derive_hkdf(secret, slot, out, err);
}

#define SLOT_AAD "bakfs slot"
#define SLOT_MEMBERS 6 /* of those written before there were MACs */
#define SLOT_AAD_LEN (sizeof SLOT_AAD - 1 + BAK_REPO_ID_BYTES + 16)

static int slot_aad(const uint8_t repo_id[BAK_REPO_ID_BYTES], const char *slot_id,
		    uint8_t out[SLOT_AAD_LEN], struct bak_error *err)
{
	memcpy(out, SLOT_AAD, sizeof SLOT_AAD - 1);
	memcpy(out + sizeof SLOT_AAD - 1, repo_id, BAK_REPO_ID_BYTES);
	if (!bak_unhex(out + SLOT_AAD_LEN - 16, 16, slot_id))
		return bak_error_set(err, BAK_CORRUPT, "its name is no slot's");
	return 0;
}

static json_t *slot_json(const struct slot *slot, enum bak_secret_kind kind)
{
	char salt[2 * SALT_LEN + 1];
	bak_hex(salt, slot->salt, SALT_LEN);
	json_t *kdf = kind == BAK_SECRET_PASSWORD
			      ? json_pack("{s:s, s:s, s:I, s:I, s:I}", "name", "scrypt", "salt",
					  salt, "n", (json_int_t)slot->n, "r", (json_int_t)slot->r,
					  "p", (json_int_t)slot->p)
			      : json_pack("{s:s, s:s}", "name", "hkdf-sha256", "salt", salt);
	return json_pack("{s:i, s:s, s:s, s:s, s:o, s:s}", "version", SLOT_VERSION, "kind",
			 slot->kind, "label", slot->label, "created", slot->created, "kdf", kdf,
			 "ring", slot->ring_hex);
}

/* The MAC of a slot without its member "mac", which is taken out. */
static int slot_mac(const struct bak_keyring *ring, const char *slot_id, json_t *json,
		    char out_hex[2 * BAK_SHA256_LEN + 1], struct bak_error *err)
{
	BAK_AUTO(bak_buf_release) struct bak_buf covered = BAK_BUF_INIT;
	uint8_t mac[BAK_SHA256_LEN];
	json_object_del(json, "mac");
	char *text = json_dumps(json, JSON_SORT_KEYS | JSON_COMPACT);
	int rc = text && bak_buf_printf(&covered, "bakfs slot %s %s", slot_id, text) == 0
			 ? bak_hmac_once(ring->id_key, covered.p, covered.len, mac, err)
			 : bak_error_nomem(err);
	free(text);
	if (rc == 0)
		bak_hex(out_hex, mac, sizeof mac);
	return rc;
}

/* Seals the packed ring under the slot's key, as hex. */
static int slot_wrap(const struct bak_keyring *ring, const char *slot_id,
		     const struct bak_secret *secret, const struct slot *slot,
		     struct bak_buf *out_hex, struct bak_error *err)
{
	BAK_AUTO(bak_buf_release) struct bak_buf plain = BAK_BUF_INIT;
	uint8_t key[32], aad[SLOT_AAD_LEN];
	if (slot_aad(ring->repo_id, slot_id, aad, err) < 0 || ring_pack(ring, &plain, err) < 0)
		return -1;
	size_t len = plain.len;
	int result = derive(secret, slot, key, err);
	if (result == 0 && (bak_buf_resize(&plain, len + BAK_TAG_BYTES) < 0 ||
			    bak_buf_resize(out_hex, 2 * plain.len + 1) < 0))
		result = bak_error_nomem(err);
	if (result == 0)
		result = bak_gcm_seal(key, aad, sizeof aad, plain.p, len, plain.p, err);
	if (result == 0)
		bak_hex((char *)out_hex->p, plain.p, plain.len);
	else
		bak_wipe(plain.p, plain.len);
	bak_wipe(key, sizeof key);
	return result;
}

int bak_slot_seal(const struct bak_keyring *ring, const char *slot_id,
		  const struct bak_secret *secret, const char *label, int scrypt_log_n,
		  struct bak_buf *out_json, struct bak_error *err)
{
	BAK_AUTO(bak_buf_release) struct bak_buf hex = BAK_BUF_INIT;
	char created[BAK_TIME_LEN + 1];
	bak_time_format(time(NULL), created);
	struct slot slot = {.kind = secret->kind == BAK_SECRET_PASSWORD ? "password" : "keyfile",
			    .label = label ? label : "",
			    .created = created,
			    .n = 1ull << scrypt_log_n,
			    .r = SCRYPT_R,
			    .p = 1};
	if (strlen(slot.label) >= sizeof((struct bak_slot_info *)0)->label)
		return bak_error_set(err, BAK_USAGE, "a label has at most 64 bytes");
	if (bak_random(slot.salt, sizeof slot.salt, err) < 0 ||
	    slot_wrap(ring, slot_id, secret, &slot, &hex, err) < 0)
		return -1;
	slot.ring_hex = (const char *)hex.p;

	json_t *json = slot_json(&slot, secret->kind);
	if (!json)
		return bak_error_set(err, BAK_USAGE, "the label is not UTF-8");
	char mac[2 * BAK_SHA256_LEN + 1], *text = NULL;
	int result = slot_mac(ring, slot_id, json, mac, err);
	if (result == 0 && (json_object_set_new(json, "mac", json_string(mac)) < 0 ||
			    !(text = json_dumps(json, JSON_SORT_KEYS | JSON_COMPACT)) ||
			    bak_buf_printf(out_json, "%s\n", text) < 0))
		result = bak_error_nomem(err);
	free(text);
	json_decref(json);
	return result;
}

static int slot_damaged(const char *what, struct bak_error *err)
{
	return bak_error_set(err, BAK_CORRUPT, "damaged key slot: %s", what);
}

static int kdf_parse(json_t *kdf, struct slot *out, struct bak_error *err)
{
	const char *name, *salt;
	json_int_t n = 0, r = 0, p = 0;
	if (json_unpack(kdf, "{s:s, s:s}", "name", &name, "salt", &salt) < 0 ||
	    !bak_unhex(out->salt, SALT_LEN, salt))
		return slot_damaged("no kdf or salt", err);
	if (strcmp(out->kind, "keyfile") == 0)
		return strcmp(name, "hkdf-sha256") == 0 ? 0 : slot_damaged("unknown kdf", err);
	if (strcmp(out->kind, "password") != 0 || strcmp(name, "scrypt") != 0)
		return slot_damaged("unknown kind or kdf", err);
	if (json_unpack(kdf, "{s:I, s:I, s:I}", "n", &n, "r", &r, "p", &p) < 0 || n < 2 ||
	    (n & (n - 1)) != 0 || r < 1 || p < 1)
		return slot_damaged("impossible scrypt parameters", err);
	if (p > SCRYPT_MAX_P || r > 1024 || (uint64_t)n > SCRYPT_MAX_MEMORY / 128 / (uint64_t)r)
		return bak_error_set(err, BAK_REFUSED,
				     "key slot asks for more than 1 GiB of memory");
	out->n = (uint64_t)n;
	out->r = (uint64_t)r;
	out->p = (uint64_t)p;
	return 0;
}

/* Strings in out live as long as *out_json, which is the caller's also after a failure. */
static int slot_parse(const char *text, size_t len, json_t **out_json, struct slot *out,
		      struct bak_error *err)
{
	json_error_t why;
	int version = 0;
	json_t *kdf;
	*out_json = json_loadb(text, len, JSON_REJECT_DUPLICATES, &why);
	if (!*out_json)
		return slot_damaged(why.text, err);
	if (json_unpack(*out_json, "{s:i}", "version", &version) < 0 || version < 1)
		return slot_damaged("no version", err);
	if (version > SLOT_VERSION)
		return bak_error_set(err, BAK_UNSUPPORTED, "key slot of a newer version (%d)",
				     version);
	if (json_unpack(*out_json, "{s:s, s:s, s:s, s:o, s:s}", "kind", &out->kind, "label",
			&out->label, "created", &out->created, "kdf", &kdf, "ring",
			&out->ring_hex) < 0)
		return slot_damaged("fields missing", err);
	return kdf_parse(kdf, out, err);
}

/* 1 opened, 0 wrong secret, -1. */
static int slot_unwrap(const uint8_t repo_id[BAK_REPO_ID_BYTES], const char *slot_id,
		       const struct slot *slot, const struct bak_secret *secret,
		       struct bak_keyring *out, struct bak_error *err)
{
	BAK_AUTO(bak_buf_release) struct bak_buf sealed = BAK_BUF_INIT;
	uint8_t key[32], aad[SLOT_AAD_LEN];
	size_t hex_len = strlen(slot->ring_hex), len = hex_len / 2;
	size_t most = RING_FIXED + BAK_KEYRING_MAX_MASTERS * MASTER_LEN + BAK_TAG_BYTES;
	if (len < BAK_TAG_BYTES || len > most)
		return slot_damaged("impossible length of the ring", err);
	if (bak_buf_resize(&sealed, len) < 0)
		return bak_error_nomem(err);
	if (!bak_unhex(sealed.p, len, slot->ring_hex))
		return slot_damaged("the ring is not hex", err);
	if (slot_aad(repo_id, slot_id, aad, err) < 0 || derive(secret, slot, key, err) < 0)
		return -1;
	len -= BAK_TAG_BYTES;
	int opened = bak_gcm_open(key, aad, sizeof aad, sealed.p, len, sealed.p, err);
	bak_wipe(key, sizeof key);
	if (opened == 1) {
		if (ring_unpack(sealed.p, len, out, err) < 0)
			opened = -1;
		else
			memcpy(out->repo_id, repo_id, BAK_REPO_ID_BYTES);
	}
	bak_wipe(sealed.p, sealed.len);
	return opened;
}

int bak_slot_open(const uint8_t repo_id[BAK_REPO_ID_BYTES], const char *slot_id, const char *json,
		  size_t json_len, const struct bak_secret *secret, struct bak_keyring *out,
		  struct bak_error *err)
{
	json_t *parsed = NULL;
	struct slot slot;
	int result = slot_parse(json, json_len, &parsed, &slot, err);
	if (result == 0) {
		bool password = strcmp(slot.kind, "password") == 0;
		if (password == (secret->kind == BAK_SECRET_PASSWORD))
			result = slot_unwrap(repo_id, slot_id, &slot, secret, out, err);
	}
	json_decref(parsed);
	return result;
}

int bak_slot_describe(const char *slot_id, const char *json, size_t json_len,
		      struct bak_slot_info *out, struct bak_error *err)
{
	json_t *parsed = NULL;
	struct slot slot;
	int result = slot_parse(json, json_len, &parsed, &slot, err);
	if (result == 0) {
		snprintf(out->id, sizeof out->id, "%s", slot_id);
		snprintf(out->kind, sizeof out->kind, "%s", slot.kind);
		snprintf(out->label, sizeof out->label, "%s", slot.label);
		snprintf(out->created, sizeof out->created, "%s", slot.created);
	}
	json_decref(parsed);
	return result;
}

int bak_slot_check(const struct bak_keyring *ring, const char *slot_id, const char *json,
		   size_t json_len, struct bak_error *err)
{
	json_t *parsed = NULL;
	struct slot slot;
	char mac[2 * BAK_SHA256_LEN + 1], want[2 * BAK_SHA256_LEN + 1];
	int result = slot_parse(json, json_len, &parsed, &slot, err);
	const char *has = result == 0 ? json_string_value(json_object_get(parsed, "mac")) : NULL;
	if (has) {
		snprintf(mac, sizeof mac, "%s", has);
		bool whole = strlen(has) == sizeof mac - 1;
		result = slot_mac(ring, slot_id, parsed, want, err);
		if (result == 0)
			result = whole && strcmp(mac, want) == 0
					 ? 1
					 : slot_damaged("its MAC does not fit", err);
	} else if (result == 0 && json_object_size(parsed) > SLOT_MEMBERS) {
		result = slot_damaged("its MAC is missing", err);
	}
	json_decref(parsed);
	return result;
}
