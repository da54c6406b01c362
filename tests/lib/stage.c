/* A repository in memory with many handles: see stage.h. */
#include "tests/lib/stage.h"

#include "engine/ops/forget.h"
#include "engine/ops/verify.h"

#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

/* The first part is a file's own, the rest it shares with its neighbour in the alphabet. */
#define OWN 50000u

static void must(int rc, const struct bak_error *err)
{
	if (rc < 0)
		fail_msg("%s", err->msg);
}

static int64_t now(void *ctx)
{
	return ((const struct bak_stage *)ctx)->clock;
}

static struct bak_repo_conf conf_of(struct bak_stage *stage, struct bak_backend *backend)
{
	return (struct bak_repo_conf){.backend = backend ? backend : stage->mem,
				      .index_in_memory = !stage->dir[0],
				      .cache_dir = stage->dir[0] ? stage->dir : NULL,
				      .state_dir = stage->dir[0] ? stage->dir : NULL,
				      .host = "here",
				      .scrypt_log_n = 10,
				      .now = now,
				      .now_ctx = stage};
}

void bak_stage_setup(struct bak_stage *stage)
{
	struct bak_error err = BAK_ERROR_INIT;
	*stage = (struct bak_stage){.clock = 1800000000};
	must(bak_backend_mem_new(&stage->mem, &err), &err);
	must(bak_secret_password(&stage->secret, "horse", 5, &err), &err);
	struct bak_repo_conf conf = conf_of(stage, NULL);
	must(bak_repo_init(&conf, &stage->secret, "test", &err), &err);
}

static void remove_dir(const char *dir)
{
	char command[80];
	if (!dir[0])
		return;
	snprintf(command, sizeof command, "rm -rf '%s'", dir);
	if (system(command) != 0)
		print_message("%s stays\n", dir);
}

void bak_stage_teardown(struct bak_stage *stage)
{
	bak_secret_release(&stage->secret);
	bak_backend_close(stage->mem);
	remove_dir(stage->dir);
}

static int copy_object(void *ctx, const char *name, uint64_t size)
{
	struct bak_backend *const *ends = ctx;
	struct bak_error err = BAK_ERROR_INIT;
	BAK_AUTO(bak_buf_release) struct bak_buf bytes = BAK_BUF_INIT;
	(void)size;
	return bak_backend_get(ends[0], name, 0, SIZE_MAX, &bytes, &err) != 1 ||
	       bak_backend_put(ends[1], "copy", name, bytes.p, bytes.len, &err) != 1;
}

void bak_stage_copy(const struct bak_stage *from, bool shared, struct bak_stage *to)
{
	struct bak_error err = BAK_ERROR_INIT;
	*to = *from;
	to->dir[0] = '\0';
	must(bak_backend_mem_new(&to->mem, &err), &err);
	must(bak_secret_password(&to->secret, "horse", 5, &err), &err);
	struct bak_backend *ends[] = {from->mem, to->mem};
	assert_int_equal(bak_backend_list(from->mem, "", copy_object, ends, &err), 0);
	if (shared) {
		snprintf(to->dir, sizeof to->dir, "/tmp/bakfs-stage-XXXXXX");
		assert_non_null(mkdtemp(to->dir));
	}
}

struct bak_repo *bak_stage_open(struct bak_stage *stage, struct bak_backend *backend)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_repo_conf conf = conf_of(stage, backend);
	struct bak_repo *repo = NULL;
	must(bak_repo_open(&conf, &stage->secret, &repo, &err), &err);
	return repo;
}

void bak_stage_forget(struct bak_stage *stage, uint64_t number)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_repo *repo = bak_stage_open(stage, NULL);
	must(bak_repo_forget(repo, number, number, &err), &err);
	bak_repo_close(repo);
	for (size_t i = 0; i < stage->n_must; i++)
		if (stage->must[i] == number)
			stage->must[i] = stage->must[--stage->n_must];
}

/* --- backups --- */

static void fill(uint8_t *p, char letter)
{
	bak_fill_random(p, OWN, (uint64_t)letter);
	bak_fill_random(p + OWN, BAK_STAGE_FILE - OWN, 1000 + (uint64_t)(letter - 'a') / 2);
}

static int put_file(struct bak_writer *w, char letter, struct bak_error *err)
{
	char name[] = {'f', '-', (char)tolower(letter), '\0'};
	struct bak_source_inode in = bak_test_inode(BAK_TYPE_FILE, (uint64_t)name[2],
						    BAK_STAGE_FILE);
	BAK_AUTO(bak_free_ptr) uint8_t *p = malloc(BAK_STAGE_FILE);
	if (!p)
		return bak_error_nomem(err);
	int rc = islower(letter) ? bak_writer_reuse(w, name, &in, err) : 0;
	if (rc != 0)
		return rc < 0 ? -1 : 0;
	fill(p, name[2]);
	rc = bak_writer_file(w, name, &in, BAK_HINT_NONE, err);
	if (rc == 0)
		rc = bak_writer_data(w, p, BAK_STAGE_FILE, err);
	return rc == 0 ? bak_writer_file_end(w, NULL, err) : -1;
}

int bak_stage_do_backup(struct bak_stage *stage, struct bak_repo *repo, const char *store,
			const char *files, struct bak_run **out_run, uint64_t *out_number,
			struct bak_error *err)
{
	struct bak_backup_conf conf = {.store = store, .driver = "files", .workers = 1};
	struct bak_run *run = NULL;
	struct bak_backup *backup = NULL;
	json_t *facts = json_object();
	int rc = bak_run_begin(repo, "manual", "", &store, 1, &run, err);
	(void)stage;
	if (out_run)
		*out_run = run;
	if (rc == 0)
		rc = bak_backup_begin(run, &conf, &backup, err);
	for (const char *f = files; *f && rc == 0; f++)
		rc = put_file(bak_backup_writer(backup), *f, err);
	if (rc == 0)
		rc = bak_backup_commit(backup, facts, NULL, out_number, err);
	bak_backup_free(backup);
	if (out_run)
		*out_run = NULL;
	bak_run_end(run);
	json_decref(facts);
	return rc;
}

uint64_t bak_stage_backup(struct bak_stage *stage, const char *store, const char *files)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_repo *repo = bak_stage_open(stage, NULL);
	uint64_t number = 0;
	must(bak_stage_do_backup(stage, repo, store, files, NULL, &number, &err), &err);
	bak_repo_close(repo);
	stage->must[stage->n_must++] = number;
	return number;
}

struct bak_prune_result bak_stage_prune(struct bak_stage *stage, bool alone)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_prune_conf conf = {.alone = alone, .max_unused = 0};
	struct bak_prune_result result;
	struct bak_repo *repo = bak_stage_open(stage, NULL);
	must(bak_prune(repo, &conf, &result, &err), &err);
	bak_repo_close(repo);
	return result;
}

/* --- proof --- */

static void found(void *ctx, const char *what, const char *where, const char *why)
{
	(void)ctx;
	print_message("check: %s: %s: %s\n", what, where ? where : "", why);
}

static void check_clean(struct bak_repo *repo)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_verify_conf conf = {.finding = found};
	struct bak_check_result r;
	must(bak_check(repo, &conf, &r, &err), &err);
	assert_int_equal(r.damaged_packs + r.damaged_segments + r.damaged_objects +
				 r.damaged_files + r.missing,
			 0);
}

static void verify_file(struct bak_source *source, const struct bak_entry *entry)
{
	struct bak_error err = BAK_ERROR_INIT;
	uint8_t *want = malloc(BAK_STAGE_FILE), *got = malloc(BAK_STAGE_FILE);
	size_t n = 0;
	assert_true(want && got && entry->name_len == 3 && entry->inode.size == BAK_STAGE_FILE);
	fill(want, entry->name[2]);
	must(bak_read(source, &entry->inode.content, BAK_STAGE_FILE, 0, got, BAK_STAGE_FILE, &n,
		      &err),
	     &err);
	assert_int_equal(n, BAK_STAGE_FILE);
	assert_memory_equal(want, got, BAK_STAGE_FILE);
	free(want);
	free(got);
}

static void verify_snapshot(struct bak_repo *repo, uint64_t number)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_snapshot snapshot = {0};
	struct bak_cursor *cursor;
	const struct bak_found *at;
	int rc = bak_repo_snapshot(repo, number, &snapshot, &err);
	must(rc, &err);
	if (rc == 0)
		return;
	struct bak_tree tree = {bak_repo_source(repo), &snapshot};
	must(bak_cursor_open(&tree, &snapshot.root.dir, 1, &cursor, &err), &err);
	while ((rc = bak_cursor_next(cursor, &at, &err)) == 1)
		verify_file(bak_repo_source(repo), &at->entry);
	must(rc, &err);
	bak_cursor_close(cursor);
	bak_snapshot_release(&snapshot);
}

void bak_stage_verify(struct bak_stage *stage)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_stage own = *stage;
	uint64_t *numbers;
	size_t n;
	own.dir[0] = '\0'; /* an index of its own: what the storage says */
	struct bak_repo *repo = bak_stage_open(&own, NULL);
	check_clean(repo);
	must(bak_index_snapshot_numbers(bak_repo_index(repo), &numbers, &n, &err), &err);
	for (size_t i = 0; i < n; i++)
		verify_snapshot(repo, numbers[i]);
	for (size_t i = 0; i < stage->n_must; i++) {
		struct bak_snapshot snapshot = {0};
		assert_int_equal(bak_repo_snapshot(repo, stage->must[i], &snapshot, &err), 1);
		bak_snapshot_release(&snapshot);
	}
	free(numbers);
	bak_repo_close(repo);
}

static int add_size(void *ctx, const char *name, uint64_t size)
{
	uint64_t *sum = ctx;
	(void)name;
	*sum += size;
	return 0;
}

uint64_t bak_stage_bytes(struct bak_stage *stage)
{
	struct bak_error err = BAK_ERROR_INIT;
	uint64_t sum = 0;
	assert_int_equal(bak_backend_list(stage->mem, "packs", add_size, &sum, &err), 0);
	return sum;
}

static int add_one(void *ctx, const char *name, uint64_t size)
{
	unsigned *n = ctx;
	(void)name;
	(void)size;
	++*n;
	return 0;
}

unsigned bak_stage_count(struct bak_stage *stage, const char *folder)
{
	struct bak_error err = BAK_ERROR_INIT;
	unsigned n = 0;
	assert_int_equal(bak_backend_list(stage->mem, folder, add_one, &n, &err), 0);
	return n;
}

static int remove_one(void *ctx, const char *name, uint64_t size)
{
	struct bak_error err = BAK_ERROR_INIT;
	(void)size;
	return bak_backend_remove(ctx, name, &err) < 0;
}

void bak_stage_end_leases(struct bak_stage *stage)
{
	struct bak_error err = BAK_ERROR_INIT;
	assert_int_equal(bak_backend_list(stage->mem, "running", remove_one, stage->mem, &err), 0);
}
