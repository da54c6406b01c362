/*
 * Alike: a changed version of a file costs what changed, reads back byte for byte, also after many
 * generations; a span that has become scattered is written whole again.
 */
#include "tests/lib/fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#ifndef MIB
#define MIB 6u /* less under ThreadSanitizer */
#endif
enum { LEN = MIB << 20 };

static uint64_t next(uint64_t *x)
{
	*x = *x * 6364136223846793005u + 1442695040888963407u;
	return *x >> 20;
}

/* A snapshot of one file; *out_new: raw bytes that were stored anew. */
static void save(struct bak_fixture *fx, const struct bak_snapshot *previous, const uint8_t *p,
		 size_t len, struct bak_snapshot *out, uint64_t *out_new)
{
	struct bak_writer *w = bak_fixture_writer(fx, previous);
	bak_test_file(w, "dump", 1, p, len);
	bak_fixture_finish(fx, w, out, NULL, out_new);
}

static void expect_bytes(struct bak_fixture *fx, struct bak_snapshot *s, const uint8_t *p,
			 size_t len)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_tree tree = {fx->source, s};
	struct bak_found found = BAK_FOUND_INIT;
	uint8_t *got = malloc(len + 1);
	size_t n;
	assert_non_null(got);
	assert_int_equal(bak_tree_path(&tree, "dump", &found, &err), 1);
	if (bak_read(fx->source, &found.entry.inode.content, found.entry.inode.size, 0, got,
		     len + 1, &n, &err) < 0)
		fail_msg("%s", err.msg);
	assert_int_equal(n, len);
	assert_memory_equal(got, p, len);
	bak_found_release(&found);
	free(got);
}

/* Edits in place: every chunk has one, so no hash finds anything. */
static void test_edits_in_place(void **state)
{
	(void)state;
	struct bak_fixture fx;
	struct bak_snapshot one, two;
	uint8_t *p = malloc(LEN);
	uint64_t x = 1, new_bytes, edits = 0;
	assert_non_null(p);
	bak_fill_random(p, LEN, 5);
	bak_fixture_open(&fx);
	save(&fx, NULL, p, LEN, &one, &new_bytes);
	assert_int_equal(new_bytes, LEN);
	for (size_t at = 1000; at + 100 < LEN; at += 6000 + next(&x) % 2000, edits++)
		bak_fill_random(p + at, 20 + next(&x) % 40, at);
	save(&fx, &one, p, LEN, &two, &new_bytes);
	/* Edits of 40 bytes; a few bytes around each are lost to the step of the search. */
	assert_in_range(new_bytes, edits * 30, edits * 60);
	expect_bytes(&fx, &two, p, LEN);
	free(p);
	bak_fixture_close(&fx);
}

/* Rows changed, put in and taken out, as a dump's are. Returns the new length. */
static size_t edit_rows(const uint8_t *p, size_t len, uint8_t *q, uint64_t seed)
{
	size_t n = 0;
	uint64_t x = seed;
	for (size_t at = 0; at < len;) {
		const uint8_t *end = memchr(p + at, '\n', len - at);
		size_t row = end ? (size_t)(end - (p + at)) + 1 : len - at;
		uint64_t r = next(&x) % 1000;
		if (r < 3) {
			at += row;
			continue;
		}
		if (r < 6)
			n += (size_t)snprintf((char *)q + n, 64, "%llu\tanother row\n",
					      (unsigned long long)next(&x));
		memcpy(q + n, p + at, row);
		if (r >= 987 && row > 12)
			bak_fill_text(q + n + 4, 6, next(&x));
		n += row;
		at += row;
	}
	return n;
}

static void test_generations_of_a_dump(void **state)
{
	(void)state;
	enum { GENERATIONS = 2 * MIB };
	struct bak_fixture fx;
	struct bak_snapshot snapshots[GENERATIONS];
	uint8_t *p = malloc(2 * LEN), *q = malloc(2 * LEN);
	size_t len = LEN;
	uint64_t new_bytes, sum = 0;
	assert_true(p && q);
	bak_fill_text(p, LEN, 7);
	bak_fixture_open(&fx);
	save(&fx, NULL, p, len, &snapshots[0], &new_bytes);
	for (int g = 1; g < GENERATIONS; g++) {
		len = edit_rows(p, len, q, (uint64_t)g);
		uint8_t *swap = p;
		p = q;
		q = swap;
		save(&fx, &snapshots[g - 1], p, len, &snapshots[g], &new_bytes);
		expect_bytes(&fx, &snapshots[g], p, len);
		sum += new_bytes;
	}
	/* 1.9 % of the rows change; nearly every chunk does. */
	assert_in_range(sum / (GENERATIONS - 1), 1, LEN * 6 / 100);
	free(p);
	free(q);
	bak_fixture_close(&fx);
}

/* What has nothing in common costs no more than itself, and is right. */
static void test_unlike(void **state)
{
	(void)state;
	struct bak_fixture fx;
	struct bak_snapshot one, two;
	uint8_t *p = malloc(LEN);
	uint64_t new_bytes;
	assert_non_null(p);
	bak_fixture_open(&fx);
	bak_fill_random(p, LEN, 1);
	save(&fx, NULL, p, LEN, &one, &new_bytes);
	bak_fill_random(p, LEN, 2);
	save(&fx, &one, p, LEN / 2, &two, &new_bytes);
	assert_int_equal(new_bytes, LEN / 2);
	expect_bytes(&fx, &two, p, LEN / 2);
	free(p);
	bak_fixture_close(&fx);
}

/* A few bytes at the front move everything; holes and zeros between. */
static void test_shifted_with_zeros(void **state)
{
	(void)state;
	struct bak_fixture fx;
	struct bak_snapshot one, two;
	uint8_t *p = malloc(LEN);
	uint64_t new_bytes, x = 9;
	assert_non_null(p);
	bak_fixture_open(&fx);
	bak_fill_random(p, LEN, 1);
	memset(p + 1000000, 0, 300000);
	memset(p + LEN / 2, 0, LEN / 4);
	save(&fx, NULL, p, LEN, &one, &new_bytes);
	memmove(p + 777, p, LEN - 777);
	for (size_t at = 500; at + 100 < LEN; at += 5000)
		p[at] ^= p[at] ? (uint8_t)next(&x) | 1 : 0;
	save(&fx, &one, p, LEN, &two, &new_bytes);
	assert_true(new_bytes < LEN / 20);
	expect_bytes(&fx, &two, p, LEN);
	free(p);
	bak_fixture_close(&fx);
}

/* Pages in which cells move up by a few bytes, as a database's do: found by the fine search. */
static void test_cells_move_in_pages(void **state)
{
	(void)state;
	enum { PAGE = 4096, CELL = 100, CELLS = 36 };
	struct bak_fixture fx;
	struct bak_snapshot one, two;
	uint8_t *p = malloc(LEN);
	uint64_t new_bytes;
	assert_non_null(p);
	bak_fixture_open(&fx);
	bak_fill_random(p, LEN, 3);
	save(&fx, NULL, p, LEN, &one, &new_bytes);
	for (size_t page = 0; page + PAGE <= LEN; page += PAGE) {
		uint8_t *cells = p + page + 400;
		for (size_t i = 1; i < CELLS; i++)
			memmove(cells + i * CELL - 4 * i, cells + i * CELL, CELL - 4);
	}
	save(&fx, &one, p, LEN, &two, &new_bytes);
	expect_bytes(&fx, &two, p, LEN);
	assert_true(new_bytes < LEN / 8);
	free(p);
	bak_fixture_close(&fx);
}

/* What stood at the front now stands at the end, and has edits in every chunk. */
static void test_halves_change_places(void **state)
{
	(void)state;
	struct bak_fixture fx;
	struct bak_snapshot one, two;
	uint8_t *p = malloc(LEN), *q = malloc(LEN);
	uint64_t new_bytes;
	assert_true(p && q);
	bak_fixture_open(&fx);
	bak_fill_random(p, LEN, 4);
	save(&fx, NULL, p, LEN, &one, &new_bytes);
	memcpy(q, p + LEN / 2, LEN / 2);
	memcpy(q + LEN / 2, p, LEN / 2);
	for (size_t at = 3000; at < LEN; at += 8000)
		q[at] ^= 1;
	save(&fx, &one, q, LEN, &two, &new_bytes);
	expect_bytes(&fx, &two, q, LEN);
	/* Until the old version is sampled and then learned, what is met is new. */
	assert_true(new_bytes < LEN / 4);
	free(p);
	free(q);
	bak_fixture_close(&fx);
}

/* Rows that went to the end, in order: what was read on the way is remembered. */
static void test_rows_move_to_the_end(void **state)
{
	(void)state;
	enum { ROW = 400 };
	struct bak_fixture fx;
	struct bak_snapshot one, two;
	uint8_t *p = malloc(LEN), *q = malloc(LEN), *tail = malloc(LEN);
	uint64_t new_bytes;
	size_t n = 0, n_tail = 0;
	assert_true(p && q && tail);
	bak_fixture_open(&fx);
	bak_fill_random(p, LEN, 6);
	save(&fx, NULL, p, LEN, &one, &new_bytes);
	for (size_t at = 0; at + ROW <= LEN; at += ROW) {
		bool moves = at / ROW % 40 == 7;
		memcpy(moves ? tail + n_tail : q + n, p + at, ROW);
		*(moves ? &n_tail : &n) += ROW;
	}
	memcpy(q + n, tail, n_tail);
	n += n_tail;
	save(&fx, &one, q, n, &two, &new_bytes);
	expect_bytes(&fx, &two, q, n);
	assert_true(new_bytes < n_tail / 4);
	free(p);
	free(q);
	free(tail);
	bak_fixture_close(&fx);
}

/* One edit of a kind that files see: a stretch is overwritten, taken out, put in, copied or moved
 * from elsewhere, or zeroed. Returns the new length. */
static size_t edit(uint8_t *p, size_t len, size_t cap, uint64_t *x)
{
	size_t at = len ? next(x) % len : 0, n = 1 + next(x) % (1u << next(x) % 16);
	size_t from = len ? next(x) % len : 0;
	if (n > len - at)
		n = len - at;
	switch (next(x) % 6) {
	case 0:
		bak_fill_random(p + at, n, next(x));
		return len;
	case 1:
		memmove(p + at, p + at + n, len - at - n);
		return len - n;
	case 2:
		if (n > cap - len)
			n = cap - len;
		memmove(p + at + n, p + at, len - at);
		bak_fill_text(p + at, n, next(x));
		return len + n;
	case 3:
		memmove(p + at, p + from, n < len - from ? n : len - from);
		return len;
	case 4:
		memset(p + at, 0, n);
		return len;
	default:
		for (size_t i = at; i + 3000 < len; i += 3000)
			p[i] ^= (uint8_t)next(x);
		return len;
	}
}

/* Whatever is done to a file: it comes back byte for byte, also generations later. */
static void test_random_lives(void **state)
{
	(void)state;
	enum { SEEDS = 25, GENERATIONS = 5, MAX = 3u << 20 };
	uint8_t *p = malloc(MAX);
	assert_non_null(p);
	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		struct bak_fixture fx;
		struct bak_snapshot snapshots[GENERATIONS];
		uint64_t x = seed, new_bytes;
		size_t len = next(&x) % (1u << (10 + next(&x) % 12));
		(seed % 2 ? bak_fill_random : bak_fill_text)(p, len, seed);
		bak_fixture_open(&fx);
		for (int g = 0; g < GENERATIONS; g++) {
			save(&fx, g ? &snapshots[g - 1] : NULL, p, len, &snapshots[g], &new_bytes);
			expect_bytes(&fx, &snapshots[g], p, len);
			for (uint64_t n = next(&x) % 40; n > 0; n--)
				len = edit(p, len, MAX, &x);
		}
		bak_fixture_close(&fx);
	}
	free(p);
}

/* Renamed with edits in every chunk; a dump of the next day; a name that has nothing to do with it.
 */
static void test_under_another_name(void **state)
{
	(void)state;
	static const struct {
		const char *name;
		uint64_t ino;
		bool found;
	} cases[] = {{"archive", 1, true},         {"zz", 1, true},    {"dump", 2, true},
		     {"dump2026-11-22", 3, false}, {"dump7", 3, true}, {"other", 3, false}};
	uint8_t *p = malloc(LEN);
	assert_non_null(p);
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct bak_fixture fx;
		struct bak_snapshot one, two;
		uint64_t new_bytes;
		bak_fixture_open(&fx);
		bak_fill_random(p, LEN, 5);
		save(&fx, NULL, p, LEN, &one, &new_bytes);
		for (size_t at = 1000; at < LEN; at += 4000)
			p[at] ^= 1;
		struct bak_writer *w = bak_fixture_writer(&fx, &one);
		bak_test_file(w, cases[i].name, cases[i].ino, p, LEN);
		bak_fixture_finish(&fx, w, &two, NULL, &new_bytes);
		assert_int_equal(new_bytes < LEN / 10, cases[i].found);
		bak_fixture_close(&fx);
	}
	free(p);
}

/* A store may do without: then only what is exactly known is found, or nothing. */
static void test_told_not_to(void **state)
{
	(void)state;
	struct bak_fixture fx;
	struct bak_snapshot one, two, three;
	uint8_t *p = malloc(LEN);
	uint64_t new_bytes;
	assert_non_null(p);
	bak_fixture_open(&fx);
	fx.no_alike = true;
	bak_fill_random(p, LEN, 1);
	save(&fx, NULL, p, LEN, &one, &new_bytes);
	for (size_t at = 0; at < LEN / 2; at += 4000)
		p[at] ^= 1;
	save(&fx, &one, p, LEN, &two, &new_bytes);
	assert_in_range(new_bytes, LEN / 2 - 8000, LEN * 3 / 4);
	expect_bytes(&fx, &two, p, LEN);
	fx.no_dedup = true;
	save(&fx, &two, p, LEN, &three, &new_bytes);
	assert_int_equal(new_bytes, LEN);
	expect_bytes(&fx, &three, p, LEN);
	/* Nor does it help others to find it. */
	bak_fill_random(p, LEN, 2);
	save(&fx, &three, p, LEN, &one, &new_bytes);
	fx.no_dedup = false;
	save(&fx, NULL, p, LEN, &two, &new_bytes);
	assert_int_equal(new_bytes, LEN);
	free(p);
	bak_fixture_close(&fx);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_edits_in_place),
		cmocka_unit_test(test_generations_of_a_dump),
		cmocka_unit_test(test_unlike),
		cmocka_unit_test(test_shifted_with_zeros),
		cmocka_unit_test(test_cells_move_in_pages),
		cmocka_unit_test(test_halves_change_places),
		cmocka_unit_test(test_rows_move_to_the_end),
		cmocka_unit_test(test_random_lives),
		cmocka_unit_test(test_told_not_to),
		cmocka_unit_test(test_under_another_name),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
