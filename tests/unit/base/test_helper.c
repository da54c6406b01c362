/* The thread that does one thing at a time: results, errors, and ends. */
#include "engine/base/helper.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static int add_one(void *ctx, struct bak_error *err)
{
	int *n = ctx;

	(void)err;
	++*n;
	return 0;
}

static int refuse(void *ctx, struct bak_error *err)
{
	return bak_error_set(err, BAK_REFUSED, "%s", (const char *)ctx);
}

static void test_work_is_done_once(void **state)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_helper *helper;
	int n = 0;

	(void)state;
	assert_int_equal(bak_helper_new(&helper, &err), 0);
	assert_int_equal(bak_helper_wait(helper, &err), 0);
	for (int i = 1; i <= 1000; i++) {
		bak_helper_start(helper, add_one, &n);
		assert_int_equal(bak_helper_wait(helper, &err), 0);
		assert_int_equal(n, i);
	}
	bak_helper_start(helper, add_one, &n);
	bak_helper_free(helper);
	assert_int_equal(n, 1001);
}

static void test_an_error_is_told_once(void **state)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_helper *helper;
	char why[] = "no";

	(void)state;
	assert_int_equal(bak_helper_new(&helper, &err), 0);
	bak_helper_start(helper, refuse, why);
	assert_int_equal(bak_helper_wait(helper, &err), -1);
	assert_int_equal(err.code, BAK_REFUSED);
	assert_string_equal(err.msg, "no");
	assert_int_equal(bak_helper_wait(helper, &err), 0);
	bak_helper_free(helper);
	assert_int_equal(bak_helper_wait(NULL, &err), 0);
	bak_helper_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_work_is_done_once),
		cmocka_unit_test(test_an_error_is_told_once),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
