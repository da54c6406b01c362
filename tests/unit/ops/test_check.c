/* check: what it has to find where several copies of a segment exist. */
#include "tests/lib/world.h"

#include "engine/base/bytes.h"
#include "engine/ops/verify.h"

#include <setjmp.h>
#include <stdarg.h>
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_holed_is_not_whole),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
