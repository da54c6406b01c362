/*
 * bakfs forget: snapshots that are named, or all that no rule keeps, get their records.
 */
#include "tools/commands.h"
#include "tools/forget_plan.h"
#include "tools/output.h"
#include "tools/prune.h"
#include "tools/snapshots.h"

#include <inttypes.h>

const struct bak_option bak_options_forget[] = {
	{0, "keep-last", "N", "keep so many snapshots of a store", false},
	{0, "keep-within", "TIME", "and all not older than this, such as 30d", false},
	{0, "keep-hourly", "N", "and the last of each of so many hours", false},
	{0, "keep-daily", "N", "... days", false},
	{0, "keep-weekly", "N", "... weeks", false},
	{0, "keep-monthly", "N", "... months", false},
	{0, "keep-yearly", "N", "... years", false},
	{0, "keep-tag", "TAG", "and all with this tag; may be given several times", false},
	{'s', "store", "NAME", "only this store; may be given several times", false},
	{'t', "type", "TYPE", "only snapshots of this type; may be given several times", false},
	{'n', "dry-run", NULL, "say what would be done, and do nothing", false},
	{0, "last-good", NULL, "also the last good one of a store, if it is named by number",
	 false},
	{0, "prune", NULL, "give space back afterwards, as bakfs prune does", false},
	{0, NULL, NULL, NULL, false},
};

/* ---- telling ---- */

static const char *const reason_names[] = {
	[BAK_KEEP_HOURLY] = "hourly",         [BAK_KEEP_DAILY] = "daily",
	[BAK_KEEP_WEEKLY] = "weekly",         [BAK_KEEP_MONTHLY] = "monthly",
	[BAK_KEEP_YEARLY] = "yearly",         [BAK_KEEP_LAST] = "last",
	[BAK_KEEP_WITHIN] = "within",         [BAK_KEEP_TAG] = "tag",
	[BAK_KEEP_OTHER_TYPE] = "other type", [BAK_KEEP_LAST_GOOD] = "last good one",
	[BAK_KEEP_REASONS] = "no policy",
};
#define N_REASONS (sizeof(reason_names) / sizeof(reason_names[0]))

static json_t *row_json(const struct bak_snapshot_row *row, const struct bak_fate *fate)
{
	json_t *json = bak_row_json(row), *reasons = json_array();
	size_t i;

	for (i = 0; i < N_REASONS; i++) {
		if (fate->reasons & 1u << i)
			json_array_append_new(reasons, json_string(reason_names[i]));
	}
	if (fate->goes)
		json_decref(reasons);
	else
		json_object_set_new(json, "reasons", reasons);
	return json;
}

static int print_json(const struct bak_forget_plan *plan)
{
	json_t *goes = json_array(), *stays = json_array(), *records = json_array();
	char text[48];
	size_t i;

	for (i = 0; i < plan->n; i++) {
		if (plan->fates[i].looked_at)
			json_array_append_new(plan->fates[i].goes ? goes : stays,
					      row_json(&plan->rows[i], &plan->fates[i]));
	}
	for (i = 0; i < plan->n_ranges; i++) {
		snprintf(text, sizeof(text), "%" PRIu64 "-%" PRIu64, plan->ranges[i].first,
			 plan->ranges[i].last);
		json_array_append_new(records, json_string(text));
	}
	return bak_tool_json(plan->tool,
			     json_pack("{s:b, s:o, s:o, s:o}", "dry_run",
				       (int)bak_args_count(&plan->tool->args, "dry-run"),
				       "forgotten", goes, "kept", stays, "ranges", records));
}

static int add_row(struct bak_table *table, const struct bak_snapshot_row *row,
		   const struct bak_fate *fate)
{
	char number[24], stamp[BAK_STAMP_LEN + 1], why[160] = "";
	size_t i, len = 0;

	for (i = 0; i < N_REASONS; i++) {
		if (fate->reasons & 1u << i)
			len += (size_t)snprintf(why + len, sizeof(why) - len, "%s%s",
						len ? ", " : "", reason_names[i]);
	}
	snprintf(number, sizeof(number), "%" PRIu64, row->number);
	bak_stamp_format(row->stamp, stamp);
	return bak_table_row(table, (const char *const[]){number, stamp, row->store, row->type,
							  fate->goes ? "goes" : "stays", why});
}

static int print_table(const struct bak_forget_plan *plan, struct bak_error *err)
{
	static const char *const heads[] = {">ID", "STAMP", "STORE", "TYPE", "FATE", "WHY"};
	struct bak_table *table = bak_table_new(heads, sizeof(heads) / sizeof(heads[0]));
	size_t i;

	for (i = 0; table && i < plan->n; i++) {
		if (plan->fates[i].looked_at && add_row(table, &plan->rows[i], &plan->fates[i]) < 0)
			break;
	}
	if (!table || i < plan->n) {
		bak_table_free(table);
		return bak_error_nomem(err);
	}
	bak_table_print(table);
	return 0;
}

/* Numbers without a snapshot that get a record. */
static uint64_t count_lost(const struct bak_forget_plan *plan, uint64_t goes)
{
	uint64_t numbers = 0;
	size_t i;

	for (i = 0; i < plan->n_ranges; i++)
		numbers += plan->ranges[i].last - plan->ranges[i].first + 1;
	return numbers - goes;
}

static void print_sum(struct bak_forget_plan *plan, bool dry_run)
{
	uint64_t goes = 0, stays = 0, lost;
	size_t i;

	for (i = 0; i < plan->n; i++) {
		goes += plan->fates[i].goes;
		stays += plan->fates[i].looked_at && !plan->fates[i].goes;
	}
	lost = count_lost(plan, goes);
	if (plan->by_policy)
		bak_tool_say(plan->tool, "%s %" PRIu64 " snapshot%s, %" PRIu64 " stay%s",
			     dry_run ? "would forget" : "forgot", goes, bak_plural(goes), stays,
			     stays == 1 ? "s" : "");
	else
		bak_tool_say(plan->tool, "%s %" PRIu64 " snapshot%s",
			     dry_run ? "would forget" : "forgot", goes, bak_plural(goes));
	if (lost)
		bak_tool_say(plan->tool, "%s that %" PRIu64 " number%s no snapshot",
			     dry_run ? "would record" : "recorded", lost,
			     lost == 1 ? " has" : "s have");
}

static int forget(struct bak_forget_plan *plan, struct bak_error *err)
{
	struct bak_tool *tool = plan->tool;
	bool dry_run = bak_args_count(&tool->args, "dry-run") > 0;

	if (bak_tool_open(tool, err) < 0 || bak_tell_omissions(tool, err) < 0 ||
	    bak_forget_plan(plan, err) < 0)
		return -1;
	if (!tool->json && !tool->quiet && print_table(plan, err) < 0)
		return -1;
	if (!dry_run && bak_forget_plan_do(plan, err) < 0)
		return -1;
	print_sum(plan, dry_run);
	return 0;
}

/* What was just forgotten is not deleted yet: its grace begins. */
static int prune(struct bak_tool *tool, int forgot)
{
	struct bak_prune_conf conf = {.dry_run = bak_args_count(&tool->args, "dry-run") > 0,
				      .max_unused = -1};
	int status = bak_tool_prune(tool, &conf);
	return status == BAK_EXIT_DONE ? forgot : status;
}

int bak_command_forget(struct bak_tool *tool)
{
	const struct bak_args *args = &tool->args;
	struct bak_forget_plan plan = {.tool = tool};
	struct bak_error err = BAK_ERROR_INIT;
	char option[32];
	size_t rule, n = bak_args_count(args, "store") + bak_args_count(args, "type");
	int status;

	for (rule = 0; bak_keep_rule_name(rule); rule++) {
		snprintf(option, sizeof(option), "keep-%s", bak_keep_rule_name(rule));
		n += bak_args_count(args, option);
	}
	if (args->n_words && n)
		return bak_tool_usage(tool, "name snapshots, or say what to keep, not both");
	if (!args->n_words && bak_args_count(args, "last-good"))
		return bak_tool_usage(tool, "--last-good goes with numbers of snapshots");
	if (tool->json && bak_args_count(args, "prune"))
		return bak_tool_usage(tool,
				      "--prune and --json: as two commands, each has its own");
	if (forget(&plan, &err) < 0)
		status = bak_tool_fail(tool, &err);
	else
		status = tool->json ? print_json(&plan) : bak_tool_done(tool);
	bak_forget_plan_release(&plan);
	if (status != BAK_EXIT_FAILED && bak_args_count(args, "prune"))
		status = prune(tool, status);
	return status;
}
