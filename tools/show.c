/*
 * bakfs show: one snapshot, with its manifest.
 */
#include "tools/commands.h"
#include "tools/output.h"
#include "tools/snapshots.h"

#include <inttypes.h>
#include <string.h>

static void print_text(const struct bak_snapshot_row *row, const json_t *manifest)
{
	char time[BAK_TIME_LEN + 1], stamp[BAK_STAMP_LEN + 1], run[BAK_STAMP_LEN + 1],
		bytes[BAK_SIZE_TEXT], added[BAK_SIZE_TEXT];

	bak_time_format(row->stamp, time);
	bak_stamp_format(row->stamp, stamp);
	bak_stamp_format(row->run_stamp, run);
	printf("snapshot     %" PRIu64 "\n", row->number);
	printf("id           %s@%s\n", row->store, stamp);
	printf("store        %s (%s)\n", row->store, row->driver);
	printf("time         %s\n", time);
	printf("type         %s\n", row->type);
	printf("run          %s (%s)\n", run, row->run);
	printf("host         %s\n", row->host);
	if (row->description && *row->description)
		printf("description  %s\n", row->description);
	if (row->tags && *row->tags)
		printf("tags         %s\n", row->tags);
	printf("entries      %" PRIu64 "\n", row->entries);
	printf("files        %" PRIu64 "\n", row->files);
	printf("size         %s (%" PRIu64 " bytes)\n", bak_size_text(row->bytes, bytes),
	       row->bytes);
	printf("added        %s (%" PRIu64 " bytes)\n", bak_size_text(row->added, added),
	       row->added);
	printf("manifest\n");
	json_dumpf(manifest, stdout, JSON_INDENT(2));
	putchar('\n');
}

static int show_one(struct bak_tool *tool, const struct bak_snapshot *snapshot, json_t *array,
		    struct bak_error *err)
{
	struct bak_snapshot_row row = {.number = 0};
	json_error_t why;
	json_t *manifest = json_loadb(snapshot->manifest, snapshot->manifest_len, 0, &why), *entry;

	if (!manifest)
		return bak_error_set(err, BAK_CORRUPT, "manifest of snapshot %" PRIu64 ": %s",
				     snapshot->number, why.text);
	if (bak_index_snapshot(bak_repo_index(tool->repo), snapshot->number, &row, err) <= 0) {
		json_decref(manifest);
		return err->code ? -1
				 : bak_error_set(err, BAK_NOT_FOUND, "no snapshot %" PRIu64,
						 snapshot->number);
	}
	if (tool->json) {
		entry = bak_row_json(&row);
		json_object_set(entry, "manifest", manifest);
		json_array_append_new(array, entry);
	} else {
		print_text(&row, manifest);
	}
	bak_snapshot_row_release(&row);
	json_decref(manifest);
	return 0;
}

int bak_command_show(struct bak_tool *tool)
{
	BAK_AUTO(bak_selection_release) struct bak_selection selection = BAK_SELECTION_INIT;
	struct bak_error err = BAK_ERROR_INIT;
	json_t *array;
	size_t i;
	int rc;

	if (tool->args.n_words != 1)
		return bak_tool_usage(tool, "show needs one ID; bakfs list shows them");
	if (bak_tool_open(tool, &err) < 0 ||
	    bak_select(tool, tool->args.words[0], &selection, &err) < 0)
		return bak_tool_fail(tool, &err);
	array = json_array();
	for (i = 0, rc = 0; i < selection.n && rc == 0; i++) {
		if (i && !tool->json)
			putchar('\n');
		rc = show_one(tool, &selection.snapshots[i], array, &err);
	}
	if (rc == 0 && tool->json)
		return bak_tool_json(tool, json_pack("{s:o}", "snapshots", array));
	json_decref(array);
	return rc < 0 ? bak_tool_fail(tool, &err) : bak_tool_done(tool);
}
