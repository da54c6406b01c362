/* Copies of a segment under one id: whole ones and holed ones, missing and damaged packs, packs
 * that appear later. Right bytes or an error, never anything else. */
#include "tests/lib/fixture.h"

#include "engine/base/bytes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define RAW_LEN 100000u

static const struct bak_seg_range kept[] = {{.off = 0, .len = 1000}, {.off = 50000, .len = 20000}};

struct rig {
	struct bak_fixture fx;
	struct bak_source *source;
	struct bak_seg_id id;
	uint8_t raw[RAW_LEN];
	unsigned refreshed, damaged;
	uint8_t later[BAK_PACK_ID_BYTES]; /* a pack that the next refresh finds, if has_later */
	bool has_later;
};

/* Brings the index up to date, as a repository does. */
static int refresh(void *ctx, struct bak_error *err)
{
	struct rig *rig = ctx;
	struct bak_footer footer;
	rig->refreshed++;
	if (!rig->has_later)
		return 0;
	rig->has_later = false;
	if (bak_pack_read_footer(rig->fx.mem, &rig->fx.ring, rig->later, &footer, err) != 1)
		return -1;
	int rc = bak_index_add_pack(rig->fx.index, &footer.rows, err);
	bak_footer_release(&footer);
	return rc;
}

static void count_damaged(void *ctx, const struct bak_seg_copy *copy, const char *why)
{
	struct rig *rig = ctx;
	(void)copy;
	(void)why;
	rig->damaged++;
}

/* A reading side that has nothing in its cache. */
static void forget_cache(struct rig *rig)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_source_conf conf = {.backend = rig->fx.backend,
				       .ring = &rig->fx.ring,
				       .index = rig->fx.index,
				       .refresh = refresh,
				       .refresh_ctx = rig,
				       .damaged = count_damaged,
				       .damaged_ctx = rig};
	bak_source_free(rig->source);
	rig->refreshed = rig->damaged = 0;
	assert_int_equal(bak_source_new(&conf, &rig->source, &err), 0);
}

static int setup(void **state)
{
	struct rig *rig = calloc(1, sizeof *rig);
	bak_fixture_open(&rig->fx);
	rig->id = (struct bak_seg_id){.run = {1, 2, 3}, .n = 77};
	bak_fill_random(rig->raw, RAW_LEN, 5);
	forget_cache(rig);
	*state = rig;
	return 0;
}

static int teardown(void **state)
{
	struct rig *rig = *state;
	bak_source_free(rig->source);
	bak_fixture_close(&rig->fx);
	free(rig);
	return 0;
}

static void put_holed(const struct rig *rig, struct bak_buf *out)
{
	const size_t n = sizeof kept / sizeof *kept;
	assert_int_equal(bak_put_u32(out, (uint32_t)n), 0);
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(bak_put_u32(out, kept[i].off), 0);
		assert_int_equal(bak_put_u32(out, kept[i].len), 0);
	}
	for (size_t i = 0; i < n; i++)
		assert_int_equal(bak_buf_append(out, rig->raw + kept[i].off, kept[i].len), 0);
}

/* One more pack with a copy of the segment; in the index at once, or found by the next refresh. */
static void put_pack(struct rig *rig, bool holed, bool indexed, uint8_t out_id[BAK_PACK_ID_BYTES])
{
	static const uint8_t run[8] = {9};
	struct bak_error err = BAK_ERROR_INIT;
	BAK_AUTO(bak_buf_release) struct bak_buf raw = BAK_BUF_INIT, record = BAK_BUF_INIT;
	struct bak_seg_codec codec = {.cctx = NULL};
	struct bak_seg_header header;
	struct bak_pack_rows rows;
	struct bak_pack *pack;
	if (holed)
		put_holed(rig, &raw);
	else
		assert_int_equal(bak_buf_append(&raw, rig->raw, RAW_LEN), 0);
	assert_int_equal(bak_segment_seal(&rig->fx.ring, &codec, BAK_SEG_DATA, holed, &rig->id,
					  raw.p, raw.len, 3, &record, &header, &err),
			 0);
	assert_int_equal(bak_pack_new(rig->fx.mem, &rig->fx.ring, run, 1, &pack, &err), 0);
	assert_int_equal(bak_pack_add(pack, record.p, record.len, &header,
				      rig->fx.ring.masters[0].number, holed ? kept : NULL,
				      holed ? sizeof kept / sizeof *kept : 0, &err),
			 0);
	assert_int_equal(bak_pack_finish(pack, &rows, &err), 0);
	memcpy(out_id, rows.pack.id, BAK_PACK_ID_BYTES);
	if (indexed) {
		assert_int_equal(bak_index_add_pack(rig->fx.index, &rows, &err), 0);
	} else {
		memcpy(rig->later, rows.pack.id, BAK_PACK_ID_BYTES);
		rig->has_later = true;
	}
	bak_pack_free(pack);
	bak_seg_codec_release(&codec);
}

static void remove_pack(struct rig *rig, const uint8_t id[BAK_PACK_ID_BYTES])
{
	struct bak_error err = BAK_ERROR_INIT;
	char name[BAK_PACK_NAME_LEN];
	bak_pack_name(id, name);
	assert_int_equal(bak_backend_remove(rig->fx.mem, name, &err), 1);
}

/* Changes one byte of the first record's body. */
static void damage_pack(struct rig *rig, const uint8_t id[BAK_PACK_ID_BYTES])
{
	struct bak_error err = BAK_ERROR_INIT;
	BAK_AUTO(bak_buf_release) struct bak_buf whole = BAK_BUF_INIT;
	char name[BAK_PACK_NAME_LEN];
	bak_pack_name(id, name);
	assert_int_equal(bak_backend_get(rig->fx.mem, name, 0, SIZE_MAX, &whole, &err), 1);
	whole.p[BAK_SEG_HEAD_BYTES + 10] ^= 1;
	remove_pack(rig, id);
	assert_int_equal(bak_backend_put(rig->fx.mem, "t", name, whole.p, whole.len, &err), 1);
}

static void condemn(struct rig *rig, const uint8_t id[BAK_PACK_ID_BYTES])
{
	struct bak_error err = BAK_ERROR_INIT;
	assert_int_equal(bak_index_condemn_pack(rig->fx.index, id, true, &err), 0);
}

static void expect_bytes(struct rig *rig, uint32_t off, uint32_t len)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_pin *pin = NULL;
	const uint8_t *p;
	if (bak_source_bytes(rig->source, &rig->id, off, len, &p, &pin, &err) < 0)
		fail_msg("%u+%u: %s", off, len, err.msg);
	assert_memory_equal(p, rig->raw + off, len);
	bak_pin_put(pin);
}

static void expect_error(struct rig *rig, uint32_t off, uint32_t len, const char *text)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_pin *pin = NULL;
	const uint8_t *p;
	assert_int_equal(bak_source_bytes(rig->source, &rig->id, off, len, &p, &pin, &err), -1);
	assert_int_equal(err.code, BAK_CORRUPT);
	assert_non_null(strstr(err.msg, text));
}

static void expect_kept(struct rig *rig)
{
	expect_bytes(rig, 0, 1000);
	expect_bytes(rig, 999, 1);
	expect_bytes(rig, 50000, 20000);
	expect_bytes(rig, 69999, 1);
}

static const uint32_t holes[][2] = {
	{1000, 1},  {999, 2},   {0, 1001},    {30000, 5},
	{49999, 2}, {69999, 2}, {0, RAW_LEN}, {500, 60000},
};
#define N_HOLES (sizeof holes / sizeof *holes)

static void test_only_holed(void **state)
{
	struct rig *rig = *state;
	uint8_t id[BAK_PACK_ID_BYTES];
	put_pack(rig, true, true, id);
	expect_kept(rig);
	assert_int_equal(rig->refreshed, 0);
	/* Also with the segment in the cache: an error, never zeros. */
	for (int i = 0; i < 2; i++) {
		for (size_t k = 0; k < N_HOLES; k++)
			expect_error(rig, holes[k][0], holes[k][1], "not kept");
		expect_error(rig, RAW_LEN, 1, "not kept");
		expect_error(rig, UINT32_MAX, 1, "not kept");
		expect_error(rig, 999, UINT32_MAX, "not kept");
		forget_cache(rig);
	}
	expect_kept(rig);
	assert_int_equal(rig->damaged, 0);
}

static void test_both(void **state)
{
	struct rig *rig = *state;
	uint8_t holed[BAK_PACK_ID_BYTES], whole[BAK_PACK_ID_BYTES];
	put_pack(rig, true, true, holed);
	put_pack(rig, false, true, whole);
	/* In turn the whole copy comes first, then the holed one, which is in the cache when a hole
	 * is asked for. */
	for (int i = 0; i < 2; i++) {
		expect_kept(rig);
		for (size_t k = 0; k < N_HOLES; k++)
			expect_bytes(rig, holes[k][0], holes[k][1]);
		expect_kept(rig);
		expect_error(rig, RAW_LEN - 1, 2, "not kept");
		assert_int_equal(rig->damaged, 0);
		condemn(rig, whole);
		forget_cache(rig);
	}
}

static void test_holed_serves_alone(void **state)
{
	struct rig *rig = *state;
	uint8_t holed[BAK_PACK_ID_BYTES], whole[BAK_PACK_ID_BYTES];
	struct bak_source_stats stats;
	put_pack(rig, true, true, holed);
	put_pack(rig, false, true, whole);
	remove_pack(rig, whole);
	expect_kept(rig);
	assert_int_equal(rig->damaged, 1);
	bak_source_stats(rig->source, &stats);
	assert_int_equal(stats.healed, 1);
	for (size_t k = 0; k < N_HOLES; k++)
		expect_error(rig, holes[k][0], holes[k][1], "not kept");
	/* It was looked for once more before it was called lost. */
	assert_true(rig->refreshed >= N_HOLES);
}

static void test_damaged_copies(void **state)
{
	struct rig *rig = *state;
	uint8_t holed[BAK_PACK_ID_BYTES], whole[BAK_PACK_ID_BYTES], second[BAK_PACK_ID_BYTES];
	put_pack(rig, true, true, holed);
	put_pack(rig, false, true, whole);
	damage_pack(rig, whole);
	expect_kept(rig);
	expect_error(rig, 1000, 1, "not kept");
	damage_pack(rig, holed);
	forget_cache(rig);
	expect_error(rig, 0, 1000, "bad tag");
	assert_true(rig->damaged >= 2);
	put_pack(rig, false, true, second);
	expect_kept(rig);
	expect_bytes(rig, 0, RAW_LEN);
	remove_pack(rig, second);
	forget_cache(rig);
	expect_error(rig, 0, 1, "pack ");
}

static void test_appears_later(void **state)
{
	struct rig *rig = *state;
	uint8_t id[BAK_PACK_ID_BYTES], whole[BAK_PACK_ID_BYTES];
	expect_error(rig, 0, 10, "is in no pack");
	assert_int_equal(rig->refreshed, 1);
	put_pack(rig, true, false, id);
	expect_bytes(rig, 0, 10);
	assert_int_equal(rig->refreshed, 2);
	expect_kept(rig);
	assert_int_equal(rig->refreshed, 2);
	/* A hole of what is known, and another pack that has the bytes. */
	expect_error(rig, 1000, 1, "not kept");
	put_pack(rig, false, false, whole);
	expect_bytes(rig, 1000, 1);
	/* The pack that served goes, its segment is in another one by now. */
	put_pack(rig, false, false, id);
	remove_pack(rig, whole);
	condemn(rig, whole);
	unsigned before = rig->refreshed;
	struct bak_error err = BAK_ERROR_INIT;
	assert_int_equal(bak_index_drop_pack(rig->fx.index, whole, &err), 0);
	expect_bytes(rig, 2000, 90000);
	assert_int_equal(rig->refreshed, before + 1);
}

/* Another type under the id is another segment. */
static void test_type(void **state)
{
	struct rig *rig = *state;
	uint8_t id[BAK_PACK_ID_BYTES];
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_pin *pin = NULL;
	const struct bak_page *page;
	struct bak_ref ref = {.seg = rig->id, .off = 0, .len = 100};
	put_pack(rig, false, true, id);
	assert_int_equal(bak_source_page(rig->source, &ref, &page, &pin, &err), -1);
	assert_int_equal(err.code, BAK_CORRUPT);
	expect_bytes(rig, 0, 100);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_only_holed),     TEST(test_both),          TEST(test_holed_serves_alone),
		TEST(test_damaged_copies), TEST(test_appears_later), TEST(test_type),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
