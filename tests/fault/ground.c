/* A repository on which faults happen: see ground.h. */
#include "tests/fault/ground.h"

#include "engine/ops/extract.h"
#include "engine/ops/verify.h"
#include "tests/fault/calls.h"
#include "tests/fault/folders.h"
#include "tests/lib/world.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#define BIG 400000
#define RANDOM 70000
#define MANY 6

/* --- the store --- */

/* Each version changes a few lines all over the first file, and one of the small ones. */
static size_t fill(unsigned file, unsigned version, uint8_t *p)
{
	if (file == 0) {
		static uint8_t text[BIG]; /* it takes longer to make than to store */
		if (!text[0])
			bak_fill_text(text, BIG, 1);
		memcpy(p, text, BIG);
		for (unsigned v = 2; v <= version; v++)
			for (size_t at = 1000 * v; at + 16 < BIG; at += 37000)
				snprintf((char *)p + at, 16, "edited in %05u", v);
		return BIG;
	}
	size_t len = file == 1 ? RANDOM : 300;
	bak_fill_random(p, len, file > 1 && version % MANY == file - 2 ? 100 + version : file);
	return len;
}

static int write_file(struct bak_writer *w, unsigned file, unsigned version, struct bak_error *err)
{
	uint8_t *p = malloc(BIG);
	char name[16];
	if (!p)
		return bak_error_nomem(err);
	size_t len = fill(file, version, p);
	struct bak_source_inode in = bak_test_inode(BAK_TYPE_FILE, 10 + file, len);
	if (file == 0 || (file > 1 && version % MANY == file - 2))
		in.inode.mtime_s += version;
	snprintf(name, sizeof name, "file-%u", file);
	int rc = bak_writer_reuse(w, name, &in, err);
	if (rc == 0) {
		rc = bak_writer_file(w, name, &in, BAK_HINT_NONE, err);
		if (rc == 0)
			rc = bak_writer_data(w, p, len, err);
		if (rc == 0)
			rc = bak_writer_file_end(w, NULL, err);
	}
	free(p);
	return rc < 0 ? -1 : 0;
}

/* Two names of one file: what the link table is for. */
static int write_links(struct bak_writer *w, struct bak_error *err)
{
	struct bak_source_inode in = bak_test_inode(BAK_TYPE_FILE, 99, 5);
	static const char *const names[] = {"link-1", "link-2"};
	int rc = 0;
	in.nlink = 2;
	for (size_t i = 0; i < 2 && rc >= 0; i++) {
		rc = bak_writer_reuse(w, names[i], &in, err);
		if (rc != 0)
			continue;
		if (bak_writer_file(w, names[i], &in, BAK_HINT_NONE, err) < 0 ||
		    bak_writer_data(w, "links", 5, err) < 0 ||
		    bak_writer_file_end(w, NULL, err) < 0)
			rc = -1;
	}
	return rc < 0 ? -1 : 0;
}

static int write_version(struct bak_writer *w, unsigned version, struct bak_error *err)
{
	struct bak_source_inode dir = bak_test_inode(BAK_TYPE_DIR, 9, 0);
	if (write_links(w, err) < 0 || bak_writer_enter(w, "sub", &dir, err) < 0)
		return -1;
	for (unsigned file = 0; file < 2 + MANY; file++)
		if (write_file(w, file, version, err) < 0)
			return -1;
	return bak_writer_leave(w, err);
}

void ground_expect_files(const char *folder, unsigned version, const char *after)
{
	uint8_t *want = malloc(BIG), *got = malloc(BIG + 1);
	for (unsigned file = 0; file < 2 + MANY; file++) {
		char name[256];
		snprintf(name, sizeof name, "%s/sub/file-%u", folder, file);
		FILE *f = fopen(name, "re");
		if (!f)
			fail_msg("%s: %s is missing", after, name);
		size_t len = fill(file, version, want);
		if (fread(got, 1, BIG + 1, f) != len || memcmp(want, got, len) != 0)
			fail_msg("%s: %s has other bytes", after, name);
		fclose(f);
	}
	free(want);
	free(got);
}

/* --- making it, and putting it back --- */

static struct bak_repo_conf conf_of(struct ground *ground)
{
	return (struct bak_repo_conf){.path = ground->repo_path,
				      .cache_dir = ground->cache,
				      .state_dir = ground->state,
				      .host = "here",
				      .scrypt_log_n = 10};
}

int ground_open(struct ground *ground, struct bak_error *err)
{
	struct bak_repo_conf conf = conf_of(ground);
	ground_close(ground);
	return bak_repo_open(&conf, &ground->secret, &ground->repo, err);
}

void ground_close(struct ground *ground)
{
	bak_repo_close(ground->repo);
	ground->repo = NULL;
}

static int back_up(struct ground *ground, unsigned version, struct bak_error *err)
{
	const char *stores[] = {"app"};
	struct bak_run *run = NULL;
	struct bak_backup *backup = NULL;
	struct bak_backup_conf conf = {.store = "app", .driver = "files", .workers = 1};
	uint64_t number;
	json_t *facts = json_object();
	int rc = bak_run_begin(ground->repo, "manual", "", stores, 1, &run, err);
	if (rc == 0)
		rc = bak_backup_begin(run, &conf, &backup, err);
	if (rc == 0)
		rc = write_version(bak_backup_writer(backup), version, err);
	if (rc == 0)
		rc = bak_backup_commit(backup, facts, NULL, &number, err);
	bak_backup_free(backup);
	bak_run_end(run);
	json_decref(facts);
	return rc;
}

int ground_backup(struct ground *ground, unsigned version, struct bak_error *err)
{
	int rc = ground_open(ground, err);
	if (rc == 0)
		rc = back_up(ground, version, err);
	ground_close(ground);
	return rc;
}

void ground_make(struct ground *ground, unsigned snapshots)
{
	struct bak_error err = BAK_ERROR_INIT;
	*ground = (struct ground){.snapshots = snapshots};
	calls_clock = 0;
	/* In memory where that can be had: a disk would only make it slow. */
	snprintf(ground->dir, sizeof ground->dir, "%s/bakfs-fault.XXXXXX",
		 access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	if (!mkdtemp(ground->dir))
		fail_msg("cannot make %s", ground->dir);
	snprintf(ground->work, sizeof ground->work, "%s/work", ground->dir);
	snprintf(ground->repo_path, sizeof ground->repo_path, "%s/repo", ground->work);
	snprintf(ground->cache, sizeof ground->cache, "%s/cache", ground->work);
	snprintf(ground->state, sizeof ground->state, "%s/state", ground->work);
	snprintf(ground->out, sizeof ground->out, "%s/out", ground->work);
	folder_clear(ground->work);
	folder_clear(ground->out);
	char key[80], packs[128];
	snprintf(key, sizeof key, "%s/key", ground->dir);
	bak_must(bak_secret_keyfile_create(&ground->secret, key, &err), &err);
	struct bak_repo_conf conf = conf_of(ground);
	bak_must(bak_repo_init(&conf, &ground->secret, "test", &err), &err);
	for (unsigned version = 1; version <= snapshots; version++)
		bak_must(ground_backup(ground, version, &err), &err);
	/* Folders of packs that are empty may be missing; listing all of them is what costs most. */
	snprintf(packs, sizeof packs, "%s/packs", ground->repo_path);
	folder_prune(packs);
	snprintf(ground->base, sizeof ground->base, "%s/base", ground->dir);
	folder_copy(ground->work, ground->base);
}

void ground_free(struct ground *ground)
{
	ground_close(ground);
	bak_secret_release(&ground->secret);
	folder_remove(ground->dir);
}

void ground_reset(struct ground *ground)
{
	ground_close(ground);
	folder_remove(ground->work);
	folder_copy(ground->base, ground->work);
}

void ground_keep(struct ground *ground)
{
	ground_close(ground);
	folder_remove(ground->base);
	folder_copy(ground->work, ground->base);
}

void ground_end_leases(struct ground *ground)
{
	char path[128];
	snprintf(path, sizeof path, "%s/running", ground->repo_path);
	folder_clear(path);
}

/* --- what must be true --- */

struct findings {
	unsigned n;
	char first[512];
};

static void count_finding(void *ctx, const char *what, const char *where, const char *why)
{
	struct findings *findings = ctx;
	if (findings->n++ == 0)
		snprintf(findings->first, sizeof findings->first, "%s, %s: %s", what,
			 where ? where : "", why);
}

static bool is_gone(struct ground *ground, uint64_t number)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_snapshot_row row = {0};
	int rc = bak_index_snapshot(bak_repo_index(ground->repo), number, &row, &err);
	bool gone = rc == 0 || (rc == 1 && row.forgotten);
	bak_snapshot_row_release(&row);
	return gone;
}

void ground_expect_sound(struct ground *ground, bool without_index, const char *after)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct findings findings = {0};
	struct bak_verify_conf conf = {.finding = count_finding, .ctx = &findings};
	struct bak_check_result check;
	ground_close(ground);
	if (without_index)
		folder_clear(ground->cache);
	if (ground_open(ground, &err) < 0 || bak_check(ground->repo, &conf, &check, &err) < 0)
		fail_msg("%s: then: %s", after, err.msg);
	for (uint64_t n = 1; n <= ground->snapshots; n++) {
		struct bak_verify_result verify = {0};
		if (n <= ground->may_go && is_gone(ground, n))
			continue;
		if (bak_verify(ground->repo, n, &conf, &verify, &err) < 0)
			fail_msg("%s: then snapshot %llu: %s", after, (unsigned long long)n,
				 err.msg);
	}
	if (findings.n)
		fail_msg("%s: not clean: %s", after, findings.first);
}

void ground_expect_version(struct ground *ground, uint64_t number, unsigned version,
			   const char *after)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_snapshot snapshot = {0};
	struct bak_extract_conf conf = {.verify = true};
	struct bak_extract_result result = {0};
	folder_clear(ground->out);
	int fd = open(ground->out, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (bak_repo_snapshot(ground->repo, number, &snapshot, &err) != 1 ||
	    bak_extract(ground->repo, &snapshot, fd, &conf, &result, &err) < 0 || result.damaged)
		fail_msg("%s: snapshot %llu: %s", after, (unsigned long long)number, err.msg);
	close(fd);
	bak_snapshot_release(&snapshot);
	ground_expect_files(ground->out, version, after);
}

uint64_t ground_highest(struct ground *ground)
{
	struct bak_error err = BAK_ERROR_INIT;
	uint64_t highest = 0;
	bak_must(bak_index_highest(bak_repo_index(ground->repo), &highest, &err), &err);
	return highest;
}
