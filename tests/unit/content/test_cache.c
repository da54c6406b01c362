/* The cache: made once however many ask, bounded, errors shared and not kept, pins keep values. */
#include "engine/content/cache.h"

#include "engine/content/source.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>

#include <cmocka.h>

struct maker {
	atomic_int made, freed, fail;
	size_t weight; /* 0: 1000 */
};

struct value {
	struct maker *maker;
	uint32_t off;
};

static void value_free(void *p)
{
	struct value *v = p;
	v->maker->freed++;
	free(v);
}

static int make(void *ctx, const struct bak_cache_key *key, struct bak_cache_value *out,
		struct bak_error *err)
{
	struct maker *m = ctx;
	m->made++;
	if (m->fail)
		return bak_error_set(err, BAK_IO, "no luck with %u", key->off);
	struct value *v = malloc(sizeof *v);
	if (!v)
		return bak_error_nomem(err);
	*v = (struct value){m, key->off};
	*out = (struct bak_cache_value){v, m->weight ? m->weight : 1000, value_free};
	return 0;
}

static void test_bound_and_order(void **state)
{
	(void)state;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_cache *cache;
	struct maker m = {0};
	struct bak_pin *held, *pin;
	assert_int_equal(bak_cache_new(3000, &cache, &err), 0);
	struct bak_cache_key key = {.off = 0};
	assert_int_equal(bak_cache_get(cache, &key, make, &m, &held, &err), 0);
	for (key.off = 1; key.off < 20; key.off++) {
		assert_int_equal(bak_cache_get(cache, &key, make, &m, &pin, &err), 0);
		bak_pin_put(pin);
	}
	/* What is pinned stays, and the two used last. */
	assert_int_equal(m.freed, 20 - 3);
	assert_int_equal(((struct value *)bak_pin_value(held))->off, 0);
	key.off = 19;
	assert_int_equal(bak_cache_get(cache, &key, make, &m, &pin, &err), 0);
	assert_int_equal(m.made, 20);
	bak_pin_put(pin);
	bak_pin_put(held);
	bak_cache_free(cache);
	assert_int_equal(m.freed, 20);
}

/* What is spent goes first, though it was used last, and there is never much of it. */
static void test_spent_goes_first(void **state)
{
	(void)state;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_cache *cache;
	struct maker m = {.weight = 1u << 20};
	struct bak_pin *pin;
	struct bak_cache_key key = {.off = 1000};
	assert_int_equal(bak_cache_new(64u << 20, &cache, &err), 0);
	assert_int_equal(bak_cache_get(cache, &key, make, &m, &pin, &err), 0);
	bak_pin_put(pin);
	for (key.off = 0; key.off < 100; key.off++) {
		assert_int_equal(bak_cache_get(cache, &key, make, &m, &pin, &err), 0);
		bak_pin_spend(pin);
		bak_pin_spend(pin);
		bak_pin_put(pin);
	}
	assert_int_equal(m.freed, 100 - 16);
	/* Using one again does not make the others stay. */
	key.off = 90;
	assert_int_equal(bak_cache_get(cache, &key, make, &m, &pin, &err), 0);
	bak_pin_put(pin);
	assert_int_equal(m.made, 101);
	m.weight = 40u << 20;
	for (key.off = 2000; key.off < 2002; key.off++) {
		assert_int_equal(bak_cache_get(cache, &key, make, &m, &pin, &err), 0);
		bak_pin_put(pin);
	}
	assert_int_equal(m.freed, 102); /* all spent ones, and the two oldest others */
	bak_cache_free(cache);
	assert_int_equal(m.freed, m.made);
}

static void test_errors_are_not_kept(void **state)
{
	(void)state;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_cache *cache;
	struct maker m = {.fail = 1};
	struct bak_pin *pin;
	struct bak_cache_key key = {.off = 4};
	assert_int_equal(bak_cache_new(3000, &cache, &err), 0);
	assert_int_equal(bak_cache_get(cache, &key, make, &m, &pin, &err), -1);
	assert_string_equal(err.msg, "no luck with 4");
	m.fail = 0;
	assert_int_equal(bak_cache_get(cache, &key, make, &m, &pin, &err), 0);
	bak_pin_put(pin);
	bak_cache_free(cache);
}

struct asker {
	struct bak_cache *cache;
	struct maker *maker;
	int bad;
};

/* A maker who warms the key that it is making: would warming wait, it would wait for ever. */
static int make_warming(void *ctx, const struct bak_cache_key *key, struct bak_cache_value *out,
			struct bak_error *err)
{
	struct asker *a = ctx;
	return bak_cache_warm(a->cache, key, make, a->maker, err) < 0
		       ? -1
		       : make(a->maker, key, out, err);
}

static void test_warming_does_not_wait(void **state)
{
	(void)state;
	struct bak_error err = BAK_ERROR_INIT;
	struct maker m = {0};
	struct asker a = {.maker = &m};
	struct bak_pin *pin;
	struct bak_cache_key key = {.off = 7};
	assert_int_equal(bak_cache_new(3000, &a.cache, &err), 0);
	assert_int_equal(bak_cache_warm(a.cache, &key, make_warming, &a, &err), 0);
	assert_int_equal(bak_cache_warm(a.cache, &key, make_warming, &a, &err), 0);
	assert_int_equal(bak_cache_get(a.cache, &key, make_warming, &a, &pin, &err), 0);
	assert_int_equal(m.made, 1);
	bak_pin_put(pin);
	bak_cache_free(a.cache);
	assert_int_equal(m.freed, 1);
}

static void *ask(void *arg)
{
	struct asker *a = arg;
	uint64_t x = (uintptr_t)a;
	for (int i = 0; i < 20000; i++) {
		x = x * 6364136223846793005u + 1442695040888963407u;
		struct bak_cache_key key = {.off = (uint32_t)(x >> 33) % 12};
		struct bak_error err = BAK_ERROR_INIT;
		struct bak_pin *pin, *two;
		if (bak_cache_get(a->cache, &key, make, a->maker, &pin, &err) < 0) {
			a->bad++;
			continue;
		}
		two = bak_pin_dup(pin);
		bak_pin_put(pin);
		if (((struct value *)bak_pin_value(two))->off != key.off)
			a->bad++;
		bak_pin_put(two);
	}
	return NULL;
}

static void test_many_threads(void **state)
{
	(void)state;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_cache *cache;
	struct maker m = {0};
	struct asker askers[6];
	pthread_t threads[6];
	assert_int_equal(bak_cache_new(5000, &cache, &err), 0);
	for (int i = 0; i < 6; i++) {
		askers[i] = (struct asker){cache, &m, 0};
		assert_int_equal(pthread_create(&threads[i], NULL, ask, &askers[i]), 0);
	}
	for (int i = 0; i < 6; i++) {
		pthread_join(threads[i], NULL);
		assert_int_equal(askers[i].bad, 0);
	}
	uint64_t hits, misses, bytes;
	bak_cache_stats(cache, &hits, &misses, &bytes);
	assert_int_equal(hits + misses, 6 * 20000);
	assert_int_equal(misses, m.made);
	assert_true(bytes <= 5000);
	bak_cache_free(cache);
	assert_int_equal(m.freed, m.made);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bound_and_order),
		cmocka_unit_test(test_spent_goes_first),
		cmocka_unit_test(test_errors_are_not_kept),
		cmocka_unit_test(test_warming_does_not_wait),
		cmocka_unit_test(test_many_threads),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
