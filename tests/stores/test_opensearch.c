/* What the opensearch driver makes of bytes: documents out of answers and files, byte for byte; a
 * repository's checksums, lists and catalogue. */
#include "stores/opensearch/opensearch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static int take(void *ctx, const struct bak_os_document *document, struct bak_error *err)
{
	(void)err;
	return bak_os_document_write(document, ctx);
}

static void assert_text(const struct bak_buf *buf, const char *want)
{
	assert_int_equal(buf->len, strlen(want));
	assert_memory_equal(buf->p, want, buf->len);
}

/* --- answers --- */

static int feed_hits(const char *text, size_t piece, struct bak_buf *out, struct bak_error *err)
{
	struct bak_os_hits hits = {.take = take, .ctx = out};
	size_t len = strlen(text);
	int rc = 0;

	for (size_t at = 0; rc == 0 && at < len; at += piece)
		rc = bak_os_hits_feed(&hits, text + at, len - at < piece ? len - at : piece, err);
	bak_os_hits_release(&hits);
	return rc;
}

static void test_hits_are_byte_for_byte(void **state)
{
	static const char answer[] =
		"{\"took\":1,\"_shards\":{\"hits\":[{\"no\":1}]},\"hits\":{\"total\":2,\"hits\":["
		"{\"_index\":\"i\",\"_id\":\"a\\\"}\",\"_routing\":\"r\",\"_source\":{\"n\":1.10,"
		"\"big\":"
		"123456789012345678901,\"s\":\"]}\\\\\"},\"sort\":[3]},"
		"{\"_source\":{\r\n \"x\": [ {} ]\n},\"_id\":\"b\",\"sort\":[4]}]},\"hits2\":[]}";
	static const char want[] = "{\"index\":{\"_id\":\"a\\\"}\",\"routing\":\"r\"}}\n"
				   "{\"n\":1.10,\"big\":123456789012345678901,\"s\":\"]}\\\\\"}\n"
				   "{\"index\":{\"_id\":\"b\"}}\n{ \"x\": [ {} ]}\n";

	(void)state;
	for (size_t piece = 1; piece < sizeof answer; piece += 7) {
		struct bak_error err = BAK_ERROR_INIT;
		struct bak_buf out = BAK_BUF_INIT;

		assert_int_equal(feed_hits(answer, piece, &out, &err), 0);
		assert_text(&out, want);
		bak_buf_release(&out);
	}
}

static void test_hits_that_are_none(void **state)
{
	static const char *const bad[] = {
		"{\"hits\":{\"hits\":[{\"_source\":{}}]}}",
		"{\"hits\":{\"hits\":[{\"_id\":\"1\"}]}}",
		"{\"hits\":{\"hits\":[{\"_id\":\"1\",\"_source\":[]}]}}",
		"{\"hits\":{\"hits\":[{\"_id\":\"1\",\"_source\":{/* */}}]}}",
		"{\"hits\":{\"hits\":[{\"_id\":\"1\n\",\"_source\":{}}]}}",
		"{\"hits\":{\"hits\":[{\"_id\":7,\"_source\":{}}]}}",
		"}",
	};

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct bak_error err = BAK_ERROR_INIT;
		struct bak_buf out = BAK_BUF_INIT;

		assert_int_equal(feed_hits(bad[i], 5, &out, &err), -1);
		assert_int_equal(out.len, 0);
		bak_buf_release(&out);
	}
}

/* --- files --- */

static int feed_lines(const char *text, struct bak_buf *out, struct bak_error *err)
{
	struct bak_os_lines lines = {.take = take, .ctx = out};
	size_t len = strlen(text);
	int rc = 0;

	for (size_t at = 0; rc == 0 && at < len; at += 3)
		rc = bak_os_lines_feed(&lines, text + at, len - at < 3 ? len - at : 3, err);
	if (rc == 0)
		rc = bak_os_lines_end(&lines, err);
	bak_os_lines_release(&lines);
	return rc;
}

static void test_lines(void **state)
{
	static const struct {
		const char *text, *want; /* NULL: refused */
	} cases[] = {
		{"{\"index\":{\"_id\":\"1\"}}\n{\"a\":1}\n",
		 "{\"index\":{\"_id\":\"1\"}}\n{\"a\":1}\n"},
		{"{ \"create\" : {\"_index\":\"i\", \"_id\" : \"1\", \"_routing\":\"r\"}}\n{}\n",
		 "{\"index\":{\"_id\":\"1\",\"routing\":\"r\"}}\n{}\n"},
		{"", ""},
		{"{\"index\":{\"_id\":\"1\"}}\n{\"a\":1}", NULL},
		{"{\"index\":{\"_id\":\"1\"}}\n", NULL},
		{"{\"index\":{\"_id\":\"1\"}}\n{\"a\":1\n", NULL},
		{"{\"index\":{}}\n{}\n", NULL},
		{"{\"delete\":{\"_id\":\"1\"}}\n{}\n", NULL},
		{"{\"index\":{\"_id\":\"1\"}}\n{}{}\n", NULL},
		{"\n\n", NULL},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct bak_error err = BAK_ERROR_INIT;
		struct bak_buf out = BAK_BUF_INIT;

		assert_int_equal(feed_lines(cases[i].text, &out, &err), cases[i].want ? 0 : -1);
		if (cases[i].want)
			assert_text(&out, cases[i].want);
		bak_buf_release(&out);
	}
}

/* --- repositories --- */

/* "abc", the footer's magic, and zlib's crc32 of both. */
static const uint8_t summed[] = {'a', 'b', 'c', 0xc0, 0x28, 0x93, 0xe8, 0,    0,   0,
				 0,   0,   0,   0,    0,    0x4f, 0x83, 0x49, 0x07};

static bool is_right(const uint8_t *p, size_t len, size_t piece)
{
	struct bak_os_sum sum = {.n = 0};

	for (size_t at = 0; at < len; at += piece)
		bak_os_sum_feed(&sum, p + at, len - at < piece ? len - at : piece);
	return bak_os_sum_end(&sum);
}

static void test_sum(void **state)
{
	uint8_t copy[sizeof summed];

	(void)state;
	for (size_t piece = 1; piece <= sizeof summed; piece++)
		assert_true(is_right(summed, sizeof summed, piece));
	assert_false(is_right(summed, sizeof summed - 1, 4));
	assert_false(is_right(summed, 0, 1));
	for (size_t i = 0; i < sizeof summed; i++) {
		memcpy(copy, summed, sizeof summed);
		copy[i] ^= 4;
		assert_false(is_right(copy, sizeof copy, 5));
	}
}

static void test_blobs(void **state)
{
	static const char list[] = "W__pOokUlmxSLqb-vaLLQf9vw physical Xv__T_dPNvIrQuGhkwhTiGZWrQ "
				   "Xv___YAst60xT8GzIfiQzdZm-AGD_0.si W___sOokUlmxSLqb-vaLLQf9A "
				   "__short W__AAAAAAAAAAAAAAAAAAAAAA";
	char name[32];
	size_t at = 0;

	(void)state;
	assert_int_equal(bak_os_blob_next(list, sizeof list - 1, &at, name, sizeof name), 1);
	assert_string_equal(name, "__pOokUlmxSLqb-vaLLQf9vw");
	assert_int_equal(bak_os_blob_next(list, sizeof list - 1, &at, name, sizeof name), 1);
	assert_string_equal(name, "___sOokUlmxSLqb-vaLLQf9A");
	assert_int_equal(bak_os_blob_next(list, sizeof list - 1, &at, name, sizeof name), 1);
	assert_string_equal(name, "__AAAAAAAAAAAAAAAAAAAAAA");
	assert_int_equal(bak_os_blob_next(list, sizeof list - 1, &at, name, sizeof name), 0);
}

static void test_catalogue(void **state)
{
	static const char text[] =
		"{\"snapshots\":[{\"name\":\"a\",\"uuid\":\"U1\",\"state\":3},"
		"{\"name\":\"b\",\"uuid\":\"U2\",\"state\":1}],\"indices\":{"
		"\"bakfs-20261121t140212z-shop\":{\"id\":\"I\",\"snapshots\":[\"U2\"]},"
		"\"other\":{\"id\":\"J\",\"snapshots\":[\"U1\"]}}}";
	static const char *const bad[] = {
		"{}",
		"{\"snapshots\":[{\"name\":\"a\",\"uuid\":\"../x\"}],\"indices\":{}}",
		"{\"snapshots\":[],\"indices\":{\"i/j\":{\"id\":\"I\",\"snapshots\":[]}}}",
		"{\"snapshots\":[],\"indices\":{\"i\":{\"id\":\"\",\"snapshots\":[]}}}",
	};
	struct bak_os_catalogue catalogue = {.json = NULL};
	struct bak_error err = BAK_ERROR_INIT;

	(void)state;
	assert_int_equal(bak_os_catalogue_parse(text, sizeof text - 1, &catalogue, &err), 0);
	assert_null(bak_os_catalogue_find(&catalogue, -1, "a"));
	const json_t *b = bak_os_catalogue_find(&catalogue, -1, "b");
	assert_non_null(b);
	assert_ptr_equal(b, bak_os_catalogue_find(&catalogue, -1, NULL));
	json_t *indices = bak_os_catalogue_indices(&catalogue, b);
	assert_int_equal(json_array_size(indices), 1);
	assert_string_equal(bak_os_text(json_array_get(indices, 0), "name"), "shop");
	json_decref(indices);
	bak_os_catalogue_release(&catalogue);
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		assert_int_equal(bak_os_catalogue_parse(bad[i], strlen(bad[i]), &catalogue, &err),
				 -1);
}

static void test_own_names(void **state)
{
	(void)state;
	assert_string_equal(bak_os_own_name("bakfs-20261121t140212z-shop"), "shop");
	assert_string_equal(bak_os_own_name("bakfs-before-20261121t140212z-a-b"), "a-b");
	assert_null(bak_os_own_name("bakfs-20261121-shop"));
	assert_null(bak_os_own_name("bakfs-20261121t140212z-"));
	assert_null(bak_os_own_name("shop"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hits_are_byte_for_byte),
		cmocka_unit_test(test_hits_that_are_none),
		cmocka_unit_test(test_lines),
		cmocka_unit_test(test_sum),
		cmocka_unit_test(test_blobs),
		cmocka_unit_test(test_catalogue),
		cmocka_unit_test(test_own_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
