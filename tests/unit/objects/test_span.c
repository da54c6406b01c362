/* Span nodes and inner nodes: to bytes and back; thousands of small extents; hostile bytes refused.
 */
#include "engine/objects/span.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static struct bak_seg_id seg(uint8_t run, uint32_t n)
{
	struct bak_seg_id id = {.n = n};
	memset(id.run, run, sizeof id.run);
	return id;
}

static void expect_same(const struct bak_span *a, const struct bak_span *b)
{
	assert_int_equal(a->len, b->len);
	assert_int_equal(a->scatter, b->scatter);
	assert_memory_equal(&a->hash, &b->hash, sizeof a->hash);
	assert_int_equal(a->n_chunks, b->n_chunks);
	assert_int_equal(a->n_extents, b->n_extents);
	for (size_t i = 0; i < a->n_chunks; i++)
		assert_int_equal(a->chunk_lens[i], b->chunk_lens[i]);
	for (size_t i = 0; i < a->n_extents; i++) {
		assert_int_equal(a->extents[i].kind, b->extents[i].kind);
		assert_int_equal(a->extents[i].len, b->extents[i].len);
		if (a->extents[i].kind != BAK_EXTENT_BYTES)
			continue;
		assert_int_equal(a->extents[i].off, b->extents[i].off);
		assert_true(bak_seg_id_equal(&a->extents[i].seg, &b->extents[i].seg));
	}
}

static void test_mixed_span(void **state)
{
	(void)state;
	struct bak_error err = BAK_ERROR_INIT;
	BAK_AUTO(bak_buf_release) struct bak_buf out = BAK_BUF_INIT;
	struct bak_extent extents[] = {
		{BAK_EXTENT_BYTES, seg(1, 5), 100, 1000}, {BAK_EXTENT_HOLE, {.n = 0}, 0, 1u << 20},
		{BAK_EXTENT_BYTES, seg(2, 5), 7, 9},      {BAK_EXTENT_ZEROS, {.n = 0}, 0, 65536},
		{BAK_EXTENT_BYTES, seg(1, 5), 50, 100},
	};
	uint32_t chunks[] = {1000, 9, 100};
	struct bak_span span = {.len = 1000 + (1u << 20) + 9 + 65536 + 100,
				.scatter = 42,
				.hash = {{1, 2, 3}},
				.n_chunks = 3,
				.n_extents = 5,
				.chunk_lens = chunks,
				.extents = extents};
	struct bak_span got;
	assert_int_equal(bak_span_encode(&span, &out, &err), 0);
	assert_int_equal(bak_span_decode(out.p, out.len, &got, &err), 0);
	expect_same(&span, &got);
	assert_int_equal(got.n_segments, 2);
	/* 100..1100 and 50..150 overlap in fifty bytes: counted once. */
	assert_int_equal(got.segments[0].used, 1050);
	assert_int_equal(got.segments[1].used, 9);
	assert_int_equal(bak_span_find(&got, 0), 0);
	assert_int_equal(bak_span_find(&got, 999), 0);
	assert_int_equal(bak_span_find(&got, 1000), 1);
	assert_int_equal(bak_span_find(&got, span.len - 1), 4);
	bak_span_release(&got);
	for (size_t len = 0; len < out.len; len++)
		assert_int_equal(bak_span_decode(out.p, len, &got, &err), -1);
}

static void test_many_small_extents(void **state)
{
	(void)state;
	enum { N = 20000 };
	struct bak_error err = BAK_ERROR_INIT;
	BAK_AUTO(bak_buf_release) struct bak_buf out = BAK_BUF_INIT;
	struct bak_extent *extents = calloc(N, sizeof *extents);
	uint32_t chunk = 0;
	uint64_t x = 88172645463325252u;
	assert_non_null(extents);
	for (size_t i = 0; i < N; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		extents[i] = (struct bak_extent){BAK_EXTENT_BYTES,
						 seg((uint8_t)(x % 3), (uint32_t)(x >> 8) % 32),
						 (uint32_t)(x >> 20) % 1000000, 4 + (x >> 50) % 37};
		chunk += (uint32_t)extents[i].len;
	}
	struct bak_span span = {.len = chunk,
				.n_chunks = 1,
				.n_extents = N,
				.chunk_lens = &chunk,
				.extents = extents};
	struct bak_span got;
	assert_int_equal(bak_span_encode(&span, &out, &err), 0);
	assert_int_equal(bak_span_decode(out.p, out.len, &got, &err), 0);
	expect_same(&span, &got);
	for (size_t i = 0; i < N; i += 97)
		assert_int_equal(bak_span_find(&got, got.at[i] + 1), i);
	bak_span_release(&got);
	free(extents);
}

/* Any single changed byte is refused or gives a span that keeps its invariants; never a crash. */
static void test_flipped_bytes(void **state)
{
	(void)state;
	struct bak_error err = BAK_ERROR_INIT;
	BAK_AUTO(bak_buf_release) struct bak_buf out = BAK_BUF_INIT;
	struct bak_extent extents[] = {{BAK_EXTENT_BYTES, seg(1, 5), 100, 1000},
				       {BAK_EXTENT_BYTES, seg(2, 9), 0, 24}};
	uint32_t chunk = 1024;
	struct bak_span span = {.len = 1024,
				.n_chunks = 1,
				.n_extents = 2,
				.chunk_lens = &chunk,
				.extents = extents};
	assert_int_equal(bak_span_encode(&span, &out, &err), 0);
	for (size_t i = 0; i < out.len; i++)
		for (int bit = 0; bit < 8; bit++) {
			struct bak_span got;
			out.p[i] ^= (uint8_t)(1 << bit);
			if (bak_span_decode(out.p, out.len, &got, &err) == 0) {
				assert_int_equal(got.at[got.n_extents], got.len);
				bak_span_release(&got);
			}
			out.p[i] ^= (uint8_t)(1 << bit);
		}
}

static void test_inner(void **state)
{
	(void)state;
	struct bak_error err = BAK_ERROR_INIT;
	BAK_AUTO(bak_buf_release) struct bak_buf out = BAK_BUF_INIT;
	struct bak_line lines[] = {{BAK_LINE_SPAN, 1000, {seg(1, 1), 0, 20}},
				   {BAK_LINE_HOLE, (uint64_t)1 << 40, {.len = 0}},
				   {BAK_LINE_INNER, 5000, {seg(1, 2), 3, 30}}};
	struct bak_inner inner;
	assert_int_equal(bak_inner_encode(lines, 3, &out, &err), 0);
	assert_int_equal(bak_inner_decode(out.p, out.len, &inner, &err), 0);
	assert_int_equal(inner.at[2], 1000 + ((uint64_t)1 << 40));
	assert_true(bak_ref_equal(&inner.lines[2].ref, &lines[2].ref));
	bak_inner_release(&inner);
	for (size_t len = 0; len < out.len; len++)
		assert_int_equal(bak_inner_decode(out.p, len, &inner, &err), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_mixed_span),
		cmocka_unit_test(test_many_small_extents),
		cmocka_unit_test(test_flipped_bytes),
		cmocka_unit_test(test_inner),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
