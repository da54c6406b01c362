/* Pending rows against a plain array: adding, finding, removing in any order. */
#include "engine/content/pending.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum { N = 5000 };

static struct bak_hash hash_of(uint32_t i)
{
	/* Few distinct home places, so that runs of neighbours are long. */
	struct bak_hash h = {{0}};
	h.b[0] = (uint8_t)(i % 7);
	memcpy(h.b + 8, &i, sizeof i);
	return h;
}

static void test_against_an_array(void **state)
{
	(void)state;
	struct bak_pending pending = {0};
	static bool in[N];
	uint64_t x = 1;
	for (int step = 0; step < 40000; step++) {
		x = x * 6364136223846793005u + 1442695040888963407u;
		uint32_t i = (uint32_t)(x >> 33) % N % 300, seg, off, len;
		struct bak_hash h = hash_of(i);
		if (x >> 63) {
			assert_int_equal(bak_pending_add(&pending, &h, i, 2 * i, 3 * i), 0);
			in[i] = true;
		} else {
			bak_pending_remove(&pending, &h);
			in[i] = false;
		}
		i = (uint32_t)(x >> 40) % 300;
		h = hash_of(i);
		assert_int_equal(bak_pending_find(&pending, &h, &seg, &off, &len), in[i]);
		if (in[i]) {
			assert_int_equal(seg, i);
			assert_int_equal(off, 2 * i);
			assert_int_equal(len, 3 * i);
		}
	}
	bak_pending_release(&pending);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_against_an_array)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
