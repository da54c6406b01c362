/*
 * The n-th allocation fails, for every n, during backup, restore and reindex. After each the
 * repository is clean, what was there reads, and no snapshot is half there.
 *
 * malloc and kin are wrapped by the linker, so only our own code's calls count, not the libraries'.
 */
#include "tests/lib/world.h"

#include "engine/ops/extract.h"
#include "engine/ops/verify.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

void *__real_malloc(size_t len);
void *__real_calloc(size_t n, size_t len);
void *__real_realloc(void *p, size_t len);
char *__real_strdup(const char *s);
void *__wrap_malloc(size_t len);
void *__wrap_calloc(size_t n, size_t len);
void *__wrap_realloc(void *p, size_t len);
char *__wrap_strdup(const char *s);

static atomic_ulong calls, fail_at; /* fail_at 0: none */

static int denied(void)
{
	unsigned long n = atomic_fetch_add(&calls, 1) + 1;
	return n == atomic_load(&fail_at);
}

void *__wrap_malloc(size_t len)
{
	return denied() ? NULL : __real_malloc(len);
}

void *__wrap_calloc(size_t n, size_t len)
{
	return denied() ? NULL : __real_calloc(n, len);
}

void *__wrap_realloc(void *p, size_t len)
{
	return denied() ? NULL : __real_realloc(p, len);
}

char *__wrap_strdup(const char *s)
{
	return denied() ? NULL : __real_strdup(s);
}

static void arm(unsigned long n)
{
	atomic_store(&calls, 0);
	atomic_store(&fail_at, n);
}

static unsigned long disarm(void)
{
	atomic_store(&fail_at, 0);
	return atomic_load(&calls);
}

/* The work done under faults: 0, or -1 with the error. */
typedef int work_fn(struct bak_world *world, unsigned long n, struct bak_error *err);

static int do_backup(struct bak_world *world, unsigned long n, struct bak_error *err)
{
	uint64_t number;
	return bak_world_try_backup(world, "app", "manual", n % 5, &number, err);
}

static int do_reindex(struct bak_world *world, unsigned long n, struct bak_error *err)
{
	uint64_t packs, damaged;
	(void)n;
	return bak_repo_reindex(world->repo, &packs, &damaged, err);
}

static int do_restore(struct bak_world *world, unsigned long n, struct bak_error *err)
{
	char dir[] = "/tmp/bakfs-alloc.XXXXXX", command[64];
	struct bak_snapshot snapshot = {0};
	struct bak_extract_conf conf = {.verify = true};
	struct bak_extract_result result = {0};
	(void)n;
	if (!mkdtemp(dir))
		return bak_error_set(err, BAK_IO, "mkdtemp");
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int rc = bak_repo_snapshot(world->repo, 1, &snapshot, err);
	if (rc == 1)
		rc = bak_extract(world->repo, &snapshot, fd, &conf, &result, err);
	bak_snapshot_release(&snapshot);
	close(fd);
	snprintf(command, sizeof command, "rm -rf %s", dir);
	if (system(command) != 0)
		fail_msg("cannot remove %s", dir);
	/* Nothing may be left out silently. */
	if (rc == 0 && (result.damaged > 0 || result.files != 3))
		return bak_error_set(err, BAK_BUG, "%llu files, %llu damaged",
				     (unsigned long long)result.files,
				     (unsigned long long)result.damaged);
	return rc;
}

static void ignore(void *ctx, const char *what, const char *where, const char *why)
{
	(void)ctx;
	(void)what;
	(void)where;
	(void)why;
}

static int first_name(void *ctx, const char *name, uint64_t size)
{
	(void)size;
	snprintf(ctx, 128, "%s", name);
	return 1;
}

/* The process of a failed run would be gone, and its lease dead with it; here it lives on. */
static void end_leases(struct bak_world *world)
{
	struct bak_error err = BAK_ERROR_INIT;
	char name[128];
	while (bak_backend_list(world->mem, "running", first_name, name, &err) == 1)
		bak_backend_remove(world->mem, name, &err);
}

static void expect_sound(struct bak_world *world, unsigned long n, const struct bak_error *err)
{
	struct bak_error mine = BAK_ERROR_INIT;
	struct bak_verify_conf conf = {.finding = ignore};
	struct bak_check_result check;
	struct bak_verify_result verify = {0};
	bak_must(bak_check(world->repo, &conf, &check, &mine), &mine);
	bak_must(bak_verify(world->repo, 1, &conf, &verify, &mine), &mine);
	if (check.damaged_packs || check.damaged_segments || check.damaged_objects ||
	    check.damaged_files || check.missing || verify.damaged_files)
		fail_msg("not clean after allocation %lu failed (%s)", n, err->msg);
}

/* A world of its own for each n, so that the n-th call is always the same one. */
static void every_allocation(work_fn *work)
{
	unsigned long n = 0, made;
	do {
		struct bak_error err = BAK_ERROR_INIT;
		struct bak_world world;
		n++;
		bak_world_setup(&world);
		bak_world_backup(&world, "app", "manual", 1);
		arm(n);
		int rc = work(&world, n, &err);
		made = disarm();
		if (rc < 0 && err.code != BAK_NO_MEMORY)
			fail_msg("allocation %lu: code %d, %s", n, err.code, err.msg);
		end_leases(&world);
		bak_world_reopen(&world);
		expect_sound(&world, n, &err);
		bak_world_teardown(&world);
	} while (made >= n);
	print_message("%lu allocations, each failed once\n", n - 1);
	assert_true(n > 30);
}

static void test_backup(void **state)
{
	(void)state;
	every_allocation(do_backup);
}

static void test_reindex(void **state)
{
	(void)state;
	every_allocation(do_reindex);
}

static void test_restore(void **state)
{
	(void)state;
	every_allocation(do_restore);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_backup),
		cmocka_unit_test(test_reindex),
		cmocka_unit_test(test_restore),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
