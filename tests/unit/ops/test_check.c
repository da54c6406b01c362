/* check: what it has to find where several copies of a segment exist. */
#include "tests/lib/world.h"

#include "engine/base/bytes.h"
#include "engine/base/place_set.h"
#include "engine/objects/parity.h"
#include "engine/ops/verify.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define KEPT 1000u

static void check(struct bak_world *world, struct bak_check_result *out)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_verify_conf conf = {.quick = false};
	bak_must(bak_check(world->repo, &conf, out, &err), &err);
}

/* The largest data segment there is. */
static struct bak_seg_copy find_large(struct bak_world *world)
{
	struct bak_index *index = bak_repo_index(world->repo);
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_seg_copy large = {.raw_len = 0};
	struct bak_pack_row *packs;
	size_t n_packs;
	bak_must(bak_index_packs(index, &packs, &n_packs, &err), &err);
	for (size_t i = 0; i < n_packs; i++) {
		struct bak_seg_copy *segs;
		size_t n;
		bak_must(bak_index_pack_segments(index, packs[i].id, &segs, &n, &err), &err);
		for (size_t k = 0; k < n; k++)
			if (segs[k].type == BAK_SEG_DATA && segs[k].raw_len > large.raw_len)
				large = segs[k];
		free(segs);
	}
	free(packs);
	assert_true(large.raw_len > KEPT);
	return large;
}

/* The raw form of a copy that keeps the first KEPT bytes. */
static void make_holed(struct bak_world *world, const struct bak_seg_copy *copy,
		       struct bak_buf *out)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_pin *pin;
	const uint8_t *p;
	bak_must(bak_source_bytes(bak_repo_source(world->repo), &copy->id, 0, KEPT, &p, &pin, &err),
		 &err);
	assert_int_equal(bak_put_u32(out, 1), 0);
	assert_int_equal(bak_put_u32(out, 0), 0);
	assert_int_equal(bak_put_u32(out, KEPT), 0);
	assert_int_equal(bak_buf_append(out, p, KEPT), 0);
	bak_pin_put(pin);
}

static void put_holed(struct bak_world *world, const struct bak_seg_copy *copy)
{
	static const uint8_t run[8] = {1};
	static const struct bak_seg_range kept = {.off = 0, .len = KEPT};
	const struct bak_keyring *ring = bak_repo_ring(world->repo);
	BAK_AUTO(bak_buf_release) struct bak_buf raw = BAK_BUF_INIT, record = BAK_BUF_INIT;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_seg_codec codec = {.cctx = NULL};
	struct bak_seg_header header;
	struct bak_pack_rows rows;
	struct bak_pack *pack;
	make_holed(world, copy, &raw);
	bak_must(bak_segment_seal(ring, &codec, BAK_SEG_DATA, true, &copy->id, raw.p, raw.len, 3,
				  &record, &header, &err),
		 &err);
	bak_must(bak_pack_new(world->mem, ring, run, 1, &pack, &err), &err);
	bak_must(bak_pack_add(pack, record.p, record.len, &header, copy->key, &kept, 1, &err),
		 &err);
	bak_must(bak_pack_finish(pack, &rows, &err), &err);
	bak_pack_free(pack);
	bak_seg_codec_release(&codec);
}

/* A sound holed copy does not stand for a damaged whole one. */
static void test_holed_is_not_whole(void **state)
{
	(void)state;
	struct bak_world world;
	struct bak_check_result result;
	char name[BAK_PACK_NAME_LEN];
	bak_world_setup(&world);
	bak_world_backup(&world, "a", "manual", 1);
	struct bak_seg_copy copy = find_large(&world);
	put_holed(&world, &copy);
	check(&world, &result);
	assert_int_equal(result.damaged_segments, 0);
	assert_int_equal(result.damaged_files, 0);
	bak_pack_name(copy.pack, name);
	bak_world_flip(&world, name, copy.off + BAK_SEG_HEAD_BYTES + 100);
	bak_world_reopen(&world);
	check(&world, &result);
	assert_int_equal(result.damaged_segments, 1);
	assert_int_equal(result.healed, 0);
	assert_true(result.damaged_files >= 1);
	bak_world_teardown(&world);
}

/* --- repair --- */

static void repair(struct bak_world *world, struct bak_check_result *out)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_verify_conf conf = {.repair = true};
	bak_must(bak_check(world->repo, &conf, out, &err), &err);
}

static uint64_t size_of(struct bak_world *world, const char *name)
{
	struct bak_error err = BAK_ERROR_INIT;
	uint64_t size = 0;
	bak_must(bak_backend_size(world->mem, name, &size, &err), &err);
	return size;
}

static void put_record(struct bak_world *world, const char *name, const char *json)
{
	struct bak_error err = BAK_ERROR_INIT;
	bak_must(bak_record_put(world->mem, bak_repo_ring(world->repo), name, json, &err), &err);
}

/* Records that the index has read are written again; others give their names back. */
static void test_records(void **state)
{
	(void)state;
	struct bak_world world;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_check_result result;
	struct bak_snapshot_row row;
	bool changed;
	bak_world_setup(&world);
	bak_world_backup(&world, "a", "manual", 1);
	bak_world_backup(&world, "a", "manual", 2);
	put_record(&world, "tags/1-1", "{\"tags\":[\"keep\",\"x\"]}");
	put_record(&world, "forgotten/2", "{\"by\":\"here\",\"time\":\"2026-01-01T00:00:00Z\"}");
	bak_must(bak_repo_refresh_snapshots(world.repo, &changed, &err), &err);
	bak_world_flip(&world, "tags/1-1", 30);
	bak_world_flip(&world, "forgotten/2", 30);
	repair(&world, &result);
	assert_int_equal(result.damaged_objects, 2);
	assert_int_equal(result.lost, 0);
	bak_world_reopen(&world);
	assert_int_equal(bak_index_snapshot(bak_repo_index(world.repo), 1, &row, &err), 1);
	assert_string_equal(row.tags, "keep,x");
	bak_snapshot_row_release(&row);
	assert_int_equal(bak_index_snapshot(bak_repo_index(world.repo), 2, &row, &err), 1);
	assert_true(row.forgotten);
	bak_snapshot_row_release(&row);
	/* Nobody knows any more what these said. */
	bak_world_flip(&world, "tags/1-1", 30);
	bak_world_flip(&world, "forgotten/2", 30);
	bak_world_reopen(&world);
	repair(&world, &result);
	assert_int_equal(result.objects_removed, 2);
	assert_int_equal(result.lost, 2);
	assert_int_equal(size_of(&world, "tags/1-1"), 0);
	check(&world, &result);
	assert_int_equal(result.damaged_objects, 0);
	bak_world_teardown(&world);
}

/* Parity that is missing, damaged, of no pack. */
static void test_parity(void **state)
{
	(void)state;
	struct bak_world world;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_check_result result;
	bak_world_setup(&world);
	bak_world_backup(&world, "a", "manual", 1);
	struct bak_repo_conf conf = bak_world_conf(&world);
	conf.parity = 5;
	bak_repo_close(world.repo);
	bak_must(bak_repo_open(&conf, &world.secret, &world.repo, &err), &err);
	check(&world, &result);
	assert_int_equal(result.parity, 0);
	repair(&world, &result);
	assert_int_equal(result.parity_written, result.packs);
	struct bak_seg_copy copy = find_large(&world);
	char name[BAK_PARITY_NAME_LEN];
	bak_parity_name(copy.pack, name);
	bak_world_flip(&world, name, size_of(&world, name) / 2);
	bak_must(bak_backend_put(world.mem, "test", "parity/00112233445566778899aabbccddeeff", "x",
				 1, &err),
		 &err);
	check(&world, &result);
	assert_int_equal(result.damaged_objects, 1);
	repair(&world, &result);
	assert_int_equal(result.parity_written, 1);
	assert_int_equal(result.objects_removed, 1);
	check(&world, &result);
	assert_int_equal(result.damaged_objects, 0);
	assert_int_equal(result.parity, result.packs);
	bak_world_teardown(&world);
}

/* What a backup that is still at work wrote is left alone: nobody sees yet what refers to it. */
static void test_beside_a_backup(void **state)
{
	(void)state;
	struct bak_world world;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_check_result result;
	const char *store = "b";
	struct bak_run *run;
	struct bak_pack_rows rows;
	struct bak_pack *pack;
	char name[BAK_PACK_NAME_LEN];
	bool changed;
	uint8_t id[8];
	bak_world_setup(&world);
	bak_world_backup(&world, "a", "manual", 1);
	bak_must(bak_run_begin(world.repo, "manual", "", &store, 1, &run, &err), &err);
	assert_true(bak_unhex(id, sizeof id, bak_run_id(run)));
	bak_must(bak_pack_new(world.mem, bak_repo_ring(world.repo), id, 1, &pack, &err), &err);
	bak_must(bak_pack_finish(pack, &rows, &err), &err);
	bak_pack_name(rows.pack.id, name);
	bak_pack_free(pack);
	bak_must(bak_repo_refresh_packs(world.repo, &changed, &err), &err);
	bak_world_flip(&world, name, size_of(&world, name) - 20);
	repair(&world, &result);
	assert_int_equal(result.damaged_packs, 1);
	assert_int_equal(result.packs_replaced, 0);
	assert_int_equal(result.lost, 1);
	bak_run_end(run);
	repair(&world, &result);
	assert_int_equal(result.packs_replaced, 1);
	assert_int_equal(result.lost, 0);
	bak_world_teardown(&world);
}

/* What is lost is known to the next process on this machine, until a check finds it well. */
static void test_state(void **state)
{
	(void)state;
	struct bak_world world;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_check_result result;
	char dir[] = "/tmp/bakfs-check-XXXXXX", command[64], name[BAK_PACK_NAME_LEN];
	assert_non_null(mkdtemp(dir));
	bak_world_setup(&world);
	struct bak_repo_conf conf = bak_world_conf(&world);
	conf.index_in_memory = false;
	conf.cache_dir = conf.state_dir = dir;
	for (int turn = 0; turn < 3; turn++) {
		bak_repo_close(world.repo);
		bak_must(bak_repo_open(&conf, &world.secret, &world.repo, &err), &err);
		assert_int_equal(bak_repo_lost(world.repo)->n, turn == 1);
		if (turn == 0)
			bak_world_backup(&world, "a", "manual", 1);
		struct bak_seg_copy copy = find_large(&world);
		bak_pack_name(copy.pack, name);
		bak_world_flip(&world, name, copy.off + BAK_SEG_HEAD_BYTES + 100);
		check(&world, &result);
		assert_int_equal(result.lost > 0, turn != 1);
	}
	bak_world_teardown(&world);
	snprintf(command, sizeof command, "rm -r %s", dir);
	assert_int_equal(system(command), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_holed_is_not_whole),
		cmocka_unit_test(test_records),
		cmocka_unit_test(test_parity),
		cmocka_unit_test(test_beside_a_backup),
		cmocka_unit_test(test_state),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
