/*
 * What every subcommand gets: its arguments, the configuration, the repository once opened, and the
 * one way in which it talks to its user.
 *
 * Standard output carries facts (text, or one JSON document with --json), standard error carries
 * "bakfs: ..." lines and the progress. A command returns its exit status.
 */
#ifndef BAK_TOOLS_TOOL_H
#define BAK_TOOLS_TOOL_H

#include "engine/ops/repo.h"
#include "tools/args.h"
#include "tools/config.h"
#include "tools/progress.h"

#include <jansson.h>
#include <signal.h>

enum bak_exit {
	BAK_EXIT_DONE = 0,
	BAK_EXIT_FAILED = 1,
	BAK_EXIT_USAGE = 2,
	BAK_EXIT_PARTIAL = 3, /* done, but something was skipped or is damaged */
};
/* The one table from error codes to exit statuses. */
enum bak_exit bak_exit_of(enum bak_errc code);

struct bak_tool {
	const char *command;
	struct bak_args args;
	bool json, quiet;
	size_t verbose;
	struct bak_config config;
	struct bak_secret secret;
	struct bak_repo *repo;
	struct bak_progress progress;
	const char *hint;  /* printed behind an error, NULL: what its code says */
	bool partial;      /* a warning was given: exit status 3 */
	bool quiet_damage; /* damage is told by the command itself */
	/* Once catch_stops was called, SIGINT and SIGTERM only set *stop; the second one kills. */
	const volatile sig_atomic_t *stop;
	void (*catch_stops)(void);
};
void bak_tool_release(struct bak_tool *tool);

/* Reads the configuration (--config, else with --repo only $BAKFS_CONFIG, else the default files)
 * and lets --repo replace its path. */
int bak_tool_read_config(struct bak_tool *tool, struct bak_error *err);
/* Like the above and BAK_USAGE when no repository is named. */
int bak_tool_need_path(struct bak_tool *tool, struct bak_error *err);
/* Finds the secret for an existing repository: --key-file, --password-file, $BAKFS_PASSWORD, the
 * configuration, the terminal, in this order. */
int bak_tool_find_secret(struct bak_tool *tool, struct bak_error *err);
/* Settings of the configuration; callbacks of the tool. */
void bak_tool_repo_conf(struct bak_tool *tool, struct bak_repo_conf *out);
/* All of that: then tool->repo is open. */
int bak_tool_open(struct bak_tool *tool, struct bak_error *err);

/* Prints "bakfs: MESSAGE" and perhaps a hint, and returns the exit status. */
int bak_tool_fail(struct bak_tool *tool, const struct bak_error *err);
/* Bad usage, said and returned. */
int bak_tool_usage(struct bak_tool *tool, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* "bakfs: warning: ...": something was skipped or is damaged; the exit status becomes 3. */
void bak_tool_warn(struct bak_tool *tool, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* "bakfs: ..." on standard error: always; only with -v. */
void bak_tool_note(struct bak_tool *tool, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
void bak_tool_detail(struct bak_tool *tool, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* A line of facts on standard output, but not with --json or -q. */
void bak_tool_say(struct bak_tool *tool, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* BAK_EXIT_DONE, or BAK_EXIT_PARTIAL after a warning. */
int bak_tool_done(const struct bak_tool *tool);
/* The same after printing value, which it takes; NULL is lack of memory. */
int bak_tool_json(struct bak_tool *tool, json_t *value);

/* Asks "QUESTION [y/N]" on the terminal: 1 yes, 0 no, -1 standard input is no terminal. */
int bak_tool_ask(struct bak_tool *tool, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
