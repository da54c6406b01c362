/* Which snapshots of a store stay: see policy.h. */
#include "engine/ops/policy.h"

#include "engine/ops/repo.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

bool bak_policy_any(const struct bak_policy *policy)
{
	bool any = policy->within_s > 0 || policy->n_tags > 0;
	for (int rule = 0; rule < BAK_KEEP_RULES; rule++)
		any |= policy->counts[rule] > 0;
	return any;
}

bool bak_row_has_tag(const struct bak_snapshot_row *row, const char *tag)
{
	size_t len = strlen(tag), n;
	for (const char *p = row->tags ? row->tags : ""; *p; p += n + (p[n] == ',')) {
		n = strcspn(p, ",");
		if (n == len && memcmp(p, tag, len) == 0)
			return true;
	}
	return false;
}

static bool in_list(const char *const *list, size_t n, const char *text)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(list[i], text) == 0)
			return true;
	return false;
}

/* --- periods --- */

static int64_t floor_div(int64_t a, int64_t b)
{
	return a / b - (a % b < 0);
}

/* Which period of the rule a stamp lies in: a number that only grows. Of BAK_KEEP_LAST each
 * snapshot is one. */
static int64_t period(enum bak_keep_rule rule, const struct bak_snapshot_row *row)
{
	int64_t day = floor_div(row->stamp, 86400);
	time_t t = row->stamp;
	struct tm tm = {.tm_year = 0};
	switch (rule) {
	case BAK_KEEP_HOURLY:
		return floor_div(row->stamp, 3600);
	case BAK_KEEP_DAILY:
		return day;
	case BAK_KEEP_WEEKLY:
		return floor_div(day + 3, 7); /* 1970 began on a Thursday */
	case BAK_KEEP_MONTHLY:
		gmtime_r(&t, &tm);
		return (int64_t)tm.tm_year * 12 + tm.tm_mon;
	case BAK_KEEP_YEARLY:
		gmtime_r(&t, &tm);
		return tm.tm_year;
	default:
		return (int64_t)row->number;
	}
}

struct member {
	size_t at; /* of the row */
	int64_t period;
};

/* Periods together, in each the newest first. */
static int by_period(const void *a, const void *b)
{
	const struct member *x = a, *y = b;
	if (x->period != y->period)
		return x->period < y->period ? -1 : 1;
	return x->at > y->at ? -1 : x->at < y->at;
}

static int newest_first(const void *a, const void *b)
{
	const struct member *x = a, *y = b;
	return x->at > y->at ? -1 : x->at < y->at;
}

/* The newest of each period stays, for as many periods as the rule counts, the newest first. */
static void apply_rule(enum bak_keep_rule rule, uint32_t count, const struct bak_snapshot_row *rows,
		       struct member *members, size_t n, unsigned *reasons)
{
	size_t kept = 0;
	for (size_t i = 0; i < n; i++)
		members[i].period = period(rule, &rows[members[i].at]);
	qsort(members, n, sizeof *members, by_period);
	for (size_t i = 0; i < n; i++)
		if (kept == 0 || members[i].period != members[kept - 1].period)
			members[kept++] = members[i];
	qsort(members, kept, sizeof *members, newest_first);
	for (size_t i = 0; i < kept && i < count; i++)
		reasons[members[i].at] |= 1u << rule;
}

/* --- groups --- */

static bool same_group(const char *a, const char *b)
{
	return bak_type_counts_as_latest(a) ? bak_type_counts_as_latest(b) : strcmp(a, b) == 0;
}

/* The rows that are counted together with rows[first]. */
static size_t gather(const struct bak_policy *policy, const struct bak_snapshot_row *rows, size_t n,
		     size_t first, struct member *out)
{
	size_t n_out = 0;
	for (size_t i = first; i < n; i++)
		if (same_group(rows[first].type, rows[i].type) &&
		    (policy->n_types == 0 || in_list(policy->types, policy->n_types, rows[i].type)))
			out[n_out++].at = i;
	return n_out;
}

static void keep_within(const struct bak_policy *policy, const struct bak_snapshot_row *rows,
			size_t n, int64_t now, const struct member *members, size_t n_members,
			unsigned *reasons)
{
	int64_t until = rows[n - 1].stamp < now ? rows[n - 1].stamp : now;
	int64_t from = (until < 0 ? 0 : until) - policy->within_s;
	for (size_t i = 0; i < n_members; i++)
		if (rows[members[i].at].stamp >= from)
			reasons[members[i].at] |= 1u << BAK_KEEP_WITHIN;
}

static bool seen_before(const struct bak_snapshot_row *rows, size_t i)
{
	for (size_t k = 0; k < i; k++)
		if (same_group(rows[k].type, rows[i].type))
			return true;
	return false;
}

static void apply_group(const struct bak_policy *policy, const struct bak_snapshot_row *rows,
			size_t n, size_t first, int64_t now, struct member *members,
			unsigned *reasons)
{
	size_t n_members = gather(policy, rows, n, first, members);
	if (n_members == 0)
		return;
	if (policy->within_s > 0)
		keep_within(policy, rows, n, now, members, n_members, reasons);
	for (int rule = 0; rule < BAK_KEEP_RULES; rule++) {
		if (policy->counts[rule] == 0)
			continue;
		apply_rule(rule, policy->counts[rule], rows, members, n_members, reasons);
		/* The rule left its own order, and the newest of each period alone. */
		gather(policy, rows, n, first, members);
	}
}

/* What one row says of itself. */
static unsigned own_reasons(const struct bak_policy *policy, const struct bak_snapshot_row *row)
{
	unsigned reasons = 0;
	if (policy->n_types && !in_list(policy->types, policy->n_types, row->type))
		reasons |= 1u << BAK_KEEP_OTHER_TYPE;
	if (bak_row_has_tag(row, BAK_KEEP_ALWAYS_TAG))
		reasons |= 1u << BAK_KEEP_TAG;
	for (size_t i = 0; i < policy->n_tags; i++)
		if (bak_row_has_tag(row, policy->tags[i]))
			reasons |= 1u << BAK_KEEP_TAG;
	return reasons;
}

size_t bak_policy_last_good(const struct bak_snapshot_row *rows, size_t n, const bool *goes)
{
	size_t newest = n;
	for (size_t i = 0; i < n; i++) {
		if (!bak_type_counts_as_latest(rows[i].type))
			continue;
		if (!goes[i])
			return n;
		newest = i;
	}
	return newest;
}

int bak_policy_apply(const struct bak_policy *policy, const struct bak_snapshot_row *rows, size_t n,
		     int64_t now, unsigned *out_reasons, struct bak_error *err)
{
	struct member *members = calloc(n + 1, sizeof *members);
	bool *goes = calloc(n + 1, sizeof *goes);
	if (!members || !goes) {
		free(members);
		free(goes);
		return bak_error_nomem(err);
	}
	for (size_t i = 0; i < n; i++)
		out_reasons[i] = own_reasons(policy, &rows[i]);
	for (size_t i = 0; i < n; i++)
		if (!seen_before(rows, i))
			apply_group(policy, rows, n, i, now, members, out_reasons);
	for (size_t i = 0; i < n; i++)
		goes[i] = out_reasons[i] == 0;
	size_t good = bak_policy_last_good(rows, n, goes);
	if (good < n)
		out_reasons[good] |= 1u << BAK_KEEP_LAST_GOOD;
	free(members);
	free(goes);
	return 0;
}
