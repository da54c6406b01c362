/*
 * bakfs check: every stored byte, and whether everything that is referred to is there; with --repair
 * what is damaged is put right.
 */
#include "engine/ops/lost.h"
#include "tools/commands.h"
#include "tools/findings.h"
#include "tools/output.h"
#include "tools/snapshots.h"

#include <inttypes.h>
#include <string.h>

const struct bak_option bak_options_check[] = {
	{0, "repair", NULL, "save what can be saved, and say what is lost", false},
	{0, NULL, NULL, NULL, false},
};

struct checking {
	struct bak_findings findings; /* first: the callbacks of findings.h take it so */
	json_t *lost;
};

static bool is_damaged(const struct bak_check_result *result, bool repair)
{
	if (repair)
		return result->lost > 0;
	return result->damaged_packs || result->damaged_segments || result->damaged_objects ||
	       result->damaged_files || result->missing;
}

static void set_text(json_t *object, const char *key, const char *text)
{
	if (text)
		bak_json_set_name(object, key, text, strlen(text));
}

static void on_lost(void *ctx, const struct bak_lost *lost)
{
	struct checking *checking = ctx;
	json_t *entry = json_pack("{s:I, s:b}", "snapshot", (json_int_t)lost->snapshot, "folder",
				  lost->folder);
	json_t *ranges = json_array();

	set_text(entry, "store", lost->store);
	set_text(entry, "path", lost->path);
	set_text(entry, "first", lost->first);
	set_text(entry, "end", lost->end);
	for (size_t i = 0; i < lost->n_ranges; i++)
		json_array_append_new(ranges, json_pack("[I, I]", (json_int_t)lost->ranges[i].off,
							(json_int_t)lost->ranges[i].len));
	json_object_set_new(entry, "ranges", ranges);
	json_array_append_new(checking->lost, entry);
}

static void set_count(json_t *object, const char *key, uint64_t n)
{
	json_object_set_new(object, key, json_integer((json_int_t)n));
}

/* Borrows the two arrays. */
static json_t *result_json(const struct bak_check_result *r, const struct checking *checking)
{
	json_t *json = json_object();

	set_count(json, "packs", r->packs);
	set_count(json, "segments", r->segments);
	set_count(json, "bytes", r->bytes);
	set_count(json, "snapshots", r->snapshots);
	set_count(json, "parity", r->parity);
	set_count(json, "damaged_packs", r->damaged_packs);
	set_count(json, "damaged_segments", r->damaged_segments);
	set_count(json, "damaged_objects", r->damaged_objects);
	set_count(json, "damaged_files", r->damaged_files);
	set_count(json, "missing", r->missing);
	set_count(json, "healed", r->healed);
	set_count(json, "given_back_by_parity", r->mended);
	if (checking->findings.repairing) {
		set_count(json, "packs_replaced", r->packs_replaced);
		set_count(json, "segments_saved", r->segments_saved);
		set_count(json, "segments_lost", r->segments_lost);
		set_count(json, "parity_written", r->parity_written);
		set_count(json, "objects_removed", r->objects_removed);
	}
	json_object_set(json, "findings", checking->findings.array);
	json_object_set(json, "lost", checking->lost);
	return json;
}

static void print_repair(struct bak_tool *tool, const struct bak_check_result *r)
{
	if (r->packs_replaced)
		bak_tool_say(tool,
			     "replaced: %" PRIu64 " pack%s; %" PRIu64 " segment%s saved, %" PRIu64
			     " lost",
			     r->packs_replaced, bak_plural(r->packs_replaced), r->segments_saved,
			     bak_plural(r->segments_saved), r->segments_lost);
	if (r->parity_written)
		bak_tool_say(tool, "parity written for %" PRIu64 " pack%s", r->parity_written,
			     bak_plural(r->parity_written));
	if (r->objects_removed)
		bak_tool_say(tool, "removed: %" PRIu64 " object%s that nothing can be made of",
			     r->objects_removed, bak_plural(r->objects_removed));
	if (r->lost)
		bak_tool_say(tool,
			     "lost: %" PRIu64 " piece%s, listed above; the next backup stores "
			     "again what its source still has",
			     r->lost, bak_plural(r->lost));
}

static void print_text(struct bak_tool *tool, const struct bak_check_result *r, bool repair)
{
	char bytes[BAK_SIZE_TEXT];
	bool found = is_damaged(r, false);

	bak_tool_say(tool,
		     "%" PRIu64 " snapshot%s, %" PRIu64 " pack%s, %" PRIu64 " segment%s, %s: %s",
		     r->snapshots, bak_plural(r->snapshots), r->packs, bak_plural(r->packs),
		     r->segments, bak_plural(r->segments), bak_size_text(r->bytes, bytes),
		     !found                  ? "good"
		     : is_damaged(r, repair) ? "DAMAGED"
					     : "repaired");
	if (found)
		bak_tool_say(tool,
			     "damaged: %" PRIu64 " packs, %" PRIu64 " segments, %" PRIu64
			     " objects, %" PRIu64 " files; missing: %" PRIu64
			     "; a good second copy or parity serves for %" PRIu64,
			     r->damaged_packs, r->damaged_segments, r->damaged_objects,
			     r->damaged_files, r->missing, r->healed);
	if (repair)
		print_repair(tool, r);
}

static int check(struct bak_tool *tool, struct checking *checking)
{
	struct bak_check_result result = {.packs = 0};
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_verify_conf conf;
	bool repair = bak_args_count(&tool->args, "repair") > 0;
	int rc = -1;

	bak_findings_conf(&checking->findings, &conf);
	checking->findings.repairing = conf.repair = repair;
	conf.lost = on_lost;
	if (bak_tool_open(tool, &err) == 0 && bak_tell_omissions(tool, &err) >= 0) {
		bak_progress_begin(&tool->progress, "check", 0);
		rc = bak_check(tool->repo, &conf, &result, &err);
		bak_progress_clear(&tool->progress);
	}
	if (rc < 0)
		return bak_tool_fail(tool, &err);
	tool->partial = tool->partial || is_damaged(&result, repair);
	if (tool->json)
		return bak_tool_json(tool, result_json(&result, checking));
	print_text(tool, &result, repair);
	return bak_tool_done(tool);
}

int bak_command_check(struct bak_tool *tool)
{
	struct checking checking = {.findings = {.tool = tool}};
	int status;

	if (tool->args.n_words)
		return bak_tool_usage(tool, "check takes no argument: it looks at everything");
	tool->quiet_damage = true;
	checking.findings.array = json_array();
	checking.lost = json_array();
	status = check(tool, &checking);
	json_decref(checking.findings.array);
	json_decref(checking.lost);
	return status;
}
