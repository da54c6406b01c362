/* Folders to write into: real paths of what is not there yet, what lies below what, emptiness. */
#include "tools/destination.h"

#include "engine/base/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char root[64];

static int make_root(void **state)
{
	(void)state;
	snprintf(root, sizeof(root), "/tmp/bakfs-place.XXXXXX");
	return mkdtemp(root) && chdir(root) == 0 && mkdir("a", 0700) == 0 && symlink("a", "l") == 0
		       ? 0
		       : -1;
}

static int remove_root(void **state)
{
	(void)state;
	return system("rm -rf \"$PWD\"");
}

static void check_real(const char *path, const char *below_root)
{
	struct bak_error err = BAK_ERROR_INIT;
	char *real = bak_destination_real(path, &err), expected[256];

	snprintf(expected, sizeof(expected), "%s%s", root, below_root);
	assert_non_null(real);
	assert_string_equal(real, expected);
	free(real);
}

static void test_real(void **state)
{
	struct bak_error err = BAK_ERROR_INIT;

	(void)state;
	check_real("a", "/a");
	check_real("l", "/a");
	check_real("l/x/y", "/a/x/y");
	check_real("l/x/", "/a/x");
	check_real("a/../new", "/new");
	assert_null(bak_destination_real("new/../../x", &err));
	assert_int_equal(err.code, BAK_USAGE);
	assert_null(bak_destination_real("new/..", &err));
}

static void test_below(void **state)
{
	(void)state;
	assert_true(bak_destination_is_below("/a/b", "/a"));
	assert_true(bak_destination_is_below("/a", "/a"));
	assert_true(bak_destination_is_below("/a", "/"));
	assert_false(bak_destination_is_below("/ab", "/a"));
	assert_false(bak_destination_is_below("/", "/a"));
}

static void test_make_and_empty(void **state)
{
	struct bak_error err = BAK_ERROR_INIT;

	(void)state;
	assert_int_equal(bak_destination_is_empty("a", &err), 1);
	assert_int_equal(bak_destination_is_empty("new/deep", &err), 1);
	assert_int_equal(bak_destination_make("new/deep", &err), 0);
	assert_int_equal(bak_destination_make("new/deep", &err), 0);
	assert_int_equal(bak_destination_is_empty("new", &err), 0);
	assert_int_equal(bak_destination_is_empty("new/deep", &err), 1);
	assert_int_equal(bak_destination_refuse_mount("new/deep/er", &err), 0);
	assert_int_equal(rmdir("new/deep"), 0);
	assert_int_equal(rmdir("new"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_real),
		cmocka_unit_test(test_below),
		cmocka_unit_test(test_make_and_empty),
	};

	return cmocka_run_group_tests(tests, make_root, remove_root);
}
