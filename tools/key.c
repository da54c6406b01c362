/*
 * bakfs key: the passwords and key files that open the repository.
 */
#include "tools/commands.h"
#include "tools/output.h"
#include "tools/password.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const struct bak_option bak_options_key[] = {
	{0, "label", "TEXT", "add, change: what the new one is for", false},
	{0, "new-password-file", "FILE", "add, change: its first line is the new password", false},
	{0, "new-key-file", "FILE", "add, change: this key file, made if it is not there", false},
	{'y', "yes", NULL, "rotate: do not ask", false},
	{0, NULL, NULL, NULL, false},
};

/* From the options, $BAKFS_NEW_PASSWORD, or the terminal. */
static int take_new_secret(struct bak_tool *tool, struct bak_secret *out, bool *out_made,
			   struct bak_error *err)
{
	const char *key_file = bak_args_value(&tool->args, "new-key-file");
	const char *password_file = bak_args_value(&tool->args, "new-password-file");
	int rc;

	*out_made = false;
	if (key_file && password_file)
		return bak_error_set(err, BAK_USAGE, "give --new-key-file or --new-password-file");
	if (password_file)
		return bak_password_from_file(out, password_file, err);
	if (key_file) {
		*out_made = access(key_file, F_OK) != 0;
		return *out_made ? bak_secret_keyfile_create(out, key_file, err)
				 : bak_secret_keyfile(out, key_file, err);
	}
	rc = bak_password_from_env(out, "BAKFS_NEW_PASSWORD", err);
	if (rc)
		return rc < 0 ? -1 : 0;
	if (bak_password_ask(out, "new password", true, err) == 0)
		return 0;
	if (err->code == BAK_UNAVAILABLE)
		return bak_error_set(err, BAK_USAGE,
				     "no new password: set BAKFS_NEW_PASSWORD, or give "
				     "--new-password-file or --new-key-file");
	return -1;
}

/* A slot for a new secret. */
static int add_slot(struct bak_tool *tool, const char *label, char out_id[33],
		    struct bak_error *err)
{
	BAK_AUTO(bak_secret_release) struct bak_secret secret = {.kind = BAK_SECRET_NONE};
	bool made;
	int rc;

	if (take_new_secret(tool, &secret, &made, err) < 0)
		return -1;
	rc = bak_repo_key_add(tool->repo, &secret, label, out_id, err);
	if (rc < 0 && made)
		unlink(bak_args_value(&tool->args, "new-key-file"));
	if (rc < 0)
		return -1;
	bak_tool_say(tool, "added %s %s",
		     secret.kind == BAK_SECRET_KEYFILE ? "key file" : "password", out_id);
	return 0;
}

static int add(struct bak_tool *tool, struct bak_error *err)
{
	const char *label = bak_args_value(&tool->args, "label");
	char id[33];

	if (add_slot(tool, label ? label : "", id, err) < 0)
		return -1;
	if (tool->json)
		bak_tool_json(tool, json_pack("{s:s}", "id", id));
	return 0;
}

/* The new one first: whatever fails, one of the two opens the repository. */
static int change(struct bak_tool *tool, struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) struct bak_slot_info *slots = NULL;
	const char *label = bak_args_value(&tool->args, "label");
	char id[33], old[33];
	size_t n, i;

	snprintf(old, sizeof(old), "%s", bak_repo_key_used(tool->repo));
	if (bak_repo_key_list(tool->repo, &slots, &n, err) < 0)
		return -1;
	for (i = 0; i < n && !label; i++)
		label = strcmp(slots[i].id, old) ? NULL : slots[i].label;
	if (add_slot(tool, label ? label : "", id, err) < 0 ||
	    bak_repo_key_remove(tool->repo, old, err) < 0)
		return -1;
	bak_tool_say(tool, "removed %s", old);
	if (tool->json)
		bak_tool_json(tool, json_pack("{s:s, s:s}", "id", id, "removed", old));
	return 0;
}

static int list(struct bak_tool *tool, struct bak_error *err)
{
	static const char *const heads[] = {"ID", "KIND", "CREATED", "LABEL"};
	BAK_AUTO(bak_free_ptr) struct bak_slot_info *slots = NULL;
	struct bak_table *table;
	json_t *array;
	size_t n, i;

	if (bak_repo_key_list(tool->repo, &slots, &n, err) < 0)
		return -1;
	table = bak_table_new(heads, sizeof(heads) / sizeof(heads[0]));
	array = json_array();
	if (!table || !array)
		return bak_error_nomem(err);
	for (i = 0; i < n; i++) {
		json_array_append_new(array, json_pack("{s:s, s:s, s:s, s:s}", "id", slots[i].id,
						       "kind", slots[i].kind, "created",
						       slots[i].created, "label", slots[i].label));
		if (bak_table_row(table, (const char *const[]){slots[i].id, slots[i].kind,
							       slots[i].created, slots[i].label}) <
		    0)
			return bak_error_nomem(err);
	}
	if (tool->json) {
		bak_tool_json(tool, json_pack("{s:O}", "keys", array));
		bak_table_free(table);
	} else {
		bak_table_print(table);
	}
	json_decref(array);
	return 0;
}

static int remove_one(struct bak_tool *tool, const char *id, struct bak_error *err)
{
	if (bak_repo_key_remove(tool->repo, id, err) < 0)
		return -1;
	bak_tool_say(tool,
		     "removed %s; whoever kept a copy of keys/ and knows it can still open "
		     "what was written so far",
		     id);
	if (tool->json)
		bak_tool_json(tool, json_pack("{s:s}", "removed", id));
	return 0;
}

/* What ends is said before it does. */
static int agree(struct bak_tool *tool, const struct bak_slot_info *slots, size_t n,
		 struct bak_error *err)
{
	size_t others = 0, i;
	int rc;

	for (i = 0; i < n; i++) {
		if (!strcmp(slots[i].id, bak_repo_key_used(tool->repo)))
			continue;
		others++;
		bak_tool_note(tool, "will not open the repository any more: %s %s%s%s",
			      strcmp(slots[i].kind, "keyfile") ? slots[i].kind : "key file",
			      slots[i].id, *slots[i].label ? ", " : "", slots[i].label);
	}
	if (!others || bak_args_count(&tool->args, "yes"))
		return 0;
	rc = bak_tool_ask(tool, "Only what opened it now goes on to. Rotate?");
	if (rc > 0)
		return 0;
	return bak_error_set(err, BAK_REFUSED,
			     rc < 0 ? "the others end: give --yes if they may" : "not rotated");
}

static int rotate(struct bak_tool *tool, struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) struct bak_slot_info *slots = NULL;
	BAK_AUTO(bak_free_ptr) struct bak_slot_info *after = NULL;
	char id[33];
	size_t n, i;

	if (bak_repo_key_list(tool->repo, &slots, &n, err) < 0 || agree(tool, slots, n, err) < 0 ||
	    bak_repo_key_rotate(tool->repo, slots, n, id, err) < 0 ||
	    bak_repo_key_list(tool->repo, &after, &i, err) < 0)
		return -1;
	bak_tool_say(tool, "what is written from now on has a new key; %s opens the repository",
		     id);
	while (i-- > 0) {
		if (strcmp(after[i].id, id))
			bak_tool_warn(tool,
				      "%s was added meanwhile and has the old keys: remove it, "
				      "and add it again",
				      after[i].id);
	}
	if (tool->json)
		bak_tool_json(tool, json_pack("{s:s}", "id", id));
	return 0;
}

static const struct verb {
	const char *name;
	int (*run)(struct bak_tool *tool, struct bak_error *err);
} verbs[] = {{"add", add}, {"list", list}, {"change", change}, {"rotate", rotate}};

int bak_command_key(struct bak_tool *tool)
{
	struct bak_error err = BAK_ERROR_INIT;
	const char *name = tool->args.n_words ? tool->args.words[0] : "";
	bool is_remove = !strcmp(name, "remove");
	const struct verb *verb = NULL;
	size_t i;
	int rc;

	for (i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
		if (!strcmp(name, verbs[i].name))
			verb = &verbs[i];
	}
	if (!verb && !is_remove)
		return bak_tool_usage(tool, "key needs add, list, change, remove or rotate");
	if (is_remove && tool->args.n_words != 2)
		return bak_tool_usage(tool, "key remove needs one ID; key list shows them");
	if (!is_remove && tool->args.n_words != 1)
		return bak_tool_usage(tool, "key %s takes no argument", name);
	if (bak_tool_open(tool, &err) < 0)
		return bak_tool_fail(tool, &err);
	rc = is_remove ? remove_one(tool, tool->args.words[1], &err) : verb->run(tool, &err);
	return rc < 0 ? bak_tool_fail(tool, &err) : bak_tool_done(tool);
}
