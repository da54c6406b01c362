/*
 * bakfs cat: one file's bytes.
 */
#include "engine/ops/extract.h"
#include "tools/commands.h"
#include "tools/snapshots.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int refuse_other(const struct bak_inode *inode, const char *path, struct bak_error *err)
{
	switch (inode->type) {
	case BAK_TYPE_FILE:
		return 0;
	case BAK_TYPE_DIR:
		return bak_error_set(err, BAK_REFUSED, "%s: a folder; restore --only gets it out",
				     path);
	case BAK_TYPE_SYMLINK:
		return bak_error_set(err, BAK_REFUSED, "%s: a symbolic link to %.*s", path,
				     (int)inode->target_len, inode->target);
	default:
		return bak_error_set(err, BAK_REFUSED, "%s: not a regular file", path);
	}
}

static int cat(struct bak_tool *tool, struct bak_error *err)
{
	BAK_AUTO(bak_selection_release) struct bak_selection selection = BAK_SELECTION_INIT;
	BAK_AUTO(bak_found_release) struct bak_found found = BAK_FOUND_INIT;
	const char *whole = tool->args.words[1], *path;
	struct bak_tree tree;
	size_t i;
	int rc;

	if (bak_tool_open(tool, err) < 0 ||
	    bak_select(tool, tool->args.words[0], &selection, err) < 0 ||
	    bak_selection_path(&selection, whole, &i, &path, err) < 0)
		return -1;
	tree = (struct bak_tree){bak_repo_source(tool->repo), &selection.snapshots[i]};
	rc = bak_tree_path(&tree, path, &found, err);
	if (rc == 0)
		return bak_error_set(err, BAK_NOT_FOUND, "no %s in snapshot %llu", whole,
				     (unsigned long long)selection.snapshots[i].number);
	if (rc < 0 || refuse_other(&found.entry.inode, whole, err) < 0 ||
	    bak_extract_file(tool->repo, &found.entry.inode, STDOUT_FILENO, err) < 0)
		return -1;
	return 0;
}

int bak_command_cat(struct bak_tool *tool)
{
	struct bak_error err = BAK_ERROR_INIT;

	if (tool->args.n_words != 2)
		return bak_tool_usage(tool, "cat needs an ID and a path");
	return cat(tool, &err) < 0 ? bak_tool_fail(tool, &err) : bak_tool_done(tool);
}
