/* What tree objects refer to: from each kind of them, and through the index's form and back. */
#include "engine/objects/refs.h"
#include "engine/objects/tree.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static struct bak_seg_id seg(uint8_t run, uint32_t n)
{
	return (struct bak_seg_id){.run = {run, 1, 2}, .n = n};
}

static struct bak_ref ref(uint32_t n)
{
	return (struct bak_ref){seg(7, n), 10 * n, 20};
}

static void round_trip(const struct bak_refs *refs)
{
	BAK_AUTO(bak_buf_release) struct bak_buf text = BAK_BUF_INIT;
	struct bak_refs again = {.n_trees = 0};
	assert_int_equal(bak_refs_encode(refs, &text), 0);
	assert_int_equal(bak_refs_decode(text.p, text.len, &again), 1);
	assert_int_equal(again.exact, refs->exact);
	assert_int_equal(again.n_trees, refs->n_trees);
	assert_int_equal(again.n_uses, refs->n_uses);
	for (size_t i = 0; i < refs->n_trees; i++)
		assert_true(bak_ref_equal(&again.trees[i], &refs->trees[i]));
	for (size_t i = 0; i < refs->n_uses; i++) {
		assert_true(bak_seg_id_equal(&again.uses[i].seg, &refs->uses[i].seg));
		assert_int_equal(again.uses[i].off, refs->uses[i].off);
		assert_int_equal(again.uses[i].len, refs->uses[i].len);
	}
	/* Nothing shorter makes sense. */
	for (size_t len = 0; len < text.len; len++)
		assert_int_equal(bak_refs_decode(text.p, len, &again), 0);
	bak_refs_release(&again);
}

static void test_span(void **state)
{
	(void)state;
	struct bak_error err = BAK_ERROR_INIT;
	BAK_AUTO(bak_buf_release) struct bak_buf payload = BAK_BUF_INIT;
	struct bak_refs refs = {.n_trees = 0};
	struct bak_extent extents[] = {{BAK_EXTENT_BYTES, seg(1, 5), 100, 50},
				       {BAK_EXTENT_ZEROS, {.n = 0}, 0, 1000},
				       {BAK_EXTENT_BYTES, seg(2, 6), 0, 10},
				       {BAK_EXTENT_BYTES, seg(1, 5), 120, 60}};
	uint32_t chunks[] = {50, 70};
	struct bak_span span = {.len = 1120,
				.n_chunks = 2,
				.chunk_lens = chunks,
				.n_extents = 4,
				.extents = extents};
	assert_int_equal(bak_span_encode(&span, &payload, &err), 0);
	assert_int_equal(bak_refs_of(BAK_OBJECT_SPAN, payload.p, payload.len, &refs, &err), 0);
	assert_false(refs.exact);
	assert_int_equal(refs.n_trees, 0);
	assert_int_equal(refs.n_uses, 2);
	assert_int_equal(refs.uses[0].len, 80); /* bytes used twice count once */
	assert_int_equal(refs.uses[1].len, 10);
	round_trip(&refs);
	bak_refs_release(&refs);
}

static void test_inner(void **state)
{
	(void)state;
	struct bak_error err = BAK_ERROR_INIT;
	BAK_AUTO(bak_buf_release) struct bak_buf payload = BAK_BUF_INIT;
	struct bak_refs refs = {.n_trees = 0};
	struct bak_line lines[] = {{BAK_LINE_SPAN, 10, ref(1)},
				   {BAK_LINE_HOLE, 5, {.len = 0}},
				   {BAK_LINE_INNER, 7, ref(2)}};
	assert_int_equal(bak_inner_encode(lines, 3, &payload, &err), 0);
	assert_int_equal(bak_refs_of(BAK_OBJECT_INNER, payload.p, payload.len, &refs, &err), 0);
	assert_true(refs.exact);
	assert_int_equal(refs.n_trees, 2);
	assert_int_equal(refs.n_uses, 0);
	round_trip(&refs);
	bak_refs_release(&refs);
}

static void test_page(void **state)
{
	(void)state;
	struct bak_error err = BAK_ERROR_INIT;
	BAK_AUTO(bak_buf_release) struct bak_buf payload = BAK_BUF_INIT;
	struct bak_refs refs = {.n_trees = 0};
	struct bak_entry entries[] = {
		{"a", 1,
		 .inode = {.type = BAK_TYPE_FILE,
			   .size = 77,
			   .content = {BAK_CONTENT_EXTENT,
				       {BAK_EXTENT_BYTES, seg(3, 9), 500, 77},
				       {.len = 0}}}},
		{"b", 1, .inode = {.type = BAK_TYPE_DIR, .totals = {.entries = 3}, .dir = ref(4)}},
		{"c", 1,
		 .inode = {.type = BAK_TYPE_FILE,
			   .size = 5,
			   .content = {.kind = BAK_CONTENT_SPAN, .ref = ref(5)}}},
		{"d", 1, .linked = true, .link = 3, .inode = {.type = BAK_TYPE_FILE}},
		{"e", 1, .inode = {.type = BAK_TYPE_FILE}},
		{"f", 1,
		 .inode = {.type = BAK_TYPE_FILE,
			   .size = 900,
			   .content = {.kind = BAK_CONTENT_EXTENT,
				       .extent = {.kind = BAK_EXTENT_HOLE, .len = 900}}}},
	};
	assert_int_equal(bak_page_encode(entries, 6, &payload, &err), 0);
	assert_int_equal(bak_refs_of(BAK_OBJECT_PAGE, payload.p, payload.len, &refs, &err), 0);
	assert_true(refs.exact);
	assert_int_equal(refs.n_trees, 2);
	assert_int_equal(refs.n_uses, 1);
	assert_int_equal(refs.uses[0].off, 500);
	assert_int_equal(refs.uses[0].len, 77);
	round_trip(&refs);
	/* Nonsense is an error. */
	assert_int_equal(bak_refs_of(BAK_OBJECT_PAGE, payload.p, 5, &refs, &err), -1);
	bak_refs_release(&refs);
}

static void test_tables(void **state)
{
	(void)state;
	struct bak_error err = BAK_ERROR_INIT;
	BAK_AUTO(bak_buf_release) struct bak_buf names = BAK_BUF_INIT, links = BAK_BUF_INIT;
	BAK_AUTO(bak_buf_release) struct bak_buf first = BAK_BUF_INIT;
	struct bak_refs refs = {.n_trees = 0};
	struct bak_name_line name = {"x", 1, ref(8), {.entries = 1}};
	struct bak_link link = {1,
				2,
				{.type = BAK_TYPE_FILE,
				 .size = 30,
				 .content = {BAK_CONTENT_EXTENT,
					     {BAK_EXTENT_BYTES, seg(3, 1), 4, 30},
					     {.len = 0}}}};
	struct bak_link_line line = {1, 1, ref(9)};
	assert_int_equal(bak_names_encode(&name, 1, &names, &err), 0);
	assert_int_equal(bak_refs_of(BAK_OBJECT_NAMES, names.p, names.len, &refs, &err), 0);
	assert_int_equal(refs.n_trees, 1);
	assert_int_equal(bak_links_encode(&link, 1, &links, &err), 0);
	assert_int_equal(bak_refs_of(BAK_OBJECT_LINKS, links.p, links.len, &refs, &err), 0);
	assert_int_equal(refs.n_trees, 0);
	assert_int_equal(refs.n_uses, 1);
	round_trip(&refs);
	assert_int_equal(bak_link_names_encode(&line, 1, &first, &err), 0);
	assert_int_equal(bak_refs_of(BAK_OBJECT_LINK_NAMES, first.p, first.len, &refs, &err), 0);
	assert_int_equal(refs.n_trees, 1);
	bak_refs_release(&refs);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_span),
		cmocka_unit_test(test_inner),
		cmocka_unit_test(test_page),
		cmocka_unit_test(test_tables),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
