/* Parity and what it gives back: packs of many sizes, damaged by bits, sectors and bursts. */
#include "engine/content/heal.h"

#include "engine/objects/pack.h"
#include "tests/lib/damage.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct bak_master masters[1] = {{.number = 7, .key = {1}}};
static const struct bak_keyring ring = {
	.repo_id = "repository-id-1", .n_masters = 1, .masters = masters};
static const uint8_t id[BAK_PACK_ID_BYTES] = {0xab, 2, 3};

/* A pack's worth of bytes with its parity, and the view that mends it. */
struct rig {
	struct bak_backend *be;
	struct bak_heal *heal;
	struct bak_buf want; /* the pack as it was */
	uint64_t random;
	char pack[BAK_PACK_NAME_LEN], parity[BAK_PARITY_NAME_LEN];
};

static void open_rig(struct rig *rig, uint64_t size, unsigned percent)
{
	struct bak_error err = BAK_ERROR_INIT;
	*rig = (struct rig){.random = size + percent};
	bak_pack_name(id, rig->pack);
	bak_parity_name(id, rig->parity);
	assert_int_equal(bak_backend_mem_new(&rig->be, &err), 0);
	assert_int_equal(bak_heal_new(rig->be, &ring, &rig->heal, &err), 0);
	assert_int_equal(bak_buf_resize(&rig->want, size), 0);
	for (size_t i = 0; i < size; i++)
		rig->want.p[i] = (uint8_t)bak_test_random(&rig->random);
	bak_test_replace(rig->be, rig->pack, rig->want.p, rig->want.len);
	assert_int_equal(bak_parity_put(rig->be, &ring, id, percent, "test", &err), 1);
	assert_int_equal(bak_parity_put(rig->be, &ring, id, percent, "test", &err), 0);
}

static void close_rig(struct rig *rig)
{
	bak_heal_free(rig->heal);
	bak_backend_close(rig->be);
	bak_buf_release(&rig->want);
}

/* Whether [off, off + len) comes as it was. */
static bool reads_right(struct rig *rig, uint64_t off, size_t len)
{
	BAK_AUTO(bak_buf_release) struct bak_buf got = BAK_BUF_INIT;
	struct bak_error err = BAK_ERROR_INIT;
	uint64_t size;
	struct bak_backend *view = bak_heal_backend(rig->heal);
	assert_int_equal(bak_backend_size(view, rig->pack, &size, &err), 1);
	assert_int_equal(bak_backend_get(view, rig->pack, off, len, &got, &err), 1);
	size_t want = rig->want.len - off < len ? rig->want.len - off : len;
	return size == rig->want.len && got.len == want &&
	       memcmp(got.p, rig->want.p + off, want) == 0;
}

static void put_back(struct rig *rig)
{
	bak_test_replace(rig->be, rig->pack, rig->want.p, rig->want.len);
}

static const uint64_t sizes[] = {1,    63,   64,    65,     1000,    4095,   4096,
				 4097, 8192, 40000, 409600, 2000000, 9000000};
#define N_SIZES (sizeof sizes / sizeof *sizes)

/* Two blocks next to each other are always mended: what a sector at any offset touches. */
static void test_a_sector_anywhere(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_SIZES; i++) {
		struct rig rig;
		open_rig(&rig, sizes[i], 5);
		for (int n = 0; n < 12; n++) {
			uint64_t at = bak_test_random(&rig.random) % sizes[i];
			if (n % 2)
				bak_test_flip(rig.be, rig.pack, at, (unsigned)n % 8);
			else
				bak_test_scramble(rig.be, rig.pack, at, 4096, &rig.random);
			assert_true(reads_right(&rig, at, 5000));
			assert_true(reads_right(&rig, at / 2, SIZE_MAX));
			put_back(&rig);
		}
		assert_true(bak_heal_blocks(rig.heal) > 0);
		close_rig(&rig);
	}
}

/* A burst of as many rows as there is parity. */
static void test_bursts(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_SIZES; i++) {
		struct rig rig;
		struct bak_parity_shape shape;
		open_rig(&rig, sizes[i], 5);
		bak_parity_choose(sizes[i], 5, &shape);
		uint64_t burst = ((uint64_t)shape.m * shape.width - 1) * shape.block + 1;
		for (int n = 0; n < 3 && burst < sizes[i]; n++) {
			uint64_t at = bak_test_random(&rig.random) % (sizes[i] - burst);
			bak_test_scramble(rig.be, rig.pack, at, burst, &rig.random);
			assert_true(reads_right(&rig, 0, SIZE_MAX));
			put_back(&rig);
		}
		close_rig(&rig);
	}
}

/* A whole pack of 64 MiB: a burst of 500 KiB at 5 %, and what the parity costs. */
static void test_a_whole_pack(void **state)
{
	(void)state;
	struct bak_parity_shape shape;
	uint64_t size = (64u << 20) + 100000;
	bak_parity_choose(size, 5, &shape);
	assert_true(shape.k + shape.m <= 255);
	assert_true((uint64_t)shape.m * shape.width * shape.block > 600u << 10);
	assert_true(bak_parity_parity_blocks(&shape) * 100 < bak_parity_blocks(&shape) * 51 / 10);
	for (unsigned percent = 1; percent <= BAK_PARITY_MAX_PERCENT; percent++)
		for (uint64_t n = 1; n < 200u << 20; n += n / 3 + 1) {
			bak_parity_choose(n, percent, &shape);
			assert_true(shape.k >= 1 && shape.m >= 1 && shape.k + shape.m <= 255);
			assert_true((uint64_t)shape.k * shape.width * shape.block <= 26u << 20);
			assert_true(bak_parity_parity_blocks(&shape) * 100 <=
				    (bak_parity_blocks(&shape) + 2) * (percent + 1) +
					    200 * shape.width);
		}
}

/* More than parity gives back is never made up: right bytes or those that lie there. */
static void test_too_much(void **state)
{
	(void)state;
	struct rig rig;
	struct bak_error err = BAK_ERROR_INIT;
	BAK_AUTO(bak_buf_release) struct bak_buf raw = BAK_BUF_INIT;
	BAK_AUTO(bak_buf_release) struct bak_buf got = BAK_BUF_INIT;
	open_rig(&rig, 2000000, 5);
	bak_test_scramble(rig.be, rig.pack, 300000, 400000, &rig.random);
	bak_test_get(rig.be, rig.pack, &raw);
	assert_int_equal(
		bak_backend_get(bak_heal_backend(rig.heal), rig.pack, 0, SIZE_MAX, &got, &err), 1);
	assert_int_equal(got.len, raw.len);
	for (size_t at = 0; at < raw.len; at++)
		assert_true(got.p[at] == raw.p[at] || got.p[at] == rig.want.p[at]);
	assert_true(reads_right(&rig, 0, 290000));
	close_rig(&rig);
}

static void test_cut_off(void **state)
{
	(void)state;
	struct rig rig;
	open_rig(&rig, 500000, 5);
	bak_test_replace(rig.be, rig.pack, rig.want.p, rig.want.len - 9000);
	assert_true(reads_right(&rig, 480000, SIZE_MAX));
	close_rig(&rig);
}

/* Each byte of the parity object: seen when flipped, and no hindrance. */
static void test_damaged_parity(void **state)
{
	(void)state;
	struct rig rig;
	BAK_AUTO(bak_buf_release) struct bak_buf parity = BAK_BUF_INIT;
	open_rig(&rig, 20000, 5);
	bak_test_get(rig.be, rig.parity, &parity);
	bak_test_flip(rig.be, rig.pack, 7000, 3);
	for (size_t at = 0; at < parity.len; at += at < 200 || parity.len - at < 200 ? 1 : 37) {
		struct bak_error err = BAK_ERROR_INIT;
		struct bak_heal *fresh;
		uint64_t bad, bad_blocks;
		bak_test_flip(rig.be, rig.parity, at, (unsigned)at % 8);
		assert_int_equal(bak_parity_verify(rig.be, &ring, id, &bad, &bad_blocks, &err), 1);
		assert_true(bad > 0);
		assert_int_equal(bad_blocks, 1);
		assert_int_equal(bak_heal_new(rig.be, &ring, &fresh, &err), 0);
		bak_heal_free(rig.heal);
		rig.heal = fresh;
		assert_true(reads_right(&rig, 0, SIZE_MAX));
		bak_test_replace(rig.be, rig.parity, parity.p, parity.len);
	}
	close_rig(&rig);
}

/* Parity of one pack is none of another one. */
static void test_not_passed_off(void **state)
{
	(void)state;
	static const uint8_t other[BAK_PACK_ID_BYTES] = {0xcd};
	struct rig rig;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_parity parity;
	BAK_AUTO(bak_buf_release) struct bak_buf bytes = BAK_BUF_INIT;
	char name[BAK_PARITY_NAME_LEN];
	open_rig(&rig, 20000, 5);
	bak_test_get(rig.be, rig.parity, &bytes);
	bak_parity_name(other, name);
	bak_test_replace(rig.be, name, bytes.p, bytes.len);
	assert_int_equal(bak_parity_load(rig.be, &ring, other, &parity, &err), -1);
	assert_int_equal(err.code, BAK_CORRUPT);
	close_rig(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_sector_anywhere), cmocka_unit_test(test_bursts),
		cmocka_unit_test(test_a_whole_pack),      cmocka_unit_test(test_too_much),
		cmocka_unit_test(test_cut_off),           cmocka_unit_test(test_damaged_parity),
		cmocka_unit_test(test_not_passed_off),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
