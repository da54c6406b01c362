/* Unions of ranges against a row of marks. */
#include "engine/base/ranges.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SPACE 200u

static void compare(const struct bak_ranges *ranges, const bool *marks)
{
	uint64_t total = 0;
	for (uint32_t i = 0; i < SPACE; i++) {
		assert_int_equal(bak_ranges_has(ranges, i, 1), marks[i]);
		total += marks[i];
	}
	assert_int_equal(bak_ranges_total(ranges), total);
	for (size_t i = 0; i < ranges->n; i++) {
		assert_true(ranges->v[i].off < ranges->v[i].end);
		if (i > 0)
			assert_true(ranges->v[i - 1].end < ranges->v[i].off);
	}
}

static void test_random(void **state)
{
	(void)state;
	unsigned seed = 1;
	for (int round = 0; round < 300; round++) {
		struct bak_ranges ranges = {.n = 0};
		bool marks[SPACE] = {false};
		for (int i = 0; i < 30; i++) {
			uint32_t off = (uint32_t)rand_r(&seed) % SPACE;
			uint32_t len = (uint32_t)rand_r(&seed) % (SPACE - off) % 25;
			assert_int_equal(bak_ranges_add(&ranges, off, len), 0);
			memset(marks + off, 1, len);
			compare(&ranges, marks);
			uint32_t at = (uint32_t)rand_r(&seed) % (SPACE - 10);
			bool all = true;
			for (uint32_t k = at; k < at + 10; k++)
				all &= marks[k];
			assert_int_equal(bak_ranges_has(&ranges, at, 10), all);
		}
		bak_ranges_release(&ranges);
	}
}

static void test_ends(void **state)
{
	(void)state;
	struct bak_ranges ranges = {.n = 0};
	assert_false(bak_ranges_has(&ranges, 0, 1));
	assert_int_equal(bak_ranges_add(&ranges, UINT32_MAX - 10, 10), 0);
	assert_int_equal(bak_ranges_add(&ranges, 0, 5), 0);
	assert_true(bak_ranges_has(&ranges, UINT32_MAX - 1, 1));
	assert_false(bak_ranges_has(&ranges, UINT32_MAX - 1, 2));
	assert_int_equal(bak_ranges_add(&ranges, 5, UINT32_MAX - 15), 0);
	assert_int_equal(ranges.n, 1);
	assert_int_equal(bak_ranges_total(&ranges), UINT32_MAX);
	bak_ranges_release(&ranges);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_ends),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
