/* The files driver against real trees. */
#include "rig.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define SKIP_UNLESS_ROOT()          \
	do {                        \
		if (geteuid() != 0) \
			skip();     \
	} while (0)

/* Everything rsync knows of two trees is equal. */
static void assert_same_tree(struct rig *rig, const char *a, const char *b)
{
	const char *out = rig_out(rig, "rsync -aHAXSni --delete --checksum '%s/' '%s/'", a, b);

	if (*out)
		fail_msg("%s and %s differ:\n%s", a, b, out);
}

static void files_store(struct rig *rig, const char *name)
{
	rig_store(rig, "files", "path", rig_path(rig, name), NULL);
}

static void make_tree(struct rig *rig)
{
	rig_sh(rig, "mkdir -p src/a/b src/empty src/z && cd src && "
		    "echo one >a/one && echo two >a/b/two && : >a/nothing && "
		    "ln a/one z/one-again && ln -s ../nowhere a/link && mkfifo z/fifo && "
		    "chmod 4711 a/b/two && chmod 1777 z && touch -d '2001-02-03 04:05:06.789' a/b");
}

static void test_round_trip(void **state)
{
	struct rig *rig = *state;

	make_tree(rig);
	files_store(rig, "src");
	uint64_t number = rig_backup(rig);
	assert_string_equal(rig->warnings, "");
	rig_extract(rig, number, "out");
	assert_same_tree(rig, "src", "out");
	/* rsync -n does not compare mtimes of folders to the nanosecond, nor link counts */
	assert_string_equal(rig_out(rig,
				    "cd src && find . -printf '%%p %%m %%n %%y %%T@\\n' | sort "
				    ">../1; cd ../out && find . -printf "
				    "'%%p %%m %%n %%y %%T@\\n' | sort | diff ../1 - && echo same"),
			    "same");
}

static void test_hostile_names(void **state)
{
	struct rig *rig = *state;

	rig_sh(rig, "mkdir src && cd src && "
		    "touch \"$(printf 'new\\nline')\" '; rm -rf x' '$(false)' \"$(printf "
		    "'\\377\\376')\" "
		    "' lead' './-rf' \"$(printf 'a%%.0s' $(seq 255))\" 'back\\slash' '*' && "
		    "mkdir \"$(printf 'd\\n')x\" && echo x > \"$(printf 'd\\n')x/f\"");
	files_store(rig, "src");
	rig_extract(rig, rig_backup(rig), "out");
	assert_same_tree(rig, "src", "out");
}

static void test_xattrs_and_acls(void **state)
{
	struct rig *rig = *state;

	rig_sh(rig, "mkdir src && echo x >src/f && ln -s f src/l && mkdir src/d && mkfifo src/p");
	if (rig_try(rig, "setfattr -n user.probe -v 1 src/f 2>&-"))
		skip();
	rig_sh(rig, "setfattr -n user.big -v 0s$(head -c 3000 /dev/zero | base64 -w0) src/f && "
		    "setfattr -n user.a -v '' src/f && setfattr -n user.d -v dir src/d && "
		    "setfattr -n user.bakfs.sha256 -v fake src/f && "
		    "setfattr -n user.bakfs.store -v fake src/d");
	rig_try(rig, "setfacl -m u:1234:rw,g:77:r src/f && setfacl -d -m u:1234:rwx src/d");
	rig_try(rig, "setfattr -h -n trusted.x -v on-link src/l; "
		     "setfattr -h -n trusted.x -v on-fifo src/p");
	files_store(rig, "src");
	uint64_t number = rig_backup(rig);
	/* our own are left out, and said so once */
	assert_non_null(strstr(rig->warnings, "user.bakfs"));
	assert_null(strstr(strstr(rig->warnings, "user.bakfs") + 1, "user.bakfs"));
	rig_extract(rig, number, "out");
	rig_sh(rig, "setfattr -x user.bakfs.sha256 src/f; setfattr -x user.bakfs.store src/d");
	assert_same_tree(rig, "src", "out");
	rig_sh(rig, "for t in src out; do (cd $t; getfattr -hd -m - -R . | sort; "
		    "find . | sort | getfacl -n - 2>&-) >$t.x; done; cmp src.x out.x");
}

static void test_owners_and_devices(void **state)
{
	struct rig *rig = *state;

	SKIP_UNLESS_ROOT();
	rig_sh(rig, "mkdir src && echo x >src/f && chown 1234:5678 src/f && chmod 6755 src/f && "
		    "ln -s f src/l && chown -h 99:98 src/l && chown 7:8 src");
	if (rig_try(rig, "mknod src/c c 1 7 && mknod src/b b 259 300"))
		skip();
	files_store(rig, "src");
	rig_extract(rig, rig_backup(rig), "out");
	assert_same_tree(rig, "src", "out");
	assert_string_equal(rig_out(rig, "stat -c '%%a %%u %%g' out/f"), "6755 1234 5678");
	assert_string_equal(rig_out(rig, "stat -c '%%t %%T' out/b"),
			    rig_out(rig, "stat -c '%%t %%T' src/b"));
}

static void test_sparse(void **state)
{
	struct rig *rig = *state;

	rig_sh(rig, "mkdir src && truncate -s 1T src/huge && truncate -s 10M src/mid && "
		    "printf data | dd of=src/mid bs=1 seek=5M conv=notrunc status=none && "
		    "printf end | dd of=src/tail bs=1 seek=3M status=none && "
		    "dd if=/dev/zero of=src/zeros bs=1M count=2 status=none");
	files_store(rig, "src");
	uint64_t number = rig_backup(rig);
	rig_extract(rig, number, "out");
	assert_string_equal(rig_out(rig, "stat -c '%%s %%b' out/huge"), "1099511627776 0");
	rig_sh(rig, "for f in mid tail zeros; do cmp src/$f out/$f; done");
	rig_sh(rig,
	       "for f in mid tail zeros; do [ $(stat -c %%b src/$f) = $(stat -c %%b out/$f) ]; "
	       "done");
}

static void test_deeper_than_path_max(void **state)
{
	struct rig *rig = *state;

	rig_sh(rig, "mkdir src && cd src && n=$(printf 'x%%.0s' $(seq 200)) && "
		    "for i in $(seq 150); do mkdir $n && cd -P ./$n; done && echo deep >bottom && "
		    "ln bottom again");
	files_store(rig, "src");
	uint64_t number = rig_backup(rig);
	assert_string_equal(rig->warnings, "");
	rig_extract(rig, number, "out");
	assert_string_equal(
		rig_out(rig,
			"cd out && n=$(printf 'x%%.0s' $(seq 200)) && for i in $(seq 150); do cd "
			"-P ./$n; done && cat again && stat -c %%h bottom"),
		"deep\n2");
}

static void test_unchanged_is_not_opened(void **state)
{
	struct rig *rig = *state;

	make_tree(rig);
	files_store(rig, "src");
	rig_settle(rig, "src/z");
	rig_backup(rig);
	assert_int_equal(rig->result.read_files, 3);
	rig_backup(rig);
	assert_int_equal(rig->result.read_files, 0);
	rig_sh(rig, "echo more >>src/a/b/two");
	uint64_t number = rig_backup(rig);
	assert_int_equal(rig->result.read_files, 1);
	rig_extract(rig, number, "out");
	assert_same_tree(rig, "src", "out");
}

static void test_exclude(void **state)
{
	struct rig *rig = *state;

	rig_sh(rig, "mkdir -p src/cache/x src/keep/cache src/build && cd src && "
		    "touch a.tmp keep/b.tmp keep/keep.tmp cache/f build/f f");
	rig_store(rig, "files", "path", rig_path(rig, "src"), "exclude", "*.tmp", "exclude",
		  "!keep.tmp", "exclude", "/cache", "exclude", "build/", NULL);
	rig_extract(rig, rig_backup(rig), "out");
	assert_string_equal(rig_out(rig, "cd out && find . | sort | tr '\\n' ' '"),
			    ". ./f ./keep ./keep/cache ./keep/keep.tmp ");
}

static void test_left_out_by_name(void **state)
{
	struct rig *rig = *state;
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	rig_sh(rig, "mkdir -p src/locked && echo x >src/secret && echo y >src/ok && "
		    "echo z >src/locked/f");
	snprintf(address.sun_path, sizeof address.sun_path, "%s", rig_path(rig, "src/socket"));
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
	close(fd);
	rig_sh(rig, "chmod 0 src/secret src/locked");
	files_store(rig, "src");
	struct bak_error err = BAK_ERROR_INIT;
	uint64_t number = 0;
	uid_t uid = geteuid();
	assert_int_equal(chmod(rig->dir, 0755), 0);
	/* root reads everything */
	assert_int_equal(seteuid(uid ? uid : 65534), 0);
	int rc = rig_try_backup(rig, NULL, &number, &err);
	assert_int_equal(seteuid(uid), 0);
	assert_int_equal(rc, 0);
	assert_non_null(strstr(rig->warnings, "socket: left out: a socket"));
	assert_non_null(strstr(rig->warnings, "secret: left out: Permission denied"));
	assert_non_null(strstr(rig->warnings, "locked: what is in it is left out"));
	rig_extract(rig, number, "out");
	assert_string_equal(rig_out(rig, "cd out && find . | sort | tr '\\n' ' '"),
			    ". ./locked ./ok ");
}

static void test_source_missing(void **state)
{
	struct rig *rig = *state;
	struct bak_error err = BAK_ERROR_INIT;
	uint64_t number;

	files_store(rig, "gone");
	assert_int_equal(rig_try_backup(rig, NULL, &number, &err), -1);
	assert_int_equal(err.code, BAK_NOT_FOUND);
	assert_non_null(strstr(err.msg, "/gone: No such file"));
}

static void test_repository_inside(void **state)
{
	struct rig *rig = *state;

	rig_sh(rig,
	       "mkdir -p src/backups/repo && echo x >src/backups/repo/secret && echo y >src/f");
	files_store(rig, "src");
	rig->env.repo_path = rig_path(rig, "src/backups/repo");
	uint64_t number = rig_backup(rig);
	assert_non_null(strstr(rig->warnings, "backups/repo: left out: it is the repository"));
	rig_extract(rig, number, "out");
	assert_string_equal(rig_out(rig, "cd out && find . | sort | tr '\\n' ' '"),
			    ". ./backups ./f ");
}

static void test_database_warning(void **state)
{
	struct rig *rig = *state;

	rig_sh(rig, "mkdir -p src/pg/base && touch src/pg/PG_VERSION src/pg/postmaster.pid "
		    "src/pg/base/PG_VERSION src/app.db src/app.db-wal src/chroma.sqlite3");
	files_store(rig, "src");
	rig_backup(rig);
	assert_non_null(strstr(rig->warnings, "pg: data of a running PostgreSQL"));
	assert_non_null(strstr(rig->warnings, "ChromaDB"));
	assert_null(strstr(rig->warnings, "base:"));
	rig_sh(rig, "rm src/chroma.sqlite3");
	rig_backup(rig);
	assert_non_null(strstr(rig->warnings, "app.db: a SQLite database in use"));
	rig_store(rig, "files", "path", rig_path(rig, "src"), "database_warning", "no", NULL);
	rig_backup(rig);
	assert_string_equal(rig->warnings, "");
}

/* Whoever writes to a file while it is read. */
static void append(struct rig *rig, const char *path, uint64_t bytes)
{
	(void)bytes;
	if (strcmp(path, "f") == 0)
		rig_sh(rig, "printf x >>src/f");
}

static void append_once(struct rig *rig, const char *path, uint64_t bytes)
{
	append(rig, path, bytes);
	rig->on_progress = NULL;
}

static void test_changing_file(void **state)
{
	struct rig *rig = *state;

	rig_sh(rig, "mkdir src && head -c 5000000 /dev/urandom >src/f && echo x >src/g");
	rig_store(rig, "files", "path", rig_path(rig, "src"), "reread", "2", NULL);
	rig->on_progress = append;
	uint64_t number = rig_backup(rig);
	assert_string_equal(rig->warnings, "f: changed while it was read\n");
	/* three times read, appended to in each; and told of once more when it was done */
	rig_extract(rig, number, "out");
	assert_string_equal(rig_out(rig, "stat -c %%s out/f src/f"), "5000002\n5000004");
	/* one that stands still the second time is whole */
	rig->on_progress = append_once;
	rig_extract(rig, rig_backup(rig), "again");
	assert_string_equal(rig->warnings, "");
	rig_sh(rig, "cmp src/f again/f");
}

static void test_single_file(void **state)
{
	struct rig *rig = *state;

	rig_sh(rig, "mkdir d && echo one >d/f && chmod 640 d/f && echo other >d/other");
	files_store(rig, "d/f");
	uint64_t number = rig_backup(rig);
	rig_extract(rig, number, "out");
	assert_string_equal(
		rig_out(rig, "cd out && find . | sort | tr '\\n' ' '; cat f; stat -c %%a f"),
		". ./f one\n640");
	rig_sh(rig, "echo two >d/f");
	json_t *undo = rig_restore(rig, number);
	assert_string_equal(rig_out(rig, "cat d/f d/other; stat -c %%a d/f"), "one\nother\n640");
	assert_string_equal(rig_out(rig, "cat d/f.before-*"), "two");
	assert_string_equal(rig_out(rig, "ls -A d | wc -l"), "3");
	struct bak_error err = BAK_ERROR_INIT;
	assert_int_equal(rig_rollback(rig, undo, &err), 0);
	assert_string_equal(rig_out(rig, "cat d/f"), "two");
	json_decref(undo);
}

/* --- restore --- */

static void test_restore_exchanges(void **state)
{
	struct rig *rig = *state;
	struct bak_error err = BAK_ERROR_INIT;

	make_tree(rig);
	files_store(rig, "src");
	uint64_t number = rig_backup(rig);
	rig_sh(rig, "cp -a src good && echo bad >src/a/one && rm -r src/z && touch src/new && "
		    "cp -a src bad");
	json_t *undo = rig_restore(rig, number);
	assert_int_equal(rig->no_returns, 1);
	assert_same_tree(rig, "good", "src");
	assert_same_tree(rig, "bad", json_string_value(json_object_get(undo, "kept")));
	assert_string_equal(rig_out(rig, "ls -A | grep bakfs-new | wc -l"), "0");
	/* counts are those of the snapshot */
	json_t *facts = rig_facts(rig, number), *counts = rig_counts(rig);
	assert_true(json_equal(json_object_get(facts, "counts"), counts));
	json_decref(facts);
	json_decref(counts);
	/* back, and forth again */
	assert_int_equal(rig_rollback(rig, undo, &err), 0);
	assert_same_tree(rig, "bad", "src");
	assert_int_equal(rig_rollback(rig, undo, &err), 0);
	assert_same_tree(rig, "good", "src");
	json_decref(undo);
}

static void test_restore_of_what_is_gone(void **state)
{
	struct rig *rig = *state;
	struct bak_error err = BAK_ERROR_INIT;

	make_tree(rig);
	files_store(rig, "src");
	uint64_t number = rig_backup(rig);
	rig_sh(rig, "mv src good");
	json_t *undo = rig_restore(rig, number);
	assert_same_tree(rig, "good", "src");
	assert_int_equal(rig_rollback(rig, undo, &err), 0);
	rig_sh(rig, "[ ! -e src ]");
	assert_int_equal(rig_rollback(rig, undo, &err), 0);
	assert_same_tree(rig, "good", "src");
	json_decref(undo);
}

static void test_restore_only(void **state)
{
	struct rig *rig = *state;
	struct bak_error err = BAK_ERROR_INIT;
	const char *const only[] = {"a/b/two", "z", "a/b", "gone/x"};
	json_t *undo = NULL;

	make_tree(rig);
	rig_sh(rig, "mkdir src/gone && echo x >src/gone/x && chmod 751 src/gone");
	files_store(rig, "src");
	uint64_t number = rig_backup(rig);
	rig_sh(rig, "cp -a src good && echo bad >src/a/b/two && echo new >src/z/new && "
		    "echo mine >src/a/one && rm -r src/gone && cp -a src bad");
	assert_int_equal(rig_try_restore(rig, number, only, 4, &undo, &err), 0);
	rig_sh(rig, "diff -r good/a/b src/a/b && [ ! -e src/z/new ] && grep -q mine src/a/one && "
		    "grep -q x src/gone/x && [ $(stat -c %%a src/gone) = 751 ]");
	rig_sh(rig, "grep -q bad src.before-*/a/b/two && grep -q new src.before-*/z/new");
	assert_int_equal(rig_rollback(rig, undo, &err), 0);
	rig_sh(rig, "rmdir src/gone");
	rig_sh(rig, "diff -r --no-dereference -x fifo bad src");
	json_decref(undo);

	const char *const missing[] = {"a/none"};
	assert_int_equal(rig_try_restore(rig, number, missing, 1, NULL, &err), -1);
	assert_int_equal(err.code, BAK_NOT_FOUND);
	const char *const outside[] = {"/etc"};
	assert_int_equal(rig_try_restore(rig, number, outside, 1, NULL, &err), -1);
	assert_int_equal(err.code, BAK_USAGE);
}

static void test_restore_only_through_symlink_is_refused(void **state)
{
	struct rig *rig = *state;
	struct bak_error err = BAK_ERROR_INIT;
	const char *const only[] = {"a/b/two"};

	make_tree(rig);
	files_store(rig, "src");
	uint64_t number = rig_backup(rig);
	rig_sh(rig, "mkdir elsewhere elsewhere/b && echo theirs >elsewhere/b/two && "
		    "rm -r src/a && ln -s ../elsewhere src/a");
	assert_int_equal(rig_try_restore(rig, number, only, 1, NULL, &err), -1);
	assert_string_equal(rig_out(rig, "cat elsewhere/b/two"), "theirs");
	assert_string_equal(
		rig_out(rig, "ls -A | grep -c bakfs-new; ls -d src.before* 2>&- | wc -l || :"),
		"0\n0");
}

static void test_cancelled_changes_nothing(void **state)
{
	struct rig *rig = *state;
	struct bak_error err = BAK_ERROR_INIT;

	make_tree(rig);
	files_store(rig, "src");
	uint64_t number = rig_backup(rig);
	rig_sh(rig, "echo mine >src/a/one && cp -a src before");
	rig->refuse_no_return = true;
	assert_int_equal(rig_try_restore(rig, number, NULL, 0, NULL, &err), -1);
	assert_int_equal(err.code, BAK_CANCELLED);
	rig->refuse_no_return = false;
	rig->cancel = true;
	assert_int_equal(rig_try_restore(rig, number, NULL, 0, NULL, &err), -1);
	assert_int_equal(err.code, BAK_CANCELLED);
	assert_same_tree(rig, "before", "src");
	assert_string_equal(rig_out(rig, "ls -A | tr '\\n' ' '"), "before src ");
}

/* Left by restores that were killed; one is another's, still at work. */
static void test_abandoned_folders_go(void **state)
{
	struct rig *rig = *state;

	make_tree(rig);
	files_store(rig, "src");
	uint64_t number = rig_backup(rig);
	rig_sh(rig,
	       "mkdir -p .src.bakfs-new-0123456789abcdef/a/b/c .src.bakfs-new-0123456789abcde0 "
	       ".src.bakfs-new-mine .other.bakfs-new-0123456789abcdef && touch "
	       ".src.bakfs-new-0123456789abcdef/a/b/f && chmod 500 "
	       ".src.bakfs-new-0123456789abcdef/a/b/c");
	int fd = open(rig_path(rig, ".src.bakfs-new-0123456789abcde0"), O_RDONLY | O_CLOEXEC);
	assert_int_equal(flock(fd, LOCK_EX), 0);
	json_decref(rig_restore(rig, number));
	close(fd);
	assert_string_equal(rig_out(rig, "ls -A | grep new- | tr '\\n' ' '"),
			    ".other.bakfs-new-0123456789abcdef .src.bakfs-new-0123456789abcde0 "
			    ".src.bakfs-new-mine ");
}

static void test_restore_onto_mounts_is_refused(void **state)
{
	struct rig *rig = *state;
	struct bak_error err = BAK_ERROR_INIT;

	SKIP_UNLESS_ROOT();
	make_tree(rig);
	files_store(rig, "src");
	uint64_t number = rig_backup(rig);
	if (rig_try(rig, "mount -t tmpfs none src/empty 2>&-"))
		skip();
	int rc = rig_try_restore(rig, number, NULL, 0, NULL, &err);
	rig_sh(rig, "umount src/empty");
	assert_int_equal(rc, -1);
	assert_non_null(strstr(err.msg, "is mounted inside"));
	rig_sh(rig, "mount -t tmpfs none src");
	rc = rig_try_restore(rig, number, NULL, 0, NULL, &err);
	rig_sh(rig, "umount src");
	assert_int_equal(rc, -1);
	assert_non_null(strstr(err.msg, "mount point"));
}

/* The repository is in no snapshot: it would be gone from where it was. */
static void test_restore_around_the_repository_is_refused(void **state)
{
	struct rig *rig = *state;
	struct bak_error err = BAK_ERROR_INIT;
	static const char *const only[] = {"a"}, *const around[] = {"backups"};

	make_tree(rig);
	rig_sh(rig, "mkdir -p src/backups/repo");
	files_store(rig, "src");
	rig->env.repo_path = rig_path(rig, "src/backups/repo");
	uint64_t number = rig_backup(rig);
	assert_int_equal(rig_try_restore(rig, number, NULL, 0, NULL, &err), -1);
	assert_int_equal(err.code, BAK_REFUSED);
	assert_int_equal(rig_try_restore(rig, number, around, 1, NULL, &err), -1);
	assert_int_equal(err.code, BAK_REFUSED);
	assert_int_equal(rig_try_restore(rig, number, only, 1, NULL, &err), 0);
	rig_sh(rig, "[ -d src/backups/repo ]");
}

static void test_other_file_systems(void **state)
{
	struct rig *rig = *state;

	SKIP_UNLESS_ROOT();
	make_tree(rig);
	if (rig_try(rig, "mount -t tmpfs none src/empty 2>&-"))
		skip();
	rig_sh(rig, "echo inside >src/empty/f");
	files_store(rig, "src");
	uint64_t number = rig_backup(rig);
	rig_store(rig, "files", "path", rig_path(rig, "src"), "one_file_system", "no", NULL);
	uint64_t all = rig_backup(rig);
	rig_sh(rig, "umount src/empty");
	rig_extract(rig, number, "out");
	rig_extract(rig, all, "out-all");
	rig_sh(rig, "[ -d out/empty ] && [ ! -e out/empty/f ] && grep -q inside out-all/empty/f");
}

static void test_import(void **state)
{
	struct rig *rig = *state;
	struct bak_error err = BAK_ERROR_INIT;
	uint64_t number;

	make_tree(rig);
	files_store(rig, "src");
	rig_backup(rig);
	rig_sh(rig, "cp -a src upload && echo uploaded >upload/a/one");
	assert_int_equal(rig_try_backup(rig, rig_path(rig, "upload"), &number, &err), 0);
	json_decref(rig_restore(rig, number));
	assert_same_tree(rig, "upload", "src");
	assert_int_equal(rig_try_backup(rig, rig_path(rig, "upload/a/one"), &number, &err), -1);
	assert_int_equal(err.code, BAK_REFUSED);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_round_trip),
		TEST(test_hostile_names),
		TEST(test_xattrs_and_acls),
		TEST(test_owners_and_devices),
		TEST(test_sparse),
		TEST(test_deeper_than_path_max),
		TEST(test_unchanged_is_not_opened),
		TEST(test_exclude),
		TEST(test_left_out_by_name),
		TEST(test_source_missing),
		TEST(test_repository_inside),
		TEST(test_database_warning),
		TEST(test_changing_file),
		TEST(test_single_file),
		TEST(test_restore_exchanges),
		TEST(test_restore_of_what_is_gone),
		TEST(test_restore_only),
		TEST(test_restore_only_through_symlink_is_refused),
		TEST(test_cancelled_changes_nothing),
		TEST(test_abandoned_folders_go),
		TEST(test_restore_onto_mounts_is_refused),
		TEST(test_restore_around_the_repository_is_refused),
		TEST(test_other_file_systems),
		TEST(test_import),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
