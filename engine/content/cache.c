/* A bounded cache with single-flight making: see cache.h. */
#include "engine/content/cache.h"

#include "engine/content/source.h"

#include <pthread.h>
#include <stdlib.h>

/* What was read to its end stays for this many bytes: several readers of one file come in any order,
 * and who was left behind comes back. */
#define SPENT_MAX (16u << 20)

enum state { MAKING, READY, FAILED };

/* Least recently used last. */
struct list {
	struct bak_pin *newest, *oldest;
	size_t bytes;
};

/* Invariants: in the table unless `loose`; in a list exactly when READY and in the table; refs
 * counts pins, and the maker and waiters of one being made. */
struct bak_pin {
	struct bak_cache *cache;
	struct list *list;
	struct bak_cache_key key;
	struct bak_cache_value value;
	enum state state;
	bool loose;
	size_t refs;
	struct bak_error error; /* FAILED */
	struct bak_pin *chain;  /* in its bucket */
	struct bak_pin *newer, *older;
};

struct bak_cache {
	pthread_mutex_t lock; /* guards everything below and the pins' fields */
	pthread_cond_t made;
	size_t bound, spent_bound;
	struct list used, spent;
	uint64_t hits, misses;
	size_t n, n_buckets; /* a power of two */
	struct bak_pin **buckets;
};

static size_t bucket_of(const struct bak_cache *cache, const struct bak_cache_key *key)
{
	uint64_t h;
	memcpy(&h, key->seg.run, sizeof h);
	h ^= ((uint64_t)key->seg.n << 32 | key->off) * 0x9e3779b97f4a7c15u;
	h ^= (uint64_t)key->kind << 59;
	h *= 0xff51afd7ed558ccdu;
	return (size_t)(h >> 32) & (cache->n_buckets - 1);
}

static bool same_key(const struct bak_cache_key *a, const struct bak_cache_key *b)
{
	return a->kind == b->kind && a->off == b->off && bak_seg_id_equal(&a->seg, &b->seg);
}

int bak_cache_new(size_t bound, struct bak_cache **out_cache, struct bak_error *err)
{
	struct bak_cache *cache = calloc(1, sizeof *cache);
	if (!cache)
		return bak_error_nomem(err);
	cache->bound = bound;
	cache->spent_bound = bound < SPENT_MAX ? bound : SPENT_MAX;
	cache->n_buckets = 4096;
	cache->buckets = calloc(cache->n_buckets, sizeof *cache->buckets);
	if (!cache->buckets) {
		free(cache);
		return bak_error_nomem(err);
	}
	pthread_mutex_init(&cache->lock, NULL);
	pthread_cond_init(&cache->made, NULL);
	*out_cache = cache;
	return 0;
}

static void list_remove(struct bak_pin *pin)
{
	struct list *list = pin->list;
	*(pin->newer ? &pin->newer->older : &list->newest) = pin->older;
	*(pin->older ? &pin->older->newer : &list->oldest) = pin->newer;
	pin->newer = pin->older = NULL;
	list->bytes -= pin->value.weight;
	pin->list = NULL;
}

static void list_push(struct list *list, struct bak_pin *pin)
{
	pin->older = list->newest;
	pin->newer = NULL;
	*(list->newest ? &list->newest->newer : &list->oldest) = pin;
	list->newest = pin;
	list->bytes += pin->value.weight;
	pin->list = list;
}

static void table_remove(struct bak_cache *cache, struct bak_pin *pin)
{
	struct bak_pin **at = &cache->buckets[bucket_of(cache, &pin->key)];
	while (*at != pin)
		at = &(*at)->chain;
	*at = pin->chain;
	pin->chain = NULL;
	cache->n--;
	pin->loose = true;
}

static void table_insert(struct bak_cache *cache, struct bak_pin *pin)
{
	struct bak_pin **at = &cache->buckets[bucket_of(cache, &pin->key)];
	pin->chain = *at;
	*at = pin;
	cache->n++;
}

static bool over(const struct bak_cache *cache)
{
	return cache->used.bytes + cache->spent.bytes > cache->bound ||
	       cache->spent.bytes > cache->spent_bound;
}

/* Takes an unpinned value out of the table, and puts it before the chain. */
static void detach(struct bak_cache *cache, struct bak_pin *pin, struct bak_pin **chain)
{
	list_remove(pin);
	table_remove(cache, pin);
	pin->chain = *chain;
	*chain = pin;
}

/* Takes what is over the bounds and unpinned out of the table, what is spent first; returns it as a
 * chain to be freed without the lock. */
static struct bak_pin *evict(struct bak_cache *cache)
{
	struct bak_pin *gone = NULL, *next;
	for (struct bak_pin *pin = cache->spent.oldest; pin && over(cache); pin = next) {
		next = pin->newer;
		if (pin->refs == 0)
			detach(cache, pin, &gone);
	}
	for (struct bak_pin *pin = cache->used.oldest;
	     pin && cache->used.bytes + cache->spent.bytes > cache->bound; pin = next) {
		next = pin->newer;
		if (pin->refs == 0)
			detach(cache, pin, &gone);
	}
	return gone;
}

static void free_chain(struct bak_pin *chain)
{
	while (chain) {
		struct bak_pin *next = chain->chain;
		if (chain->value.free)
			chain->value.free(chain->value.p);
		free(chain);
		chain = next;
	}
}

static void detach_unpinned(struct bak_cache *cache, struct list *list, struct bak_pin **chain)
{
	for (struct bak_pin *pin = list->oldest, *next; pin; pin = next) {
		next = pin->newer;
		if (pin->refs == 0)
			detach(cache, pin, chain);
	}
}

void bak_cache_free(struct bak_cache *cache)
{
	if (!cache)
		return;
	/* Values may hold pins on others: freeing one can unpin the next. */
	size_t before;
	do {
		struct bak_pin *gone = NULL;
		before = cache->n;
		pthread_mutex_lock(&cache->lock);
		detach_unpinned(cache, &cache->spent, &gone);
		detach_unpinned(cache, &cache->used, &gone);
		pthread_mutex_unlock(&cache->lock);
		free_chain(gone);
	} while (cache->n < before);
	pthread_mutex_destroy(&cache->lock);
	pthread_cond_destroy(&cache->made);
	free(cache->buckets);
	free(cache);
}

static struct bak_pin *find(struct bak_cache *cache, const struct bak_cache_key *key)
{
	struct bak_pin *pin = cache->buckets[bucket_of(cache, key)];
	while (pin && !same_key(&pin->key, key))
		pin = pin->chain;
	return pin;
}

/* Gives one reference back; returns a chain to be freed without the lock. */
static struct bak_pin *unref(struct bak_cache *cache, struct bak_pin *pin)
{
	if (--pin->refs > 0)
		return NULL;
	if (pin->loose) {
		pin->chain = NULL;
		return pin;
	}
	return over(cache) ? evict(cache) : NULL;
}

/* With the lock held: waits for another thread's making. */
static int wait_made(struct bak_cache *cache, struct bak_pin *pin, struct bak_error *err)
{
	while (pin->state == MAKING)
		pthread_cond_wait(&cache->made, &cache->lock);
	if (pin->state == READY)
		return 0;
	*err = pin->error;
	return -1;
}

static int make(struct bak_cache *cache, struct bak_pin *pin, bak_cache_make_fn *fn, void *ctx,
		struct bak_error *err)
{
	struct bak_error mine = BAK_ERROR_INIT;
	int rc = fn(ctx, &pin->key, &pin->value, &mine);
	pthread_mutex_lock(&cache->lock);
	struct bak_pin *gone = NULL;
	if (rc < 0) {
		pin->state = FAILED;
		pin->error = mine;
		pin->value = (struct bak_cache_value){0};
		table_remove(cache, pin);
		gone = unref(cache, pin);
	} else {
		pin->state = READY;
		list_push(&cache->used, pin);
		if (over(cache))
			gone = evict(cache);
	}
	pthread_cond_broadcast(&cache->made);
	pthread_mutex_unlock(&cache->lock);
	free_chain(gone);
	if (rc < 0)
		*err = mine;
	return rc;
}

static struct bak_pin *pin_new(struct bak_cache *cache)
{
	struct bak_pin *pin = calloc(1, sizeof *pin);
	if (pin) {
		pin->cache = cache;
		pin->refs = 1;
	}
	return pin;
}

/* With the lock held: it is the one used last. */
static void touch(struct bak_pin *pin)
{
	struct list *list = pin->list;
	if (!list || list->newest == pin)
		return;
	list_remove(pin);
	list_push(list, pin);
}

/* With the lock held, which it gives back: a value of the cache, once it is made. */
static int get_present(struct bak_cache *cache, struct bak_pin *pin, struct bak_pin **out_pin,
		       struct bak_error *err)
{
	struct bak_pin *gone = NULL;
	cache->hits++;
	pin->refs++;
	int rc = wait_made(cache, pin, err);
	if (rc < 0)
		gone = unref(cache, pin);
	else
		touch(pin);
	pthread_mutex_unlock(&cache->lock);
	free_chain(gone);
	*out_pin = rc < 0 ? NULL : pin;
	return rc;
}

/* With the lock held, which it gives back. */
static int make_absent(struct bak_cache *cache, const struct bak_cache_key *key,
		       bak_cache_make_fn *fn, void *ctx, struct bak_pin **out_pin,
		       struct bak_error *err)
{
	cache->misses++;
	struct bak_pin *pin = pin_new(cache);
	if (!pin) {
		pthread_mutex_unlock(&cache->lock);
		return bak_error_nomem(err);
	}
	pin->key = *key;
	pin->state = MAKING;
	table_insert(cache, pin);
	pthread_mutex_unlock(&cache->lock);
	if (make(cache, pin, fn, ctx, err) < 0)
		return -1;
	*out_pin = pin;
	return 0;
}

int bak_cache_get(struct bak_cache *cache, const struct bak_cache_key *key, bak_cache_make_fn *fn,
		  void *ctx, struct bak_pin **out_pin, struct bak_error *err)
{
	pthread_mutex_lock(&cache->lock);
	struct bak_pin *pin = find(cache, key);
	return pin ? get_present(cache, pin, out_pin, err)
		   : make_absent(cache, key, fn, ctx, out_pin, err);
}

int bak_cache_warm(struct bak_cache *cache, const struct bak_cache_key *key, bak_cache_make_fn *fn,
		   void *ctx, struct bak_error *err)
{
	pthread_mutex_lock(&cache->lock);
	struct bak_pin *pin = find(cache, key);
	if (pin) {
		touch(pin);
		pthread_mutex_unlock(&cache->lock);
		return 0;
	}
	if (make_absent(cache, key, fn, ctx, &pin, err) < 0)
		return -1;
	bak_pin_put(pin);
	return 0;
}

int bak_cache_wrap(struct bak_cache *cache, const struct bak_cache_value *value,
		   struct bak_pin **out_pin, struct bak_error *err)
{
	struct bak_pin *pin = pin_new(cache);
	if (!pin) {
		value->free(value->p);
		return bak_error_nomem(err);
	}
	pin->value = *value;
	pin->state = READY;
	pin->loose = true;
	*out_pin = pin;
	return 0;
}

void *bak_pin_value(const struct bak_pin *pin)
{
	return pin->value.p;
}

struct bak_pin *bak_pin_dup(struct bak_pin *pin)
{
	pthread_mutex_lock(&pin->cache->lock);
	pin->refs++;
	pthread_mutex_unlock(&pin->cache->lock);
	return pin;
}

void bak_pin_spend(struct bak_pin *pin)
{
	struct bak_cache *cache = pin->cache;
	pthread_mutex_lock(&cache->lock);
	if (!pin->loose && pin->list != &cache->spent) {
		list_remove(pin);
		list_push(&cache->spent, pin);
	}
	pthread_mutex_unlock(&cache->lock);
}

void bak_pin_put(struct bak_pin *pin)
{
	if (!pin)
		return;
	struct bak_cache *cache = pin->cache;
	pthread_mutex_lock(&cache->lock);
	struct bak_pin *gone = unref(cache, pin);
	pthread_mutex_unlock(&cache->lock);
	free_chain(gone);
}

void bak_pin_put_ptr(struct bak_pin **pin)
{
	bak_pin_put(*pin);
	*pin = NULL;
}

void bak_cache_stats(struct bak_cache *cache, uint64_t *out_hits, uint64_t *out_misses,
		     uint64_t *out_bytes)
{
	pthread_mutex_lock(&cache->lock);
	*out_hits = cache->hits;
	*out_misses = cache->misses;
	*out_bytes = cache->used.bytes + cache->spent.bytes;
	pthread_mutex_unlock(&cache->lock);
}
