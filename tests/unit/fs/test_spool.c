/* The spool against a model: the same writes, truncations and reads on a plain piece of memory. */
#include "fs/spool.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define MODEL_MAX (4u * BAK_SPOOL_BLOCK)

struct world {
	char dir[64];
	struct bak_spool *spool;
};

static int setup(void **state)
{
	static struct world world;
	struct bak_error err = BAK_ERROR_INIT;
	snprintf(world.dir, sizeof world.dir, "/tmp/bakfs-spool-XXXXXX");
	if (!mkdtemp(world.dir) || bak_spool_new(world.dir, &world.spool, &err) < 0)
		return -1;
	*state = &world;
	return 0;
}

static int teardown(void **state)
{
	struct world *world = *state;
	bak_spool_free(world->spool);
	return rmdir(world->dir); /* fails when anything was left there */
}

static uint64_t next_random(uint64_t *seed)
{
	*seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return *seed >> 33;
}

static void same_as(struct bak_blob *blob, const uint8_t *model, size_t size)
{
	struct bak_error err = BAK_ERROR_INIT;
	uint8_t *p = malloc(MODEL_MAX + 1);
	size_t n;
	assert_int_equal(bak_blob_size(blob), size);
	assert_int_equal(bak_blob_read(blob, 0, p, MODEL_MAX + 1, &n, &err), 0);
	assert_int_equal(n, size);
	assert_memory_equal(p, model, size);
	free(p);
}

/* Another file: its byte at off is a function of off and its id. */
static uint8_t lent_byte(uint64_t id, uint64_t off)
{
	return (uint8_t)(off * 7 + off / 251 + id);
}

static int lent_read(struct bak_origin *origin, uint64_t off, void *p, size_t len,
		     struct bak_error *err)
{
	(void)err;
	for (size_t i = 0; i < len; i++)
		((uint8_t *)p)[i] = lent_byte(origin->id, off + i);
	return 0;
}

static unsigned origins; /* not released yet */

static void lent_release(struct bak_origin *origin)
{
	origins--;
	free(origin);
}

static struct bak_origin *lent(uint64_t id)
{
	struct bak_origin *origin = malloc(sizeof *origin);
	*origin = (struct bak_origin){id, 1, lent_read, lent_release};
	origins++;
	return origin;
}

static void test_random_operations(void **state)
{
	struct world *world = *state;
	for (uint64_t seed = 1; seed <= 12; seed++) {
		struct bak_error err = BAK_ERROR_INIT;
		struct bak_blob *blob;
		uint64_t random = seed;
		size_t size = 0;
		uint8_t *model = calloc(1, MODEL_MAX), *data = malloc(BAK_SPOOL_BLOCK * 2);
		assert_int_equal(bak_blob_new(world->spool, &blob, &err), 0);
		for (int i = 0; i < 60; i++) {
			size_t off = next_random(&random) % (MODEL_MAX / 2);
			size_t len = next_random(&random) % (BAK_SPOOL_BLOCK * 2);
			uint64_t id = next_random(&random) % 3, from;
			switch (next_random(&random) % 6) {
			case 0:
				assert_int_equal(bak_blob_truncate(blob, off, &err), 0);
				if (off < size)
					memset(model + off, 0, size - off);
				size = off;
				break;
			case 1:
				assert_int_equal(bak_blob_settle(blob, &err), 0);
				break;
			case 2:
			case 3:
				/* Now and then one goes on where another ends. */
				from = next_random(&random) % 2 ? off : next_random(&random);
				assert_int_equal(
					bak_blob_borrow(blob, off, len, lent(id), from, &err), 0);
				for (size_t k = 0; k < len; k++)
					model[off + k] = lent_byte(id, from + k);
				size = len && off + len > size ? off + len : size;
				break;
			default:
				memset(data, (int)(next_random(&random) % 255 + 1), len);
				assert_int_equal(bak_blob_write(blob, off, data, len, &err), 0);
				memcpy(model + off, data, len);
				size = len && off + len > size ? off + len : size;
				break;
			}
			if (i % 7 == 0)
				same_as(blob, model, size);
		}
		same_as(blob, model, size);
		bak_blob_free(blob);
		assert_int_equal(origins, 0);
		free(model);
		free(data);
	}
}

/* Holes take no room and read as zeros. */
static void test_holes(void **state)
{
	struct world *world = *state;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_blob *blob;
	uint64_t at, far = UINT64_C(1) << 40;
	uint8_t byte = 1;
	size_t n;
	assert_int_equal(bak_blob_new(world->spool, &blob, &err), 0);
	assert_int_equal(bak_blob_write(blob, far, "x", 1, &err), 0);
	assert_int_equal(bak_blob_size(blob), far + 1);
	assert_true(bak_blob_allocated(blob) <= BAK_SPOOL_BLOCK);
	assert_int_equal(bak_blob_read(blob, far / 2, &byte, 1, &n, &err), 0);
	assert_int_equal(byte, 0);
	assert_int_equal(bak_blob_seek(blob, 0, false, &at), 1);
	assert_int_equal(at, far / BAK_SPOOL_BLOCK * BAK_SPOOL_BLOCK);
	assert_int_equal(bak_blob_seek(blob, 0, true, &at), 1);
	assert_int_equal(at, 0);
	assert_int_equal(bak_blob_seek(blob, far, true, &at), 1);
	assert_int_equal(at, far + 1);
	assert_int_equal(bak_blob_seek(blob, far + 1, true, &at), 0);
	assert_int_equal(bak_blob_truncate(blob, far / 2, &err), 0);
	assert_int_equal(bak_blob_seek(blob, 0, false, &at), 0);
	assert_int_equal(bak_blob_allocated(blob), 0);
	bak_blob_free(blob);
}

/* What is borrowed is data, and takes no room in the spool; what is written over it does. */
static void test_borrowed(void **state)
{
	struct world *world = *state;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_blob *blob;
	uint64_t at, block = BAK_SPOOL_BLOCK;
	uint8_t p[8];
	size_t n;
	assert_int_equal(bak_blob_new(world->spool, &blob, &err), 0);
	assert_int_equal(bak_blob_borrow(blob, 10, 5 * block, lent(1), 0, &err), 0);
	assert_int_equal(bak_blob_borrow(blob, 10 + 5 * block, block, lent(1), 5 * block, &err), 0);
	assert_int_equal(origins, 1); /* one went on where the other ended */
	assert_int_equal(bak_blob_size(blob), 10 + 6 * block);
	assert_int_equal(bak_blob_seek(blob, 0, false, &at), 1);
	assert_int_equal(at, 10);
	assert_int_equal(bak_blob_seek(blob, 11, true, &at), 1);
	assert_int_equal(at, 10 + 6 * block);
	assert_int_equal(bak_blob_write(blob, block, "here", 4, &err), 0);
	assert_int_equal(bak_blob_read(blob, block - 2, p, 8, &n, &err), 0);
	assert_memory_equal(p + 2, "here", 4);
	assert_int_equal(p[1], lent_byte(1, block - 11));
	assert_int_equal(p[6], lent_byte(1, block + 4 - 10));
	assert_int_equal(bak_blob_truncate(blob, 12, &err), 0);
	assert_int_equal(bak_blob_truncate(blob, block + 8, &err), 0);
	assert_int_equal(bak_blob_read(blob, 11, p, 8, &n, &err), 0);
	assert_memory_equal(p + 1, "\0\0\0\0\0\0", 7);
	assert_int_equal(p[0], lent_byte(1, 1));
	bak_blob_free(blob);
	assert_int_equal(origins, 0);
}

static void test_too_long(void **state)
{
	struct world *world = *state;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_blob *blob;
	assert_int_equal(bak_blob_new(world->spool, &blob, &err), 0);
	assert_int_equal(bak_blob_write(blob, BAK_SPOOL_SIZE_MAX, "xy", 2, &err), -1);
	assert_int_equal(bak_blob_write(blob, UINT64_MAX, "xy", 2, &err), -1);
	assert_int_equal(bak_blob_truncate(blob, UINT64_MAX, &err), -1);
	bak_blob_free(blob);
}

/* The spool's file has no name: found among our descriptors. */
static int spool_fd(const struct world *world)
{
	DIR *folder = opendir("/proc/self/fd");
	const struct dirent *entry;
	int found = -1;
	while ((entry = readdir(folder))) {
		char path[300], target[PATH_MAX];
		snprintf(path, sizeof path, "/proc/self/fd/%s", entry->d_name);
		ssize_t n = readlink(path, target, sizeof target - 1);
		if (n > 0 && strncmp(target, world->dir, strlen(world->dir)) == 0)
			found = atoi(entry->d_name);
	}
	closedir(folder);
	return found;
}

static bool file_contains(int fd, const char *text)
{
	struct stat st;
	fstat(fd, &st);
	char *p = malloc((size_t)st.st_size);
	assert_int_equal(pread(fd, p, (size_t)st.st_size, 0), st.st_size);
	bool found = memmem(p, (size_t)st.st_size, text, strlen(text));
	free(p);
	return found;
}

static void test_sealed_on_disk(void **state)
{
	struct world *world = *state;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_blob *blob;
	char text[] = "nobody may read this in the spool";
	size_t n;
	assert_int_equal(bak_blob_new(world->spool, &blob, &err), 0);
	assert_int_equal(bak_blob_write(blob, 0, text, sizeof text, &err), 0);
	assert_int_equal(bak_blob_settle(blob, &err), 0);
	int fd = spool_fd(world);
	assert_true(fd >= 0);
	assert_false(file_contains(fd, text));

	/* A bit changed from outside is an error, not other bytes. */
	uint8_t byte;
	assert_int_equal(pread(fd, &byte, 1, BAK_SPOOL_SLOT + 3), 1);
	byte ^= 1;
	assert_int_equal(pwrite(fd, &byte, 1, BAK_SPOOL_SLOT + 3), 1);
	assert_int_equal(bak_blob_read(blob, 0, text, sizeof text, &n, &err), -1);
	assert_int_equal(err.code, BAK_CORRUPT);
	bak_blob_free(blob);
}

/* An older version of a block, put back from outside, does not pass for it. */
static void test_no_replay(void **state)
{
	struct world *world = *state;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_blob *blob;
	uint8_t slot[64], back[8];
	size_t n;
	assert_int_equal(bak_blob_new(world->spool, &blob, &err), 0);
	assert_int_equal(bak_blob_write(blob, 0, "version1", 8, &err), 0);
	assert_int_equal(bak_blob_settle(blob, &err), 0);
	int fd = spool_fd(world);
	assert_int_equal(pread(fd, slot, 24, BAK_SPOOL_SLOT), 24);
	assert_int_equal(bak_blob_write(blob, 0, "version2", 8, &err), 0);
	assert_int_equal(bak_blob_settle(blob, &err), 0);
	assert_int_equal(pwrite(fd, slot, 24, BAK_SPOOL_SLOT), 24);
	assert_int_equal(bak_blob_read(blob, 0, back, 8, &n, &err), -1);
	bak_blob_free(blob);
}

/* Room comes back with the blob. */
static void test_room_is_given_back(void **state)
{
	struct world *world = *state;
	struct bak_error err = BAK_ERROR_INIT;
	struct stat st;
	uint8_t *data = calloc(1, BAK_SPOOL_BLOCK);
	int fd = -1;
	for (int i = 0; i < 20; i++) {
		struct bak_blob *blob;
		assert_int_equal(bak_blob_new(world->spool, &blob, &err), 0);
		for (uint64_t k = 0; k < 4; k++)
			assert_int_equal(bak_blob_write(blob, k * BAK_SPOOL_BLOCK, data,
							BAK_SPOOL_BLOCK, &err),
					 0);
		fd = spool_fd(world);
		bak_blob_free(blob);
	}
	fstat(fd, &st);
	assert_true(st.st_size <= (off_t)6 * BAK_SPOOL_SLOT); /* slots were used again */
	assert_true(st.st_blocks * 512 <= (blkcnt_t)BAK_SPOOL_SLOT);
	free(data);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_random_operations, setup, teardown),
		cmocka_unit_test_setup_teardown(test_holes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_borrowed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_too_long, setup, teardown),
		cmocka_unit_test_setup_teardown(test_sealed_on_disk, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_replay, setup, teardown),
		cmocka_unit_test_setup_teardown(test_room_is_given_back, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
