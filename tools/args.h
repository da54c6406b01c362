/*
 * Options as data: parsed, printed by --help and compared with man pages and completions from one
 * table. Long options as --name value or --name=value, short ones clustered (-qv), "--" ends them;
 * options and words may stand in any order.
 *
 * Ownership: a struct bak_args borrows argv and the tables.
 * Errors: BAK_USAGE.
 */
#ifndef BAK_TOOLS_ARGS_H
#define BAK_TOOLS_ARGS_H

#include "engine/base/error.h"

#include <stdbool.h>
#include <stddef.h>

/* A table ends with name NULL. */
struct bak_option {
	char letter;          /* 0: none */
	const char *name;     /* long, without dashes */
	const char *argument; /* its name in help, NULL: a flag */
	const char *help;     /* one line */
	bool words;           /* takes all words up to the next option */
};

#define BAK_ARGS_TABLES 2

struct bak_args {
	const struct bak_option *tables[BAK_ARGS_TABLES];
	size_t n_tables;
	size_t n_given;
	struct bak_given {
		const struct bak_option *option;
		const char *value; /* NULL for flags */
	} * given;
	size_t n_words;
	const char **words; /* NULL-terminated */
	bool dash_words;    /* behind the first word, what begins with one dash is a word, too */
};
#define BAK_ARGS_INIT         \
	{                     \
		.n_tables = 0 \
	}

/* Adds what stands in argv[1 ...] to what args has; may be called again with more tables. At the
 * first word it stops if stop_at_word. *out_used: elements of argv taken, argv[0] included. */
int bak_args_parse(struct bak_args *args, int argc, char **argv, bool stop_at_word, int *out_used,
		   struct bak_error *err);
void bak_args_release(struct bak_args *args);

/* name must be in a table. How often it was given; its last value, its i-th one (NULL past the
 * last). */
size_t bak_args_count(const struct bak_args *args, const char *name);
const char *bak_args_value(const struct bak_args *args, const char *name);
const char *bak_args_nth(const struct bak_args *args, const char *name, size_t i);

/* The lines of --help for one table, on standard output. */
void bak_options_print(const struct bak_option *options);
/* The same for what -o takes: "name=ARGUMENT". */
void bak_suboptions_print(const struct bak_option *options);

#endif
