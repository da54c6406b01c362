/* Inode numbers: what goes in comes out, and nothing else has the same. */
#include "fs/ino.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define NUMBER_MAX ((UINT64_C(1) << 26) - 1)
#define PREORDER_MAX ((UINT64_C(1) << 33) - 1)
#define LINK_MAX ((UINT64_C(1) << 35) - 1)

static void test_tree(void **state)
{
	(void)state;
	const uint64_t numbers[] = {1, 2, 77, NUMBER_MAX},
		       preorders[] = {0, 1, 54000, PREORDER_MAX};
	for (int view = 0; view < 4; view++)
		for (int i = 0; i < 4; i++)
			for (int k = 0; k < 4; k++) {
				uint64_t ino = bak_ino_tree((enum bak_view)view, numbers[i],
							    preorders[k]);
				struct bak_ino at = bak_ino_parse(ino);
				assert_int_not_equal(ino, 0);
				assert_int_not_equal(ino, BAK_INO_ROOT);
				assert_int_equal(at.range, BAK_RANGE_TREE);
				assert_int_equal(at.view, view);
				assert_int_equal(at.number, numbers[i]);
				assert_int_equal(at.n, preorders[k]);
				assert_true((int64_t)ino > 0);
			}
}

static void test_link(void **state)
{
	(void)state;
	struct bak_ino at = bak_ino_parse(bak_ino_link(NUMBER_MAX, LINK_MAX));
	assert_int_equal(at.range, BAK_RANGE_LINK);
	assert_int_equal(at.number, NUMBER_MAX);
	assert_int_equal(at.n, LINK_MAX);
	assert_int_not_equal(bak_ino_link(1, 1), bak_ino_tree(BAK_VIEW_SHARED, 1, 1));
}

static void test_what_does_not_fit(void **state)
{
	(void)state;
	assert_int_equal(bak_ino_tree(BAK_VIEW_SHARED, 0, 5), 0);
	assert_int_equal(bak_ino_tree(BAK_VIEW_SHARED, NUMBER_MAX + 1, 5), 0);
	assert_int_equal(bak_ino_tree(BAK_VIEW_SHARED, 1, PREORDER_MAX + 1), 0);
	assert_int_equal(bak_ino_link(0, 1), 0);
	assert_int_equal(bak_ino_link(NUMBER_MAX + 1, 1), 0);
	assert_int_equal(bak_ino_link(1, LINK_MAX + 1), 0);
	assert_int_equal(bak_ino_counted(UINT64_C(1) << 60), 0);
}

/* A folder has a number in each view, its files one in all, hard links the table's. */
static void test_entries(void **state)
{
	(void)state;
	struct bak_entry file = {.inode.type = BAK_TYPE_FILE}, dir = {.inode.type = BAK_TYPE_DIR};
	struct bak_entry linked = {.linked = true, .link = 9, .inode.type = BAK_TYPE_FILE};
	assert_int_equal(bak_ino_entry(BAK_VIEW_LATEST, 3, 4, &file),
			 bak_ino_entry(BAK_VIEW_BY_DATE, 3, 4, &file));
	assert_int_not_equal(bak_ino_entry(BAK_VIEW_LATEST, 3, 4, &dir),
			     bak_ino_entry(BAK_VIEW_BY_DATE, 3, 4, &dir));
	assert_int_equal(bak_ino_entry(BAK_VIEW_LATEST, 3, 4, &linked), bak_ino_link(3, 9));
	assert_int_equal(bak_ino_entry(BAK_VIEW_BY_DATE, 3, 7, &linked), bak_ino_link(3, 9));
}

static void test_hashes(void **state)
{
	(void)state;
	uint64_t a = bak_ino_hash(BAK_RANGE_VIRTUAL, "/latest/app.json", 1);
	assert_int_equal(a, bak_ino_hash(BAK_RANGE_VIRTUAL, "/latest/app.json", 1));
	assert_int_not_equal(a, bak_ino_hash(BAK_RANGE_VIRTUAL, "/latest/app.json", 2));
	assert_int_not_equal(a, bak_ino_hash(BAK_RANGE_VIRTUAL, "/latest/apq.json", 1));
	assert_int_equal(bak_ino_parse(a).range, BAK_RANGE_VIRTUAL);

	struct bak_ino control = bak_ino_parse(bak_ino_hash(BAK_RANGE_CONTROL, "/restore", 0));
	assert_int_equal(control.range, BAK_RANGE_CONTROL);
	assert_false(control.counted);
	struct bak_ino counted = bak_ino_parse(bak_ino_counted(17));
	assert_int_equal(counted.range, BAK_RANGE_CONTROL);
	assert_true(counted.counted);
	assert_int_equal(counted.n, 17);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tree),
		cmocka_unit_test(test_link),
		cmocka_unit_test(test_what_does_not_fit),
		cmocka_unit_test(test_entries),
		cmocka_unit_test(test_hashes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
