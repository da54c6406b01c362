/* A folder's entries in memory: found, listed in order from anywhere, removed meanwhile. */
#include "fs/dirmap.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define N 5000

static void test_add_find_remove(void **state)
{
	(void)state;
	struct bak_dirmap map = {.v = NULL};
	char name[32];
	assert_null(bak_dirmap_find(&map, "none"));
	for (size_t i = 0; i < N; i++) {
		snprintf(name, sizeof name, "file-%zu", i);
		assert_int_equal(bak_dirmap_add(&map, name, (void *)(i + 1)), 0);
	}
	assert_int_equal(map.live, N);
	for (size_t i = 0; i < N; i += 2) {
		snprintf(name, sizeof name, "file-%zu", i);
		bak_dirmap_remove(&map, name);
	}
	bak_dirmap_remove(&map, "none");
	assert_int_equal(map.live, N / 2);
	for (size_t i = 0; i < N; i++) {
		snprintf(name, sizeof name, "file-%zu", i);
		struct bak_dirmap_entry *entry = bak_dirmap_find(&map, name);
		assert_int_equal(entry != NULL, i % 2);
		if (entry)
			assert_ptr_equal(entry->value, (void *)(i + 1));
	}
	bak_dirmap_release(&map);
}

/* rm -r: a listing that goes on where it was while what it named is removed. */
static void test_listing_while_removing(void **state)
{
	(void)state;
	struct bak_dirmap map = {.v = NULL};
	char name[32];
	for (size_t i = 0; i < N; i++) {
		snprintf(name, sizeof name, "%zu", i);
		assert_int_equal(bak_dirmap_add(&map, name, NULL), 0);
	}
	uint64_t after = 0;
	size_t seen = 0;
	const struct bak_dirmap_entry *entry;
	while ((entry = bak_dirmap_next(&map, after))) {
		assert_true(entry->serial > after);
		after = entry->serial;
		snprintf(name, sizeof name, "%s", entry->name);
		assert_int_equal(strtoul(name, NULL, 10), seen);
		bak_dirmap_remove(&map, name);
		seen++;
	}
	assert_int_equal(seen, N);
	assert_int_equal(map.live, 0);
	bak_dirmap_release(&map);
}

/* A name that comes again has another place: nobody who lists sees it twice before it. */
static void test_serials_are_not_given_again(void **state)
{
	(void)state;
	struct bak_dirmap map = {.v = NULL};
	uint64_t last = 0;
	for (int i = 0; i < 1000; i++) {
		assert_int_equal(bak_dirmap_add(&map, "same", NULL), 0);
		uint64_t serial = bak_dirmap_find(&map, "same")->serial;
		assert_true(serial > last);
		last = serial;
		bak_dirmap_remove(&map, "same");
	}
	assert_true(map.cap < 500); /* gaps are closed */
	bak_dirmap_release(&map);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_add_find_remove),
		cmocka_unit_test(test_listing_while_removing),
		cmocka_unit_test(test_serials_are_not_given_again),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
