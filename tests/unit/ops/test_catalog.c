/* The catalogue: what other processes, failing storage and forgers do to it. */
#include "tests/lib/world.h"

#include "engine/base/bytes.h"
#include "engine/objects/compress.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static void refresh(struct bak_world *world)
{
	struct bak_error err = BAK_ERROR_INIT;
	bool changed;
	bak_must(bak_repo_refresh_snapshots(world->repo, &changed, &err), &err);
	bak_must(bak_repo_refresh_packs(world->repo, &changed, &err), &err);
}

static void put_junk(struct bak_world *world, const char *name)
{
	struct bak_error err = BAK_ERROR_INIT;
	assert_int_equal(bak_backend_put(world->mem, "test", name, "junk", 4, &err), 1);
}

static void put_record(struct bak_world *world, const char *name, const char *json)
{
	struct bak_error err = BAK_ERROR_INIT;
	assert_int_equal(bak_record_put(world->mem, bak_repo_ring(world->repo), name, json, &err),
			 1);
}

static void assert_omissions(struct bak_world *world, const char *want)
{
	struct bak_error err = BAK_ERROR_INIT;
	char *text = NULL;
	bak_must(bak_repo_omissions(world->repo, &text, &err), &err);
	if (want)
		assert_string_equal(text, want);
	else
		assert_null(text);
	free(text);
}

static size_t count_latest(struct bak_world *world)
{
	struct bak_error err = BAK_ERROR_INIT;
	uint64_t *numbers;
	size_t n = 0;
	if (bak_repo_resolve(world->repo, "latest", &numbers, &n, &err) < 0)
		return 0;
	free(numbers);
	return n;
}

/* Whoever can write to the storage cannot hide a snapshot or use up the numbers. */
static void test_forged_names(void **state)
{
	(void)state;
	struct bak_world world;
	bak_world_setup(&world);
	bak_world_backup(&world, "a", "manual", 1);
	put_junk(&world, "snapshots/9223372036854775807");
	put_junk(&world, "snapshots/18446744073709551615");
	put_junk(&world, "snapshots/07");
	put_junk(&world, "snapshots/x");
	put_junk(&world, "forgotten/1");
	put_junk(&world, "forgotten/1-9223372036854775807");
	put_junk(&world, "forgotten/9-1");
	put_junk(&world, "tags/1-9");
	put_junk(&world, "condemned/00000000000000000000000000000000");
	put_junk(&world, "packs/00/00");
	refresh(&world);
	assert_int_equal(count_latest(&world), 1);
	assert_omissions(&world, "snapshot 9223372036854775807 is there but does not open");
	assert_int_equal(bak_world_backup(&world, "a", "manual", 2), 2);
	bak_world_reopen(&world);
	assert_int_equal(count_latest(&world), 1);
	bak_world_teardown(&world);
}

/* A number whose snapshot does not open is used all the same. */
static void test_damaged_snapshot(void **state)
{
	(void)state;
	struct bak_world world;
	bak_world_setup(&world);
	bak_world_backup(&world, "a", "manual", 1);
	bak_world_backup(&world, "a", "manual", 2);
	bak_world_flip(&world, "snapshots/2", 50);
	bak_world_reopen(&world);
	assert_omissions(&world, "snapshot 2 is there but does not open");
	assert_int_equal(bak_world_backup(&world, "a", "manual", 3), 3);
	assert_omissions(&world, "snapshot 2 is there but does not open");
	bak_world_teardown(&world);
}

/* A sealed object as a later bakfs may write it. */
static void put_sealed(struct bak_world *world, const char *name, const void *p, size_t len)
{
	struct bak_error err = BAK_ERROR_INIT;
	BAK_AUTO(bak_buf_release) struct bak_buf sealed = BAK_BUF_INIT;
	bak_must(bak_object_seal(bak_repo_ring(world->repo), name, p, len, &sealed, &err), &err);
	assert_int_equal(bak_backend_put(world->mem, "t", name, sealed.p, sealed.len, &err), 1);
}

/* One of a newer version hides nothing else, keeps its number, and is said. */
static void test_newer_version(void **state)
{
	(void)state;
	struct bak_world world;
	struct bak_error err = BAK_ERROR_INIT;
	BAK_AUTO(bak_buf_release) struct bak_buf newer = BAK_BUF_INIT;
	static const uint8_t frame[] = {2, 2, 'n', 'e', 'w'};
	bak_world_setup(&world);
	bak_world_backup(&world, "a", "manual", 1);
	assert_int_equal(bak_put_u32(&newer, sizeof frame), 0);
	bak_must(bak_zstd_pack(frame, sizeof frame, 1, &newer, &err), &err);
	put_sealed(&world, "snapshots/2", newer.p, newer.len);
	refresh(&world);
	assert_omissions(&world, "snapshot 2 is there but does not open");
	assert_int_equal(count_latest(&world), 1);
	assert_int_equal(bak_world_backup(&world, "a", "manual", 3), 3);
	bak_world_reopen(&world);
	assert_omissions(&world, "snapshot 2 is there but does not open");
	bak_world_teardown(&world);
}

/* Records that open, but are none that we know, change nothing. */
static void test_unknown_records(void **state)
{
	(void)state;
	struct bak_world world;
	static const char *const texts[] = {"", "[]", "7", "{\"tags\":1", "\xff"};
	bak_world_setup(&world);
	bak_world_backup(&world, "a", "manual", 1);
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
		char name[64];
		const char *text = texts[i];
		snprintf(name, sizeof name, "forgotten/1-%zu", i + 1);
		put_sealed(&world, name, text, strlen(text));
		snprintf(name, sizeof name, "tags/1-%zu", i + 1);
		put_sealed(&world, name, text, strlen(text));
		snprintf(name, sizeof name, "condemned/%032zu", i);
		put_sealed(&world, name, text, strlen(text));
		snprintf(name, sizeof name, "running/00000000000000%02zu-1", i);
		put_sealed(&world, name, text, strlen(text));
	}
	refresh(&world);
	assert_int_equal(count_latest(&world), 1);
	assert_int_equal(bak_world_backup(&world, "a", "manual", 2), 2);
	bak_world_teardown(&world);
}

static void test_forgotten(void **state)
{
	(void)state;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_snapshot snapshot;
	struct bak_world world;
	uint64_t *numbers;
	size_t n;
	bak_world_setup(&world);
	for (uint64_t i = 1; i <= 6; i++)
		bak_world_backup(&world, i % 2 ? "odd" : "even", "manual", i);
	put_record(&world, "forgotten/5", "{}");
	put_record(&world, "forgotten/2-3", "{}");
	refresh(&world);
	assert_int_equal(bak_repo_snapshot(world.repo, 5, &snapshot, &err), 0);
	assert_int_equal(bak_repo_resolve(world.repo, "3", &numbers, &n, &err), -1);
	assert_int_equal(err.code, BAK_NOT_FOUND);
	bak_must(bak_repo_resolve(world.repo, "odd@latest", &numbers, &n, &err), &err);
	assert_int_equal(numbers[0], 1);
	free(numbers);
	/* Prune deletes the objects later: the records say that this is right. */
	assert_int_equal(bak_backend_remove(world.mem, "snapshots/2", &err), 1);
	assert_int_equal(bak_backend_remove(world.mem, "snapshots/5", &err), 1);
	refresh(&world);
	assert_omissions(&world, NULL);
	assert_int_equal(bak_backend_remove(world.mem, "snapshots/4", &err), 1);
	refresh(&world);
	assert_omissions(&world, "snapshot 4 is neither there nor recorded as forgotten");
	put_record(&world, "forgotten/4", "{}");
	refresh(&world);
	assert_omissions(&world, NULL);
	bak_world_reopen(&world);
	assert_omissions(&world, NULL);
	/* A record above all snapshots uses its number up. */
	put_record(&world, "forgotten/9", "{}");
	assert_int_equal(bak_world_backup(&world, "odd", "manual", 7), 10);
	assert_omissions(&world, "snapshots 7-8 are neither there nor recorded as forgotten");
	bak_world_teardown(&world);
}

/* What was forgotten before our eyes is not taken for a snapshot again without a word. */
static void test_back_again(void **state)
{
	(void)state;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_world world;
	bak_world_setup(&world);
	for (uint64_t i = 1; i <= 5; i++)
		bak_world_backup(&world, "a", "manual", i);
	put_record(&world, "forgotten/2-3", "{}");
	put_record(&world, "forgotten/5", "{}");
	refresh(&world);
	assert_omissions(&world, NULL);
	assert_int_equal(bak_backend_remove(world.mem, "forgotten/2-3", &err), 1);
	refresh(&world);
	assert_omissions(&world, "snapshots 2-3 were forgotten and are there again");
	assert_int_equal(count_latest(&world), 1);
	assert_int_equal(bak_backend_remove(world.mem, "snapshots/2", &err), 1);
	refresh(&world);
	assert_omissions(&world, "snapshot 2 is neither there nor recorded as forgotten; "
				 "snapshot 3 was forgotten and is there again");
	put_record(&world, "forgotten/1-3", "{}");
	refresh(&world);
	assert_omissions(&world, NULL);
	bak_world_teardown(&world);
}

/* One that does not open is told until it is forgotten. */
static void test_forgotten_unreadable(void **state)
{
	(void)state;
	struct bak_world world;
	bak_world_setup(&world);
	bak_world_backup(&world, "a", "manual", 1);
	bak_world_backup(&world, "a", "manual", 2);
	bak_world_flip(&world, "snapshots/1", 50);
	bak_world_reopen(&world);
	assert_omissions(&world, "snapshot 1 is there but does not open");
	put_record(&world, "forgotten/1", "{}");
	refresh(&world);
	assert_omissions(&world, NULL);
	bak_world_teardown(&world);
}

/* Of very many gaps a line names the first. */
static void test_many_gaps(void **state)
{
	(void)state;
	struct bak_world world;
	bak_world_setup(&world);
	for (uint64_t i = 2; i <= 30; i += 2) {
		char name[32];
		snprintf(name, sizeof name, "forgotten/%llu", (unsigned long long)i);
		put_record(&world, name, "{}");
	}
	refresh(&world);
	assert_omissions(&world, "snapshots 1, 3, 5, 7, 9, 11, 13, 15, 17, 19 and 5 more are "
				 "neither there nor recorded as forgotten");
	bak_world_teardown(&world);
}

/* Another snapshot under a number that was known: the number was used on an old copy. */
static void test_replaced(void **state)
{
	(void)state;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_world world, other;
	struct bak_snapshot_row row;
	struct bak_buf object = BAK_BUF_INIT;
	bak_world_setup(&world);
	bak_world_backup(&world, "a", "manual", 1);
	/* The same keys, another history. */
	other = world;
	bak_must(bak_backend_fault_new(world.mem, &other.fault, &err), &err);
	bak_world_backup(&world, "a", "manual", 2);
	assert_int_equal(bak_backend_get(world.mem, "snapshots/2", 0, SIZE_MAX, &object, &err), 1);
	assert_int_equal(bak_backend_remove(world.mem, "snapshots/2", &err), 1);
	bak_world_open(&other);
	bak_world_backup(&other, "longer-name", "manual", 3);
	refresh(&world);
	bak_must(bak_index_snapshot(bak_repo_index(world.repo), 2, &row, &err), &err);
	assert_string_equal(row.store, "longer-name");
	bak_snapshot_row_release(&row);
	bak_repo_close(other.repo);
	bak_backend_close(other.fault);
	bak_buf_release(&object);
	bak_world_teardown(&world);
}

static void test_tags(void **state)
{
	(void)state;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_snapshot_row row;
	struct bak_world world;
	bak_world_setup(&world);
	bak_world_backup(&world, "a", "manual", 1);
	put_record(&world, "tags/1-1", "{\"tags\":[\"old\"]}");
	put_record(&world, "tags/1-10", "{\"tags\":[\"keep\",\"blue\"]}");
	put_record(&world, "tags/1-9", "{\"tags\":[]}");
	for (int i = 0; i < 2; i++) {
		bak_must(bak_index_snapshot(bak_repo_index(world.repo), 1, &row, &err), &err);
		bak_snapshot_row_release(&row);
		refresh(&world);
		bak_must(bak_index_snapshot(bak_repo_index(world.repo), 1, &row, &err), &err);
		assert_string_equal(row.tags, "keep,blue");
		bak_snapshot_row_release(&row);
		bak_world_reopen(&world);
	}
	/* What the index knows is not read again. */
	bak_backend_fault_arm(world.fault, 0, false);
	refresh(&world);
	uint64_t calls = bak_backend_fault_calls(world.fault);
	put_record(&world, "tags/1-11", "{\"tags\":[]}");
	bak_backend_fault_arm(world.fault, 0, false);
	refresh(&world);
	assert_true(bak_backend_fault_calls(world.fault) > calls);
	bak_backend_fault_arm(world.fault, 0, false);
	refresh(&world);
	assert_int_equal(bak_backend_fault_calls(world.fault), calls);
	bak_world_teardown(&world);
}

static size_t count_condemned(struct bak_world *world, uint8_t out_id[BAK_PACK_ID_BYTES])
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_pack_row *packs;
	size_t n, condemned = 0;
	bak_must(bak_index_packs(bak_repo_index(world->repo), &packs, &n, &err), &err);
	assert_true(n > 0);
	for (size_t i = 0; i < n; i++)
		condemned += packs[i].condemned;
	memcpy(out_id, packs[0].id, BAK_PACK_ID_BYTES);
	free(packs);
	return condemned;
}

static void test_condemned(void **state)
{
	(void)state;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_world world;
	uint8_t id[BAK_PACK_ID_BYTES];
	char hex[2 * BAK_PACK_ID_BYTES + 1], json[160];
	const char *name = "condemned/00112233445566778899aabbccddeeff";
	bool changed;
	bak_world_setup(&world);
	bak_world_backup(&world, "a", "manual", 1);
	assert_int_equal(count_condemned(&world, id), 0);
	bak_hex(hex, id, sizeof id);
	snprintf(json, sizeof json,
		 "{\"packs\":[\"%s\",\"x\",7],\"time\":\"2026-11-21T14:02:12Z\"}", hex);
	put_record(&world, name, json);
	refresh(&world);
	assert_int_equal(count_condemned(&world, id), 1);
	/* A condemnation that cannot be read ends the refresh; it does not acquit. */
	for (uint64_t n = 1; n <= 3; n++) {
		bak_backend_fault_arm(world.fault, n, false);
		assert_int_equal(bak_repo_refresh_packs(world.repo, &changed, &err), -1);
		assert_int_equal(count_condemned(&world, id), 1);
	}
	bak_backend_fault_arm(world.fault, 0, false);
	assert_int_equal(bak_backend_remove(world.mem, name, &err), 1);
	refresh(&world);
	assert_int_equal(count_condemned(&world, id), 0);
	bak_world_teardown(&world);
}

static int first_pack(void *ctx, const char *name, uint64_t size)
{
	(void)size;
	snprintf(ctx, BAK_PACK_NAME_LEN, "%s", name);
	return 1;
}

static void test_gone_packs(void **state)
{
	(void)state;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_world world;
	struct bak_index_counts before, after;
	char name[BAK_PACK_NAME_LEN];
	struct bak_buf json = BAK_BUF_INIT;
	bool changed;
	bak_world_setup(&world);
	bak_world_backup(&world, "a", "manual", 1);
	bak_must(bak_index_counts(bak_repo_index(world.repo), &before, &err), &err);
	assert_int_equal(bak_backend_list(world.mem, "packs", first_pack, name, &err), 1);
	assert_int_equal(bak_backend_get(world.mem, "bakfs.json", 0, SIZE_MAX, &json, &err), 1);
	assert_int_equal(bak_backend_remove(world.mem, name, &err), 1);
	assert_int_equal(bak_backend_remove(world.mem, "bakfs.json", &err), 1);

	/* Not mounted: nothing is dropped. */
	assert_int_equal(bak_repo_refresh_packs(world.repo, &changed, &err), -1);
	assert_int_equal(err.code, BAK_UNAVAILABLE);
	bak_must(bak_index_counts(bak_repo_index(world.repo), &after, &err), &err);
	assert_int_equal(after.packs, before.packs);
	assert_int_equal(bak_backend_put(world.mem, "test", "bakfs.json", json.p, json.len, &err),
			 1);
	bak_buf_release(&json);
	refresh(&world);
	bak_must(bak_index_counts(bak_repo_index(world.repo), &after, &err), &err);
	assert_int_equal(after.packs, before.packs - 1);
	bak_world_teardown(&world);
}

/* A reindex whose n-th call fails leaves the index as it was. */
static void test_reindex_faults(void **state)
{
	(void)state;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_world world;
	struct bak_index_counts before, after;
	uint64_t packs, damaged;
	bak_world_setup(&world);
	bak_world_backup(&world, "a", "manual", 1);
	bak_world_backup(&world, "b", "manual", 2);
	put_record(&world, "forgotten/1", "{}");
	put_record(&world, "tags/2-1", "{\"tags\":[\"keep\"]}");
	refresh(&world);
	bak_must(bak_index_counts(bak_repo_index(world.repo), &before, &err), &err);
	for (uint64_t n = 1;; n++) {
		bak_backend_fault_arm(world.fault, n, true);
		int rc = bak_repo_reindex(world.repo, &packs, &damaged, &err);
		uint64_t calls = bak_backend_fault_calls(world.fault);
		bak_backend_fault_arm(world.fault, 0, false);
		bak_must(bak_index_counts(bak_repo_index(world.repo), &after, &err), &err);
		assert_memory_equal(&before, &after, sizeof before);
		assert_int_equal(count_latest(&world), 1);
		if (calls < n) {
			assert_int_equal(rc, 0);
			break;
		}
		assert_int_equal(rc, -1);
		assert_true(n < 1000);
	}
	assert_int_equal(packs, before.packs);
	assert_int_equal(damaged, 0);
	bak_world_teardown(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_forged_names),
		cmocka_unit_test(test_damaged_snapshot),
		cmocka_unit_test(test_newer_version),
		cmocka_unit_test(test_unknown_records),
		cmocka_unit_test(test_forgotten),
		cmocka_unit_test(test_back_again),
		cmocka_unit_test(test_forgotten_unreadable),
		cmocka_unit_test(test_many_gaps),
		cmocka_unit_test(test_replaced),
		cmocka_unit_test(test_tags),
		cmocka_unit_test(test_condemned),
		cmocka_unit_test(test_gone_packs),
		cmocka_unit_test(test_reindex_faults),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
