/* The command driver: shell commands in, shell commands out. */
#include "rig.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Commands run where the tests were started: they name files by $D. */
static int setup(void **state)
{
	if (rig_setup(state) < 0)
		return -1;
	return setenv("D", ((struct rig *)*state)->dir, 1);
}

static void test_dump_is_saved(void **state)
{
	struct rig *rig = *state;

	rig_store(rig, "command", "dump", "seq 100000; echo to the log >&2; echo $BAKFS_STORE",
		  "filename", "numbers.txt", NULL);
	uint64_t number = rig_backup(rig);
	rig_extract(rig, number, "out");
	rig_sh(rig, "(seq 100000; echo store) | cmp - out/numbers.txt && [ $(stat -c %%a "
		    "out/numbers.txt) = 600 ]");
	assert_string_equal(rig->log, "to the log\n");
	assert_string_equal(rig->warnings, "");
	json_t *facts = rig_facts(rig, number);
	assert_int_equal(json_integer_value(json_object_get(facts, "bytes")), 588901);
	/* a command line may hold a password */
	char *text = json_dumps(facts, 0);
	assert_null(strstr(text, "seq"));
	free(text);
	json_decref(facts);
}

static void assert_fails(struct rig *rig, const char *dump, const char *why)
{
	struct bak_error err = BAK_ERROR_INIT;
	uint64_t number = 0;

	rig_store(rig, "command", "dump", dump, "timeout", "20s", NULL);
	assert_int_equal(rig_try_backup(rig, NULL, &number, &err), -1);
	assert_int_equal(number, 0);
	if (!strstr(err.msg, why))
		fail_msg("\"%s\" does not say \"%s\"", err.msg, why);
}

/* What a command started is gone, or a zombie that nobody waits for: a killed process takes a
 * moment to be one. */
static void assert_ended(struct rig *rig)
{
	while (rig_try(rig, "kill -0 $(cat pid) 2>&- && ! grep -q 'State:.Z' /proc/$(cat "
			    "pid)/status 2>&-") == 0)
		continue;
}

static void test_failures_are_failures(void **state)
{
	struct rig *rig = *state;

	assert_fails(rig, "echo some output; echo it broke >&2; exit 3",
		     "dump: it broke (exit status 3)");
	assert_fails(rig, "echo a >&2; echo b >&2; false", "a;b (exit status 1)");
	assert_fails(rig, "kill -SEGV $$", "ended by signal 11, Segmentation fault");
	assert_fails(rig, "no-such-tool --now", "(exit status 127)");
	/* who fails is not waited for by what it left behind */
	assert_fails(rig, "sleep 1000 & echo $! >$D/pid; exit 4", "exit status 4");
	assert_ended(rig);
	assert_fails(rig, "yes long line | head -c 1000000 >&2; echo last words >&2; exit 1",
		     ";last words (exit status 1)");
}

static void test_timeout_ends_the_whole_group(void **state)
{
	struct rig *rig = *state;
	struct bak_error err = BAK_ERROR_INIT;
	uint64_t number = 0;

	rig_store(rig, "command", "dump", "sleep 1000 & echo $! >$D/pid; wait", "timeout", "1s",
		  NULL);
	assert_int_equal(rig_try_backup(rig, NULL, &number, &err), -1);
	assert_non_null(strstr(err.msg, "not done within 1 seconds"));
	assert_ended(rig);
}

static void test_cancelled(void **state)
{
	struct rig *rig = *state;
	struct bak_error err = BAK_ERROR_INIT;
	uint64_t number = 0;

	rig_store(rig, "command", "dump", "sleep 1000", NULL);
	rig->cancel = true;
	assert_int_equal(rig_try_backup(rig, NULL, &number, &err), -1);
	assert_int_equal(err.code, BAK_CANCELLED);
}

static void test_nothing_of_ours_is_inherited(void **state)
{
	struct rig *rig = *state;

	signal(SIGUSR1, SIG_IGN);
	/* the last seven digits: glibc keeps two signals above them to itself */
	rig_store(rig, "command", "dump",
		  "for i in 3 4 5 6 7 8 9 10 11 12; do [ ! -e /proc/$$/fd/$i ] || echo $i; done; "
		  "readlink /proc/$$/fd/0; sed -n 's/SigIgn.*\\(.\\{7\\}\\)$/\\1/p' "
		  "/proc/$$/status",
		  NULL);
	rig_extract(rig, rig_backup(rig), "out");
	signal(SIGUSR1, SIG_DFL);
	assert_string_equal(rig_out(rig, "cat out/dump"), "/dev/null\n0000000");
}

static void test_empty_dump_is_told(void **state)
{
	struct rig *rig = *state;

	rig_store(rig, "command", "dump", "true", NULL);
	rig_backup(rig);
	assert_non_null(strstr(rig->warnings, "wrote nothing"));
}

static void test_counts(void **state)
{
	struct rig *rig = *state;

	rig_sh(rig, "echo 0 >n");
	rig_store(rig, "command", "dump", "echo x", "counts",
		  "echo 'big table 12'; echo; printf 'other\\t-3\\n'", NULL);
	json_t *facts = rig_facts(rig, rig_backup(rig));
	json_t *counts = json_object_get(facts, "counts");
	assert_int_equal(json_integer_value(json_object_get(counts, "big table")), 12);
	assert_int_equal(json_integer_value(json_object_get(counts, "other")), -3);
	assert_int_equal(json_object_size(counts), 2);
	json_decref(facts);
	/* not of one moment with the dump: not recorded */
	rig_store(rig, "command", "dump", "echo 1 >$D/n", "counts", "echo n $(cat $D/n)", NULL);
	facts = rig_facts(rig, rig_backup(rig));
	assert_null(json_object_get(facts, "counts"));
	json_decref(facts);

	struct bak_error err = BAK_ERROR_INIT;
	uint64_t number;
	rig_store(rig, "command", "dump", "echo x", "counts", "echo nonsense", NULL);
	assert_int_equal(rig_try_backup(rig, NULL, &number, &err), -1);
	assert_non_null(strstr(err.msg, "not a name and a number"));
}

/* --- restore --- */

static void test_restore(void **state)
{
	struct rig *rig = *state;

	rig_sh(rig, "head -c 5000000 /dev/urandom >data; cp data good");
	rig_store(rig, "command", "dump", "cat $D/data", "restore_command",
		  "cat >$D/data; echo all read", NULL);
	uint64_t number = rig_backup(rig);
	rig_sh(rig, "echo bad >data");
	json_decref(rig_restore(rig, number));
	rig_sh(rig, "cmp data good");
	assert_int_equal(rig->no_returns, 1);
	assert_string_equal(rig->log, "all read\n");
}

static void assert_restore_fails(struct rig *rig, uint64_t number, const char *command,
				 const char *why)
{
	struct bak_error err = BAK_ERROR_INIT;

	if (command)
		rig_store(rig, "command", "dump", "true", "restore_command", command, "timeout",
			  "20s", NULL);
	else
		rig_store(rig, "command", "dump", "true", NULL);
	assert_int_equal(rig_try_restore(rig, number, NULL, 0, NULL, &err), -1);
	if (!strstr(err.msg, why))
		fail_msg("\"%s\" does not say \"%s\"", err.msg, why);
}

static void test_restore_failures(void **state)
{
	struct rig *rig = *state;

	rig_store(rig, "command", "dump", "head -c 3000000 /dev/zero", NULL);
	uint64_t number = rig_backup(rig);
	assert_restore_fails(rig, number, NULL, "has no restore_command");
	assert_restore_fails(rig, number, "cat >/dev/null; echo no >&2; exit 5",
			     "restore_command: no (exit status 5)");
	assert_restore_fails(rig, number, "head -c 10 >/dev/null; echo full >&2; exit 6",
			     "full (exit status 6)");
	/* a good end without having read all is none */
	assert_restore_fails(rig, number, "head -c 10 >/dev/null", "did not read all");
}

static void test_import(void **state)
{
	struct rig *rig = *state;
	struct bak_error err = BAK_ERROR_INIT;
	uint64_t number;

	rig_sh(rig, "echo uploaded >file && mkdir folder");
	rig_store(rig, "command", "dump", "true", "restore_command", "cat >$D/data", NULL);
	assert_int_equal(rig_try_backup(rig, rig_path(rig, "file"), &number, &err), 0);
	json_decref(rig_restore(rig, number));
	rig_sh(rig, "cmp data file");
	assert_int_equal(rig_try_backup(rig, rig_path(rig, "folder"), &number, &err), -1);
	assert_int_equal(err.code, BAK_REFUSED);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, rig_teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_dump_is_saved),
		TEST(test_failures_are_failures),
		TEST(test_timeout_ends_the_whole_group),
		TEST(test_cancelled),
		TEST(test_nothing_of_ours_is_inherited),
		TEST(test_empty_dump_is_told),
		TEST(test_counts),
		TEST(test_restore),
		TEST(test_restore_failures),
		TEST(test_import),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
