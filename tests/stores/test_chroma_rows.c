/* Rows of Chroma as text: numbers become the float32 that is nearest, lines always the same line;
 * and names of collections. */
#include "stores/chroma/chroma.h"

#include <limits.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* --- numbers --- */

static int floats(const char *text, float *out, size_t *out_n)
{
	BAK_AUTO(bak_buf_release) struct bak_buf buf = BAK_BUF_INIT;
	struct bak_scan scan = {text, text + strlen(text)};
	int rc = bak_scan_floats(&scan, &buf, out_n);

	if (rc == 0 && !bak_scan_at_end(&scan))
		rc = -1;
	if (rc == 0 && buf.len)
		memcpy(out, buf.p, buf.len);
	return rc;
}

static void number(const char *text, float want)
{
	char array[200];
	size_t n;
	float have;

	snprintf(array, sizeof array, "[%s]", text);
	assert_int_equal(floats(array, &have, &n), 0);
	assert_int_equal(n, 1);
	assert_memory_equal(&have, &want, sizeof want);
}

static void numbers_are_exact(void **state)
{
	(void)state;
	number("0", 0.0f);
	number("-0.0", -0.0f);
	number("0.1", 0.1f);
	number("-0.009129826", -0.009129826f);
	number("1e-45", 1e-45f);
	number("1.1754944e-38", 1.1754944e-38f);
	number("3.4028235e38", 3.4028235e38f);
	number("16777217", 16777216.0f);
	number("16777219", 16777220.0f);
	/* Just above and just below half way between two floats: by way of a double both would be
	 * half way. */
	number("1.000000059604644775390626", 1.00000011920928955078125f);
	number("1.000000059604644775390624", 1.0f);
	number("1.00000005960464477539", 1.0f);
	number("100000000000000000000000000", 1e26f);
	number("123456789012345678901234567890e-29", 1.23456789f);
}

/* Every float is found again in the nine digits that tell it from all others. */
static void digits_bring_back_bits(void **state)
{
	uint32_t bits = 1;

	(void)state;
	for (int i = 0; i < 200000; i++) {
		char text[40];
		float value;

		bits = bits * 1664525u + 1013904223u;
		memcpy(&value, &bits, sizeof value);
		if (!isfinite(value))
			continue;
		snprintf(text, sizeof text, i % 2 ? "%.9g" : "%.17g", (double)value);
		number(text, value);
	}
}

static void bad_numbers_are_refused(void **state)
{
	static const char *const bad[] = {"[1e39]", "[nan]", "[.5]",    "[5.]",  "[-]",
					  "[1,]",   "[,1]",  "[1 2]",   "[1",    "",
					  "[1e]",   "[--1]", "[\"1\"]", "[[1]]", "[Infinity]"};
	float have[4];
	size_t n;

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		assert_int_equal(floats(bad[i], have, &n), -1);
	assert_int_equal(floats("[]", have, &n), 0);
	assert_int_equal(floats(" [ 1 , 2.5\n] ", have, &n), 0);
	assert_int_equal(n, 2);
}

/* --- lines --- */

static char *line_of(const char *text, struct bak_error *err)
{
	BAK_AUTO(bak_buf_release) struct bak_buf spare = BAK_BUF_INIT;
	struct bak_buf out = BAK_BUF_INIT;
	struct bak_chroma_row row;

	*err = (struct bak_error)BAK_ERROR_INIT;
	if (bak_chroma_row_parse(text, strlen(text), &row, &spare, err) < 0)
		return NULL;
	assert_int_equal(bak_chroma_row_line(&row, &out, err), 0);
	assert_int_equal(bak_buf_append(&out, "", 1), 0);
	return (char *)out.p;
}

static void lines_have_one_form(void **state)
{
	static const char want[] = "{\"id\":\"a\",\"document\":null,\"metadata\":{\"a\":2,\"z\":"
				   "1.0},\"uri\":null,\"embedding\":\"AACAPwAAAMA=\"}\n";
	static const char *const same[] = {
		want,
		" {\"embedding\": [1, -2.0], \"metadata\": {\"z\":1.0, \"a\":2}, \"id\":\"a\"} ",
		"{\"uri\":null,\"metadata\":{\"a\":2,\"z\":1.0},\"id\":\"a\",\"embedding\":"
		"\"AACAPwAAAMA=\"}"};
	struct bak_error err;

	(void)state;
	for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
		char *line = line_of(same[i], &err);

		assert_non_null(line);
		assert_string_equal(line, want);
		free(line);
	}
}

static void bad_lines_are_refused(void **state)
{
	static const struct {
		const char *line, *why;
	} bad[] = {
		{"", "no sound JSON"},
		{"{\"id\":\"a\"}", "its embedding is missing"},
		{"{\"embedding\":[1]}", "its id is missing"},
		{"{\"id\":1,\"embedding\":[1]}", "its id is missing or no text"},
		{"{\"id\":\"a\",\"embedding\":[]}", "no array of numbers"},
		{"{\"id\":\"a\",\"embedding\":[1e40]}", "no array of numbers"},
		{"{\"id\":\"a\",\"embedding\":\"AACAPw\"}", "no base64"},
		{"{\"id\":\"a\",\"embedding\":\"AACAPx==\"}", "no base64"},
		{"{\"id\":\"a\",\"embedding\":\"AACAfw==\"}", "no base64"},
		{"{\"id\":\"a\",\"embedding\":\"AACA\"}", "no base64"},
		{"{\"id\":\"a\",\"embedding\":[1],\"document\":1}", "document or uri"},
		{"{\"id\":\"a\",\"embedding\":[1],\"metadata\":[]}", "metadata is no object"},
		{"{\"id\":\"a\",\"embedding\":[1],\"other\":1}", "a member that is none of"},
		{"{\"id\":\"a\",\"id\":\"b\",\"embedding\":[1]}", "no sound JSON"},
		{"{\"id\":\"a\nb\",\"embedding\":[1]}", "no sound JSON"},
		{"{\"id\":\"a\",\"embedding\":[1]} x", "no sound JSON"},
		{"{\"id\":\"a\",\"embedding\":[1]", "no sound JSON"},
	};
	struct bak_error err;

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		assert_null(line_of(bad[i].line, &err));
		assert_int_equal(err.code, BAK_CORRUPT);
		if (!strstr(err.msg, bad[i].why))
			fail_msg("%s: %s", bad[i].line, err.msg);
	}
}

static struct bak_text text(const char *p)
{
	return (struct bak_text){p, strlen(p)};
}

static void nearly_means_the_last_digits(void **state)
{
	struct bak_error err;
	char *a = line_of("{\"id\":\"a\",\"embedding\":[0.5424756,100]}", &err);
	char *b = line_of("{\"id\":\"a\",\"embedding\":[0.5424755,100.00001]}", &err);
	char *c = line_of("{\"id\":\"a\",\"embedding\":[0.5524755,100.00001]}", &err);
	char *d = line_of("{\"id\":\"b\",\"embedding\":[0.5424756,100]}", &err);

	(void)state;
	assert_true(bak_chroma_lines_equal(text(a), text(a), false));
	assert_false(bak_chroma_lines_equal(text(a), text(b), false));
	assert_true(bak_chroma_lines_equal(text(a), text(b), true));
	assert_false(bak_chroma_lines_equal(text(a), text(c), true));
	assert_false(bak_chroma_lines_equal(text(a), text(d), true));
	free(a);
	free(b);
	free(c);
	free(d);
	a = line_of("{\"id\":\"\\u00e9\",\"metadata\":{\"f\":1e300,\"n\":1},\"embedding\":[1]}",
		    &err);
	b = line_of("{\"id\":\"\xc3\xa9\",\"metadata\":{\"f\":1.0E+300,\"n\":1},\"embedding\":[1]}",
		    &err);
	c = line_of("{\"id\":\"\\u00e9\",\"metadata\":{\"f\":1e300,\"n\":1.0},\"embedding\":[1]}",
		    &err);
	assert_true(bak_chroma_lines_equal(text(a), text(b), false));
	assert_false(bak_chroma_lines_equal(text(a), text(c), false));
	free(a);
	free(b);
	free(c);
	a = line_of("{\"id\":\"a\",\"metadata\":{\"f\":[90.28571428571428]},\"embedding\":[1]}",
		    &err);
	b = line_of("{\"id\":\"a\",\"metadata\":{\"f\":[90.28571428571429]},\"embedding\":[1]}",
		    &err);
	c = line_of("{\"id\":\"a\",\"metadata\":{\"f\":[90.2857142857144]},\"embedding\":[1]}",
		    &err);
	d = line_of("{\"id\":\"a\",\"metadata\":{\"f\":[90.28571428571428,1]},\"embedding\":[1]}",
		    &err);
	assert_true(bak_chroma_lines_equal(text(a), text(b), false));
	assert_false(bak_chroma_lines_equal(text(a), text(c), false));
	assert_false(bak_chroma_lines_equal(text(a), text(d), false));
	free(a);
	free(b);
	free(c);
	free(d);
}

/* --- pages --- */

static void pages_are_checked(void **state)
{
	static const char *const bad[] = {
		"",
		"[]",
		"{\"ids\":[\"a\"],\"embeddings\":[[1],[2]]}",
		"{\"ids\":[\"a\",\"b\"],\"embeddings\":[[1],[2,3]]}",
		"{\"ids\":[\"a\"],\"embeddings\":[[1]],\"documents\":[]}x",
		"{\"ids\":[\"a\"],\"embeddings\":[[1]],\"documents\":[1]}",
		"{\"ids\":[1],\"embeddings\":[[1]]}",
		"{\"ids\":[\"a\"],\"ids\":[\"a\"],\"embeddings\":[[1]]}",
		"{\"ids\":[\"a\"],\"embeddings\":[[1]],\"metadatas\":[{\"a\":1,]}",
		"{\"ids\":[\"a\"],\"embeddings\":[[1]]",
	};
	struct bak_error err = BAK_ERROR_INIT;

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct bak_chroma_page page = {.n = 0};

		if (bak_chroma_page_parse(bad[i], strlen(bad[i]), &page, &err) == 0)
			fail_msg("taken: %s", bad[i]);
		assert_int_equal(err.code, BAK_CORRUPT);
		bak_chroma_page_release(&page);
	}
}

static void pages_become_lines(void **state)
{
	static const char answer[] =
		"{\"ids\":[\"x\",\"y\"],\"embeddings\":[[1.0,2.0],[3.0,4.0]],\"documents\":[null,"
		"\"d\"],\"uris\":null,\"metadatas\":[{\"b\":1,\"a\":2},{}],\"include\":[]}";
	struct bak_chroma_page page = {.n = 0};
	struct bak_buf out = BAK_BUF_INIT;
	struct bak_error err = BAK_ERROR_INIT;

	(void)state;
	assert_int_equal(bak_chroma_page_parse(answer, strlen(answer), &page, &err), 0);
	assert_int_equal(page.n, 2);
	assert_int_equal(bak_chroma_page_line(&page, 0, &out, &err), 0);
	assert_int_equal(bak_chroma_page_line(&page, 1, &out, &err), 0);
	assert_int_equal(bak_buf_append(&out, "", 1), 0);
	assert_string_equal((char *)out.p,
			    "{\"id\":\"x\",\"document\":null,\"metadata\":{\"a\":2,\"b\":1},"
			    "\"uri\":null,\"embedding\":\"AACAPwAAAEA=\"}\n"
			    "{\"id\":\"y\",\"document\":\"d\",\"metadata\":null,\"uri\":null,"
			    "\"embedding\":\"AABAQAAAgEA=\"}\n");
	bak_buf_release(&out);
	bak_chroma_page_release(&page);
}

/* --- names --- */

static void names_become_files(void **state)
{
	static const struct {
		const char *name, *file;
	} names[] = {{"col-a", "col-a"},
		     {"a/b", "a%2Fb"},
		     {"..", "%2E."},
		     {".x", "%2Ex"},
		     {"a b%", "a%20b%25"}};
	char long_name[513], file[NAME_MAX + 1], other[NAME_MAX + 1];
	struct bak_error err = BAK_ERROR_INIT;

	(void)state;
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		assert_int_equal(bak_chroma_file_name(names[i].name, file, &err), 0);
		assert_string_equal(file, names[i].file);
	}
	memset(long_name, 'a', 512);
	long_name[512] = '\0';
	assert_int_equal(bak_chroma_file_name(long_name, file, &err), 0);
	long_name[511] = 'b';
	assert_int_equal(bak_chroma_file_name(long_name, other, &err), 0);
	assert_string_not_equal(file, other);
}

static void kept_names_are_known(void **state)
{
	static const char *const kept[] = {
		"a.before-20261121T140212Z", "a.before-20261121T140212Z-2",
		"a.before-b.before-20261121T140212Z"};
	static const char left[] = "a.bakfs-0123456789abcdef",
			  aside[] = "a.aside-20261121T140212Z-2";
	static const char *const plain[] = {"a", "a.before-noon", "a.bakfs-1", "before-20261121",
					    "a.bakfs-0123456789abcdeg"};

	(void)state;
	for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) {
		assert_true(bak_chroma_is_kept(kept[i]));
		assert_false(bak_chroma_is_left(kept[i]) || bak_chroma_is_aside(kept[i]));
	}
	for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
		assert_false(bak_chroma_is_kept(plain[i]) || bak_chroma_is_left(plain[i]));
	assert_true(bak_chroma_is_left(left) && !bak_chroma_is_kept(left));
	assert_true(bak_chroma_is_aside(aside) && !bak_chroma_is_kept(aside));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbers_are_exact),
		cmocka_unit_test(digits_bring_back_bits),
		cmocka_unit_test(bad_numbers_are_refused),
		cmocka_unit_test(lines_have_one_form),
		cmocka_unit_test(bad_lines_are_refused),
		cmocka_unit_test(nearly_means_the_last_digits),
		cmocka_unit_test(pages_are_checked),
		cmocka_unit_test(pages_become_lines),
		cmocka_unit_test(names_become_files),
		cmocka_unit_test(kept_names_are_known),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
