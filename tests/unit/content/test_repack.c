/* Segments copied under their ids, whole and with holes; and what may be referred to afterwards. */
#include "tests/lib/fixture.h"

#include "engine/content/repack.h"
#include "engine/content/usable.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define FILE_LEN 3000000u /* several spans, so there are nodes */

struct rig {
	struct bak_fixture fx;
	struct bak_snapshot snapshot;
	uint8_t *file;
	struct bak_pack_row *packs; /* before anything was copied */
	size_t n_packs;
};

static int setup(void **state)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct rig *rig = calloc(1, sizeof *rig);
	assert_non_null(rig);
	bak_fixture_open(&rig->fx);
	rig->file = malloc(FILE_LEN);
	assert_non_null(rig->file);
	bak_fill_random(rig->file, FILE_LEN, 3);
	struct bak_writer *w = bak_fixture_writer(&rig->fx, NULL);
	bak_test_file(w, "file", 7, rig->file, FILE_LEN);
	bak_fixture_finish(&rig->fx, w, &rig->snapshot, NULL, NULL);
	assert_int_equal(bak_index_packs(rig->fx.index, &rig->packs, &rig->n_packs, &err), 0);
	*state = rig;
	return 0;
}

static int teardown(void **state)
{
	struct rig *rig = *state;
	free(rig->packs);
	free(rig->file);
	bak_fixture_close(&rig->fx);
	free(rig);
	return 0;
}

static struct bak_repack *begin(struct rig *rig)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_repack_conf conf = {.backend = rig->fx.backend,
				       .ring = &rig->fx.ring,
				       .index = rig->fx.index,
				       .run = {4, 4},
				       .run_start = 99};
	struct bak_repack *repack;
	assert_int_equal(bak_repack_new(&conf, &repack, &err), 0);
	return repack;
}

static uint64_t finish(struct bak_repack *repack)
{
	struct bak_error err = BAK_ERROR_INIT;
	uint64_t added = 0;
	assert_int_equal(bak_repack_finish(repack, &added, &err), 0);
	bak_repack_free(repack);
	return added;
}

/* The packs that were there go; the index is made anew from what is left. */
static void drop_old(struct rig *rig)
{
	struct bak_error err = BAK_ERROR_INIT;
	char name[BAK_PACK_NAME_LEN];
	struct bak_pack_row *packs;
	size_t n;
	for (size_t i = 0; i < rig->n_packs; i++) {
		bak_pack_name(rig->packs[i].id, name);
		assert_int_equal(bak_backend_remove(rig->fx.mem, name, &err), 1);
	}
	assert_int_equal(bak_index_packs(rig->fx.index, &packs, &n, &err), 0);
	assert_int_equal(bak_index_begin(rig->fx.index, true, &err), 0);
	for (size_t i = 0; i < n; i++) {
		struct bak_footer footer;
		int rc = bak_pack_read_footer(rig->fx.mem, &rig->fx.ring, packs[i].id, &footer,
					      &err);
		assert_true(rc >= 0);
		if (rc == 0)
			continue;
		assert_int_equal(bak_index_add_pack(rig->fx.index, &footer.rows, &err), 0);
		bak_footer_release(&footer);
	}
	assert_int_equal(bak_index_end(rig->fx.index, true, &err), 0);
	free(packs);
}

static void read_all(struct rig *rig)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_source_conf conf = {
		.backend = rig->fx.mem, .ring = &rig->fx.ring, .index = rig->fx.index};
	struct bak_source *source;
	assert_int_equal(bak_source_new(&conf, &source, &err), 0);
	struct bak_tree tree = {source, &rig->snapshot};
	struct bak_found found = BAK_FOUND_INIT;
	uint8_t *p = malloc(FILE_LEN);
	size_t n = 0;
	assert_non_null(p);
	assert_int_equal(bak_tree_path(&tree, "file", &found, &err), 1);
	assert_int_equal(
		bak_read(source, &found.entry.inode.content, FILE_LEN, 0, p, FILE_LEN, &n, &err),
		0);
	assert_int_equal(n, FILE_LEN);
	assert_memory_equal(p, rig->file, FILE_LEN);
	bak_found_release(&found);
	bak_source_free(source);
	free(p);
}

static void each_copy(struct rig *rig, struct bak_repack *repack)
{
	struct bak_error err = BAK_ERROR_INIT;
	for (size_t i = 0; i < rig->n_packs; i++) {
		struct bak_seg_copy *copies;
		size_t n;
		assert_int_equal(
			bak_index_pack_segments(rig->fx.index, rig->packs[i].id, &copies, &n, &err),
			0);
		for (size_t k = 0; k < n; k++)
			assert_int_equal(bak_repack_whole(repack, &copies[k], &err), 0);
		free(copies);
	}
}

/* Everything is there again: bytes, chunks, nodes, the second copies in a second pack. */
static void test_whole(void **state)
{
	struct rig *rig = *state;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_index_counts before, after;
	assert_int_equal(bak_index_counts(rig->fx.index, &before, &err), 0);
	assert_true(before.packs >= 2 && before.chunks > 10 && before.nodes > 0);
	struct bak_repack *repack = begin(rig);
	each_copy(rig, repack);
	assert_true(finish(repack) > FILE_LEN);
	drop_old(rig);
	assert_int_equal(bak_index_counts(rig->fx.index, &after, &err), 0);
	assert_int_equal(after.packs, 2);
	assert_int_equal(after.segments, before.segments);
	assert_int_equal(after.chunks, before.chunks);
	assert_int_equal(after.nodes, before.nodes);
	read_all(rig);
}

/* What was not finished is not there. */
static void test_unfinished(void **state)
{
	struct rig *rig = *state;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_index_counts before, after;
	assert_int_equal(bak_index_counts(rig->fx.index, &before, &err), 0);
	struct bak_repack *repack = begin(rig);
	each_copy(rig, repack);
	bak_repack_free(repack);
	assert_int_equal(bak_index_counts(rig->fx.index, &after, &err), 0);
	assert_int_equal(after.packs, before.packs);
}

/* The one data segment that is large. */
static struct bak_seg_copy large(struct rig *rig)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_seg_copy found = {.raw_len = 0};
	for (size_t i = 0; i < rig->n_packs; i++) {
		struct bak_seg_copy *copies;
		size_t n;
		assert_int_equal(
			bak_index_pack_segments(rig->fx.index, rig->packs[i].id, &copies, &n, &err),
			0);
		for (size_t k = 0; k < n; k++)
			if (copies[k].type == BAK_SEG_DATA && copies[k].raw_len > found.raw_len)
				found = copies[k];
		free(copies);
	}
	assert_true(found.raw_len > 500000);
	return found;
}

static enum bak_keeps keeps(struct rig *rig, const struct bak_seg_id *id, uint32_t off,
			    uint32_t len)
{
	struct bak_error err = BAK_ERROR_INIT;
	enum bak_keeps out;
	assert_int_equal(bak_index_keeps(rig->fx.index, id, off, len, &out, &err), 0);
	return out;
}

static void condemn(struct rig *rig, const uint8_t id[BAK_PACK_ID_BYTES])
{
	struct bak_error err = BAK_ERROR_INIT;
	assert_int_equal(bak_index_condemn_pack(rig->fx.index, id, true, &err), 0);
}

static void test_holed(void **state)
{
	struct rig *rig = *state;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_seg_copy copy = large(rig);
	static const struct bak_seg_range kept[] = {{.off = 100, .len = 200000},
						    {.off = 300000, .len = 1000}};
	struct bak_seg_range *ranges;
	size_t n;
	assert_int_equal(keeps(rig, &copy.id, 0, copy.raw_len), BAK_KEEPS_WHOLE);
	assert_int_equal(keeps(rig, &copy.id, 0, copy.raw_len + 1), BAK_KEEPS_NOT);
	struct bak_repack *repack = begin(rig);
	assert_int_equal(bak_repack_holed(repack, &copy, kept, 2, &err), 0);
	finish(repack);
	assert_int_equal(keeps(rig, &copy.id, 0, copy.raw_len), BAK_KEEPS_WHOLE);
	condemn(rig, copy.pack);
	assert_int_equal(keeps(rig, &copy.id, 0, copy.raw_len), BAK_KEEPS_CONDEMNED);
	assert_int_equal(keeps(rig, &copy.id, 100, 200000), BAK_KEEPS_RANGE);
	assert_int_equal(keeps(rig, &copy.id, 99, 2), BAK_KEEPS_CONDEMNED);
	assert_int_equal(keeps(rig, &copy.id, 300999, 1), BAK_KEEPS_RANGE);
	assert_int_equal(keeps(rig, &copy.id, 300999, 2), BAK_KEEPS_CONDEMNED);
	struct bak_seg_copy copies[4];
	assert_int_equal(bak_index_find_segment(rig->fx.index, &copy.id, copies, 4, &n, &err), 1);
	assert_int_equal(n, 2);
	assert_true(copies[0].holed && !copies[0].condemned);
	assert_int_equal(bak_index_kept(rig->fx.index, &copies[0], &ranges, &n, &err), 0);
	assert_int_equal(n, 2);
	assert_int_equal(ranges[1].off, 300000);
	assert_int_equal(ranges[1].len, 1000);
	free(ranges);

	/* With holes once more: only of what is left. */
	repack = begin(rig);
	assert_int_equal(bak_repack_holed(repack, &copies[0], &kept[1], 1, &err), 0);
	static const struct bak_seg_range gone = {.off = 0, .len = 10};
	assert_int_equal(bak_repack_holed(repack, &copies[0], &gone, 1, &err), -1);
	assert_int_equal(err.code, BAK_CORRUPT);
	finish(repack);

	/* The footers say the same. */
	drop_old(rig);
	assert_int_equal(keeps(rig, &copy.id, 100, 200000), BAK_KEEPS_RANGE);
	assert_int_equal(keeps(rig, &copy.id, 0, 101), BAK_KEEPS_NOT);
}

/* Chunks of a holed segment are listed when all of one is kept. */
static void test_holed_chunks(void **state)
{
	struct rig *rig = *state;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_seg_copy copy = large(rig);
	struct bak_index_counts counts;
	struct bak_footer footer;
	assert_int_equal(bak_pack_read_footer(rig->fx.mem, &rig->fx.ring, copy.pack, &footer, &err),
			 1);
	struct bak_chunk_row chunk = {.off = 0};
	for (size_t i = 0; i < footer.rows.n_chunks && chunk.off == 0; i++)
		if (bak_seg_id_equal(&footer.chunks[i].seg, &copy.id))
			chunk = footer.chunks[i];
	bak_footer_release(&footer);
	assert_true(chunk.off > 0);
	struct bak_seg_range kept = {.off = chunk.off - 1, .len = chunk.len + 2};
	struct bak_repack *repack = begin(rig);
	assert_int_equal(bak_repack_holed(repack, &copy, &kept, 1, &err), 0);
	finish(repack);
	drop_old(rig);
	assert_int_equal(bak_index_counts(rig->fx.index, &counts, &err), 0);
	assert_int_equal(counts.chunks, 1);
	assert_int_equal(bak_index_find_chunk(rig->fx.index, &chunk.hash, &chunk, &err), 1);
}

/* Damage is not copied, and harms nothing. */
static void test_damaged(void **state)
{
	struct rig *rig = *state;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_seg_copy copy = large(rig), cut = copy;
	struct bak_repack *repack = begin(rig);
	cut.off += 1;
	assert_int_equal(bak_repack_whole(repack, &cut, &err), -1);
	assert_int_equal(err.code, BAK_CORRUPT);
	cut.pack[0] ^= 1;
	assert_int_equal(bak_repack_whole(repack, &cut, &err), -1);
	assert_int_equal(err.code, BAK_CORRUPT);
	assert_int_equal(bak_repack_whole(repack, &copy, &err), 0);
	assert_true(finish(repack) > 0);
}

/* Nothing new refers to what lies in condemned packs alone, nor to holes. */
static void test_usable(void **state)
{
	struct rig *rig = *state;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_seg_copy copy = large(rig);
	struct bak_usable *usable;
	static const struct bak_seg_range kept = {.off = 0, .len = 1000};
	assert_int_equal(bak_usable_new(rig->fx.index, rig->fx.source, &usable, &err), 0);
	assert_int_equal(bak_usable_range(usable, &copy.id, 5000, 10, &err), 1);
	assert_int_equal(bak_usable_segments(usable)->n, 1);
	bak_usable_free(usable);

	struct bak_repack *repack = begin(rig);
	assert_int_equal(bak_repack_holed(repack, &copy, &kept, 1, &err), 0);
	finish(repack);
	condemn(rig, copy.pack);
	assert_int_equal(bak_usable_new(rig->fx.index, rig->fx.source, &usable, &err), 0);
	assert_int_equal(bak_usable_range(usable, &copy.id, 5000, 10, &err), 0);
	assert_int_equal(bak_usable_range(usable, &copy.id, 990, 10, &err), 1);
	bak_usable_free(usable);
}

/* A node is taken only with every byte that it refers to. */
static void test_usable_node(void **state)
{
	struct rig *rig = *state;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_usable *usable;
	struct bak_node_row row = {.span_len = 0};
	const struct bak_span *span;
	struct bak_pin *pin;
	for (size_t i = 0; i < rig->n_packs && !row.span_len; i++) {
		struct bak_footer footer;
		assert_int_equal(bak_pack_read_footer(rig->fx.mem, &rig->fx.ring, rig->packs[i].id,
						      &footer, &err),
				 1);
		if (footer.rows.n_nodes)
			row = footer.nodes[0];
		bak_footer_release(&footer);
	}
	assert_true(row.span_len > 0);
	assert_int_equal(bak_usable_new(rig->fx.index, rig->fx.source, &usable, &err), 0);
	assert_int_equal(bak_usable_node(usable, &row, row.span_len, &err), 1);
	assert_int_equal(bak_usable_node(usable, &row, row.span_len + 1, &err), 0);
	bak_usable_free(usable);

	/* All of the first segment that it uses but one byte of what it uses. */
	assert_int_equal(bak_source_span(rig->fx.source, &row.ref, &span, &pin, &err), 0);
	const struct bak_extent *extent = &span->extents[0];
	uint32_t hole = extent->off + (uint32_t)extent->len / 2;
	struct bak_seg_copy copy;
	size_t n;
	assert_int_equal(bak_index_find_segment(rig->fx.index, &extent->seg, &copy, 1, &n, &err),
			 1);
	struct bak_seg_range kept[2] = {{.off = 0, .len = hole},
					{.off = hole + 1, .len = copy.raw_len - hole - 1}};
	bak_pin_put(pin);
	struct bak_repack *repack = begin(rig);
	assert_int_equal(bak_repack_holed(repack, &copy, kept, 2, &err), 0);
	finish(repack);
	assert_int_equal(bak_usable_new(rig->fx.index, rig->fx.source, &usable, &err), 0);
	assert_int_equal(bak_usable_node(usable, &row, row.span_len, &err), 1);
	bak_usable_free(usable);
	condemn(rig, copy.pack);
	assert_int_equal(bak_usable_new(rig->fx.index, rig->fx.source, &usable, &err), 0);
	assert_int_equal(bak_usable_node(usable, &row, row.span_len, &err), 0);
	bak_usable_free(usable);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_whole, setup, teardown),
		cmocka_unit_test_setup_teardown(test_unfinished, setup, teardown),
		cmocka_unit_test_setup_teardown(test_holed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_holed_chunks, setup, teardown),
		cmocka_unit_test_setup_teardown(test_damaged, setup, teardown),
		cmocka_unit_test_setup_teardown(test_usable, setup, teardown),
		cmocka_unit_test_setup_teardown(test_usable_node, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
