/* The operations during which things fail: see operations.h. */
#include "tests/fault/operations.h"

#include "engine/ops/extract.h"
#include "engine/ops/forget.h"
#include "engine/ops/prune.h"
#include "engine/ops/verify.h"
#include "tests/fault/calls.h"
#include "tests/fault/folders.h"
#include "tests/lib/world.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static int open_then(struct ground *ground, int (*work)(struct ground *, struct bak_error *),
		     struct bak_error *err)
{
	int rc = ground_open(ground, err);
	if (rc == 0)
		rc = work(ground, err);
	ground_close(ground);
	return rc;
}

/* --- backup --- */

static int first_backup(struct ground *ground, struct bak_error *err)
{
	return ground_backup(ground, 1, err);
}

static void first_is_there(struct ground *ground, const char *after)
{
	ground_expect_version(ground, ground_highest(ground), 1, after);
}

static int changed_backup(struct ground *ground, struct bak_error *err)
{
	return ground_backup(ground, 3, err);
}

static void changed_is_there(struct ground *ground, const char *after)
{
	assert_true(ground_highest(ground) > ground->snapshots);
	ground_expect_version(ground, ground_highest(ground), 3, after);
	ground_expect_version(ground, 1, 1, after);
}

static int unchanged_backup(struct ground *ground, struct bak_error *err)
{
	return ground_backup(ground, 2, err);
}

static void unchanged_is_there(struct ground *ground, const char *after)
{
	assert_true(ground_highest(ground) > ground->snapshots);
	ground_expect_version(ground, ground_highest(ground), 2, after);
}

/* --- index --- */

static void without_index(struct ground *ground)
{
	folder_clear(ground->cache);
}

static int only_open(struct ground *ground, struct bak_error *err)
{
	int rc = ground_open(ground, err);
	ground_close(ground);
	return rc;
}

static void both_are_there(struct ground *ground, const char *after)
{
	assert_int_equal(ground_highest(ground), 2);
	ground_expect_version(ground, 2, 2, after);
}

static int do_reindex(struct ground *ground, struct bak_error *err)
{
	uint64_t packs, damaged;
	int rc = bak_repo_reindex(ground->repo, &packs, &damaged, err);
	if (rc == 0 && (packs == 0 || damaged))
		return bak_error_set(err, BAK_BUG, "%llu packs, %llu damaged",
				     (unsigned long long)packs, (unsigned long long)damaged);
	return rc;
}

static int reindex(struct ground *ground, struct bak_error *err)
{
	return open_then(ground, do_reindex, err);
}

/* --- reading --- */

static int do_restore(struct ground *ground, struct bak_error *err)
{
	struct bak_snapshot snapshot = {0};
	struct bak_extract_conf conf = {.verify = true, .sync = true, .overwrite = true};
	struct bak_extract_result result = {0};
	int fd = open(ground->out, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return bak_error_set(err, BAK_IO, "%s", ground->out);
	int rc = bak_repo_snapshot(ground->repo, 2, &snapshot, err);
	if (rc == 1)
		rc = bak_extract(ground->repo, &snapshot, fd, &conf, &result, err);
	bak_snapshot_release(&snapshot);
	close(fd);
	/* What cannot be had is left out and counted: no success. */
	if (rc == 0 && result.damaged)
		return bak_error_set(err, BAK_IO, "%llu files left out",
				     (unsigned long long)result.damaged);
	return rc;
}

static int restore(struct ground *ground, struct bak_error *err)
{
	return open_then(ground, do_restore, err);
}

static void files_are_there(struct ground *ground, const char *after)
{
	ground_expect_files(ground->out, 2, after);
}

static void count(void *ctx, const char *what, const char *where, const char *why)
{
	(void)where;
	struct bak_error *err = ctx;
	bak_error_set(err, BAK_IO, "%s: %s", what, why);
}

static int do_check(struct ground *ground, struct bak_error *err)
{
	struct bak_error found = BAK_ERROR_INIT;
	struct bak_verify_conf conf = {.finding = count, .ctx = &found};
	struct bak_check_result result;
	int rc = bak_check(ground->repo, &conf, &result, err);
	if (rc == 0 && found.code != BAK_OK) {
		*err = found;
		return -1;
	}
	/* Nothing may have been passed over. */
	if (rc == 0 && (result.snapshots != 2 || result.packs < 2 || result.segments < 4))
		return bak_error_set(err, BAK_BUG, "only %llu snapshots, %llu packs were checked",
				     (unsigned long long)result.snapshots,
				     (unsigned long long)result.packs);
	return rc;
}

static int check(struct ground *ground, struct bak_error *err)
{
	return open_then(ground, do_check, err);
}

/* --- keys --- */

static int put_key(struct ground *ground, struct bak_error *err)
{
	struct bak_secret secret = {.kind = BAK_SECRET_NONE};
	char id[33];
	int rc = bak_secret_password(&secret, "second", 6, err);
	if (rc == 0)
		rc = bak_repo_key_add(ground->repo, &secret, "second", id, err);
	bak_secret_release(&secret);
	return rc;
}

static int add_key(struct ground *ground, struct bak_error *err)
{
	return open_then(ground, put_key, err);
}

static int open_with(struct ground *ground, const char *password, struct bak_error *err)
{
	struct bak_secret mine = ground->secret;
	ground->secret = (struct bak_secret){.kind = BAK_SECRET_NONE};
	bak_must(bak_secret_password(&ground->secret, password, strlen(password), err), err);
	int rc = ground_open(ground, err);
	bak_secret_release(&ground->secret);
	ground->secret = mine;
	return rc;
}

static void key_opens(struct ground *ground, const char *after)
{
	struct bak_error err = BAK_ERROR_INIT;
	if (open_with(ground, "second", &err) < 0)
		fail_msg("%s: the added key: %s", after, err.msg);
}

static void with_second_key(struct ground *ground)
{
	struct bak_error err = BAK_ERROR_INIT;
	bak_must(add_key(ground, &err), &err);
}

/* Whatever was labelled second. */
static int drop_key(struct ground *ground, struct bak_error *err)
{
	struct bak_slot_info *slots = NULL;
	size_t n = 0;
	int rc = bak_repo_key_list(ground->repo, &slots, &n, err);
	for (size_t i = 0; i < n && rc == 0; i++)
		if (strcmp(slots[i].label, "second") == 0)
			rc = bak_repo_key_remove(ground->repo, slots[i].id, err);
	free(slots);
	return rc;
}

static int remove_key(struct ground *ground, struct bak_error *err)
{
	return open_then(ground, drop_key, err);
}

static void key_is_gone(struct ground *ground, const char *after)
{
	struct bak_error err = BAK_ERROR_INIT;
	if (open_with(ground, "second", &err) == 0)
		fail_msg("%s: the removed key opens", after);
	bak_must(ground_open(ground, &err), &err);
}

static int do_rotate(struct ground *ground, struct bak_error *err)
{
	struct bak_slot_info *slots = NULL;
	size_t n = 0;
	char id[33];
	int rc = bak_repo_key_list(ground->repo, &slots, &n, err);
	if (rc == 0)
		rc = bak_repo_key_rotate(ground->repo, slots, n, id, err);
	free(slots);
	return rc;
}

static int rotate_key(struct ground *ground, struct bak_error *err)
{
	return open_then(ground, do_rotate, err);
}

/* --- forget --- */

static void may_lose_first(struct ground *ground)
{
	ground->may_go = 1;
}

static int do_forget(struct ground *ground, struct bak_error *err)
{
	return bak_repo_forget(ground->repo, 1, 1, err);
}

static int forget(struct ground *ground, struct bak_error *err)
{
	return open_then(ground, do_forget, err);
}

static void first_is_gone(struct ground *ground, const char *after)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_snapshot snapshot = {0};
	if (bak_repo_snapshot(ground->repo, 1, &snapshot, &err) != 0)
		fail_msg("%s: snapshot 1 is still there", after);
	assert_int_equal(ground_highest(ground), 2);
}

/* --- prune --- */

#define DAYS(n) ((n)*24L * 3600)

static int prune_with(struct ground *ground, bool alone, struct bak_error *err)
{
	struct bak_prune_conf conf = {.alone = alone, .max_unused = 0};
	struct bak_prune_result result;
	return bak_prune(ground->repo, &conf, &result, err);
}

static size_t count_condemned(struct ground *ground)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_pack_row *packs = NULL;
	size_t n, condemned = 0;
	bak_must(bak_index_packs(bak_repo_index(ground->repo), &packs, &n, &err), &err);
	for (size_t i = 0; i < n; i++)
		condemned += packs[i].condemned;
	free(packs);
	return condemned;
}

static int do_prune(struct ground *ground, struct bak_error *err)
{
	return prune_with(ground, false, err);
}

static int do_prune_alone(struct ground *ground, struct bak_error *err)
{
	return prune_with(ground, true, err);
}

static int prune(struct ground *ground, struct bak_error *err)
{
	return open_then(ground, do_prune, err);
}

static int prune_alone(struct ground *ground, struct bak_error *err)
{
	return open_then(ground, do_prune_alone, err);
}

static int forget_two(struct ground *ground, struct bak_error *err)
{
	return bak_repo_forget(ground->repo, 1, 2, err);
}

/* What the first snapshots used is garbage, but for what the third one shares. */
static void with_garbage(struct ground *ground)
{
	struct bak_error err = BAK_ERROR_INIT;
	ground->may_go = 2;
	calls_clock = 0; /* the round before left it two days ahead */
	bak_must(open_then(ground, forget_two, &err), &err);
	calls_clock = DAYS(2);
}

static void with_condemned_packs(struct ground *ground)
{
	struct bak_error err = BAK_ERROR_INIT;
	with_garbage(ground);
	bak_must(prune(ground, &err), &err);
	calls_clock = DAYS(4);
}

static void third_is_there(struct ground *ground, const char *after)
{
	ground_expect_version(ground, 3, 3, after);
}

static void some_are_condemned(struct ground *ground, const char *after)
{
	assert_true(count_condemned(ground) > 0);
	third_is_there(ground, after);
}

static void none_is_condemned(struct ground *ground, const char *after)
{
	assert_int_equal(count_condemned(ground), 0);
	third_is_there(ground, after);
}

const struct operation operations[] = {
	{"first backup", 0, NULL, first_backup, first_is_there},
	{"changed backup", 2, NULL, changed_backup, changed_is_there},
	{"unchanged backup", 2, NULL, unchanged_backup, unchanged_is_there},
	{"opening without an index", 2, without_index, only_open, both_are_there},
	{"reindex", 2, NULL, reindex, both_are_there},
	{"restore", 2, NULL, restore, files_are_there},
	{"check", 2, NULL, check, both_are_there},
	{"key add", 2, NULL, add_key, key_opens},
	{"key remove", 2, with_second_key, remove_key, key_is_gone, true},
	{"key rotate", 2, with_second_key, rotate_key, key_is_gone},
	{"forget", 2, may_lose_first, forget, first_is_gone},
	{"prune that condemns", 3, with_garbage, prune, some_are_condemned, true},
	{"prune that sweeps", 3, with_condemned_packs, prune, none_is_condemned},
	{"prune alone", 3, with_garbage, prune_alone, none_is_condemned},
};
const size_t n_operations = sizeof operations / sizeof *operations;
