/* Names that change places, folders that go. */
#include "rig.h"

#include "stores/place.h"

#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static int open_dir(struct rig *rig, const char *name)
{
	int fd = open(rig_path(rig, name), O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

static void assert_content(struct rig *rig, const char *want)
{
	assert_string_equal(rig_out(rig,
				    "for f in x/live y/kept; do if [ -d $f ]; then ls $f; elif [ "
				    "-e $f ]; then cat $f; else echo none; fi; done | tr '\\n' "
				    "' '"),
			    want);
}

static void test_toggle(void **state)
{
	struct rig *rig = *state;
	struct bak_error err = BAK_ERROR_INIT;

	rig_sh(rig, "mkdir x y && echo old >x/live && mkdir y/kept && touch y/kept/new");
	int x = open_dir(rig, "x"), y = open_dir(rig, "y");
	for (int i = 0; i < 2; i++) {
		assert_content(rig, "old new ");
		assert_int_equal(bak_place_toggle(x, "live", y, "kept", &err), 0);
		assert_content(rig, "new old ");
		assert_int_equal(bak_place_toggle(x, "live", y, "kept", &err), 0);
	}
	rig_sh(rig, "rm -r y/kept");
	assert_content(rig, "old none ");
	assert_int_equal(bak_place_toggle(x, "live", y, "kept", &err), 0);
	assert_content(rig, "none old ");
	assert_int_equal(bak_place_toggle(x, "live", y, "kept", &err), 0);
	assert_content(rig, "old none ");
	rig_sh(rig, "rm x/live");
	assert_int_equal(bak_place_toggle(x, "live", y, "kept", &err), -1);
	assert_int_equal(err.code, BAK_NOT_FOUND);
	close(x);
	close(y);
}

static void test_exchange_by_renames(void **state)
{
	struct rig *rig = *state;
	struct bak_error err = BAK_ERROR_INIT;

	rig_sh(rig, "mkdir x y && mkdir x/live && touch x/live/old && echo new >y/kept");
	int x = open_dir(rig, "x"), y = open_dir(rig, "y");
	assert_int_equal(bak_place_exchange_by_renames(x, "live", y, "kept", &err), 0);
	assert_content(rig, "new old ");
	/* the second rename fails: the first is undone */
	assert_int_equal(bak_place_exchange_by_renames(x, "live", y, "missing", &err), -1);
	assert_content(rig, "new old ");
	assert_string_equal(rig_out(rig, "ls -A x y | wc -l"), "5");
	close(x);
	close(y);
}

static void test_kept_names(void **state)
{
	struct rig *rig = *state;
	struct bak_error err = BAK_ERROR_INIT;
	char name[NAME_MAX + 1], longest[NAME_MAX + 1];
	int fd = open_dir(rig, ".");

	/* what is there is not taken again, in whatever second */
	for (int i = 0; i < 5; i++) {
		assert_int_equal(bak_place_kept_name(fd, "app", name, &err), 0);
		assert_int_equal(mkdirat(fd, name, 0700), 0);
	}
	assert_string_equal(rig_out(rig, "ls | grep -c '^app[.]before-20'"), "5");
	memset(longest, 'n', NAME_MAX);
	longest[NAME_MAX] = '\0';
	assert_int_equal(bak_place_kept_name(fd, longest, name, &err), 0);
	assert_int_equal(mkdirat(fd, name, 0700), 0);
	close(fd);
}

static void test_remove(void **state)
{
	struct rig *rig = *state;
	struct bak_error err = BAK_ERROR_INIT;
	int fd = open_dir(rig, ".");

	rig_sh(rig,
	       "mkdir -p t/a/b t/a/c t/d && touch t/f t/a/f t/a/b/f && ln -s /etc t/a/link && "
	       "mkdir outside && touch outside/f && ln -s ../outside t/out && cd t/d && n=$(printf "
	       "'x%%.0s' $(seq 200)) && for i in $(seq 60); do mkdir $n && touch $n/f && cd -P "
	       "./$n; done");
	assert_int_equal(bak_place_remove(fd, "t", &err), 0);
	assert_int_equal(bak_place_remove(fd, "t", &err), 0);
	rig_sh(rig, "[ ! -e t ] && [ -e outside/f ]");
	rig_sh(rig, "ln -s outside link");
	assert_int_equal(bak_place_remove(fd, "link", &err), 0);
	rig_sh(rig, "[ ! -L link ] && [ -e outside/f ]");
	close(fd);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_toggle),
		TEST(test_exchange_by_renames),
		TEST(test_kept_names),
		TEST(test_remove),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
