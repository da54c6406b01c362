/*
 * bakfs restore: what is meant, then one of two ways: into a folder, or into the live store.
 */
#include "tools/restore.h"

#include "engine/content/folder.h"
#include "tools/commands.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

const struct bak_option bak_options_restore[] = {
	{0, "to", "DIR", "into this folder, instead of the live store", false},
	{0, "only", "PATH", "only these files and folders of the snapshot", true},
	{0, "overwrite", NULL, "with --to: replace files that are there", false},
	{0, "to-database", "NAME", "postgresql: one database, under this new name", false},
	{0, "table", "NAME", "postgresql: these tables alone", false},
	{0, "schema", "NAME", "postgresql: these schemas alone", false},
	{0, "to-schema", "NAME", "postgresql: tables into this new schema", false},
	{0, "to-collection", "NAME", "qdrant: one collection, under this new name", false},
	{0, "key", "GLOB", "redis: these keys alone", false},
	{0, "db", "N", "redis: keys of this database alone", false},
	{0, "key-type", "TYPE", "redis: keys of this type alone", false},
	{0, "index", "GLOB", "opensearch: these indices alone", false},
	{0, "collection", "GLOB", "chroma: these collections alone", false},
	{0, "label", "NAME", "neo4j: nodes with this label alone, as new ones", false},
	{0, "relationship", "TYPE", "neo4j: of their relationships this type alone", false},
	{'y', "yes", NULL, "do not ask; others' connections may be ended", false},
	{0, "no-safety", NULL, "make no safety copy of the live store first", false},
	{0, "take-over", NULL, "the store may be another host's so far", false},
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

/* ---- which parts ---- */

/* Is the path there? *out_all: it is the root. */
static int check_path(struct bak_tool *tool, const struct bak_snapshot *snapshot, const char *path,
		      bool *out_all, struct bak_error *err)
{
	BAK_AUTO(bak_found_release) struct bak_found found = BAK_FOUND_INIT;
	struct bak_tree tree = {bak_repo_source(tool->repo), snapshot};
	int rc = bak_tree_path(&tree, path, &found, err);

	if (rc == 0)
		return bak_error_set(err, BAK_NOT_FOUND, "no %s in snapshot %" PRIu64, path,
				     snapshot->number);
	*out_all = *out_all || !path[strspn(path, "./")];
	return rc < 0 ? -1 : 0;
}

static int fill_share(struct bak_tool *tool, const struct bak_selection *selection, size_t index,
		      struct bak_restore_share *share, struct bak_error *err)
{
	size_t n = bak_args_count(&tool->args, "only"), i, s;
	const char *path;
	bool all = n == 0;

	*share = (struct bak_restore_share){
		.snapshot = &selection->snapshots[index],
		.only = calloc(n + 1, sizeof(*share->only)),
	};
	if (!share->only)
		return bak_error_nomem(err);
	for (i = 0; i < n; i++) {
		if (bak_selection_path(selection, bak_args_nth(&tool->args, "only", i), &s, &path,
				       err) < 0)
			return -1;
		if (s != index)
			continue;
		if (check_path(tool, share->snapshot, path, &all, err) < 0)
			return -1;
		share->only[share->n_only++] = path;
	}
	if (!all && !share->n_only)
		share->snapshot = NULL; /* nothing of it is wanted */
	if (all)
		share->n_only = 0;
	return 0;
}

int bak_restore_shares(struct bak_tool *tool, const struct bak_selection *selection,
		       struct bak_restore_share **out_shares, size_t *out_n, struct bak_error *err)
{
	struct bak_restore_share *shares = calloc(selection->n + 1, sizeof(*shares));
	size_t i, n = 0;

	if (!shares)
		return bak_error_nomem(err);
	for (i = 0; i < selection->n; i++) {
		if (fill_share(tool, selection, i, &shares[n], err) < 0) {
			bak_restore_shares_free(shares, n + 1);
			return -1;
		}
		if (shares[n].snapshot)
			n++;
		else
			free(shares[n].only);
	}
	*out_shares = shares;
	*out_n = n;
	return 0;
}

void bak_restore_shares_free(struct bak_restore_share *shares, size_t n)
{
	size_t i;

	for (i = 0; shares && i < n; i++)
		free(shares[i].only);
	free(shares);
}

/* ---- the command ---- */

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
	struct bak_restore_share *shares;
	size_t n;
	int status;

	if (!tool->args.n_words)
		return bak_tool_usage(tool, "restore needs an ID, before --only; bakfs list shows "
					    "them");
	if (!to && bak_args_count(&tool->args, "overwrite"))
		return bak_tool_usage(tool, "--overwrite goes with --to");
	if (to && bak_restore_wish_given(tool))
		return bak_tool_usage(tool, "--%s does not go with --to",
				      bak_restore_wish_given(tool));
	if (choose(tool, &selection, &err) < 0 ||
	    bak_restore_shares(tool, &selection, &shares, &n, &err) < 0)
		return bak_tool_fail(tool, &err);
	status = to ? bak_restore_to(tool, shares, n, selection.n > 1, to)
		    : bak_restore_live(tool, shares, n);
	bak_restore_shares_free(shares, n);
	return status;
}
