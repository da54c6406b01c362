/* Sizes, spans of time, names with odd bytes, as text and in JSON. */
#include "tools/output.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_sizes(void **state)
{
	static const struct {
		uint64_t bytes;
		const char *text;
	} cases[] = {
		{0, "0 B"},
		{1023, "1023 B"},
		{1024, "1.0 KiB"},
		{1536, "1.5 KiB"},
		{1048575, "1.0 MiB"},
		{5ull << 30, "5.0 GiB"},
		{UINT64_MAX, "16.0 EiB"},
	};
	char out[BAK_SIZE_TEXT];
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_string_equal(bak_size_text(cases[i].bytes, out), cases[i].text);
}

static void test_spans(void **state)
{
	char out[BAK_SPAN_TEXT];

	(void)state;
	assert_string_equal(bak_span_text(0, out), "0 s");
	assert_string_equal(bak_span_text(119, out), "119 s");
	assert_string_equal(bak_span_text(120, out), "2 min");
	assert_string_equal(bak_span_text(7200, out), "2 h");
	assert_string_equal(bak_span_text(172800, out), "2 days");
}

static void check_name(const char *name, const char *text)
{
	char *out = bak_name_text(name, strlen(name));

	assert_non_null(out);
	assert_string_equal(out, text);
	free(out);
}

static void test_names(void **state)
{
	(void)state;
	check_name("a b;$(c)", "a b;$(c)");
	check_name("gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f");
	check_name("two\nlines", "\"two\\nlines\"");
	check_name("\x1b[31m", "\"\\x1b[31m\"");
	check_name("\xff\xfe", "\"\\xff\\xfe\"");
	check_name("\xc0\x80", "\"\\xc0\\x80\"");          /* overlong */
	check_name("\xed\xa0\x80", "\"\\xed\\xa0\\x80\""); /* a surrogate */
	check_name("\xc2\x9b", "\"\\xc2\\x9b\"");          /* C1: a terminal's CSI */
	check_name("cut\xe2\x82", "\"cut\\xe2\\x82\"");
	check_name("say \"\n\"", "\"say \\\"\\n\\\"\"");
	check_name("", "\"\"");
}

static void test_names_in_json(void **state)
{
	json_t *object = json_object();

	(void)state;
	assert_int_equal(bak_json_set_name(object, "a", "gr\xc3\xbcn", 5), 0);
	assert_string_equal(json_string_value(json_object_get(object, "a")), "gr\xc3\xbcn");
	assert_null(json_object_get(object, "a_hex"));
	assert_int_equal(bak_json_set_name(object, "b", "x\xff", 2), 0);
	assert_string_equal(json_string_value(json_object_get(object, "b")), "x\xef\xbf\xbd");
	assert_string_equal(json_string_value(json_object_get(object, "b_hex")), "78ff");
	json_decref(object);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_spans),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_names_in_json),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
