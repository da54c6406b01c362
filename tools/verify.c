/*
 * bakfs verify: reads what users would read, and compares sums.
 */
#include "engine/ops/verify.h"
#include "tools/commands.h"
#include "tools/findings.h"
#include "tools/output.h"
#include "tools/snapshots.h"

#include <inttypes.h>
#include <stdlib.h>

const struct bak_option bak_options_verify[] = {
	{0, "quick", NULL, "only the structure, not the files' contents", false},
	{0, NULL, NULL, NULL, false},
};

struct totals {
	uint64_t snapshots, files, bytes, damaged_files;
};

static int verify_one(struct bak_findings *findings, const struct bak_verify_conf *conf,
		      uint64_t number, struct totals *totals, struct bak_error *err)
{
	struct bak_tool *tool = findings->tool;
	struct bak_verify_result result = {.snapshots = 0};
	struct bak_snapshot_row row = {.number = 0};
	char name[BAK_SNAPSHOT_NAME], bytes[BAK_SIZE_TEXT];

	if (bak_index_snapshot(bak_repo_index(tool->repo), number, &row, err) < 0)
		return -1;
	bak_snapshot_name(row.store ? row.store : "?", row.stamp, name);
	bak_progress_begin(&tool->progress, name, row.bytes);
	bak_snapshot_row_release(&row);
	if (bak_verify(tool->repo, number, conf, &result, err) < 0)
		return bak_error_wrap(err, "%s", name);
	bak_progress_clear(&tool->progress);
	bak_tool_say(tool, "%s: %" PRIu64 " file%s, %s: %s", name, result.files,
		     bak_plural(result.files), bak_size_text(result.bytes, bytes),
		     result.damaged_files ? "DAMAGED" : "good");
	if (result.damaged_files)
		tool->partial = true;
	totals->snapshots++;
	totals->files += result.files;
	totals->bytes += result.bytes;
	totals->damaged_files += result.damaged_files;
	return 0;
}

static int collect(void *ctx, const struct bak_snapshot_row *row)
{
	return bak_buf_append(ctx, &row->number, sizeof(row->number));
}

/* The numbers that the IDs name, or all. */
static int choose(struct bak_tool *tool, struct bak_buf *numbers, struct bak_error *err)
{
	size_t i, n;
	int rc;

	if (!tool->args.n_words) {
		rc = bak_index_each_snapshot(bak_repo_index(tool->repo), NULL, collect, numbers,
					     err);
		return rc < 0 && !err->code ? bak_error_nomem(err) : rc;
	}
	for (i = 0; i < tool->args.n_words; i++) {
		uint64_t *some;

		if (bak_repo_resolve(tool->repo, tool->args.words[i], &some, &n, err) < 0)
			return -1;
		rc = bak_buf_append(numbers, some, n * sizeof(*some));
		free(some);
		if (rc < 0)
			return bak_error_nomem(err);
	}
	return 0;
}

static int verify(struct bak_findings *findings, struct totals *totals, struct bak_error *err)
{
	struct bak_tool *tool = findings->tool;
	BAK_AUTO(bak_buf_release) struct bak_buf numbers = BAK_BUF_INIT;
	struct bak_verify_conf conf;
	size_t i;

	tool->quiet_damage = true;
	if (bak_tool_open(tool, err) < 0 || bak_tell_omissions(tool, err) < 0 ||
	    choose(tool, &numbers, err) < 0)
		return -1;
	bak_findings_conf(findings, &conf);
	conf.quick = bak_args_count(&tool->args, "quick") > 0;
	for (i = 0; i < numbers.len / sizeof(uint64_t); i++) {
		if (verify_one(findings, &conf, ((const uint64_t *)numbers.p)[i], totals, err) < 0)
			return -1;
	}
	return 0;
}

int bak_command_verify(struct bak_tool *tool)
{
	struct bak_findings findings = {.tool = tool, .array = json_array()};
	struct bak_error err = BAK_ERROR_INIT;
	struct totals totals = {0};
	int rc = verify(&findings, &totals, &err);

	bak_progress_clear(&tool->progress);
	if (rc == 0 && tool->json)
		return bak_tool_json(tool, json_pack("{s:I, s:I, s:I, s:I, s:o}", "snapshots",
						     (json_int_t)totals.snapshots, "files",
						     (json_int_t)totals.files, "bytes",
						     (json_int_t)totals.bytes, "damaged_files",
						     (json_int_t)totals.damaged_files, "findings",
						     findings.array));
	json_decref(findings.array);
	return rc < 0 ? bak_tool_fail(tool, &err) : bak_tool_done(tool);
}
