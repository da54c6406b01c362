/* Folder pages, pages of first names, links, totals: to bytes and back, and hostile bytes refused.
 */
#include "engine/objects/tree.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static struct bak_seg_id seg(uint8_t run, uint32_t n)
{
	struct bak_seg_id id = {.n = n};
	memset(id.run, run, sizeof id.run);
	return id;
}

static struct bak_entry file_entry(const char *name, uint64_t size)
{
	struct bak_entry e = {.name = name, .name_len = strlen(name)};
	e.inode = (struct bak_inode){.type = BAK_TYPE_FILE,
				     .mode = 0644,
				     .uid = 1000,
				     .gid = 100,
				     .mtime_s = -5,
				     .mtime_ns = 999999999,
				     .ctime_s = 1700000000,
				     .ctime_ns = 1,
				     .ino = 77,
				     .size = size};
	if (size) {
		memset(e.inode.sha256, 0xab, 32);
		e.inode.content = (struct bak_content){
			.kind = BAK_CONTENT_EXTENT,
			.extent = {BAK_EXTENT_BYTES, seg(3, 9), 4096, size}};
	}
	return e;
}

static void test_page_round_trip(void **state)
{
	(void)state;
	struct bak_error err = BAK_ERROR_INIT;
	BAK_AUTO(bak_buf_release) struct bak_buf xattrs = BAK_BUF_INIT, out = BAK_BUF_INIT;
	assert_int_equal(bak_xattrs_add(&xattrs, "security.capability", "\1\0\2", 3), 0);
	assert_int_equal(bak_xattrs_add(&xattrs, "user.note", "hello", 5), 0);
	struct bak_entry v[6] = {
		file_entry("a\n;b", 10),
		{.name = "dev",
		 .name_len = 3,
		 .inode = {.type = BAK_TYPE_CHAR, .major = 1, .minor = 3}},
		{.name = "dir",
		 .name_len = 3,
		 .inode = {.type = BAK_TYPE_DIR,
			   .totals = {7, 3, 1, 900, 333},
			   .dir = {seg(4, 2), 100, 50}}},
		file_entry("empty", 0),
		{.name = "hard",
		 .name_len = 4,
		 .linked = true,
		 .link = 12,
		 .inode = {.type = BAK_TYPE_FILE}},
		{.name = "sym",
		 .name_len = 3,
		 .inode = {.type = BAK_TYPE_SYMLINK, .target = "../x", .target_len = 4}},
	};
	v[0].inode.xattrs = xattrs.p;
	v[0].inode.xattrs_len = xattrs.len;
	assert_int_equal(bak_page_encode(v, 6, &out, &err), 0);

	struct bak_page page;
	assert_int_equal(bak_page_decode(out.p, out.len, &page, &err), 0);
	assert_int_equal(page.n, 6);
	assert_memory_equal(page.entries[0].name, "a\n;b", 4);
	assert_int_equal(page.entries[0].inode.mtime_s, -5);
	assert_int_equal(page.entries[0].inode.mtime_ns, 999999999);
	assert_int_equal(page.entries[0].inode.content.extent.off, 4096);
	assert_true(bak_seg_id_equal(&page.entries[0].inode.content.extent.seg,
				     &v[0].inode.content.extent.seg));
	size_t at = 0, name_len, value_len;
	const char *name;
	const uint8_t *value;
	assert_int_equal(bak_xattrs_next(page.entries[0].inode.xattrs,
					 page.entries[0].inode.xattrs_len, &at, &name, &name_len,
					 &value, &value_len),
			 1);
	assert_int_equal(value_len, 3);
	assert_memory_equal(value, "\1\0\2", 3);
	assert_int_equal(page.entries[1].inode.minor, 3);
	assert_int_equal(page.entries[2].inode.totals.sums_len, 333);
	assert_true(bak_ref_equal(&page.entries[2].inode.dir, &v[2].inode.dir));
	assert_int_equal(page.entries[3].inode.content.kind, BAK_CONTENT_NONE);
	assert_true(page.entries[4].linked);
	assert_int_equal(page.entries[4].link, 12);
	assert_int_equal(page.entries[5].inode.target_len, 4);
	/* The folder in the middle holds seven more numbers. */
	assert_int_equal(page.preorder[3], 2 + 1 + 7);
	assert_int_equal(page.preorder[6], 6 + 7);
	bak_page_release(&page);

	/* Cut anywhere, it is refused. */
	for (size_t len = 0; len < out.len; len++)
		assert_int_equal(bak_page_decode(out.p, len, &page, &err), -1);
}

static void expect_page_refused(struct bak_entry *v, size_t n)
{
	struct bak_error err = BAK_ERROR_INIT;
	BAK_AUTO(bak_buf_release) struct bak_buf out = BAK_BUF_INIT;
	struct bak_page page;
	assert_int_equal(bak_page_encode(v, n, &out, &err), 0);
	assert_int_equal(bak_page_decode(out.p, out.len, &page, &err), -1);
	assert_int_equal(err.code, BAK_CORRUPT);
}

static void test_hostile_names(void **state)
{
	(void)state;
	static const char *const bad[] = {"..", ".", "a/b", ""};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct bak_entry e = file_entry(bad[i], 0);
		expect_page_refused(&e, 1);
	}
	struct bak_entry unsorted[2] = {file_entry("b", 0), file_entry("a", 0)};
	expect_page_refused(unsorted, 2);
	struct bak_entry twice[2] = {file_entry("a", 0), file_entry("a", 0)};
	expect_page_refused(twice, 2);
	struct bak_entry nul = file_entry("a", 0);
	nul.name = "a\0b";
	nul.name_len = 3;
	expect_page_refused(&nul, 1);
}

static void test_names_and_links(void **state)
{
	(void)state;
	struct bak_error err = BAK_ERROR_INIT;
	BAK_AUTO(bak_buf_release) struct bak_buf out = BAK_BUF_INIT, out2 = BAK_BUF_INIT;
	struct bak_name_line lines[2] = {
		{"a", 1, {seg(1, 1), 0, 10}, {5, 5, 0, 50, 400}},
		{"m", 1, {seg(1, 2), 10, 10}, {3, 3, 0, 30, 200}},
	};
	struct bak_names names;
	assert_int_equal(bak_names_encode(lines, 2, &out, &err), 0);
	assert_int_equal(bak_names_decode(out.p, out.len, &names, &err), 0);
	assert_int_equal(names.preorder[1], 5);
	assert_int_equal(names.preorder[2], 8);
	bak_names_release(&names);

	struct bak_link links[2] = {{3, 2, file_entry("", 9).inode},
				    {900, 4, {.type = BAK_TYPE_FIFO}}};
	struct bak_links parsed;
	assert_int_equal(bak_links_encode(links, 2, &out2, &err), 0);
	assert_int_equal(bak_links_decode(out2.p, out2.len, &parsed, &err), 0);
	assert_int_equal(parsed.links[1].number, 900);
	assert_int_equal(parsed.links[1].count, 4);
	assert_int_equal(parsed.links[0].inode.size, 9);
	bak_links_release(&parsed);
}

/* Totals against a plain count of the text that they foretell. */
static void test_totals_escape(void **state)
{
	(void)state;
	struct bak_totals sub = {0}, top = {0};
	struct bak_entry plain = file_entry("x", 5), odd = file_entry("y\n", 6);
	bak_totals_add_entry(&sub, &plain);
	bak_totals_add_entry(&sub, &odd);
	assert_int_equal(sub.sums_len, (66 + 1 + 1) + (1 + 66 + 3 + 1));
	assert_int_equal(sub.escaped, 1);
	struct bak_entry dir = {.name = "d\\",
				.name_len = 2,
				.inode = {.type = BAK_TYPE_DIR, .totals = sub, .dir = {.len = 9}}};
	bak_totals_add_entry(&top, &dir);
	/* "\<64>  d\\/x\n" and "\<64>  d\\/y\n\n" with y's newline as two characters */
	assert_int_equal(top.sums_len, (1 + 66 + 4 + 1 + 1) + (1 + 66 + 4 + 3 + 1));
	assert_int_equal(top.escaped, 2);
	assert_int_equal(top.entries, 3);
	assert_int_equal(top.bytes, 11);
	struct bak_entry huge = file_entry("h", 1);
	huge.inode.flags = BAK_INODE_NOSUM;
	bak_totals_add_entry(&top, &huge);
	assert_int_equal(top.files, 2);
	assert_int_equal(top.entries, 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_page_round_trip),
		cmocka_unit_test(test_hostile_names),
		cmocka_unit_test(test_names_and_links),
		cmocka_unit_test(test_totals_escape),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
