/*
 * Condemnations: condemned/<32 hex>, a sealed record (snapshot.h) of packs that a prune found to be
 * mostly garbage and that a later one will delete.
 *
 *   {"damaged":true,"packs":["<32 hex>",...],"run":"<16 hex>","time":"...Z"}
 *   run: of the prune; may be missing, as may damaged
 *
 * Its packs are read like others, but nothing new refers to what lies in them alone.
 */
#ifndef BAK_OBJECTS_CONDEMNED_H
#define BAK_OBJECTS_CONDEMNED_H

#include "engine/objects/snapshot.h"

#define BAK_CONDEMNED_NAME_LEN 48

/* Owned by whoever hands it out. */
struct bak_condemned {
	int64_t time;
	bool damaged; /* they are: what does not open in them counts as gone */
	char run[17];
	uint8_t (*packs)[BAK_PACK_ID_BYTES];
	size_t n;
};
void bak_condemned_release(struct bak_condemned *condemned);

/* Writes it under a random id, told in out_name ("condemned/..."). */
int bak_condemned_put(struct bak_backend *backend, const struct bak_keyring *ring,
		      const struct bak_condemned *condemned, char out_name[BAK_CONDEMNED_NAME_LEN],
		      struct bak_error *err);
/* Reads one: 1, 0 gone, or not written by anybody who has the key, -1. */
int bak_condemned_get(struct bak_backend *backend, const struct bak_keyring *ring, const char *name,
		      struct bak_condemned *out, struct bak_error *err);
/* All of them. fn's non-zero ends it and is returned. */
typedef int bak_condemned_fn(void *ctx, const char *name, const struct bak_condemned *condemned);
int bak_condemned_each(struct bak_backend *backend, const struct bak_keyring *ring,
		       bak_condemned_fn *fn, void *ctx, struct bak_error *err);
/* Ends a condemnation: its packs are deleted, or it is taken back. */
int bak_condemned_remove(struct bak_backend *backend, const char *name, struct bak_error *err);

#endif
