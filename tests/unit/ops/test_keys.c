/* Rotated keys: what was open before, what is opened after, and everything that fails in between. */
#include "tests/lib/world.h"

#include "engine/ops/hold.h"
#include "engine/ops/verify.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static int rotate(struct bak_repo *repo, struct bak_error *err)
{
	struct bak_slot_info *slots = NULL;
	char id[33];
	size_t n;
	int rc = bak_repo_key_list(repo, &slots, &n, err);
	if (rc == 0)
		rc = bak_repo_key_rotate(repo, slots, n, id, err);
	free(slots);
	return rc;
}

static size_t count_slots(struct bak_world *world)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_slot_info *slots = NULL;
	size_t n;
	bak_must(bak_repo_key_list(world->repo, &slots, &n, &err), &err);
	free(slots);
	return n;
}

static void assert_readable(struct bak_repo *repo, uint64_t number)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_verify_conf conf = {.finding = NULL};
	struct bak_verify_result result = {0};
	bak_must(bak_verify(repo, number, &conf, &result, &err), &err);
	assert_int_equal(result.damaged_files, 0);
	assert_true(result.files > 0);
}

/* A process that has the repository open reads what another one seals with new keys. */
static void test_open_before(void **state)
{
	(void)state;
	struct bak_world world, before;
	struct bak_error err = BAK_ERROR_INIT;
	bool changed;
	bak_world_setup(&world);
	bak_world_backup(&world, "app", "manual", 1);
	before = world;
	bak_world_open(&before);
	for (uint64_t round = 2; round <= 4; round++) {
		bak_must(rotate(world.repo, &err), &err);
		bak_world_reopen(&world);
		assert_int_equal(bak_world_backup(&world, "app", "manual", round), round);
		bak_must(bak_repo_refresh_snapshots(before.repo, &changed, &err), &err);
		assert_readable(before.repo, round);
		assert_int_equal(count_slots(&world), 1);
	}
	/* What it writes with the key that it had opens, too. */
	assert_int_equal(bak_world_backup(&before, "app", "manual", 9), 5);
	bak_world_reopen(&world);
	for (uint64_t n = 1; n <= 5; n++)
		assert_readable(world.repo, n);
	assert_int_equal(bak_repo_ring(world.repo)->n_masters, 4);
	bak_repo_close(before.repo);
	bak_world_teardown(&world);
}

/* Damage makes nobody read slots twice. */
static void test_damage_is_cheap(void **state)
{
	(void)state;
	struct bak_world world;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_snapshot snapshot;
	bak_world_setup(&world);
	bak_world_backup(&world, "app", "manual", 1);
	bak_world_flip(&world, "snapshots/1", 50);
	for (int i = 0; i < 3; i++) {
		bak_backend_fault_arm(world.fault, 0, false);
		assert_int_equal(bak_repo_snapshot(world.repo, 1, &snapshot, &err), -1);
		/* The object, and a list of keys/. */
		assert_int_equal(bak_backend_fault_calls(world.fault), 2);
	}
	bak_world_teardown(&world);
}

static void test_not_now(void **state)
{
	(void)state;
	struct bak_world world;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_hold *hold;
	struct bak_slot_info none = {.id = "x"};
	char id[33];
	const char *stores[] = {"app"};
	bak_world_setup(&world);
	bak_must(bak_hold_begin(world.repo, BAK_HOLD_BACKUP, stores, 1, &hold, &err), &err);
	assert_int_equal(rotate(world.repo, &err), -1);
	assert_int_equal(err.code, BAK_BUSY);
	bak_hold_end(hold);
	/* Not the slots that there are: somebody was not told. */
	assert_int_equal(bak_repo_key_rotate(world.repo, &none, 1, id, &err), -1);
	assert_int_equal(err.code, BAK_BUSY);
	assert_int_equal(bak_repo_key_rotate(world.repo, &none, 0, id, &err), -1);
	assert_int_equal(count_slots(&world), 1);
	bak_must(rotate(world.repo, &err), &err);
	bak_world_teardown(&world);
}

static int first_name(void *ctx, const char *name, uint64_t size)
{
	(void)size;
	snprintf(ctx, 64, "%s", name);
	return 1;
}

/* Its process is gone. */
static void end_leases(struct bak_world *world)
{
	struct bak_error err = BAK_ERROR_INIT;
	char name[64];
	while (bak_backend_list(world->mem, "running", first_name, name, &err) == 1)
		bak_must(bak_backend_remove(world->mem, name, &err), &err);
}

/* Cut off anywhere, the secret opens the repository, and everything in it. */
static void test_faults(void **state)
{
	(void)state;
	struct bak_world world;
	bool done = false;
	bak_world_setup(&world);
	for (uint64_t n = 1; !done; n++) {
		struct bak_error err = BAK_ERROR_INIT;
		bak_backend_fault_arm(world.fault, n, true);
		int rc = rotate(world.repo, &err);
		done = bak_backend_fault_calls(world.fault) < n;
		bak_backend_fault_arm(world.fault, 0, false);
		assert_true(rc == 0 || !done);
		end_leases(&world);
		bak_world_reopen(&world);
		assert_int_equal(bak_world_backup(&world, "app", "manual", n), n);
		bak_world_reopen(&world);
		for (uint64_t k = 1; k <= n; k++)
			assert_readable(world.repo, k);
		assert_true(n < 100);
		/* The next one begins with one slot again. */
		bak_must(rotate(world.repo, &err), &err);
		bak_world_reopen(&world);
	}
	assert_int_equal(count_slots(&world), 1);
	bak_world_teardown(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_open_before),
		cmocka_unit_test(test_damage_is_cheap),
		cmocka_unit_test(test_not_now),
		cmocka_unit_test(test_faults),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
