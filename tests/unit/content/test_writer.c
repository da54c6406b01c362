/* What goes into the writer comes out of the reader: contents, holes, links; twice costs nothing.
 */
#include "tests/lib/fixture.h"

#include "engine/base/hash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static struct bak_tree tree_of(struct bak_fixture *fx, struct bak_snapshot *s)
{
	return (struct bak_tree){fx->source, s};
}

static void expect_file(struct bak_fixture *fx, struct bak_snapshot *s, const char *path,
			const uint8_t *p, size_t len)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_tree tree = tree_of(fx, s);
	struct bak_found found = BAK_FOUND_INIT;
	uint8_t *got = malloc(len + 1), sum[32];
	size_t n = 0;
	assert_non_null(got);
	assert_int_equal(bak_tree_path(&tree, path, &found, &err), 1);
	const struct bak_inode *in = &found.entry.inode;
	assert_int_equal(in->size, len);
	if (bak_read(fx->source, &in->content, in->size, 0, got, len + 1, &n, &err) < 0)
		fail_msg("%s: %s", path, err.msg);
	assert_int_equal(n, len);
	assert_memory_equal(got, p, len);
	struct bak_sha256 sha;
	assert_int_equal(bak_sha256_init(&sha, &err), 0);
	bak_sha256_begin(&sha);
	bak_sha256_update(&sha, p, len);
	bak_sha256_final(&sha, sum);
	bak_sha256_release(&sha);
	if (len)
		assert_memory_equal(sum, in->sha256, 32);
	/* And from odd places. */
	for (size_t off = 1; off < len; off = off * 3 + 1) {
		size_t want = 5000 < len - off ? 5000 : len - off;
		assert_int_equal(
			bak_read(fx->source, &in->content, in->size, off, got, 5000, &n, &err), 0);
		assert_int_equal(n, want);
		assert_memory_equal(got, p + off, want);
	}
	bak_found_release(&found);
	free(got);
}

#define BIG (7u << 20)

static void test_sizes_and_kinds(void **state)
{
	(void)state;
	static const size_t sizes[] = {0,      1,        8191,           8192,    100000, 131072,
				       131073, 1u << 20, (1u << 20) + 1, 3000000, BIG};
	struct bak_fixture fx;
	struct bak_snapshot s;
	uint8_t *text = malloc(BIG), *random = malloc(BIG);
	char name[32];
	assert_true(text && random);
	bak_fill_text(text, BIG, 1);
	bak_fill_random(random, BIG, 2);
	/* Runs of zeros of all lengths around the limit, in the middle of random bytes. */
	for (size_t i = 0; i < 12; i++)
		memset(random + 300000 + i * 500000, 0, 20000 + i * 13000);
	memset(random + BIG - (1u << 20), 0, 900000);
	bak_fixture_open(&fx);
	struct bak_writer *w = bak_fixture_writer(&fx, NULL);
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		snprintf(name, sizeof name, "a%02zu", i);
		bak_test_file(w, name, i, text, sizes[i]);
	}
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		snprintf(name, sizeof name, "b%02zu", i);
		bak_test_file(w, name, 100 + i, random, sizes[i]);
	}
	uint8_t *zeros = calloc(1, BIG);
	bak_test_file(w, "zeros", 999, zeros, BIG);
	bak_fixture_finish(&fx, w, &s, NULL, NULL);
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		snprintf(name, sizeof name, "a%02zu", i);
		expect_file(&fx, &s, name, text, sizes[i]);
		snprintf(name, sizeof name, "b%02zu", i);
		expect_file(&fx, &s, name, random, sizes[i]);
	}
	expect_file(&fx, &s, "zeros", zeros, BIG);
	assert_int_equal(s.root.totals.files, 23);
	free(text);
	free(random);
	free(zeros);
	bak_fixture_close(&fx);
}

/* Contents first and in any order, entries later in theirs; twice costs nothing. */
static void test_loose_files(void **state)
{
	(void)state;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_fixture fx;
	struct bak_snapshot s[2];
	uint64_t new_bytes[2];
	uint8_t data[2][50000];
	bak_fixture_open(&fx);
	struct bak_source_inode file = bak_test_inode(BAK_TYPE_FILE, 5, 0);
	struct bak_source_inode dir = bak_test_inode(BAK_TYPE_DIR, 6, 0);
	for (int run = 0; run < 2; run++) {
		struct bak_writer *w = bak_fixture_writer(&fx, run ? &s[0] : NULL);
		struct bak_inode inodes[2];
		static const char *const paths[] = {"z", "d/a"};
		for (unsigned i = 0; i < 2; i++) {
			bak_fill_random(data[i], sizeof data[i], i);
			assert_int_equal(bak_writer_loose(w, paths[i], &file, BAK_HINT_NONE, &err),
					 0);
			assert_int_equal(bak_writer_data(w, data[i], sizeof data[i], &err), 0);
			assert_int_equal(bak_writer_loose_end(w, &inodes[i], &err), 0);
		}
		assert_int_equal(bak_writer_enter(w, "d", &dir, &err), 0);
		assert_int_equal(bak_writer_place(w, "a", &inodes[1], &err), 0);
		assert_int_equal(bak_writer_leave(w, &err), 0);
		assert_int_equal(bak_writer_place(w, "z", &inodes[0], &err), 0);
		bak_fixture_finish(&fx, w, &s[run], NULL, &new_bytes[run]);
		expect_file(&fx, &s[run], "z", data[0], sizeof data[0]);
		expect_file(&fx, &s[run], "d/a", data[1], sizeof data[1]);
	}
	assert_true(new_bytes[0] >= 100000);
	assert_true(new_bytes[1] < 1000);
	bak_fixture_close(&fx);
}

static void test_holes(void **state)
{
	(void)state;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_fixture fx;
	struct bak_snapshot s;
	uint8_t data[50000];
	const uint64_t tb = (uint64_t)1 << 40;
	bak_fill_random(data, sizeof data, 9);
	bak_fixture_open(&fx);
	struct bak_writer *w = bak_fixture_writer(&fx, NULL);
	struct bak_source_inode in = bak_test_inode(BAK_TYPE_FILE, 5, 0);
	assert_int_equal(bak_writer_file(w, "huge", &in, BAK_HINT_NONE, &err), 0);
	assert_int_equal(bak_writer_hole(w, tb, &err), 0);
	assert_int_equal(bak_writer_data(w, data, sizeof data, &err), 0);
	assert_int_equal(bak_writer_hole(w, 4096, &err), 0);
	assert_int_equal(bak_writer_data(w, data, 100, &err), 0);
	assert_int_equal(bak_writer_file_end(w, NULL, &err), 0);
	assert_int_equal(bak_writer_file(w, "only", &in, BAK_HINT_NONE, &err), 0);
	assert_int_equal(bak_writer_hole(w, 3u << 20, &err), 0);
	assert_int_equal(bak_writer_file_end(w, NULL, &err), 0);
	bak_fixture_finish(&fx, w, &s, NULL, NULL);

	struct bak_tree tree = tree_of(&fx, &s);
	struct bak_found found = BAK_FOUND_INIT;
	uint64_t at = 0;
	assert_int_equal(bak_tree_path(&tree, "huge", &found, &err), 1);
	const struct bak_inode *f = &found.entry.inode;
	assert_int_equal(f->size, tb + 50000 + 4096 + 100);
	assert_true(f->flags & BAK_INODE_NOSUM);
	assert_int_equal(bak_seek_data(fx.source, &f->content, f->size, 0, &at, &err), 1);
	assert_int_equal(at, tb);
	assert_int_equal(bak_seek_hole(fx.source, &f->content, f->size, at, &at, &err), 1);
	assert_int_equal(at, tb + 50000);
	assert_int_equal(bak_seek_data(fx.source, &f->content, f->size, at, &at, &err), 1);
	assert_int_equal(at, tb + 50000 + 4096);
	assert_int_equal(bak_seek_hole(fx.source, &f->content, f->size, at, &at, &err), 1);
	assert_int_equal(at, f->size);
	assert_int_equal(bak_allocated(fx.source, &f->content, f->size, &at, &err), 0);
	assert_int_equal(at, 50100);
	uint8_t got[60000];
	size_t n;
	assert_int_equal(
		bak_read(fx.source, &f->content, f->size, tb - 10, got, sizeof got, &n, &err), 0);
	assert_int_equal(n, 10 + 50000 + 4096 + 100);
	assert_memory_equal(got + 10, data, 50000);
	assert_int_equal(got[0] | got[9] | got[10 + 50000], 0);

	assert_int_equal(bak_tree_path(&tree, "only", &found, &err), 1);
	assert_int_equal(found.entry.inode.content.kind, BAK_CONTENT_EXTENT);
	assert_int_equal(
		bak_seek_data(fx.source, &found.entry.inode.content, 3u << 20, 0, &at, &err), 0);
	bak_found_release(&found);
	bak_fixture_close(&fx);
}

/* The same bytes again, under another name and in another run: found, not stored. */
static void test_known_bytes_cost_nothing(void **state)
{
	(void)state;
	struct bak_fixture fx;
	struct bak_snapshot one, two;
	uint8_t *p = malloc(BIG);
	uint64_t new_one, new_two, added_two;
	assert_non_null(p);
	bak_fill_random(p, BIG, 4);
	bak_fixture_open(&fx);
	struct bak_writer *w = bak_fixture_writer(&fx, NULL);
	bak_test_file(w, "a", 1, p, BIG);
	bak_test_file(w, "b", 2, p, BIG);
	bak_fixture_finish(&fx, w, &one, NULL, &new_one);
	assert_int_equal(new_one, BIG);
	w = bak_fixture_writer(&fx, NULL);
	bak_test_file(w, "c", 3, p + 1000000, BIG - 1000000);
	bak_fixture_finish(&fx, w, &two, &added_two, &new_two);
	/* The first chunk begins elsewhere; the rest finds its boundaries again, how soon is up to
	 * the random gear key. */
	assert_true(new_two < BIG / 3);
	expect_file(&fx, &two, "c", p + 1000000, BIG - 1000000);
	free(p);
	bak_fixture_close(&fx);
}

static void expect_reuse(struct bak_writer *w, const char *name, struct bak_source_inode *in,
			 int want)
{
	struct bak_error err = BAK_ERROR_INIT;
	assert_int_equal(bak_writer_reuse(w, name, in, &err), want);
}

static void test_unchanged_tree_adds_nothing(void **state)
{
	(void)state;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_fixture fx;
	struct bak_snapshot one, two;
	uint64_t added;
	char name[32];
	bak_fixture_open(&fx);
	struct bak_writer *w = bak_fixture_writer(&fx, NULL);
	struct bak_source_inode dir = bak_test_inode(BAK_TYPE_DIR, 1, 0);
	assert_int_equal(bak_writer_enter(w, "d", &dir, &err), 0);
	for (unsigned i = 0; i < 4000; i++) {
		snprintf(name, sizeof name, "f%05u", i);
		bak_test_file(w, name, 10 + i, name, strlen(name));
	}
	assert_int_equal(bak_writer_leave(w, &err), 0);
	bak_fixture_finish(&fx, w, &one, NULL, NULL);

	w = bak_fixture_writer(&fx, &one);
	assert_int_equal(bak_writer_enter(w, "d", &dir, &err), 0);
	for (unsigned i = 0; i < 4000; i++) {
		snprintf(name, sizeof name, "f%05u", i);
		struct bak_source_inode in = bak_test_inode(BAK_TYPE_FILE, 10 + i, strlen(name));
		expect_reuse(w, name, &in, 1);
	}
	/* Asked beforehand, by path, it says the same. */
	struct bak_source_inode asked = bak_test_inode(BAK_TYPE_FILE, 13, strlen("f00003"));
	assert_int_equal(bak_writer_would_reuse(w, "d/f00003", &asked, &err), 1);
	assert_int_equal(bak_writer_would_reuse(w, "d/f00004", &asked, &err), 0);
	assert_int_equal(bak_writer_would_reuse(w, "f00003", &asked, &err), 0);
	asked.inode.mtime_s++;
	assert_int_equal(bak_writer_would_reuse(w, "d/f00003", &asked, &err), 0);
	assert_int_equal(bak_writer_leave(w, &err), 0);
	bak_fixture_finish(&fx, w, &two, &added, NULL);
	assert_int_equal(added, 0);
	assert_true(bak_ref_equal(&one.root.dir, &two.root.dir));

	/* One newer file: one page and what stands above it. */
	w = bak_fixture_writer(&fx, &one);
	assert_int_equal(bak_writer_enter(w, "d", &dir, &err), 0);
	for (unsigned i = 0; i < 4000; i++) {
		snprintf(name, sizeof name, "f%05u", i);
		struct bak_source_inode in = bak_test_inode(BAK_TYPE_FILE, 10 + i, strlen(name));
		in.inode.mtime_ns += i == 2000;
		expect_reuse(w, name, &in, i != 2000);
		if (i == 2000)
			bak_test_file(w, name, 10 + i, "other", 5);
	}
	assert_int_equal(bak_writer_leave(w, &err), 0);
	bak_fixture_finish(&fx, w, &two, &added, NULL);
	assert_true(added > 0 && added < 60000);
	expect_file(&fx, &two, "d/f02000", (const uint8_t *)"other", 5);
	expect_file(&fx, &two, "d/f03999", (const uint8_t *)"f03999", 6);
	bak_fixture_close(&fx);
}

static void test_hard_links(void **state)
{
	(void)state;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_fixture fx;
	struct bak_snapshot one, two;
	uint64_t added, first;
	bak_fixture_open(&fx);
	struct bak_source_inode in = bak_test_inode(BAK_TYPE_FILE, 50, 5);
	in.nlink = 3;
	struct bak_writer *w = bak_fixture_writer(&fx, NULL);
	expect_reuse(w, "a", &in, 0);
	assert_int_equal(bak_writer_file(w, "a", &in, BAK_HINT_NONE, &err), 0);
	assert_int_equal(bak_writer_data(w, "hello", 5, &err), 0);
	assert_int_equal(bak_writer_file_end(w, NULL, &err), 0);
	expect_reuse(w, "b", &in, 1);
	bak_test_file(w, "c", 51, "x", 1);
	expect_reuse(w, "z", &in, 1);
	bak_fixture_finish(&fx, w, &one, NULL, NULL);
	assert_int_equal(one.links, 1);
	assert_int_equal(one.link_bytes, 5);
	assert_int_equal(one.root.totals.bytes, 1);
	assert_int_equal(one.root.totals.files, 4);
	struct bak_tree tree = tree_of(&fx, &one);
	struct bak_found found = BAK_FOUND_INIT;
	assert_int_equal(bak_tree_path(&tree, "z", &found, &err), 1);
	assert_int_equal(found.nlink, 3);
	first = found.entry.link;
	bak_found_release(&found);
	expect_file(&fx, &one, "b", (const uint8_t *)"hello", 5);

	/* Again, and one name is gone: the group keeps its number. */
	w = bak_fixture_writer(&fx, &one);
	expect_reuse(w, "b", &in, 1);
	expect_reuse(w, "z", &in, 1);
	bak_fixture_finish(&fx, w, &two, &added, NULL);
	tree = tree_of(&fx, &two);
	assert_int_equal(bak_tree_path(&tree, "z", &found, &err), 1);
	assert_int_equal(found.nlink, 2);
	assert_int_equal(found.entry.link, first);
	bak_found_release(&found);
	bak_fixture_close(&fx);
}

/* Thousands of extents of 4 to 40 bytes over 60 segments read like any other file. */
static void test_many_extents(void **state)
{
	(void)state;
	enum { SEGS = 60, SEG_LEN = 40000, N = 12000 };
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_fixture fx;
	struct bak_snapshot s;
	uint8_t *raw = malloc((size_t)SEGS * SEG_LEN), *want = malloc(40 * N), sum[32];
	struct bak_extent *extents = calloc(N, sizeof *extents);
	struct bak_seg_id ids[SEGS];
	assert_true(raw && want && extents);
	bak_fill_random(raw, (size_t)SEGS * SEG_LEN, 8);
	bak_fixture_open(&fx);
	struct bak_writer *w = bak_fixture_writer(&fx, NULL);
	for (size_t i = 0; i < SEGS; i++)
		assert_int_equal(
			bak_writer_raw_segment(w, raw + i * SEG_LEN, SEG_LEN, &ids[i], &err), 0);
	size_t len = 0;
	uint64_t x = 3;
	for (size_t i = 0; i < N; i++) {
		x = x * 6364136223846793005u + 1442695040888963407u;
		size_t seg = (x >> 33) % SEGS, off = (x >> 20) % (SEG_LEN - 40),
		       n = 4 + (x >> 50) % 37;
		extents[i] = (struct bak_extent){BAK_EXTENT_BYTES, ids[seg], (uint32_t)off, n};
		memcpy(want + len, raw + seg * SEG_LEN + off, n);
		len += n;
	}
	struct bak_sha256 sha;
	assert_int_equal(bak_sha256_init(&sha, &err), 0);
	bak_sha256_begin(&sha);
	bak_sha256_update(&sha, want, len);
	bak_sha256_final(&sha, sum);
	bak_sha256_release(&sha);
	struct bak_source_inode in = bak_test_inode(BAK_TYPE_FILE, 5, len);
	assert_int_equal(bak_writer_file(w, "patchwork", &in, BAK_HINT_NONE, &err), 0);
	assert_int_equal(bak_writer_extents(w, extents, N, sum, &err), 0);
	assert_int_equal(bak_writer_file_end(w, NULL, &err), 0);
	bak_fixture_finish(&fx, w, &s, NULL, NULL);
	expect_file(&fx, &s, "patchwork", want, len);
	free(raw);
	free(want);
	free(extents);
	bak_fixture_close(&fx);
}

static int write_text(struct bak_writer *w, const uint8_t *p, size_t len,
		      struct bak_writer_result *out, struct bak_error *err)
{
	struct bak_source_inode in = bak_test_inode(BAK_TYPE_FILE, 5, len);
	if (bak_writer_file(w, "text", &in, BAK_HINT_NONE, err) < 0)
		return -1;
	for (size_t at = 0; at < len; at += 100000)
		if (bak_writer_data(w, p + at, len - at < 100000 ? len - at : 100000, err) < 0)
			return -1;
	return bak_writer_file_end(w, NULL, err) < 0 ? -1 : bak_writer_finish(w, out, err);
}

/* Spans are stored by a thread of their own. What fails there is told here, and what only fails to
 * be found is stored anew. */
static void test_a_disk_that_fails(void **state)
{
	enum { LEN = 800000 };
	uint8_t *text = malloc(LEN);
	unsigned failed = 0, served = 0;
	(void)state;
	for (uint64_t n = 1, calls = n; calls >= n; n++) {
		struct bak_error err = BAK_ERROR_INIT;
		struct bak_fixture fx;
		struct bak_snapshot s;
		struct bak_writer_result result;
		bak_fixture_open(&fx);
		fx.chunk.span = 131072;
		bak_fill_text(text, LEN, 1);
		struct bak_writer *w = bak_fixture_writer(&fx, NULL);
		bak_test_file(w, "text", 5, text, LEN);
		bak_fixture_finish(&fx, w, &s, NULL, NULL);
		for (size_t at = 0; at < LEN; at += 30000)
			text[at] ^= 1;
		w = bak_fixture_writer(&fx, &s);
		bak_backend_fault_arm(fx.backend, n, n % 2);
		int rc = write_text(w, text, LEN, &result, &err);
		calls = bak_backend_fault_calls(fx.backend);
		bak_backend_fault_arm(fx.backend, 0, false);
		bak_writer_free(w);
		if (rc < 0) {
			assert_non_null(strstr(err.msg, "injected failure"));
			failed++;
		} else {
			s = bak_fixture_snapshot(&result);
			expect_file(&fx, &s, "text", text, LEN);
			served += calls >= n;
		}
		bak_fixture_close(&fx);
	}
	assert_true(failed && served);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sizes_and_kinds),
		cmocka_unit_test(test_holes),
		cmocka_unit_test(test_loose_files),
		cmocka_unit_test(test_known_bytes_cost_nothing),
		cmocka_unit_test(test_unchanged_tree_adds_nothing),
		cmocka_unit_test(test_hard_links),
		cmocka_unit_test(test_many_extents),
		cmocka_unit_test(test_a_disk_that_fails),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
