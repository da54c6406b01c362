/* The catalogue: what rows of the index become, what is latest, and what a change is told as. */
#include "fs/catalog.h"
#include "fs/ino.h"
#include "tests/lib/world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* 2026-11-21T14:02:12Z */
#define DAY INT64_C(1795219200)
#define T0 (DAY + 14 * 3600 + 2 * 60 + 12)

static struct bak_world world;

static int setup(void **state)
{
	(void)state;
	bak_world_setup(&world);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	bak_world_teardown(&world);
	return 0;
}

static void add(uint64_t number, const char *store, const char *type, const char *run,
		int64_t run_stamp, int64_t stamp)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_snapshot_row row = {
		.number = number,
		.store = (char *)(uintptr_t)store,
		.type = (char *)(uintptr_t)type,
		.host = (char[]){"here"},
		.run = (char *)(uintptr_t)run,
		.description = (char[]){""},
		.driver = (char[]){"files"},
		.stamp = stamp,
		.run_stamp = run_stamp,
		.files = 1,
		.entries = 1,
		.sums_len = 70,
		.manifest_len = 100,
		.tags = (char[]){""},
	};
	bak_must(bak_index_add_snapshot(bak_repo_index(world.repo), &row, &err), &err);
}

static struct bak_catalog *build(const char *store, uint64_t number)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_catalog *cat;
	bak_must(bak_catalog_build(world.repo, store, number, &cat, &err), &err);
	return cat;
}

static const char *latest_of(const struct bak_catalog *cat, const char *name)
{
	const struct bak_cat_store *store = bak_catalog_store(cat, name, strlen(name));
	assert_non_null(store);
	return store->latest == BAK_CAT_NONE ? "none" : cat->snaps[store->latest].name;
}

static void test_empty(void **state)
{
	(void)state;
	struct bak_catalog *cat = build(NULL, 0);
	struct bak_vnode node;
	assert_int_equal(cat->n_snaps, 0);
	assert_true(bak_catalog_node(cat, BAK_INO_ROOT, &node));
	assert_int_equal(node.kind, BAK_V_ROOT);
	assert_true(bak_catalog_node(cat, cat->latest_ino, &node));
	assert_int_equal(node.kind, BAK_V_LATEST);
	assert_false(bak_catalog_node(cat, 12345, &node));
	bak_catalog_unref(cat);
}

static void test_latest_is_the_newest_good_one(void **state)
{
	(void)state;
	add(1, "app", "daily", "r1", T0, T0);
	add(2, "app", "manual", "r2", T0 + 60, T0 + 60);
	add(3, "app", "pre-restore", "r3", T0 + 120, T0 + 120);
	add(4, "old", "import", "r4", T0 + 180, T0 + 180);
	/* A clock that went back: the number decides, not the stamp. */
	add(5, "back", "daily", "r5", T0 + 500, T0 + 500);
	add(6, "back", "daily", "r6", T0 + 400, T0 + 400);
	struct bak_catalog *cat = build(NULL, 0);
	assert_string_equal(latest_of(cat, "app"), "20261121T140312Z");
	assert_string_equal(latest_of(cat, "old"), "none");
	assert_string_equal(latest_of(cat, "back"), "20261121T140852Z");
	bak_catalog_unref(cat);
}

static void test_names(void **state)
{
	(void)state;
	add(1, "app", "daily", "r1", T0, T0);
	add(2, "web", "daily", "r1", T0, T0 + 3);
	add(3, "app", "daily", "r2", T0 + 86400, T0 + 86400);
	struct bak_catalog *cat = build(NULL, 0);
	assert_int_equal(cat->n_days, 2);
	const struct bak_cat_day *day = bak_catalog_day(cat, "2026-11-21");
	assert_non_null(day);
	assert_null(bak_catalog_day(cat, "2026-11-23"));
	const struct bak_cat_run *run = bak_catalog_run(cat, day, "140212Z-daily");
	assert_non_null(run);
	assert_int_equal(run->n_snaps, 2);
	assert_int_equal(run->files, 2);
	assert_null(bak_catalog_run(cat, day, "140212Z-weekly"));
	const struct bak_cat_store *app = bak_catalog_store(cat, "app", 3);
	const struct bak_cat_snap *snap = bak_catalog_stamp(cat, app, "20261122T140212Z", 16);
	assert_non_null(snap);
	assert_int_equal(snap->number, 3);
	assert_null(bak_catalog_stamp(cat, app, "20261121T140215Z", 16));
	assert_null(bak_catalog_stamp(cat, app, "20261122T140212Z", 15));
	assert_int_equal(bak_catalog_snap(cat, 2)->number, 2);
	assert_null(bak_catalog_snap(cat, 4));
	bak_catalog_unref(cat);
}

/* Every number leads back to what it was made of; after a remount it is the same. */
static void test_numbers(void **state)
{
	(void)state;
	for (uint64_t i = 1; i <= 300; i++) {
		char store[16], run[16];
		snprintf(store, sizeof store, "s%d", (int)(i % 7));
		snprintf(run, sizeof run, "r%d", (int)(i / 3));
		add(i, store, "daily", run, T0 + (int64_t)(i / 3) * 3600, T0 + (int64_t)i * 3600);
	}
	struct bak_catalog *a = build(NULL, 0), *b = build(NULL, 0);
	for (uint32_t i = 0; i < a->n_snaps; i++)
		for (int kind = BAK_V_SNAP_MANIFEST; kind <= BAK_V_SNAP_SUMS; kind++) {
			struct bak_vnode node = {(enum bak_vkind)kind, i}, back;
			uint64_t ino = bak_catalog_ino(a, node);
			assert_int_not_equal(ino, 0);
			assert_int_equal(ino, bak_catalog_ino(b, node));
			assert_true(bak_catalog_node(b, ino, &back));
			assert_int_equal(back.kind, kind);
			assert_int_equal(back.index, i);
		}
	for (uint32_t i = 0; i < a->n_runs; i++) {
		struct bak_vnode back;
		assert_true(bak_catalog_node(a, a->runs[i].sums_ino, &back));
		assert_int_equal(back.kind, BAK_V_RUN_SUMS);
		assert_int_equal(back.index, i);
	}
	bak_catalog_unref(a);
	bak_catalog_unref(b);
}

static void test_filters(void **state)
{
	(void)state;
	add(1, "app", "daily", "r1", T0, T0);
	add(2, "web", "daily", "r1", T0, T0 + 3);
	add(3, "web", "daily", "r2", T0 + 9, T0 + 9);
	struct bak_catalog *cat = build("web", 0);
	assert_int_equal(cat->n_snaps, 2);
	assert_null(bak_catalog_store(cat, "app", 3));
	bak_catalog_unref(cat);
	cat = build(NULL, 2);
	assert_int_equal(cat->n_snaps, 1);
	assert_string_equal(latest_of(cat, "web"), "20261121T140215Z");
	bak_catalog_unref(cat);
}

/* Rows that cannot be shown are left out, not shown wrongly. */
static void test_impossible_rows(void **state)
{
	(void)state;
	add(1, "app", "daily", "r1", T0, -5);
	add(2, "app", "da/ily", "r2", T0, T0);
	add(3, "../x", "daily", "r3", T0, T0);
	add(UINT64_C(1) << 30, "app", "daily", "r4", T0, T0);
	add(5, "app", "daily", "r5", INT64_C(1) << 60, T0);
	struct bak_catalog *cat = build(NULL, 0);
	assert_int_equal(cat->n_snaps, 0);
	bak_catalog_unref(cat);
}

/* --- changes --- */

struct told {
	char text[4096];
	const struct bak_catalog *cat;
};

static void tell(void *ctx, uint64_t parent, const char *name)
{
	struct told *told = ctx;
	size_t len = strlen(told->text);
	const struct bak_catalog *cat = told->cat;
	struct bak_vnode node = {BAK_V_ROOT, 0};
	assert_true(bak_catalog_node(cat, parent, &node));
	const char *folder = node.kind == BAK_V_BY_DATE    ? "by-date"
			     : node.kind == BAK_V_BY_STORE ? "by-store"
			     : node.kind == BAK_V_LATEST   ? "latest"
			     : node.kind == BAK_V_DAY      ? cat->days[node.index].name
			     : node.kind == BAK_V_RUN      ? cat->runs[node.index].name
							   : cat->stores[node.index].name;
	snprintf(told->text + len, sizeof told->text - len, "%s/%s\n", folder, name);
}

static void assert_change(struct bak_catalog *was, struct bak_catalog *is, const char *want)
{
	struct told told = {.cat = is};
	bak_catalog_diff(was, is, tell, &told);
	assert_string_equal(told.text, want);
	bak_catalog_unref(was);
}

static void test_changes(void **state)
{
	(void)state;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_index *index = bak_repo_index(world.repo);
	struct bak_catalog *cat = build(NULL, 0), *next;

	add(1, "app", "daily", "r1", T0, T0);
	next = build(NULL, 0);
	assert_change(cat, next,
		      "by-store/app\nlatest/app\nlatest/app.json\nlatest/app.sha256\n"
		      "by-date/2026-11-21\n");
	cat = next;

	/* The same run gains a store. */
	add(2, "web", "daily", "r1", T0, T0 + 5);
	next = build(NULL, 0);
	struct told told = {.cat = next};
	bak_catalog_diff(cat, next, tell, &told);
	assert_non_null(strstr(told.text, "140212Z-daily/web\n140212Z-daily/manifest.json\n"
					  "140212Z-daily/SHA256SUMS\n"));
	assert_non_null(strstr(told.text, "by-store/web\n"));
	assert_null(strstr(told.text, "app"));
	bak_catalog_unref(cat);
	cat = next;

	/* A pre-restore snapshot is no latest. */
	add(3, "app", "pre-restore", "r3", T0 + 60, T0 + 60);
	next = build(NULL, 0);
	assert_change(cat, next,
		      "app/20261121T140312Z\napp/20261121T140312Z.json\n"
		      "app/20261121T140312Z.sha256\n2026-11-21/140312Z-pre-restore\n");
	cat = next;

	/* A new good one is. */
	add(4, "app", "daily", "r4", T0 + 120, T0 + 120);
	next = build(NULL, 0);
	assert_change(cat, next,
		      "app/20261121T140412Z\napp/20261121T140412Z.json\n"
		      "app/20261121T140412Z.sha256\napp/latest\nlatest/app\nlatest/app.json\n"
		      "latest/app.sha256\n2026-11-21/140412Z-daily\n");
	cat = next;

	/* Forgotten: all of it goes again. */
	bak_must(bak_index_forget(index, 4, 4, &err), &err);
	next = build(NULL, 0);
	assert_change(cat, next,
		      "app/20261121T140412Z\napp/20261121T140412Z.json\n"
		      "app/20261121T140412Z.sha256\napp/latest\nlatest/app\nlatest/app.json\n"
		      "latest/app.sha256\n2026-11-21/140412Z-daily\n");
	cat = next;

	next = build(NULL, 0);
	assert_change(cat, next, "");
	bak_catalog_unref(next);
}

/* Texts that can change have another number with each text. */
static void test_numbers_of_changing_texts(void **state)
{
	(void)state;
	add(1, "app", "daily", "r1", T0, T0);
	struct bak_catalog *was = build(NULL, 0);
	add(2, "web", "daily", "r1", T0, T0 + 5);
	add(3, "app", "daily", "r2", T0 + 60, T0 + 60);
	struct bak_catalog *is = build(NULL, 0);
	const struct bak_cat_run *a = bak_catalog_run(was, was->days, "140212Z-daily");
	const struct bak_cat_run *b = bak_catalog_run(is, is->days, "140212Z-daily");
	assert_int_equal(a->ino, b->ino);
	assert_int_not_equal(a->manifest_ino, b->manifest_ino);
	assert_int_not_equal(a->sums_ino, b->sums_ino);
	const struct bak_cat_store *app_was = bak_catalog_store(was, "app", 3);
	const struct bak_cat_store *app_is = bak_catalog_store(is, "app", 3);
	assert_int_equal(app_was->ino, app_is->ino);
	assert_int_not_equal(app_was->link_ino, app_is->link_ino);
	bak_catalog_unref(was);
	bak_catalog_unref(is);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_empty, setup, teardown),
		cmocka_unit_test_setup_teardown(test_latest_is_the_newest_good_one, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_names, setup, teardown),
		cmocka_unit_test_setup_teardown(test_numbers, setup, teardown),
		cmocka_unit_test_setup_teardown(test_filters, setup, teardown),
		cmocka_unit_test_setup_teardown(test_impossible_rows, setup, teardown),
		cmocka_unit_test_setup_teardown(test_changes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_numbers_of_changing_texts, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
