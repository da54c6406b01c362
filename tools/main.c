/*
 * bakfs: the table of subcommands, and what is the same for all of them.
 */
#include "tools/commands.h"
#include "tools/output.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

static const struct bak_option common_options[] = {
	{'c', "config", "FILE", "configuration, instead of the usual places", false},
	{'r', "repo", "REPO", "repository, instead of the configuration's", false},
	{0, "password-file", "FILE", "file with the password in its first line", false},
	{0, "key-file", "FILE", "key file, instead of a password", false},
	{0, "json", NULL, "print facts as JSON", false},
	{'q', "quiet", NULL, "no progress and no summary", false},
	{'v', "verbose", NULL, "say more", false},
	{'h', "help", NULL, "print this", false},
	{0, "version", NULL, "print the version and what is in", false},
	{0, NULL, NULL, NULL, false},
};

static const struct bak_option no_options[] = {
	{0, NULL, NULL, NULL, false},
};

/* hidden: bakfs itself starts it. dash_words: see args.h. suboptions: of -o, as in mount(8). */
static const struct command {
	const char *group, *name, *arguments, *help;
	bak_command_fn *run;
	const struct bak_option *options, *suboptions;
	bool hidden, dash_words;
} commands[] = {
	{"Making backups", "init", "", "create the repository", bak_command_init, bak_options_init},
	{NULL, "backup", "[STORE...]", "back up all or some stores", bak_command_backup,
	 bak_options_backup},

	{"Looking", "list", "", "the snapshots there are", bak_command_list, bak_options_list},
	{NULL, "show", "ID", "one snapshot, and what its store said", bak_command_show, no_options},
	{NULL, "diff", "A B", "what changed between two snapshots", bak_command_diff,
	 bak_options_diff},
	{NULL, "mount", "DIR", "the backups as files", bak_command_mount, bak_options_mount,
	 bak_suboptions_mount},
	{NULL, "status", "", "stores, their last snapshots, and jobs", bak_command_status,
	 no_options},
	{NULL, "doctor", "[STORE...]", "what is wrong, and what to do", bak_command_doctor,
	 no_options},

	{"Getting back", "cat", "ID PATH", "one file to standard output", bak_command_cat,
	 no_options},
	{NULL, "restore", "ID [STORE...]", "into a folder, or into the live store",
	 bak_command_restore, bak_options_restore},
	{NULL, "rollback", "[STORE]", "undo the last restore", bak_command_rollback,
	 bak_options_rollback},

	{"Proving", "verify", "[ID...]", "prove backups readable", bak_command_verify,
	 bak_options_verify},
	{NULL, "check", "", "prove the repository sound", bak_command_check, bak_options_check},

	{"The repository", "key", "add|list|change|remove ID|rotate", "passwords and key files",
	 bak_command_key, bak_options_key},
	{NULL, "forget", "[ID...]", "give up snapshots, by ID or by what to keep",
	 bak_command_forget, bak_options_forget},
	{NULL, "tag", "ID [NAME|-NAME]...", "give snapshots tags, take them away", bak_command_tag,
	 no_options, .dash_words = true},
	{NULL, "prune", "", "give the space of forgotten snapshots back", bak_command_prune,
	 bak_options_prune},
	{NULL, "reindex", "", "rebuild the index from the repository", bak_command_reindex,
	 no_options},

	{NULL, "job", "", "run a restore that a mount asked for", bak_command_job, no_options, NULL,
	 true},
};
#define N_COMMANDS (sizeof(commands) / sizeof(commands[0]))

static volatile sig_atomic_t stop;

static void on_stop(int signal)
{
	stop = signal;
}

/* The second signal kills. */
static void catch_stops(void)
{
	struct sigaction action = {.sa_handler = on_stop, .sa_flags = (int)SA_RESETHAND};

	sigemptyset(&action.sa_mask);
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
}

static void print_usage(void)
{
	size_t i;

	printf("usage: bakfs [OPTION...] COMMAND [ARGUMENT...]\n");
	for (i = 0; i < N_COMMANDS; i++) {
		if (commands[i].hidden)
			continue;
		if (commands[i].group)
			printf("\n%s:\n", commands[i].group);
		printf("  %-10s%s\n", commands[i].name, commands[i].help);
	}
	printf("\nOptions of every command:\n");
	bak_options_print(common_options);
	printf("\nAn ID is a snapshot's number, latest, STORE@latest, STORE@STAMP, or a run's "
	       "stamp.\nbakfs COMMAND --help tells more, bakfs(1) all.\n");
}

static void print_command_usage(const struct command *command)
{
	printf("usage: bakfs %s [OPTION...]%s%s\n%s\n", command->name,
	       *command->arguments ? " " : "", command->arguments, command->help);
	if (command->options->name) {
		printf("\nOptions:\n");
		bak_options_print(command->options);
	}
	if (command->suboptions) {
		printf("\nOptions of -o:\n");
		bak_suboptions_print(command->suboptions);
	}
	printf("\nOptions of every command:\n");
	bak_options_print(common_options);
}

static int print_version(bool json)
{
	const struct bak_store_driver *const *driver;
	json_t *names;
#ifdef BAKFS_WITH_FUSE
	const bool fuse = true;
#else
	const bool fuse = false;
#endif

	if (json) {
		names = json_array();
		for (driver = bak_store_drivers; *driver; driver++)
			json_array_append_new(names, json_string((*driver)->name));
		return bak_json_print(json_pack("{s:s, s:o, s:b}", "version", BAKFS_VERSION,
						"stores", names, "mount", fuse)) < 0;
	}
	printf("bakfs %s\n", BAKFS_VERSION);
	for (driver = bak_store_drivers; *driver; driver++)
		printf("store %-12s%s\n", (*driver)->name, (*driver)->summary);
	printf("mount %s\n", fuse ? "through FUSE" : "not in: built without FUSE");
	return 0;
}

static const struct command *find_command(const char *name)
{
	size_t i;

	for (i = 0; i < N_COMMANDS; i++) {
		if (!strcmp(commands[i].name, name))
			return &commands[i];
	}
	return NULL;
}

static int run_command(struct bak_tool *tool, const struct command *command)
{
	tool->json = bak_args_count(&tool->args, "json") > 0;
	tool->quiet = bak_args_count(&tool->args, "quiet") > 0;
	tool->verbose = bak_args_count(&tool->args, "verbose");
	bak_progress_init(&tool->progress, !tool->quiet && isatty(2));
	return command->run(tool);
}

/* Global options, the command, its options. */
static int run(struct bak_tool *tool, int argc, char **argv)
{
	struct bak_error err = BAK_ERROR_INIT;
	const struct command *command;
	int used;

	tool->args.tables[tool->args.n_tables++] = common_options;
	if (bak_args_parse(&tool->args, argc, argv, true, &used, &err) < 0)
		return bak_tool_usage(tool, "%s", err.msg);
	if (bak_args_count(&tool->args, "version"))
		return print_version(bak_args_count(&tool->args, "json") > 0);
	if (used == argc && bak_args_count(&tool->args, "help")) {
		print_usage();
		return BAK_EXIT_DONE;
	}
	if (used == argc)
		return bak_tool_usage(tool, "say what to do");
	command = find_command(argv[used]);
	if (!command)
		return bak_tool_usage(tool, "unknown command \"%s\"", argv[used]);
	tool->command = command->name;
	tool->args.tables[tool->args.n_tables++] = command->options;
	tool->args.dash_words = command->dash_words;
	if (bak_args_parse(&tool->args, argc - used, argv + used, false, &used, &err) < 0)
		return bak_tool_usage(tool, "%s", err.msg);
	if (bak_args_count(&tool->args, "help")) {
		print_command_usage(command);
		return BAK_EXIT_DONE;
	}
	return run_command(tool, command);
}

/* AddressSanitizer's search for leaks traces its own process. */
#if defined(__SANITIZE_ADDRESS__)
#define TRACES_ITSELF 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define TRACES_ITSELF 1
#endif
#endif

/* Passwords and keys are in our memory: no core dumps, no debugger of the same user. */
static void hide_memory(void)
{
#ifndef TRACES_ITSELF
	prctl(PR_SET_DUMPABLE, 0);
#endif
}

/* Segments are a MiB and live shortly: without this each would be mapped and unmapped anew, page
 * fault by page fault (1.3 s of system time in 1.5 GB). */
static void keep_memory(void)
{
	mallopt(M_MMAP_THRESHOLD, 32 << 20);
	mallopt(M_TRIM_THRESHOLD, 256 << 20);
	mallopt(M_ARENA_MAX, 1);
}

int main(int argc, char **argv)
{
	keep_memory();
	struct bak_tool tool = {.stop = &stop, .catch_stops = catch_stops};
	int status;

	hide_memory();
	bak_config_init(&tool.config);
	status = run(&tool, argc, argv);
	bak_progress_clear(&tool.progress);
	bak_tool_release(&tool);
	if (fflush(stdout) || ferror(stdout)) {
		fprintf(stderr, "bakfs: standard output: %s\n", strerror(errno));
		return BAK_EXIT_FAILED;
	}
	return status;
}
