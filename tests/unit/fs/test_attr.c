/* What stat says of an entry, also where the pages that it would take to know cannot be read. */
#include "tests/lib/fixture.h"

#include "fs/fs.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

/* A folder `outer` with two folders in it, one of them with a file. */
static void build(struct bak_fixture *fx, struct bak_snapshot *out)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_writer *w = bak_fixture_writer(fx, NULL);
	struct bak_source_inode dir = bak_test_inode(BAK_TYPE_DIR, 1, 0);
	assert_int_equal(bak_writer_enter(w, "outer", &dir, &err), 0);
	assert_int_equal(bak_writer_enter(w, "empty", &dir, &err), 0);
	assert_int_equal(bak_writer_leave(w, &err), 0);
	assert_int_equal(bak_writer_enter(w, "leaf", &dir, &err), 0);
	bak_test_file(w, "file", 2, "bytes", 5);
	assert_int_equal(bak_writer_leave(w, &err), 0);
	assert_int_equal(bak_writer_leave(w, &err), 0);
	bak_fixture_finish(fx, w, out, NULL, NULL);
}

static nlink_t links(struct bak_fs *fs, const struct bak_tree *tree, const struct bak_found *found)
{
	struct stat st;
	bak_attr_found(fs, tree, bak_ino_entry(BAK_VIEW_LATEST, 1, found->preorder, &found->entry),
		       found, &st);
	assert_true(S_ISDIR(st.st_mode));
	return st.st_nlink;
}

static void test_links_of_folders(void **state)
{
	(void)state;
	struct bak_error err = BAK_ERROR_INIT;
	const struct bak_mount_conf conf = {.uid = -1, .gid = -1, .umask = -1};
	struct bak_fs fs = {.conf = &conf};
	struct bak_fixture fx;
	struct bak_snapshot s;
	bak_fixture_open(&fx);
	build(&fx, &s);
	assert_int_equal(bak_attr_cache_new(&fs.attrs, &err), 0);
	const struct bak_tree tree = {fx.source, &s};
	struct bak_found outer = BAK_FOUND_INIT, leaf = BAK_FOUND_INIT;
	assert_int_equal(bak_folder_lookup(&tree, &s.root.dir, "outer", 5, &outer, &err), 1);
	assert_int_equal(bak_folder_lookup(&tree, &outer.entry.inode.dir, "leaf", 4, &leaf, &err),
			 1);
	assert_int_equal(links(&fs, &tree, &leaf), 2);

	/* Its page cannot be had: "not known", and never "no folders". */
	const struct bak_ref good = outer.entry.inode.dir;
	outer.entry.inode.dir.off += UINT32_C(1) << 30;
	assert_int_equal(links(&fs, &tree, &outer), 1);
	outer.entry.inode.dir = good;
	assert_int_equal(links(&fs, &tree, &outer), 4);

	bak_found_release(&outer);
	bak_found_release(&leaf);
	bak_attr_cache_free(fs.attrs);
	bak_fixture_close(&fx);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_links_of_folders)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
