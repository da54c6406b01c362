/*
 * bakfs tag: words that users give to snapshots. "keep" is known to bakfs forget.
 */
#include "engine/ops/tag.h"

#include "tools/commands.h"
#include "tools/keep.h"
#include "tools/snapshots.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* The words behind the ID: what begins with '-' is taken away. */
static int read_change(const struct bak_tool *tool, const char **names,
		       struct bak_tag_change *change, struct bak_error *err)
{
	size_t n = tool->args.n_words - 1, i, end = n;

	for (i = 0; i < n; i++) {
		const char *word = tool->args.words[i + 1];
		bool less = word[0] == '-';

		if (!bak_tag_ok(word + less))
			return bak_error_set(err, BAK_USAGE,
					     "\"%s\" is no tag (1 to %d letters, digits, _ - . : "
					     "and +)",
					     word + less, BAK_TAG_MAX);
		if (less)
			names[--end] = word + 1;
		else
			names[change->n_add++] = word;
	}
	change->add = names;
	change->remove = names + end;
	change->n_remove = n - end;
	return 0;
}

static int print_one(struct bak_tool *tool, uint64_t number, json_t *array, struct bak_error *err)
{
	char name[BAK_SNAPSHOT_NAME];
	struct bak_snapshot_row row = {0};
	int rc = bak_index_snapshot(bak_repo_index(tool->repo), number, &row, err);

	if (rc == 1) {
		bak_tool_say(tool, "%" PRIu64 " %s: %s", number,
			     bak_snapshot_name(row.store, row.stamp, name),
			     *row.tags ? row.tags : "no tags");
		json_array_append_new(array, bak_row_json(&row));
	}
	bak_snapshot_row_release(&row);
	return rc < 0 ? -1 : 0;
}

static int tag(struct bak_tool *tool, const struct bak_tag_change *change, json_t *array,
	       struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) uint64_t *numbers = NULL;
	size_t n, i;

	if (bak_tool_open(tool, err) < 0)
		return -1;
	if (bak_repo_resolve(tool->repo, tool->args.words[0], &numbers, &n, err) < 0) {
		tool->hint = "bakfs list shows what there is";
		return -1;
	}
	for (i = 0; i < n; i++) {
		if (bak_repo_tag(tool->repo, numbers[i], change, err) < 0 ||
		    print_one(tool, numbers[i], array, err) < 0)
			return -1;
	}
	return 0;
}

int bak_command_tag(struct bak_tool *tool)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_tag_change change = {.n_add = 0};
	const char **names = calloc(tool->args.n_words + 1, sizeof(*names));
	json_t *array = json_array();
	int status;

	if (!tool->args.n_words) {
		status = bak_tool_usage(tool, "tag needs an ID, and tags to give or, with a - "
					      "before them, to take away");
	} else if (!names || !array) {
		bak_error_nomem(&err);
		status = bak_tool_fail(tool, &err);
	} else if (read_change(tool, names, &change, &err) < 0 ||
		   tag(tool, &change, array, &err) < 0) {
		status = bak_tool_fail(tool, &err);
	} else {
		status = tool->json ? bak_tool_json(tool, json_pack("{s:O}", "snapshots", array))
				    : bak_tool_done(tool);
	}
	json_decref(array);
	free(names);
	return status;
}
