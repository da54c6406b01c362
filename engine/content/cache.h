/*
 * A bounded cache of things that are costly to make: decoded segments, parsed tree objects. Each is
 * made once however many threads ask (single-flight); no lock is held while one is made.
 *
 * Ownership: a pin is a reference; the value lives at least as long as its pins. Values without
 *   pins go when the bound is passed, least recently used first. Values may hold pins themselves.
 * Threads: safe.
 */
#ifndef BAK_CONTENT_CACHE_H
#define BAK_CONTENT_CACHE_H

#include "engine/base/error.h"
#include "engine/base/ids.h"

#include <stddef.h>

struct bak_cache;
struct bak_pin;

struct bak_cache_key {
	uint32_t kind; /* the caller's: what sort of thing */
	uint32_t off;
	struct bak_seg_id seg;
};

struct bak_cache_value {
	void *p;
	size_t weight; /* bytes, about */
	void (*free)(void *p);
};
/* Makes the value of a key. Called without locks. */
typedef int bak_cache_make_fn(void *ctx, const struct bak_cache_key *key,
			      struct bak_cache_value *out, struct bak_error *err);

int bak_cache_new(size_t bound, struct bak_cache **out_cache, struct bak_error *err);
void bak_cache_free(struct bak_cache *cache); /* no pins may be left; NULL is fine */

/* The value, from the cache or made. Who waits for another's making shares its error too. */
int bak_cache_get(struct bak_cache *cache, const struct bak_cache_key *key, bak_cache_make_fn *make,
		  void *ctx, struct bak_pin **out_pin, struct bak_error *err);
/* The value is made, unless it is there or another thread makes it, for which this does not wait. */
int bak_cache_warm(struct bak_cache *cache, const struct bak_cache_key *key,
		   bak_cache_make_fn *make, void *ctx, struct bak_error *err);
/* A pin on a value that the cache does not keep. Takes the value over, also on failure. */
int bak_cache_wrap(struct bak_cache *cache, const struct bak_cache_value *value,
		   struct bak_pin **out_pin, struct bak_error *err);
/* Says that the value will hardly be asked for again: it goes before all that is not spent. */
void bak_pin_spend(struct bak_pin *pin);
void *bak_pin_value(const struct bak_pin *pin);

void bak_cache_stats(struct bak_cache *cache, uint64_t *out_hits, uint64_t *out_misses,
		     uint64_t *out_bytes);

#endif
