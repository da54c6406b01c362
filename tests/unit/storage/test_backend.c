/* One contract suite for every backend, then what is peculiar to the directory and the fault
 * wrapper. */
#include "engine/storage/backend.h"

#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
	struct bak_backend *be, *inner;
	char path[64];
};

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path);
}

static int setup_dir(void **state)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct fixture *f = calloc(1, sizeof *f);
	if (!f)
		return -1;
	snprintf(f->path, sizeof f->path, "/tmp/bakfs-backend-XXXXXX");
	if (!mkdtemp(f->path) || rmdir(f->path) < 0)
		return -1;
	*state = f;
	return bak_backend_dir_open(f->path, true, &f->be, &err);
}

static int setup_mem(void **state)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct fixture *f = calloc(1, sizeof *f);
	*state = f;
	return f ? bak_backend_mem_new(&f->be, &err) : -1;
}

static int setup_fault(void **state)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct fixture *f = calloc(1, sizeof *f);
	*state = f;
	if (!f || bak_backend_mem_new(&f->inner, &err) < 0)
		return -1;
	return bak_backend_fault_new(f->inner, &f->be, &err);
}

static int setup_patient(void **state)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct fixture *f = calloc(1, sizeof *f);
	struct bak_backend *inner;
	*state = f;
	if (!f || bak_backend_mem_new(&inner, &err) < 0)
		return -1;
	return bak_backend_patient_new(inner, 60000, &f->be, &err);
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	bak_backend_close(f->be);
	bak_backend_close(f->inner);
	if (f->path[0])
		nftw(f->path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	free(f);
	return 0;
}

static void put(struct bak_backend *be, const char *name, const char *text)
{
	struct bak_error err = BAK_ERROR_INIT;
	assert_int_equal(bak_backend_put(be, "t", name, text, strlen(text), &err), 1);
}

static void assert_content(struct bak_backend *be, const char *name, const char *text)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_buf buf = BAK_BUF_INIT;
	assert_int_equal(bak_backend_get(be, name, 0, SIZE_MAX, &buf, &err), 1);
	assert_int_equal(buf.len, strlen(text));
	assert_memory_equal(buf.p, text, buf.len);
	bak_buf_release(&buf);
}

struct seen {
	size_t n, stop_at;
	uint64_t bytes;
	char names[256];
};

static int see(void *ctx, const char *name, uint64_t size)
{
	struct seen *seen = ctx;
	seen->n++;
	seen->bytes += size;
	snprintf(seen->names, sizeof seen->names, "%s", name);
	return seen->stop_at && seen->n == seen->stop_at ? 42 : 0;
}

static size_t count_below(struct bak_backend *be, const char *prefix)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct seen seen = {0};
	assert_int_equal(bak_backend_list(be, prefix, see, &seen, &err), 0);
	return seen.n;
}

static void test_absent_is_an_answer(void **state)
{
	struct bak_backend *be = ((struct fixture *)*state)->be;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_buf buf = BAK_BUF_INIT;
	uint64_t size;
	assert_int_equal(bak_backend_get(be, "packs/aa/x", 0, 10, &buf, &err), 0);
	assert_int_equal(bak_backend_size(be, "packs/aa/x", &size, &err), 0);
	assert_int_equal(bak_backend_remove(be, "packs/aa/x", &err), 0);
	assert_int_equal(count_below(be, "packs"), 0);
	assert_int_equal(err.code, BAK_OK);
	assert_int_equal(buf.len, 0);
}

static void test_put_then_get(void **state)
{
	struct bak_backend *be = ((struct fixture *)*state)->be;
	struct bak_error err = BAK_ERROR_INIT;
	uint64_t size;
	put(be, "snapshots/1", "hello, world");
	put(be, "bakfs.json", "");
	assert_content(be, "snapshots/1", "hello, world");
	assert_content(be, "bakfs.json", "");
	assert_int_equal(bak_backend_size(be, "snapshots/1", &size, &err), 1);
	assert_int_equal(size, 12);
	assert_int_equal(count_below(be, "tmp"), 0);
}

static void test_ranges(void **state)
{
	struct bak_backend *be = ((struct fixture *)*state)->be;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_buf buf = BAK_BUF_INIT;
	put(be, "a/b", "0123456789");
	assert_int_equal(bak_buf_append(&buf, "<", 1), 0);
	assert_int_equal(bak_backend_get(be, "a/b", 3, 4, &buf, &err), 1);
	assert_int_equal(bak_backend_get(be, "a/b", 8, 100, &buf, &err), 1);
	assert_int_equal(bak_backend_get(be, "a/b", 10, 1, &buf, &err), 1);
	assert_int_equal(bak_backend_get(be, "a/b", UINT64_MAX, SIZE_MAX, &buf, &err), 1);
	assert_int_equal(buf.len, 7);
	assert_memory_equal(buf.p, "<345689", 7);
	bak_buf_release(&buf);
}

static void test_taken_name_stays(void **state)
{
	struct bak_backend *be = ((struct fixture *)*state)->be;
	struct bak_error err = BAK_ERROR_INIT;
	put(be, "snapshots/7", "first");
	assert_int_equal(bak_backend_put(be, "t", "snapshots/7", "second", 6, &err), 0);
	assert_content(be, "snapshots/7", "first");
	assert_int_equal(count_below(be, "tmp"), 0);
}

static void test_unfinished_is_invisible(void **state)
{
	struct bak_backend *be = ((struct fixture *)*state)->be;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_put *p;
	assert_int_equal(be->ops->put_begin(be, "run-1", &p, &err), 0);
	assert_int_equal(be->ops->put_write(p, "abc", 3, &err), 0);
	assert_int_equal(count_below(be, "packs"), 0);
	be->ops->put_abort(p);
	assert_int_equal(count_below(be, ""), 0);
	be->ops->put_abort(NULL);

	assert_int_equal(be->ops->put_begin(be, "run-1", &p, &err), 0);
	assert_int_equal(be->ops->put_write(p, "abc", 3, &err), 0);
	assert_int_equal(be->ops->put_write(p, "", 0, &err), 0);
	assert_int_equal(be->ops->put_write(p, "def", 3, &err), 0);
	assert_int_equal(be->ops->put_commit(p, "packs/ab/abcd", &err), 1);
	assert_content(be, "packs/ab/abcd", "abcdef");
}

static void test_list(void **state)
{
	struct bak_backend *be = ((struct fixture *)*state)->be;
	struct bak_error err = BAK_ERROR_INIT;
	struct seen seen = {0};
	put(be, "packs/00/00ff", "1");
	put(be, "packs/ab/abcd", "22");
	put(be, "packs/ab/abce", "333");
	put(be, "packsize/x", "4444");
	assert_int_equal(bak_backend_list(be, "packs", see, &seen, &err), 0);
	assert_int_equal(seen.n, 3);
	assert_int_equal(seen.bytes, 6);
	assert_int_equal(strncmp(seen.names, "packs/", 6), 0);
	assert_int_equal(count_below(be, "packs/ab"), 2);
	assert_int_equal(count_below(be, ""), 4);
	assert_int_equal(count_below(be, "nowhere"), 0);

	seen = (struct seen){.stop_at = 2};
	assert_int_equal(bak_backend_list(be, "packs", see, &seen, &err), 42);
	assert_int_equal(seen.n, 2);
}

static void test_remove(void **state)
{
	struct bak_backend *be = ((struct fixture *)*state)->be;
	struct bak_error err = BAK_ERROR_INIT;
	put(be, "running/r-1", "x");
	put(be, "running/r-2", "y");
	assert_int_equal(bak_backend_remove(be, "running/r-1", &err), 1);
	assert_int_equal(bak_backend_remove(be, "running/r-1", &err), 0);
	assert_int_equal(count_below(be, "running"), 1);
	assert_content(be, "running/r-2", "y");
}

static void test_folders_and_space(void **state)
{
	struct bak_backend *be = ((struct fixture *)*state)->be;
	struct bak_error err = BAK_ERROR_INIT;
	uint64_t free_bytes, total;
	assert_int_equal(be->ops->make_folder(be, "packs/3f", &err), 0);
	assert_int_equal(be->ops->make_folder(be, "packs/3f", &err), 0);
	assert_int_equal(count_below(be, "packs"), 0);
	assert_int_equal(be->ops->space(be, &free_bytes, &total, &err), 0);
	assert_true(total >= free_bytes && total > 0);
}

struct racer {
	struct bak_backend *be;
	char text[24];
	int won;
};

static void *race(void *arg)
{
	struct racer *racer = arg;
	struct bak_error err = BAK_ERROR_INIT;
	racer->won = bak_backend_put(racer->be, racer->text, "snapshots/1", racer->text, 8, &err);
	return NULL;
}

/* Eight threads put the same name: exactly one wins, and its bytes are there. */
static void test_one_winner(void **state)
{
	struct bak_backend *be = ((struct fixture *)*state)->be;
	struct racer racers[8];
	pthread_t threads[8];
	int winners = 0, winner = -1;
	for (int i = 0; i < 8; i++) {
		racers[i] = (struct racer){.be = be};
		snprintf(racers[i].text, sizeof racers[i].text, "racer-%d", i);
		assert_int_equal(pthread_create(&threads[i], NULL, race, &racers[i]), 0);
	}
	for (int i = 0; i < 8; i++) {
		pthread_join(threads[i], NULL);
		assert_true(racers[i].won >= 0);
		winners += racers[i].won;
		if (racers[i].won)
			winner = i;
	}
	assert_int_equal(winners, 1);
	struct bak_buf buf = BAK_BUF_INIT;
	struct bak_error err = BAK_ERROR_INIT;
	assert_int_equal(bak_backend_get(be, "snapshots/1", 0, SIZE_MAX, &buf, &err), 1);
	assert_int_equal(buf.len, 8);
	assert_string_equal((char *)buf.p, racers[winner].text);
	bak_buf_release(&buf);
	assert_int_equal(count_below(be, "tmp"), 0);
}

static void test_dir_modes_and_foreign_files(void **state)
{
	struct fixture *f = *state;
	struct stat st;
	char path[128];
	put(f->be, "snapshots/1", "x");
	assert_int_equal(stat(f->path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	snprintf(path, sizeof path, "%s/snapshots/1", f->path);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	snprintf(path, sizeof path, "%s/snapshots/.nfs0001", f->path);
	int fd = open(path, O_CREAT | O_WRONLY, 0600);
	assert_true(fd >= 0);
	close(fd);
	snprintf(path, sizeof path, "%s/snapshots/folder", f->path);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(count_below(f->be, "snapshots"), 1);
}

static void test_dir_not_there(void **state)
{
	struct bak_backend *be = NULL;
	struct bak_error err = BAK_ERROR_INIT;
	(void)state;
	assert_int_equal(bak_backend_dir_open("/tmp/bakfs-no-such-folder", false, &be, &err), -1);
	assert_int_equal(err.code, BAK_NOT_FOUND);
	assert_non_null(strstr(err.msg, "/tmp/bakfs-no-such-folder"));
}

/* A small file system of our own, seen by this process alone. */
static void test_dir_full_disk(void **state)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_backend *be;
	struct fixture *f = *state;
	char path[128];
	static uint8_t block[1 << 20];
	snprintf(path, sizeof path, "%s/small", f->path);
	assert_int_equal(mkdir(path, 0700), 0);
	if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", "", MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("small", path, "tmpfs", 0, "size=256k") < 0)
		skip();
	assert_int_equal(bak_backend_dir_open(path, false, &be, &err), 0);
	assert_int_equal(bak_backend_put(be, "t", "packs/x", block, sizeof block, &err), -1);
	assert_int_equal(err.code, BAK_NO_SPACE);
	unsigned long long missing = 0;
	assert_int_equal(sscanf(err.msg, "no space left: %llu bytes of ", &missing), 1);
	assert_true(missing >= sizeof block - (256 << 10) && missing < sizeof block);
	assert_non_null(strstr(err.msg, "did not fit"));
	assert_int_equal(count_below(be, ""), 0);
	/* The space of what failed is free again. */
	assert_int_equal(bak_backend_put(be, "t", "packs/x", block, 200 << 10, &err), 1);
	bak_backend_close(be);
	umount(path);
}

static void test_fault_fails_the_nth(void **state)
{
	struct fixture *f = *state;
	struct bak_error err = BAK_ERROR_INIT;
	uint64_t size;
	/* A put of a small object is three calls: begin, write, commit. */
	for (uint64_t n = 1; n <= 3; n++) {
		bak_backend_fault_arm(f->be, n, false);
		assert_int_equal(bak_backend_put(f->be, "t", "a", "1", 1, &err), -1);
		assert_int_equal(err.code, BAK_IO);
		assert_string_equal(err.msg, "injected failure");
		assert_int_equal(bak_backend_size(f->inner, "a", &size, &err), 0);
	}
	bak_backend_fault_arm(f->be, 4, true);
	assert_int_equal(bak_backend_put(f->be, "t", "a", "1", 1, &err), 1);
	assert_int_equal(bak_backend_fault_calls(f->be), 3);
	assert_int_equal(bak_backend_size(f->be, "a", &size, &err), -1);
	assert_int_equal(bak_backend_size(f->be, "a", &size, &err), -1);
	bak_backend_fault_arm(f->be, 1, false);
	assert_int_equal(bak_backend_size(f->be, "a", &size, &err), -1);
	assert_int_equal(bak_backend_size(f->be, "a", &size, &err), 1);
}

/* One that answers nothing while the test holds its lock. */
struct silent {
	struct bak_backend base;
	pthread_mutex_t lock;
	atomic_int closed;
};

static int silent_size(struct bak_backend *be, const char *name, uint64_t *out_size,
		       struct bak_error *err)
{
	struct silent *s = (struct silent *)be;
	(void)name;
	(void)err;
	pthread_mutex_lock(&s->lock);
	pthread_mutex_unlock(&s->lock);
	*out_size = 7;
	return 1;
}

static void silent_close(struct bak_backend *be)
{
	((struct silent *)be)->closed++;
}

static void test_patience_ends(void **state)
{
	static const struct bak_backend_ops ops = {.size = silent_size, .close = silent_close};
	struct silent s = {.base.ops = &ops, .lock = PTHREAD_MUTEX_INITIALIZER};
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_backend *be;
	uint64_t size = 0;
	(void)state;
	assert_int_equal(bak_backend_patient_new(&s.base, 20, &be, &err), 0);
	assert_int_equal(bak_backend_size(be, "a", &size, &err), 1);
	pthread_mutex_lock(&s.lock);
	/* More than there are threads for: the last ones fail at once. */
	for (int i = 0; i < 40; i++) {
		assert_int_equal(bak_backend_size(be, "a", &size, &err), -1);
		assert_int_equal(err.code, BAK_UNAVAILABLE);
	}
	pthread_mutex_unlock(&s.lock);
	/* It answers again: those left behind end, in their time. */
	size = 0;
	while (bak_backend_size(be, "a", &size, &err) < 0)
		assert_int_equal(err.code, BAK_UNAVAILABLE);
	assert_int_equal(size, 7);
	bak_backend_close(be);
	while (!s.closed) /* by the last one */
		sched_yield();
	assert_int_equal(s.closed, 1);
	pthread_mutex_destroy(&s.lock);
}

#define CONTRACT(kind)                                                                           \
	cmocka_unit_test_setup_teardown(test_absent_is_an_answer, setup_##kind, teardown),       \
		cmocka_unit_test_setup_teardown(test_put_then_get, setup_##kind, teardown),      \
		cmocka_unit_test_setup_teardown(test_ranges, setup_##kind, teardown),            \
		cmocka_unit_test_setup_teardown(test_taken_name_stays, setup_##kind, teardown),  \
		cmocka_unit_test_setup_teardown(test_unfinished_is_invisible, setup_##kind,      \
						teardown),                                       \
		cmocka_unit_test_setup_teardown(test_list, setup_##kind, teardown),              \
		cmocka_unit_test_setup_teardown(test_remove, setup_##kind, teardown),            \
		cmocka_unit_test_setup_teardown(test_folders_and_space, setup_##kind, teardown), \
		cmocka_unit_test_setup_teardown(test_one_winner, setup_##kind, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CONTRACT(dir),
		CONTRACT(mem),
		CONTRACT(fault),
		CONTRACT(patient),
		cmocka_unit_test(test_patience_ends),
		cmocka_unit_test_setup_teardown(test_dir_modes_and_foreign_files, setup_dir,
						teardown),
		cmocka_unit_test(test_dir_not_there),
		cmocka_unit_test_setup_teardown(test_dir_full_disk, setup_dir, teardown),
		cmocka_unit_test_setup_teardown(test_fault_fails_the_nth, setup_fault, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
