/*
 * The n-th allocation fails during backup, restore, reindex, forget, prune and a new
 * key. After each the repository is clean, what was there reads, and no snapshot is half there.
 *
 * malloc and kin are wrapped by the linker, so only our own code's calls count, not the libraries';
 * in a second round SQLite's own, through its hooks. With the argument "long" every n has its turn,
 * else so many evenly spread.
 */
#include "tests/lib/world.h"

#include "engine/ops/extract.h"
#include "engine/ops/forget.h"
#include "engine/ops/prune.h"
#include "engine/ops/verify.h"

#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <sqlite3.h>
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

#define TURNS_OF_OURS 40
#define TURNS_OF_SQLITES 12

enum whose { OURS, SQLITES };

static atomic_ulong calls, fail_at; /* fail_at 0: none */
static atomic_int counted;          /* enum whose */
static sqlite3_mem_methods sqlite;  /* SQLite's own, behind ours */
static bool every_one;

static int denied_to(enum whose whose)
{
	if (atomic_load(&counted) != (int)whose)
		return 0;
	unsigned long n = atomic_fetch_add(&calls, 1) + 1;
	return n == atomic_load(&fail_at);
}

static int denied(void)
{
	return denied_to(OURS);
}

static void *sqlite_malloc(int len)
{
	return denied_to(SQLITES) ? NULL : sqlite.xMalloc(len);
}

static void *sqlite_realloc(void *p, int len)
{
	return denied_to(SQLITES) ? NULL : sqlite.xRealloc(p, len);
}

/* Before SQLite is used for the first time. */
static void hook_sqlite(void)
{
	sqlite3_mem_methods mine;
	sqlite3_config(SQLITE_CONFIG_GETMALLOC, &sqlite);
	mine = sqlite;
	mine.xMalloc = sqlite_malloc;
	mine.xRealloc = sqlite_realloc;
	sqlite3_config(SQLITE_CONFIG_MALLOC, &mine);
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

static int do_forget(struct bak_world *world, unsigned long n, struct bak_error *err)
{
	(void)n;
	return bak_repo_forget(world->repo, 2, 2, err);
}

static int do_prune(struct bak_world *world, unsigned long n, struct bak_error *err)
{
	struct bak_prune_conf conf = {.alone = true};
	struct bak_prune_result result;
	(void)n;
	return bak_prune(world->repo, &conf, &result, err);
}

static int do_key(struct bak_world *world, unsigned long n, struct bak_error *err)
{
	struct bak_secret secret = {.kind = BAK_SECRET_NONE};
	char id[33];
	(void)n;
	int rc = bak_secret_password(&secret, "second", 6, err);
	if (rc == 0)
		rc = bak_repo_key_add(world->repo, &secret, "second", id, err);
	bak_secret_release(&secret);
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

/* Snapshot 1, and for a prune 2, which is forgotten. */
static void make_world(struct bak_world *world, work_fn *work)
{
	struct bak_error err = BAK_ERROR_INIT;
	bak_world_setup(world);
	bak_world_backup(world, "app", "manual", 1);
	if (work != do_forget && work != do_prune)
		return;
	bak_world_backup(world, "other", "manual", 2);
	if (work == do_prune)
		bak_must(bak_repo_forget(world->repo, 2, 2, &err), &err);
}

/* Returns how many allocations there were. */
static unsigned long nth_allocation(work_fn *work, unsigned long n)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_world world;
	make_world(&world, work);
	arm(n);
	int rc = work(&world, n, &err);
	unsigned long made = disarm();
	if (rc < 0 && err.code != BAK_NO_MEMORY)
		fail_msg("allocation %lu: code %d, %s", n, err.code, err.msg);
	end_leases(&world);
	bak_world_reopen(&world);
	expect_sound(&world, n, &err);
	err = (struct bak_error)BAK_ERROR_INIT;
	bak_must(work(&world, n, &err), &err);
	bak_world_teardown(&world);
	return made;
}

/* A world of its own for each n, so that the n-th call is always the same one. Returns how many
 * there are. */
static unsigned long spread(work_fn *work, enum whose whose, unsigned long turns)
{
	atomic_store(&counted, whose);
	unsigned long all = nth_allocation(work, ULONG_MAX);
	for (unsigned long n = 1; n <= all; n += every_one ? 1 : all / turns + 1)
		nth_allocation(work, n);
	return all;
}

static void every_allocation(work_fn *work)
{
	unsigned long ours = spread(work, OURS, TURNS_OF_OURS);
	unsigned long sqlites = spread(work, SQLITES, TURNS_OF_SQLITES);
	atomic_store(&counted, OURS);
	print_message("%lu allocations of ours, %lu of SQLite's\n", ours, sqlites);
	assert_true(ours > 5);
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

static void test_forget(void **state)
{
	(void)state;
	every_allocation(do_forget);
}

static void test_prune(void **state)
{
	(void)state;
	every_allocation(do_prune);
}

static void test_key(void **state)
{
	(void)state;
	every_allocation(do_key);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_backup),  cmocka_unit_test(test_reindex),
		cmocka_unit_test(test_restore), cmocka_unit_test(test_forget),
		cmocka_unit_test(test_prune),   cmocka_unit_test(test_key),
	};
	every_one = argc > 1 && strcmp(argv[1], "long") == 0;
	if (argc > 1 + every_one)
		cmocka_set_test_filter(argv[1 + every_one]);
	hook_sqlite();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
