/*
 * bakfs prune: gives the space of forgotten snapshots back.
 */
#include "tools/prune.h"

#include "tools/commands.h"
#include "tools/output.h"

#include <inttypes.h>
#include <stdlib.h>

const struct bak_option bak_options_prune[] = {
	{'n', "dry-run", NULL, "say what would be done, and do nothing", false},
	{0, "alone", NULL, "wait for no grace; no backup can run meanwhile", false},
	{0, "max-unused", "PERCENT", "rewrite packs with more garbage than this (20)", false},
	{0, NULL, NULL, NULL, false},
};

struct prune {
	struct bak_tool *tool;
	struct bak_prune_conf conf;
	struct bak_prune_result plan;
};

/* --- telling --- */

/* "3 packs (12.0 MiB)" */
struct text {
	char p[64];
};

static const char *packs_text(uint64_t n, uint64_t bytes, struct text *out)
{
	char size[BAK_SIZE_TEXT];

	snprintf(out->p, sizeof(out->p), "%" PRIu64 " pack%s (%s)", n, bak_plural(n),
		 bak_size_text(bytes, size));
	return out->p;
}

static void say_waiting(struct bak_tool *tool, uint64_t n, uint64_t bytes, int64_t next)
{
	char when[BAK_TIME_LEN + 1];
	struct text packs;

	if (!n)
		return;
	bak_time_format(next, when);
	bak_tool_say(tool, "%s condemned: deleted by a prune after %s",
		     packs_text(n, bytes, &packs), when);
}

static void say_plan(struct prune *prune)
{
	const struct bak_prune_result *r = &prune->plan;
	struct bak_tool *tool = prune->tool;
	char size[BAK_SIZE_TEXT];
	struct text packs;

	bak_tool_say(tool, "%s, used by %" PRIu64 " snapshot%s",
		     packs_text(r->packs, r->bytes, &packs), r->snapshots,
		     bak_plural(r->snapshots));
	if (r->removed_snapshots)
		bak_tool_say(tool, "to delete: %" PRIu64 " forgotten snapshot%s",
			     r->removed_snapshots, bak_plural(r->removed_snapshots));
	if (r->swept_packs)
		bak_tool_say(tool, "to delete: %s condemned earlier",
			     packs_text(r->swept_packs, r->swept_bytes, &packs));
	if (r->condemned_packs)
		bak_tool_say(tool, "to %s: %s, after copying about %s that are used",
			     prune->conf.alone ? "delete" : "condemn",
			     packs_text(r->condemned_packs, r->condemned_bytes, &packs),
			     bak_size_text(r->copied_bytes, size));
	if (!r->removed_snapshots && !r->swept_packs && !r->condemned_packs)
		bak_tool_say(tool, "nothing to do");
	if (prune->conf.dry_run)
		say_waiting(tool, r->waiting_packs, r->waiting_bytes, r->next);
}

static void say_result(struct prune *prune, const struct bak_prune_result *r)
{
	struct bak_tool *tool = prune->tool;
	char copied[BAK_SIZE_TEXT], after[BAK_SIZE_TEXT];
	struct text packs;

	bak_tool_say(tool,
		     "deleted %" PRIu64 " snapshot%s and %s, copied %s; the packs take %s now",
		     r->removed_snapshots, bak_plural(r->removed_snapshots),
		     packs_text(r->swept_packs, r->swept_bytes, &packs),
		     bak_size_text(r->copied_bytes, copied), bak_size_text(r->after_bytes, after));
	say_waiting(tool, r->waiting_packs + r->condemned_packs,
		    r->waiting_bytes + r->condemned_bytes, r->next);
}

static void planned(void *ctx, const struct bak_prune_result *plan)
{
	struct prune *prune = ctx;

	prune->plan = *plan;
	bak_progress_clear(&prune->tool->progress);
	say_plan(prune);
	fflush(stdout);
}

static void told_progress(void *ctx, const char *what, uint64_t done, uint64_t total)
{
	struct prune *prune = ctx;

	bak_progress_count(&prune->tool->progress, what, done, total);
}

static void warned(void *ctx, const char *text)
{
	struct prune *prune = ctx;

	bak_tool_warn(prune->tool, "%s", text);
}

/* --- JSON --- */

static json_t *result_json(const struct bak_prune_result *r)
{
	json_t *json = json_pack(
		"{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "packs",
		(json_int_t)r->packs, "bytes", (json_int_t)r->bytes, "snapshots",
		(json_int_t)r->snapshots, "deleted_snapshots", (json_int_t)r->removed_snapshots,
		"deleted_packs", (json_int_t)r->swept_packs, "deleted_bytes",
		(json_int_t)r->swept_bytes, "condemned_packs", (json_int_t)r->condemned_packs,
		"condemned_bytes", (json_int_t)r->condemned_bytes, "copied_bytes",
		(json_int_t)r->copied_bytes, "waiting_packs", (json_int_t)r->waiting_packs,
		"waiting_bytes", (json_int_t)r->waiting_bytes, "damaged",
		(json_int_t)(r->damaged_segments + r->damaged_packs), "after_bytes",
		(json_int_t)r->after_bytes);
	char when[BAK_TIME_LEN + 1];

	bak_time_format(r->next, when);
	json_object_set_new(json, "next", r->next ? json_string(when) : json_null());
	return json;
}

static int print_json(const struct prune *prune, const struct bak_prune_result *result)
{
	json_t *json = json_pack("{s:b, s:b, s:o}", "dry_run", (int)prune->conf.dry_run, "alone",
				 (int)prune->conf.alone, "plan", result_json(&prune->plan));

	if (!prune->conf.dry_run)
		json_object_set_new(json, "done", result_json(result));
	return bak_tool_json(prune->tool, json);
}

/* --- the command --- */

static int read_percent(const struct bak_args *args, int *out)
{
	const char *text = bak_args_value(args, "max-unused");
	char *end;
	long n;

	*out = -1;
	if (!text)
		return 0;
	n = strtol(text, &end, 10);
	if (end == text || (*end && strcmp(end, "%") != 0) || n < 0 || n > 100)
		return -1;
	*out = (int)n;
	return 0;
}

int bak_tool_prune(struct bak_tool *tool, const struct bak_prune_conf *options)
{
	struct prune prune = {.tool = tool, .conf = *options};
	struct bak_prune_conf *conf = &prune.conf;
	struct bak_prune_result result = {.packs = 0};
	struct bak_error err = BAK_ERROR_INIT;
	int rc;

	conf->planned = planned;
	conf->progress = told_progress;
	conf->warn = warned;
	conf->ctx = &prune;
	rc = bak_prune(tool->repo, conf, &result, &err);
	bak_progress_clear(&tool->progress);
	if (rc < 0)
		return bak_tool_fail(tool, &err);
	if (result.damaged_packs)
		bak_tool_warn(tool,
			      "%" PRIu64 " pack%s with a damaged end left alone: see "
			      "bakfs-verify(1)",
			      result.damaged_packs, bak_plural(result.damaged_packs));
	if (tool->json)
		return print_json(&prune, &result);
	if (!conf->dry_run)
		say_result(&prune, &result);
	return bak_tool_done(tool);
}

int bak_command_prune(struct bak_tool *tool)
{
	struct bak_prune_conf conf = {.dry_run = bak_args_count(&tool->args, "dry-run") > 0,
				      .alone = bak_args_count(&tool->args, "alone") > 0};
	struct bak_error err = BAK_ERROR_INIT;

	if (tool->args.n_words)
		return bak_tool_usage(tool, "prune takes no argument");
	if (read_percent(&tool->args, &conf.max_unused) < 0)
		return bak_tool_usage(tool, "--max-unused takes a number from 0 to 100");
	if (bak_tool_open(tool, &err) < 0)
		return bak_tool_fail(tool, &err);
	return bak_tool_prune(tool, &conf);
}
