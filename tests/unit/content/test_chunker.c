/* Chunk boundaries: within their bounds, the same wherever the bytes stand, moved by an edit only
 * near it. */
#include "engine/content/chunker.h"

#include "tests/lib/fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static const uint8_t key[32] = {7};
#define LEN (8u << 20)

static size_t cut_all(const struct bak_chunker *c, const uint8_t *p, size_t len, size_t *ends)
{
	size_t n = 0;
	for (size_t at = 0; at < len; n++) {
		at += bak_chunker_cut(c, p + at, len - at);
		ends[n] = at;
	}
	return n;
}

static void test_bounds_and_average(void **state)
{
	(void)state;
	struct bak_chunker c;
	struct bak_error err = BAK_ERROR_INIT;
	uint8_t *p = malloc(LEN);
	size_t *ends = calloc(LEN / 8192 + 1, sizeof *ends);
	assert_non_null(p);
	assert_non_null(ends);
	bak_fill_random(p, LEN, 1);
	assert_int_equal(bak_chunker_init(&c, key, 8192, 32768, 131072, &err), 0);
	size_t n = cut_all(&c, p, LEN, ends);
	for (size_t i = 0; i < n; i++) {
		size_t len = ends[i] - (i ? ends[i - 1] : 0);
		assert_true(len <= 131072);
		assert_true(len >= 8192 || i + 1 == n);
	}
	assert_in_range(n, LEN / 65536, LEN / 16384);
	free(p);
	free(ends);
}

static void test_an_edit_moves_few(void **state)
{
	(void)state;
	struct bak_chunker c;
	struct bak_error err = BAK_ERROR_INIT;
	uint8_t *p = malloc(LEN), *q = malloc(LEN + 100);
	size_t *a = calloc(LEN / 8192 + 1, sizeof *a), *b = calloc(LEN / 8192 + 2, sizeof *b);
	assert_true(p && q && a && b);
	bak_fill_text(p, LEN, 3);
	/* A hundred bytes put into the middle. */
	memcpy(q, p, LEN / 2);
	memset(q + LEN / 2, 'x', 100);
	memcpy(q + LEN / 2 + 100, p + LEN / 2, LEN / 2);
	assert_int_equal(bak_chunker_init(&c, key, 8192, 32768, 131072, &err), 0);
	size_t n = cut_all(&c, p, LEN, a), m = cut_all(&c, q, LEN + 100, b), same = 0;
	for (size_t i = 0, k = 0; i < n; i++) {
		size_t want = a[i] <= LEN / 2 ? a[i] : a[i] + 100;
		while (k < m && b[k] < want)
			k++;
		same += k < m && b[k] == want;
	}
	assert_true(same + 12 >= n);
	free(p);
	free(q);
	free(a);
	free(b);
}

static void test_impossible_sizes(void **state)
{
	(void)state;
	struct bak_chunker c;
	struct bak_error err = BAK_ERROR_INIT;
	assert_int_equal(bak_chunker_init(&c, key, 8192, 30000, 131072, &err), -1);
	assert_int_equal(bak_chunker_init(&c, key, 32768, 32768, 131072, &err), -1);
	assert_int_equal(bak_chunker_init(&c, key, 0, 32768, 131072, &err), -1);
	assert_int_equal(bak_chunker_init(&c, key, 8192, 32768, 32768, &err), -1);
	assert_int_equal(err.code, BAK_CORRUPT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bounds_and_average),
		cmocka_unit_test(test_an_edit_moves_few),
		cmocka_unit_test(test_impossible_sizes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
