/*
 * bakfs list: the snapshots there are.
 */
#include "tools/commands.h"
#include "tools/output.h"
#include "tools/snapshots.h"

#include <inttypes.h>
#include <string.h>

const struct bak_option bak_options_list[] = {
	{'s', "store", "NAME", "only this store; may be given several times", false},
	{0, "run", "STAMP", "only what one run made", false},
	{0, NULL, NULL, NULL, false},
};

struct listing {
	struct bak_tool *tool;
	struct bak_table *table; /* one of the two */
	json_t *array;
};

static bool wanted(const struct bak_args *args, const struct bak_snapshot_row *row)
{
	const char *run = bak_args_value(args, "run");
	size_t n = bak_args_count(args, "store"), i;
	char stamp[BAK_STAMP_LEN + 1];

	bak_stamp_format(row->run_stamp, stamp);
	if (run && strcmp(run, stamp) && strcmp(run, row->run))
		return false;
	for (i = 0; i < n; i++) {
		if (!strcmp(bak_args_nth(args, "store", i), row->store))
			return true;
	}
	return n == 0;
}

static int add_row(void *ctx, const struct bak_snapshot_row *row)
{
	struct listing *listing = ctx;
	char number[24], stamp[BAK_STAMP_LEN + 1], files[24], bytes[BAK_SIZE_TEXT],
		added[BAK_SIZE_TEXT];

	if (!wanted(&listing->tool->args, row))
		return 0;
	if (listing->array)
		return json_array_append_new(listing->array, bak_row_json(row));
	snprintf(number, sizeof(number), "%" PRIu64, row->number);
	snprintf(files, sizeof(files), "%" PRIu64, row->files);
	bak_stamp_format(row->stamp, stamp);
	return bak_table_row(listing->table,
			     (const char *const[]){number, stamp, row->store, row->type, files,
						   bak_size_text(row->bytes, bytes),
						   bak_size_text(row->added, added), row->tags,
						   row->description ? row->description : ""});
}

static int list(struct listing *listing, struct bak_error *err)
{
	struct bak_tool *tool = listing->tool;
	static const char *const heads[] = {">ID",   "STAMP",  "STORE", "TYPE",       ">FILES",
					    ">SIZE", ">ADDED", "TAGS",  "DESCRIPTION"};
	int rc;

	if (bak_tool_open(tool, err) < 0 || bak_tell_omissions(tool, err) < 0)
		return -1;
	if (tool->json)
		listing->array = json_array();
	else
		listing->table = bak_table_new(heads, sizeof(heads) / sizeof(heads[0]));
	if (!listing->array && !listing->table)
		return bak_error_nomem(err);
	rc = bak_index_each_snapshot(bak_repo_index(tool->repo), NULL, add_row, listing, err);
	if (rc < 0 && err->code == BAK_OK)
		bak_error_nomem(err);
	return rc;
}

int bak_command_list(struct bak_tool *tool)
{
	struct listing listing = {.tool = tool};
	struct bak_error err = BAK_ERROR_INIT;
	int rc;

	if (tool->args.n_words)
		return bak_tool_usage(tool, "list takes no argument; --store NAME chooses a store");
	rc = list(&listing, &err);
	if (rc == 0 && tool->json)
		return bak_tool_json(tool, json_pack("{s:o}", "snapshots", listing.array));
	json_decref(listing.array);
	if (listing.table)
		bak_table_print(listing.table);
	return rc < 0 ? bak_tool_fail(tool, &err) : bak_tool_done(tool);
}
