/* Records of forgotten snapshots, and the whole of it under faults. */
#include "tests/lib/world.h"

#include "engine/ops/forget.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static void forget(struct bak_world *world, uint64_t first, uint64_t last)
{
	struct bak_error err = BAK_ERROR_INIT;
	bak_must(bak_repo_forget(world->repo, first, last, &err), &err);
}

static bool is_there(struct bak_world *world, uint64_t number)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_snapshot snapshot = {0};
	int rc = bak_repo_snapshot(world->repo, number, &snapshot, &err);
	bak_must(rc, &err);
	bak_snapshot_release(&snapshot);
	return rc == 1;
}

static bool has_object(struct bak_world *world, const char *name)
{
	struct bak_error err = BAK_ERROR_INIT;
	uint64_t size;
	int rc = bak_backend_size(world->mem, name, &size, &err);
	bak_must(rc, &err);
	return rc == 1;
}

static void test_records(void **state)
{
	(void)state;
	struct bak_world world;
	bak_world_setup(&world);
	for (uint64_t i = 1; i <= 6; i++)
		bak_world_backup(&world, "app", "manual", i);
	forget(&world, 2, 2);
	forget(&world, 4, 5);
	for (int i = 0; i < 2; i++) {
		for (uint64_t n = 1; n <= 6; n++)
			assert_int_equal(is_there(&world, n), n != 2 && n != 4 && n != 5);
		bak_world_reopen(&world);
	}
	assert_true(has_object(&world, "forgotten/2"));
	assert_true(has_object(&world, "forgotten/4-5"));
	/* The objects are prune's. */
	assert_true(has_object(&world, "snapshots/4"));
	/* What is covered gets no second record, what is not gets one. */
	forget(&world, 5, 5);
	forget(&world, 4, 4);
	assert_false(has_object(&world, "forgotten/5"));
	assert_false(has_object(&world, "forgotten/4"));
	forget(&world, 4, 6);
	assert_true(has_object(&world, "forgotten/4-6"));
	assert_int_equal(bak_world_backup(&world, "app", "manual", 7), 7);
	bak_world_teardown(&world);
}

static void refuse(struct bak_world *world, uint64_t first, uint64_t last)
{
	struct bak_error err = BAK_ERROR_INIT;
	assert_int_equal(bak_repo_forget(world->repo, first, last, &err), -1);
	assert_int_equal(err.code, BAK_USAGE);
}

static void test_ranges(void **state)
{
	(void)state;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_world world;
	char *omitted = NULL;
	bak_world_setup(&world);
	refuse(&world, 1, 1);
	for (uint64_t i = 1; i <= 3; i++)
		bak_world_backup(&world, "app", "manual", i);
	refuse(&world, 0, 1);
	refuse(&world, 2, 1);
	refuse(&world, 2, 4);
	refuse(&world, 1, UINT64_MAX);
	refuse(&world, INT64_MAX, INT64_MAX);
	/* A lost snapshot gets its record: no omission any more. */
	assert_int_equal(bak_backend_remove(world.mem, "snapshots/2", &err), 1);
	forget(&world, 2, 2);
	bak_world_reopen(&world);
	bak_must(bak_repo_omissions(world.repo, &omitted, &err), &err);
	assert_null(omitted);
	bak_world_teardown(&world);
}

/* An object of the record's name that is no record of ours is no reason to keep the snapshot. */
static void test_junk_in_the_way(void **state)
{
	(void)state;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_world world;
	bak_world_setup(&world);
	bak_world_backup(&world, "app", "manual", 1);
	bak_world_backup(&world, "app", "manual", 2);
	assert_int_equal(bak_backend_put(world.mem, "t", "forgotten/1", "junk", 4, &err), 1);
	forget(&world, 1, 1);
	bak_world_reopen(&world);
	assert_false(is_there(&world, 1));
	assert_true(is_there(&world, 2));
	bak_world_teardown(&world);
}

/* Whatever fails, what is said afterwards is what the repository holds. */
static void test_faults(void **state)
{
	(void)state;
	struct bak_world world;
	bool done = false;
	bak_world_setup(&world);
	bak_world_backup(&world, "app", "manual", 1);
	bak_world_backup(&world, "app", "manual", 2);
	for (uint64_t n = 1; !done; n++) {
		struct bak_error err = BAK_ERROR_INIT;
		bak_backend_fault_arm(world.fault, n, false);
		int rc = bak_repo_forget(world.repo, 1, 1, &err);
		done = bak_backend_fault_calls(world.fault) < n;
		bak_backend_fault_arm(world.fault, 0, false);
		assert_int_equal(rc == 0, done);
		if (done || has_object(&world, "forgotten/1"))
			break;
		assert_true(is_there(&world, 1));
	}
	bak_world_reopen(&world);
	assert_false(is_there(&world, 1));
	assert_true(is_there(&world, 2));
	bak_world_teardown(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_records),
		cmocka_unit_test(test_ranges),
		cmocka_unit_test(test_junk_in_the_way),
		cmocka_unit_test(test_faults),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
