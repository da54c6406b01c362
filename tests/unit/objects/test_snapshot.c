/* Snapshots: to bytes and back, bound to their number, cut and changed anywhere. */
#include "engine/objects/snapshot.h"

#include "engine/base/bytes.h"
#include "engine/objects/compress.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct bak_master masters[1] = {{.number = 7, .key = {1}}};
static const struct bak_keyring ring = {
	.repo_id = "repository-id-1", .n_masters = 1, .masters = masters};

static void fill(struct bak_snapshot *out, uint64_t links)
{
	static const char manifest[] = "{\"bakfs\": 1}\n";
	*out = (struct bak_snapshot){.number = 12,
				     .store = strdup("shop"),
				     .driver = strdup("postgresql"),
				     .host = strdup("db-1"),
				     .run = strdup("0123456789abcdef"),
				     .type = strdup("pre-restore"),
				     .description = strdup("before \xc3\xa4\n"),
				     .stamp = 1795269732,
				     .run_stamp = -4,
				     .added = 1ull << 40,
				     .n_stores = 2,
				     .links = links,
				     .link_bytes = links * 10,
				     .next_link = 77,
				     .manifest = strdup(manifest),
				     .manifest_len = sizeof manifest - 1};
	out->stores = calloc(2, sizeof *out->stores);
	out->stores[0] = strdup("shop");
	out->stores[1] = strdup("cache");
	out->root = (struct bak_inode){.type = BAK_TYPE_DIR,
				       .mode = 0750,
				       .uid = 1000,
				       .mtime_s = -1,
				       .mtime_ns = 999999999,
				       .totals = {.entries = 3, .files = 2, .bytes = 1ull << 41},
				       .dir = {.seg = {.run = "twelve bytes", .n = 5}, 10, 20}};
	if (links)
		out->link_table = (struct bak_ref){{.run = "other twelve", .n = 6}, 30, 40};
}

static void assert_same(const struct bak_snapshot *a, const struct bak_snapshot *b)
{
	assert_int_equal(a->number, b->number);
	assert_string_equal(a->store, b->store);
	assert_string_equal(a->driver, b->driver);
	assert_string_equal(a->host, b->host);
	assert_string_equal(a->run, b->run);
	assert_string_equal(a->type, b->type);
	assert_string_equal(a->description, b->description);
	assert_int_equal(a->stamp, b->stamp);
	assert_int_equal(a->run_stamp, b->run_stamp);
	assert_int_equal(a->added, b->added);
	assert_int_equal(a->n_stores, b->n_stores);
	for (size_t i = 0; i < a->n_stores; i++)
		assert_string_equal(a->stores[i], b->stores[i]);
	assert_int_equal(a->root.mode, b->root.mode);
	assert_int_equal(a->root.mtime_s, b->root.mtime_s);
	assert_int_equal(a->root.totals.bytes, b->root.totals.bytes);
	assert_true(bak_ref_equal(&a->root.dir, &b->root.dir));
	assert_int_equal(a->links, b->links);
	assert_int_equal(a->link_bytes, b->link_bytes);
	assert_int_equal(a->next_link, b->next_link);
	assert_true(bak_ref_equal(&a->link_table, &b->link_table));
	assert_int_equal(a->manifest_len, b->manifest_len);
	assert_string_equal(a->manifest, b->manifest);
}

static void test_round_trip(void **state)
{
	(void)state;
	for (uint64_t links = 0; links <= 2; links += 2) {
		struct bak_error err = BAK_ERROR_INIT;
		struct bak_buf payload = BAK_BUF_INIT;
		struct bak_snapshot snapshot, back;
		fill(&snapshot, links);
		assert_int_equal(bak_snapshot_encode(&snapshot, &payload, &err), 0);
		assert_int_equal(bak_snapshot_decode(payload.p, payload.len, &back, &err), 0);
		assert_same(&snapshot, &back);
		bak_snapshot_release(&back);
		bak_snapshot_release(&snapshot);
		bak_buf_release(&payload);
	}
}

static int put_snapshot(struct bak_backend *be, const struct bak_snapshot *snapshot,
			const char *sealed_as, const char *name)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_buf payload = BAK_BUF_INIT, sealed = BAK_BUF_INIT;
	assert_int_equal(bak_snapshot_encode(snapshot, &payload, &err), 0);
	assert_int_equal(bak_object_seal(&ring, sealed_as, payload.p, payload.len, &sealed, &err),
			 0);
	int result = bak_backend_put(be, "t", name, sealed.p, sealed.len, &err);
	bak_buf_release(&payload);
	bak_buf_release(&sealed);
	return result;
}

static void test_load(void **state)
{
	(void)state;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_backend *be;
	struct bak_snapshot snapshot, back;
	fill(&snapshot, 0);
	assert_int_equal(bak_backend_mem_new(&be, &err), 0);
	assert_int_equal(bak_snapshot_load(be, &ring, 12, &back, &err), 0);
	assert_int_equal(put_snapshot(be, &snapshot, "snapshots/12", "snapshots/12"), 1);
	assert_int_equal(bak_snapshot_load(be, &ring, 12, &back, &err), 1);
	assert_same(&snapshot, &back);
	bak_snapshot_release(&back);
	/* Under another number: not opened; sealed as another number: not believed. */
	assert_int_equal(put_snapshot(be, &snapshot, "snapshots/12", "snapshots/13"), 1);
	assert_int_equal(bak_snapshot_load(be, &ring, 13, &back, &err), -1);
	assert_int_equal(err.code, BAK_CORRUPT);
	assert_int_equal(put_snapshot(be, &snapshot, "snapshots/14", "snapshots/14"), 1);
	assert_int_equal(bak_snapshot_load(be, &ring, 14, &back, &err), -1);
	assert_non_null(strstr(err.msg, "another one"));
	bak_snapshot_release(&snapshot);
	bak_backend_close(be);
}

/* The unpacked bytes of a good snapshot. */
static void raw_of(struct bak_buf *out)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_buf payload = BAK_BUF_INIT;
	struct bak_snapshot snapshot;
	fill(&snapshot, 2);
	assert_int_equal(bak_snapshot_encode(&snapshot, &payload, &err), 0);
	assert_int_equal(
		bak_zstd_unpack(payload.p + 4, payload.len - 4, bak_load_u32(payload.p), out, &err),
		0);
	bak_snapshot_release(&snapshot);
	bak_buf_release(&payload);
}

static int decode_raw(const uint8_t *p, size_t len)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_buf payload = BAK_BUF_INIT;
	struct bak_snapshot back;
	assert_int_equal(bak_put_u32(&payload, (uint32_t)len), 0);
	assert_int_equal(bak_zstd_pack(p, len, 1, &payload, &err), 0);
	int result = bak_snapshot_decode(payload.p, payload.len, &back, &err);
	if (result == 0)
		bak_snapshot_release(&back);
	bak_buf_release(&payload);
	return result;
}

static void test_cut_and_changed(void **state)
{
	(void)state;
	struct bak_buf raw = BAK_BUF_INIT;
	raw_of(&raw);
	assert_int_equal(decode_raw(raw.p, raw.len), 0);
	for (size_t len = 0; len < raw.len; len++)
		assert_int_equal(decode_raw(raw.p, len), -1);
	/* Whatever a byte becomes: an error or a snapshot, no crash. */
	for (size_t i = 0; i < raw.len; i++) {
		uint8_t was = raw.p[i];
		static const uint8_t values[] = {0, 1, 0x7f, 0x80, 0xff};
		for (size_t k = 0; k < sizeof values; k++) {
			raw.p[i] = values[k];
			decode_raw(raw.p, raw.len);
		}
		raw.p[i] = was;
	}
	bak_buf_release(&raw);
}

static void test_names_that_would_be_paths(void **state)
{
	(void)state;
	struct bak_error err = BAK_ERROR_INIT;
	for (int i = 0; i < 3; i++) {
		struct bak_buf payload = BAK_BUF_INIT;
		struct bak_snapshot snapshot, back;
		fill(&snapshot, 0);
		char **field = i == 0 ? &snapshot.store : i == 1 ? &snapshot.type : &snapshot.run;
		free(*field);
		*field = strdup("../../x");
		assert_int_equal(bak_snapshot_encode(&snapshot, &payload, &err), 0);
		assert_int_equal(bak_snapshot_decode(payload.p, payload.len, &back, &err), -1);
		bak_snapshot_release(&snapshot);
		bak_buf_release(&payload);
	}
}

static void test_lengths_that_lie(void **state)
{
	(void)state;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_snapshot back;
	uint8_t payload[20] = {0};
	bak_store_u32(payload, UINT32_MAX);
	assert_int_equal(bak_snapshot_decode(payload, sizeof payload, &back, &err), -1);
	bak_store_u32(payload, 100);
	assert_int_equal(bak_snapshot_decode(payload, sizeof payload, &back, &err), -1);
	assert_int_equal(bak_snapshot_decode(payload, 3, &back, &err), -1);
}

static void test_records(void **state)
{
	(void)state;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_backend *be;
	struct bak_buf json = BAK_BUF_INIT, sealed = BAK_BUF_INIT;
	assert_int_equal(bak_backend_mem_new(&be, &err), 0);
	assert_int_equal(bak_record_get(be, &ring, "tags/1-1", &json, &err), 0);
	assert_int_equal(bak_record_put(be, &ring, "tags/1-1", "{\"tags\":[]}", &err), 1);
	assert_int_equal(bak_record_put(be, &ring, "tags/1-1", "{}", &err), 0);
	assert_int_equal(bak_record_get(be, &ring, "tags/1-1", &json, &err), 1);
	assert_int_equal(json.len, 11);
	assert_memory_equal(json.p, "{\"tags\":[]}", 11);
	/* A record under another's name opens nothing. */
	assert_int_equal(bak_backend_get(be, "tags/1-1", 0, SIZE_MAX, &sealed, &err), 1);
	assert_int_equal(bak_backend_put(be, "t", "forgotten/1", sealed.p, sealed.len, &err), 1);
	assert_int_equal(bak_record_get(be, &ring, "forgotten/1", &json, &err), -1);
	bak_buf_release(&json);
	bak_buf_release(&sealed);
	bak_backend_close(be);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_load),
		cmocka_unit_test(test_cut_and_changed),
		cmocka_unit_test(test_names_that_would_be_paths),
		cmocka_unit_test(test_lengths_that_lie),
		cmocka_unit_test(test_records),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
