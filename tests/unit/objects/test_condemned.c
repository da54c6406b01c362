/* Condemnations: written and read again; what is none condemns nothing. */
#include "engine/objects/condemned.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

struct fixture {
	struct bak_backend *mem;
	struct bak_keyring ring;
};

static int setup(void **state)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct fixture *f = calloc(1, sizeof *f);
	*state = f;
	return f && bak_backend_mem_new(&f->mem, &err) == 0 &&
			       bak_keyring_generate(&f->ring, &err) == 0
		       ? 0
		       : -1;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	bak_keyring_release(&f->ring);
	bak_backend_close(f->mem);
	free(f);
	return 0;
}

struct seen {
	unsigned n, packs;
	int64_t time;
};

static int see(void *ctx, const char *name, const struct bak_condemned *condemned)
{
	struct seen *seen = ctx;
	(void)name;
	seen->n++;
	seen->packs += (unsigned)condemned->n;
	seen->time = condemned->time;
	return 0;
}

static void test_round(void **state)
{
	struct fixture *f = *state;
	struct bak_error err = BAK_ERROR_INIT;
	uint8_t packs[3][BAK_PACK_ID_BYTES] = {{1}, {2}, {3}};
	char name[BAK_CONDEMNED_NAME_LEN];
	struct bak_condemned in = {.time = 1800000000,
				   .run = "0123456789abcdef",
				   .packs = packs,
				   .n = 3},
			     out;
	assert_int_equal(bak_condemned_put(f->mem, &f->ring, &in, name, &err), 0);
	assert_int_equal(bak_condemned_get(f->mem, &f->ring, name, &out, &err), 1);
	assert_int_equal(out.time, in.time);
	assert_string_equal(out.run, in.run);
	assert_int_equal(out.n, 3);
	assert_memory_equal(out.packs, packs, sizeof packs);
	bak_condemned_release(&out);

	struct seen seen = {0};
	assert_int_equal(bak_condemned_each(f->mem, &f->ring, see, &seen, &err), 0);
	assert_int_equal(seen.n, 1);
	assert_int_equal(seen.packs, 3);
	assert_int_equal(bak_condemned_remove(f->mem, name, &err), 0);
	assert_int_equal(bak_condemned_get(f->mem, &f->ring, name, &out, &err), 0);
}

static void test_nonsense(void **state)
{
	struct fixture *f = *state;
	struct bak_error err = BAK_ERROR_INIT;
	static const char *const texts[] = {
		"", "[]", "{\"packs\":3,\"time\":\"2026-11-21T14:02:12Z\"}",
		"{\"packs\":[],\"time\":\"yesterday\"}", "{\"packs\":[]}"};
	char name[64];
	struct seen seen = {0};
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
		snprintf(name, sizeof name, "condemned/%032zx", i);
		assert_int_equal(bak_record_put(f->mem, &f->ring, name, texts[i], &err), 1);
	}
	assert_int_equal(bak_backend_put(f->mem, "t", "condemned/unsealed", "{}", 2, &err), 1);
	assert_int_equal(bak_condemned_each(f->mem, &f->ring, see, &seen, &err), 0);
	assert_int_equal(seen.n, 0);

	/* Of a list with nonsense in it what makes sense counts; no run is named. */
	const char *mixed = "{\"packs\":[\"x\",7,\"000102030405060708090a0b0c0d0e0f\"],"
			    "\"time\":\"2026-11-21T14:02:12Z\",\"new\":1}";
	assert_int_equal(bak_record_put(f->mem, &f->ring, "condemned/mixed", mixed, &err), 1);
	assert_int_equal(bak_condemned_each(f->mem, &f->ring, see, &seen, &err), 0);
	assert_int_equal(seen.packs, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_round, setup, teardown),
		cmocka_unit_test_setup_teardown(test_nonsense, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
