/*
 * bakfs restore: what is meant, then one of two ways: into a folder, or into the live store.
 */
#include "tools/restore.h"

#include "tools/commands.h"

#include <string.h>

const struct bak_option bak_options_restore[] = {
	{0, "to", "DIR", "into this folder, instead of the live store", false},
	{0, "only", "PATH", "only these files and folders of the snapshot", true},
	{0, "overwrite", NULL, "with --to: replace files that are there", false},
	{'y', "yes", NULL, "do not ask; others' connections may be ended", false},
	{0, "no-safety", NULL, "make no safety copy of the live store first", false},
	{0, NULL, NULL, NULL, false},
};

static bool names_latest(const char *id)
{
	const char *at = strrchr(id, '@');

	return !strcmp(at ? at + 1 : id, "latest");
}

/* With snapshots missing, "latest" may be older than what the user believes to get. */
static int settle_latest(struct bak_tool *tool, const char *id, struct bak_error *err)
{
	int rc = bak_tell_omissions(tool, err);

	if (rc <= 0 || !names_latest(id) || bak_args_count(&tool->args, "yes"))
		return rc < 0 ? -1 : 0;
	rc = bak_tool_ask(tool, "Snapshots are missing, so %s may not be the newest. Go on?", id);
	if (rc > 0)
		return 0;
	return bak_error_set(err, BAK_REFUSED,
			     rc < 0 ? "snapshots are missing, so %s may not be the newest: give a "
				      "number, or --yes"
				    : "%s: not restored",
			     id);
}

static int choose(struct bak_tool *tool, struct bak_selection *out, struct bak_error *err)
{
	const char *id = tool->args.words[0];

	if (bak_tool_open(tool, err) < 0 || settle_latest(tool, id, err) < 0 ||
	    bak_select(tool, id, out, err) < 0)
		return -1;
	return bak_selection_keep(out, tool->args.words + 1, tool->args.n_words - 1, err);
}

int bak_command_restore(struct bak_tool *tool)
{
	BAK_AUTO(bak_selection_release) struct bak_selection selection = BAK_SELECTION_INIT;
	const char *to = bak_args_value(&tool->args, "to");
	struct bak_error err = BAK_ERROR_INIT;

	if (!tool->args.n_words)
		return bak_tool_usage(tool, "restore needs an ID, before --only; bakfs list shows "
					    "them");
	if (!to && bak_args_count(&tool->args, "overwrite"))
		return bak_tool_usage(tool, "--overwrite goes with --to");
	if (choose(tool, &selection, &err) < 0)
		return bak_tool_fail(tool, &err);
	return to ? bak_restore_to(tool, &selection, to) : bak_restore_live(tool, &selection);
}
