/* Leases under keep: renewed, lapsed, lost; who minds whom; what the dead left. */
#include "tests/lib/stage.h"

#include "engine/ops/hold.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define HOUR 3600
#define DAY (24 * HOUR)

struct rig {
	struct bak_stage stage;
	struct bak_repo *repo;
};

static int setup(void **state)
{
	struct rig *rig = calloc(1, sizeof *rig);
	assert_non_null(rig);
	bak_stage_setup(&rig->stage);
	rig->repo = bak_stage_open(&rig->stage, NULL);
	*state = rig;
	return 0;
}

static int teardown(void **state)
{
	struct rig *rig = *state;
	bak_repo_close(rig->repo);
	bak_stage_teardown(&rig->stage);
	free(rig);
	return 0;
}

static struct bak_hold *begin(struct rig *rig, enum bak_hold_kind kind)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_hold *hold = NULL;
	if (bak_hold_begin(rig->repo, kind, NULL, 0, &hold, &err) < 0)
		fail_msg("%s", err.msg);
	return hold;
}

static unsigned check(struct bak_hold *hold)
{
	struct bak_error err = BAK_ERROR_INIT;
	unsigned lapses = 99;
	assert_int_equal(bak_hold_check(hold, &lapses, &err), 0);
	return lapses;
}

static bool has_lease(struct rig *rig, const struct bak_hold *hold, unsigned n)
{
	struct bak_error err = BAK_ERROR_INIT;
	char name[48];
	uint64_t size;
	snprintf(name, sizeof name, "running/%s-%u", bak_hold_id(hold), n);
	return bak_backend_size(rig->stage.mem, name, &size, &err) == 1;
}

static void test_renewed(void **state)
{
	struct rig *rig = *state;
	struct bak_hold *hold = begin(rig, BAK_HOLD_BACKUP);
	int64_t start = rig->stage.clock;
	assert_true(has_lease(rig, hold, 0));
	assert_int_equal(check(hold), 0);
	assert_true(has_lease(rig, hold, 0)); /* young enough */
	for (unsigned i = 1; i < 5; i++) {
		rig->stage.clock += 20 * HOUR;
		assert_int_equal(bak_hold_age(hold), 20 * HOUR);
		assert_int_equal(check(hold), 0);
		assert_true(has_lease(rig, hold, i) && !has_lease(rig, hold, i - 1));
	}
	assert_int_equal(bak_hold_start(hold), start);
	/* Clocks go back. */
	rig->stage.clock -= 90 * HOUR;
	assert_int_equal(check(hold), 0);
	assert_int_equal(bak_hold_age(hold), 0);
	bak_hold_end(hold);
	assert_int_equal(bak_stage_count(&rig->stage, "running"), 0);
}

static void test_lapsed(void **state)
{
	struct rig *rig = *state;
	struct bak_hold *hold = begin(rig, BAK_HOLD_BACKUP);
	rig->stage.clock += DAY;
	assert_int_equal(check(hold), 1);
	assert_int_equal(bak_hold_start(hold), rig->stage.clock);
	assert_int_equal(check(hold), 1);
	/* Somebody took it for dead. */
	bak_stage_end_leases(&rig->stage);
	assert_int_equal(check(hold), 2);
	assert_int_equal(bak_stage_count(&rig->stage, "running"), 1);
	bak_hold_end(hold);
	assert_int_equal(bak_stage_count(&rig->stage, "running"), 0);
}

static void test_others(void **state)
{
	struct rig *rig = *state;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_leases leases;
	struct bak_hold *one = begin(rig, BAK_HOLD_BACKUP), *two = begin(rig, BAK_HOLD_PRUNE);
	int64_t start = rig->stage.clock;
	assert_int_equal(bak_leases_list(rig->repo, bak_hold_id(two), &leases, &err), 0);
	assert_int_equal(leases.n, 1);
	assert_string_equal(leases.v[0].run, bak_hold_id(one));
	assert_true(bak_leases_before(&leases, start));
	assert_true(bak_leases_before(&leases, start - BAK_CLOCKS_S));
	assert_false(bak_leases_before(&leases, start - BAK_CLOCKS_S - 1));
	bak_leases_release(&leases);
	rig->stage.clock += DAY + BAK_CLOCKS_S + 1;
	assert_int_equal(bak_leases_list(rig->repo, NULL, &leases, &err), 0);
	assert_int_equal(leases.n, 0);
	bak_leases_release(&leases);
	bak_hold_end(one);
	bak_hold_end(two);
}

static void put(struct rig *rig, const char *name)
{
	struct bak_error err = BAK_ERROR_INIT;
	assert_int_equal(bak_backend_put(rig->stage.mem, "t", name, "x", 1, &err), 1);
}

/* Files of the living stay, those of the dead go, with their leases. */
static void test_leftovers(void **state)
{
	struct rig *rig = *state;
	char name[64];
	struct bak_hold *dead = begin(rig, BAK_HOLD_BACKUP);
	snprintf(name, sizeof name, "tmp/%s-1", bak_hold_id(dead));
	put(rig, name);
	rig->stage.clock += 2 * DAY;
	struct bak_hold *live = begin(rig, BAK_HOLD_BACKUP);
	assert_false(has_lease(rig, dead, 0));
	assert_int_equal(bak_stage_count(&rig->stage, "tmp"), 0);
	snprintf(name, sizeof name, "tmp/%s-1", bak_hold_id(live));
	put(rig, name);
	put(rig, "tmp/upload");
	struct bak_hold *prune = begin(rig, BAK_HOLD_PRUNE);
	assert_int_equal(bak_stage_count(&rig->stage, "tmp"), 2);
	/* The dead one lives on, and sees it. */
	assert_int_equal(check(dead), 1);
	bak_hold_end(prune);
	bak_hold_end(live);
	bak_hold_end(dead);
}

static void put_of_time(struct rig *rig, const char *word, int64_t time)
{
	char name[64];
	snprintf(name, sizeof name, "tmp/%s-%lld-00ff", word, (long long)time);
	put(rig, name);
}

/* Small objects of who has no lease go when nobody can still be writing them. */
static void test_small_leftovers(void **state)
{
	struct rig *rig = *state;
	int64_t now = rig->stage.clock;
	put_of_time(rig, "record", now - 26 * HOUR);
	put_of_time(rig, "key", now - 26 * HOUR);
	put_of_time(rig, "record", now - 24 * HOUR);
	put_of_time(rig, "init", now + 5 * DAY);
	put(rig, "tmp/record-00ff");
	put(rig, "tmp/record-9999999999999999999999-1");
	bak_hold_end(begin(rig, BAK_HOLD_BACKUP));
	assert_int_equal(bak_stage_count(&rig->stage, "tmp"), 4);
	rig->stage.clock += 7 * DAY;
	bak_hold_end(begin(rig, BAK_HOLD_BACKUP));
	assert_int_equal(bak_stage_count(&rig->stage, "tmp"), 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_renewed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lapsed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_others, setup, teardown),
		cmocka_unit_test_setup_teardown(test_leftovers, setup, teardown),
		cmocka_unit_test_setup_teardown(test_small_leftovers, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
