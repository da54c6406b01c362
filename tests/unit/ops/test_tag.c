/* Tags: sets, two writers, and records that do not open. */
#include "tests/lib/world.h"

#include "engine/ops/tag.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static void tag(struct bak_repo *repo, uint64_t number, const char *add, const char *remove)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_tag_change change = {
		.add = &add, .n_add = add != NULL, .remove = &remove, .n_remove = remove != NULL};
	bak_must(bak_repo_tag(repo, number, &change, &err), &err);
}

static void assert_tags(struct bak_repo *repo, uint64_t number, const char *want)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_snapshot_row row = {0};
	bak_must(bak_index_snapshot(bak_repo_index(repo), number, &row, &err), &err);
	assert_string_equal(row.tags, want);
	bak_snapshot_row_release(&row);
}

static int count(void *ctx, const char *name, uint64_t size)
{
	(void)name;
	(void)size;
	++*(int *)ctx;
	return 0;
}

static int objects(struct bak_world *world)
{
	struct bak_error err = BAK_ERROR_INIT;
	int n = 0;
	bak_must(bak_backend_list(world->mem, "tags", count, &n, &err), &err);
	return n;
}

static void test_sets(void **state)
{
	(void)state;
	struct bak_world world;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_tag_change none = {.n_add = 0};
	bak_world_setup(&world);
	bak_world_backup(&world, "app", "manual", 1);
	tag(world.repo, 1, "keep", NULL);
	tag(world.repo, 1, "blue", NULL);
	assert_tags(world.repo, 1, "keep,blue");
	bak_world_reopen(&world);
	assert_tags(world.repo, 1, "keep,blue");
	/* The whole set is in one record; nothing new, no new record. */
	assert_int_equal(objects(&world), 1);
	tag(world.repo, 1, "blue", "green");
	tag(world.repo, 1, NULL, NULL);
	bak_backend_fault_arm(world.fault, 0, false);
	tag(world.repo, 1, NULL, "keep");
	tag(world.repo, 1, NULL, "blue");
	assert_tags(world.repo, 1, "");
	assert_int_equal(bak_repo_tag(world.repo, 2, &none, &err), -1);
	assert_int_equal(err.code, BAK_NOT_FOUND);
	bak_world_teardown(&world);
}

/* Another process tagged meanwhile: both count. */
static void test_two_writers(void **state)
{
	(void)state;
	struct bak_world world;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_repo *other;
	bak_world_setup(&world);
	bak_world_backup(&world, "app", "manual", 1);
	struct bak_repo_conf conf = bak_world_conf(&world);
	bak_must(bak_repo_open(&conf, &world.secret, &other, &err), &err);
	tag(other, 1, "theirs", NULL);
	tag(world.repo, 1, "ours", NULL);
	assert_tags(world.repo, 1, "theirs,ours");
	bool changed;
	bak_must(bak_repo_refresh_snapshots(other, &changed, &err), &err);
	assert_tags(other, 1, "theirs,ours");
	bak_repo_close(other);
	bak_world_teardown(&world);
}

/* Junk of a higher version hides nothing, and is stepped over. */
static void test_junk(void **state)
{
	(void)state;
	struct bak_world world;
	struct bak_error err = BAK_ERROR_INIT;
	bak_world_setup(&world);
	bak_world_backup(&world, "app", "manual", 1);
	tag(world.repo, 1, "keep", NULL);
	static const char *const junk[] = {"tags/1-2", "tags/1-3", "tags/1-9223372036854775807"};
	for (size_t i = 0; i < sizeof junk / sizeof *junk; i++)
		assert_int_equal(bak_backend_put(world.mem, "t", junk[i], "junk", 4, &err), 1);
	bak_world_reopen(&world);
	assert_tags(world.repo, 1, "keep");
	tag(world.repo, 1, "more", NULL);
	assert_tags(world.repo, 1, "keep,more");
	bak_world_reopen(&world);
	assert_tags(world.repo, 1, "keep,more");
	bak_world_teardown(&world);
}

/* The index says what the repository says. */
static void test_gone(void **state)
{
	(void)state;
	struct bak_world world;
	struct bak_error err = BAK_ERROR_INIT;
	bool changed;
	bak_world_setup(&world);
	bak_world_backup(&world, "app", "manual", 1);
	tag(world.repo, 1, "keep", NULL);
	assert_int_equal(bak_backend_remove(world.mem, "tags/1-1", &err), 1);
	bak_must(bak_repo_refresh_snapshots(world.repo, &changed, &err), &err);
	assert_true(changed);
	assert_tags(world.repo, 1, "");
	bak_must(bak_repo_refresh_snapshots(world.repo, &changed, &err), &err);
	assert_false(changed);
	bak_world_teardown(&world);
}

static void test_faults(void **state)
{
	(void)state;
	struct bak_world world;
	struct bak_error err = BAK_ERROR_INIT;
	const char *add[] = {"keep"};
	struct bak_tag_change change = {.add = add, .n_add = 1};
	bak_world_setup(&world);
	bak_world_backup(&world, "app", "manual", 1);
	for (uint64_t n = 1;; n++) {
		bak_backend_fault_arm(world.fault, n, false);
		bak_repo_tag(world.repo, 1, &change, &err);
		bool done = bak_backend_fault_calls(world.fault) < n;
		bak_backend_fault_arm(world.fault, 0, false);
		if (done)
			break;
		assert_true(n < 100);
	}
	bak_world_reopen(&world);
	assert_tags(world.repo, 1, "keep");
	bak_world_teardown(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sets),   cmocka_unit_test(test_two_writers),
		cmocka_unit_test(test_junk),   cmocka_unit_test(test_gone),
		cmocka_unit_test(test_faults),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
