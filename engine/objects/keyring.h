/*
 * The key ring and its slots.
 *
 * The ring holds the seal masters (each under a random non-zero number, the newest last), the id
 * key (HMAC of chunks, spans and bakfs.json) and the gear key (chunk boundaries). Id and gear key
 * never change. A slot, keys/<id>.json, is the ring wrapped for one password or one key file:
 *
 *   {"created":"...Z","kdf":{"n":131072,"name":"scrypt","p":1,"r":8,"salt":"<32 hex>"},
 *    "kind":"password","label":"...","mac":"<64 hex>","ring":"<hex>","version":1}
 *   or, for a key file, "kdf":{"name":"hkdf-sha256","salt":"<32 hex>"}, "kind":"keyfile"
 *
 * slot key = scrypt(password, salt, n, r, p, 32 bytes)             (RFC 7914)
 *          | HKDF-SHA256(key file's 32 bytes, salt, "bakfs key slot", 32 bytes)   (RFC 5869)
 * ring     = AES-256-GCM(slot key, nonce of 12 zero bytes (the key is used once), plaintext,
 *            associated data: "bakfs slot" || repository id || slot id as 16 raw bytes) || 16 tag
 * plaintext:  0  u8  version = 1
 *             1  32  id key
 *            33  32  gear key
 *            65  u8  number of masters (1..255)
 *            66  each: u32 number, 32 bytes
 * mac (older slots have none) = HMAC-SHA256(id key, "bakfs slot " || slot id in hex || " " || the
 *   object without "mac" as compact JSON with sorted keys): it lets `check` see damage in slots whose
 *   secret it does not know.
 *
 * A key file is text: "bakfs-key-1 <64 hex>\n".
 * Ownership: a struct bak_keyring wipes itself in release. Not to be copied. Secrets and keys lie in
 *   locked memory (locked.h).
 * Threads: a ring may be used by many threads while bak_keyring_add gives it later masters.
 */
#ifndef BAK_OBJECTS_KEYRING_H
#define BAK_OBJECTS_KEYRING_H

#include "engine/base/buf.h"
#include "engine/base/error.h"
#include "engine/base/ids.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BAK_KEYRING_MAX_MASTERS 255

struct bak_master {
	uint32_t number;
	uint8_t key[32];
};

struct bak_keyring {
	uint8_t repo_id[BAK_REPO_ID_BYTES];
	uint8_t *id_key, *gear_key; /* 32 bytes each */
	size_t n_masters;           /* masters[n_masters - 1] seals */
	size_t n_later;             /* behind them: they came by a rotation, and only open */
	struct bak_master *masters;
	void *block; /* all of it */
	/* Asked when nothing opens: reads keys/ again, perhaps adds masters. May be NULL. */
	void (*reload)(void *ctx);
	void *reload_ctx;
};

enum bak_secret_kind { BAK_SECRET_NONE = 0, BAK_SECRET_PASSWORD, BAK_SECRET_KEYFILE };

/* A password's bytes, or a key file's 32, in locked memory. */
struct bak_secret {
	enum bak_secret_kind kind;
	uint8_t *p;
	size_t len;
};
int bak_secret_password(struct bak_secret *out, const void *p, size_t len, struct bak_error *err);
/* Reads a key file; BAK_USAGE when it is none. */
int bak_secret_keyfile(struct bak_secret *out, const char *path, struct bak_error *err);
/* Makes a new key file (0400, fails if it exists, durable) and reads it into out. */
int bak_secret_keyfile_create(struct bak_secret *out, const char *path, struct bak_error *err);
int bak_secret_copy(struct bak_secret *out, const struct bak_secret *secret, struct bak_error *err);
void bak_secret_release(struct bak_secret *secret);

/* Fresh random keys and one master for a new repository id. */
int bak_keyring_generate(struct bak_keyring *out, struct bak_error *err);
void bak_keyring_release(struct bak_keyring *ring);
/* out becomes ring with one more master, which seals. BAK_REFUSED when there are 255 already. */
int bak_keyring_rotate(const struct bak_keyring *ring, struct bak_keyring *out,
		       struct bak_error *err);
/* Takes over, to open with, what other has and ring has not. Not from two threads at once. */
void bak_keyring_add(struct bak_keyring *ring, const struct bak_keyring *other);
/* How many masters may open something. */
size_t bak_keyring_openers(const struct bak_keyring *ring);
/* Nothing of the first `tried` opened: true if there are more after a reload. */
bool bak_keyring_reload(const struct bak_keyring *ring, size_t tried);

/* scrypt's cost as log2(n); 17 is about half a second and 134 MB. Tests use 10. */
#define BAK_SCRYPT_LOG_N 17

/* The text of keys/<slot_id>.json. slot_id: 32 hex digits. */
int bak_slot_seal(const struct bak_keyring *ring, const char *slot_id,
		  const struct bak_secret *secret, const char *label, int scrypt_log_n,
		  struct bak_buf *out_json, struct bak_error *err);
/* 1 opened, 0 this secret does not open it (or is of the other kind), -1 error (damaged, newer
 * version, parameters above 1 GiB of memory refused). */
int bak_slot_open(const uint8_t repo_id[BAK_REPO_ID_BYTES], const char *slot_id, const char *json,
		  size_t json_len, const struct bak_secret *secret, struct bak_keyring *out,
		  struct bak_error *err);

/* By its MAC: 1 whole, 0 it has none, -1 BAK_CORRUPT. */
int bak_slot_check(const struct bak_keyring *ring, const char *slot_id, const char *json,
		   size_t json_len, struct bak_error *err);

struct bak_slot_info {
	char id[2 * 16 + 1];
	char kind[16], label[65], created[32];
};
int bak_slot_describe(const char *slot_id, const char *json, size_t json_len,
		      struct bak_slot_info *out, struct bak_error *err);

#endif
