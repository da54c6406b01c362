/* The sqlite driver against real databases, with others at work in them. */
#include "rig.h"

#include <signal.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void sqlite_store(struct rig *rig)
{
	rig_store(rig, "sqlite", "path", rig_path(rig, "app.db"), "busy_timeout", "1s", NULL);
}

/* Text of one value. */
static const char *ask(struct rig *rig, const char *file, const char *sql)
{
	return rig_out(rig, "sqlite3 -batch %s \"%s\"", file, sql);
}

static void make(struct rig *rig, const char *mode, int page_size)
{
	rig_sh(rig,
	       "sqlite3 -batch app.db \"PRAGMA page_size = %d; PRAGMA journal_mode = %s; "
	       "CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT); CREATE TABLE empty(x); "
	       "CREATE INDEX i ON t(b); PRAGMA user_version = 7; "
	       "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) "
	       "INSERT INTO t SELECT i, hex(randomblob(40)) FROM n;\" >/dev/null",
	       page_size, mode);
}

/* A child with the database open that has run sql; it ends when told. */
struct child {
	pid_t pid;
	int in, out;
};

static struct child hold(struct rig *rig, const char *sql)
{
	struct child child;
	int to[2], from[2];
	char byte;

	assert_int_equal(pipe2(to, 0) + pipe2(from, 0), 0);
	child.pid = fork();
	if (child.pid == 0) {
		sqlite3 *db;

		close(to[1]);
		close(from[0]);
		if (sqlite3_open(rig_path(rig, "app.db"), &db) != SQLITE_OK ||
		    sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK ||
		    write(from[1], "x", 1) != 1)
			_exit(1);
		if (read(to[0], &byte, 1) != 0)
			_exit(2);
		sqlite3_close(db);
		_exit(0);
	}
	close(to[0]);
	close(from[1]);
	child.in = to[1];
	child.out = from[0];
	assert_int_equal(read(child.out, &byte, 1), 1);
	return child;
}

static void let_go(struct child *child)
{
	int status;

	close(child->in);
	close(child->out);
	assert_int_equal(waitpid(child->pid, &status, 0), child->pid);
}

/* --- backup --- */

static void test_bytes_as_they_are(void **state)
{
	struct rig *rig = *state;
	static const int sizes[] = {512, 1024, 4096, 65536};

	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		char name[32];

		rig_sh(rig, "rm -f app.db*");
		make(rig, "delete", sizes[i]);
		rig_sh(rig, "chmod 640 app.db");
		sqlite_store(rig);
		snprintf(name, sizeof name, "out%d", sizes[i]);
		rig_extract(rig, rig_backup(rig), name);
		rig_sh(rig, "cmp app.db %s/app.db && [ $(stat -c %%a %s/app.db) = 640 ]", name,
		       name);
		rig_sh(rig, "[ $(ls -A | grep -c app.db) = 1 ]");
	}
}

static void test_facts(void **state)
{
	struct rig *rig = *state;

	make(rig, "wal", 4096);
	sqlite_store(rig);
	json_t *facts = rig_facts(rig, rig_backup(rig));
	json_t *counts = json_object_get(facts, "counts");
	assert_int_equal(json_integer_value(json_object_get(counts, "t")), 5000);
	assert_int_equal(json_integer_value(json_object_get(counts, "empty")), 0);
	assert_int_equal(json_object_size(counts), 2);
	assert_int_equal(json_integer_value(json_object_get(facts, "user_version")), 7);
	assert_string_equal(json_string_value(json_object_get(facts, "journal_mode")), "wal");
	json_decref(facts);
}

/* What is only in the WAL is saved too, and the copy opens without one. */
static void test_wal(void **state)
{
	struct rig *rig = *state;

	make(rig, "wal", 4096);
	struct child child = hold(rig, "PRAGMA wal_autocheckpoint = 0; INSERT INTO t VALUES(9000, "
				       "'only in the WAL'); CREATE TABLE late(x)");
	sqlite_store(rig);
	uint64_t number = rig_backup(rig);
	rig_extract(rig, number, "out");
	rig_sh(rig, "chmod -w out/app.db");
	assert_string_equal(ask(rig, "'file:out/app.db?immutable=1'",
				"SELECT b FROM t WHERE a = 9000; PRAGMA integrity_check; SELECT "
				"count(*) FROM late; PRAGMA journal_mode"),
			    "only in the WAL\nok\n0\ndelete");
	let_go(&child);
	/* nobody has it open now: no side files stay behind */
	rig_backup(rig);
	rig_sh(rig, "[ ! -e app.db-wal ] && [ ! -e app.db-shm ]");
	rig_extract(rig, number, "again");
	rig_sh(rig, "cmp out/app.db again/app.db");
}

/* One who writes all the time, moving numbers between rows: their sum never changes. */
static pid_t start_writer(struct rig *rig, int *out_fd)
{
	int fds[2];
	char byte;

	assert_int_equal(pipe2(fds, 0), 0);
	pid_t pid = fork();
	if (pid == 0) {
		sqlite3 *db;
		bool told = false;

		close(fds[0]);
		if (sqlite3_open(rig_path(rig, "app.db"), &db) != SQLITE_OK)
			_exit(1);
		sqlite3_busy_timeout(db, 10000);
		for (int i = 0;; i++) {
			char sql[400];

			snprintf(
				sql, sizeof sql,
				"BEGIN IMMEDIATE; UPDATE money SET n = n - 7 WHERE id = %d; UPDATE "
				"money SET n = n + 7 WHERE id = %d; INSERT INTO log "
				"VALUES(hex(randomblob(300))); COMMIT",
				i % 1000, (i * 37 + 11) % 1000);
			if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
				sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
			if (!told)
				told = write(fds[1], "x", 1) == 1;
		}
	}
	close(fds[1]);
	*out_fd = fds[0];
	assert_int_equal(read(fds[0], &byte, 1), 1);
	return pid;
}

static void check_under_writer(struct rig *rig, const char *mode)
{
	int fd;

	rig_sh(rig,
	       "rm -rf app.db* && sqlite3 -batch app.db \"PRAGMA journal_mode = %s; CREATE TABLE "
	       "money(id INTEGER PRIMARY KEY, n INT); CREATE TABLE log(x); WITH RECURSIVE k(i) AS "
	       "(SELECT 0 UNION ALL SELECT i + 1 FROM k WHERE i < 999) INSERT INTO money SELECT i, "
	       "1000 FROM k; WITH RECURSIVE k(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM k WHERE "
	       "i < 20000) INSERT INTO log SELECT hex(randomblob(300)) FROM k\" >/dev/null",
	       mode);
	rig_store(rig, "sqlite", "path", rig_path(rig, "app.db"), NULL);
	pid_t pid = start_writer(rig, &fd);
	for (int i = 0; i < 3; i++) {
		char name[32], sum[64];
		uint64_t number = rig_backup(rig);

		snprintf(name, sizeof name, "%s%d", mode, i);
		rig_extract(rig, number, name);
		snprintf(sum, sizeof sum, "%s/app.db", name);
		assert_string_equal(
			ask(rig, sum, "PRAGMA integrity_check; SELECT sum(n) FROM money"),
			"ok\n1000000");
		json_t *facts = rig_facts(rig, number);
		char want[32];
		snprintf(want, sizeof want, "%d",
			 (int)json_integer_value(
				 json_object_get(json_object_get(facts, "counts"), "log")));
		assert_string_equal(ask(rig, sum, "SELECT count(*) FROM log"), want);
		json_decref(facts);
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	close(fd);
}

static void test_writer_in_wal_mode(void **state)
{
	check_under_writer(*state, "wal");
}

static void test_writer_in_rollback_mode(void **state)
{
	check_under_writer(*state, "delete");
}

static void test_unchanged_is_not_read(void **state)
{
	struct rig *rig = *state;

	make(rig, "delete", 4096);
	sqlite_store(rig);
	rig_settle(rig, "app.db");
	rig_backup(rig);
	assert_int_equal(rig->result.read_files, 1);
	uint64_t number = rig_backup(rig);
	assert_int_equal(rig->result.reused_files, 1);
	assert_int_equal(rig->result.read_files, 0);
	json_t *facts = rig_facts(rig, number);
	assert_int_equal(json_integer_value(json_object_get(json_object_get(facts, "counts"), "t")),
			 5000);
	json_decref(facts);
	ask(rig, "app.db", "UPDATE t SET b = 'x' WHERE a = 1");
	number = rig_backup(rig);
	assert_int_equal(rig->result.read_files, 1);
	rig_extract(rig, number, "out");
	rig_sh(rig, "cmp app.db out/app.db");
}

/* The database's own file does not change when the WAL does. */
static void test_changed_only_in_the_wal(void **state)
{
	struct rig *rig = *state;

	make(rig, "wal", 4096);
	sqlite_store(rig);
	struct child child = hold(rig,
				  "PRAGMA wal_autocheckpoint = 0; INSERT INTO empty VALUES(1)");
	rig_settle(rig, "app.db-wal");
	rig_backup(rig);
	rig_backup(rig);
	assert_int_equal(rig->result.read_files, 0);
	ask(rig, "app.db", "INSERT INTO empty VALUES(2)");
	rig_extract(rig, rig_backup(rig), "out");
	assert_string_equal(ask(rig, "out/app.db", "SELECT count(*) FROM empty"), "2");
	let_go(&child);
	/* the same file, but now all of it is in there */
	rig_extract(rig, rig_backup(rig), "after");
	assert_string_equal(ask(rig, "after/app.db", "SELECT count(*) FROM empty"), "2");
}

static void test_locked(void **state)
{
	struct rig *rig = *state;
	struct bak_error err = BAK_ERROR_INIT;
	char who[64];
	uint64_t number;

	make(rig, "delete", 4096);
	sqlite_store(rig);
	struct child child = hold(rig, "BEGIN EXCLUSIVE");
	assert_int_equal(rig_try_backup(rig, NULL, &number, &err), -1);
	assert_int_equal(err.code, BAK_BUSY);
	assert_non_null(strstr(err.msg, "app.db: database is locked, by process"));
	snprintf(who, sizeof who, "process %d (test_sqlite)", (int)child.pid);
	assert_non_null(strstr(err.msg, who));
	let_go(&child);
	rig_backup(rig);
}

static void test_damaged(void **state)
{
	struct rig *rig = *state;
	struct bak_error err = BAK_ERROR_INIT;
	uint64_t number;

	make(rig, "delete", 4096);
	sqlite_store(rig);
	rig_sh(rig,
	       "dd if=/dev/urandom of=app.db bs=4096 seek=3 count=20 conv=notrunc status=none");
	assert_int_equal(rig_try_backup(rig, NULL, &number, &err), -1);
	assert_int_equal(err.code, BAK_CORRUPT);
	rig_sh(rig, "echo this is no database, not at all >app.db");
	assert_int_equal(rig_try_backup(rig, NULL, &number, &err), -1);
	assert_int_equal(err.code, BAK_CORRUPT);
	assert_non_null(strstr(err.msg, "file is not a database"));
	/* unless a copy as it lies there will do */
	rig->env.raw_ok = true;
	assert_int_equal(rig_try_backup(rig, NULL, &number, &err), 0);
	rig_extract(rig, number, "out");
	rig_sh(rig, "cmp app.db out/app.db");
	rig->env.raw_ok = false;
	rig_sh(rig, "rm app.db");
	assert_int_equal(rig_try_backup(rig, NULL, &number, &err), -1);
	assert_int_equal(err.code, BAK_NOT_FOUND);
	rig_sh(rig, "[ ! -e app.db ]");
}

static void test_empty_file(void **state)
{
	struct rig *rig = *state;

	rig_sh(rig, ": >app.db");
	sqlite_store(rig);
	rig_extract(rig, rig_backup(rig), "out");
	rig_sh(rig, "[ -e out/app.db ] && [ ! -s out/app.db ]");
}

static void test_odd_path(void **state)
{
	struct rig *rig = *state;

	make(rig, "wal", 4096);
	rig_sh(rig, "mkdir 'a b?c#d%%20' && mv app.db 'a b?c#d%%20/x?mode=memory.db'");
	rig_store(rig, "sqlite", "path", rig_path(rig, "a b?c#d%20/x?mode=memory.db"), NULL);
	json_t *counts = rig_counts(rig);
	assert_int_equal(json_integer_value(json_object_get(counts, "t")), 5000);
	json_decref(counts);
	rig_backup(rig);
}

/* --- restore --- */

static void assert_restored(struct rig *rig, uint64_t number)
{
	json_t *facts = rig_facts(rig, number), *counts = rig_counts(rig);

	assert_true(json_equal(json_object_get(facts, "counts"), counts));
	assert_string_equal(ask(rig, "app.db", "PRAGMA integrity_check; PRAGMA user_version"),
			    "ok\n7");
	assert_string_equal(ask(rig, "app.db", "PRAGMA journal_mode"),
			    json_string_value(json_object_get(facts, "journal_mode")));
	assert_string_equal(rig_out(rig, "ls -A | grep -c bakfs-new || :"), "0");
	json_decref(facts);
	json_decref(counts);
}

static void restore_simply(struct rig *rig, const char *mode)
{
	make(rig, mode, 4096);
	rig_sh(rig, "chmod 644 app.db");
	sqlite_store(rig);
	uint64_t number = rig_backup(rig);
	ino_t inode = (ino_t)atol(rig_out(rig, "stat -c %%i app.db"));
	ask(rig, "app.db", "DELETE FROM t; DROP TABLE empty; PRAGMA user_version = 8");
	json_decref(rig_restore(rig, number));
	assert_restored(rig, number);
	/* in the live file itself */
	assert_int_equal((ino_t)atol(rig_out(rig, "stat -c %%i app.db")), inode);
}

static void test_restore_wal(void **state)
{
	restore_simply(*state, "wal");
}

static void test_restore_rollback(void **state)
{
	restore_simply(*state, "delete");
}

static void test_restore_under_a_reader(void **state)
{
	struct rig *rig = *state;
	sqlite3 *db;
	sqlite3_stmt *stmt;

	make(rig, "wal", 4096);
	sqlite_store(rig);
	uint64_t number = rig_backup(rig);
	ask(rig, "app.db", "DELETE FROM t WHERE a > 100");
	struct child child = hold(rig, "BEGIN; SELECT count(*) FROM t");
	assert_int_equal(sqlite3_open(rig_path(rig, "app.db"), &db), SQLITE_OK);
	assert_int_equal(sqlite3_prepare_v2(db, "SELECT count(*) FROM t", -1, &stmt, NULL),
			 SQLITE_OK);
	assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
	assert_int_equal(sqlite3_column_int(stmt, 0), 100);
	json_decref(rig_restore(rig, number));
	/* it goes on with what it saw, and sees the new with its next transaction */
	sqlite3_reset(stmt);
	assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
	assert_int_equal(sqlite3_column_int(stmt, 0), 5000);
	sqlite3_finalize(stmt);
	sqlite3_close(db);
	let_go(&child);
	assert_restored(rig, number);
}

static void test_restore_while_locked_changes_nothing(void **state)
{
	struct rig *rig = *state;
	struct bak_error err = BAK_ERROR_INIT;

	make(rig, "wal", 4096);
	sqlite_store(rig);
	uint64_t number = rig_backup(rig);
	ask(rig, "app.db", "DELETE FROM t WHERE a > 100");
	struct child child = hold(rig, "BEGIN IMMEDIATE");
	assert_int_equal(rig_try_restore(rig, number, NULL, 0, NULL, &err), -1);
	assert_int_equal(err.code, BAK_BUSY);
	assert_non_null(strstr(err.msg, "by process"));
	let_go(&child);
	assert_string_equal(ask(rig, "app.db", "SELECT count(*) FROM t"), "100");
}

static void test_restore_cancelled_changes_nothing(void **state)
{
	struct rig *rig = *state;
	struct bak_error err = BAK_ERROR_INIT;

	make(rig, "delete", 4096);
	sqlite_store(rig);
	uint64_t number = rig_backup(rig);
	ask(rig, "app.db", "DELETE FROM t WHERE a > 100");
	rig_sh(rig, "cp app.db before");
	rig->refuse_no_return = true;
	assert_int_equal(rig_try_restore(rig, number, NULL, 0, NULL, &err), -1);
	assert_int_equal(err.code, BAK_CANCELLED);
	rig_sh(rig, "cmp app.db before && [ $(ls -A | wc -l) = 2 ]");
}

static void restore_other_page_size(struct rig *rig, const char *mode)
{
	make(rig, mode, 4096);
	sqlite_store(rig);
	uint64_t number = rig_backup(rig);
	rig_sh(rig, "rm app.db*");
	make(rig, mode, 1024);
	ask(rig, "app.db", "DELETE FROM t; VACUUM");
	json_decref(rig_restore(rig, number));
	assert_restored(rig, number);
	assert_string_equal(ask(rig, "app.db", "PRAGMA page_size"), "4096");
}

static void test_restore_other_page_size_wal(void **state)
{
	restore_other_page_size(*state, "wal");
}

static void test_restore_other_page_size_rollback(void **state)
{
	restore_other_page_size(*state, "delete");
}

static void test_restore_missing(void **state)
{
	struct rig *rig = *state;

	make(rig, "wal", 4096);
	rig_sh(rig, "chmod 640 app.db");
	sqlite_store(rig);
	uint64_t number = rig_backup(rig);
	rig_sh(rig, "rm app.db*");
	json_decref(rig_restore(rig, number));
	assert_restored(rig, number);
	assert_string_equal(rig_out(rig, "stat -c %%a app.db"), "640");
}

static void test_restore_damaged(void **state)
{
	struct rig *rig = *state;
	struct bak_error err = BAK_ERROR_INIT;

	make(rig, "wal", 4096);
	sqlite_store(rig);
	uint64_t number = rig_backup(rig);
	rig_sh(rig, "cp app.db x && dd if=/dev/urandom of=app.db bs=1000 count=9 conv=notrunc "
		    "status=none && echo stale >app.db-wal && chmod 604 app.db");
	/* not while somebody has it open */
	struct child child = hold(rig, "SELECT 1");
	int rc = rig_try_restore(rig, number, NULL, 0, NULL, &err);
	assert_int_equal(rc, -1);
	assert_int_equal(err.code, BAK_BUSY);
	assert_non_null(strstr(err.msg, "has it open: stop that first"));
	let_go(&child);
	json_decref(rig_restore(rig, number));
	assert_restored(rig, number);
	assert_string_equal(rig_out(rig, "stat -c %%a app.db"), "604");
}

static void test_restore_raw(void **state)
{
	struct rig *rig = *state;
	uint64_t number;
	struct bak_error err = BAK_ERROR_INIT;

	make(rig, "delete", 4096);
	sqlite_store(rig);
	uint64_t good = rig_backup(rig);
	rig_sh(rig, "head -c 5000 /dev/urandom >app.db; cp app.db wreck");
	rig->env.raw_ok = true;
	assert_int_equal(rig_try_backup(rig, NULL, &number, &err), 0);
	json_decref(rig_restore(rig, good));
	assert_restored(rig, good);
	json_decref(rig_restore(rig, number));
	rig_sh(rig, "cmp app.db wreck");
}

/* --- import --- */

static void test_import(void **state)
{
	struct rig *rig = *state;
	struct bak_error err = BAK_ERROR_INIT;
	uint64_t number;

	make(rig, "wal", 4096);
	rig_sh(rig, "mv app.db upload.db && mkdir up && cp upload.db up/other.db");
	make(rig, "delete", 4096);
	ask(rig, "app.db", "DELETE FROM t");
	sqlite_store(rig);
	assert_int_equal(rig_try_backup(rig, rig_path(rig, "upload.db"), &number, &err), 0);
	rig_extract(rig, number, "out");
	rig_sh(rig, "[ \"$(ls -A out)\" = app.db ]");
	json_decref(rig_restore(rig, number));
	assert_restored(rig, number);
	assert_int_equal(rig_try_backup(rig, rig_path(rig, "up"), &number, &err), 0);
	json_decref(rig_restore(rig, number));
	assert_restored(rig, number);
}

static void test_import_refused(void **state)
{
	struct rig *rig = *state;
	struct bak_error err = BAK_ERROR_INIT;
	uint64_t number;

	make(rig, "delete", 4096);
	ask(rig, "app.db", "PRAGMA application_id = 77");
	sqlite_store(rig);
	rig_sh(rig, "echo this is some text and no database >text; head -c 100000 app.db >cut; "
		    "mkdir empty two && touch two/a two/b && sqlite3 -batch other.db 'CREATE TABLE "
		    "x(y); PRAGMA application_id = 78'");
	static const char *const bad[] = {"text", "cut", "empty", "two", "other.db"};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		assert_int_equal(rig_try_backup(rig, rig_path(rig, bad[i]), &number, &err), -1);
		if (err.code != BAK_REFUSED)
			fail_msg("%s: %d %s", bad[i], err.code, err.msg);
	}
	rig_store(rig, "sqlite", "path", rig_path(rig, "app.db"), "accept_foreign", "yes", NULL);
	assert_int_equal(rig_try_backup(rig, rig_path(rig, "other.db"), &number, &err), 0);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_bytes_as_they_are),
		TEST(test_facts),
		TEST(test_wal),
		TEST(test_writer_in_wal_mode),
		TEST(test_writer_in_rollback_mode),
		TEST(test_unchanged_is_not_read),
		TEST(test_changed_only_in_the_wal),
		TEST(test_locked),
		TEST(test_damaged),
		TEST(test_empty_file),
		TEST(test_odd_path),
		TEST(test_restore_wal),
		TEST(test_restore_rollback),
		TEST(test_restore_under_a_reader),
		TEST(test_restore_while_locked_changes_nothing),
		TEST(test_restore_cancelled_changes_nothing),
		TEST(test_restore_other_page_size_wal),
		TEST(test_restore_other_page_size_rollback),
		TEST(test_restore_missing),
		TEST(test_restore_damaged),
		TEST(test_restore_raw),
		TEST(test_import),
		TEST(test_import_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
