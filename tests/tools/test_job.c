/* Restore jobs over real stores: made safe, validated, put back, cancelled, in turn. */
#include "tests/stores/rig.h"
#include "tools/job.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

struct fixture {
	struct rig *rig;
	struct bak_job_request request;
	struct bak_job job;
	struct bak_job_result result;
	struct bak_error err;
	char log[65536], states[1024];
	/* Called when a line of the log begins so, or a state is entered. */
	const char *at;
	void (*then)(struct fixture *fx);
	int fd;
};

static const char *job_path(struct fixture *fx, const char *stem, const char *suffix)
{
	static char path[512];

	snprintf(path, sizeof path, "%s/jobs/%s%s", bak_repo_state_dir(fx->rig->repo), stem,
		 suffix);
	return path;
}

static void look(struct fixture *fx, const char *text)
{
	if (fx->at && strncmp(text, fx->at, strlen(fx->at)) == 0) {
		fx->at = NULL;
		fx->then(fx);
	}
}

static void on_log(void *ctx, const char *line)
{
	struct fixture *fx = ctx;
	size_t n = strlen(fx->log);

	snprintf(fx->log + n, sizeof fx->log - n, "%s\n", line);
	look(fx, line);
}

static void on_progress(void *ctx, const char *state, int percent, uint64_t bytes)
{
	struct fixture *fx = ctx;
	size_t n = strlen(fx->states);

	(void)bytes;
	if (percent >= 0)
		return;
	snprintf(fx->states + n, sizeof fx->states - n, "%s ", state);
	look(fx, state);
}

static int setup(void **state)
{
	struct fixture *fx = calloc(1, sizeof *fx);
	void *rig = NULL;

	if (!fx || rig_setup(&rig) < 0)
		return -1;
	fx->rig = rig;
	fx->fd = -1;
	*state = fx;
	return setenv("D", fx->rig->dir, 1);
}

static int teardown(void **state)
{
	struct fixture *fx = *state;
	void *rig = fx->rig;

	if (fx->fd >= 0)
		close(fx->fd);
	free(fx);
	return rig_teardown(&rig);
}

static int run(struct fixture *fx)
{
	static const char id[] = "store-1795000000000000001";

	fx->request.id = (char *)(uintptr_t)id;
	fx->request.store = fx->rig->conf.name;
	fx->job = (struct bak_job){.request = &fx->request,
				   .repo = fx->rig->repo,
				   .store = &fx->rig->conf,
				   .no_safety = fx->job.no_safety,
				   .workers = 1,
				   .ctx = fx,
				   .log = on_log,
				   .progress = on_progress};
	fx->log[0] = fx->states[0] = '\0';
	fx->err = (struct bak_error)BAK_ERROR_INIT;
	return bak_job_run(&fx->job, &fx->result, &fx->err);
}

static int restore(struct fixture *fx, uint64_t number)
{
	fx->request.from = BAK_JOB_FROM_SNAPSHOT;
	fx->request.snapshot = number;
	return run(fx);
}

static int roll_back(struct fixture *fx)
{
	fx->request.from = BAK_JOB_FROM_ROLLBACK;
	return run(fx);
}

static int upload(struct fixture *fx, const char *name)
{
	fx->request.from = BAK_JOB_FROM_UPLOAD;
	fx->request.upload = (char *)(uintptr_t)rig_path(fx->rig, name);
	return run(fx);
}

static void must(struct fixture *fx, int rc)
{
	if (rc < 0)
		fail_msg("%s", fx->err.msg);
}

static json_t *status(struct fixture *fx)
{
	json_t *json = json_load_file(job_path(fx, fx->result.id, ".json"), 0, NULL);

	assert_non_null(json);
	return json;
}

static void assert_state(struct fixture *fx, const char *state)
{
	json_t *json = status(fx);

	assert_string_equal(json_string_value(json_object_get(json, "state")), state);
	assert_string_equal(json_string_value(json_object_get(json, "id")), fx->result.id);
	assert_string_equal(json_string_value(json_object_get(json, "error")),
			    strcmp(state, "done") ? fx->err.msg : "");
	assert_string_equal(json_string_value(json_object_get(json, "created")),
			    "2026-11-18T11:06:40Z");
	assert_true(json_is_string(json_object_get(json, "finished")));
	assert_true(json_is_false(json_object_get(json, "cancellable")));
	json_decref(json);
}

static void sqlite_store(struct fixture *fx)
{
	rig_sh(fx->rig, "sqlite3 -batch app.db 'CREATE TABLE t(a); INSERT INTO t VALUES(1), (2)'");
	rig_store(fx->rig, "sqlite", "path", rig_path(fx->rig, "app.db"), "busy_timeout", "1s",
		  NULL);
}

static const char *rows(struct fixture *fx)
{
	return rig_out(fx->rig, "sqlite3 -batch app.db 'SELECT count(*) FROM t'");
}

/* --- restores and rollbacks --- */

static void test_files(void **state)
{
	struct fixture *fx = *state;
	char text[256];

	rig_sh(fx->rig, "mkdir src && echo good >src/f");
	rig_store(fx->rig, "files", "path", rig_path(fx->rig, "src"), NULL);
	uint64_t number = rig_backup(fx->rig);
	assert_int_equal(bak_job_rollback_text(fx->rig->repo, "store", text, sizeof text, &fx->err),
			 0);
	rig_sh(fx->rig, "echo bad >src/f");
	must(fx, restore(fx, number));
	assert_string_equal(rig_out(fx->rig, "cat src/f"), "good");
	assert_string_equal(fx->states, "waiting restoring validating ");
	assert_int_equal(fx->result.safety, 0);
	assert_int_equal(fx->result.restored, number);
	assert_state(fx, "done");
	assert_int_equal(bak_job_rollback_text(fx->rig->repo, "store", text, sizeof text, &fx->err),
			 1);
	assert_non_null(strstr(text, "src.before-"));
	must(fx, roll_back(fx));
	assert_string_equal(rig_out(fx->rig, "cat src/f"), "bad");
	must(fx, roll_back(fx));
	assert_string_equal(rig_out(fx->rig, "cat src/f"), "good");
}

static void test_files_only(void **state)
{
	struct fixture *fx = *state;
	char *only[] = {(char *)(uintptr_t) "f"};

	rig_sh(fx->rig, "mkdir src && echo good >src/f && echo good >src/g");
	rig_store(fx->rig, "files", "path", rig_path(fx->rig, "src"), NULL);
	uint64_t number = rig_backup(fx->rig);
	rig_sh(fx->rig, "echo bad >src/f; echo mine >src/g");
	fx->request.only = only;
	fx->request.n_only = 1;
	must(fx, restore(fx, number));
	fx->request.n_only = 0;
	assert_string_equal(rig_out(fx->rig, "cat src/f src/g"), "good\nmine");
	must(fx, roll_back(fx));
	assert_string_equal(rig_out(fx->rig, "cat src/f src/g"), "bad\nmine");
}

/* What a snapshot brought is counted by what it is, not by today's patterns. */
static void test_patterns_changed_since(void **state)
{
	struct fixture *fx = *state;

	rig_sh(fx->rig, "mkdir src && echo good >src/f && echo good >src/g.log");
	rig_store(fx->rig, "files", "path", rig_path(fx->rig, "src"), NULL);
	uint64_t number = rig_backup(fx->rig);
	rig_store(fx->rig, "files", "path", rig_path(fx->rig, "src"), "exclude", "*.log", NULL);
	must(fx, restore(fx, number));
	assert_string_equal(rig_out(fx->rig, "cat src/g.log"), "good");
}

static void test_sqlite(void **state)
{
	struct fixture *fx = *state;
	struct bak_snapshot snapshot = {.number = 0};

	sqlite_store(fx);
	uint64_t number = rig_backup(fx->rig);
	rig_sh(fx->rig, "sqlite3 -batch app.db 'DELETE FROM t WHERE a = 1'");
	must(fx, restore(fx, number));
	assert_string_equal(rows(fx), "2");
	assert_string_equal(fx->states, "waiting safety restoring validating ");
	assert_int_equal(bak_repo_snapshot(fx->rig->repo, fx->result.safety, &snapshot, &fx->err),
			 1);
	assert_string_equal(snapshot.type, "pre-restore");
	bak_snapshot_release(&snapshot);
	/* it is not what "latest" means */
	uint64_t latest;
	assert_int_equal(bak_repo_latest(fx->rig->repo, "store", &latest, &fx->err), 1);
	assert_int_equal(latest, number);
	must(fx, roll_back(fx));
	assert_string_equal(rows(fx), "1");
	must(fx, roll_back(fx));
	assert_string_equal(rows(fx), "2");
}

static void test_damaged_database(void **state)
{
	struct fixture *fx = *state;

	sqlite_store(fx);
	uint64_t number = rig_backup(fx->rig);
	rig_sh(fx->rig, "head -c 9000 /dev/urandom >app.db; cp app.db wreck");
	must(fx, restore(fx, number));
	assert_string_equal(rows(fx), "2");
	assert_true(fx->result.safety > 0);
	must(fx, roll_back(fx));
	rig_sh(fx->rig, "cmp app.db wreck");
	must(fx, roll_back(fx));
	assert_string_equal(rows(fx), "2");
}

static void test_missing_database(void **state)
{
	struct fixture *fx = *state;

	sqlite_store(fx);
	uint64_t number = rig_backup(fx->rig);
	rig_sh(fx->rig, "rm app.db");
	must(fx, restore(fx, number));
	assert_string_equal(rows(fx), "2");
	assert_int_equal(fx->result.safety, 0);
	assert_int_equal(roll_back(fx), -1);
	assert_int_equal(fx->err.code, BAK_NOT_FOUND);
}

static void test_upload(void **state)
{
	struct fixture *fx = *state;
	struct bak_snapshot snapshot = {.number = 0};

	sqlite_store(fx);
	rig_sh(fx->rig,
	       "sqlite3 -batch up.db 'CREATE TABLE t(a); INSERT INTO t VALUES(7)'; echo no "
	       ">text");
	must(fx, upload(fx, "up.db"));
	assert_string_equal(rows(fx), "1");
	assert_true(fx->result.imported > 0 && fx->result.restored == fx->result.imported);
	assert_int_equal(bak_repo_snapshot(fx->rig->repo, fx->result.imported, &snapshot, &fx->err),
			 1);
	assert_string_equal(snapshot.type, "import");
	bak_snapshot_release(&snapshot);
	must(fx, roll_back(fx));
	assert_string_equal(rows(fx), "2");
	/* what is not of the kind changes nothing, and no copy is made for it */
	assert_int_equal(upload(fx, "text"), -1);
	assert_non_null(strstr(fx->err.msg, "file is not a database"));
	assert_int_equal(fx->result.safety, 0);
	assert_string_equal(rows(fx), "2");
	assert_state(fx, "failed");
}

/* --- when it goes wrong --- */

static void test_no_safety_no_restore(void **state)
{
	struct fixture *fx = *state;

	rig_sh(fx->rig, "echo good >data");
	rig_store(fx->rig, "command", "dump", "[ ! -e $D/broken ] && cat $D/data",
		  "restore_command", "cat >$D/data", NULL);
	uint64_t number = rig_backup(fx->rig);
	rig_sh(fx->rig, "echo bad >data; touch broken");
	assert_int_equal(restore(fx, number), -1);
	assert_non_null(strstr(fx->err.msg, "nothing was changed"));
	assert_non_null(strstr(fx->err.msg, "--no-safety"));
	assert_string_equal(rig_out(fx->rig, "cat data"), "bad");
	assert_state(fx, "failed");
	fx->job.no_safety = true;
	must(fx, restore(fx, number));
	assert_string_equal(rig_out(fx->rig, "cat data"), "good");
	fx->job.no_safety = false;
	rig_sh(fx->rig, "rm broken");
	assert_int_equal(roll_back(fx), -1);
	assert_non_null(strstr(fx->err.msg, "made no safety copy"));
}

static void test_other_counts_are_rolled_back(void **state)
{
	struct fixture *fx = *state;

	rig_sh(fx->rig, "echo 5 >data");
	rig_store(fx->rig, "command", "dump", "cat $D/data", "counts", "echo n $(cat $D/data)",
		  "restore_command", "n=$(cat); [ $n = 6 ] || n=4; echo $n >$D/data", NULL);
	uint64_t number = rig_backup(fx->rig);
	rig_sh(fx->rig, "echo 6 >data");
	assert_int_equal(restore(fx, number), -1);
	assert_true(fx->result.rolled_back);
	assert_non_null(strstr(fx->err.msg, "failed, and what was there is back"));
	assert_non_null(strstr(fx->err.msg, "n: 4, and the snapshot has 5"));
	assert_string_equal(rig_out(fx->rig, "cat data"), "6");
	assert_string_equal(fx->states, "waiting safety restoring validating rolling-back ");
	/* there is nothing to undo now */
	assert_int_equal(roll_back(fx), -1);
	assert_int_equal(fx->err.code, BAK_NOT_FOUND);
}

static void test_half_restored_is_put_back(void **state)
{
	struct fixture *fx = *state;

	rig_sh(fx->rig, "echo old >data");
	rig_store(fx->rig, "command", "dump", "cat $D/data", "restore_command",
		  "cat >$D/data; ! grep -q old $D/data", NULL);
	uint64_t number = rig_backup(fx->rig);
	rig_sh(fx->rig, "echo new >data");
	assert_int_equal(restore(fx, number), -1);
	assert_true(fx->result.rolled_back);
	assert_string_equal(rig_out(fx->rig, "cat data"), "new");
}

static void test_refusals(void **state)
{
	struct fixture *fx = *state;
	char *only[] = {(char *)(uintptr_t) "f"};

	sqlite_store(fx);
	uint64_t number = rig_backup(fx->rig);
	assert_int_equal(restore(fx, 77), -1);
	assert_int_equal(fx->err.code, BAK_NOT_FOUND);
	fx->request.only = only;
	fx->request.n_only = 1;
	assert_int_equal(restore(fx, number), -1);
	assert_int_equal(fx->err.code, BAK_UNSUPPORTED);
	fx->request.n_only = 0;
	rig_store(fx->rig, "files", "path", rig_path(fx->rig, "src"), NULL);
	assert_int_equal(restore(fx, number), -1);
	assert_non_null(strstr(fx->err.msg, "of type sqlite, and store is of type files"));
	rig_store(fx->rig, "sqlite", "path", rig_path(fx->rig, "app.db"), "restore", "no", NULL);
	assert_int_equal(restore(fx, number), -1);
	assert_int_equal(fx->err.code, BAK_REFUSED);
}

/* --- cancelling, and taking turns --- */

static void cancel(struct fixture *fx)
{
	int lock = open(job_path(fx, fx->result.id, ".lock"), O_RDWR);

	assert_true(lock >= 0);
	assert_int_equal(flock(lock, LOCK_EX | LOCK_NB), 0);
	int fd = open(job_path(fx, fx->result.id, ".cancel"), O_WRONLY | O_CREAT, 0600);
	close(fd);
	close(lock);
}

static void test_cancelled_while_it_waits(void **state)
{
	struct fixture *fx = *state;

	sqlite_store(fx);
	uint64_t number = rig_backup(fx->rig);
	fx->request.delay_s = 1000;
	fx->at = "waiting";
	fx->then = cancel;
	assert_int_equal(restore(fx, number), -1);
	assert_int_equal(fx->err.code, BAK_CANCELLED);
	assert_state(fx, "cancelled");
	assert_string_equal(fx->states, "waiting ");
}

static void test_cancelled_in_the_last_moment(void **state)
{
	struct fixture *fx = *state;

	sqlite_store(fx);
	uint64_t number = rig_backup(fx->rig);
	rig_sh(fx->rig, "sqlite3 -batch app.db 'DELETE FROM t'");
	fx->at = "restoring";
	fx->then = cancel;
	assert_int_equal(restore(fx, number), -1);
	assert_int_equal(fx->err.code, BAK_CANCELLED);
	assert_string_equal(rows(fx), "0");
}

static void assert_too_late(struct fixture *fx)
{
	int lock = open(job_path(fx, fx->result.id, ".lock"), O_RDWR);

	assert_int_equal(flock(lock, LOCK_EX | LOCK_NB), -1);
	close(lock);
	json_t *json = status(fx);
	assert_true(json_is_false(json_object_get(json, "cancellable")));
	json_decref(json);
	fx->fd = -2;
}

static void test_too_late_to_cancel(void **state)
{
	struct fixture *fx = *state;

	rig_sh(fx->rig, "mkdir src && echo good >src/f");
	rig_store(fx->rig, "files", "path", rig_path(fx->rig, "src"), NULL);
	uint64_t number = rig_backup(fx->rig);
	fx->at = "what was there is kept";
	fx->then = assert_too_late;
	must(fx, restore(fx, number));
	assert_int_equal(fx->fd, -2);
}

static void release_store(struct fixture *fx)
{
	json_t *json = status(fx);

	assert_string_equal(json_string_value(json_object_get(json, "state")), "queued");
	json_decref(json);
	close(fx->fd);
	fx->fd = -1;
}

static void test_one_job_at_a_time(void **state)
{
	struct fixture *fx = *state;

	sqlite_store(fx);
	uint64_t number = rig_backup(fx->rig);
	must(fx, restore(fx, number)); /* makes the folder */
	fx->fd = open(job_path(fx, "store", ".lock"), O_RDWR);
	assert_int_equal(flock(fx->fd, LOCK_EX | LOCK_NB), 0);
	fx->at = "waiting for another job";
	fx->then = release_store;
	must(fx, restore(fx, number));
	assert_null(fx->at);
}

static void test_old_jobs_go(void **state)
{
	struct fixture *fx = *state;

	sqlite_store(fx);
	uint64_t number = rig_backup(fx->rig);
	must(fx, restore(fx, number));
	rig_sh(fx->rig,
	       "cd '%s/jobs' && for i in $(seq -w 60); do touch store-17940000000000000$i.json "
	       "store-17940000000000000$i.log other-17940000000000000$i.json; done",
	       bak_repo_state_dir(fx->rig->repo));
	must(fx, restore(fx, number));
	assert_string_equal(rig_out(fx->rig,
				    "cd '%s/jobs' && ls | grep -c '^store-.*json'; ls | grep -c "
				    "'^store-.*log'; ls | grep -c other; ls | grep 2010[.] || :",
				    bak_repo_state_dir(fx->rig->repo)),
			    "50\n50\n60");
}

/* --- the request --- */

static int read_request(const char *text, struct bak_job_request *out, struct bak_error *err)
{
	int fds[2];

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	assert_int_equal(write(fds[1], text, strlen(text)), (ssize_t)strlen(text));
	close(fds[1]);
	int rc = bak_job_request_read(fds[0], out, err);
	close(fds[0]);
	return rc;
}

static void test_requests(void **state)
{
	struct bak_job_request request;
	struct bak_error err = BAK_ERROR_INIT;

	(void)state;
	assert_int_equal(read_request("{\"id\": \"app-1\", \"store\": \"app\", \"delay\": 5, "
				      "\"secret\": {\"kind\": \"password\", \"hex\": \"6162\"}, "
				      "\"description\": \"touch 12\", \"from\": {\"snapshot\": 12, "
				      "\"only\": [\"a/b\", \"c\"]}}",
				      &request, &err),
			 0);
	assert_string_equal(request.id, "app-1");
	assert_string_equal(request.store, "app");
	assert_int_equal(request.delay_s, 5);
	assert_int_equal(request.secret.kind, BAK_SECRET_PASSWORD);
	assert_memory_equal(request.secret.p, "ab", 2);
	assert_int_equal(request.snapshot, 12);
	assert_int_equal(request.n_only, 2);
	assert_string_equal(request.only[1], "c");
	bak_job_request_release(&request);

	static const char *const bad[] = {
		"",
		"[]",
		"{}",
		"{\"id\": \"x\", \"store\": \"../x\"}",
		"{\"id\": \"x\", \"store\": \"x\", \"secret\": {\"kind\": \"password\", \"hex\": "
		"\"6\"}, \"from\": {\"rollback\": true}}",
		"{\"id\": \"x\", \"store\": \"x\", \"secret\": {\"kind\": \"password\", \"hex\": "
		"\"zz\"}, \"from\": {\"rollback\": true}}",
		"{\"id\": \"x\", \"store\": \"x\", \"secret\": {\"kind\": \"password\", \"hex\": "
		"\"61\"}, \"from\": {\"snapshot\": -1}}",
		"{\"id\": \"x\", \"store\": \"x\", \"secret\": {\"kind\": \"password\", \"hex\": "
		"\"61\"}, \"from\": {\"snapshot\": 1, \"only\": [1]}}"};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		assert_int_equal(read_request(bad[i], &request, &err), -1);
		assert_int_equal(err.code, BAK_USAGE);
	}
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_files),
		TEST(test_files_only),
		TEST(test_patterns_changed_since),
		TEST(test_sqlite),
		TEST(test_damaged_database),
		TEST(test_missing_database),
		TEST(test_upload),
		TEST(test_no_safety_no_restore),
		TEST(test_other_counts_are_rolled_back),
		TEST(test_half_restored_is_put_back),
		TEST(test_refusals),
		TEST(test_cancelled_while_it_waits),
		TEST(test_cancelled_in_the_last_moment),
		TEST(test_too_late_to_cancel),
		TEST(test_one_job_at_a_time),
		TEST(test_old_jobs_go),
		cmocka_unit_test(test_requests),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
