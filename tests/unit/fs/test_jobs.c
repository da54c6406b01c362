/* Jobs as files: what is read of them, whatever stands there; cancelling; starting. */
#include "fs/jobs.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define ID "app-1763733732000000001"
#define LATER "app-1763733732000000002"
#define OTHER "app-x-1763733732000000003"

static char dir[64];

static int setup(void **state)
{
	(void)state;
	snprintf(dir, sizeof dir, "/tmp/bakfs-jobs-XXXXXX");
	return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	char command[128];
	snprintf(command, sizeof command, "rm -r %s", dir);
	return system(command);
}

static void put(const char *name, const char *text)
{
	char path[256];
	snprintf(path, sizeof path, "%s/%s", dir, name);
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static void put_job_as(const char *id, const char *state, int pid, bool cancellable)
{
	char name[128], text[512], now[BAK_TIME_LEN + 1];
	bak_time_format(time(NULL), now);
	snprintf(name, sizeof name, "%s.json", id);
	snprintf(text, sizeof text,
		 "{\"id\":\"%s\",\"store\":\"app\",\"state\":\"%s\",\"percent\":42,\"bytes\":7,"
		 "\"target\":\"/x\",\"source\":\"a\\nb\",\"error\":null,\"created\":\"%s\","
		 "\"finished\":null,\"pid\":%d,\"cancellable\":%s,\"more\":1}",
		 id, state, now, pid, cancellable ? "true" : "false");
	put(name, text);
}

static void put_job(const char *id, const char *state, int pid)
{
	put_job_as(id, state, pid, true);
}

static struct bak_job_info load(const char *id)
{
	struct bak_job_info info;
	struct bak_error err = BAK_ERROR_INIT;
	assert_int_equal(bak_job_load(dir, id, &info, &err), 1);
	return info;
}

static void test_ids(void **state)
{
	(void)state;
	assert_int_equal(bak_job_store_len(ID), 3);
	assert_int_equal(bak_job_store_len(OTHER), 5);
	assert_int_equal(bak_job_store_len("1763733732000000001"), 0);
	assert_int_equal(bak_job_store_len("-1763733732000000001"), 0);
	assert_int_equal(bak_job_store_len("app-176373373200000000x"), 0);
	assert_int_equal(bak_job_store_len("app"), 0);
}

static void test_load(void **state)
{
	(void)state;
	put_job(ID, "restoring", (int)getpid());
	struct bak_job_info info = load(ID);
	assert_string_equal(info.state, "restoring");
	assert_int_equal(info.percent, 42);
	assert_int_equal(info.bytes, 7);
	assert_string_equal(info.source, "a b"); /* one line, whatever it says */
	assert_string_equal(info.error, "");
	assert_false(info.died);
	struct bak_error err = BAK_ERROR_INIT;
	assert_int_equal(bak_job_load(dir, LATER, &info, &err), 0);
	assert_int_equal(bak_job_load(dir, "../../etc/passwd", &info, &err), 0);
	put(LATER ".json", "{\"id\": ");
	assert_int_equal(bak_job_load(dir, LATER, &info, &err), -1);
	put(LATER ".json", "{\"percent\":1e300,\"bytes\":-4,\"pid\":-1,\"created\":\"soon\"}");
	info = load(LATER);
	assert_int_equal(info.percent, -1);
	assert_int_equal(info.bytes, 0);
}

/* A process id that is nobody's any more. */
static pid_t gone_pid(void)
{
	pid_t pid = fork();
	if (pid == 0)
		_exit(0);
	waitpid(pid, NULL, 0);
	return pid;
}

static void test_died(void **state)
{
	(void)state;
	struct bak_error err = BAK_ERROR_INIT;
	put_job(ID, "waiting", (int)gone_pid());
	struct bak_job_info info = load(ID);
	assert_string_equal(info.state, "failed");
	assert_true(info.died);
	assert_non_null(strstr(info.error, "nothing was changed"));
	put_job(ID, "restoring", (int)gone_pid());
	assert_non_null(strstr(load(ID).error, "nothing was changed"));
	put_job_as(ID, "restoring", (int)gone_pid(), false);
	info = load(ID);
	assert_null(strstr(info.error, "nothing was changed"));
	assert_int_equal(bak_job_write_failed(dir, &info, &err), 0);
	info = load(ID);
	assert_string_equal(info.state, "failed");
	assert_false(info.died); /* now the file says so itself */
	/* What the job wrote beyond what we know is still there. */
	char command[256];
	snprintf(command, sizeof command, "grep -q '\"more\": *1' %s/%s.json", dir, ID);
	assert_int_equal(system(command), 0);
	put_job(ID, "done", (int)gone_pid());
	assert_string_equal(load(ID).state, "done");
}

static void test_list(void **state)
{
	(void)state;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_job_info info;
	char **ids;
	size_t n;
	put_job(LATER, "done", 1);
	put_job(ID, "done", 1);
	put_job(OTHER, "done", 1);
	put("app.lock", "");
	put("app.json", "{}");
	put(ID ".log", "");
	assert_int_equal(bak_jobs_list(dir, "app", &ids, &n, &err), 0);
	assert_int_equal(n, 2);
	assert_string_equal(ids[0], ID);
	assert_string_equal(ids[1], LATER);
	free(ids);
	assert_int_equal(bak_jobs_list(dir, NULL, &ids, &n, &err), 0);
	assert_int_equal(n, 3);
	free(ids);
	assert_int_equal(bak_jobs_last(dir, "app", &info, &err), 1);
	assert_string_equal(info.id, LATER);
	assert_int_equal(bak_jobs_last(dir, "none", &info, &err), 0);
}

static void test_cancel(void **state)
{
	(void)state;
	struct bak_error err = BAK_ERROR_INIT;
	char path[256];
	snprintf(path, sizeof path, "%s/" ID ".lock", dir);
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(flock(fd, LOCK_EX), 0);
	assert_int_equal(bak_job_cancel(dir, ID, &err), 0);
	snprintf(path, sizeof path, "%s/" ID ".cancel", dir);
	assert_int_equal(access(path, F_OK), -1);
	close(fd);
	assert_int_equal(bak_job_cancel(dir, ID, &err), 1);
	assert_int_equal(access(path, F_OK), 0);
}

static void test_spawn(void **state)
{
	(void)state;
	struct bak_error err = BAK_ERROR_INIT;
	char log[256], out[256], script[600], *text;
	size_t len = 200000; /* more than a pipe holds */
	pid_t pid;
	int status;
	snprintf(log, sizeof log, "%s/log", dir);
	snprintf(out, sizeof out, "%s/out", dir);
	snprintf(script, sizeof script, "cat > %s; ls /proc/self/fd > %s.fds; echo said >&2", out,
		 out);
	text = malloc(len);
	memset(text, 'x', len);
	char *argv[] = {(char[]){"/bin/sh"}, (char[]){"-c"}, script, NULL};
	int leaked = open("/dev/null", O_RDONLY); /* without O_CLOEXEC */
	assert_int_equal(bak_job_spawn(argv, log, text, len, &pid, &err), 0);
	assert_int_equal(getsid(pid), pid);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	close(leaked);
	free(text);
	/* All of the text came; 0, 1, 2 and the folder that ls reads are all that is open. */
	snprintf(script, sizeof script,
		 "test $(wc -c < %s) = 200000 && test $(wc -l < %s.fds) = 4 && grep -q said %s",
		 out, out, log);
	assert_int_equal(system(script), 0);
	argv[0] = (char[]){"/nonexistent/bakfs"};
	assert_int_equal(bak_job_spawn(argv, log, "", 0, &pid, &err), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ids),
		cmocka_unit_test_setup_teardown(test_load, setup, teardown),
		cmocka_unit_test_setup_teardown(test_died, setup, teardown),
		cmocka_unit_test_setup_teardown(test_list, setup, teardown),
		cmocka_unit_test_setup_teardown(test_cancel, setup, teardown),
		cmocka_unit_test_setup_teardown(test_spawn, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
