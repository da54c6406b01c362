/*
 * The power goes at any moment of an operation: see disk.h for what is left then. Whatever it is,
 * the repository opens, is clean, earlier snapshots verify, what was reported as done is there, and
 * the next backup works. The index is left as the disk has it; it may be anything.
 *
 * usage: test_power [long [SEED [OPERATION]]]     long: every moment, and many more subsets
 */
#include "tests/fault/calls.h"
#include "tests/fault/disk.h"
#include "tests/fault/operations.h"
#include "tests/lib/world.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static struct ground ground;
static struct disk *disk;
static bool thorough;
static uint64_t first_seed = 1;
static unsigned long cuts, moments;

static int clean_up(void **state)
{
	(void)state;
	calls_disarm();
	if (disk)
		disk_stop(disk);
	disk_free(disk);
	disk = NULL;
	ground_free(&ground);
	return 0;
}

static void prepare(const struct operation *operation)
{
	ground_make(&ground, operation->snapshots);
	if (operation->prepare) {
		operation->prepare(&ground);
		ground_keep(&ground);
	}
}

/* A cut at the moment; done is when the operation reported success. */
static void cut(const struct operation *operation, size_t moment, uint64_t seed, size_t done)
{
	struct bak_error err = BAK_ERROR_INIT;
	char last[512], after[700];
	ground_close(&ground);
	disk_crash(disk, moment, seed);
	snprintf(after, sizeof after, "%s, power cut at %zu of %zu (%s), seed %llu",
		 operation->name, moment, disk_now(disk),
		 disk_last(disk, moment, last, sizeof last), (unsigned long long)seed);
	if (getenv("FAULT_VERBOSE"))
		print_message("%s\n", after);
	cuts++;
	ground_end_leases(&ground);
	ground_expect_sound(&ground, false, after);
	if (moment >= done)
		operation->done(&ground, after);
	if (cuts % 4)
		return;
	if (ground_backup(&ground, 4, &err) < 0)
		fail_msg("%s: the next backup: %s", after, err.msg);
	ground_expect_sound(&ground, cuts % 8 == 0, after);
	ground_expect_version(&ground, ground_highest(&ground), 4, after);
}

/* The sure state, some subsets, and all of it as after a kill. */
static void cuts_at(const struct operation *operation, size_t moment, size_t done, size_t subsets)
{
	moments++;
	cut(operation, moment, 0, done);
	for (size_t i = 0; i < subsets; i++)
		cut(operation, moment, first_seed + 1000003 * moment + i, done);
	if (thorough || moment % 8 == 0)
		cut(operation, moment, UINT64_MAX, done);
}

static void cut_everywhere(const struct operation *operation, size_t done)
{
	size_t end = disk_now(disk), step = thorough ? 1 : end / 12 + 1;
	for (size_t moment = 0; moment < end; moment += step)
		cuts_at(operation, moment, done, thorough ? 6 : 1);
	cuts_at(operation, end, done, thorough ? 200 : 8);
}

static void test_operation(void **state)
{
	const struct operation *operation = *state;
	struct bak_error err = BAK_ERROR_INIT;
	prepare(operation);
	ground_reset(&ground);
	disk = disk_record(ground.work, ground.base);
	bak_must(operation->run(&ground, &err), &err);
	disk_stop(disk);
	cut_everywhere(operation, disk_now(disk));
	print_message("so far %lu power cuts at %lu moments\n", cuts, moments);
}

/* Killed at its n-th sync; done again by another process; then the power goes. What the first one
 * left was never synced, and the second one must not build on it. 0: there is no n-th sync. */
static bool killed_then_done(const struct operation *operation, unsigned long n)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct calls_plan plan = {.under = ground.work,
				  .kinds = 1u << CALL_SYNC,
				  .at = n,
				  .down = true,
				  .error = EIO};
	ground_reset(&ground);
	disk = disk_record(ground.work, ground.base);
	calls_arm(&plan);
	operation->run(&ground, &err);
	calls_disarm();
	bool killed = calls_hit();
	ground_end_leases(&ground);
	bak_must(operation->run(&ground, &err), &err);
	disk_stop(disk);
	size_t end = disk_now(disk);
	for (size_t i = 0; killed && i < (thorough ? 40u : 4u); i++)
		cut(operation, end, i, operation->once ? end + 1 : end);
	disk_free(disk);
	disk = NULL;
	return killed;
}

static void test_killed(void **state)
{
	const struct operation *operation = *state;
	unsigned long n = 1;
	prepare(operation);
	while (killed_then_done(operation, n))
		n++;
	print_message("so far %lu power cuts at %lu moments\n", cuts, moments);
}

int main(int argc, char **argv)
{
	thorough = argc > 1 && strcmp(argv[1], "long") == 0;
	if (argc > 2)
		first_seed = strtoull(argv[2], NULL, 10);
	if (argc > 3)
		cmocka_set_test_filter(argv[3]);
	print_message("seed %llu\n", (unsigned long long)first_seed);
	struct CMUnitTest *tests = calloc(2 * n_operations, sizeof *tests);
	char(*names)[64] = calloc(n_operations, sizeof *names);
	if (!tests || !names)
		return 1;
	for (size_t i = 0; i < n_operations; i++) {
		snprintf(names[i], sizeof names[i], "%s, killed and done again",
			 operations[i].name);
		tests[2 * i] = (struct CMUnitTest){.name = operations[i].name,
						   .test_func = test_operation,
						   .teardown_func = clean_up,
						   .initial_state = (void *)&operations[i]};
		tests[2 * i + 1] = (struct CMUnitTest){.name = names[i],
						       .test_func = test_killed,
						       .teardown_func = clean_up,
						       .initial_state = (void *)&operations[i]};
	}
	int failed = _cmocka_run_group_tests("power", tests, 2 * n_operations, NULL, NULL);
	free(tests);
	free(names);
	return failed;
}
