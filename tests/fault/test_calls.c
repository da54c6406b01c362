/*
 * The n-th system call fails, for every n, in every operation: on the repository's folder, on the
 * index's (what SQLite does), on the state's, on the one restored to. After each: the error says
 * what happened, the repository is clean, earlier snapshots verify, what was reported as done is
 * there, and doing it again works.
 *
 * Of all n those are taken that are the first or the last from their place in the code (the last
 * functions that led to the call); and of these, for most runs, TURNS for each operation, folder
 * and kind of fault. usage: test_calls [long] [OPERATION]     long: every n
 */
#include "tests/fault/calls.h"
#include "tests/fault/operations.h"
#include "tests/lib/world.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define TURNS 5
#define READS (1u << CALL_READ | 1u << CALL_WRITE)

/* What happens to a call. */
static const struct fault {
	const char *name;
	unsigned kinds;
	int error;
	bool sticky;
	bool harmless; /* the operation must not notice */
} faults[] = {
	{"fails", 0, EIO, false, false},
	/* Without locks: SQLite asks for them again and again, for minutes. */
	{"and all later ones fail", ~(1u << CALL_LOCK), EIO, true, false},
	{"finds the disk full", CALLS_THAT_CHANGE, ENOSPC, true, false},
	{"finds the disk read-only", CALLS_THAT_CHANGE, EROFS, true, false},
	{"is interrupted", READS, EINTR, false, true},
	{"is cut short", READS, CALL_SHORT, false, true},
};

static bool every_n;
static struct {
	unsigned long operations, faults, failed;
} total;

/* One operation on its ground, one folder, one kind of fault. */
struct round {
	struct ground *ground;
	const struct operation *operation;
	const struct fault *fault;
	const char *folder;
};

static void prepare(const struct round *round)
{
	ground_reset(round->ground);
	if (round->operation->prepare)
		round->operation->prepare(round->ground);
}

static void expect_clear(const struct round *round, const struct bak_error *err, const char *after)
{
	/* What SQLite makes of a full or read-only disk it says in its own words. */
	if (err->code == BAK_OK || err->code == BAK_BUG || !err->msg[0] || strchr(err->msg, '\n'))
		fail_msg("%s: code %d, \"%s\"", after, err->code, err->msg);
	if (round->fault->harmless)
		fail_msg("%s: it was noticed: %s", after, err->msg);
	/* But for the index, of which SQLite itself says so. */
	if ((err->code == BAK_CORRUPT && round->folder != round->ground->cache) ||
	    err->code == BAK_WRONG_KEY)
		fail_msg("%s: taken for damage: %s", after, err->msg);
}

static void one(const struct round *round, unsigned long n)
{
	struct ground *ground = round->ground;
	struct bak_error err = BAK_ERROR_INIT;
	char after[1024];
	struct calls_plan plan = {.under = round->folder,
				  .kinds = round->fault->kinds,
				  .at = n,
				  .sticky = round->fault->sticky,
				  .error = round->fault->error};
	prepare(round);
	calls_arm(&plan);
	int rc = round->operation->run(ground, &err);
	calls_disarm();
	snprintf(after, sizeof after, "%s, call %lu (%s) %s: %s", round->operation->name, n,
		 calls_refused(), round->fault->name, rc < 0 ? err.msg : "done");
	if (getenv("FAULT_VERBOSE"))
		print_message("%s\n", after);
	total.operations++;
	total.faults += calls_hit();
	total.failed += rc < 0;
	if (rc < 0)
		expect_clear(round, &err, after);
	ground_end_leases(ground);
	ground_expect_sound(ground, false, after);
	if (rc == 0)
		round->operation->done(ground, after);
	err = (struct bak_error)BAK_ERROR_INIT;
	if (round->operation->run(ground, &err) < 0)
		fail_msg("%s: and again: %s", after, err.msg);
	ground_expect_sound(ground, true, after);
	round->operation->done(ground, after);
}

static int number_cmp(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;
	return *x < *y ? -1 : *x > *y;
}

/* Whether no call before n, or none behind it, came from the same place. */
static bool first_or_last(const uint64_t *places, size_t count, size_t n)
{
	bool first = true, last = true;
	for (size_t i = 0; i < n && first; i++)
		first = places[i] != places[n];
	for (size_t i = n + 1; i < count && last; i++)
		last = places[i] != places[n];
	return first || last;
}

/* The calls that get their turn, and how many. */
static uint64_t *choose(const struct round *round, size_t *out_n)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct calls_plan plan = {
		.under = round->folder, .kinds = round->fault->kinds, .trace = !every_n};
	prepare(round);
	calls_arm(&plan);
	int rc = round->operation->run(round->ground, &err);
	size_t count = calls_disarm(), n = 0;
	bak_must(rc, &err);
	uint64_t *chosen = calloc(count + 1, sizeof *chosen);
	assert_non_null(chosen);
	const uint64_t *places = every_n ? NULL : calls_places(&count);
	for (size_t i = 0; i < count; i++)
		if (every_n || first_or_last(places, count, i))
			chosen[n++] = i + 1;
	qsort(chosen, n, sizeof *chosen, number_cmp);
	*out_n = n;
	return chosen;
}

static void all_faults(struct ground *ground, const struct operation *operation, const char *folder)
{
	for (size_t f = 0; f < sizeof faults / sizeof *faults; f++) {
		struct round round = {ground, operation, &faults[f], folder};
		size_t n;
		uint64_t *chosen = choose(&round, &n);
		/* Another start for each operation, so that together they take more of them. */
		size_t step = every_n || n <= TURNS ? 1 : n / TURNS + 1;
		size_t start = (size_t)(operation - operations) % step;
		for (size_t i = start; i < n; i += step)
			one(&round, chosen[i]);
		free(chosen);
		if (getenv("FAULT_VERBOSE"))
			print_message("== %s %s %s: %zu\n", operation->name, folder, faults[f].name,
				      n);
	}
}

static struct ground ground; /* a test that fails leaves it to the teardown */

static int clean_up(void **state)
{
	(void)state;
	calls_disarm();
	ground_free(&ground);
	return 0;
}

static void test_operation(void **state)
{
	const struct operation *operation = *state;
	ground_make(&ground, operation->snapshots);
	const char *const folders[] = {ground.repo_path, ground.cache, ground.state, ground.out};
	for (size_t i = 0; i < 4; i++)
		all_faults(&ground, operation, folders[i]);
	print_message("so far %lu operations, %lu faults met, %lu failures reported\n",
		      total.operations, total.faults, total.failed);
}

int main(int argc, char **argv)
{
	every_n = argc > 1 && strcmp(argv[1], "long") == 0;
	if (argc > 1 + every_n)
		cmocka_set_test_filter(argv[1 + every_n]);
	struct CMUnitTest *tests = calloc(n_operations, sizeof *tests);
	if (!tests)
		return 1;
	for (size_t i = 0; i < n_operations; i++)
		tests[i] = (struct CMUnitTest){.name = operations[i].name,
					       .test_func = test_operation,
					       .teardown_func = clean_up,
					       .initial_state = (void *)&operations[i]};
	int failed = _cmocka_run_group_tests("calls", tests, n_operations, NULL, NULL);
	free(tests);
	return failed;
}
