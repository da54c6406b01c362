/*
 * The command line's options, by table.
 */
#include "tools/args.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct bak_option *find_long(const struct bak_args *args, const char *name, size_t len)
{
	const struct bak_option *option;
	size_t t;

	for (t = 0; t < args->n_tables; t++) {
		for (option = args->tables[t]; option->name; option++) {
			if (strlen(option->name) == len && !memcmp(option->name, name, len))
				return option;
		}
	}
	return NULL;
}

static const struct bak_option *find_letter(const struct bak_args *args, char letter)
{
	const struct bak_option *option;
	size_t t;

	for (t = 0; t < args->n_tables; t++) {
		for (option = args->tables[t]; option->name; option++) {
			if (option->letter == letter)
				return option;
		}
	}
	return NULL;
}

static int add_given(struct bak_args *args, const struct bak_option *option, const char *value,
		     struct bak_error *err)
{
	struct bak_given *given = realloc(args->given, (args->n_given + 1) * sizeof(*given));

	if (!given)
		return bak_error_nomem(err);
	args->given = given;
	given[args->n_given++] = (struct bak_given){option, value};
	return 0;
}

static int add_word(struct bak_args *args, const char *word, struct bak_error *err)
{
	const char **words = realloc(args->words, (args->n_words + 2) * sizeof(*words));

	if (!words)
		return bak_error_nomem(err);
	args->words = words;
	words[args->n_words++] = word;
	words[args->n_words] = NULL;
	return 0;
}

/* The option's value: the rest of its own element, or the next one. *at is the current element. */
static int take_value(struct bak_args *args, const struct bak_option *option, const char *rest,
		      int argc, char **argv, int *at, struct bak_error *err)
{
	if (!rest && *at + 1 < argc)
		rest = argv[++*at];
	if (!rest)
		return bak_error_set(err, BAK_USAGE, "--%s needs a %s", option->name,
				     option->argument);
	if (add_given(args, option, rest, err) < 0)
		return -1;
	while (option->words && *at + 1 < argc && argv[*at + 1][0] != '-') {
		if (add_given(args, option, argv[++*at], err) < 0)
			return -1;
	}
	return 0;
}

static int parse_long(struct bak_args *args, int argc, char **argv, int *at, struct bak_error *err)
{
	const char *name = argv[*at] + 2, *equals = strchr(name, '=');
	size_t len = equals ? (size_t)(equals - name) : strlen(name);
	const struct bak_option *option = find_long(args, name, len);

	if (!option)
		return bak_error_set(err, BAK_USAGE, "unknown option --%.*s", (int)len, name);
	if (option->argument)
		return take_value(args, option, equals ? equals + 1 : NULL, argc, argv, at, err);
	if (equals)
		return bak_error_set(err, BAK_USAGE, "--%s takes no value", option->name);
	return add_given(args, option, NULL, err);
}

static int parse_letters(struct bak_args *args, int argc, char **argv, int *at,
			 struct bak_error *err)
{
	const char *letter;

	for (letter = argv[*at] + 1; *letter; letter++) {
		const struct bak_option *option = find_letter(args, *letter);

		if (!option)
			return bak_error_set(err, BAK_USAGE, "unknown option -%c", *letter);
		if (option->argument)
			return take_value(args, option, letter[1] ? letter + 1 : NULL, argc, argv,
					  at, err);
		if (add_given(args, option, NULL, err) < 0)
			return -1;
	}
	return 0;
}

int bak_args_parse(struct bak_args *args, int argc, char **argv, bool stop_at_word, int *out_used,
		   struct bak_error *err)
{
	bool only_words = false;
	int at, rc;

	for (at = 1; at < argc; at++) {
		const char *arg = argv[at];

		if (only_words || arg[0] != '-' || !arg[1] ||
		    (args->dash_words && args->n_words && arg[1] != '-')) {
			if (stop_at_word)
				break;
			rc = add_word(args, arg, err);
		} else if (!strcmp(arg, "--")) {
			only_words = true;
			rc = 0;
		} else if (arg[1] == '-') {
			rc = parse_long(args, argc, argv, &at, err);
		} else {
			rc = parse_letters(args, argc, argv, &at, err);
		}
		if (rc < 0)
			return -1;
	}
	*out_used = at;
	return 0;
}

void bak_args_release(struct bak_args *args)
{
	free(args->given);
	free(args->words);
	*args = (struct bak_args)BAK_ARGS_INIT;
}

size_t bak_args_count(const struct bak_args *args, const char *name)
{
	size_t i, n = 0;

	assert(find_long(args, name, strlen(name)));
	for (i = 0; i < args->n_given; i++)
		n += !strcmp(args->given[i].option->name, name);
	return n;
}

const char *bak_args_nth(const struct bak_args *args, const char *name, size_t i)
{
	size_t g;

	assert(find_long(args, name, strlen(name)));
	for (g = 0; g < args->n_given; g++) {
		if (!strcmp(args->given[g].option->name, name) && i-- == 0)
			return args->given[g].value;
	}
	return NULL;
}

const char *bak_args_value(const struct bak_args *args, const char *name)
{
	size_t n = bak_args_count(args, name);

	return n ? bak_args_nth(args, name, n - 1) : NULL;
}

void bak_options_print(const struct bak_option *options)
{
	for (; options->name; options++) {
		char left[64], letter[8] = "    ";

		if (options->letter)
			snprintf(letter, sizeof(letter), "-%c, ", options->letter);
		snprintf(left, sizeof(left), "%s--%s%s%s%s", letter, options->name,
			 options->argument ? " " : "", options->argument ? options->argument : "",
			 options->words ? " ..." : "");
		printf("  %-30s %s\n", left, options->help);
	}
}

void bak_suboptions_print(const struct bak_option *options)
{
	for (; options->name; options++) {
		char left[64];

		snprintf(left, sizeof(left), "%s%s%s", options->name, options->argument ? "=" : "",
			 options->argument ? options->argument : "");
		printf("  %-30s %s\n", left, options->help);
	}
}
