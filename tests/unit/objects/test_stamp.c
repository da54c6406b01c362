/* Stamps, times and store names. */
#include "engine/objects/snapshot.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void test_round_trip(void **state)
{
	(void)state;
	static const struct {
		int64_t utc;
		const char *stamp, *time;
	} cases[] = {
		{0, "19700101T000000Z", "1970-01-01T00:00:00Z"},
		{1795269732, "20261121T140212Z", "2026-11-21T14:02:12Z"},
		{951782400, "20000229T000000Z", "2000-02-29T00:00:00Z"},
		{-1, "19691231T235959Z", "1969-12-31T23:59:59Z"},
		{253402300799, "99991231T235959Z", "9999-12-31T23:59:59Z"},
		{4294967296, "21060207T062816Z", "2106-02-07T06:28:16Z"},
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		char stamp[BAK_STAMP_LEN + 1], text[BAK_TIME_LEN + 1];
		int64_t utc = 1;
		bak_stamp_format(cases[i].utc, stamp);
		bak_time_format(cases[i].utc, text);
		assert_string_equal(stamp, cases[i].stamp);
		assert_string_equal(text, cases[i].time);
		assert_true(bak_stamp_parse(stamp, &utc));
		assert_int_equal(utc, cases[i].utc);
		assert_true(bak_time_parse(text, &utc));
		assert_int_equal(utc, cases[i].utc);
	}
}

static void test_beyond_four_digits(void **state)
{
	(void)state;
	char stamp[BAK_STAMP_LEN + 1];
	bak_stamp_format(INT64_MAX, stamp);
	assert_string_equal(stamp, "99991231T235959Z");
	bak_stamp_format(INT64_MIN, stamp);
	assert_string_equal(stamp, "00000101T000000Z");
}

static void test_no_stamps(void **state)
{
	(void)state;
	static const char *const bad[] = {
		"",
		"latest",
		"20261121T140212",
		"20261121T140212Zx",
		"20261121 140212Z",
		"20260230T000000Z",
		"20261321T000000Z",
		"20261121T240000Z",
		"2026112-T140212Z",
		"20261121T140260Z",
	};
	int64_t utc;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		assert_false(bak_stamp_parse(bad[i], &utc));
	assert_false(bak_time_parse("20261121T140212Z", &utc));
	assert_false(bak_time_parse("2026-11-21 14:02:12Z", &utc));
}

static void test_store_names(void **state)
{
	(void)state;
	char name[66];
	assert_true(bak_store_name_ok("a"));
	assert_true(bak_store_name_ok("Shop_2-old"));
	assert_false(bak_store_name_ok(""));
	assert_false(bak_store_name_ok("x.json"));
	assert_false(bak_store_name_ok("a/b"));
	assert_false(bak_store_name_ok("a b"));
	assert_false(bak_store_name_ok("\xc3\xa4"));
	memset(name, 'n', sizeof name);
	name[65] = '\0';
	assert_false(bak_store_name_ok(name));
	name[64] = '\0';
	assert_true(bak_store_name_ok(name));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_beyond_four_digits),
		cmocka_unit_test(test_no_stamps),
		cmocka_unit_test(test_store_names),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
