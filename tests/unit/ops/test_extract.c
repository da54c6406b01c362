/* Unpacking: what may stand in the way, what may be damaged, and where bytes may go. What real
 * trees look like afterwards is the files driver's test. */
#include "tests/lib/world.h"

#include "engine/ops/extract.h"

#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

struct place {
	struct bak_world world;
	struct bak_snapshot snapshot;
	char dir[64];
	int fd;
	char told[1024]; /* "path: why" lines of what was left out */
	int stop_after;  /* ticks; 0: never */
	struct bak_extract_result result;
};

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path);
}

static int open_up(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)ftw;
	return type == FTW_D || type == FTW_DNR ? chmod(path, st->st_mode | 0700) : 0;
}

/* --- a snapshot: a, d/b, d/c, d/sub/e, l -> a, z; z is 3 MB with a hole in its middle --- */

static void put_file(struct bak_writer *w, const char *name, uint64_t ino, const char *text)
{
	bak_test_file(w, name, ino, text, strlen(text));
}

static void put_folder(struct bak_writer *w, const char *name, uint64_t ino)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_source_inode in = bak_test_inode(BAK_TYPE_DIR, ino, 0);

	in.inode.mode = 0500; /* as it is left; while it is filled it must be writable */
	bak_must(bak_writer_enter(w, name, &in, &err), &err);
}

static void put_holey(struct bak_writer *w)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_source_inode in = bak_test_inode(BAK_TYPE_FILE, 7, 3 << 20);
	uint8_t *p = malloc(1 << 20);

	bak_fill_random(p, 1 << 20, 1);
	bak_must(bak_writer_file(w, "z", &in, BAK_HINT_NONE, &err), &err);
	bak_must(bak_writer_data(w, p, 1 << 20, &err), &err);
	bak_must(bak_writer_hole(w, 1 << 20, &err), &err);
	bak_must(bak_writer_data(w, p, 1 << 20, &err), &err);
	bak_must(bak_writer_file_end(w, NULL, &err), &err);
	free(p);
}

static void put_symlink(struct bak_writer *w, const char *name, const char *target)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_source_inode in = bak_test_inode(BAK_TYPE_SYMLINK, 6, 0);

	in.inode.target = target;
	in.inode.target_len = strlen(target);
	bak_must(bak_writer_other(w, name, &in, &err), &err);
}

static void put_plain(struct bak_writer *w)
{
	struct bak_error err = BAK_ERROR_INIT;

	put_file(w, "a", 1, "text of a\n");
	put_folder(w, "d", 2);
	put_file(w, "b", 3, "text of b\n");
	put_file(w, "c", 4, "text of c\n");
	put_folder(w, "sub", 5);
	put_file(w, "e", 8, "text of e\n");
	bak_must(bak_writer_leave(w, &err), &err);
	bak_must(bak_writer_leave(w, &err), &err);
	put_symlink(w, "l", "a");
	put_holey(w);
}

/* "bad" lies in a segment that is nowhere, "wrong" is not what its sum says. */
static void put_damaged(struct bak_writer *w)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_source_inode in = bak_test_inode(BAK_TYPE_FILE, 1, 100);
	struct bak_extent extent = {.kind = BAK_EXTENT_BYTES, .seg = {.n = 3}, .len = 100};
	static const uint8_t sum[32] = {1};

	bak_must(bak_writer_file(w, "bad", &in, BAK_HINT_NONE, &err), &err);
	bak_must(bak_writer_extents(w, &extent, 1, sum, &err), &err);
	bak_must(bak_writer_file_end(w, NULL, &err), &err);
	put_file(w, "good", 2, "good\n");
	extent = (struct bak_extent){.kind = BAK_EXTENT_ZEROS, .len = 100};
	bak_must(bak_writer_file(w, "wrong", &in, BAK_HINT_NONE, &err), &err);
	bak_must(bak_writer_extents(w, &extent, 1, sum, &err), &err);
	bak_must(bak_writer_file_end(w, NULL, &err), &err);
}

static void make_snapshot(struct place *place, void (*put)(struct bak_writer *w))
{
	struct bak_error err = BAK_ERROR_INIT;
	const char *stores[] = {"s"};
	struct bak_backup_conf conf = {.store = "s", .driver = "files", .workers = 1};
	struct bak_run *run;
	struct bak_backup *backup;
	json_t *facts = json_object();
	uint64_t number;

	bak_must(bak_run_begin(place->world.repo, "manual", "", stores, 1, &run, &err), &err);
	bak_must(bak_backup_begin(run, &conf, &backup, &err), &err);
	struct bak_source_inode root = bak_test_inode(BAK_TYPE_DIR, 99, 0);
	bak_must(bak_writer_root(bak_backup_writer(backup), &root, &err), &err);
	put(bak_backup_writer(backup));
	bak_must(bak_backup_commit(backup, facts, NULL, &number, &err), &err);
	bak_backup_free(backup);
	bak_run_end(run);
	json_decref(facts);
	assert_int_equal(bak_repo_snapshot(place->world.repo, number, &place->snapshot, &err), 1);
}

static struct place *setup(void (*put)(struct bak_writer *w))
{
	struct place *place = calloc(1, sizeof *place);

	assert_non_null(place);
	bak_world_setup(&place->world);
	make_snapshot(place, put);
	snprintf(place->dir, sizeof place->dir, "/tmp/bakfs-extract-XXXXXX");
	assert_non_null(mkdtemp(place->dir));
	place->fd = open(place->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(place->fd >= 0);
	return place;
}

static void teardown(struct place *place)
{
	close(place->fd);
	nftw(place->dir, open_up, 16, FTW_PHYS);
	nftw(place->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	bak_snapshot_release(&place->snapshot);
	bak_world_teardown(&place->world);
	free(place);
}

static void told(void *ctx, const char *path, uint64_t bytes, const char *why)
{
	struct place *place = ctx;
	size_t n = strlen(place->told);

	(void)bytes;
	if (why)
		snprintf(place->told + n, sizeof place->told - n, "%s: %s\n", path, why);
}

static int tick(void *ctx, uint64_t bytes)
{
	struct place *place = ctx;

	(void)bytes;
	return place->stop_after && --place->stop_after == 0;
}

static int extract(struct place *place, struct bak_extract_conf conf, struct bak_error *err)
{
	conf.progress = told;
	conf.tick = tick;
	conf.progress_ctx = place;
	place->told[0] = '\0';
	*err = (struct bak_error)BAK_ERROR_INIT;
	return bak_extract(place->world.repo, &place->snapshot, place->fd, &conf, &place->result,
			   err);
}

static const char *content(struct place *place, const char *path)
{
	static char text[64];
	int fd = openat(place->fd, path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;

	if (fd >= 0)
		close(fd);
	text[n > 0 ? n : 0] = '\0';
	return n < 0 ? NULL : text;
}

static void put_text(struct place *place, const char *path, const char *text)
{
	int fd = openat(place->fd, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
}

static bool is_there(struct place *place, const char *path)
{
	struct stat st;

	return fstatat(place->fd, path, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

/* --- what comes out --- */

static void test_all(void **state)
{
	struct place *place = setup(put_plain);
	struct bak_error err;
	struct stat st;

	(void)state;
	bak_must(extract(place, (struct bak_extract_conf){.verify = true, .sync = true}, &err),
		 &err);
	assert_string_equal(content(place, "d/sub/e"), "text of e\n");
	assert_string_equal(content(place, "l"), "text of a\n");
	assert_int_equal(place->result.files, 5);
	assert_int_equal(place->result.bytes, (3 << 20) + 40);
	assert_int_equal(place->result.damaged, 0);
	assert_int_equal(fstatat(place->fd, "d/sub", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0500);
	assert_int_equal(st.st_mtim.tv_sec, 1700000000);
	assert_int_equal(st.st_mtim.tv_nsec, 5);
	assert_int_equal(fstatat(place->fd, "z", &st, 0), 0);
	assert_int_equal(st.st_size, 3 << 20);
	assert_true(st.st_blocks * 512 < 3 << 20);
	assert_int_equal(fstat(place->fd, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0755);
	teardown(place);
}

static void test_only(void **state)
{
	struct place *place = setup(put_plain);
	static const char *const only[] = {"./d/sub/", "d//c", "l"};
	static const char *const missing[] = {"a", "d/x"};
	struct bak_error err;

	(void)state;
	bak_must(extract(place, (struct bak_extract_conf){.only = only, .n_only = 3}, &err), &err);
	assert_true(is_there(place, "d/sub/e") && is_there(place, "d/c") && is_there(place, "l"));
	assert_false(is_there(place, "a") || is_there(place, "d/b") || is_there(place, "z"));
	assert_int_equal(place->result.files, 2);
	assert_int_equal(
		extract(place, (struct bak_extract_conf){.only = missing, .n_only = 2}, &err), -1);
	assert_int_equal(err.code, BAK_NOT_FOUND);
	assert_string_equal(err.msg, "d/x is not in the snapshot");
	assert_false(is_there(place, "a"));
	teardown(place);
}

static void test_what_stands_in_the_way(void **state)
{
	struct place *place = setup(put_plain);
	struct bak_error err;

	(void)state;
	put_text(place, "a", "theirs");
	assert_int_equal(extract(place, (struct bak_extract_conf){.sync = false}, &err), -1);
	assert_int_equal(err.code, BAK_EXISTS);
	assert_string_equal(content(place, "a"), "theirs");

	const struct bak_extract_conf over = {.overwrite = true};
	assert_int_equal(mkdirat(place->fd, "d", 0755), 0);
	put_text(place, "d/theirs", "stays");
	bak_must(extract(place, over, &err), &err);
	assert_string_equal(content(place, "a"), "text of a\n");
	assert_string_equal(content(place, "d/theirs"), "stays");
	assert_string_equal(content(place, "d/b"), "text of b\n");

	/* a folder is not replaced by a file */
	assert_int_equal(unlinkat(place->fd, "a", 0), 0);
	assert_int_equal(mkdirat(place->fd, "a", 0755), 0);
	assert_int_equal(extract(place, over, &err), -1);
	assert_int_equal(err.code, BAK_EXISTS);
	assert_string_equal(err.msg, "a: a folder is in the way");
	teardown(place);
}

/* A link left where a folder should be must not lead the unpacking elsewhere. */
static void test_symlinks_are_not_followed(void **state)
{
	struct place *place = setup(put_plain);
	struct bak_error err;

	(void)state;
	assert_int_equal(mkdirat(place->fd, "outside", 0755), 0);
	assert_int_equal(symlinkat("outside", place->fd, "d"), 0);
	assert_int_equal(extract(place, (struct bak_extract_conf){.overwrite = true}, &err), -1);
	assert_false(is_there(place, "outside/b"));
	/* one in a file's place is replaced, not written through */
	assert_int_equal(unlinkat(place->fd, "d", 0), 0);
	assert_int_equal(unlinkat(place->fd, "a", 0), 0);
	put_text(place, "target", "untouched");
	assert_int_equal(symlinkat("target", place->fd, "a"), 0);
	bak_must(extract(place, (struct bak_extract_conf){.overwrite = true}, &err), &err);
	assert_string_equal(content(place, "target"), "untouched");
	assert_string_equal(content(place, "a"), "text of a\n");
	teardown(place);
}

static void test_damage_costs_its_file(void **state)
{
	struct place *place = setup(put_damaged);
	struct bak_error err;

	(void)state;
	bak_must(extract(place, (struct bak_extract_conf){.verify = true}, &err), &err);
	assert_int_equal(place->result.damaged, 2);
	assert_int_equal(place->result.files, 1);
	assert_string_equal(content(place, "good"), "good\n");
	assert_false(is_there(place, "bad") || is_there(place, "wrong"));
	assert_non_null(strstr(place->told, "bad: "));
	assert_non_null(strstr(place->told, "wrong: its SHA-256 is another"));
	teardown(place);
}

static int first_name(void *ctx, const char *name, uint64_t size)
{
	(void)size;
	snprintf(ctx, 128, "%s", name);
	return 1;
}

/* Nothing is left but the snapshot itself: even its root folder cannot be listed. */
static void test_without_packs(void **state)
{
	struct place *place = setup(put_plain);
	struct bak_error err = BAK_ERROR_INIT;
	char name[128];

	(void)state;
	while (bak_backend_list(place->world.mem, "packs", first_name, name, &err) == 1)
		assert_int_equal(bak_backend_remove(place->world.mem, name, &err), 1);
	bak_must(extract(place, (struct bak_extract_conf){.verify = true}, &err), &err);
	assert_int_equal(place->result.damaged, 1);
	assert_int_equal(place->result.files, 0);
	teardown(place);
}

static void test_stopped(void **state)
{
	struct place *place = setup(put_plain);
	struct bak_error err;

	(void)state;
	place->stop_after = 5;
	assert_int_equal(extract(place, (struct bak_extract_conf){.sync = false}, &err), -1);
	assert_int_equal(err.code, BAK_CANCELLED);
	assert_false(is_there(place, "z"));
	teardown(place);
}

/* Setuid for somebody else is not setuid for whoever unpacks. */
static void put_setuid(struct bak_writer *w)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_source_inode in = bak_test_inode(BAK_TYPE_FILE, 1, 1);

	in.inode.mode = 06755;
	in.inode.uid = 12345;
	in.inode.gid = 12345;
	bak_must(bak_writer_file(w, "tool", &in, BAK_HINT_NONE, &err), &err);
	bak_must(bak_writer_data(w, "x", 1, &err), &err);
	bak_must(bak_writer_file_end(w, NULL, &err), &err);
}

static void test_setuid_needs_its_owner(void **state)
{
	struct place *place = setup(put_setuid);
	struct bak_error err;
	struct stat st;

	(void)state;
	bak_must(extract(place, (struct bak_extract_conf){.owners = false}, &err), &err);
	assert_int_equal(fstatat(place->fd, "tool", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0755);
	assert_int_equal(place->result.attributes_lost, 0);
	bak_must(extract(place, (struct bak_extract_conf){.owners = true, .overwrite = true}, &err),
		 &err);
	assert_int_equal(fstatat(place->fd, "tool", &st, 0), 0);
	if (geteuid() == 0) {
		assert_int_equal(st.st_uid, 12345);
		assert_int_equal(st.st_mode & 07777, 06755);
	} else {
		assert_int_equal(st.st_mode & 07777, 0755);
		assert_true(place->result.attributes_lost > 0);
	}
	teardown(place);
}

/* --- one file to a descriptor --- */

static void pour(struct place *place, int fd)
{
	struct bak_tree tree = {bak_repo_source(place->world.repo), &place->snapshot};
	BAK_AUTO(bak_found_release) struct bak_found found = BAK_FOUND_INIT;
	struct bak_error err = BAK_ERROR_INIT;

	assert_int_equal(bak_tree_path(&tree, "z", &found, &err), 1);
	bak_must(bak_extract_file(place->world.repo, &found.entry.inode, fd, &err), &err);
}

/* Before and behind it the file may hold what others wrote. */
static void assert_poured(struct place *place, const char *name, const char *before,
			  const char *behind, bool sparse)
{
	size_t len = 3 << 20, b = strlen(before), e = strlen(behind);
	uint8_t *want = calloc(1, len), *have = malloc(b + len + e);
	int fd = openat(place->fd, name, O_RDONLY | O_CLOEXEC);
	struct stat st;

	bak_fill_random(want, 1 << 20, 1);
	bak_fill_random(want + (2 << 20), 1 << 20, 1);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, b + len + e);
	assert_int_equal(read(fd, have, b + len + e), b + len + e);
	assert_memory_equal(have, before, b);
	assert_memory_equal(have + b, want, len);
	assert_memory_equal(have + b + len, behind, e);
	assert_int_equal(st.st_blocks * 512 < 3 << 20, sparse);
	close(fd);
	free(want);
	free(have);
}

static void test_to_descriptors(void **state)
{
	struct place *place = setup(put_plain);
	int flags = O_WRONLY | O_CREAT | O_CLOEXEC;

	(void)state;
	int fd = openat(place->fd, "plain", flags, 0600);
	pour(place, fd);
	close(fd);
	assert_poured(place, "plain", "", "", true);

	/* ( echo x; bakfs cat ...; echo y ) > file */
	fd = openat(place->fd, "shell", flags, 0600);
	assert_int_equal(write(fd, "before\n", 7), 7);
	pour(place, fd);
	assert_int_equal(write(fd, "behind\n", 7), 7);
	close(fd);
	assert_poured(place, "shell", "before\n", "behind\n", true);

	/* >> file */
	put_text(place, "append", "before\n");
	fd = openat(place->fd, "append", flags | O_APPEND, 0600);
	pour(place, fd);
	close(fd);
	assert_poured(place, "append", "before\n", "", false);

	/* over something longer, as with 1<> file */
	fd = openat(place->fd, "over", flags, 0600);
	char *old = malloc(4 << 20);
	memset(old, 'o', 4 << 20);
	assert_int_equal(write(fd, old, 4 << 20), 4 << 20);
	free(old);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	pour(place, fd);
	assert_int_equal(ftruncate(fd, 3 << 20), 0);
	close(fd);
	assert_poured(place, "over", "", "", false);
	teardown(place);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all),
		cmocka_unit_test(test_only),
		cmocka_unit_test(test_what_stands_in_the_way),
		cmocka_unit_test(test_symlinks_are_not_followed),
		cmocka_unit_test(test_damage_costs_its_file),
		cmocka_unit_test(test_without_packs),
		cmocka_unit_test(test_stopped),
		cmocka_unit_test(test_setuid_needs_its_owner),
		cmocka_unit_test(test_to_descriptors),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
