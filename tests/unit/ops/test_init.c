/* Making a repository in a folder: what may be there before, what may not, what is said. */
#include "engine/ops/repo.h"

#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
	char dir[64], path[128], cache[128];
	struct bak_secret secret;
	struct bak_repo_conf conf;
};

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path);
}

static int setup(void **state)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct fixture *f = calloc(1, sizeof *f);
	if (!f)
		return -1;
	*state = f;
	snprintf(f->dir, sizeof f->dir, "/tmp/bakfs-init-XXXXXX");
	if (!mkdtemp(f->dir))
		return -1;
	snprintf(f->path, sizeof f->path, "%s/repo", f->dir);
	snprintf(f->cache, sizeof f->cache, "%s/cache", f->dir);
	f->conf = (struct bak_repo_conf){.path = f->path,
					 .cache_dir = f->cache,
					 .state_dir = f->cache,
					 .host = "here",
					 .scrypt_log_n = 10};
	return bak_secret_password(&f->secret, "horse", 5, &err);
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	bak_secret_release(&f->secret);
	nftw(f->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	free(f);
	return 0;
}

static int init(const struct fixture *f, struct bak_error *err)
{
	*err = (struct bak_error)BAK_ERROR_INIT;
	return bak_repo_init(&f->conf, &f->secret, "test", err);
}

static void make(const struct fixture *f, const char *name, const char *content)
{
	char path[256];
	snprintf(path, sizeof path, "%s/%s", f->path, name);
	if (!content) {
		assert_int_equal(mkdir(path, 0700), 0);
		return;
	}
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, content, strlen(content)), strlen(content));
	close(fd);
}

static void assert_opens(const struct fixture *f)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_repo *repo;
	char path[256];
	struct stat st;
	assert_int_equal(bak_repo_open(&f->conf, &f->secret, &repo, &err), 0);
	bak_repo_close(repo);
	snprintf(path, sizeof path, "%s/packs/ff", f->path);
	assert_int_equal(stat(path, &st), 0);
	assert_true(S_ISDIR(st.st_mode));
}

static void test_new_folder(void **state)
{
	struct fixture *f = *state;
	struct bak_error err;
	assert_int_equal(bak_repo_probe(f->path, &err), 0);
	assert_int_equal(init(f, &err), 0);
	assert_int_equal(bak_repo_probe(f->path, &err), 1);
	assert_opens(f);
	assert_int_equal(init(f, &err), -1);
	assert_int_equal(err.code, BAK_EXISTS);
	assert_opens(f);
}

static void test_empty_disk(void **state)
{
	struct fixture *f = *state;
	struct bak_error err;
	assert_int_equal(mkdir(f->path, 0755), 0);
	make(f, "lost+found", NULL);
	assert_int_equal(init(f, &err), 0);
	assert_opens(f);
}

/* An init that was killed while it made its folders, or wrote its first key. */
static void test_after_a_killed_init(void **state)
{
	struct fixture *f = *state;
	struct bak_error err;
	assert_int_equal(mkdir(f->path, 0755), 0);
	make(f, "keys", NULL);
	make(f, "packs", NULL);
	make(f, "packs/00", NULL);
	make(f, "tmp", NULL);
	make(f, "tmp/key-0011223344556677", "half a ke");
	assert_int_equal(init(f, &err), 0);
	assert_opens(f);
}

static void test_half_made(void **state)
{
	struct fixture *f = *state;
	struct bak_error err;
	struct bak_repo *repo;
	char path[256];
	assert_int_equal(init(f, &err), 0);
	snprintf(path, sizeof path, "%s/bakfs.json", f->path);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(init(f, &err), -1);
	assert_int_equal(err.code, BAK_EXISTS);
	assert_non_null(strstr(err.msg, "half-made"));
	assert_int_equal(bak_repo_open(&f->conf, &f->secret, &repo, &err), -1);
	assert_int_equal(err.code, BAK_CORRUPT);
	assert_int_equal(bak_repo_probe(f->path, &err), -1);
}

static void test_something_else(void **state)
{
	struct fixture *f = *state;
	struct bak_error err;
	static const char *const names[] = {"notes.txt", ".git", "packs"};
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		char path[256];
		assert_int_equal(mkdir(f->path, 0755), 0);
		make(f, names[i], i == 2 ? NULL : "x");
		if (i == 2)
			make(f, "packs/of-wolves.txt", "x");
		assert_int_equal(init(f, &err), -1);
		assert_int_equal(err.code, BAK_REFUSED);
		assert_non_null(strstr(err.msg, f->path));
		snprintf(path, sizeof path, "%s/keys", f->path);
		assert_int_equal(access(path, F_OK), -1);
		nftw(f->path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	}
}

static void test_changed_json(void **state)
{
	struct fixture *f = *state;
	struct bak_error err;
	struct bak_repo *repo;
	char path[256], text[1024];
	assert_int_equal(init(f, &err), 0);
	snprintf(path, sizeof path, "%s/bakfs.json", f->path);
	int fd = open(path, O_RDONLY);
	ssize_t n = read(fd, text, sizeof text - 1);
	assert_true(n > 0);
	close(fd);
	text[n] = '\0';
	char *avg = strstr(text, "32768");
	assert_non_null(avg);
	avg[4] = '7';
	make(f, "bakfs.json", text);
	assert_int_equal(bak_repo_open(&f->conf, &f->secret, &repo, &err), -1);
	assert_int_equal(err.code, BAK_CORRUPT);
	assert_non_null(strstr(err.msg, "MAC"));

	char *version = strstr(text, "\"version\":1");
	assert_non_null(version);
	version[10] = '2';
	make(f, "bakfs.json", text);
	assert_int_equal(bak_repo_open(&f->conf, &f->secret, &repo, &err), -1);
	assert_int_equal(err.code, BAK_UNSUPPORTED);
	assert_int_equal(init(f, &err), -1);
	make(f, "bakfs.json", "{}");
	assert_int_equal(bak_repo_open(&f->conf, &f->secret, &repo, &err), -1);
	assert_int_equal(err.code, BAK_CORRUPT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_new_folder, setup, teardown),
		cmocka_unit_test_setup_teardown(test_empty_disk, setup, teardown),
		cmocka_unit_test_setup_teardown(test_after_a_killed_init, setup, teardown),
		cmocka_unit_test_setup_teardown(test_half_made, setup, teardown),
		cmocka_unit_test_setup_teardown(test_something_else, setup, teardown),
		cmocka_unit_test_setup_teardown(test_changed_json, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
