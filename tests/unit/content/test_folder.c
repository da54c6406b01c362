/* Look-ups by name, by number and in order agree with one another, over folders of several pages.
 */
#include "tests/lib/fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { N = 9000 };

static void build(struct bak_fixture *fx, struct bak_snapshot *s)
{
	struct bak_error err = BAK_ERROR_INIT;
	char name[64];
	struct bak_writer *w = bak_fixture_writer(fx, NULL);
	struct bak_source_inode dir = bak_test_inode(BAK_TYPE_DIR, 1, 0);
	for (unsigned i = 0; i < N; i++) {
		snprintf(name, sizeof name, "entry-%06u-%s", i, i % 3 ? "x" : "a longer name");
		if (i % 100 != 7) {
			bak_test_file(w, name, 10 + i, name, 10);
			continue;
		}
		assert_int_equal(bak_writer_enter(w, name, &dir, &err), 0);
		for (unsigned k = 0; k < i % 11; k++) {
			char inner[16];
			snprintf(inner, sizeof inner, "in%02u", k);
			bak_test_file(w, inner, 100000 + i * 20 + k, inner, 4);
		}
		assert_int_equal(bak_writer_leave(w, &err), 0);
	}
	bak_fixture_finish(fx, w, s, NULL, NULL);
}

static void test_all_ways_agree(void **state)
{
	(void)state;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_fixture fx;
	struct bak_snapshot s;
	bak_fixture_open(&fx);
	build(&fx, &s);
	struct bak_tree tree = {fx.source, &s};
	struct bak_cursor *cursor;
	const struct bak_found *e;
	struct bak_found found = BAK_FOUND_INIT;
	uint64_t expect = 1, n = 0, dirs = 0, subdirs;
	assert_int_equal(bak_cursor_open(&tree, &s.root.dir, 1, &cursor, &err), 0);
	while (bak_cursor_next(cursor, &e, &err) == 1) {
		assert_int_equal(e->preorder, expect);
		assert_int_equal(bak_folder_lookup(&tree, &s.root.dir, e->entry.name,
						   e->entry.name_len, &found, &err),
				 1);
		assert_int_equal(found.preorder, expect);
		assert_int_equal(bak_folder_at(&tree, &s.root.dir, expect, &found, &err), 1);
		assert_int_equal(found.preorder, expect);
		dirs += e->entry.inode.type == BAK_TYPE_DIR;
		expect += 1 + e->entry.inode.totals.entries;
		n++;
	}
	bak_cursor_close(cursor);
	assert_int_equal(n, N);
	assert_int_equal(expect, 1 + s.root.totals.entries);
	assert_int_equal(bak_folder_subdirs(&tree, &s.root.dir, &subdirs, &err), 0);
	assert_int_equal(subdirs, dirs);
	assert_int_equal(bak_folder_lookup(&tree, &s.root.dir, "entry", 5, &found, &err), 0);
	assert_int_equal(bak_folder_lookup(&tree, &s.root.dir, "zzz", 3, &found, &err), 0);
	assert_int_equal(bak_folder_at(&tree, &s.root.dir, expect, &found, &err), 0);
	bak_found_release(&found);
	bak_fixture_close(&fx);
}

/* A cursor begun at any number goes on with the first entry at or behind it. */
static void test_cursor_from_anywhere(void **state)
{
	(void)state;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_fixture fx;
	struct bak_snapshot s;
	bak_fixture_open(&fx);
	build(&fx, &s);
	struct bak_tree tree = {fx.source, &s};
	for (uint64_t from = 1; from < s.root.totals.entries; from += 37) {
		struct bak_cursor *cursor;
		const struct bak_found *e;
		struct bak_found found = BAK_FOUND_INIT;
		assert_int_equal(bak_folder_at(&tree, &s.root.dir, from, &found, &err), 1);
		uint64_t want = found.preorder == from
					? from
					: found.preorder + 1 + found.entry.inode.totals.entries;
		assert_int_equal(bak_cursor_open(&tree, &s.root.dir, from, &cursor, &err), 0);
		assert_int_equal(bak_cursor_next(cursor, &e, &err), 1);
		assert_int_equal(e->preorder, want);
		bak_cursor_close(cursor);
		bak_found_release(&found);
	}
	bak_fixture_close(&fx);
}

static void test_numbers_to_paths(void **state)
{
	(void)state;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_fixture fx;
	struct bak_snapshot s;
	bak_fixture_open(&fx);
	build(&fx, &s);
	struct bak_tree tree = {fx.source, &s};
	struct bak_found by_path = BAK_FOUND_INIT, by_number = BAK_FOUND_INIT;
	uint64_t parent, dir;
	assert_int_equal(bak_tree_path(&tree, "entry-000107-x", &by_path, &err), 1);
	dir = by_path.preorder;
	assert_int_equal(bak_tree_path(&tree, "entry-000107-x/in03", &by_path, &err), 1);
	assert_int_equal(by_path.preorder, dir + 4);
	assert_int_equal(bak_tree_at(&tree, dir + 4, &by_number, &parent, &err), 1);
	assert_int_equal(parent, dir);
	assert_memory_equal(by_number.entry.name, "in03", 4);
	assert_int_equal(bak_tree_at(&tree, 0, &by_number, &parent, &err), 1);
	assert_int_equal(by_number.entry.inode.type, BAK_TYPE_DIR);
	assert_int_equal(bak_tree_at(&tree, s.root.totals.entries + 1, &by_number, &parent, &err),
			 0);
	bak_found_release(&by_path);
	bak_found_release(&by_number);
	bak_fixture_close(&fx);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_ways_agree),
		cmocka_unit_test(test_cursor_from_anywhere),
		cmocka_unit_test(test_numbers_to_paths),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
