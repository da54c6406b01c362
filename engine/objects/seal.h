/*
 * Sealing: AES-256-GCM under a subkey of its own for each sealing, so no nonce is ever reused. The
 * only caller of the cipher besides keyring.c.
 *
 *   subkey = HMAC-SHA256(master, label || 0x00 || salt || context)    nonce = 12 zero bytes
 *
 *   use                 label            context
 *   segment header      "bakfs header"   (none)
 *   segment body        "bakfs body"     segment id, 16 bytes
 *   other object        "bakfs object"   object name, without a final 0
 *   spool block         "bakfs spool"    block number u64
 *
 * A sealed object (snapshot, lease, record, tags, condemnation) is
 *   0   24  salt, random
 *   24  n   ciphertext of the payload
 *   24+n 16 tag;   associated data: repository id || object name
 * and its name ("snapshots/12") binds kind and number: no object passes for another.
 *
 * Threads: all functions are safe to call from several threads at once.
 */
#ifndef BAK_OBJECTS_SEAL_H
#define BAK_OBJECTS_SEAL_H

#include "engine/objects/keyring.h"

#define BAK_SALT_BYTES 24
#define BAK_TAG_BYTES 16

int bak_subkey(const uint8_t master[32], const char *label, const uint8_t salt[BAK_SALT_BYTES],
	       const void *context, size_t context_len, uint8_t out[32], struct bak_error *err);

/* Encrypts len bytes from in to out (may be the same place) and writes the tag behind them:
 * out holds len + BAK_TAG_BYTES. */
int bak_gcm_seal(const uint8_t key[32], const void *aad, size_t aad_len, const void *in, size_t len,
		 uint8_t *out, struct bak_error *err);
/* in holds len + BAK_TAG_BYTES. 1 opened, 0 the tag does not fit (out is wiped), -1 error. */
int bak_gcm_open(const uint8_t key[32], const void *aad, size_t aad_len, const void *in, size_t len,
		 uint8_t *out, struct bak_error *err);

/* Appends a sealed object to out, under the newest master. */
int bak_object_seal(const struct bak_keyring *ring, const char *name, const void *payload,
		    size_t len, struct bak_buf *out, struct bak_error *err);
/* Appends the payload to out; tries all masters, newest first. BAK_CORRUPT when none opens it. */
int bak_object_open(const struct bak_keyring *ring, const char *name, const void *sealed,
		    size_t len, struct bak_buf *out, struct bak_error *err);

#endif
