/*
 * Which snapshots bakfs forget puts away.
 */
#include "tools/forget_plan.h"

#include "engine/ops/forget.h"
#include "tools/snapshots.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

void bak_forget_plan_release(struct bak_forget_plan *plan)
{
	bak_snapshot_rows_free(plan->rows, plan->n);
	free(plan->fates);
	free(plan->ranges);
	bak_keep_release(&plan->keep);
}

/* ---- rows ---- */

static int by_store(const void *a, const void *b)
{
	const struct bak_snapshot_row *x = a, *y = b;
	int order = strcmp(x->store, y->store);

	return order ? order : x->number < y->number ? -1 : x->number > y->number;
}

static int load_rows(struct bak_forget_plan *plan, struct bak_error *err)
{
	if (bak_index_snapshots(bak_repo_index(plan->tool->repo), NULL, &plan->rows, &plan->n,
				err) < 0)
		return -1;
	plan->fates = calloc(plan->n + 1, sizeof(*plan->fates));
	if (!plan->fates)
		return bak_error_nomem(err);
	if (plan->n)
		qsort(plan->rows, plan->n, sizeof(*plan->rows), by_store);
	return 0;
}

/* The end of the store that begins at place first. */
static size_t store_end(const struct bak_forget_plan *plan, size_t first)
{
	size_t end = first;

	while (end < plan->n && !strcmp(plan->rows[end].store, plan->rows[first].store))
		end++;
	return end;
}

static int add_range(struct bak_forget_plan *plan, uint64_t first, uint64_t last,
		     struct bak_error *err)
{
	if (bak_grow(&plan->ranges, &plan->cap_ranges, plan->n_ranges, sizeof(*plan->ranges)) < 0)
		return bak_error_nomem(err);
	plan->ranges[plan->n_ranges++] = (struct bak_forget_range){first, last};
	return 0;
}

/* ---- by policy ---- */

static bool given(const struct bak_args *args, const char *option, const char *value)
{
	size_t n = bak_args_count(args, option), i;

	for (i = 0; i < n; i++) {
		if (!strcmp(bak_args_nth(args, option, i), value))
			return true;
	}
	return false;
}

/* What the options say to keep. */
static int read_keep(struct bak_forget_plan *plan, struct bak_error *err)
{
	const struct bak_args *args = &plan->tool->args;
	const char *name;
	char option[32];
	size_t rule, i;

	for (rule = 0; (name = bak_keep_rule_name(rule)); rule++) {
		snprintf(option, sizeof(option), "keep-%s", name);
		for (i = 0; i < bak_args_count(args, option); i++) {
			if (bak_keep_set(&plan->keep, rule, bak_args_nth(args, option, i), err) < 0)
				return bak_error_wrap(err, "--%s", option);
		}
	}
	return 0;
}

/* The options', else the store's own, else the repository's. */
static const struct bak_keep *keep_of(const struct bak_forget_plan *plan, const char *store)
{
	const struct bak_config *config = &plan->tool->config;
	const struct bak_config_store *own = bak_config_store(config, store);

	if (plan->keep.given)
		return &plan->keep;
	return own && own->keep.given ? &own->keep : &config->keep;
}

/* Of other hosts' stores nothing goes unless they are named. */
static bool is_ours(struct bak_forget_plan *plan, size_t first, size_t end)
{
	const struct bak_args *args = &plan->tool->args;
	const struct bak_snapshot_row *newest = &plan->rows[end - 1];

	if (bak_args_count(args, "store"))
		return given(args, "store", plan->rows[first].store);
	if (!strcmp(newest->host, bak_repo_host(plan->tool->repo)))
		return true;
	bak_tool_detail(plan->tool, "store %s belongs to host %s: left alone without --store",
			newest->store, newest->host);
	return false;
}

static int judge_store(struct bak_forget_plan *plan, size_t first, size_t end,
		       struct bak_error *err)
{
	const struct bak_args *args = &plan->tool->args;
	const struct bak_keep *keep = keep_of(plan, plan->rows[first].store);
	struct bak_policy policy = bak_keep_policy(keep);
	size_t n_types = bak_args_count(args, "type"), i;
	BAK_AUTO(bak_free_ptr) unsigned *reasons = calloc(end - first, sizeof(*reasons));
	BAK_AUTO(bak_free_ptr) const char **types = calloc(n_types + 1, sizeof(*types));

	if (!reasons || !types)
		return bak_error_nomem(err);
	for (i = 0; i < n_types; i++)
		types[i] = bak_args_nth(args, "type", i);
	policy.types = types;
	policy.n_types = n_types;
	if (bak_policy_apply(&policy, plan->rows + first, end - first, time(NULL), reasons, err) <
	    0)
		return -1;
	for (i = first; i < end; i++) {
		struct bak_fate *fate = &plan->fates[i];

		fate->looked_at = true;
		fate->reasons = bak_policy_any(&policy) ? reasons[i - first] : BAK_FORGET_NO_POLICY;
		fate->goes = !fate->reasons;
	}
	return 0;
}

static bool any_policy(const struct bak_forget_plan *plan)
{
	const struct bak_config *config = &plan->tool->config;
	struct bak_policy policy = bak_keep_policy(&plan->keep);
	bool any = bak_policy_any(&policy);
	size_t i;

	if (plan->keep.given)
		return any;
	policy = bak_keep_policy(&config->keep);
	any = bak_policy_any(&policy);
	for (i = 0; i < config->n_stores; i++) {
		policy = bak_keep_policy(&config->stores[i].keep);
		any |= bak_policy_any(&policy);
	}
	return any;
}

static int plan_by_policy(struct bak_forget_plan *plan, struct bak_error *err)
{
	size_t first, end, i;

	for (first = 0; first < plan->n; first = end) {
		end = store_end(plan, first);
		if (is_ours(plan, first, end) && judge_store(plan, first, end, err) < 0)
			return -1;
	}
	for (i = 0; i < bak_args_count(&plan->tool->args, "store"); i++) {
		const char *name = bak_args_nth(&plan->tool->args, "store", i);

		for (first = 0; first < plan->n && strcmp(plan->rows[first].store, name); first++)
			;
		if (first == plan->n)
			return bak_error_set(err, BAK_NOT_FOUND, "no snapshot of a store %s there",
					     name);
	}
	return 0;
}

/* ---- by ID ---- */

/* "7", "7-9". */
static bool parse_range(const char *word, struct bak_forget_range *out)
{
	char *end;

	if (!isdigit((unsigned char)word[0]))
		return false;
	errno = 0;
	out->first = out->last = strtoull(word, &end, 10);
	if (*end == '-' && isdigit((unsigned char)end[1]))
		out->last = strtoull(end + 1, &end, 10);
	return !*end && !errno;
}

static void mark(struct bak_forget_plan *plan, uint64_t first, uint64_t last, bool named)
{
	size_t i;

	for (i = 0; i < plan->n; i++) {
		if (plan->rows[i].number < first || plan->rows[i].number > last)
			continue;
		plan->fates[i].looked_at = plan->fates[i].goes = true;
		plan->fates[i].named |= named;
	}
}

/* Numbers need no snapshot: what was lost is recorded, too. */
static int mark_range(struct bak_forget_plan *plan, const struct bak_forget_range *range,
		      struct bak_error *err)
{
	uint64_t next;

	if (bak_repo_next_number(plan->tool->repo, &next, err) < 0)
		return -1;
	if (!range->first || range->first > range->last || range->last >= next)
		return bak_error_set(err, BAK_NOT_FOUND,
				     range->first == range->last ? "there is no snapshot %" PRIu64
								 : "there are no snapshots %" PRIu64
								   "-%" PRIu64,
				     range->first, range->last);
	if (bak_repo_is_forgotten(plan->tool->repo, range->first, range->last)) {
		bak_tool_note(plan->tool, "forgotten already: %" PRIu64, range->first);
		return 0;
	}
	mark(plan, range->first, range->last, true);
	return add_range(plan, range->first, range->last, err);
}

static int mark_id(struct bak_forget_plan *plan, const char *id, struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) uint64_t *numbers = NULL;
	size_t n, i;

	if (bak_repo_resolve(plan->tool->repo, id, &numbers, &n, err) < 0) {
		plan->tool->hint = "bakfs list shows what there is";
		return -1;
	}
	for (i = 0; i < n; i++)
		mark(plan, numbers[i], numbers[i], false);
	return 0;
}

/* What was named by number may be the last good one, if its owner says so as well. */
static int spare_last_good(struct bak_forget_plan *plan, struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) bool *goes = calloc(plan->n + 1, sizeof(*goes));
	bool agreed = bak_args_count(&plan->tool->args, "last-good") > 0;
	size_t first, end, i;

	if (!goes)
		return bak_error_nomem(err);
	for (i = 0; i < plan->n; i++)
		goes[i] = plan->fates[i].goes;
	for (first = 0; first < plan->n; first = end) {
		end = store_end(plan, first);
		i = first + bak_policy_last_good(plan->rows + first, end - first, goes + first);
		if (i == end || (agreed && plan->fates[i].named))
			continue;
		plan->tool->hint = "to forget it all the same, name it by number with --last-good";
		return bak_error_set(err, BAK_REFUSED,
				     "snapshot %" PRIu64 " is the last good one of store %s",
				     plan->rows[i].number, plan->rows[i].store);
	}
	return 0;
}

static int plan_by_id(struct bak_forget_plan *plan, struct bak_error *err)
{
	struct bak_forget_range range;
	size_t i;

	for (i = 0; i < plan->tool->args.n_words; i++) {
		const char *word = plan->tool->args.words[i];

		if ((parse_range(word, &range) ? mark_range(plan, &range, err)
					       : mark_id(plan, word, err)) < 0)
			return -1;
	}
	return spare_last_good(plan, err);
}

/* ---- the whole of it ---- */

static int range_order(const void *a, const void *b)
{
	const struct bak_forget_range *x = a, *y = b;

	return x->first < y->first ? -1 : x->first > y->first;
}

/* As few records as may be: neighbours share one. */
static int settle_ranges(struct bak_forget_plan *plan, struct bak_error *err)
{
	size_t i, n = 0;

	for (i = 0; i < plan->n; i++) {
		uint64_t number = plan->rows[i].number;

		if (plan->fates[i].goes && add_range(plan, number, number, err) < 0)
			return -1;
	}
	if (plan->n_ranges)
		qsort(plan->ranges, plan->n_ranges, sizeof(*plan->ranges), range_order);
	for (i = 0; i < plan->n_ranges; i++) {
		const struct bak_forget_range *range = &plan->ranges[i];

		if (n && range->first <= plan->ranges[n - 1].last + 1) {
			if (range->last > plan->ranges[n - 1].last)
				plan->ranges[n - 1].last = range->last;
		} else {
			plan->ranges[n++] = *range;
		}
	}
	plan->n_ranges = n;
	return 0;
}

int bak_forget_plan(struct bak_forget_plan *plan, struct bak_error *err)
{
	plan->by_policy = plan->tool->args.n_words == 0;
	if (read_keep(plan, err) < 0)
		return -1;
	if (plan->by_policy && !any_policy(plan))
		return bak_error_set(err, BAK_USAGE,
				     "nothing says what to keep: give --keep-..., or keep_... in "
				     "the configuration");
	if (load_rows(plan, err) < 0 ||
	    (plan->by_policy ? plan_by_policy(plan, err) : plan_by_id(plan, err)) < 0)
		return -1;
	return settle_ranges(plan, err);
}

int bak_forget_plan_do(struct bak_forget_plan *plan, struct bak_error *err)
{
	bool changed;
	size_t i;

	for (i = 0; i < plan->n_ranges; i++) {
		const struct bak_forget_range *range = &plan->ranges[i];

		if (bak_repo_forget(plan->tool->repo, range->first, range->last, err) < 0)
			return -1;
	}
	return bak_repo_refresh_snapshots(plan->tool->repo, &changed, err);
}
