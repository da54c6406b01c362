/* A path of open folders: deep, bounded in descriptors, and not fooled by moves. */
#include "engine/base/dirs.h"

#include "engine/base/buf.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define DEPTH (3 * BAK_DIRS_OPEN)

/* The state is the path of a scratch folder. */
static int setup(void **state)
{
	char *top = strdup("/tmp/bakfs-dirs-XXXXXX");

	*state = top;
	return top && mkdtemp(top) ? 0 : -1;
}

static int teardown(void **state)
{
	char command[64];

	snprintf(command, sizeof command, "rm -rf '%s'", (char *)*state);
	free(*state);
	return system(command);
}

static size_t open_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	size_t n = 0;

	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

/* top/d/d/d... */
static void descend(const char *top, struct bak_dirs *dirs, size_t depth)
{
	struct bak_error err = BAK_ERROR_INIT;
	int fd = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	assert_int_equal(bak_dirs_start(dirs, fd, &err), 0);
	for (size_t i = 0; i < depth; i++) {
		assert_true(mkdirat(bak_dirs_fd(dirs), "d", 0700) == 0 || errno == EEXIST);
		assert_int_equal(bak_dirs_push(dirs, "d", 0), 0);
	}
}

static void test_down_and_up(void **state)
{
	struct bak_dirs dirs = BAK_DIRS_INIT;
	struct bak_error err = BAK_ERROR_INIT;
	size_t before = open_descriptors();
	struct stat st, want;

	descend(*state, &dirs, DEPTH);
	assert_true(open_descriptors() <= before + BAK_DIRS_OPEN + 1);
	for (size_t i = 0; i < DEPTH; i++)
		assert_int_equal(bak_dirs_pop(&dirs, &err), 0);
	assert_int_equal(fstat(bak_dirs_fd(&dirs), &st), 0);
	assert_int_equal(stat(*state, &want), 0);
	assert_int_equal(st.st_ino, want.st_ino);
	assert_int_equal(bak_dirs_pop(&dirs, &err), 0);
	bak_dirs_release(&dirs);
	assert_int_equal(open_descriptors(), before);
}

static void test_moved_meanwhile(void **state)
{
	struct bak_dirs dirs = BAK_DIRS_INIT;
	struct bak_error err = BAK_ERROR_INIT;
	char from[64], to[64];
	int rc = 0;

	descend(*state, &dirs, DEPTH);
	snprintf(from, sizeof from, "%s/d/d", (char *)*state);
	snprintf(to, sizeof to, "%s/elsewhere", (char *)*state);
	assert_int_equal(rename(from, to), 0);
	for (size_t i = 0; i < DEPTH && rc == 0; i++)
		rc = bak_dirs_pop(&dirs, &err);
	assert_int_equal(rc, -1);
	assert_non_null(strstr(err.msg, "moved meanwhile"));
	bak_dirs_release(&dirs);
}

static void test_no_symlinks(void **state)
{
	struct bak_dirs dirs = BAK_DIRS_INIT;
	const char *name;

	descend(*state, &dirs, 2);
	int fd = dirs.v[0].fd;
	assert_int_equal(symlinkat("d", fd, "link"), 0);
	assert_int_equal(bak_open_parent(fd, "link/d/x", O_PATH, &name), -1);
	int parent = bak_open_parent(fd, "d/d/x", O_PATH, &name);
	assert_true(parent >= 0);
	assert_string_equal(name, "x");
	close(parent);
	assert_int_equal(bak_open_parent(fd, "d/none/x", O_PATH, &name), -1);
	assert_int_equal(errno, ENOENT);
	bak_dirs_release(&dirs);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_down_and_up, setup, teardown),
		cmocka_unit_test_setup_teardown(test_moved_meanwhile, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_symlinks, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
