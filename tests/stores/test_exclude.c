/* Patterns of paths to leave out, held against what git does with the same ones. */
#include "stores/files/exclude.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* Patterns separated by a space. A path with a slash behind it is a folder. */
static bool excluded(const char *patterns, const char *path)
{
	struct bak_exclude exclude = BAK_EXCLUDE_INIT;
	struct bak_error err = BAK_ERROR_INIT;
	char text[256], *save = NULL, plain[256];
	size_t len = strlen(path);
	bool is_folder = path[len - 1] == '/';

	snprintf(text, sizeof text, "%s", patterns);
	for (char *p = strtok_r(text, " ", &save); p; p = strtok_r(NULL, " ", &save))
		assert_int_equal(bak_exclude_add(&exclude, p, &err), 0);
	snprintf(plain, sizeof plain, "%.*s", (int)(len - is_folder), path);
	bool out = bak_exclude_match(&exclude, plain, is_folder);
	bak_exclude_release(&exclude);
	return out;
}

static const struct {
	const char *patterns, *path;
	bool out;
} cases[] = {
	/* names at any depth */
	{"*.tmp", "a.tmp", true},
	{"*.tmp", "x/y/a.tmp", true},
	{"*.tmp", "a.tmp.gz", false},
	{"*.tmp", ".tmp", true},
	{"cache", "x/cache", true},
	{"cache", "x/cache/", true},
	{"cache", "x/cached", false},
	/* anchored */
	{"/cache", "cache/", true},
	{"/cache", "x/cache/", false},
	{"/*.c", "a.c", true},
	{"/*.c", "x/a.c", false},
	{"a/b", "a/b", true},
	{"a/b", "x/a/b", false},
	{"a/*", "a/b", true},
	{"a/*", "a/b/c", false},
	{"a*/b", "abc/b", true},
	/* folders only */
	{"dir/", "dir/", true},
	{"dir/", "dir", false},
	{"dir/", "x/dir/", true},
	{"/dir/", "x/dir/", false},
	/* any number of folders */
	{"**/x", "x", true},
	{"**/x", "a/b/x", true},
	{"**/x", "a/b/xx", false},
	{"**/a/b", "a/b", true},
	{"**/a/b", "z/a/b", true},
	{"**/a/b", "a/z/b", false},
	{"a/**", "a/", false},
	{"a/**", "a/b", true},
	{"a/**", "a/b/c", true},
	{"a/**/b", "a/b", true},
	{"a/**/b", "a/x/y/b", true},
	{"a/**/b", "a/x/y/c", false},
	{"a/**/b/**/c", "a/b/x/b/y/c", true},
	{"a/**/b/**/c", "a/x/c", false},
	{"**", "a", true},
	{"/**", "a/b", true},
	{"a**", "abc", true},
	{"a**/x", "ab/x", true},
	{"a**/x", "ab/c/x", false},
	/* the last match decides */
	{"*.log !keep.log", "a.log", true},
	{"*.log !keep.log", "keep.log", false},
	{"!keep.log *.log", "keep.log", true},
	{"*.log !keep.log keep*", "keep.log", true},
	{"/* !/a", "a", false},
	{"/* !/a", "b", true},
	/* characters */
	{"?", "a", true},
	{"?", "ab", false},
	{"a?c", "a/c", false},
	{"[a-c]x", "bx", true},
	{"[a-c]x", "dx", false},
	{"[!a-c]x", "dx", true},
	{"[^a-c]x", "ax", false},
	{"[]]x", "]x", true},
	{"[!]]x", "]x", false},
	{"[a-]x", "-x", true},
	{"[[:digit:]]", "7", true},
	{"[[:digit:]_]", "_", true},
	{"[[:digit:]]", "a", false},
	{"[\\]a]x", "]x", true},
	{"\\*", "*", true},
	{"\\*", "a", false},
	{"\\!a", "!a", true},
	{"*\xff*", "x\xffy", true},
	{"*a*b", "xaxbxb", true},
	{"*a*b", "xbxa", false},
	{"*", "anything", true},
};

static void test_cases(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		if (excluded(cases[i].patterns, cases[i].path) != cases[i].out)
			fail_msg("\"%s\" and %s: not %d", cases[i].patterns, cases[i].path,
				 cases[i].out);
	}
}

static void test_none(void **state)
{
	struct bak_exclude exclude = BAK_EXCLUDE_INIT;

	(void)state;
	assert_false(bak_exclude_match(&exclude, "a/b", false));
}

static void test_bad_patterns(void **state)
{
	static const char *const bad[] = {"",      "/",  "!", "!/", "[a", "x/[a", "[[:nonsense:]]",
					  "a[\\]", "a\\"};
	struct bak_exclude exclude = BAK_EXCLUDE_INIT;

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct bak_error err = BAK_ERROR_INIT;

		if (bak_exclude_add(&exclude, bad[i], &err) == 0)
			fail_msg("\"%s\" was taken", bad[i]);
		assert_int_equal(err.code, BAK_USAGE);
	}
	assert_int_equal(exclude.n, 0);
	bak_exclude_release(&exclude);
}

/* A matcher that tried every star again would need 2^40 steps here. */
static void test_no_explosion(void **state)
{
	char pattern[128] = "", path[512] = "";

	(void)state;
	for (int i = 0; i < 40; i++)
		strncat(pattern, "*a", sizeof pattern - strlen(pattern) - 1);
	memset(path, 'a', 200);
	strncat(pattern, "b", sizeof pattern - strlen(pattern) - 1);
	assert_false(excluded(pattern, path));

	char deep[256] = "";
	for (int i = 0; i < 25; i++)
		strncat(deep, "**/a/", sizeof deep - strlen(deep) - 1);
	strncat(deep, "b", sizeof deep - strlen(deep) - 1);
	path[0] = '\0';
	for (int i = 0; i < 100; i++)
		strncat(path, i ? "/a" : "a", sizeof path - strlen(path) - 1);
	assert_false(excluded(deep, path));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cases),
		cmocka_unit_test(test_none),
		cmocka_unit_test(test_bad_patterns),
		cmocka_unit_test(test_no_explosion),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
