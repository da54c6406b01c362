/* Neo4j's dumps, answers and exports, whole, cut at each place and damaged: without a server. */
#include "rig.h"

#include "stores/neo4j/neo4j.h"

#include <isa-l/igzip_lib.h>
#include <stdlib.h>
#include <zstd.h>

#define TAR_LEN 6144

/* --- a dump --- */

static void put_header(uint8_t *at, const char *name, char type, uint64_t size)
{
	unsigned sum = 0;

	memset(at, 0, 512);
	snprintf((char *)at, 100, "%s", name);
	snprintf((char *)at + 124, 12, "%011llo", (unsigned long long)size);
	at[156] = (uint8_t)type;
	memset(at + 148, ' ', 8);
	for (size_t i = 0; i < 512; i++)
		sum += at[i];
	snprintf((char *)at + 148, 8, "%06o", sum);
}

/* A folder, a file of 1000 bytes, one of 600 whose length stands in an extended header. */
static void make_tar(uint8_t tar[TAR_LEN])
{
	static const char pax[] = "12 size=600\n";

	memset(tar, 0, TAR_LEN);
	put_header(tar, "./", '5', 0);
	put_header(tar + 512, "./neostore", '0', 1000);
	memset(tar + 1024, 'x', 1000);
	put_header(tar + 2048, "./PaxHeaders.X/big", 'x', sizeof pax - 1);
	memcpy(tar + 2560, pax, sizeof pax - 1);
	put_header(tar + 3072, "./big", '0', 0);
	memset(tar + 3584, 'y', 600);
}

struct made {
	uint8_t p[TAR_LEN * 2 + 64];
	size_t len;
};

static void put_big_endian(uint8_t *at, uint64_t n)
{
	for (int i = 7; i >= 0; i--, n >>= 8)
		at[i] = (uint8_t)n;
}

/* magic: 4 for "DZV1" in front, 0 for an older one. */
static void make_zstd(struct made *out, size_t magic, uint64_t files, uint64_t bytes)
{
	uint8_t all[24 + TAR_LEN] = "zstd\0\0\0\1";
	size_t n;

	put_big_endian(all + 8, files);
	put_big_endian(all + 16, bytes);
	make_tar(all + 24);
	memcpy(out->p, "DZV1", 4);
	n = ZSTD_compress(out->p + magic, sizeof out->p - magic, all, sizeof all, 3);
	assert_false(ZSTD_isError(n));
	out->len = magic + n;
}

static void make_gzip(struct made *out)
{
	uint8_t tar[TAR_LEN];
	struct isal_zstream z;

	make_tar(tar);
	memcpy(out->p, "DGV1", 4);
	isal_deflate_stateless_init(&z);
	z.gzip_flag = IGZIP_GZIP;
	z.next_in = tar;
	z.avail_in = sizeof tar;
	z.next_out = out->p + 4;
	z.avail_out = sizeof out->p - 4;
	assert_int_equal(isal_deflate_stateless(&z), COMP_OK);
	out->len = 4 + z.total_out;
}

static int gather(void *ctx, const void *p, size_t len, struct bak_error *err)
{
	(void)err;
	return bak_buf_append(ctx, p, len);
}

static int unpack(const uint8_t *p, size_t len, size_t piece, struct bak_buf *framed,
		  struct bak_neo4j_archive_stats *stats, struct bak_error *err)
{
	struct bak_neo4j_archive *a;
	int rc = bak_neo4j_archive_new(framed ? gather : NULL, framed, &a, err);

	for (size_t at = 0; rc == 0 && at < len; at += piece)
		rc = bak_neo4j_archive_feed(a, p + at, len - at < piece ? len - at : piece, err);
	if (rc == 0)
		rc = bak_neo4j_archive_end(a, stats, err);
	bak_neo4j_archive_free(a);
	return rc;
}

static enum bak_verdict prove(const uint8_t *p, size_t len, size_t piece)
{
	uint64_t state[BAK_PROOF_STATE_LEN / 8] = {0};
	char why[BAK_PROOF_WHY_LEN] = "";

	for (size_t at = 0; at < len; at += piece)
		bak_neo4j_proof.feed(state, p + at, len - at < piece ? len - at : piece);
	return bak_neo4j_proof.verdict(state, len, why);
}

/* What comes out is the same dump, holds its content as it is, and is stable. */
static void assert_framed(const struct made *in, bool gzip)
{
	struct bak_buf out = BAK_BUF_INIT, again = BAK_BUF_INIT;
	struct bak_neo4j_archive_stats stats;
	struct bak_error err = BAK_ERROR_INIT;

	for (size_t piece = 1; piece < 5000; piece = piece * 7 + 1) {
		out.len = 0;
		assert_int_equal(unpack(in->p, in->len, piece, &out, &stats, &err), 0);
		assert_int_equal(stats.files, 2);
		assert_int_equal(stats.bytes, 1600);
		assert_true(stats.gzip == gzip);
		assert_memory_equal(out.p, gzip ? "DGV1" : "DZV1", 4);
		assert_non_null(memmem(out.p, out.len, in->p, 4));
	}
	uint8_t tar[TAR_LEN];
	make_tar(tar);
	assert_non_null(memmem(out.p, out.len, tar, sizeof tar));
	assert_int_equal(unpack(out.p, out.len, out.len, &again, &stats, &err), 0);
	assert_int_equal(out.len, again.len);
	assert_memory_equal(out.p, again.p, out.len);
	if (!gzip)
		assert_int_equal(prove(out.p, out.len, 100), BAK_VERDICT_WHOLE);
	bak_buf_release(&out);
	bak_buf_release(&again);
}

static void test_dumps(void **state)
{
	struct made made;

	(void)state;
	make_zstd(&made, 4, 2, 1600);
	assert_framed(&made, false);
	make_gzip(&made);
	assert_framed(&made, true);
}

static void test_older_dumps(void **state)
{
	struct bak_buf out = BAK_BUF_INIT, want = BAK_BUF_INIT;
	struct bak_neo4j_archive_stats stats;
	struct bak_error err = BAK_ERROR_INIT;
	struct made made;

	(void)state;
	make_zstd(&made, 4, 2, 1600);
	assert_int_equal(unpack(made.p, made.len, 100, &want, &stats, &err), 0);
	make_zstd(&made, 0, 2, 1600);
	assert_int_equal(unpack(made.p, made.len, 100, &out, &stats, &err), 0);
	assert_int_equal(out.len, want.len);
	assert_memory_equal(out.p, want.p, out.len);
	assert_int_equal(prove(made.p, made.len, 3), BAK_VERDICT_WHOLE);
	bak_buf_release(&out);
	bak_buf_release(&want);
}

static void assert_refused(const uint8_t *p, size_t len, const char *why)
{
	struct bak_neo4j_archive_stats stats;
	struct bak_error err = BAK_ERROR_INIT;

	assert_int_equal(unpack(p, len, len ? len : 1, NULL, &stats, &err), -1);
	if (!strstr(err.msg, why))
		fail_msg("\"%s\" does not say \"%s\"", err.msg, why);
}

static void test_cut_dumps(void **state)
{
	struct made made;

	(void)state;
	make_zstd(&made, 4, 2, 1600);
	for (size_t len = 0; len < made.len; len++) {
		assert_refused(made.p, len, len ? "cut off" : "empty");
		assert_int_equal(prove(made.p, len, 7), len ? BAK_VERDICT_CUT : BAK_VERDICT_EMPTY);
	}
	assert_int_equal(prove(made.p, made.len, 7), BAK_VERDICT_WHOLE);
	make_gzip(&made);
	for (size_t len = 1; len < made.len; len++)
		assert_refused(made.p, len, "cut off");
	assert_int_equal(prove(made.p, made.len, 7), BAK_VERDICT_UNPROVABLE);
}

static void test_damaged_dumps(void **state)
{
	struct made made;

	(void)state;
	make_zstd(&made, 4, 3, 1600);
	assert_refused(made.p, made.len, "promises 3 files with 1600 bytes and has 2 with 1600");
	make_zstd(&made, 4, 2, 1601);
	assert_refused(made.p, made.len, "promises 2 files with 1601 bytes and has 2 with 1600");
	make_zstd(&made, 4, 2, 1600);
	made.p[made.len] = 1;
	assert_refused(made.p, made.len + 1, "");
	assert_int_equal(prove(made.p, made.len + 4, 7), BAK_VERDICT_WRONG);
	made.p[0] = 'X';
	assert_refused(made.p, made.len, "not a Neo4j dump");
	assert_int_equal(prove(made.p, made.len, 7), BAK_VERDICT_WRONG);
	make_gzip(&made);
	assert_refused(made.p, made.len + 1, "behind its end");
	made.p[made.len - 6] ^= 1;
	assert_refused(made.p, made.len, "gzip");
}

/* As it is stored, a dump has no checksum: the tar itself must show each wrong header. */
static void test_damaged_tar(void **state)
{
	struct bak_buf out = BAK_BUF_INIT;
	struct bak_neo4j_archive_stats stats;
	struct bak_error err = BAK_ERROR_INIT;
	struct made made;

	(void)state;
	make_zstd(&made, 4, 2, 1600);
	assert_int_equal(unpack(made.p, made.len, made.len, &out, &stats, &err), 0);
	size_t tar = out.len - TAR_LEN;
	static const struct {
		size_t at;
		const char *why;
	} wrong[] = {{0, "header"},         {512 + 130, "header"},
		     {512 + 156, "header"}, {2560, "extended header"},
		     {2568, "size"},        {5000, "header"}};
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		out.p[tar + wrong[i].at] ^= 0x40;
		assert_refused(out.p, out.len, wrong[i].why);
		out.p[tar + wrong[i].at] ^= 0x40;
	}
	bak_buf_release(&out);
}

/* --- answers --- */

static const char answer[] =
	"{\"data\" : {\"fields\":[\"a\",\"data\"],\n \"values\":[[{\"$type\":\"String\","
	"\"_value\":\"]}\\\"\\\\\"}],[{\"$type\":\"Integer\",\"_value\":\"2\"},[]]]},"
	"\"transaction\":{\"id\":\"7x\"},\"bookmarks\":[\"b\"]}";

struct seen {
	unsigned rows;
	char text[300];
};

static int see(void *ctx, const json_t *row, struct bak_error *err)
{
	struct seen *seen = ctx;
	char *text = json_dumps(row, JSON_COMPACT);

	(void)err;
	seen->rows++;
	strncat(seen->text, text, sizeof seen->text - strlen(seen->text) - 1);
	free(text);
	return 0;
}

static int cut(const char *text, size_t len, size_t piece, struct seen *seen, json_t **around,
	       struct bak_error *err)
{
	struct bak_neo4j_rows rows = {.row = see, .ctx = seen};
	int rc = 0;

	*seen = (struct seen){.rows = 0};
	*around = NULL;
	for (size_t at = 0; rc == 0 && at < len; at += piece)
		rc = bak_neo4j_rows_feed(&rows, text + at, len - at < piece ? len - at : piece,
					 err);
	if (rc == 0)
		rc = bak_neo4j_rows_end(&rows, around, err);
	bak_neo4j_rows_release(&rows);
	return rc;
}

static void test_rows(void **state)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct seen seen;
	json_t *around;

	(void)state;
	for (size_t piece = 1; piece < sizeof answer; piece++) {
		assert_int_equal(cut(answer, sizeof answer - 1, piece, &seen, &around, &err), 0);
		assert_int_equal(seen.rows, 2);
		assert_string_equal(seen.text, "[{\"$type\":\"String\",\"_value\":\"]}\\\"\\\\\"}]"
					       "[{\"$type\":\"Integer\",\"_value\":\"2\"},[]]");
		assert_string_equal(json_string_value(json_object_get(
					    json_object_get(around, "transaction"), "id")),
				    "7x");
		assert_int_equal(
			json_array_size(json_object_get(json_object_get(around, "data"), "values")),
			0);
		json_decref(around);
	}
}

static void test_cut_rows(void **state)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct seen seen;
	json_t *around;

	(void)state;
	for (size_t len = 0; len < sizeof answer - 1; len++) {
		err = (struct bak_error)BAK_ERROR_INIT;
		assert_int_equal(cut(answer, len, len + 1, &seen, &around, &err), -1);
		assert_int_equal(err.code, BAK_UNAVAILABLE);
		assert_non_null(strstr(err.msg, "was cut off behind"));
	}
}

static void test_odd_rows(void **state)
{
	static const char *const odd[] = {
		"{\"data\":{\"values\":[1]}}",    "{\"data\":{\"values\":[\"a\"]}}",
		"{\"data\":{\"values\":[{}]}}",   "{\"data\":{\"values\":[[nonsense]]}}",
		"{\"data\":{\"values\":[[1,]]}}", "]",
	};
	struct bak_error err = BAK_ERROR_INIT;
	struct seen seen;
	json_t *around;

	(void)state;
	for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
		assert_int_equal(cut(odd[i], strlen(odd[i]), 5, &seen, &around, &err), -1);
		assert_int_equal(err.code, BAK_CORRUPT);
	}
}

/* --- lines --- */

static int count(void *ctx, json_t *line, size_t len, struct bak_error *err)
{
	struct bak_neo4j_lines *lines = ctx;

	(void)lines;
	(void)line;
	(void)len;
	(void)err;
	return 0;
}

static int feed_line(enum bak_neo4j_part part, const char *text, struct bak_error *err)
{
	struct bak_neo4j_lines lines = {.part = part, .line = count};
	int rc = bak_neo4j_lines_feed(&lines, text, strlen(text), err);

	if (rc == 0)
		rc = bak_neo4j_lines_end(&lines, err);
	bak_neo4j_lines_release(&lines);
	return rc;
}

static void test_lines(void **state)
{
	static const struct {
		enum bak_neo4j_part part;
		bool good;
		const char *text;
	} lines[] = {
		{BAK_NEO4J_NODES, true, ""},
		{BAK_NEO4J_NODES, true, "{\"id\":\"a\",\"labels\":[],\"properties\":{}}\n"},
		{BAK_NEO4J_NODES, false, "{\"id\":\"a\",\"labels\":[],\"properties\":{}}"},
		{BAK_NEO4J_NODES, false, "{\"id\":\"a\",\"labels\":[1],\"properties\":{}}\n"},
		{BAK_NEO4J_NODES, false, "{\"id\":1,\"labels\":[],\"properties\":{}}\n"},
		{BAK_NEO4J_NODES, false, "{\"id\":\"a\",\"labels\":[],\"properties\":{\"p\":1}}\n"},
		{BAK_NEO4J_NODES, false, "\n"},
		{BAK_NEO4J_NODES, false, "[]\n"},
		{BAK_NEO4J_RELATIONSHIPS, true,
		 "{\"id\":\"a\",\"type\":\"T\",\"start\":\"b\",\"end\":\"c\",\"properties\":"
		 "{\"p\":{\"$type\":\"Null\",\"_value\":null}}}\n"},
		{BAK_NEO4J_RELATIONSHIPS, false,
		 "{\"id\":\"a\",\"type\":\"T\",\"start\":\"b\",\"properties\":{}}\n"},
		{BAK_NEO4J_SCHEMA, true,
		 "{\"kind\":\"index\",\"name\":\"i\",\"statement\":\"CREATE\"}\n"},
		{BAK_NEO4J_SCHEMA, false, "{\"kind\":\"index\",\"name\":\"i\"}\n"},
		{BAK_NEO4J_COUNTS, true, "{\"format\":1}\n{\"count\":\"nodes\",\"n\":1}\n"},
		{BAK_NEO4J_COUNTS, false, "{\"count\":\"nodes\",\"n\":\"1\"}\n"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
		struct bak_error err = BAK_ERROR_INIT;

		assert_int_equal(feed_line(lines[i].part, lines[i].text, &err),
				 lines[i].good ? 0 : -1);
		if (!lines[i].good)
			assert_int_equal(err.code, BAK_CORRUPT);
	}
}

static void test_versions(void **state)
{
	(void)state;
	assert_int_equal(bak_neo4j_version("5.26.30"), 5026);
	assert_true(bak_neo4j_version("2025.01.0") > bak_neo4j_version("5.26.30"));
	assert_int_equal(bak_neo4j_version("neo4j 5"), 0);
	assert_int_equal(bak_neo4j_version(""), 0);
	assert_int_equal(bak_neo4j_version("99999999999999999999.1"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_dumps),       cmocka_unit_test(test_older_dumps),
		cmocka_unit_test(test_cut_dumps),   cmocka_unit_test(test_damaged_dumps),
		cmocka_unit_test(test_damaged_tar), cmocka_unit_test(test_rows),
		cmocka_unit_test(test_cut_rows),    cmocka_unit_test(test_odd_rows),
		cmocka_unit_test(test_lines),       cmocka_unit_test(test_versions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
