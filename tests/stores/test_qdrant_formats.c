/* What comes from a Qdrant server: snapshot files walked in pieces of any size, pages of points. */
#include "stores/qdrant/page.h"
#include "stores/qdrant/tar.h"

#include "engine/base/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { BLOCK = 512 };

/* --- archives --- */

static void put_header(struct bak_buf *tar, const char *name, char type, uint64_t size, bool more)
{
	uint8_t h[BLOCK] = {0};
	unsigned sum = 0;

	memcpy(h, name, strlen(name));
	snprintf((char *)h + 124, 12, "%011llo", (unsigned long long)size);
	h[156] = (uint8_t)type;
	memcpy(h + 257, "ustar  ", 8);
	h[482] = more;
	memset(h + 148, ' ', 8);
	for (size_t i = 0; i < BLOCK; i++)
		sum += h[i];
	snprintf((char *)h + 148, 8, "%06o", sum);
	assert_int_equal(bak_buf_append(tar, h, BLOCK), 0);
}

static void put_zeros(struct bak_buf *tar, size_t n)
{
	assert_int_equal(bak_buf_resize(tar, tar->len + n), 0);
}

static void put_file(struct bak_buf *tar, const char *name, const char *data)
{
	put_header(tar, name, '0', strlen(data), false);
	assert_int_equal(bak_buf_append(tar, data, strlen(data)), 0);
	put_zeros(tar, (BLOCK - tar->len % BLOCK) % BLOCK);
}

/* Ranges in two further blocks, then data. */
static void put_sparse(struct bak_buf *tar, const char *name, size_t len)
{
	put_header(tar, name, 'S', len, true);
	put_zeros(tar, BLOCK);
	tar->p[tar->len - BLOCK + 504] = 1;
	put_zeros(tar, BLOCK);
	for (size_t i = 0; i < len; i++)
		assert_int_equal(bak_buf_append(tar, "d", 1), 0);
	put_zeros(tar, (BLOCK - tar->len % BLOCK) % BLOCK);
}

static void put_snapshot(struct bak_buf *tar)
{
	put_sparse(tar, "0/wal/open-1", 1300);
	put_file(tar, "0/segments/a.tar", "an archive in it");
	put_file(tar, "version.info", "0.6.0");
	put_file(tar, "config.json", "{}");
	put_zeros(tar, (size_t)2 * BLOCK);
}

struct seen {
	struct bak_buf config;
};

static int take(void *ctx, const char *name, const void *p, size_t len, struct bak_error *err)
{
	struct seen *seen = ctx;

	(void)err;
	if (strcmp(name, "config.json") == 0)
		assert_int_equal(bak_buf_append(&seen->config, p, len), 0);
	return 0;
}

static enum bak_verdict walk(const struct bak_buf *tar, size_t len, size_t piece, struct seen *seen,
			     char why[BAK_PROOF_WHY_LEN])
{
	struct bak_qdrant_tar t = {.fed = 0};
	struct bak_error err = BAK_ERROR_INIT;

	why[0] = '\0';
	for (size_t at = 0; at < len; at += piece)
		assert_int_equal(bak_qdrant_tar_feed(&t, tar->p + at,
						     len - at < piece ? len - at : piece, take,
						     seen, &err),
				 0);
	return bak_qdrant_tar_verdict(&t, why);
}

static enum bak_verdict verdict(const struct bak_buf *tar, size_t len, char why[BAK_PROOF_WHY_LEN])
{
	struct seen seen = {.config = BAK_BUF_INIT};
	enum bak_verdict out = walk(tar, len, 1 << 20, &seen, why);

	bak_buf_release(&seen.config);
	return out;
}

static void test_whole(void **state)
{
	BAK_AUTO(bak_buf_release) struct bak_buf tar = BAK_BUF_INIT;
	char why[BAK_PROOF_WHY_LEN];

	(void)state;
	put_snapshot(&tar);
	for (size_t piece = 1; piece < 1500; piece += 7) {
		struct seen seen = {.config = BAK_BUF_INIT};

		assert_int_equal(walk(&tar, tar.len, piece, &seen, why), BAK_VERDICT_WHOLE);
		assert_int_equal(seen.config.len, 2);
		assert_memory_equal(seen.config.p, "{}", 2);
		bak_buf_release(&seen.config);
	}
	/* Some writers fill up to ten kilobytes. */
	put_zeros(&tar, (size_t)7 * BLOCK);
	assert_int_equal(verdict(&tar, tar.len, why), BAK_VERDICT_WHOLE);
}

static void test_cut_anywhere(void **state)
{
	BAK_AUTO(bak_buf_release) struct bak_buf tar = BAK_BUF_INIT;
	char why[BAK_PROOF_WHY_LEN];

	(void)state;
	put_snapshot(&tar);
	assert_int_equal(verdict(&tar, 0, why), BAK_VERDICT_EMPTY);
	for (size_t len = 1; len < tar.len; len++) {
		enum bak_verdict v = verdict(&tar, len, why);

		if (v != BAK_VERDICT_CUT)
			fail_msg("%zu of %zu bytes: %d", len, tar.len, (int)v);
	}
	assert_non_null(strstr(why, "cut off"));
}

static void test_damaged_headers(void **state)
{
	BAK_AUTO(bak_buf_release) struct bak_buf tar = BAK_BUF_INIT;
	char why[BAK_PROOF_WHY_LEN];

	(void)state;
	put_snapshot(&tar);
	/* The first header, and that of the second file: each byte that its sum is of. */
	for (size_t at = 0; at < 482; at++) {
		size_t off = at % 2 ? at : 4 * BLOCK + 1024 + at;

		if (at % 512 >= 148 && at % 512 < 156)
			continue;
		tar.p[off] ^= 0x55;
		assert_int_not_equal(verdict(&tar, tar.len, why), BAK_VERDICT_WHOLE);
		tar.p[off] ^= 0x55;
	}
	/* Behind the end there is nothing. */
	tar.p[tar.len - 1] = 1;
	assert_int_equal(verdict(&tar, tar.len, why), BAK_VERDICT_WRONG);
}

static void assert_wrong(const struct bak_buf *tar, const char *words)
{
	char why[BAK_PROOF_WHY_LEN];

	assert_int_equal(verdict(tar, tar->len, why), BAK_VERDICT_WRONG);
	if (!strstr(why, words))
		fail_msg("\"%s\" lacks \"%s\"", why, words);
}

static void test_other_things(void **state)
{
	BAK_AUTO(bak_buf_release) struct bak_buf junk = BAK_BUF_INIT;
	BAK_AUTO(bak_buf_release) struct bak_buf storage = BAK_BUF_INIT;
	BAK_AUTO(bak_buf_release) struct bak_buf shard = BAK_BUF_INIT;
	BAK_AUTO(bak_buf_release) struct bak_buf other = BAK_BUF_INIT;

	(void)state;
	for (int i = 0; i < 1000; i++)
		assert_int_equal(bak_buf_append(&junk, "no archive ", 11), 0);
	assert_wrong(&junk, "it is no tar archive");
	put_file(&storage, "books-1-2026-11-21-14-02-12.snapshot", "x");
	put_file(&storage, "config.json", "{}");
	put_zeros(&storage, (size_t)2 * BLOCK);
	assert_wrong(&storage, "a whole server: unpack it");
	put_file(&shard, "segments/a.tar", "x");
	put_file(&shard, "shard_config.json", "{}");
	put_zeros(&shard, (size_t)2 * BLOCK);
	assert_wrong(&shard, "a single shard");
	put_file(&other, "readme", "x");
	put_zeros(&other, (size_t)2 * BLOCK);
	assert_wrong(&other, "no config.json");
}

static void test_proof_is_the_same(void **state)
{
	BAK_AUTO(bak_buf_release) struct bak_buf tar = BAK_BUF_INIT;
	uint64_t room[BAK_PROOF_STATE_LEN / 8] = {0};
	char why[BAK_PROOF_WHY_LEN];

	(void)state;
	put_snapshot(&tar);
	bak_qdrant_proof.feed(room, tar.p, tar.len - 100);
	assert_int_equal(bak_qdrant_proof.verdict(room, tar.len - 100, why), BAK_VERDICT_CUT);
	bak_qdrant_proof.feed(room, tar.p + tar.len - 100, 100);
	assert_int_equal(bak_qdrant_proof.verdict(room, tar.len, why), BAK_VERDICT_WHOLE);
}

/* --- pages --- */

static int join(void *ctx, const char *p, size_t len, struct bak_error *err)
{
	(void)err;
	return bak_buf_append(ctx, p, len) < 0 || bak_buf_append(ctx, "|", 1) < 0 ? -1 : 0;
}

static int read_page(const char *text, struct bak_buf *out, struct bak_qdrant_page *page)
{
	struct bak_error err = BAK_ERROR_INIT;
	int rc = bak_qdrant_page_read(text, strlen(text), join, out, page, &err);

	assert_int_equal(rc < 0 ? BAK_CORRUPT : BAK_OK, err.code);
	return rc;
}

static void assert_page(const char *text, const char *points, const char *next)
{
	BAK_AUTO(bak_buf_release) struct bak_buf out = BAK_BUF_INIT;
	struct bak_qdrant_page page;

	assert_int_equal(read_page(text, &out, &page), 0);
	assert_int_equal(out.len, strlen(points));
	if (out.len)
		assert_memory_equal(out.p, points, out.len);
	assert_int_equal(page.next_len, strlen(next));
	if (page.next_len)
		assert_memory_equal(page.next, next, page.next_len);
}

static void test_pages(void **state)
{
	(void)state;
	assert_page("{\"result\":{\"points\":[],\"next_page_offset\":null},\"status\":\"ok\"}", "",
		    "");
	assert_page(
		"{\"usage\":{\"a\":[1,{}]},\"result\":{\"points\":[{\"id\":1,\"payload\":{\"a\":"
		"\"]},\\\"\"},\"vector\":[0.1,-1e-9]},{\"id\":\"x\"}],\"next_page_offset\":7},"
		"\"time\":0.1}",
		"{\"id\":1,\"payload\":{\"a\":\"]},\\\"\"},\"vector\":[0.1,-1e-9]}|{\"id\":\"x\"}|",
		"7");
	assert_page(
		" { \"result\" : { \"next_page_offset\" : \"a-b\" , \"points\" : [ {} , {} ] } } ",
		"{}|{}|", "\"a-b\"");
}

static void test_no_pages(void **state)
{
	static const char *const bad[] = {
		"",
		"[]",
		"{}",
		"{\"result\":[]}",
		"{\"result\":{}}",
		"{\"result\":{\"points\":{}}}",
		"{\"result\":{\"points\":[1]}}",
		"{\"result\":{\"points\":[{]}}",
		"{\"result\":{\"points\":[{}]}",
		"{\"result\":{\"points\":[{}]}}}",
		"{\"result\":{\"points\":[{}{}]}}",
		"{\"result\":{\"points\":[{\"a\":[}]}]}}",
		"{\"result\":{\"points\":[{\"a\"}]}}",
		"{\"result\":{\"points\":[{\"a\":\"}]}}",
		"{\"result\":{\"points\":[{\n}]}}",
		"{\"result\":{\"points\":[{\"a\":1,}]}}",
	};
	BAK_AUTO(bak_buf_release) struct bak_buf out = BAK_BUF_INIT;
	BAK_AUTO(bak_buf_release) struct bak_buf deep = BAK_BUF_INIT;
	struct bak_qdrant_page page;

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		if (read_page(bad[i], &out, &page) == 0)
			fail_msg("taken for a page: %s", bad[i]);
	}
	assert_int_equal(bak_buf_printf(&deep, "{\"result\":{\"points\":[{\"a\":"), 0);
	for (int i = 0; i < 10000; i++)
		assert_int_equal(bak_buf_append(&deep, "[", 1), 0);
	assert_int_equal(bak_buf_append(&deep, "", 1), 0);
	assert_int_equal(read_page((char *)deep.p, &out, &page), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_whole),
		cmocka_unit_test(test_cut_anywhere),
		cmocka_unit_test(test_damaged_headers),
		cmocka_unit_test(test_other_things),
		cmocka_unit_test(test_proof_is_the_same),
		cmocka_unit_test(test_pages),
		cmocka_unit_test(test_no_pages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
