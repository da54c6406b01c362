/* A repository in memory for tests of drivers: see rig.h. */
#include "rig.h"

#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void keep_line(char *all, size_t len, const char *line)
{
	size_t n = strlen(all);

	snprintf(all + n, len - n, "%s\n", line);
}

static void on_log(void *ctx, const char *line)
{
	struct rig *rig = ctx;

	keep_line(rig->log, sizeof rig->log, line);
}

static void on_warn(void *ctx, const char *line)
{
	struct rig *rig = ctx;

	keep_line(rig->warnings, sizeof rig->warnings, line);
}

static int is_cancelled(void *ctx)
{
	return ((struct rig *)ctx)->cancel;
}

static int no_return(void *ctx, struct bak_error *err)
{
	struct rig *rig = ctx;

	rig->no_returns++;
	if (rig->on_no_return)
		rig->on_no_return(rig->no_return_ctx);
	return rig->refuse_no_return ? bak_error_set(err, BAK_CANCELLED, "cancelled") : 0;
}

static void must(int rc, const struct bak_error *err)
{
	if (rc < 0)
		fail_msg("%s", err->msg);
}

static void open_repo(struct rig *rig, bool make)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_secret secret = {.kind = BAK_SECRET_NONE};
	char state_dir[128], cache_dir[128];

	snprintf(state_dir, sizeof state_dir, "%s.state", rig->dir);
	snprintf(cache_dir, sizeof cache_dir, "%s.state/cache", rig->dir);
	must(bak_secret_password(&secret, "test", 4, &err), &err);
	struct bak_repo_conf conf = {.backend = rig->mem,
				     .state_dir = state_dir,
				     .cache_dir = cache_dir,
				     .host = "here",
				     .scrypt_log_n = 10};
	if (make)
		must(bak_repo_init(&conf, &secret, "test", &err), &err);
	must(bak_repo_open(&conf, &secret, &rig->repo, &err), &err);
	bak_secret_release(&secret);
}

int rig_setup(void **state)
{
	struct rig *rig = calloc(1, sizeof *rig);
	struct bak_error err = BAK_ERROR_INIT;

	assert_non_null(rig);
	*state = rig;
	snprintf(rig->dir, sizeof rig->dir, "/tmp/bakfs-store-XXXXXX");
	assert_non_null(mkdtemp(rig->dir));
	must(bak_backend_mem_new(&rig->mem, &err), &err);
	open_repo(rig, true);
	rig->env = (struct bak_store_env){.ctx = rig,
					  .log = on_log,
					  .warn = on_warn,
					  .cancelled = is_cancelled,
					  .point_of_no_return = no_return};
	return 0;
}

/* Data comes first in a pack, trees and the footer last. */
#define LARGE_PACK 100000
#define DAMAGE_AT 1000

struct names {
	char names[16][128];
	size_t n;
};

static int keep_large(void *ctx, const char *name, uint64_t size)
{
	struct names *names = ctx;

	if (size >= LARGE_PACK && names->n < 16)
		snprintf(names->names[names->n++], sizeof names->names[0], "%s", name);
	return 0;
}

static void damage(struct rig *rig)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct names names = {.n = 0};

	must(bak_backend_list(rig->mem, "packs", keep_large, &names, &err), &err);
	assert_true(names.n > 0);
	for (size_t i = 0; i < names.n; i++) {
		BAK_AUTO(bak_buf_release) struct bak_buf whole = BAK_BUF_INIT;

		assert_int_equal(
			bak_backend_get(rig->mem, names.names[i], 0, SIZE_MAX, &whole, &err), 1);
		whole.p[DAMAGE_AT] ^= 1;
		assert_int_equal(bak_backend_remove(rig->mem, names.names[i], &err), 1);
		assert_int_equal(
			bak_backend_put(rig->mem, "test", names.names[i], whole.p, whole.len, &err),
			1);
	}
}

void rig_reopen(struct rig *rig, bool damaged)
{
	bak_repo_close(rig->repo);
	if (damaged)
		damage(rig);
	open_repo(rig, false);
}

int rig_teardown(void **state)
{
	struct rig *rig = *state;

	bak_repo_close(rig->repo);
	bak_backend_close(rig->mem);
	bak_store_conf_release(&rig->conf);
	rig_try(rig, "cd / && chmod -R u+rwx '%s'; rm -rf '%s' '%s.state'", rig->dir, rig->dir,
		rig->dir);
	free(rig);
	return 0;
}

void rig_store(struct rig *rig, const char *driver, ...)
{
	struct bak_error err = BAK_ERROR_INIT;
	const char *key;
	size_t pair;
	va_list ap;

	bak_store_conf_release(&rig->conf);
	rig->conf = (struct bak_store_conf){.name = strdup("store"), .driver = strdup(driver)};
	va_start(ap, driver);
	while ((key = va_arg(ap, const char *)) != NULL) {
		rig->conf.pairs = realloc(rig->conf.pairs,
					  (rig->conf.n + 1) * sizeof *rig->conf.pairs);
		rig->conf.pairs[rig->conf.n++] = (struct bak_store_pair){
			.key = strdup(key), .value = strdup(va_arg(ap, const char *))};
	}
	va_end(ap);
	must(bak_store_conf_check(&rig->conf, &pair, &err), &err);
}

const char *rig_path(struct rig *rig, const char *name)
{
	static char paths[8][512];
	static unsigned next;
	char *path = paths[next++ % 8];

	snprintf(path, sizeof paths[0], "%s/%s", rig->dir, name);
	return path;
}

static int run(struct rig *rig, const char *command)
{
	char whole[8192];

	snprintf(whole, sizeof whole, "cd '%s' && { %s\n}", rig->dir, command);
	int status = system(whole);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
}

#define FORMAT(rig_text)                               \
	char rig_text[4096];                           \
	va_list ap;                                    \
	va_start(ap, fmt);                             \
	vsnprintf(rig_text, sizeof rig_text, fmt, ap); \
	va_end(ap)

void rig_sh(struct rig *rig, const char *fmt, ...)
{
	FORMAT(command);
	int rc = run(rig, command);
	if (rc)
		fail_msg("exit %d of: %s", rc, command);
}

int rig_try(struct rig *rig, const char *fmt, ...)
{
	FORMAT(command);
	return run(rig, command);
}

const char *rig_out(struct rig *rig, const char *fmt, ...)
{
	static char out[65536];
	char whole[8192];
	FORMAT(command);

	snprintf(whole, sizeof whole, "cd '%s' && { %s\n}", rig->dir, command);
	FILE *pipe = popen(whole, "r");
	assert_non_null(pipe);
	size_t n = fread(out, 1, sizeof out - 1, pipe);
	int status = pclose(pipe);
	if (status)
		fail_msg("status %d of: %s", status, command);
	while (n && out[n - 1] == '\n')
		n--;
	out[n] = '\0';
	return out;
}

void rig_settle(struct rig *rig, const char *name)
{
	struct stat st;

	assert_int_equal(lstat(rig_path(rig, name), &st), 0);
	while (time(NULL) <= st.st_ctim.tv_sec)
		sched_yield();
}

/* --- the driver's calls --- */

static const struct bak_store_driver *driver_of(struct rig *rig)
{
	return bak_store_driver_find(rig->conf.driver);
}

static int fill(struct rig *rig, struct bak_backup *backup, const char *path, json_t *facts,
		struct bak_error *err)
{
	void *store = NULL;
	int rc = driver_of(rig)->open(&rig->conf, &rig->env, &store, err);

	if (rc == 0 && path)
		rc = driver_of(rig)->import(store, path, bak_backup_writer(backup), facts, err);
	else if (rc == 0)
		rc = driver_of(rig)->backup(store, bak_backup_writer(backup), facts, err);
	driver_of(rig)->close(store);
	return rc;
}

static void progress(void *ctx, const struct bak_writer_progress *progress)
{
	struct rig *rig = ctx;

	if (rig->on_progress)
		rig->on_progress(rig, progress->path, progress->bytes);
}

int rig_try_backup(struct rig *rig, const char *path, uint64_t *out_number, struct bak_error *err)
{
	const char *names[] = {rig->conf.name};
	struct bak_backup_conf conf = {
		.store = rig->conf.name,
		.driver = rig->conf.driver,
		.workers = 1,
		.progress = progress,
		.progress_ctx = rig,
	};
	struct bak_backup *backup = NULL;
	struct bak_run *a_run = NULL;
	json_t *facts = json_object();

	rig->warnings[0] = rig->log[0] = '\0';
	must(bak_run_begin(rig->repo, "manual", "", names, 1, &a_run, err), err);
	must(bak_backup_begin(a_run, &conf, &backup, err), err);
	int rc = fill(rig, backup, path, facts, err);
	if (rc == 0) {
		must(bak_backup_commit(backup, facts, NULL, out_number, err), err);
		rig->result = *bak_backup_result(backup);
	}
	bak_backup_free(backup);
	bak_run_end(a_run);
	json_decref(facts);
	return rc;
}

uint64_t rig_backup(struct rig *rig)
{
	struct bak_error err = BAK_ERROR_INIT;
	uint64_t number = 0;

	must(rig_try_backup(rig, NULL, &number, &err), &err);
	return number;
}

int rig_try_restore(struct rig *rig, uint64_t number, const char *const *only, size_t n_only,
		    json_t **out_state, struct bak_error *err)
{
	struct bak_snapshot snapshot = {.number = 0};
	struct bak_restore_from from = {
		.repo = rig->repo, .snapshot = &snapshot, .only = only, .n_only = n_only};
	json_t *json = json_object();
	void *store = NULL;

	rig->warnings[0] = rig->log[0] = '\0';
	assert_int_equal(bak_repo_snapshot(rig->repo, number, &snapshot, err), 1);
	int rc = driver_of(rig)->open(&rig->conf, &rig->env, &store, err);
	if (rc == 0)
		rc = driver_of(rig)->restore(store, &from, json, err);
	driver_of(rig)->close(store);
	bak_snapshot_release(&snapshot);
	if (out_state)
		*out_state = json;
	else
		json_decref(json);
	return rc;
}

json_t *rig_restore(struct rig *rig, uint64_t number)
{
	struct bak_error err = BAK_ERROR_INIT;
	json_t *json = NULL;

	must(rig_try_restore(rig, number, NULL, 0, &json, &err), &err);
	return json;
}

int rig_rollback(struct rig *rig, const json_t *json, struct bak_error *err)
{
	void *store = NULL;
	int rc = driver_of(rig)->open(&rig->conf, &rig->env, &store, err);

	if (rc == 0)
		rc = driver_of(rig)->rollback(store, json, err);
	driver_of(rig)->close(store);
	return rc;
}

json_t *rig_counts(struct rig *rig)
{
	struct bak_error err = BAK_ERROR_INIT;
	json_t *counts = json_object();
	void *store = NULL;

	must(driver_of(rig)->open(&rig->conf, &rig->env, &store, &err), &err);
	int rc = driver_of(rig)->counts(store, counts, &err);
	driver_of(rig)->close(store);
	must(rc, &err);
	return counts;
}

json_t *rig_facts(struct rig *rig, uint64_t number)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_snapshot snapshot = {.number = 0};

	assert_int_equal(bak_repo_snapshot(rig->repo, number, &snapshot, &err), 1);
	json_t *facts = bak_snapshot_facts(&snapshot);
	bak_snapshot_release(&snapshot);
	return facts;
}

void rig_extract(struct rig *rig, uint64_t number, const char *name)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_snapshot snapshot = {.number = 0};
	struct bak_extract_conf conf = {.owners = true, .verify = true};
	struct bak_extract_result result;

	assert_int_equal(mkdir(rig_path(rig, name), 0700), 0);
	int fd = open(rig_path(rig, name), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(bak_repo_snapshot(rig->repo, number, &snapshot, &err), 1);
	int rc = bak_extract(rig->repo, &snapshot, fd, &conf, &result, &err);
	bak_snapshot_release(&snapshot);
	close(fd);
	must(rc, &err);
	assert_int_equal(result.damaged, 0);
	assert_int_equal(result.attributes_lost, 0);
}
