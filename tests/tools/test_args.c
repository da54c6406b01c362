/* Options: long and short, clustered, with values, in any order, and what is refused. */
#include "tools/args.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const struct bak_option first[] = {
	{'q', "quiet", NULL, "", false},
	{'r', "repo", "REPO", "", false},
	{0, NULL, NULL, NULL, false},
};
static const struct bak_option second[] = {
	{0, "only", "PATH", "", true},
	{'y', "yes", NULL, "", false},
	{0, NULL, NULL, NULL, false},
};

#define MAX_ARGS 16

struct fixture {
	struct bak_args args;
	struct bak_error err;
	int used;
};

/* Parses words separated by blanks, with both tables. */
static int parse(struct fixture *f, char *text, bool stop_at_word)
{
	char *argv[MAX_ARGS] = {(char *)"bakfs"}, *word;
	int argc = 1;

	f->args = (struct bak_args){.tables = {first, second}, .n_tables = 2};
	f->err = (struct bak_error)BAK_ERROR_INIT;
	while ((word = strsep(&text, " ")) && argc < MAX_ARGS)
		argv[argc++] = word;
	return bak_args_parse(&f->args, argc, argv, stop_at_word, &f->used, &f->err);
}

static void test_any_order(void **state)
{
	char text[] = "a -qr R b --yes --repo=S c";
	struct fixture f;

	(void)state;
	assert_int_equal(parse(&f, text, false), 0);
	assert_int_equal(f.args.n_words, 3);
	assert_string_equal(f.args.words[1], "b");
	assert_null(f.args.words[3]);
	assert_int_equal(bak_args_count(&f.args, "quiet"), 1);
	assert_int_equal(bak_args_count(&f.args, "repo"), 2);
	assert_string_equal(bak_args_value(&f.args, "repo"), "S");
	assert_string_equal(bak_args_nth(&f.args, "repo", 0), "R");
	assert_null(bak_args_nth(&f.args, "repo", 2));
	assert_null(bak_args_value(&f.args, "only"));
	bak_args_release(&f.args);
}

static void test_stops_at_word(void **state)
{
	char text[] = "-q backup --yes";
	struct fixture f;

	(void)state;
	assert_int_equal(parse(&f, text, true), 0);
	assert_int_equal(f.used, 2);
	assert_int_equal(bak_args_count(&f.args, "yes"), 0);
	bak_args_release(&f.args);
}

static void test_takes_words(void **state)
{
	char text[] = "3 --only a b --yes c";
	struct fixture f;

	(void)state;
	assert_int_equal(parse(&f, text, false), 0);
	assert_int_equal(bak_args_count(&f.args, "only"), 2);
	assert_string_equal(bak_args_nth(&f.args, "only", 1), "b");
	assert_int_equal(f.args.n_words, 2);
	bak_args_release(&f.args);
}

static void test_dashes_end_options(void **state)
{
	char text[] = "-q -- -y --repo";
	struct fixture f;

	(void)state;
	assert_int_equal(parse(&f, text, false), 0);
	assert_int_equal(f.args.n_words, 2);
	assert_string_equal(f.args.words[0], "-y");
	bak_args_release(&f.args);
}

static void test_refused(void **state)
{
	static const char *const bad[] = {"--nothing", "-x", "--repo", "-r", "--yes=no", "--rep R"};
	struct fixture f;
	char text[64];
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		snprintf(text, sizeof(text), "%s", bad[i]);
		assert_int_equal(parse(&f, text, false), -1);
		assert_int_equal(f.err.code, BAK_USAGE);
		bak_args_release(&f.args);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_any_order),   cmocka_unit_test(test_stops_at_word),
		cmocka_unit_test(test_takes_words), cmocka_unit_test(test_dashes_end_options),
		cmocka_unit_test(test_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
