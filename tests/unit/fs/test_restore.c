/*
 * When an upload starts and a trigger fires: each test is a sentence of the contract, told as the
 * events that a real program makes (seen with strace) and what must come of them.
 */
#include "fs/restore.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const struct bak_content_facts whole = {.verdict = BAK_VERDICT_WHOLE};
static const struct bak_content_facts cut = {.verdict = BAK_VERDICT_CUT};
static const struct bak_content_facts wrong = {.verdict = BAK_VERDICT_WRONG};
static const struct bak_content_facts empty = {.verdict = BAK_VERDICT_EMPTY};
static const struct bak_content_facts unprovable = {.verdict = BAK_VERDICT_UNPROVABLE};
static const struct bak_content_facts killed_whole = {.verdict = BAK_VERDICT_WHOLE, .killed = true};

static struct bak_item_rules item_of(enum bak_item_kind kind, const char *name)
{
	struct bak_item_rules item;
	bak_item_init(&item, kind, bak_name_class(name));
	return item;
}

#define CREATOR                                 \
	{                                       \
		.writer = true, .creator = true \
	}
#define WRITER                 \
	{                      \
		.writer = true \
	}

#define assert_decision(d, want_no, want_action)                    \
	do {                                                        \
		struct bak_decision got_ = (d);                     \
		assert_int_equal(got_.no, want_no);                 \
		if (!got_.no)                                       \
			assert_int_equal(got_.action, want_action); \
	} while (0)
#define assert_nothing(d) assert_decision(d, 0, BAK_ACT_NONE)
#define assert_fires(d) assert_decision(d, 0, BAK_ACT_FIRE)
#define assert_forgets(d) assert_decision(d, 0, BAK_ACT_FORGET)
#define assert_refused(d, no) assert_decision(d, no, BAK_ACT_NONE)

/* --- names --- */

static void test_name_classes(void **state)
{
	(void)state;
	assert_int_equal(bak_name_class("20261121T140212Z"), BAK_NAME_STAMP);
	assert_int_equal(bak_name_class("20261121T140212"), BAK_NAME_UPLOAD);
	assert_int_equal(bak_name_class("20261121X140212Z"), BAK_NAME_UPLOAD);
	assert_int_equal(bak_name_class("20261121T1402i2Z"), BAK_NAME_UPLOAD);
	assert_int_equal(bak_name_class("latest"), BAK_NAME_LATEST);
	assert_int_equal(bak_name_class("rollback"), BAK_NAME_ROLLBACK);
	assert_int_equal(bak_name_class("status"), BAK_NAME_CONTROL);
	assert_int_equal(bak_name_class("wait"), BAK_NAME_CONTROL);
	assert_int_equal(bak_name_class("log"), BAK_NAME_CONTROL);
	assert_int_equal(bak_name_class("dump.db"), BAK_NAME_UPLOAD);
	const char *const partial[] = {".dump.db.Xa3", "dump.db~",     "dump.part",
				       "dump.tmp",     "dump.partial", "dump.filepart"};
	for (size_t i = 0; i < sizeof partial / sizeof *partial; i++)
		assert_int_equal(bak_name_class(partial[i]), BAK_NAME_PARTIAL);
	assert_int_equal(bak_name_class("part"), BAK_NAME_UPLOAD);
	assert_int_equal(bak_name_class("tmp"), BAK_NAME_UPLOAD);
}

static void test_trigger_names_at_create(void **state)
{
	(void)state;
	assert_refused(bak_rule_create(BAK_NAME_STAMP, O_WRONLY, false), ENOENT);
	assert_nothing(bak_rule_create(BAK_NAME_STAMP, O_WRONLY, true));
	/* cp and tar insist on a new file, a shell's > on an emptied one. */
	assert_refused(bak_rule_create(BAK_NAME_STAMP, O_WRONLY | O_EXCL, true), EINVAL);
	assert_refused(bak_rule_create(BAK_NAME_LATEST, O_WRONLY | O_TRUNC, true), EINVAL);
	assert_refused(bak_rule_create(BAK_NAME_ROLLBACK, O_WRONLY | O_EXCL, true), EINVAL);
	assert_nothing(bak_rule_create(BAK_NAME_UPLOAD, O_WRONLY | O_EXCL | O_TRUNC, false));
	assert_refused(bak_rule_create(BAK_NAME_CONTROL, O_WRONLY, false), EEXIST);
	assert_refused(bak_rule_make_other(BAK_NAME_LATEST), EINVAL);
	assert_refused(bak_rule_make_other(BAK_NAME_UPLOAD), EPERM);
}

static void test_folders_of_triggers(void **state)
{
	(void)state;
	assert_nothing(bak_rule_mkdir(BAK_NAME_STAMP, true));
	assert_refused(bak_rule_mkdir(BAK_NAME_STAMP, false), ENOENT);
	assert_refused(bak_rule_mkdir(BAK_NAME_LATEST, true), EINVAL);
	assert_nothing(bak_rule_mkdir(BAK_NAME_UPLOAD, false));

	struct bak_item_rules folder = item_of(BAK_ITEM_TRIGGER_FOLDER, "20261121T140212Z");
	assert_nothing(bak_rule_mkdir_in(&folder, true));
	assert_refused(bak_rule_mkdir_in(&folder, false), ENOENT);
	assert_nothing(bak_rule_create_in(&folder, O_WRONLY, true));
	assert_refused(bak_rule_create_in(&folder, O_WRONLY, false), ENOENT);
	/* cp -r of a snapshot's folder fails at its first file, and fires nothing. */
	assert_refused(bak_rule_create_in(&folder, O_WRONLY | O_EXCL, true), EINVAL);
	assert_refused(bak_rule_make_other_in(&folder), EINVAL);
}

/* --- triggers --- */

/* touch: CREATE, SETATTR now, FLUSH, RELEASE. */
static void test_touch_fires_once(void **state)
{
	(void)state;
	struct bak_item_rules item = item_of(BAK_ITEM_TRIGGER, "latest");
	struct bak_item_handle handle = CREATOR;
	assert_false(bak_item_listed(&item));
	assert_fires(bak_item_touch(&item, true, 0, &empty));
	bak_item_fired(&item);
	assert_nothing(bak_item_flush(&item, &handle, &empty));
	assert_nothing(bak_item_release(&item, &handle));
	assert_true(bak_item_listed(&item));
	/* A second touch, while it is queued or runs: OPEN, SETATTR now, RELEASE. */
	struct bak_item_handle again = WRITER;
	assert_nothing(bak_item_open(&item, O_WRONLY));
	assert_nothing(bak_item_touch(&item, true, 0, &empty));
	assert_nothing(bak_item_release(&item, &again));
	/* And when it is over, a third one. */
	bak_item_job_ended(&item, 1000);
	assert_fires(bak_item_touch(&item, true, 0, &empty));
}

/* Path.touch() of Python, for a name that is new: CREATE, RELEASE. */
static void test_create_without_bytes_fires(void **state)
{
	(void)state;
	struct bak_item_rules item = item_of(BAK_ITEM_TRIGGER, "rollback");
	struct bak_item_handle handle = CREATOR;
	assert_nothing(bak_item_flush(&item, &handle, &empty));
	assert_fires(bak_item_release(&item, &handle));
}

static void test_explicit_times_fire_nothing(void **state)
{
	(void)state;
	struct bak_item_rules item = item_of(BAK_ITEM_TRIGGER, "latest");
	struct bak_item_handle handle = CREATOR;
	assert_nothing(bak_item_date(&item));
	assert_nothing(bak_item_flush(&item, &handle, &empty));
	assert_forgets(bak_item_release(&item, &handle));
}

static void test_killed_touch_fires_nothing(void **state)
{
	(void)state;
	struct bak_item_rules item = item_of(BAK_ITEM_TRIGGER, "latest");
	struct bak_item_handle handle = CREATOR;
	assert_nothing(bak_item_flush(&item, &handle, &killed_whole));
	assert_forgets(bak_item_release(&item, &handle));
}

static void test_triggers_take_no_bytes(void **state)
{
	(void)state;
	struct bak_item_rules item = item_of(BAK_ITEM_TRIGGER, "latest");
	struct bak_item_handle handle = CREATOR;
	assert_refused(bak_item_write(&item, &handle), EINVAL);
	assert_refused(bak_item_truncate(&item, &handle, 0), EINVAL);
	assert_refused(bak_item_open(&item, O_WRONLY | O_TRUNC), EINVAL);
	assert_nothing(bak_item_open(&item, O_RDONLY));
}

/* rsync --inplace of an empty file: CREATE without flags, SETATTR size, FLUSH, RELEASE. */
static void test_filling_fires_nothing(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		struct bak_item_rules item = item_of(BAK_ITEM_TRIGGER, "latest");
		struct bak_item_handle handle = CREATOR;
		if (i)
			assert_refused(bak_item_truncate(&item, &handle, 0), EINVAL);
		else
			assert_refused(bak_item_write(&item, &handle), EINVAL);
		assert_nothing(bak_item_flush(&item, &handle, &empty));
		assert_forgets(bak_item_release(&item, &handle));
	}
}

static void test_reading_fires_nothing(void **state)
{
	(void)state;
	struct bak_item_rules item = item_of(BAK_ITEM_TRIGGER, "latest");
	struct bak_item_handle reader = {.writer = false};
	bak_item_fired(&item);
	bak_item_job_ended(&item, 0);
	assert_nothing(bak_item_open(&item, O_RDONLY));
	assert_nothing(bak_item_flush(&item, &reader, &empty));
	assert_nothing(bak_item_release(&item, &reader));
}

/* --- uploads --- */

/* cp: CREATE, WRITE..., FLUSH, RELEASE. */
static void test_whole_upload_starts_by_itself(void **state)
{
	(void)state;
	struct bak_item_rules item = item_of(BAK_ITEM_FILE, "dump.db");
	struct bak_item_handle handle = CREATOR;
	assert_nothing(bak_item_write(&item, &handle));
	assert_nothing(bak_item_flush(&item, &handle, &whole));
	assert_fires(bak_item_release(&item, &handle));
}

static void test_cut_and_wrong_are_refused(void **state)
{
	(void)state;
	const struct bak_content_facts *const bad[] = {&cut, &wrong};
	for (int i = 0; i < 2; i++) {
		struct bak_item_rules item = item_of(BAK_ITEM_FILE, "dump.db");
		struct bak_item_handle handle = CREATOR;
		bak_item_write(&item, &handle);
		assert_refused(bak_item_flush(&item, &handle, bad[i]), EBADMSG);
		assert_nothing(bak_item_release(&item, &handle));
	}
}

static void test_what_cannot_prove_waits_for_a_touch(void **state)
{
	(void)state;
	struct bak_item_rules item = item_of(BAK_ITEM_FILE, "dump.bin");
	struct bak_item_handle handle = CREATOR;
	bak_item_write(&item, &handle);
	assert_nothing(bak_item_flush(&item, &handle, &unprovable));
	assert_nothing(bak_item_release(&item, &handle));
	assert_fires(bak_item_touch(&item, true, 0, &unprovable));
}

/* dump > f: the shell's own copy of the descriptor is closed before the first byte. */
static void test_flush_before_the_first_byte(void **state)
{
	(void)state;
	struct bak_item_rules item = item_of(BAK_ITEM_FILE, "dump.db");
	struct bak_item_handle handle = CREATOR;
	assert_nothing(bak_item_flush(&item, &handle, &empty));
	bak_item_write(&item, &handle);
	assert_nothing(bak_item_flush(&item, &handle, &whole));
	assert_fires(bak_item_release(&item, &handle));
}

/* (a; b) > f: a's close comes half-way, and nobody hears its error. The last one decides. */
static void test_flush_half_way(void **state)
{
	(void)state;
	struct bak_item_rules item = item_of(BAK_ITEM_FILE, "dump.db");
	struct bak_item_handle handle = CREATOR;
	bak_item_write(&item, &handle);
	assert_refused(bak_item_flush(&item, &handle, &cut), EBADMSG);
	bak_item_write(&item, &handle);
	assert_nothing(bak_item_flush(&item, &handle, &whole));
	bak_item_write(&item, &handle);
	assert_refused(bak_item_flush(&item, &handle, &wrong), EBADMSG);
	assert_nothing(bak_item_release(&item, &handle));
}

static void test_killed_writer_starts_nothing(void **state)
{
	(void)state;
	struct bak_item_rules item = item_of(BAK_ITEM_FILE, "dump.db");
	struct bak_item_handle handle = CREATOR;
	bak_item_write(&item, &handle);
	assert_nothing(bak_item_flush(&item, &handle, &whole));
	assert_nothing(bak_item_flush(&item, &handle, &killed_whole));
	assert_nothing(bak_item_release(&item, &handle));
}

/* Two programs write: the last one to go starts it. */
static void test_two_writers(void **state)
{
	(void)state;
	struct bak_item_rules item = item_of(BAK_ITEM_FILE, "dump.db");
	struct bak_item_handle a = CREATOR, b = WRITER;
	bak_item_write(&item, &a);
	bak_item_write(&item, &b);
	bak_item_flush(&item, &a, &whole);
	assert_nothing(bak_item_release(&item, &a));
	assert_refused(bak_item_touch(&item, true, 0, &whole), EBUSY);
	bak_item_flush(&item, &b, &whole);
	assert_fires(bak_item_release(&item, &b));
}

/* One who opened for writing and wrote nothing has no say: touch -d, chmod programs. */
static void test_who_wrote_nothing_decides_nothing(void **state)
{
	(void)state;
	struct bak_item_rules item = item_of(BAK_ITEM_FILE, "dump.db");
	struct bak_item_handle a = CREATOR, b = WRITER;
	bak_item_write(&item, &a);
	bak_item_flush(&item, &a, &killed_whole);
	bak_item_release(&item, &a);
	assert_nothing(bak_item_flush(&item, &b, &whole));
	assert_nothing(bak_item_release(&item, &b));
	assert_nothing(bak_item_date(&item));
}

/* rsync: a name with a dot, then RENAME to the final one. */
static void test_partial_names(void **state)
{
	(void)state;
	struct bak_item_rules item = item_of(BAK_ITEM_FILE, ".dump.db.a1B2c3");
	struct bak_item_handle handle = CREATOR;
	bak_item_write(&item, &handle);
	assert_nothing(bak_item_flush(&item, &handle, &whole));
	assert_nothing(bak_item_release(&item, &handle));
	assert_nothing(bak_item_touch(&item, true, 0, &whole));
	assert_fires(bak_item_rename(&item, BAK_NAME_UPLOAD, NULL, &whole));
}

static void test_rename_says_what_is_wrong(void **state)
{
	(void)state;
	struct bak_item_rules item = item_of(BAK_ITEM_FILE, "dump.part");
	struct bak_item_handle handle = CREATOR;
	bak_item_write(&item, &handle);
	assert_nothing(bak_item_flush(&item, &handle, &cut));
	bak_item_release(&item, &handle);
	assert_refused(bak_item_rename(&item, BAK_NAME_UPLOAD, NULL, &cut), EBADMSG);
	assert_true(item.partial); /* it keeps its name, and may be written on */
	assert_nothing(bak_item_rename(&item, BAK_NAME_UPLOAD, NULL, &unprovable));
	assert_fires(bak_item_touch(&item, true, 0, &unprovable));
}

/* Renamed while it is still open: RELEASE starts it. */
static void test_rename_before_close(void **state)
{
	(void)state;
	struct bak_item_rules item = item_of(BAK_ITEM_FILE, "dump.tmp");
	struct bak_item_handle handle = CREATOR;
	bak_item_write(&item, &handle);
	assert_nothing(bak_item_rename(&item, BAK_NAME_UPLOAD, NULL, &whole));
	assert_nothing(bak_item_flush(&item, &handle, &whole));
	assert_fires(bak_item_release(&item, &handle));
}

static void test_renames_that_cannot_be(void **state)
{
	(void)state;
	struct bak_item_rules item = item_of(BAK_ITEM_FILE, "dump.db");
	struct bak_item_rules trigger = item_of(BAK_ITEM_TRIGGER, "latest");
	struct bak_item_rules busy = item_of(BAK_ITEM_FILE, "other.db");
	bak_item_fired(&busy);
	assert_refused(bak_item_rename(&item, BAK_NAME_STAMP, NULL, &whole), EINVAL);
	assert_refused(bak_item_rename(&item, BAK_NAME_LATEST, &trigger, &whole), EINVAL);
	assert_refused(bak_item_rename(&trigger, BAK_NAME_UPLOAD, NULL, &empty), EINVAL);
	assert_refused(bak_item_rename(&item, BAK_NAME_CONTROL, NULL, &whole), EPERM);
	assert_refused(bak_item_rename(&item, BAK_NAME_UPLOAD, &busy, &whole), EBUSY);
	assert_refused(bak_item_rename(&busy, BAK_NAME_UPLOAD, NULL, &whole), EBUSY);
}

/* A stamp that was mistyped makes an empty upload: touch says so, and it goes. */
static void test_touch_of_an_empty_upload(void **state)
{
	(void)state;
	struct bak_item_rules item = item_of(BAK_ITEM_FILE, "lastest");
	struct bak_item_handle handle = CREATOR;
	assert_refused(bak_item_touch(&item, true, 0, &empty), ENOENT);
	assert_nothing(bak_item_flush(&item, &handle, &empty));
	assert_forgets(bak_item_release(&item, &handle));
}

/* The touch came first, then bytes: an upload like any other. */
static void test_touch_then_write(void **state)
{
	(void)state;
	struct bak_item_rules item = item_of(BAK_ITEM_FILE, "dump.db");
	struct bak_item_handle handle = CREATOR;
	bak_item_touch(&item, true, 0, &empty);
	bak_item_write(&item, &handle);
	bak_item_flush(&item, &handle, &whole);
	assert_fires(bak_item_release(&item, &handle));
}

static void test_tree_starts_by_touch(void **state)
{
	(void)state;
	struct bak_item_rules item = item_of(BAK_ITEM_TREE, "data");
	struct bak_item_handle handle = CREATOR;
	assert_refused(bak_item_touch(&item, true, 0, &unprovable), ENOENT);
	assert_nothing(bak_item_write(&item, &handle));
	assert_refused(bak_item_touch(&item, true, 3, &unprovable), EBUSY);
	/* A database within a folder is no dump of this store. */
	assert_nothing(bak_item_flush(&item, &handle, &cut));
	assert_nothing(bak_item_release(&item, &handle));
	assert_nothing(bak_item_touch(&item, false, 0, &unprovable));
	assert_fires(bak_item_touch(&item, true, 3, &unprovable));
}

static void test_a_job_reads_what_was_accepted(void **state)
{
	(void)state;
	struct bak_item_rules item = item_of(BAK_ITEM_TREE, "data");
	struct bak_item_handle handle = WRITER;
	bak_item_fired(&item);
	assert_refused(bak_item_write(&item, &handle), EBUSY);
	assert_refused(bak_item_truncate(&item, &handle, 0), EBUSY);
	assert_refused(bak_item_open(&item, O_WRONLY | O_TRUNC), EBUSY);
	assert_refused(bak_rule_create_in(&item, O_WRONLY, false), EBUSY);
	assert_refused(bak_rule_mkdir_in(&item, false), EBUSY);
	assert_refused(bak_rule_make_other_in(&item), EBUSY);
	assert_refused(bak_item_change_in(&item), EBUSY);
	assert_nothing(bak_item_open(&item, O_RDONLY));
	assert_nothing(bak_item_date(&item)); /* copystat after the copy */
}

static void test_removal(void **state)
{
	(void)state;
	struct bak_item_rules item = item_of(BAK_ITEM_FILE, "dump.db");
	assert_forgets(bak_item_remove(&item));
	bak_item_fired(&item);
	assert_decision(bak_item_remove(&item), 0, BAK_ACT_CANCEL);
	bak_item_job_ended(&item, 0);
	assert_forgets(bak_item_remove(&item));
}

static void test_kept_a_minute(void **state)
{
	(void)state;
	struct bak_item_rules item = item_of(BAK_ITEM_FILE, "dump.db");
	assert_false(bak_item_expired(&item, 1 << 30, 0));
	bak_item_fired(&item);
	assert_false(bak_item_expired(&item, 1 << 30, 0));
	bak_item_job_ended(&item, 1000);
	assert_false(bak_item_expired(&item, 1000 + BAK_ITEM_KEPT_S - 1, 0));
	assert_false(bak_item_expired(&item, 1000 + BAK_ITEM_KEPT_S, 1));
	assert_true(bak_item_expired(&item, 1000 + BAK_ITEM_KEPT_S, 0));
	/* Written to again: a new upload. */
	struct bak_item_handle handle = WRITER;
	bak_item_write(&item, &handle);
	assert_false(bak_item_expired(&item, 1000 + BAK_ITEM_KEPT_S, 0));
	bak_item_flush(&item, &handle, &whole);
	assert_fires(bak_item_release(&item, &handle));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_name_classes),
		cmocka_unit_test(test_trigger_names_at_create),
		cmocka_unit_test(test_folders_of_triggers),
		cmocka_unit_test(test_touch_fires_once),
		cmocka_unit_test(test_create_without_bytes_fires),
		cmocka_unit_test(test_explicit_times_fire_nothing),
		cmocka_unit_test(test_killed_touch_fires_nothing),
		cmocka_unit_test(test_triggers_take_no_bytes),
		cmocka_unit_test(test_filling_fires_nothing),
		cmocka_unit_test(test_reading_fires_nothing),
		cmocka_unit_test(test_whole_upload_starts_by_itself),
		cmocka_unit_test(test_cut_and_wrong_are_refused),
		cmocka_unit_test(test_what_cannot_prove_waits_for_a_touch),
		cmocka_unit_test(test_flush_before_the_first_byte),
		cmocka_unit_test(test_flush_half_way),
		cmocka_unit_test(test_killed_writer_starts_nothing),
		cmocka_unit_test(test_two_writers),
		cmocka_unit_test(test_who_wrote_nothing_decides_nothing),
		cmocka_unit_test(test_partial_names),
		cmocka_unit_test(test_rename_says_what_is_wrong),
		cmocka_unit_test(test_rename_before_close),
		cmocka_unit_test(test_renames_that_cannot_be),
		cmocka_unit_test(test_touch_of_an_empty_upload),
		cmocka_unit_test(test_touch_then_write),
		cmocka_unit_test(test_tree_starts_by_touch),
		cmocka_unit_test(test_a_job_reads_what_was_accepted),
		cmocka_unit_test(test_removal),
		cmocka_unit_test(test_kept_a_minute),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
