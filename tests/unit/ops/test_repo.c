/* A whole repository over the memory backend: made, opened, filled, verified, damaged, reindexed.
 */
#include "tests/lib/world.h"

#include "engine/ops/backup.h"
#include "engine/ops/sums.h"
#include "engine/ops/verify.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static void ignore_finding(void *ctx, const char *what, const char *where, const char *why)
{
	(void)what;
	(void)where;
	(void)why;
	++*(int *)ctx;
}

static struct bak_check_result check(struct bak_world *world)
{
	struct bak_error err = BAK_ERROR_INIT;
	int findings = 0;
	struct bak_verify_conf conf = {.finding = ignore_finding, .ctx = &findings};
	struct bak_check_result result;
	bak_must(bak_check(world->repo, &conf, &result, &err), &err);
	return result;
}

static bool clean(const struct bak_check_result *r)
{
	return !r->damaged_packs && !r->damaged_segments && !r->damaged_objects &&
	       !r->damaged_files && !r->missing;
}

static uint64_t damaged_files(struct bak_world *world, uint64_t number)
{
	struct bak_error err = BAK_ERROR_INIT;
	int findings = 0;
	struct bak_verify_conf conf = {.finding = ignore_finding, .ctx = &findings};
	struct bak_verify_result result = {0};
	bak_must(bak_verify(world->repo, number, &conf, &result, &err), &err);
	return result.damaged_files;
}

static void test_backup_verify_check(void **state)
{
	(void)state;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_world world;
	bak_world_setup(&world);
	assert_int_equal(bak_world_backup(&world, "app", "manual", 1), 1);
	assert_int_equal(bak_world_backup(&world, "db", "daily", 2), 2);
	assert_int_equal(bak_world_backup(&world, "app", "pre-restore", 3), 3);
	for (uint64_t n = 1; n <= 3; n++)
		assert_int_equal(damaged_files(&world, n), 0);
	struct bak_check_result result = check(&world);
	assert_true(clean(&result));
	assert_int_equal(result.snapshots, 3);

	/* latest is never a pre-restore one. */
	uint64_t *numbers, latest;
	size_t n;
	assert_int_equal(bak_repo_latest(world.repo, "app", &latest, &err), 1);
	assert_int_equal(latest, 1);
	assert_int_equal(bak_repo_resolve(world.repo, "latest", &numbers, &n, &err), 0);
	assert_int_equal(n, 2);
	assert_int_equal(numbers[0], 1);
	assert_int_equal(numbers[1], 2);
	free(numbers);
	assert_int_equal(bak_repo_resolve(world.repo, "3", &numbers, &n, &err), 0);
	free(numbers);
	assert_int_equal(bak_repo_resolve(world.repo, "db@latest", &numbers, &n, &err), 0);
	assert_int_equal(numbers[0], 2);
	free(numbers);
	assert_int_equal(bak_repo_resolve(world.repo, "99", &numbers, &n, &err), -1);
	assert_int_equal(err.code, BAK_NOT_FOUND);
	assert_int_equal(bak_repo_resolve(world.repo, "no such", &numbers, &n, &err), -1);
	assert_int_equal(err.code, BAK_USAGE);
	bak_world_teardown(&world);
}

static void test_sums_have_their_foretold_length(void **state)
{
	(void)state;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_world world;
	struct bak_snapshot s = {0};
	BAK_AUTO(bak_buf_release) struct bak_buf text = BAK_BUF_INIT;
	bak_world_setup(&world);
	bak_world_backup(&world, "app", "manual", 1);
	assert_int_equal(bak_repo_snapshot(world.repo, 1, &s, &err), 1);
	struct bak_tree tree = {bak_repo_source(world.repo), &s};
	assert_int_equal(bak_sums_text(&tree, "app/", &text, &err), 0);
	assert_int_equal(text.len, bak_sums_len(&s.root.totals, 4));
	assert_int_equal(bak_buf_append(&text, "", 1), 0);
	assert_non_null(strstr((char *)text.p, "  app/odd\\\\name\\n\n"));
	bak_snapshot_release(&s);
	bak_world_teardown(&world);
}

static void test_wrong_password(void **state)
{
	(void)state;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_world world;
	struct bak_secret wrong;
	struct bak_repo *repo;
	bak_world_setup(&world);
	struct bak_repo_conf conf = bak_world_conf(&world);
	bak_must(bak_secret_password(&wrong, "donkey", 6, &err), &err);
	assert_int_equal(bak_repo_open(&conf, &wrong, &repo, &err), -1);
	assert_int_equal(err.code, BAK_WRONG_KEY);
	assert_string_equal(err.msg, "wrong password");
	assert_int_equal(bak_repo_init(&conf, &wrong, "x", &err), -1);
	assert_int_equal(err.code, BAK_EXISTS);

	/* A second password opens it; the first can go, the last cannot. */
	char id[33];
	bak_must(bak_repo_key_add(world.repo, &wrong, "second", id, &err), &err);
	bak_must(bak_repo_open(&conf, &wrong, &repo, &err), &err);
	struct bak_slot_info *slots;
	size_t n;
	bak_must(bak_repo_key_list(repo, &slots, &n, &err), &err);
	assert_int_equal(n, 2);
	const char *other = strcmp(slots[0].id, id) == 0 ? slots[1].id : slots[0].id;
	bak_must(bak_repo_key_remove(repo, other, &err), &err);
	assert_int_equal(bak_repo_key_remove(repo, id, &err), -1);
	assert_int_equal(err.code, BAK_REFUSED);
	free(slots);
	bak_repo_close(repo);
	bak_secret_release(&wrong);
	bak_world_teardown(&world);
}

static void test_another_host_is_refused(void **state)
{
	(void)state;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_world world;
	uint64_t number;
	bak_world_setup(&world);
	bak_world_backup(&world, "app", "manual", 1);
	bak_repo_close(world.repo);
	struct bak_repo_conf conf = bak_world_conf(&world);
	conf.host = "elsewhere";
	bak_must(bak_repo_open(&conf, &world.secret, &world.repo, &err), &err);
	assert_int_equal(bak_world_try_backup(&world, "app", "manual", 2, &number, &err), -1);
	assert_int_equal(err.code, BAK_REFUSED);
	assert_non_null(strstr(err.msg, "here"));
	bak_world_teardown(&world);
}

/* --- damage --- */

struct object {
	char name[128];
	uint64_t size;
};

static int biggest(void *ctx, const char *name, uint64_t size)
{
	struct object *o = ctx;
	if (size > o->size) {
		snprintf(o->name, sizeof o->name, "%s", name);
		o->size = size;
	}
	return 0;
}

static int smallest(void *ctx, const char *name, uint64_t size)
{
	struct object *o = ctx;
	if (o->size == 0 || size < o->size) {
		snprintf(o->name, sizeof o->name, "%s", name);
		o->size = size;
	}
	return 0;
}

/* A flipped byte in the pack of second copies hurts nobody; check sees it all the same. */
static void test_tree_damage_heals(void **state)
{
	(void)state;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_world world;
	bak_world_setup(&world);
	bak_world_backup(&world, "app", "manual", 1);
	struct object pack = {.size = 0};
	bak_must(bak_backend_list(world.mem, "packs", smallest, &pack, &err), &err);
	for (uint64_t at = 0; at < pack.size; at += 17) {
		bak_world_flip(&world, pack.name, at);
		bak_world_reopen(&world);
		assert_int_equal(damaged_files(&world, 1), 0);
		struct bak_check_result result = check(&world);
		if (result.damaged_packs != 1)
			fail_msg("byte %llu of %llu not seen", (unsigned long long)at,
				 (unsigned long long)pack.size);
		assert_int_equal(result.damaged_files, 0);
		bak_world_flip(&world, pack.name, at);
	}
	bak_world_teardown(&world);
}

/* A flipped byte anywhere in the big pack: bytes come out right or not at all. */
static void test_data_damage_is_refused(void **state)
{
	(void)state;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_world world;
	bak_world_setup(&world);
	bak_world_backup(&world, "app", "manual", 1);
	struct object pack = {.size = 0};
	bak_must(bak_backend_list(world.mem, "packs", biggest, &pack, &err), &err);
	uint64_t hurt = 0;
	for (uint64_t at = 0; at < pack.size; at += pack.size / 61) {
		bak_world_flip(&world, pack.name, at);
		bak_world_reopen(&world);
		uint64_t n = damaged_files(&world, 1);
		struct bak_check_result result = check(&world);
		assert_int_equal(result.damaged_packs, 1);
		assert_int_equal(result.damaged_files > 0, n > 0);
		hurt += n > 0;
		bak_world_flip(&world, pack.name, at);
	}
	assert_true(hurt > 10);
	bak_world_reopen(&world);
	struct bak_check_result result = check(&world);
	assert_true(clean(&result));
	bak_world_teardown(&world);
}

static void test_reindex_with_damaged_footer(void **state)
{
	(void)state;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_world world;
	uint64_t packs, damaged;
	bak_world_setup(&world);
	bak_world_backup(&world, "app", "manual", 1);
	bak_world_backup(&world, "app", "manual", 2);
	struct object pack = {.size = 0};
	bak_must(bak_backend_list(world.mem, "packs", biggest, &pack, &err), &err);
	bak_world_flip(&world, pack.name, pack.size - 3);
	bak_must(bak_repo_reindex(world.repo, &packs, &damaged, &err), &err);
	assert_int_equal(packs, 4);
	assert_int_equal(damaged, 1);
	assert_int_equal(damaged_files(&world, 1), 0);
	assert_int_equal(damaged_files(&world, 2), 0);
	/* And a backup goes on from there. */
	assert_int_equal(bak_world_backup(&world, "app", "manual", 1), 3);
	assert_int_equal(damaged_files(&world, 3), 0);
	bak_world_teardown(&world);
}

static void test_vanished_snapshot_is_said(void **state)
{
	(void)state;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_world world;
	char *text;
	bool changed;
	bak_world_setup(&world);
	for (uint64_t i = 1; i <= 4; i++)
		bak_world_backup(&world, "app", "manual", i);
	bak_must(bak_repo_omissions(world.repo, &text, &err), &err);
	assert_null(text);
	assert_int_equal(bak_backend_remove(world.mem, "snapshots/2", &err), 1);
	assert_int_equal(bak_backend_remove(world.mem, "snapshots/4", &err), 1);
	bak_must(bak_repo_refresh_snapshots(world.repo, &changed, &err), &err);
	assert_true(changed);
	bak_must(bak_repo_omissions(world.repo, &text, &err), &err);
	assert_string_equal(text, "snapshots 2, 4 are neither there nor recorded as forgotten");
	free(text);
	/* The number is not used again. */
	assert_int_equal(bak_world_backup(&world, "app", "manual", 9), 5);
	/* Storage that is away changes nothing. */
	assert_int_equal(bak_backend_remove(world.mem, "bakfs.json", &err), 1);
	assert_int_equal(bak_backend_remove(world.mem, "snapshots/1", &err), 1);
	assert_int_equal(bak_repo_refresh_snapshots(world.repo, &changed, &err), -1);
	assert_int_equal(err.code, BAK_UNAVAILABLE);
	bak_world_teardown(&world);
}

/* --- faults --- */

/* The process of a failed run would be gone, and its lease dead with it: here it lives on. */
static void end_leases(struct bak_world *world)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct object lease = {.size = 0};
	while (bak_backend_list(world->mem, "running", biggest, &lease, &err) == 0 && lease.size) {
		bak_backend_remove(world->mem, lease.name, &err);
		lease.size = 0;
	}
}

/* The n-th backend call of a backup fails, for every n: an error comes out, what was there stays,
 * and the next backup goes through. */
static void test_backup_faults(void **state)
{
	(void)state;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_world world;
	bak_world_setup(&world);
	bak_world_backup(&world, "app", "manual", 1);
	uint64_t number, good = 1;
	for (uint64_t n = 1;; n++) {
		bak_backend_fault_arm(world.fault, n, n % 2);
		int rc = bak_world_try_backup(&world, "app", "manual", 100 + n, &number, &err);
		uint64_t calls = bak_backend_fault_calls(world.fault);
		bak_backend_fault_arm(world.fault, 0, false);
		end_leases(&world);
		bak_world_reopen(&world);
		struct bak_check_result result = check(&world);
		if (!clean(&result))
			fail_msg("not clean after call %llu failed", (unsigned long long)n);
		assert_int_equal(damaged_files(&world, 1), 0);
		good += rc == 0;
		if (calls < n)
			break;
		assert_true(n < 2000);
	}
	assert_true(good > 1);
	assert_true(bak_world_backup(&world, "app", "manual", 7) > 1);
	bak_world_teardown(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_backup_verify_check),
		cmocka_unit_test(test_sums_have_their_foretold_length),
		cmocka_unit_test(test_wrong_password),
		cmocka_unit_test(test_another_host_is_refused),
		cmocka_unit_test(test_tree_damage_heals),
		cmocka_unit_test(test_data_damage_is_refused),
		cmocka_unit_test(test_reindex_with_damaged_footer),
		cmocka_unit_test(test_vanished_snapshot_is_said),
		cmocka_unit_test(test_backup_faults),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
