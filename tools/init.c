/*
 * bakfs init: the repository and its first key.
 */
#include "tools/commands.h"
#include "tools/destination.h"
#include "tools/output.h"
#include "tools/password.h"

#include <string.h>
#include <unistd.h>

const struct bak_option bak_options_init[] = {
	{0, "label", "TEXT", "name of the first password or key file", false},
	{0, NULL, NULL, NULL, false},
};

/* A key beside what it locks protects nothing. */
static int refuse_inside(const char *repo, const char *key_file, struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) char *folder = bak_destination_real(repo, err);
	BAK_AUTO(bak_free_ptr) char *file = folder ? bak_destination_real(key_file, err) : NULL;

	if (!file)
		return -1;
	if (!bak_destination_is_below(file, folder))
		return 0;
	return bak_error_set(err, BAK_REFUSED,
			     "%s: a key file inside the repository protects nothing", key_file);
}

/* Uses the key file, or makes it: *out_made. */
static int take_key_file(struct bak_tool *tool, const char *path, bool *out_made,
			 struct bak_error *err)
{
	if (refuse_inside(tool->config.path, path, err) < 0)
		return -1;
	*out_made = access(path, F_OK) != 0;
	return *out_made ? bak_secret_keyfile_create(&tool->secret, path, err)
			 : bak_secret_keyfile(&tool->secret, path, err);
}

static int take_secret(struct bak_tool *tool, const char **out_key_file, bool *out_made,
		       struct bak_error *err)
{
	const char *key_file = bak_args_value(&tool->args, "key-file");
	const char *password_file = bak_args_value(&tool->args, "password-file");
	const struct bak_config *config = &tool->config;
	int rc = 0;

	*out_made = false;
	*out_key_file = NULL;
	if (key_file && password_file)
		return bak_error_set(err, BAK_USAGE, "give --key-file or --password-file");
	if (!key_file && !password_file)
		rc = bak_password_from_env(&tool->secret, "BAKFS_PASSWORD", err);
	if (rc)
		return rc < 0 ? -1 : 0;
	if (password_file)
		return bak_password_from_file(&tool->secret, password_file, err);
	*out_key_file = key_file ? key_file : config->key_file;
	if (*out_key_file)
		return take_key_file(tool, *out_key_file, out_made, err);
	if (config->password_file || config->password_command)
		return bak_tool_find_secret(tool, err);
	if (bak_password_ask(&tool->secret, "new password for the repository", true, err) == 0)
		return 0;
	if (err->code == BAK_UNAVAILABLE)
		return bak_error_set(err, BAK_USAGE,
				     "no password: set BAKFS_PASSWORD, or give --password-file or "
				     "--key-file");
	return -1;
}

static int make(struct bak_tool *tool, const char **out_key_file, bool *out_made,
		struct bak_error *err)
{
	const char *label = bak_args_value(&tool->args, "label");
	struct bak_repo_conf conf;
	int rc;

	if (bak_tool_need_path(tool, err) < 0)
		return -1;
	rc = bak_repo_probe(tool->config.path, err);
	if (rc > 0)
		return bak_error_set(err, BAK_EXISTS, "%s: there is a repository already",
				     tool->config.path);
	if (rc < 0 || take_secret(tool, out_key_file, out_made, err) < 0)
		return -1;
	bak_tool_repo_conf(tool, &conf);
	rc = bak_repo_init(&conf, &tool->secret, label ? label : "first", err);
	if (rc < 0 && *out_made)
		unlink(*out_key_file); /* made a moment ago, opens nothing */
	return rc;
}

static json_t *result_json(const struct bak_tool *tool, const char *key_file)
{
	json_t *result = json_pack("{s:s}", "secret", key_file ? "keyfile" : "password");
	const char *path = tool->config.path;

	if (bak_json_set_name(result, "repository", path, strlen(path)) == 0 &&
	    (!key_file || bak_json_set_name(result, "key_file", key_file, strlen(key_file)) == 0))
		return result;
	json_decref(result);
	return NULL;
}

int bak_command_init(struct bak_tool *tool)
{
	struct bak_error err = BAK_ERROR_INIT;
	const char *key_file = NULL, *path;
	bool made = false;

	if (tool->args.n_words)
		return bak_tool_usage(tool, "init takes no argument: name the repository by --repo "
					    "or in the configuration");
	if (make(tool, &key_file, &made, &err) < 0)
		return bak_tool_fail(tool, &err);
	if (tool->json)
		return bak_tool_json(tool, result_json(tool, key_file));
	path = tool->config.path;
	bak_tool_say(tool, "made repository %s", path);
	if (key_file)
		bak_tool_say(tool,
			     "%s key file %s: keep a copy elsewhere, nothing opens the "
			     "repository without it",
			     made ? "made" : "used", key_file);
	else
		bak_tool_say(tool, "keep the password: nothing opens the repository without it");
	return bak_tool_done(tool);
}
