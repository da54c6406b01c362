/* The index: in memory and in a file, alone and with another connection, whole and malformed. */
#include "engine/storage/index.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
	struct bak_index *index;
	char dir[64], path[128];
};

static int setup_memory(void **state)
{
	struct bak_error err = BAK_ERROR_INIT;
	bool fresh = false;
	struct fixture *f = calloc(1, sizeof *f);
	*state = f;
	return f && bak_index_open(NULL, &f->index, &fresh, &err) == 0 && fresh ? 0 : -1;
}

static int setup_file(void **state)
{
	struct bak_error err = BAK_ERROR_INIT;
	bool fresh = false;
	struct fixture *f = calloc(1, sizeof *f);
	if (!f)
		return -1;
	*state = f;
	snprintf(f->dir, sizeof f->dir, "/tmp/bakfs-index-XXXXXX");
	if (!mkdtemp(f->dir))
		return -1;
	snprintf(f->path, sizeof f->path, "%s/a/b/index.sqlite", f->dir);
	return bak_index_open(f->path, &f->index, &fresh, &err) == 0 && fresh ? 0 : -1;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	char name[160];
	bak_index_close(f->index);
	if (f->path[0]) {
		for (int i = 0; i < 3; i++) {
			static const char *const suffix[] = {"", "-wal", "-shm"};
			snprintf(name, sizeof name, "%s%s", f->path, suffix[i]);
			unlink(name);
		}
		snprintf(name, sizeof name, "%s/a/b", f->dir);
		rmdir(name);
		snprintf(name, sizeof name, "%s/a", f->dir);
		rmdir(name);
		rmdir(f->dir);
	}
	free(f);
	return 0;
}

static struct bak_seg_id seg_id(uint8_t run, uint32_t n)
{
	struct bak_seg_id id = {.run = {run, 1, 2}, .n = n};
	return id;
}

#define N_SEGS 10
#define N_CHUNKS 40

/* A pack number p with segments of run p (and of run `shared` too), four chunks in each. */
struct pack {
	struct bak_pack_rows rows;
	struct bak_seg_copy segs[N_SEGS];
	struct bak_chunk_row chunks[N_CHUNKS];
	struct bak_node_row nodes[N_SEGS];
};

static void make_pack(struct pack *pack, uint8_t p, uint8_t run, bool holed)
{
	memset(pack, 0, sizeof *pack);
	pack->rows = (struct bak_pack_rows){.pack = {.id = {p}, .size = 1000u + p, .run = {run}},
					    .segs = pack->segs,
					    .n_segs = N_SEGS,
					    .chunks = pack->chunks,
					    .n_chunks = N_CHUNKS,
					    .nodes = pack->nodes,
					    .n_nodes = N_SEGS};
	for (uint32_t i = 0; i < N_SEGS; i++) {
		pack->segs[i] = (struct bak_seg_copy){.id = seg_id(run, i),
						      .pack = {p},
						      .off = 100u * i,
						      .len = 100,
						      .raw_len = 1 << 20,
						      .key = 7,
						      .type = 1,
						      .holed = holed};
		pack->nodes[i] = (struct bak_node_row){.hash = {.b = {run, (uint8_t)i, 9}},
						       .ref = {seg_id(run, i), 5 * i, 77},
						       .span_len = 5ull << 33};
	}
	for (uint32_t i = 0; i < N_CHUNKS; i++)
		pack->chunks[i] = (struct bak_chunk_row){
			.hash = {.b = {(uint8_t)(i * 37), run, (uint8_t)i}},
			.seg = seg_id(run, i / 4),
			.off = i % 4 * 1000,
			.len = 1000};
}

static void add(struct bak_index *index, const struct pack *pack)
{
	struct bak_error err = BAK_ERROR_INIT;
	assert_int_equal(bak_index_add_pack(index, &pack->rows, &err), 0);
}

/* Field by field: what lies between fields is not ours. */
static void assert_same_copy(const struct bak_seg_copy *a, const struct bak_seg_copy *b)
{
	assert_true(bak_seg_id_equal(&a->id, &b->id));
	assert_memory_equal(a->pack, b->pack, sizeof a->pack);
	assert_int_equal(a->off, b->off);
	assert_int_equal(a->len, b->len);
	assert_int_equal(a->raw_len, b->raw_len);
	assert_int_equal(a->key, b->key);
	assert_int_equal(a->type, b->type);
	assert_int_equal(a->holed, b->holed);
	assert_int_equal(a->condemned, b->condemned);
}

static int find_seg(struct bak_index *index, uint8_t run, uint32_t n, struct bak_seg_copy out[4])
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_seg_id id = seg_id(run, n);
	size_t found = 99;
	int result = bak_index_find_segment(index, &id, out, 4, &found, &err);
	assert_int_equal(result, found > 0);
	return (int)found;
}

/* How many of a pack's chunks and nodes are found, each with the right place. */
static int found_rows(struct bak_index *index, const struct pack *pack)
{
	struct bak_error err = BAK_ERROR_INIT;
	int n = 0;
	for (size_t i = 0; i < N_CHUNKS; i++) {
		struct bak_chunk_row row = {.off = 0};
		int found = bak_index_find_chunk(index, &pack->chunks[i].hash, &row, &err);
		assert_true(found >= 0);
		if (found)
			assert_memory_equal(&row, &pack->chunks[i], sizeof row);
		n += found;
	}
	for (size_t i = 0; i < N_SEGS; i++) {
		struct bak_node_row row = {.span_len = 0};
		int found = bak_index_find_node(index, &pack->nodes[i].hash, &row, &err);
		assert_true(found >= 0);
		if (found)
			assert_memory_equal(&row, &pack->nodes[i], sizeof row);
		n += found;
	}
	return n;
}

#define ALL_ROWS (N_CHUNKS + N_SEGS)

static void test_add_and_find(void **state)
{
	struct bak_index *index = ((struct fixture *)*state)->index;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_seg_copy copies[4];
	struct pack a, b;
	make_pack(&a, 1, 50, false);
	make_pack(&b, 2, 60, false);
	assert_int_equal(found_rows(index, &a), 0);
	assert_int_equal(find_seg(index, 50, 0, copies), 0);
	add(index, &a);
	add(index, &b);
	assert_int_equal(found_rows(index, &a), ALL_ROWS);
	assert_int_equal(found_rows(index, &b), ALL_ROWS);
	assert_int_equal(find_seg(index, 60, 3, copies), 1);
	assert_same_copy(&copies[0], &b.segs[3]);
	assert_int_equal(find_seg(index, 60, N_SEGS, copies), 0);

	struct bak_seg_copy *all;
	size_t n;
	assert_int_equal(bak_index_pack_segments(index, b.rows.pack.id, &all, &n, &err), 0);
	assert_int_equal(n, N_SEGS);
	assert_memory_equal(all, b.segs, sizeof b.segs);
	free(all);

	struct bak_pack_row *packs;
	assert_int_equal(bak_index_packs(index, &packs, &n, &err), 0);
	assert_int_equal(n, 2);
	assert_int_equal(packs[1].size, 1002);
	assert_int_equal(packs[1].id[0], 2);
	assert_int_equal(packs[1].run[0], 60);
	free(packs);

	struct bak_index_counts counts;
	assert_int_equal(bak_index_counts(index, &counts, &err), 0);
	assert_int_equal(counts.packs, 2);
	assert_int_equal(counts.pack_bytes, 2003);
	assert_int_equal(counts.segments, 2 * N_SEGS);
	assert_int_equal(counts.chunks, 2 * N_CHUNKS);
	assert_int_equal(counts.nodes, 2 * N_SEGS);
}

/* Reading the same footer twice changes nothing. */
static void test_add_again(void **state)
{
	struct bak_index *index = ((struct fixture *)*state)->index;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_seg_copy copies[4];
	struct bak_index_counts counts;
	struct pack a;
	make_pack(&a, 1, 50, false);
	add(index, &a);
	add(index, &a);
	assert_int_equal(find_seg(index, 50, 3, copies), 1);
	assert_int_equal(found_rows(index, &a), ALL_ROWS);
	assert_int_equal(bak_index_counts(index, &counts, &err), 0);
	assert_int_equal(counts.packs, 1);
}

static void test_best_copy_first(void **state)
{
	struct bak_index *index = ((struct fixture *)*state)->index;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_seg_copy copies[4];
	struct pack whole, holed, third;
	make_pack(&holed, 1, 50, true);
	make_pack(&whole, 2, 50, false);
	make_pack(&third, 3, 50, false);
	add(index, &holed);
	add(index, &whole);
	add(index, &third);
	assert_int_equal(bak_index_condemn_pack(index, whole.rows.pack.id, true, &err), 0);
	assert_int_equal(find_seg(index, 50, 0, copies), 3);
	assert_int_equal(copies[0].pack[0], 3);
	assert_int_equal(copies[1].pack[0], 1);
	assert_int_equal(copies[2].pack[0], 2);
	assert_true(copies[1].holed && copies[2].condemned && !copies[0].condemned);

	struct bak_seg_id id = seg_id(50, 0);
	size_t n;
	assert_int_equal(bak_index_find_segment(index, &id, copies, 1, &n, &err), 1);
	assert_int_equal(n, 3);
	assert_int_equal(bak_index_condemn_pack(index, whole.rows.pack.id, false, &err), 0);
	assert_int_equal(find_seg(index, 50, 0, copies), 3);
	assert_false(copies[2].condemned);
}

static void test_drop(void **state)
{
	struct bak_index *index = ((struct fixture *)*state)->index;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_seg_copy copies[4];
	struct pack a, again, b;
	make_pack(&a, 1, 50, false);
	make_pack(&again, 2, 50, false);
	make_pack(&b, 3, 60, false);
	add(index, &a);
	add(index, &again);
	add(index, &b);
	/* The other copy keeps the chunks. */
	assert_int_equal(bak_index_drop_pack(index, a.rows.pack.id, &err), 0);
	assert_int_equal(find_seg(index, 50, 1, copies), 1);
	assert_int_equal(copies[0].pack[0], 2);
	assert_int_equal(found_rows(index, &a), ALL_ROWS);
	assert_int_equal(bak_index_drop_pack(index, again.rows.pack.id, &err), 0);
	assert_int_equal(find_seg(index, 50, 1, copies), 0);
	assert_int_equal(found_rows(index, &a), 0);
	assert_int_equal(found_rows(index, &b), ALL_ROWS);
	assert_int_equal(bak_index_drop_pack(index, again.rows.pack.id, &err), 0);
	/* And comes back. */
	add(index, &a);
	assert_int_equal(found_rows(index, &a), ALL_ROWS);
}

/* Rows of one dropped pack among many stay until they are a fourth; no look-up sees them. */
static void test_stale_rows(void **state)
{
	struct fixture *f = *state;
	struct bak_error err = BAK_ERROR_INIT;
	struct pack packs[8];
	sqlite3 *db;
	sqlite3_stmt *stmt;
	for (uint8_t i = 0; i < 8; i++) {
		make_pack(&packs[i], i, (uint8_t)(50 + i), false);
		add(f->index, &packs[i]);
	}
	assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_prepare_v2(db, "SELECT count(*) FROM chunks", -1, &stmt, NULL),
			 SQLITE_OK);
	for (int dropped = 0; dropped < 5; dropped++) {
		for (int i = 0; i < 8; i++)
			assert_int_equal(found_rows(f->index, &packs[i]),
					 i < dropped ? 0 : ALL_ROWS);
		assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
		int rows = sqlite3_column_int(stmt, 0);
		assert_true(rows >= (8 - dropped) * N_CHUNKS);
		assert_true(rows <= 8 * N_CHUNKS && rows % N_CHUNKS == 0);
		if (dropped == 4)
			assert_true(rows < 8 * N_CHUNKS);
		sqlite3_reset(stmt);
		assert_int_equal(bak_index_drop_pack(f->index, packs[dropped].rows.pack.id, &err),
				 0);
	}
	sqlite3_finalize(stmt);
	sqlite3_close(db);
}

static struct bak_snapshot_row snapshot(uint64_t number, const char *store)
{
	union {
		const char *text;
		char *p;
	} s = {store}, empty = {"x y"};
	return (struct bak_snapshot_row){.number = number,
					 .store = s.p,
					 .type = empty.p,
					 .host = empty.p,
					 .run = empty.p,
					 .description = empty.p,
					 .driver = empty.p,
					 .stamp = -5,
					 .run_stamp = INT64_MAX,
					 .entries = 1,
					 .files = 2,
					 .escaped = 3,
					 .bytes = 1ull << 50,
					 .sums_len = 5,
					 .added = 6,
					 .manifest_len = 7};
}

struct seen {
	uint64_t numbers[300];
	size_t n, stop_at;
	struct bak_index *index;
};

static int see(void *ctx, const struct bak_snapshot_row *row)
{
	struct seen *seen = ctx;
	struct bak_error err = BAK_ERROR_INIT;
	uint64_t highest;
	/* The mutex is free here. */
	assert_int_equal(bak_index_highest(seen->index, &highest, &err), 0);
	seen->numbers[seen->n++] = row->number;
	return seen->n == seen->stop_at ? 42 : 0;
}

static void test_snapshots(void **state)
{
	struct bak_index *index = ((struct fixture *)*state)->index;
	struct bak_error err = BAK_ERROR_INIT;
	struct seen seen = {.index = index};
	uint64_t highest = 9, *numbers;
	size_t n;
	assert_int_equal(bak_index_highest(index, &highest, &err), 0);
	assert_int_equal(highest, 0);
	for (uint64_t i = 1; i <= 200; i++) {
		struct bak_snapshot_row row = snapshot(i, i % 2 ? "odd" : "even");
		assert_int_equal(bak_index_add_snapshot(index, &row, &err), 0);
	}
	assert_int_equal(bak_index_each_snapshot(index, NULL, see, &seen, &err), 0);
	assert_int_equal(seen.n, 200);
	for (size_t i = 0; i < 200; i++)
		assert_int_equal(seen.numbers[i], i + 1);
	seen.n = 0;
	assert_int_equal(bak_index_each_snapshot(index, "even", see, &seen, &err), 0);
	assert_int_equal(seen.n, 100);
	assert_int_equal(seen.numbers[99], 200);
	seen = (struct seen){.index = index, .stop_at = 3};
	assert_int_equal(bak_index_each_snapshot(index, NULL, see, &seen, &err), 42);
	assert_int_equal(seen.n, 3);

	struct bak_snapshot_row row;
	assert_int_equal(bak_index_snapshot(index, 7, &row, &err), 1);
	assert_string_equal(row.store, "odd");
	assert_string_equal(row.description, "x y");
	assert_string_equal(row.tags, "");
	assert_int_equal(row.stamp, -5);
	assert_true(row.run_stamp == INT64_MAX && row.bytes == 1ull << 50);
	assert_int_equal(row.manifest_len, 7);
	assert_false(row.forgotten);
	bak_snapshot_row_release(&row);
	assert_int_equal(bak_index_snapshot(index, 777, &row, &err), 0);

	assert_int_equal(bak_index_drop_snapshot(index, 7, &err), 0);
	assert_int_equal(bak_index_snapshot(index, 7, &row, &err), 0);
	assert_int_equal(bak_index_snapshot_numbers(index, &numbers, &n, &err), 0);
	assert_int_equal(n, 199);
	assert_int_equal(numbers[6], 8);
	free(numbers);
	assert_int_equal(bak_index_highest(index, &highest, &err), 0);
	assert_int_equal(highest, 200);
}

static void test_forget(void **state)
{
	struct bak_index *index = ((struct fixture *)*state)->index;
	struct bak_error err = BAK_ERROR_INIT;
	struct seen seen = {.index = index};
	struct bak_snapshot_row row;
	struct bak_index_counts counts;
	struct bak_numbers *ranges;
	uint64_t highest;
	size_t n;
	for (uint64_t i = 1; i <= 5; i++) {
		row = snapshot(i, "s");
		assert_int_equal(bak_index_add_snapshot(index, &row, &err), 0);
	}
	assert_int_equal(bak_index_forget(index, 2, 3, &err), 0);
	assert_int_equal(bak_index_forget(index, 2, 3, &err), 0);
	assert_int_equal(bak_index_forget(index, 9, 9, &err), 0);
	assert_int_equal(bak_index_each_snapshot(index, "s", see, &seen, &err), 0);
	assert_int_equal(seen.n, 3);
	assert_int_equal(seen.numbers[1], 4);
	assert_int_equal(bak_index_snapshot(index, 3, &row, &err), 1);
	assert_true(row.forgotten);
	bak_snapshot_row_release(&row);
	assert_int_equal(bak_index_highest(index, &highest, &err), 0);
	assert_int_equal(highest, 9);
	assert_int_equal(bak_index_counts(index, &counts, &err), 0);
	assert_int_equal(counts.snapshots, 3);

	/* A record that is gone again frees what no other one covers. */
	assert_int_equal(bak_index_forget(index, 3, 3, &err), 0);
	assert_int_equal(bak_index_forgotten(index, &ranges, &n, &err), 0);
	assert_int_equal(n, 3);
	assert_int_equal(ranges[1].first, 3);
	assert_int_equal(ranges[2].last, 9);
	free(ranges);
	assert_int_equal(bak_index_unforget(index, 2, 3, &err), 0);
	assert_int_equal(bak_index_counts(index, &counts, &err), 0);
	assert_int_equal(counts.snapshots, 4);
	/* A row that comes later is covered as well. */
	row = snapshot(9, "s");
	assert_int_equal(bak_index_add_snapshot(index, &row, &err), 0);
	assert_int_equal(bak_index_counts(index, &counts, &err), 0);
	assert_int_equal(counts.snapshots, 4);
}

static void test_tags(void **state)
{
	struct bak_index *index = ((struct fixture *)*state)->index;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_tag_version *versions;
	struct bak_snapshot_row row = snapshot(4, "s");
	size_t n;
	assert_int_equal(bak_index_add_snapshot(index, &row, &err), 0);
	assert_int_equal(bak_index_set_tags(index, 7, 3, "x", &err), 0);
	assert_int_equal(bak_index_set_tags(index, 4, 2, "old", &err), 0);
	assert_int_equal(bak_index_set_tags(index, 4, 1, "keep,blue", &err), 0);
	assert_int_equal(bak_index_snapshot(index, 4, &row, &err), 1);
	assert_string_equal(row.tags, "keep,blue");
	bak_snapshot_row_release(&row);
	assert_int_equal(bak_index_tag_versions(index, &versions, &n, &err), 0);
	assert_int_equal(n, 2);
	assert_int_equal(versions[0].number, 4);
	assert_int_equal(versions[0].version, 1);
	free(versions);
	assert_int_equal(bak_index_drop_tags(index, 4, &err), 0);
	assert_int_equal(bak_index_snapshot(index, 4, &row, &err), 1);
	assert_string_equal(row.tags, "");
	bak_snapshot_row_release(&row);
}

static void test_two_processes(void **state)
{
	struct fixture *f = *state;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_index *other;
	bool fresh = true;
	uint64_t before, same, after;
	struct pack a;
	make_pack(&a, 1, 50, false);
	assert_int_equal(bak_index_open(f->path, &other, &fresh, &err), 0);
	assert_false(fresh);
	assert_int_equal(bak_index_version(f->index, &before, &err), 0);
	assert_int_equal(bak_index_version(f->index, &same, &err), 0);
	assert_int_equal(before, same);
	add(other, &a);
	assert_int_equal(bak_index_version(f->index, &after, &err), 0);
	assert_int_not_equal(before, after);
	assert_int_equal(found_rows(f->index, &a), ALL_ROWS);
	add(f->index, &a);
	assert_int_equal(bak_index_version(f->index, &before, &err), 0);
	assert_int_not_equal(before, after);
	bak_index_close(other);
}

static void test_batch(void **state)
{
	struct fixture *f = *state;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_index *other;
	bool fresh;
	struct pack a, b;
	make_pack(&a, 1, 50, false);
	make_pack(&b, 2, 60, false);
	assert_int_equal(bak_index_open(f->path, &other, &fresh, &err), 0);
	add(f->index, &a);
	assert_int_equal(bak_index_begin(f->index, true, &err), 0);
	add(f->index, &b);
	assert_int_equal(found_rows(other, &a), ALL_ROWS);
	assert_int_equal(found_rows(other, &b), 0);
	assert_int_equal(bak_index_end(f->index, false, &err), 0);
	assert_int_equal(found_rows(f->index, &a), ALL_ROWS);
	assert_int_equal(found_rows(f->index, &b), 0);

	assert_int_equal(bak_index_begin(f->index, true, &err), 0);
	add(f->index, &b);
	assert_int_equal(bak_index_end(f->index, true, &err), 0);
	assert_int_equal(found_rows(other, &a), 0);
	assert_int_equal(found_rows(other, &b), ALL_ROWS);
	bak_index_close(other);
}

static void test_private(void **state)
{
	struct fixture *f = *state;
	struct stat st;
	char name[160];
	struct pack a;
	make_pack(&a, 1, 50, false);
	add(f->index, &a);
	assert_int_equal(stat(f->path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	snprintf(name, sizeof name, "%s-wal", f->path);
	assert_int_equal(stat(name, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	snprintf(name, sizeof name, "%s/a", f->dir);
	assert_int_equal(stat(name, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
}

static void overwrite(const char *path, off_t from, size_t len)
{
	static const char junk[100000] = "this is no database at all";
	int fd = open(path, O_WRONLY);
	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, junk, len, from), len);
	close(fd);
}

static void test_malformed_is_made_anew(void **state)
{
	struct fixture *f = *state;
	struct bak_error err = BAK_ERROR_INIT;
	bool fresh = false;
	struct pack a;
	make_pack(&a, 1, 50, false);
	add(f->index, &a);
	bak_index_close(f->index);
	f->index = NULL;
	overwrite(f->path, 0, 4096);
	assert_int_equal(bak_index_open(f->path, &f->index, &fresh, &err), 0);
	assert_true(fresh);
	assert_int_equal(found_rows(f->index, &a), 0);
	add(f->index, &a);
	assert_int_equal(found_rows(f->index, &a), ALL_ROWS);
}

/* Damage that opening does not see: the error says so, and a clearing batch mends it. */
static void test_malformed_later(void **state)
{
	struct fixture *f = *state;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_chunk_row row;
	struct stat st;
	bool fresh = true;
	struct pack a;
	make_pack(&a, 1, 50, false);
	add(f->index, &a);
	bak_index_close(f->index);
	f->index = NULL;
	assert_int_equal(stat(f->path, &st), 0);
	overwrite(f->path, 8192, (size_t)st.st_size - 8192);
	assert_int_equal(bak_index_open(f->path, &f->index, &fresh, &err), 0);
	assert_false(fresh);
	assert_int_equal(bak_index_find_chunk(f->index, &a.chunks[0].hash, &row, &err), -1);
	assert_int_equal(err.code, BAK_CORRUPT);
	assert_non_null(strstr(err.msg, "reindex"));
	assert_int_equal(bak_index_begin(f->index, true, &err), 0);
	add(f->index, &a);
	assert_int_equal(bak_index_end(f->index, true, &err), 0);
	assert_int_equal(found_rows(f->index, &a), ALL_ROWS);
}

static void test_other_version_is_made_anew(void **state)
{
	struct fixture *f = *state;
	struct bak_error err = BAK_ERROR_INIT;
	bool fresh = false;
	sqlite3 *db;
	bak_index_close(f->index);
	f->index = NULL;
	assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, "PRAGMA user_version = 999", NULL, NULL, NULL),
			 SQLITE_OK);
	sqlite3_close(db);
	assert_int_equal(bak_index_open(f->path, &f->index, &fresh, &err), 0);
	assert_true(fresh);
}

static void test_no_place(void **state)
{
	(void)state;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_index *index;
	bool fresh;
	assert_int_equal(bak_index_open("/proc/none/index.sqlite", &index, &fresh, &err), -1);
	assert_non_null(strstr(err.msg, "/proc/none"));
}

/* --- several threads --- */

#define THREADS 4
#define ROUNDS 12

/* What one thread does, and how often something was not as it should be: cmocka's own checks may
 * not fail outside of its thread. */
struct worker {
	struct bak_index *index;
	uint8_t number;
	unsigned wrong;
};

/* Adds packs of its own and finds its own and those of others; takes one away again. */
static void *work(void *arg)
{
	struct worker *w = arg;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_index_counts counts;
	struct bak_chunk_row chunk;
	struct bak_node_row node;
	struct bak_seg_copy copies[4];
	uint64_t version;
	size_t n;
	for (uint8_t i = 0; i < ROUNDS; i++) {
		struct pack pack;
		uint8_t id = (uint8_t)(1 + w->number * ROUNDS + i);
		make_pack(&pack, id, id, false);
		w->wrong += bak_index_add_pack(w->index, &pack.rows, &err) != 0;
		w->wrong += bak_index_find_chunk(w->index, &pack.chunks[7].hash, &chunk, &err) != 1;
		w->wrong += bak_index_find_node(w->index, &pack.nodes[3].hash, &node, &err) != 1;
		w->wrong += bak_index_find_segment(w->index, &pack.segs[2].id, copies, 4, &n,
						   &err) != 1;
		struct bak_seg_id other = seg_id((uint8_t)(1 + i), 0);
		w->wrong += bak_index_find_segment(w->index, &other, copies, 4, &n, &err) < 0;
		w->wrong += bak_index_counts(w->index, &counts, &err) < 0;
		w->wrong += bak_index_version(w->index, &version, &err) < 0;
	}
	uint8_t last[BAK_PACK_ID_BYTES] = {(uint8_t)((w->number + 1) * ROUNDS)};
	w->wrong += bak_index_drop_pack(w->index, last, &err) != 0;
	return NULL;
}

static void test_threads(void **state)
{
	struct fixture *f = *state;
	struct bak_error err = BAK_ERROR_INIT;
	struct worker workers[THREADS];
	pthread_t threads[THREADS];
	struct bak_index_counts counts;
	for (uint8_t i = 0; i < THREADS; i++) {
		workers[i] = (struct worker){.index = f->index, .number = i};
		assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
	}
	for (size_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	for (size_t i = 0; i < THREADS; i++)
		assert_int_equal(workers[i].wrong, 0);
	assert_int_equal(bak_index_counts(f->index, &counts, &err), 0);
	assert_int_equal(counts.packs, THREADS * (ROUNDS - 1));
	assert_int_equal(counts.chunks, THREADS * (ROUNDS - 1) * N_CHUNKS);
}

#define EACH(test)                                                     \
	cmocka_unit_test_setup_teardown(test, setup_memory, teardown), \
		cmocka_unit_test_setup_teardown(test, setup_file, teardown)
#define FILE_ONLY(test) cmocka_unit_test_setup_teardown(test, setup_file, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		EACH(test_add_and_find),
		EACH(test_add_again),
		EACH(test_best_copy_first),
		EACH(test_drop),
		EACH(test_threads),
		FILE_ONLY(test_stale_rows),
		EACH(test_snapshots),
		EACH(test_forget),
		EACH(test_tags),
		FILE_ONLY(test_two_processes),
		FILE_ONLY(test_batch),
		FILE_ONLY(test_private),
		FILE_ONLY(test_malformed_is_made_anew),
		FILE_ONLY(test_malformed_later),
		FILE_ONLY(test_other_version_is_made_anew),
		cmocka_unit_test(test_no_place),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
