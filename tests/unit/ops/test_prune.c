/* Prunes by themselves: what goes, what stays, when; what they refuse. */
#include "tests/lib/stage.h"

#include "engine/base/bytes.h"
#include "engine/ops/hold.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define HOUR 3600
#define DAY (24 * HOUR)

/* A repository as small as its live files allow. */
static void assert_small(struct bak_stage *stage, unsigned files)
{
	uint64_t bytes = bak_stage_bytes(stage);
	if (bytes > files * (uint64_t)BAK_STAGE_FILE * 11 / 10 + 40000)
		fail_msg("%llu bytes for %u files", (unsigned long long)bytes, files);
}

static void test_nothing_to_do(void **state)
{
	(void)state;
	struct bak_stage stage;
	bak_stage_setup(&stage);
	struct bak_prune_result r = bak_stage_prune(&stage, false);
	assert_int_equal(r.packs + r.snapshots + r.condemned_packs + r.swept_packs, 0);
	bak_stage_backup(&stage, "app", "abcd");
	bak_stage_backup(&stage, "app", "abcdef");
	uint64_t before = bak_stage_bytes(&stage);
	r = bak_stage_prune(&stage, false);
	assert_int_equal(r.snapshots, 2);
	assert_int_equal(r.condemned_packs + r.swept_packs + r.copied_bytes, 0);
	assert_int_equal(bak_stage_bytes(&stage), before);
	assert_int_equal(bak_stage_count(&stage, "running"), 0);
	bak_stage_verify(&stage);
	bak_stage_teardown(&stage);
}

/* Forgotten: nothing goes for a day; then it is condemned; a day later it is deleted. */
static void test_grace(void **state)
{
	(void)state;
	struct bak_stage stage;
	bak_stage_setup(&stage);
	uint64_t first = bak_stage_backup(&stage, "app", "abcdef");
	bak_stage_backup(&stage, "app", "aCgh");
	uint64_t before = bak_stage_bytes(&stage);
	bak_stage_forget(&stage, first);

	stage.clock += DAY - 1;
	struct bak_prune_result r = bak_stage_prune(&stage, false);
	assert_int_equal(r.snapshots, 2);
	assert_int_equal(r.condemned_packs + r.removed_snapshots, 0);

	stage.clock += 1;
	r = bak_stage_prune(&stage, false);
	assert_int_equal(r.removed_snapshots, 1);
	assert_true(r.condemned_packs > 0 && r.copied_bytes > 0);
	assert_int_equal(r.next, stage.clock + DAY);
	assert_true(bak_stage_bytes(&stage) > before);
	assert_int_equal(bak_stage_count(&stage, "condemned"), 1);
	bak_stage_verify(&stage);

	stage.clock += DAY - 1;
	r = bak_stage_prune(&stage, false);
	assert_int_equal(r.swept_packs, 0);
	assert_true(r.waiting_packs > 0 && r.condemned_packs == 0);

	stage.clock += 1;
	r = bak_stage_prune(&stage, false);
	assert_true(r.swept_packs > 0 && r.condemned_packs == 0);
	assert_int_equal(bak_stage_count(&stage, "condemned"), 0);
	assert_small(&stage, 4);
	bak_stage_verify(&stage);
	bak_stage_teardown(&stage);
}

static void test_alone(void **state)
{
	(void)state;
	struct bak_stage stage;
	struct bak_error err = BAK_ERROR_INIT;
	bak_stage_setup(&stage);
	uint64_t first = bak_stage_backup(&stage, "app", "abcdef");
	bak_stage_backup(&stage, "app", "aCgh");
	bak_stage_forget(&stage, first);
	struct bak_prune_result r = bak_stage_prune(&stage, true);
	assert_true(r.swept_packs > 0);
	assert_int_equal(r.condemned_packs + r.waiting_packs, 0);
	assert_int_equal(bak_stage_count(&stage, "condemned"), 0);
	assert_small(&stage, 4);
	bak_stage_verify(&stage);

	/* Not beside a backup, nor a backup beside it. */
	struct bak_repo *one = bak_stage_open(&stage, NULL), *two = bak_stage_open(&stage, NULL);
	const char *store = "app";
	struct bak_run *run;
	struct bak_hold *hold;
	struct bak_prune_conf conf = {.alone = true};
	assert_int_equal(bak_run_begin(one, "manual", "", &store, 1, &run, &err), 0);
	assert_int_equal(bak_prune(two, &conf, &r, &err), -1);
	assert_int_equal(err.code, BAK_BUSY);
	bak_run_end(run);
	assert_int_equal(bak_hold_begin(one, BAK_HOLD_ALONE, NULL, 0, &hold, &err), 0);
	assert_int_equal(bak_run_begin(two, "manual", "", &store, 1, &run, &err), -1);
	assert_int_equal(err.code, BAK_BUSY);
	conf.alone = false;
	assert_int_equal(bak_prune(two, &conf, &r, &err), -1);
	assert_int_equal(err.code, BAK_BUSY);
	bak_hold_end(hold);
	/* Prunes exclude each other; a backup minds none. */
	assert_int_equal(bak_hold_begin(one, BAK_HOLD_PRUNE, NULL, 0, &hold, &err), 0);
	assert_int_equal(bak_prune(two, &conf, &r, &err), -1);
	assert_int_equal(err.code, BAK_BUSY);
	assert_int_equal(bak_run_begin(two, "manual", "", &store, 1, &run, &err), 0);
	bak_run_end(run);
	bak_hold_end(hold);
	assert_int_equal(bak_stage_count(&stage, "running"), 0);
	bak_repo_close(one);
	bak_repo_close(two);
	bak_stage_teardown(&stage);
}

static void test_dry_run(void **state)
{
	(void)state;
	struct bak_stage stage;
	struct bak_error err = BAK_ERROR_INIT;
	bak_stage_setup(&stage);
	uint64_t first = bak_stage_backup(&stage, "app", "abcdef");
	bak_stage_backup(&stage, "app", "aCgh");
	bak_stage_forget(&stage, first);
	stage.clock += DAY;
	struct bak_prune_conf conf = {.dry_run = true};
	struct bak_prune_result r;
	unsigned objects = bak_stage_count(&stage, "");
	uint64_t before = bak_stage_bytes(&stage);
	struct bak_repo *repo = bak_stage_open(&stage, NULL);
	assert_int_equal(bak_prune(repo, &conf, &r, &err), 0);
	assert_true(r.condemned_packs > 0 && r.condemned_bytes > 0 && r.copied_bytes > 0);
	assert_int_equal(r.removed_snapshots, 1);
	assert_int_equal(bak_stage_count(&stage, ""), objects);
	assert_int_equal(bak_stage_bytes(&stage), before);
	bak_repo_close(repo);
	bak_stage_teardown(&stage);
}

/* Packs with little garbage stay as they are. */
static void test_max_unused(void **state)
{
	(void)state;
	struct bak_stage stage;
	struct bak_error err = BAK_ERROR_INIT;
	bak_stage_setup(&stage);
	uint64_t first = bak_stage_backup(&stage, "app", "acegikmoqs");
	bak_stage_backup(&stage, "app", "acegikmoq");
	bak_stage_forget(&stage, first);
	stage.clock += DAY;
	struct bak_prune_conf conf = {.max_unused = 60};
	struct bak_prune_result r;
	struct bak_repo *repo = bak_stage_open(&stage, NULL);
	assert_int_equal(bak_prune(repo, &conf, &r, &err), 0);
	assert_true(r.condemned_bytes < 100000);
	conf.max_unused = 0;
	assert_int_equal(bak_prune(repo, &conf, &r, &err), 0);
	assert_true(r.condemned_bytes > 9 * BAK_STAGE_FILE);
	bak_repo_close(repo);
	bak_stage_verify(&stage);
	bak_stage_teardown(&stage);
}

/* Nothing goes while it is not known what is used. */
static void test_omission(void **state)
{
	(void)state;
	struct bak_stage stage;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_prune_conf conf = {.max_unused = 0};
	struct bak_prune_result r;
	bak_stage_setup(&stage);
	bak_stage_backup(&stage, "app", "abcd");
	bak_stage_backup(&stage, "app", "ef");
	assert_int_equal(bak_backend_remove(stage.mem, "snapshots/1", &err), 1);
	stage.clock += DAY;
	struct bak_repo *repo = bak_stage_open(&stage, NULL);
	assert_int_equal(bak_prune(repo, &conf, &r, &err), -1);
	assert_int_equal(err.code, BAK_REFUSED);
	bak_repo_close(repo);
	bak_stage_forget(&stage, 1);
	stage.clock += DAY;
	assert_true(bak_stage_prune(&stage, false).condemned_packs > 0);
	stage.clock += DAY;
	assert_true(bak_stage_prune(&stage, false).swept_packs > 0);
	assert_small(&stage, 2);
	bak_stage_teardown(&stage);
}

/* A snapshot that does not open holds prunes up; forgotten, it does not. */
static void test_unreadable(void **state)
{
	(void)state;
	struct bak_stage stage;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_prune_conf conf = {.max_unused = 0};
	struct bak_prune_result r;
	bak_stage_setup(&stage);
	bak_stage_backup(&stage, "app", "abcd");
	assert_int_equal(bak_backend_put(stage.mem, "t", "snapshots/2", "junk", 4, &err), 1);
	struct bak_repo *repo = bak_stage_open(&stage, NULL);
	assert_int_equal(bak_prune(repo, &conf, &r, &err), -1);
	assert_int_equal(err.code, BAK_REFUSED);
	bak_repo_close(repo);
	stage.must[stage.n_must++] = 3;
	assert_int_equal(bak_stage_backup(&stage, "app", "abcd"), 3);
	bak_stage_forget(&stage, 2);
	stage.clock += DAY;
	r = bak_stage_prune(&stage, false);
	assert_int_equal(r.removed_snapshots, 1);
	assert_int_equal(bak_stage_count(&stage, "snapshots"), 2);
	bak_stage_teardown(&stage);
}

static void flip_packs(struct bak_stage *stage, bool ends)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_repo *repo = bak_stage_open(stage, NULL);
	struct bak_pack_row *packs;
	size_t n;
	assert_int_equal(bak_index_packs(bak_repo_index(repo), &packs, &n, &err), 0);
	for (size_t i = 0; i < n; i++) {
		char name[BAK_PACK_NAME_LEN];
		struct bak_buf bytes = BAK_BUF_INIT;
		bak_pack_name(packs[i].id, name);
		assert_int_equal(bak_backend_get(stage->mem, name, 0, SIZE_MAX, &bytes, &err), 1);
		bytes.p[ends ? bytes.len - 20 : 500] ^= 1;
		assert_int_equal(bak_backend_remove(stage->mem, name, &err), 1);
		assert_int_equal(bak_backend_put(stage->mem, "t", name, bytes.p, bytes.len, &err),
				 1);
		bak_buf_release(&bytes);
	}
	free(packs);
	bak_repo_close(repo);
}

/* A damaged pack is never deleted by a prune. */
static void test_damaged(void **state)
{
	(void)state;
	struct bak_error err = BAK_ERROR_INIT;
	for (int ends = 0; ends < 2; ends++) {
		struct bak_stage stage;
		struct bak_prune_conf conf = {.max_unused = 0, .alone = true};
		struct bak_prune_result r;
		bak_stage_setup(&stage);
		uint64_t first = bak_stage_backup(&stage, "app", "abcdef");
		bak_stage_backup(&stage, "app", "ac");
		bak_stage_forget(&stage, first);
		unsigned before = bak_stage_count(&stage, "packs");
		flip_packs(&stage, ends);
		struct bak_repo *repo = bak_stage_open(&stage, NULL);
		int rc = bak_prune(repo, &conf, &r, &err);
		if (rc == 0)
			assert_true(ends ? r.damaged_packs > 0 : r.damaged_segments > 0);
		if (ends || rc < 0)
			assert_true(bak_stage_count(&stage, "packs") >= before);
		bak_repo_close(repo);
		bak_stage_teardown(&stage);
	}
}

/* One unit of memory for ranges: counting goes segment by segment, to the same end. */
static void test_groups(void **state)
{
	(void)state;
	struct bak_stage stage;
	struct bak_error err = BAK_ERROR_INIT;
	bak_stage_setup(&stage);
	uint64_t first = bak_stage_backup(&stage, "app", "acegikmoqsuwy");
	uint64_t second = bak_stage_backup(&stage, "db", "bdfhjlnprtvxz");
	bak_stage_backup(&stage, "app", "agms");
	bak_stage_backup(&stage, "db", "bhnt");
	bak_stage_forget(&stage, first);
	bak_stage_forget(&stage, second);
	struct bak_prune_conf conf = {.max_unused = 0, .alone = true, .ranges_max = 1};
	struct bak_prune_result r;
	struct bak_repo *repo = bak_stage_open(&stage, NULL);
	assert_int_equal(bak_prune(repo, &conf, &r, &err), 0);
	bak_repo_close(repo);
	assert_small(&stage, 8);
	bak_stage_verify(&stage);
	/* Once more: what is holed stays so, nothing is left to do. */
	uint64_t before = bak_stage_bytes(&stage);
	r = bak_stage_prune(&stage, true);
	assert_int_equal(r.swept_packs, 0);
	assert_int_equal(bak_stage_bytes(&stage), before);
	/* Holed ones with more holes. */
	bak_stage_forget(&stage, 3);
	bak_stage_backup(&stage, "app", "a");
	bak_stage_prune(&stage, true);
	assert_small(&stage, 5);
	bak_stage_verify(&stage);
	bak_stage_teardown(&stage);
}

/* A range that went with a prune is stored anew, though its chunks have rows in the index. */
static void test_holes_are_not_found(void **state)
{
	(void)state;
	struct bak_stage base, stage;
	bak_stage_setup(&base);
	bak_stage_copy(&base, true, &stage);
	uint64_t first = bak_stage_backup(&stage, "app", "acegikmoqsuwy");
	bak_stage_backup(&stage, "app", "acg");
	bak_stage_forget(&stage, first);
	bak_stage_prune(&stage, true);
	bak_stage_verify(&stage);
	bak_stage_backup(&stage, "db", "acegikm");
	bak_stage_verify(&stage);
	bak_stage_teardown(&stage);
	bak_stage_teardown(&base);
}

/* Both copies of trees stay apart. */
static void test_two_copies(void **state)
{
	(void)state;
	struct bak_stage stage;
	struct bak_error err = BAK_ERROR_INIT;
	bak_stage_setup(&stage);
	uint64_t first = bak_stage_backup(&stage, "app", "abcdef");
	bak_stage_backup(&stage, "app", "ag");
	bak_stage_forget(&stage, first);
	bak_stage_prune(&stage, true);
	struct bak_repo *repo = bak_stage_open(&stage, NULL);
	struct bak_pack_row *packs;
	size_t n, trees = 0;
	assert_int_equal(bak_index_packs(bak_repo_index(repo), &packs, &n, &err), 0);
	for (size_t i = 0; i < n; i++) {
		struct bak_seg_copy *segs, copies[8];
		size_t n_segs, n_copies;
		assert_int_equal(bak_index_pack_segments(bak_repo_index(repo), packs[i].id, &segs,
							 &n_segs, &err),
				 0);
		for (size_t k = 0; k < n_segs; k++) {
			if (segs[k].type != BAK_SEG_TREE)
				continue;
			trees++;
			assert_int_equal(bak_index_find_segment(bak_repo_index(repo), &segs[k].id,
								copies, 8, &n_copies, &err),
					 1);
			assert_int_equal(n_copies, 2);
			assert_memory_not_equal(copies[0].pack, copies[1].pack, BAK_PACK_ID_BYTES);
		}
		free(segs);
	}
	assert_true(trees >= 2);
	free(packs);
	bak_repo_close(repo);
	bak_stage_teardown(&stage);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing_to_do), cmocka_unit_test(test_grace),
		cmocka_unit_test(test_alone),         cmocka_unit_test(test_dry_run),
		cmocka_unit_test(test_max_unused),    cmocka_unit_test(test_omission),
		cmocka_unit_test(test_unreadable),    cmocka_unit_test(test_damaged),
		cmocka_unit_test(test_groups),        cmocka_unit_test(test_holes_are_not_found),
		cmocka_unit_test(test_two_copies),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
