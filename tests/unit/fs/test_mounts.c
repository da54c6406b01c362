/* What is mounted where, and what overlaps: with the mounts that every Linux has. */
#include "fs/mounts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void test_find(void **state)
{
	(void)state;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_mount_info info = {.point = NULL};
	assert_int_equal(bak_mounts_at("/proc", &info, &err), 1);
	assert_string_equal(info.type, "proc");
	bak_mount_info_release(&info);
	assert_int_equal(bak_mounts_at("/proc/self", &info, &err), 0);
	assert_int_equal(bak_mounts_of("/proc/self", &info, &err), 1);
	assert_string_equal(info.point, "/proc");
	bak_mount_info_release(&info);
	/* In a chroot nothing may be mounted on "/". */
	int root = bak_mounts_at("/", &info, &err);
	bak_mount_info_release(&info);
	assert_int_equal(bak_mounts_of("/procession", &info, &err), root);
	if (root == 1)
		assert_string_equal(info.point, "/");
	bak_mount_info_release(&info);
}

static bool overlap(const char *a, const char *b)
{
	struct bak_error err = BAK_ERROR_INIT;
	bool out;
	assert_int_equal(bak_mounts_overlap(a, b, &out, &err), 0);
	bool other;
	assert_int_equal(bak_mounts_overlap(b, a, &other, &err), 0);
	assert_int_equal(out, other);
	return out;
}

static void test_overlap(void **state)
{
	(void)state;
	assert_true(overlap("/usr", "/usr"));
	assert_true(overlap("/usr", "/usr/share"));
	assert_true(overlap("/", "/usr"));
	assert_false(overlap("/usr/share", "/usr/sharemore"));
	assert_false(overlap("/usr/share", "/usr/lib"));
	assert_false(overlap("/proc/self", "/usr"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_find),
		cmocka_unit_test(test_overlap),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
