/* Policies: what stays and why, by example and against a slow model. */
#include "tests/lib/fixture.h"

#include "engine/ops/policy.h"
#include "engine/ops/repo.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#define MAX_ROWS 64

struct list {
	size_t n;
	struct bak_snapshot_row rows[MAX_ROWS];
	unsigned reasons[MAX_ROWS];
};

static void add_tagged(struct list *l, const char *stamp, const char *type, const char *tags)
{
	struct bak_snapshot_row *row = &l->rows[l->n];
	*row = (struct bak_snapshot_row){.number = ++l->n,
					 .store = (char *)"app",
					 .type = (char *)type,
					 .tags = (char *)tags};
	assert_true(bak_stamp_parse(stamp, &row->stamp));
}

static void add(struct list *l, const char *stamp)
{
	add_tagged(l, stamp, "manual", "");
}

/* The numbers that stay: "1 3 4". */
static const char *staying(struct list *l, const struct bak_policy *policy, const char *now)
{
	static char text[8 * MAX_ROWS];
	struct bak_error err = BAK_ERROR_INIT;
	int64_t when;
	size_t len = 0;
	assert_true(bak_stamp_parse(now, &when));
	assert_int_equal(bak_policy_apply(policy, l->rows, l->n, when, l->reasons, &err), 0);
	text[0] = 0;
	for (size_t i = 0; i < l->n; i++)
		if (l->reasons[i])
			len += (size_t)snprintf(text + len, sizeof text - len, "%s%zu",
						len ? " " : "", i + 1);
	return text;
}

static const char *keep(struct list *l, enum bak_keep_rule rule, uint32_t count)
{
	struct bak_policy policy = {.n_tags = 0};
	policy.counts[rule] = count;
	return staying(l, &policy, "20261121T000000Z");
}

static void test_last(void **state)
{
	(void)state;
	struct list l = {.n = 0};
	assert_string_equal(keep(&l, BAK_KEEP_LAST, 3), "");
	for (int i = 0; i < 5; i++)
		add(&l, "20261120T120000Z");
	assert_string_equal(keep(&l, BAK_KEEP_LAST, 2), "4 5");
	assert_int_equal(l.reasons[4], 1u << BAK_KEEP_LAST);
	assert_string_equal(keep(&l, BAK_KEEP_LAST, BAK_KEEP_ALL), "1 2 3 4 5");
	/* Without any rule all would go, but for the last good one. */
	assert_string_equal(keep(&l, BAK_KEEP_LAST, 0), "5");
	assert_int_equal(l.reasons[4], 1u << BAK_KEEP_LAST_GOOD);
}

/* Of each period the newest, and days end at midnight UTC wherever one is. */
static void test_periods(void **state)
{
	(void)state;
	struct list l = {.n = 0};
	add(&l, "20231231T235959Z"); /* 1: a Sunday */
	add(&l, "20240101T000000Z"); /* 2: a Monday */
	add(&l, "20240101T005959Z"); /* 3 */
	add(&l, "20240101T010000Z"); /* 4 */
	add(&l, "20240107T230000Z"); /* 5: the Sunday of that week */
	add(&l, "20240108T000000Z"); /* 6 */
	add(&l, "20240229T120000Z"); /* 7 */
	add(&l, "20240301T000000Z"); /* 8 */
	assert_string_equal(keep(&l, BAK_KEEP_HOURLY, 99), "1 3 4 5 6 7 8");
	assert_string_equal(keep(&l, BAK_KEEP_DAILY, 99), "1 4 5 6 7 8");
	assert_string_equal(keep(&l, BAK_KEEP_WEEKLY, 99), "1 5 6 8");
	assert_string_equal(keep(&l, BAK_KEEP_MONTHLY, 99), "1 6 7 8");
	assert_string_equal(keep(&l, BAK_KEEP_YEARLY, 99), "1 8");
	assert_string_equal(keep(&l, BAK_KEEP_DAILY, 3), "6 7 8");
	assert_string_equal(keep(&l, BAK_KEEP_MONTHLY, 2), "7 8");
	assert_string_equal(keep(&l, BAK_KEEP_YEARLY, 1), "8");
}

static void test_before_1970(void **state)
{
	(void)state;
	struct list l = {.n = 0};
	add(&l, "19691228T235959Z"); /* a Sunday */
	add(&l, "19691229T000000Z");
	add(&l, "19691231T235959Z");
	add(&l, "19700101T000000Z");
	assert_string_equal(keep(&l, BAK_KEEP_DAILY, 9), "1 2 3 4");
	assert_string_equal(keep(&l, BAK_KEEP_WEEKLY, 9), "1 4");
	assert_string_equal(keep(&l, BAK_KEEP_YEARLY, 9), "3 4");
}

/* Order is by number: a clock that went back neither counts a day twice nor makes the snapshot
 * made last go. */
static void test_clock_back(void **state)
{
	(void)state;
	struct list l = {.n = 0};
	add(&l, "20261110T000000Z");
	add(&l, "20261112T000000Z");
	add(&l, "20991111T000000Z"); /* a dead battery */
	add(&l, "20261111T000000Z");
	add(&l, "20261112T100000Z");
	add(&l, "20261111T090000Z");
	assert_string_equal(keep(&l, BAK_KEEP_DAILY, 2), "5 6");
	assert_string_equal(keep(&l, BAK_KEEP_DAILY, 3), "3 5 6");
	assert_string_equal(keep(&l, BAK_KEEP_LAST, 1), "6");
	assert_string_equal(keep(&l, BAK_KEEP_YEARLY, 9), "3 6");
}

static void test_within(void **state)
{
	(void)state;
	struct list l = {.n = 0};
	struct bak_policy policy = {.within_s = 86400};
	add(&l, "20261101T000000Z");
	add(&l, "20261110T120000Z");
	add(&l, "20261111T120000Z");
	/* From the newest, however long ago that is. */
	assert_string_equal(staying(&l, &policy, "20301231T000000Z"), "2 3");
	/* From now, if the newest is of the future. */
	add(&l, "20991231T000000Z");
	assert_string_equal(staying(&l, &policy, "20261111T120001Z"), "3 4");
	policy.within_s = 86401;
	assert_string_equal(staying(&l, &policy, "20261111T120001Z"), "2 3 4");
	policy.within_s = INT64_MAX / 2;
	assert_string_equal(staying(&l, &policy, "20261111T120001Z"), "1 2 3 4");
}

/* Safety copies do not push out what they are there to save, nor are they the last good one. */
static void test_types(void **state)
{
	(void)state;
	struct list l = {.n = 0};
	struct bak_policy policy = {.counts[BAK_KEEP_LAST] = 2};
	static const char *const daily[] = {"daily"};
	add_tagged(&l, "20261101T000000Z", "manual", "");
	add_tagged(&l, "20261102T000000Z", "daily", "");
	add_tagged(&l, "20261103T000000Z", "monthly", "");
	for (int i = 0; i < 3; i++)
		add_tagged(&l, "20261104T000000Z", "pre-restore", "");
	add_tagged(&l, "20261105T000000Z", "import", "");
	assert_string_equal(staying(&l, &policy, "20261121T000000Z"), "2 3 5 6 7");
	policy.counts[BAK_KEEP_LAST] = 0;
	policy.within_s = 60;
	assert_string_equal(staying(&l, &policy, "20261121T000000Z"), "3 7");
	assert_int_equal(l.reasons[2], 1u << BAK_KEEP_LAST_GOOD);
	policy.types = daily;
	policy.n_types = 1;
	assert_string_equal(staying(&l, &policy, "20261121T000000Z"), "1 3 4 5 6 7");
	assert_int_equal(l.reasons[0], 1u << BAK_KEEP_OTHER_TYPE);
}

static void test_tags(void **state)
{
	(void)state;
	struct list l = {.n = 0};
	static const char *const tags[] = {"golden"};
	struct bak_policy policy = {.counts[BAK_KEEP_LAST] = 1, .tags = tags, .n_tags = 1};
	add_tagged(&l, "20261101T000000Z", "manual", "keep");
	add_tagged(&l, "20261101T000000Z", "manual", "keeper,gold,goldener");
	add_tagged(&l, "20261101T000000Z", "pre-restore", "a,golden,b");
	add_tagged(&l, "20261101T000000Z", "manual", "a,keep");
	add_tagged(&l, "20261101T000000Z", "manual", "");
	assert_string_equal(staying(&l, &policy, "20261121T000000Z"), "1 3 4 5");
	assert_int_equal(l.reasons[0], 1u << BAK_KEEP_TAG);
	/* What a tag keeps is counted like any other. */
	policy.counts[BAK_KEEP_LAST] = 2;
	assert_string_equal(staying(&l, &policy, "20261121T000000Z"), "1 3 4 5");
}

static void test_last_good(void **state)
{
	(void)state;
	struct list l = {.n = 0};
	bool goes[8] = {false};
	assert_int_equal(bak_policy_last_good(l.rows, 0, goes), 0);
	add_tagged(&l, "20261101T000000Z", "manual", "");
	add_tagged(&l, "20261101T000000Z", "daily", "");
	add_tagged(&l, "20261101T000000Z", "import", "");
	assert_int_equal(bak_policy_last_good(l.rows, l.n, goes), 3);
	goes[1] = goes[2] = true;
	assert_int_equal(bak_policy_last_good(l.rows, l.n, goes), 3);
	goes[0] = true;
	assert_int_equal(bak_policy_last_good(l.rows, l.n, goes), 1);
}

/* --- a slow model --- */

static void period_text(int rule, int64_t stamp, char out[32])
{
	time_t t = stamp;
	struct tm tm;
	gmtime_r(&t, &tm);
	switch (rule) {
	case BAK_KEEP_HOURLY:
		strftime(out, 32, "%Y-%m-%d %H", &tm);
		break;
	case BAK_KEEP_DAILY:
		strftime(out, 32, "%Y-%m-%d", &tm);
		break;
	case BAK_KEEP_WEEKLY:
		strftime(out, 32, "%G-%V", &tm);
		break;
	case BAK_KEEP_MONTHLY:
		strftime(out, 32, "%Y-%m", &tm);
		break;
	default:
		strftime(out, 32, "%Y", &tm);
	}
}

static bool is_import(const struct bak_snapshot_row *row)
{
	return strcmp(row->type, "import") == 0;
}

/* Whether row i is the newest of its group in its period, and how many newer such there are. */
static bool model_counts(const struct list *l, size_t i, int rule, size_t *out_newer)
{
	char seen[MAX_ROWS][32], mine[32];
	size_t n = 0;
	for (size_t k = l->n; k-- > i;) {
		bool same = is_import(&l->rows[k]) == is_import(&l->rows[i]);
		bool known = false;
		period_text(rule, l->rows[k].stamp, mine);
		for (size_t s = 0; s < n; s++)
			known |= strcmp(seen[s], mine) == 0;
		if (k == i) {
			*out_newer = n;
			return !known;
		}
		if (same && !known)
			memcpy(seen[n++], mine, sizeof mine);
	}
	return false;
}

static void test_against_model(void **state)
{
	(void)state;
	static const int64_t steps[] = {600, 40000, 200000, 3000000};
	static const char *const types[] = {"manual", "daily", "import"};
	for (uint64_t seed = 1; seed <= 300; seed++) {
		struct list l = {.n = 0};
		uint8_t dice[2 * MAX_ROWS + 8];
		struct bak_policy policy = {.n_tags = 0};
		struct bak_error err = BAK_ERROR_INIT;
		int64_t t = 1700000000;
		bak_fill_random(dice, sizeof dice, seed);
		for (size_t i = 0; i < MAX_ROWS; i++) {
			add_tagged(&l, "20260101T000000Z", types[dice[i] % 3], "");
			/* Sometimes backwards. */
			t += (dice[MAX_ROWS + i] - 40) * steps[seed % 4] / 256;
			l.rows[i].stamp = t;
		}
		for (int rule = 0; rule <= BAK_KEEP_YEARLY; rule++)
			policy.counts[rule] = dice[2 * MAX_ROWS + rule] % 5;
		policy.counts[BAK_KEEP_LAST] = 1;
		assert_int_equal(bak_policy_apply(&policy, l.rows, l.n, t, l.reasons, &err), 0);
		for (size_t i = 0; i < l.n; i++)
			for (int rule = 0; rule <= BAK_KEEP_YEARLY; rule++) {
				size_t newer = 0;
				bool stays = model_counts(&l, i, rule, &newer) &&
					     newer < policy.counts[rule];
				assert_int_equal((l.reasons[i] >> rule) & 1, stays);
			}
	}
}

static void test_any(void **state)
{
	(void)state;
	static const char *const tags[] = {"x"};
	struct bak_policy policy = {.n_tags = 0};
	assert_false(bak_policy_any(&policy));
	policy.types = tags;
	policy.n_types = 1;
	assert_false(bak_policy_any(&policy));
	policy.counts[BAK_KEEP_YEARLY] = 1;
	assert_true(bak_policy_any(&policy));
	policy = (struct bak_policy){.within_s = 1};
	assert_true(bak_policy_any(&policy));
	policy = (struct bak_policy){.tags = tags, .n_tags = 1};
	assert_true(bak_policy_any(&policy));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_last),          cmocka_unit_test(test_periods),
		cmocka_unit_test(test_before_1970),   cmocka_unit_test(test_clock_back),
		cmocka_unit_test(test_within),        cmocka_unit_test(test_types),
		cmocka_unit_test(test_tags),          cmocka_unit_test(test_last_good),
		cmocka_unit_test(test_against_model), cmocka_unit_test(test_any),
	};
	/* Far from Greenwich. */
	setenv("TZ", "Pacific/Kiritimati", 1);
	tzset();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
