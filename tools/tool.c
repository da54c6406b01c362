/*
 * What every subcommand gets, and how it talks.
 */
#include "tools/tool.h"

#include "tools/output.h"
#include "tools/password.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum bak_exit bak_exit_of(enum bak_errc code)
{
	static const enum bak_exit table[] = {
		[BAK_OK] = BAK_EXIT_DONE,
		[BAK_NOT_FOUND] = BAK_EXIT_FAILED,
		[BAK_EXISTS] = BAK_EXIT_FAILED,
		[BAK_CORRUPT] = BAK_EXIT_FAILED,
		[BAK_WRONG_KEY] = BAK_EXIT_FAILED,
		[BAK_IO] = BAK_EXIT_FAILED,
		[BAK_NO_SPACE] = BAK_EXIT_FAILED,
		[BAK_NO_MEMORY] = BAK_EXIT_FAILED,
		[BAK_UNAVAILABLE] = BAK_EXIT_FAILED,
		[BAK_REFUSED] = BAK_EXIT_FAILED,
		[BAK_UNSUPPORTED] = BAK_EXIT_FAILED,
		[BAK_USAGE] = BAK_EXIT_USAGE,
		[BAK_BUSY] = BAK_EXIT_FAILED,
		[BAK_CANCELLED] = BAK_EXIT_FAILED,
		[BAK_BUG] = BAK_EXIT_FAILED,
	};

	return (size_t)code < sizeof(table) / sizeof(table[0]) ? table[code] : BAK_EXIT_FAILED;
}

void bak_tool_release(struct bak_tool *tool)
{
	bak_repo_close(tool->repo);
	tool->repo = NULL;
	bak_secret_release(&tool->secret);
	bak_config_release(&tool->config);
	bak_args_release(&tool->args);
}

/* ---- configuration, secret, repository ---- */

int bak_tool_read_config(struct bak_tool *tool, struct bak_error *err)
{
	const char *repo = bak_args_value(&tool->args, "repo");
	char *file, *path;
	int rc = bak_config_find(bak_args_value(&tool->args, "config"), !repo, &file, err);

	if (rc > 0)
		rc = bak_config_read(&tool->config, file, err);
	free(file);
	if (rc < 0)
		return -1;
	if (!repo)
		return 0;
	if (!*repo)
		return bak_error_set(err, BAK_USAGE, "--repo needs a path");
	path = realpath(repo, NULL);
	if (!path && repo[0] != '/') {
		BAK_AUTO(bak_free_ptr) char *cwd = getcwd(NULL, 0);

		if (!cwd || asprintf(&path, "%s/%s", cwd, repo) < 0)
			return bak_error_nomem(err);
	} else if (!path) {
		path = strdup(repo);
	}
	if (!path)
		return bak_error_nomem(err);
	free(tool->config.path);
	tool->config.path = path;
	return 0;
}

int bak_tool_need_path(struct bak_tool *tool, struct bak_error *err)
{
	if (bak_tool_read_config(tool, err) < 0)
		return -1;
	if (!tool->config.path)
		return bak_error_set(
			err, BAK_USAGE, "no repository: give --repo, or name one in %s",
			tool->config.file ? tool->config.file : "/etc/bakfs/bakfs.conf");
	if (strstr(tool->config.path, "://"))
		return bak_error_set(err, BAK_UNSUPPORTED, "%s: only local folders can be used",
				     tool->config.path);
	return 0;
}

int bak_tool_find_secret(struct bak_tool *tool, struct bak_error *err)
{
	const char *key_file = bak_args_value(&tool->args, "key-file");
	const char *password_file = bak_args_value(&tool->args, "password-file");
	const struct bak_config *config = &tool->config;
	int rc;

	if (key_file && password_file)
		return bak_error_set(err, BAK_USAGE, "give --key-file or --password-file");
	if (key_file)
		return bak_secret_keyfile(&tool->secret, key_file, err);
	if (password_file)
		return bak_password_from_file(&tool->secret, password_file, err);
	rc = bak_password_from_env(&tool->secret, "BAKFS_PASSWORD", err);
	if (rc)
		return rc < 0 ? -1 : 0;
	if (config->key_file)
		return bak_secret_keyfile(&tool->secret, config->key_file, err);
	if (config->password_file)
		return bak_password_from_file(&tool->secret, config->password_file, err);
	if (config->password_command)
		return bak_password_from_command(&tool->secret, config->password_command, err);
	bak_progress_clear(&tool->progress);
	if (bak_password_ask(&tool->secret, "password of the repository", false, err) == 0)
		return 0;
	if (err->code == BAK_UNAVAILABLE)
		return bak_error_set(err, BAK_USAGE,
				     "no password: set BAKFS_PASSWORD, or give --password-file or "
				     "--key-file");
	return -1;
}

static void on_index_progress(void *ctx, const char *what, uint64_t done, uint64_t total)
{
	struct bak_tool *tool = ctx;

	bak_progress_count(&tool->progress, what, done, total);
}

static void on_damaged(void *ctx, const struct bak_seg_copy *copy, const char *why)
{
	struct bak_tool *tool = ctx;
	char pack[2 * BAK_PACK_ID_BYTES + 1];

	if (tool->quiet_damage)
		return;
	bak_hex(pack, copy->pack, BAK_PACK_ID_BYTES);
	bak_tool_warn(tool, "damaged: pack %s at %" PRIu64 ": %s", pack, copy->off, why);
}

static void on_repaired(void *ctx, const struct bak_seg_copy *copy)
{
	struct bak_tool *tool = ctx;
	char pack[2 * BAK_PACK_ID_BYTES + 1];

	if (tool->quiet_damage)
		return;
	bak_hex(pack, copy->pack, BAK_PACK_ID_BYTES);
	bak_tool_warn(tool, "made anew from parity: pack %s at %" PRIu64, pack, copy->off);
}

void bak_tool_repo_conf(struct bak_tool *tool, struct bak_repo_conf *out)
{
	*out = (struct bak_repo_conf){
		.path = tool->config.path,
		.host = tool->config.host,
		.cache_bytes = tool->config.cache_bytes,
		.memory = tool->config.memory,
		.parity = tool->config.parity,
		.progress = on_index_progress,
		.progress_ctx = tool,
		.damaged = on_damaged,
		.repaired = on_repaired,
		.damaged_ctx = tool,
	};
}

int bak_tool_open(struct bak_tool *tool, struct bak_error *err)
{
	struct bak_repo_conf conf;
	int rc;

	if (bak_tool_need_path(tool, err) < 0)
		return -1;
	/* Before anybody is asked for a password. */
	rc = bak_repo_probe(tool->config.path, err);
	if (rc == 0)
		return bak_error_set(err, BAK_NOT_FOUND, "%s: not a repository", tool->config.path);
	if (rc < 0 || bak_tool_find_secret(tool, err) < 0)
		return -1;
	bak_tool_repo_conf(tool, &conf);
	rc = bak_repo_open(&conf, &tool->secret, &tool->repo, err);
	bak_progress_clear(&tool->progress);
	return rc;
}

/* ---- talking ---- */

static const char *hint_for(const struct bak_tool *tool, const struct bak_error *err)
{
	if (tool->hint)
		return tool->hint;
	if (err->code == BAK_NOT_FOUND && strstr(err->msg, "not a repository"))
		return "bakfs init makes one";
	if (err->code == BAK_BUG)
		return "this is a mistake in bakfs itself, please report it";
	return NULL;
}

__attribute__((format(printf, 3, 0))) static void
print_line(struct bak_tool *tool, const char *kind, const char *fmt, va_list ap)
{
	char text[2048];

	vsnprintf(text, sizeof(text), fmt, ap);
	bak_progress_clear(&tool->progress);
	fprintf(stderr, "bakfs: %s%s\n", kind, text);
}

int bak_tool_fail(struct bak_tool *tool, const struct bak_error *err)
{
	const char *hint = hint_for(tool, err);

	bak_tool_note(tool, "%s", err->msg);
	if (hint)
		fprintf(stderr, "hint: %s\n", hint);
	return (int)bak_exit_of(err->code);
}

int bak_tool_usage(struct bak_tool *tool, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	print_line(tool, "", fmt, ap);
	va_end(ap);
	fprintf(stderr, "hint: see bakfs %s%s--help\n", tool->command ? tool->command : "",
		tool->command ? " " : "");
	return BAK_EXIT_USAGE;
}

void bak_tool_warn(struct bak_tool *tool, const char *fmt, ...)
{
	va_list ap;

	tool->partial = true;
	va_start(ap, fmt);
	print_line(tool, "warning: ", fmt, ap);
	va_end(ap);
}

void bak_tool_note(struct bak_tool *tool, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	print_line(tool, "", fmt, ap);
	va_end(ap);
}

void bak_tool_detail(struct bak_tool *tool, const char *fmt, ...)
{
	va_list ap;

	if (!tool->verbose)
		return;
	va_start(ap, fmt);
	print_line(tool, "", fmt, ap);
	va_end(ap);
}

void bak_tool_say(struct bak_tool *tool, const char *fmt, ...)
{
	va_list ap;

	if (tool->json || tool->quiet)
		return;
	bak_progress_clear(&tool->progress);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
}

int bak_tool_done(const struct bak_tool *tool)
{
	return tool->partial ? BAK_EXIT_PARTIAL : BAK_EXIT_DONE;
}

int bak_tool_json(struct bak_tool *tool, json_t *value)
{
	struct bak_error err = BAK_ERROR_INIT;

	bak_progress_clear(&tool->progress);
	if (value && bak_json_print(value) == 0)
		return bak_tool_done(tool);
	bak_error_nomem(&err);
	return bak_tool_fail(tool, &err);
}

int bak_tool_ask(struct bak_tool *tool, const char *fmt, ...)
{
	char line[16] = "";
	va_list ap;

	if (!isatty(0))
		return -1;
	bak_progress_clear(&tool->progress);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputs(" [y/N] ", stderr);
	fflush(stderr);
	if (!fgets(line, sizeof(line), stdin))
		return 0;
	return line[0] == 'y' || line[0] == 'Y';
}
