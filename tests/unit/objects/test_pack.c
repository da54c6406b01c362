/* Packs: written record by record, read by footer, walked without one. */
#include "engine/objects/pack.h"

#include "engine/base/bytes.h"
#include "engine/objects/footer.h"
#include "engine/objects/span.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct bak_master masters[2] = {{.number = 7, .key = {1}}, {.number = 9, .key = {2}}};
static const struct bak_keyring ring = {
	.repo_id = "repository-id-1", .n_masters = 2, .masters = masters};
static const uint8_t run[8] = {0xab, 1, 2, 3, 4, 5, 6, 7};

struct fixture {
	struct bak_backend *be;
	struct bak_pack_rows rows; /* borrowed from pack */
	struct bak_pack *pack;
	char name[BAK_PACK_NAME_LEN];
	uint8_t id[BAK_PACK_ID_BYTES];
};

static struct bak_seg_id seg_id(uint32_t n)
{
	struct bak_seg_id id = {.n = n};
	memcpy(id.run, n < 10 ? "first run...." : "other run....", BAK_RUN_BYTES);
	return id;
}

static void add(struct bak_pack *pack, enum bak_seg_type type, bool holed, uint32_t n,
		const void *raw, size_t len, const struct bak_seg_range *kept, size_t n_kept)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_seg_codec codec = {.cctx = NULL};
	struct bak_buf record = BAK_BUF_INIT;
	struct bak_seg_header header;
	struct bak_seg_id id = seg_id(n);
	assert_int_equal(bak_segment_seal(&ring, &codec, type, holed, &id, raw, len, 3, &record,
					  &header, &err),
			 0);
	assert_int_equal(bak_pack_add(pack, record.p, record.len, &header, 9, kept, n_kept, &err),
			 0);
	bak_seg_codec_release(&codec);
	bak_buf_release(&record);
}

static void add_chunk(struct bak_pack *pack, uint32_t seg, uint32_t off, uint32_t len, uint8_t name)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_chunk_row row = {
		.hash = {.b = {name}}, .seg = seg_id(seg), .off = off, .len = len};
	assert_int_equal(bak_pack_add_chunk(pack, &row, &err), 0);
}

/* A tree segment of one span node of one hole; its reference. */
static struct bak_ref add_tree(struct bak_pack *pack, uint32_t n)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_extent hole = {.kind = BAK_EXTENT_HOLE, .len = 5 << 20};
	uint32_t chunk_len = 0;
	struct bak_span span = {.len = hole.len,
				.hash = {.b = {0x77}},
				.n_extents = 1,
				.chunk_lens = &chunk_len,
				.extents = &hole};
	struct bak_buf payload = BAK_BUF_INIT, raw = BAK_BUF_INIT;
	assert_int_equal(bak_span_encode(&span, &payload, &err), 0);
	for (int i = 0; i < 2; i++) { /* something else in front */
		assert_int_equal(bak_put_u8(&raw, i ? BAK_OBJECT_SPAN : BAK_OBJECT_PAGE), 0);
		assert_int_equal(bak_put_u32(&raw, (uint32_t)payload.len), 0);
		assert_int_equal(bak_buf_append(&raw, payload.p, payload.len), 0);
	}
	struct bak_ref ref = {
		.seg = seg_id(n), .off = (uint32_t)raw.len / 2, .len = (uint32_t)raw.len / 2};
	add(pack, BAK_SEG_TREE, false, n, raw.p, raw.len, NULL, 0);
	struct bak_node_row node = {.hash = span.hash, .ref = ref, .span_len = span.len};
	assert_int_equal(bak_pack_add_node(pack, &node, &err), 0);
	bak_buf_release(&payload);
	bak_buf_release(&raw);
	return ref;
}

/* Three data segments (one holed, one of another run), a tree, chunks added in no order. */
static int setup(void **state)
{
	static uint8_t data[3000];
	static const struct bak_seg_range kept[] = {{.off = 10, .len = 20}, {.off = 40, .len = 5}};
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_buf holed = BAK_BUF_INIT;
	struct fixture *f = calloc(1, sizeof *f);
	if (!f || bak_backend_mem_new(&f->be, &err) < 0 ||
	    bak_pack_new(f->be, &ring, run, 1795269732, &f->pack, &err) < 0)
		return -1;
	*state = f;
	add(f->pack, BAK_SEG_DATA, false, 1, data, sizeof data, NULL, 0);
	bak_put_u32(&holed, 2);
	for (int i = 0; i < 2; i++) {
		bak_put_u32(&holed, kept[i].off);
		bak_put_u32(&holed, kept[i].len);
	}
	bak_buf_append(&holed, data, 25);
	add(f->pack, BAK_SEG_DATA, true, 3, holed.p, holed.len, kept, 2);
	bak_buf_release(&holed);
	add(f->pack, BAK_SEG_DATA, false, 10, data, 100, NULL, 0);
	add_tree(f->pack, 2);
	add_chunk(f->pack, 10, 50, 50, 4);
	add_chunk(f->pack, 1, 2000, 1000, 2);
	add_chunk(f->pack, 3, 10, 20, 3);
	add_chunk(f->pack, 1, 0, 1999, 1);
	if (bak_pack_finish(f->pack, &f->rows, &err) < 0)
		return -1;
	memcpy(f->id, f->rows.pack.id, sizeof f->id);
	bak_pack_name(f->id, f->name);
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	bak_pack_free(f->pack);
	bak_backend_close(f->be);
	free(f);
	return 0;
}

static void assert_same_segs(const struct bak_pack_rows *a, const struct bak_pack_rows *b)
{
	assert_int_equal(a->n_segs, b->n_segs);
	for (size_t i = 0; i < a->n_segs; i++) {
		const struct bak_seg_copy *x = &a->segs[i], *y = &b->segs[i];
		assert_true(bak_seg_id_equal(&x->id, &y->id));
		assert_memory_equal(x->pack, y->pack, BAK_PACK_ID_BYTES);
		assert_int_equal(x->off, y->off);
		assert_int_equal(x->len, y->len);
		assert_int_equal(x->raw_len, y->raw_len);
		assert_int_equal(x->key, y->key);
		assert_int_equal(x->type, y->type);
		assert_int_equal(x->holed, y->holed);
	}
}

static void assert_same_nodes(const struct bak_pack_rows *a, const struct bak_pack_rows *b)
{
	assert_int_equal(a->n_nodes, b->n_nodes);
	for (size_t i = 0; i < a->n_nodes; i++) {
		assert_true(bak_ref_equal(&a->nodes[i].ref, &b->nodes[i].ref));
		assert_int_equal(a->nodes[i].span_len, b->nodes[i].span_len);
		assert_memory_equal(&a->nodes[i].hash, &b->nodes[i].hash, BAK_HASH_BYTES);
	}
}

static void test_names(void **state)
{
	(void)state;
	uint8_t id[BAK_PACK_ID_BYTES], back[BAK_PACK_ID_BYTES];
	char name[BAK_PACK_NAME_LEN];
	for (size_t i = 0; i < sizeof id; i++)
		id[i] = (uint8_t)(0x3f + i);
	bak_pack_name(id, name);
	assert_string_equal(name, "packs/3f/3f404142434445464748494a4b4c4d4e");
	assert_true(bak_pack_id_of_name(name, back));
	assert_memory_equal(id, back, sizeof id);
	assert_false(bak_pack_id_of_name("packs/3e/3f404142434445464748494a4b4c4d4e", back));
	assert_false(bak_pack_id_of_name("packs/3f/3f404142434445464748494a4b4c4d4", back));
	assert_false(bak_pack_id_of_name("packs/3f/3f404142434445464748494a4b4c4d4e0", back));
	assert_false(bak_pack_id_of_name("packs/3f/3F404142434445464748494a4b4c4d4e", back));
	assert_false(bak_pack_id_of_name("packs/3f", back));
	assert_false(bak_pack_id_of_name("packs/", back));
	assert_false(bak_pack_id_of_name("", back));
}

static void test_padme(void **state)
{
	(void)state;
	assert_int_equal(bak_padme(0), 0);
	assert_int_equal(bak_padme(1), 1);
	assert_int_equal(bak_padme(9), 10);
	assert_int_equal(bak_padme(1000), 1024);
	assert_int_equal(bak_padme(1025), 1088);
	assert_int_equal(bak_padme(1 << 20), 1 << 20);
	for (uint64_t len = 2; len < 1 << 22; len = len * 9 / 8 + 1) {
		assert_true(bak_padme(len) >= len);
		assert_true(bak_padme(len) - len <= len * 12 / 100 + 1);
		assert_int_equal(bak_padme(bak_padme(len)), bak_padme(len));
	}
}

static void test_footer_says_it_all(void **state)
{
	struct fixture *f = *state;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_footer footer;
	uint64_t size = 0;
	assert_int_equal(bak_backend_size(f->be, f->name, &size, &err), 1);
	assert_int_equal(size, bak_padme(size));
	assert_int_equal(f->rows.pack.size, size);
	assert_int_equal(bak_pack_read_footer(f->be, &ring, f->id, &footer, &err), 1);
	assert_int_equal(footer.rows.pack.size, size);
	assert_int_equal(footer.run_start, 1795269732);
	assert_memory_equal(footer.rows.pack.run, run, 8);
	assert_false(footer.rows.pack.walked);
	assert_same_segs(&footer.rows, &f->rows);
	assert_same_nodes(&footer.rows, &f->rows);
	assert_int_equal(footer.rows.n_nodes, 1);
	/* Chunks come sorted by place. */
	static const struct {
		uint32_t seg, off, len;
	} want[] = {{1, 0, 1999}, {1, 2000, 1000}, {3, 10, 20}, {10, 50, 50}};
	assert_int_equal(footer.rows.n_chunks, 4);
	for (uint8_t i = 0; i < 4; i++) {
		const struct bak_chunk_row *row = &footer.chunks[i];
		struct bak_seg_id id = seg_id(want[i].seg);
		assert_true(bak_seg_id_equal(&row->seg, &id));
		assert_int_equal(row->off, want[i].off);
		assert_int_equal(row->len, want[i].len);
		assert_int_equal(row->hash.b[0], i + 1);
	}
	bak_footer_release(&footer);
}

/* Replaces the object by its first len bytes, the byte at flip changed. */
static void damage(struct fixture *f, size_t len, size_t flip)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_buf all = BAK_BUF_INIT;
	assert_int_equal(bak_backend_get(f->be, f->name, 0, SIZE_MAX, &all, &err), 1);
	if (flip < all.len)
		all.p[flip] ^= 0x10;
	assert_int_equal(bak_backend_remove(f->be, f->name, &err), 1);
	assert_int_equal(
		bak_backend_put(f->be, "t", f->name, all.p, len < all.len ? len : all.len, &err),
		1);
	bak_buf_release(&all);
}

static void test_walk_without_footer(void **state)
{
	struct fixture *f = *state;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_footer footer;
	uint64_t lost = 0, records = bak_pack_len(f->pack);
	damage(f, SIZE_MAX, (size_t)f->rows.pack.size - 3);
	assert_int_equal(bak_pack_read_footer(f->be, &ring, f->id, &footer, &err), -1);
	assert_int_equal(err.code, BAK_CORRUPT);
	assert_int_equal(bak_pack_walk(f->be, &ring, f->id, &footer, &lost, &err), 1);
	assert_int_equal(lost, f->rows.pack.size - records);
	assert_true(footer.rows.pack.walked);
	assert_int_equal(footer.rows.n_chunks, 0);
	assert_same_segs(&footer.rows, &f->rows);
	assert_same_nodes(&footer.rows, &f->rows);
	bak_footer_release(&footer);
}

static void test_walk_over_gaps(void **state)
{
	struct fixture *f = *state;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_footer footer;
	uint64_t lost = 0;
	damage(f, SIZE_MAX, (size_t)f->rows.segs[2].off + 30);
	assert_int_equal(bak_pack_walk(f->be, &ring, f->id, &footer, &lost, &err), 1);
	assert_int_equal(footer.rows.n_segs, 3);
	assert_int_equal(lost, f->rows.pack.size - bak_pack_len(f->pack) + f->rows.segs[2].len);
	assert_int_equal(footer.segs[2].off, f->rows.segs[3].off);
	assert_same_nodes(&footer.rows, &f->rows);
	bak_footer_release(&footer);
	/* The first header, and the footer's too. */
	damage(f, SIZE_MAX, 10);
	damage(f, SIZE_MAX, (size_t)bak_pack_len(f->pack) + 3);
	assert_int_equal(bak_pack_walk(f->be, &ring, f->id, &footer, &lost, &err), 1);
	assert_int_equal(footer.rows.n_segs, 2);
	bak_footer_release(&footer);
	damage(f, SIZE_MAX, 10);
	/* Cut off in the middle of a body. */
	damage(f, (size_t)f->rows.segs[1].off + f->rows.segs[1].len - 1, SIZE_MAX);
	assert_int_equal(bak_pack_walk(f->be, &ring, f->id, &footer, &lost, &err), 1);
	assert_int_equal(footer.rows.n_segs, 1);
	bak_footer_release(&footer);
}

/* A flipped byte anywhere behind the records is seen. */
static void test_every_flip_of_the_end(void **state)
{
	struct fixture *f = *state;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_footer footer;
	for (size_t at = (size_t)bak_pack_len(f->pack); at < f->rows.pack.size; at++) {
		damage(f, SIZE_MAX, at);
		assert_int_equal(bak_pack_read_footer(f->be, &ring, f->id, &footer, &err), -1);
		assert_int_equal(err.code, BAK_CORRUPT);
		damage(f, SIZE_MAX, at);
	}
	assert_int_equal(bak_pack_read_footer(f->be, &ring, f->id, &footer, &err), 1);
	bak_footer_release(&footer);
}

static void test_cut_anywhere(void **state)
{
	struct fixture *f = *state;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_footer footer;
	for (size_t len = (size_t)f->rows.pack.size; len-- > 0;) {
		damage(f, len, SIZE_MAX);
		assert_int_equal(bak_pack_read_footer(f->be, &ring, f->id, &footer, &err), -1);
		assert_int_equal(err.code, BAK_CORRUPT);
	}
}

static void test_gone(void **state)
{
	struct fixture *f = *state;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_footer footer;
	uint64_t lost;
	assert_int_equal(bak_backend_remove(f->be, f->name, &err), 1);
	assert_int_equal(bak_pack_read_footer(f->be, &ring, f->id, &footer, &err), 0);
	assert_int_equal(bak_pack_walk(f->be, &ring, f->id, &footer, &lost, &err), 0);
}

/* A footer passes for no other pack's. */
static void test_bound_to_its_name(void **state)
{
	struct fixture *f = *state;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_buf all = BAK_BUF_INIT;
	struct bak_footer footer;
	uint8_t other[BAK_PACK_ID_BYTES] = {1};
	char name[BAK_PACK_NAME_LEN];
	bak_pack_name(other, name);
	assert_int_equal(bak_backend_get(f->be, f->name, 0, SIZE_MAX, &all, &err), 1);
	assert_int_equal(bak_backend_put(f->be, "t", name, all.p, all.len, &err), 1);
	assert_int_equal(bak_pack_read_footer(f->be, &ring, other, &footer, &err), -1);
	assert_non_null(strstr(err.msg, "not the segment asked for"));
	bak_buf_release(&all);
}

/* A large footer needs a second read. */
static void test_many_chunks(void **state)
{
	(void)state;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_backend *be;
	struct bak_pack *pack;
	struct bak_pack_rows rows;
	struct bak_footer footer;
	static uint8_t data[1 << 20];
	const uint32_t n = 20000;
	assert_int_equal(bak_backend_mem_new(&be, &err), 0);
	assert_int_equal(bak_pack_new(be, &ring, run, 1, &pack, &err), 0);
	add(pack, BAK_SEG_DATA, false, 1, data, sizeof data, NULL, 0);
	for (uint32_t i = 0; i < n; i++) {
		struct bak_chunk_row row = {.seg = seg_id(1), .off = i * 50, .len = 50};
		for (size_t k = 0; k < BAK_HASH_BYTES; k++)
			row.hash.b[k] = (uint8_t)((i * 2654435761u) >> k);
		assert_int_equal(bak_pack_add_chunk(pack, &row, &err), 0);
	}
	assert_int_equal(bak_pack_finish(pack, &rows, &err), 0);
	assert_true(rows.pack.size - bak_pack_len(pack) > 64 << 10);
	assert_int_equal(bak_pack_read_footer(be, &ring, rows.pack.id, &footer, &err), 1);
	assert_int_equal(footer.rows.n_chunks, n);
	assert_memory_equal(footer.chunks, rows.chunks, n * sizeof *rows.chunks);
	bak_footer_release(&footer);
	bak_pack_free(pack);
	bak_backend_close(be);
}

static void test_abandoned(void **state)
{
	(void)state;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_backend *be;
	struct bak_pack *pack;
	struct bak_chunk_row foreign = {.seg = seg_id(5), .len = 1};
	struct bak_pack_rows rows;
	assert_int_equal(bak_backend_mem_new(&be, &err), 0);
	assert_int_equal(bak_pack_new(be, &ring, run, 1, &pack, &err), 0);
	bak_pack_free(pack);
	bak_pack_free(NULL);
	/* A chunk of a segment that is not in the pack is our own mistake, and is caught. */
	assert_int_equal(bak_pack_new(be, &ring, run, 1, &pack, &err), 0);
	assert_int_equal(bak_pack_add_chunk(pack, &foreign, &err), 0);
	assert_int_equal(bak_pack_finish(pack, &rows, &err), -1);
	assert_int_equal(err.code, BAK_BUG);
	bak_pack_free(pack);
	bak_backend_close(be);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_padme),
		cmocka_unit_test_setup_teardown(test_footer_says_it_all, setup, teardown),
		cmocka_unit_test_setup_teardown(test_walk_without_footer, setup, teardown),
		cmocka_unit_test_setup_teardown(test_walk_over_gaps, setup, teardown),
		cmocka_unit_test_setup_teardown(test_every_flip_of_the_end, setup, teardown),
		cmocka_unit_test_setup_teardown(test_cut_anywhere, setup, teardown),
		cmocka_unit_test_setup_teardown(test_gone, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bound_to_its_name, setup, teardown),
		cmocka_unit_test(test_many_chunks),
		cmocka_unit_test(test_abandoned),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
