/*
 * What every driver promises, whatever it backs up: see stores.h. Each subject is a store of a kind
 * with shell commands that make its data, change it, and print what it is.
 */
#include "rig.h"

#include <stdlib.h>
#include <sys/stat.h>

static const struct subject {
	const char *driver, *key, *value; /* its address; $D is the scratch folder */
	const char *more[3][2];           /* further options */
	const char *make, *change, *look;
	const char *payload; /* what an upload would be: a path in the unpacked snapshot */
} subjects[] = {
	{
		.driver = "files",
		.key = "path",
		.value = "tree",
		.make = "mkdir -p tree/a && head -c 300000 /dev/urandom >tree/a/f && ln tree/a/f "
			"tree/g "
			"&& ln -s f tree/l",
		.change = "rm tree/a/f; echo new >tree/a/f; mkdir tree/more",
		.look = "cd tree && find . -printf '%p %y %s %m\\n' | sort && cat a/f g | "
			"sha256sum",
		.payload = "",
	},
	{
		.driver = "files",
		.key = "path",
		.value = "file",
		.make = "head -c 300000 /dev/urandom >file",
		.change = "echo new >file",
		.look = "sha256sum file",
		.payload = "/file",
	},
	{
		.driver = "sqlite",
		.key = "path",
		.value = "app.db",
		.more = {{"busy_timeout", "1s"}},
		.make = "sqlite3 -batch app.db 'CREATE TABLE t(a, b); WITH RECURSIVE n(i) AS "
			"(SELECT 1 "
			"UNION ALL SELECT i + 1 FROM n WHERE i < 1000) INSERT INTO t SELECT i, "
			"randomblob(300) FROM n'",
		.change =
			"sqlite3 -batch app.db 'DELETE FROM t WHERE a % 3 = 0; CREATE TABLE u(x)'",
		.look = "sqlite3 -batch app.db .dump | sha256sum",
		.payload = "/app.db",
	},
	{
		.driver = "command",
		.key = "dump",
		.value = "cat $D/data",
		.more = {{"restore_command", "cat >$D/data"},
			 {"counts", "echo bytes $(stat -c %s $D/data)"}},
		.make = "head -c 300000 /dev/urandom >data",
		.change = "echo new >data",
		.look = "sha256sum data",
		.payload = "/dump",
	},
};
#define N_SUBJECTS (sizeof subjects / sizeof *subjects)

static const struct bak_store_driver *driver_of(const struct subject *s)
{
	return bak_store_driver_find(s->driver);
}

static void configure(struct rig *rig, const struct subject *s)
{
	bool path = strcmp(s->key, "path") == 0;
	const char *value = path ? rig_path(rig, s->value) : s->value;

	/* Unused pairs are at the end, where a NULL key ends the list. */
	rig_store(rig, s->driver, s->key, value, s->more[0][0], s->more[0][1], s->more[1][0],
		  s->more[1][1], NULL);
}

static char *look(struct rig *rig, const struct subject *s)
{
	return strdup(rig_out(rig, "%s", s->look));
}

static void assert_looks(struct rig *rig, const struct subject *s, const char *want)
{
	const char *now = rig_out(rig, "%s", s->look);

	if (strcmp(now, want) != 0)
		fail_msg("%s: it is\n%s\nand was\n%s", s->driver, now, want);
}

/* Data, a snapshot of it, and changed data. */
struct story {
	uint64_t number;
	char *before, *after;
};

static struct story begin(struct rig *rig, const struct subject *s)
{
	struct story story;

	rig_sh(rig, "rm -rf * .[!.]*");
	rig_sh(rig, "%s", s->make);
	configure(rig, s);
	story.number = rig_backup(rig);
	assert_string_equal(rig->warnings, "");
	story.before = look(rig, s);
	rig_sh(rig, "%s", s->change);
	story.after = look(rig, s);
	assert_string_not_equal(story.before, story.after);
	return story;
}

static void end(struct story *story)
{
	free(story->before);
	free(story->after);
}

static void assert_counts_of(struct rig *rig, uint64_t number)
{
	json_t *facts = rig_facts(rig, number), *counts = rig_counts(rig);

	assert_true(json_object_size(json_object_get(facts, "counts")) > 0);
	assert_true(json_equal(json_object_get(facts, "counts"), counts));
	json_decref(facts);
	json_decref(counts);
}

/* --- promises --- */

static void restores(struct rig *rig, const struct subject *s)
{
	struct story story = begin(rig, s);
	struct bak_error err = BAK_ERROR_INIT;

	rig->no_returns = 0;
	json_t *state = rig_restore(rig, story.number);
	assert_int_equal(rig->no_returns, 1);
	assert_string_equal(rig->warnings, "");
	assert_looks(rig, s, story.before);
	assert_counts_of(rig, story.number);
	if (driver_of(s)->features & BAK_STORE_KEEPS_OLD) {
		assert_int_equal(rig_rollback(rig, state, &err), 0);
		assert_looks(rig, s, story.after);
		assert_int_equal(rig_rollback(rig, state, &err), 0);
		assert_looks(rig, s, story.before);
	}
	json_decref(state);
	/* and is saved again as what it was */
	rig_extract(rig, rig_backup(rig), "again");
	end(&story);
}

static void refuses_cleanly(struct rig *rig, const struct subject *s)
{
	struct story story = begin(rig, s);
	struct bak_error err = BAK_ERROR_INIT;
	char *names = strdup(rig_out(rig, "ls -A"));

	rig->refuse_no_return = true;
	assert_int_equal(rig_try_restore(rig, story.number, NULL, 0, NULL, &err), -1);
	assert_int_equal(err.code, BAK_CANCELLED);
	rig->refuse_no_return = false;
	rig->cancel = true;
	assert_int_equal(rig_try_restore(rig, story.number, NULL, 0, NULL, &err), -1);
	assert_int_equal(err.code, BAK_CANCELLED);
	rig->cancel = false;
	assert_looks(rig, s, story.after);
	assert_string_equal(rig_out(rig, "ls -A"), names);
	free(names);
	end(&story);
}

/* A snapshot that cannot be read must not cost what is there. */
static void survives_a_damaged_snapshot(struct rig *rig, const struct subject *s)
{
	struct story story = begin(rig, s);
	struct bak_error err = BAK_ERROR_INIT;
	char *names = strdup(rig_out(rig, "ls -A"));

	rig_reopen(rig, true);
	assert_int_equal(rig_try_restore(rig, story.number, NULL, 0, NULL, &err), -1);
	assert_int_equal(err.code, BAK_CORRUPT);
	assert_looks(rig, s, story.after);
	assert_string_equal(rig_out(rig, "ls -A"), names);
	free(names);
	end(&story);
}

/* What cp takes out of a mount is what an upload takes back in. */
static void imports_its_own_payload(struct rig *rig, const struct subject *s)
{
	struct story story = begin(rig, s);
	struct bak_error err = BAK_ERROR_INIT;
	char path[512];
	uint64_t number;

	rig_extract(rig, story.number, "upload");
	snprintf(path, sizeof path, "%s%s", rig_path(rig, "upload"), s->payload);
	if (rig_try_backup(rig, path, &number, &err) < 0)
		fail_msg("%s: %s", s->driver, err.msg);
	json_decref(rig_restore(rig, number));
	assert_looks(rig, s, story.before);
	end(&story);
}

static void stops_when_told(struct rig *rig, const struct subject *s)
{
	struct bak_error err = BAK_ERROR_INIT;
	uint64_t number = 0;

	rig_sh(rig, "rm -rf * .[!.]*; %s", s->make);
	configure(rig, s);
	rig->cancel = true;
	assert_int_equal(rig_try_backup(rig, NULL, &number, &err), -1);
	assert_int_equal(err.code, BAK_CANCELLED);
	rig->cancel = false;
	rig_backup(rig);
}

static void names_what_is_missing(struct rig *rig, const struct subject *s)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_store_probe probe;
	uint64_t number;
	void *store = NULL;

	rig_sh(rig, "rm -rf * .[!.]*");
	configure(rig, s);
	assert_int_equal(driver_of(s)->open(&rig->conf, &rig->env, &store, &err), 0);
	int rc = driver_of(s)->probe(store, &probe, &err);
	/* where there is something to look at, its absence is told from other failures */
	bool looks = strcmp(s->driver, "command") != 0;
	if (looks)
		assert_true(rc < 0 && err.code == BAK_NOT_FOUND);
	assert_true(*probe.target);
	driver_of(s)->close(store);
	assert_int_equal(rig_try_backup(rig, NULL, &number, &err), -1);
	if (looks)
		assert_non_null(strstr(err.msg, "No such file"));
}

#define PROMISE(f)                                      \
	static void test_##f(void **state)              \
	{                                               \
		for (size_t i = 0; i < N_SUBJECTS; i++) \
			f(*state, &subjects[i]);        \
	}
PROMISE(restores)
PROMISE(refuses_cleanly)
PROMISE(imports_its_own_payload)
PROMISE(stops_when_told)
PROMISE(names_what_is_missing)

/* A repository of its own for each. */
#define PROMISE_OF(n)                                                  \
	static void test_survives_a_damaged_snapshot_##n(void **state) \
	{                                                              \
		survives_a_damaged_snapshot(*state, &subjects[n]);     \
	}
PROMISE_OF(0)
PROMISE_OF(1)
PROMISE_OF(2)
PROMISE_OF(3)

static int setup(void **state)
{
	if (rig_setup(state) < 0)
		return -1;
	return setenv("D", ((struct rig *)*state)->dir, 1);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(test_##f, setup, rig_teardown)
	const struct CMUnitTest tests[] = {
		TEST(restores),
		TEST(refuses_cleanly),
		TEST(survives_a_damaged_snapshot_0),
		TEST(survives_a_damaged_snapshot_1),
		TEST(survives_a_damaged_snapshot_2),
		TEST(survives_a_damaged_snapshot_3),
		TEST(imports_its_own_payload),
		TEST(stops_when_told),
		TEST(names_what_is_missing),
	};
	_Static_assert(N_SUBJECTS == 4, "a promise each");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
