/* Segment records: round trips of every codec and filter, holed ones, and every flipped byte. */
#include "engine/objects/segment.h"

#include "engine/base/bytes.h"
#include "engine/objects/compress.h"
#include "engine/objects/filter.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define BIG (1u << 20)

static struct bak_master masters[2] = {{.number = 7, .key = {1}}, {.number = 9, .key = {2}}};
static const struct bak_keyring ring = {
	.repo_id = "repository-id-1", .n_masters = 2, .masters = masters};
static const struct bak_seg_id id = {.run = "twelve bytes", .n = 0x01020304};

static uint64_t next_random(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

static void fill_random(uint8_t *p, size_t len)
{
	uint64_t seed = 88172645463325252;
	for (size_t i = 0; i < len; i++)
		p[i] = (uint8_t)(next_random(&seed) >> 32);
}

static void fill_text(uint8_t *p, size_t len)
{
	uint64_t seed = 1;
	for (size_t i = 0; i < len; i++)
		p[i] = "abcdefgh 01234\n"[next_random(&seed) % 15];
}

/* Like embeddings: small exponents, random mantissas. */
static void fill_floats(uint8_t *p, size_t len)
{
	uint64_t seed = 7;
	for (size_t i = 0; i + 4 <= len; i += 4) {
		float v = (float)((double)(next_random(&seed) >> 11) / (double)(1ull << 53) - 0.5);
		memcpy(p + i, &v, 4);
	}
}

static void fill_doubles(uint8_t *p, size_t len)
{
	uint64_t seed = 9;
	for (size_t i = 0; i + 8 <= len; i += 8) {
		double v = 1e6 + (double)(next_random(&seed) >> 11) / (double)(1ull << 53);
		memcpy(p + i, &v, 8);
	}
}

/* A byte of noise, two that come again after 300 elements, and one that is always the same. */
static void fill_repeating(uint8_t *p, size_t len)
{
	uint8_t table[600];
	fill_random(p, len);
	memcpy(table, p, sizeof table);
	for (size_t i = 0; i + 4 <= len; i += 4) {
		p[i + 1] = table[i / 4 % 300];
		p[i + 2] = table[300 + i / 4 % 300];
		p[i + 3] = 0x3f;
	}
}

static int open_record(const struct bak_keyring *with, const struct bak_buf *record,
		       struct bak_segment *out, struct bak_error *err)
{
	BAK_AUTO(bak_seg_codec_release) struct bak_seg_codec codec = {.cctx = NULL};
	return bak_segment_open(with, &codec, BAK_SEG_DATA, &id, record->p, record->len, out, err);
}

static void round_trip(const uint8_t *raw, size_t len, int level, struct bak_seg_header *out)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_seg_codec codec = {.cctx = NULL};
	struct bak_buf record = BAK_BUF_INIT;
	struct bak_segment segment;
	assert_int_equal(bak_segment_seal(&ring, &codec, BAK_SEG_DATA, false, &id, raw, len, level,
					  &record, out, &err),
			 0);
	assert_int_equal(record.len, BAK_SEG_OVERHEAD + out->stored_len);
	assert_int_equal(open_record(&ring, &record, &segment, &err), 0);
	assert_int_equal(segment.header.raw_len, len);
	if (len)
		assert_memory_equal(segment.data, raw, len);
	bak_segment_release(&segment);
	bak_seg_codec_release(&codec);
	bak_buf_release(&record);
}

static void test_codecs(void **state)
{
	(void)state;
	uint8_t *raw = malloc(BIG);
	struct bak_seg_header header;
	static const size_t lens[] = {0, 1, 79, 4096, 65535, 65536, 65541, BIG - 3, BIG};
	for (size_t i = 0; i < sizeof lens / sizeof *lens; i++) {
		fill_random(raw, lens[i]);
		round_trip(raw, lens[i], 3, &header);
		assert_int_equal(header.codec, BAK_CODEC_STORED);
		fill_text(raw, lens[i]);
		round_trip(raw, lens[i], 3, &header);
		if (lens[i] >= 4096) {
			assert_int_equal(header.codec, BAK_CODEC_ZSTD);
			assert_int_equal(header.filter, 0);
			assert_true(header.stored_len < lens[i] * 6 / 10);
		}
		round_trip(raw, lens[i], 0, &header);
		assert_int_equal(header.codec, BAK_CODEC_STORED);
	}
	free(raw);
}

static void test_filter_where_it_pays(void **state)
{
	(void)state;
	uint8_t *raw = malloc(BIG);
	struct bak_seg_header header;
	fill_floats(raw, BIG);
	round_trip(raw, BIG - 5, 3, &header);
	assert_int_equal(header.filter, 4);
	assert_int_equal(header.codec, BAK_CODEC_ZSTD);
	assert_true(header.stored_len < BIG / 100 * 90);
	fill_doubles(raw, BIG);
	round_trip(raw, BIG - 5, 3, &header);
	assert_int_equal(header.filter, 8);
	assert_true(header.stored_len < BIG / 100 * 80);
	fill_repeating(raw, BIG);
	round_trip(raw, BIG, 3, &header);
	assert_int_not_equal(header.filter, 0);
	assert_true(header.stored_len < BIG / 100 * 30);
	free(raw);
}

static void test_filter_round_trip(void **state)
{
	(void)state;
	uint8_t raw[100], there[100], back[100];
	fill_random(raw, sizeof raw);
	for (unsigned n = 2; n <= 16; n++) {
		for (size_t len = 0; len <= sizeof raw; len++) {
			bak_filter_apply(n, raw, len, there);
			bak_filter_undo(n, there, len, back);
			assert_memory_equal(raw, back, len);
		}
	}
	bak_filter_apply(4, (const uint8_t *)"abcdABCD12345", 13, there);
	assert_memory_equal(there, "aA1bB2cC3dD45", 13);
}

/* Text in one eighth of a segment is enough to compress it. */
static void test_probe_sees_a_part(void **state)
{
	(void)state;
	uint8_t *raw = malloc(BIG);
	struct bak_seg_header header;
	fill_random(raw, BIG);
	memset(raw + BIG / 2, 'x', BIG / 8);
	round_trip(raw, BIG, 3, &header);
	assert_int_equal(header.codec, BAK_CODEC_ZSTD);
	free(raw);
}

/* Whatever byte is changed, and however it is cut: an error, never bytes. */
static void test_every_flip(void **state)
{
	(void)state;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_seg_codec codec = {.cctx = NULL};
	struct bak_buf record = BAK_BUF_INIT;
	struct bak_segment segment;
	uint8_t raw[300];
	fill_text(raw, sizeof raw);
	assert_int_equal(bak_segment_seal(&ring, &codec, BAK_SEG_DATA, false, &id, raw, sizeof raw,
					  3, &record, NULL, &err),
			 0);
	for (size_t i = 0; i < record.len; i++) {
		record.p[i] ^= 1u << (i % 8);
		assert_int_equal(open_record(&ring, &record, &segment, &err), -1);
		assert_int_equal(err.code, BAK_CORRUPT);
		assert_null(segment.data);
		record.p[i] ^= 1u << (i % 8);
	}
	for (size_t len = 0; len < record.len; len++) {
		struct bak_buf cut = {.p = record.p, .len = len};
		assert_int_equal(open_record(&ring, &cut, &segment, &err), -1);
	}
	assert_int_equal(open_record(&ring, &record, &segment, &err), 0);
	bak_segment_release(&segment);
	bak_seg_codec_release(&codec);
	bak_buf_release(&record);
}

static void test_not_what_was_asked_for(void **state)
{
	(void)state;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_seg_codec codec = {.cctx = NULL};
	struct bak_buf record = BAK_BUF_INIT;
	struct bak_segment segment;
	struct bak_seg_id other = id;
	struct bak_keyring elsewhere = ring, before = ring;
	other.n++;
	elsewhere.repo_id[3] ^= 4;
	before.n_masters = 1;
	assert_int_equal(bak_segment_seal(&ring, &codec, BAK_SEG_DATA, false, &id, "abc", 3, 3,
					  &record, NULL, &err),
			 0);
	assert_int_equal(bak_segment_open(&ring, &codec, BAK_SEG_TREE, &id, record.p, record.len,
					  &segment, &err),
			 -1);
	assert_string_equal(err.msg, "not the segment asked for");
	assert_int_equal(bak_segment_open(&ring, &codec, BAK_SEG_DATA, &other, record.p, record.len,
					  &segment, &err),
			 -1);
	assert_string_equal(err.msg, "not the segment asked for");
	assert_int_equal(open_record(&elsewhere, &record, &segment, &err), -1);
	assert_int_equal(open_record(&before, &record, &segment, &err), -1);
	record.len = 0;

	/* An older master's record opens with the ring that has a newer one too. */
	assert_int_equal(bak_segment_seal(&before, &codec, BAK_SEG_DATA, false, &id, "abc", 3, 3,
					  &record, NULL, &err),
			 0);
	assert_int_equal(open_record(&ring, &record, &segment, &err), 0);
	bak_segment_release(&segment);
	struct bak_seg_header header;
	size_t master;
	assert_int_equal(bak_segment_open_header(&ring, record.p, &header, &master, &err), 1);
	assert_int_equal(master, 0);
	assert_int_equal(header.stored_len, 3);
	bak_seg_codec_release(&codec);
	bak_buf_release(&record);
}

/* A holed segment's raw form: table and kept bytes. */
static void put_holed(struct bak_buf *raw, const uint32_t (*ranges)[2], uint32_t n)
{
	assert_int_equal(bak_put_u32(raw, n), 0);
	for (uint32_t i = 0; i < n; i++) {
		assert_int_equal(bak_put_u32(raw, ranges[i][0]), 0);
		assert_int_equal(bak_put_u32(raw, ranges[i][1]), 0);
	}
	for (uint32_t i = 0; i < n; i++)
		for (uint32_t k = 0; k < ranges[i][1]; k++)
			assert_int_equal(bak_put_u8(raw, (uint8_t)(ranges[i][0] + k)), 0);
}

static int open_holed(const struct bak_buf *raw, struct bak_segment *out, struct bak_error *err)
{
	struct bak_seg_codec codec = {.cctx = NULL};
	struct bak_buf record = BAK_BUF_INIT;
	assert_int_equal(bak_segment_seal(&ring, &codec, BAK_SEG_DATA, true, &id, raw->p, raw->len,
					  3, &record, NULL, err),
			 0);
	int result = open_record(&ring, &record, out, err);
	bak_seg_codec_release(&codec);
	bak_buf_release(&record);
	return result;
}

static void test_holed(void **state)
{
	(void)state;
	static const uint32_t ranges[][2] = {{0, 10}, {20, 5}, {100, 50}};
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_buf raw = BAK_BUF_INIT;
	struct bak_segment segment;
	put_holed(&raw, ranges, 3);
	assert_int_equal(open_holed(&raw, &segment, &err), 0);
	assert_int_equal(segment.n_kept, 3);
	/* Each range [off, off + len) answers exactly where all of it is kept. */
	for (uint32_t off = 0; off < 160; off++) {
		for (uint32_t len = 1; len < 60; len++) {
			bool kept = false;
			for (int i = 0; i < 3; i++)
				kept |= off >= ranges[i][0] &&
					off + len <= ranges[i][0] + ranges[i][1];
			const uint8_t *p = NULL;
			assert_int_equal(bak_segment_at(&segment, off, len, &p), kept);
			if (kept)
				assert_int_equal(p[len - 1], (uint8_t)(off + len - 1));
		}
	}
	const uint8_t *p;
	assert_int_equal(bak_segment_at(&segment, 100, UINT32_MAX, &p), 0);
	assert_int_equal(bak_segment_at(&segment, UINT32_MAX, UINT32_MAX, &p), 0);
	bak_segment_release(&segment);
	bak_buf_release(&raw);
}

static void test_bad_holed(void **state)
{
	(void)state;
	static const uint32_t tables[][2][2] = {
		{{0, 0}, {5, 1}}, {{5, 5}, {5, 5}},          {{5, 5}, {10, 1}},
		{{9, 1}, {2, 1}}, {{0, 4}, {UINT32_MAX, 2}},
	};
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_segment segment;
	struct bak_buf raw = BAK_BUF_INIT;
	for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
		raw.len = 0;
		put_holed(&raw, tables[i], 2);
		assert_int_equal(open_holed(&raw, &segment, &err), -1);
		assert_int_equal(err.code, BAK_CORRUPT);
	}
	/* Too many ranges for its length, missing bytes, bytes too many, nothing at all. */
	static const uint32_t good[][2] = {{1, 3}, {7, 2}};
	raw.len = 0;
	put_holed(&raw, good, 2);
	bak_store_u32(raw.p, UINT32_MAX);
	assert_int_equal(open_holed(&raw, &segment, &err), -1);
	bak_store_u32(raw.p, 2);
	raw.len--;
	assert_int_equal(open_holed(&raw, &segment, &err), -1);
	raw.len += 2;
	assert_int_equal(open_holed(&raw, &segment, &err), -1);
	raw.len = 3;
	assert_int_equal(open_holed(&raw, &segment, &err), -1);
	bak_buf_release(&raw);
}

static void test_whole_at(void **state)
{
	(void)state;
	uint8_t data[8];
	struct bak_segment segment = {.data = data, .header = {.raw_len = 8}};
	const uint8_t *p;
	assert_int_equal(bak_segment_at(&segment, 0, 8, &p), 1);
	assert_ptr_equal(p, data);
	assert_int_equal(bak_segment_at(&segment, 8, 0, &p), 1);
	assert_int_equal(bak_segment_at(&segment, 3, 6, &p), 0);
	assert_int_equal(bak_segment_at(&segment, 9, 0, &p), 0);
	assert_int_equal(bak_segment_at(&segment, 1, UINT32_MAX, &p), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_codecs),
		cmocka_unit_test(test_filter_where_it_pays),
		cmocka_unit_test(test_filter_round_trip),
		cmocka_unit_test(test_probe_sees_a_part),
		cmocka_unit_test(test_every_flip),
		cmocka_unit_test(test_not_what_was_asked_for),
		cmocka_unit_test(test_holed),
		cmocka_unit_test(test_bad_holed),
		cmocka_unit_test(test_whole_at),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
