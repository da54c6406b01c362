/*
 * bakfs check: every stored byte, and whether everything that is referred to is there.
 */
#include "engine/ops/verify.h"
#include "tools/commands.h"
#include "tools/findings.h"
#include "tools/output.h"
#include "tools/snapshots.h"

#include <inttypes.h>

static bool is_damaged(const struct bak_check_result *result)
{
	return result->damaged_packs || result->damaged_segments || result->damaged_objects ||
	       result->damaged_files || result->missing;
}

static json_t *result_json(const struct bak_check_result *result, json_t *findings)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o}", "packs",
			 (json_int_t)result->packs, "segments", (json_int_t)result->segments,
			 "bytes", (json_int_t)result->bytes, "snapshots",
			 (json_int_t)result->snapshots, "damaged_packs",
			 (json_int_t)result->damaged_packs, "damaged_segments",
			 (json_int_t)result->damaged_segments, "damaged_objects",
			 (json_int_t)result->damaged_objects, "damaged_files",
			 (json_int_t)result->damaged_files, "missing", (json_int_t)result->missing,
			 "healed", (json_int_t)result->healed, "findings", findings);
}

static void print_text(struct bak_tool *tool, const struct bak_check_result *result)
{
	char bytes[BAK_SIZE_TEXT];

	bak_tool_say(tool,
		     "%" PRIu64 " snapshot%s, %" PRIu64 " pack%s, %" PRIu64 " segment%s, %s: %s",
		     result->snapshots, bak_plural(result->snapshots), result->packs,
		     bak_plural(result->packs), result->segments, bak_plural(result->segments),
		     bak_size_text(result->bytes, bytes), is_damaged(result) ? "DAMAGED" : "good");
	if (is_damaged(result))
		bak_tool_say(tool,
			     "damaged: %" PRIu64 " packs, %" PRIu64 " segments, %" PRIu64
			     " objects, %" PRIu64 " files; missing: %" PRIu64
			     "; a good second copy serves for %" PRIu64,
			     result->damaged_packs, result->damaged_segments,
			     result->damaged_objects, result->damaged_files, result->missing,
			     result->healed);
}

int bak_command_check(struct bak_tool *tool)
{
	struct bak_findings findings = {.tool = tool, .array = json_array()};
	struct bak_check_result result = {.packs = 0};
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_verify_conf conf;
	int rc = -1;

	tool->quiet_damage = true;
	bak_findings_conf(&findings, &conf);
	if (tool->args.n_words) {
		json_decref(findings.array);
		return bak_tool_usage(tool, "check takes no argument: it looks at everything");
	}
	if (bak_tool_open(tool, &err) == 0 && bak_tell_omissions(tool, &err) >= 0) {
		bak_progress_begin(&tool->progress, "check", 0);
		rc = bak_check(tool->repo, &conf, &result, &err);
		bak_progress_clear(&tool->progress);
	}
	if (rc < 0) {
		json_decref(findings.array);
		return bak_tool_fail(tool, &err);
	}
	tool->partial = tool->partial || is_damaged(&result);
	if (tool->json)
		return bak_tool_json(tool, result_json(&result, findings.array));
	json_decref(findings.array);
	print_text(tool, &result);
	return bak_tool_done(tool);
}
