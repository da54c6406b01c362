/* Reading ahead: of who reads in order, of nobody else, and never further than the file. */
#include "engine/content/prefetch.h"
#include "engine/content/reader.h"
#include "tests/lib/fixture.h"

#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define LEN 5000000u
#define READ 131072u

static struct bak_fixture fx;
static struct bak_snapshot snapshot;
static struct bak_found one, two;

static void find(const char *name, struct bak_found *out)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_tree tree = {fx.source, &snapshot};
	*out = (struct bak_found)BAK_FOUND_INIT;
	assert_int_equal(bak_tree_path(&tree, name, out, &err), 1);
}

static int setup(void **state)
{
	(void)state;
	uint8_t *p = malloc(LEN);
	bak_fixture_open(&fx);
	struct bak_writer *w = bak_fixture_writer(&fx, NULL);
	bak_fill_text(p, LEN, 1);
	bak_test_file(w, "one", 7, p, LEN);
	bak_fill_text(p, LEN, 2);
	bak_test_file(w, "two", 8, p, LEN);
	bak_fixture_finish(&fx, w, &snapshot, NULL, NULL);
	free(p);
	find("one", &one);
	find("two", &two);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	bak_found_release(&one);
	bak_found_release(&two);
	bak_fixture_close(&fx);
	return 0;
}

static struct bak_prefetch *start_whole(size_t window, uint64_t whole)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_prefetch *p;
	assert_int_equal(bak_prefetch_new(fx.source, 1, window, whole, &p, &err), 0);
	return p;
}

static struct bak_prefetch *start(size_t window)
{
	return start_whole(window, LEN - 1);
}

static uint64_t misses(void)
{
	struct bak_source_stats stats;
	bak_source_stats(fx.source, &stats);
	return stats.misses;
}

static void tell(struct bak_prefetch *p, uint64_t key, const struct bak_found *found, uint64_t off)
{
	const struct bak_inode *inode = &found->entry.inode;
	bak_prefetch_read(p, key, &inode->content, inode->size, off, READ);
}

static void wait_for(struct bak_prefetch *p, uint64_t bytes)
{
	while (bak_prefetch_bytes(p) < bytes)
		sched_yield();
	assert_int_equal(bak_prefetch_bytes(p), bytes);
}

/* All of a file, once, though its reads come in pairs that swap places; and then its bytes are in
 * the cache. */
static void test_in_order(void **state)
{
	(void)state;
	struct bak_prefetch *p = start(8u << 20);
	for (uint64_t off = 0; off + 2 * READ <= LEN; off += 2 * READ) {
		tell(p, 1, &one, off + READ);
		tell(p, 1, &one, off);
	}
	wait_for(p, LEN);
	struct bak_source_stats before, after;
	struct bak_error err = BAK_ERROR_INIT;
	size_t n;
	char *buf = malloc(LEN);
	bak_source_stats(fx.source, &before);
	assert_int_equal(bak_read(fx.source, &one.entry.inode.content, LEN, 0, buf, LEN, &n, &err),
			 0);
	bak_source_stats(fx.source, &after);
	assert_int_equal(after.misses, before.misses);
	free(buf);
	bak_prefetch_free(p);
}

/* One worker takes the queue in order: had the jumping reads brought anything into it, it would be
 * counted before the second file is through. */
static void test_random_reads_are_let_be(void **state)
{
	(void)state;
	struct bak_prefetch *p = start(8u << 20);
	for (unsigned i = 0; i < 100; i++)
		tell(p, 1, &one, i % 2 ? 0 : LEN - READ);
	for (uint64_t off = 0; off + READ <= LEN; off += READ)
		tell(p, 2, &two, off);
	wait_for(p, LEN);
	bak_prefetch_free(p);
}

/* A file that fits is decoded whole, a portion for each read, and once. */
static void test_what_is_read_at_random_is_filled(void **state)
{
	(void)state;
	struct bak_prefetch *p = start_whole(8u << 20, LEN);
	for (unsigned i = 0; bak_prefetch_bytes(p) < LEN; i++)
		tell(p, 1, &one, i % 2 ? 0 : LEN - 2 * READ);
	for (unsigned i = 0; i < 100; i++)
		tell(p, 1, &one, i % 2 ? 0 : LEN - 2 * READ);
	uint64_t before = misses();
	struct bak_error err = BAK_ERROR_INIT;
	size_t n;
	char *buf = malloc(LEN);
	assert_int_equal(bak_read(fx.source, &one.entry.inode.content, LEN, 0, buf, LEN, &n, &err),
			 0);
	assert_int_equal(misses(), before);
	assert_int_equal(bak_prefetch_bytes(p), LEN);
	free(buf);
	bak_prefetch_free(p);
}

static void test_stays_within_the_window(void **state)
{
	(void)state;
	struct bak_prefetch *p = start(1u << 20);
	for (uint64_t off = 0; off < 4 * READ; off += READ)
		tell(p, 1, &one, off);
	wait_for(p, 2u << 20); /* 0.5 MiB read, 1 MiB more: in whole portions */
	bak_prefetch_free(p);
}

static void test_none_when_off(void **state)
{
	(void)state;
	struct bak_prefetch *p = start(0);
	for (uint64_t off = 0; off + READ <= LEN; off += READ)
		tell(p, 1, &one, off);
	assert_int_equal(bak_prefetch_bytes(p), 0);
	bak_prefetch_free(p);
}

/* The reader meets the damage itself; ahead of it nothing more is tried until it has read on. */
static void test_damage_is_left_to_the_reader(void **state)
{
	(void)state;
	struct bak_prefetch *p = start(8u << 20);
	struct bak_found broken = one;
	broken.entry.inode.content.ref.len++;
	for (uint64_t off = 0; off + READ <= LEN; off += READ)
		tell(p, 1, &broken, off);
	for (uint64_t off = 0; off + READ <= LEN; off += READ)
		tell(p, 2, &two, off);
	wait_for(p, LEN);
	bak_prefetch_free(p);
}

struct segments {
	struct bak_seg_id v[32];
	size_t n;
};

static int note_segment(void *ctx, uint64_t off, const struct bak_extent *extent,
			struct bak_error *err)
{
	struct segments *s = ctx;
	(void)off;
	(void)err;
	if (extent->kind == BAK_EXTENT_BYTES &&
	    (s->n == 0 || !bak_seg_id_equal(&s->v[s->n - 1], &extent->seg)) && s->n < 32)
		s->v[s->n++] = extent->seg;
	return 0;
}

/* Segments met in the order of their run: those behind are decoded, and decoded once; past the end
 * of the run, and of a jump, nothing. */
static void test_segments_of_a_run(void **state)
{
	(void)state;
	struct bak_prefetch *p = start(8u << 20);
	struct bak_error err = BAK_ERROR_INIT;
	struct segments segs = {.n = 0};
	const struct bak_inode *inode = &one.entry.inode;
	assert_int_equal(
		bak_each_extent(fx.source, &inode->content, inode->size, note_segment, &segs, &err),
		0);
	assert_true(segs.n >= 5);
	uint64_t before = misses();
	bak_prefetch_follow(p, &segs.v[4]);
	bak_prefetch_follow(p, &segs.v[0]);
	bak_prefetch_follow(p, &segs.v[0]);
	bak_prefetch_follow(p, &segs.v[1]);
	/* The next three numbers of the run; one of them may be a segment of nodes, met already. */
	uint64_t ahead = 0;
	for (size_t i = 2; i < segs.n && segs.v[i].n <= segs.v[1].n + 3; i++)
		ahead++;
	assert_true(ahead >= 1);
	while (misses() < before + ahead)
		sched_yield();
	for (size_t i = 2; i < 2 + ahead; i++) {
		const uint8_t *bytes;
		struct bak_pin *pin;
		assert_int_equal(bak_source_bytes(fx.source, &segs.v[i], 0, 1, &bytes, &pin, &err),
				 0);
		bak_pin_put(pin);
	}
	assert_int_equal(misses(), before + ahead);
	bak_prefetch_free(p);

	/* Nothing behind the last one, and no harm in asking. */
	struct bak_seg_id none = segs.v[0];
	none.n = UINT32_MAX - 1;
	assert_int_equal(bak_source_warm_any(fx.source, &none, &err), 0);
	p = start(8u << 20);
	bak_prefetch_follow(p, &none);
	none.n++;
	bak_prefetch_follow(p, &none);
	for (uint64_t off = 0; off + READ <= LEN; off += READ)
		tell(p, 2, &two, off);
	wait_for(p, LEN);
	bak_prefetch_free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_in_order, setup, teardown),
		cmocka_unit_test_setup_teardown(test_random_reads_are_let_be, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_is_read_at_random_is_filled, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_stays_within_the_window, setup, teardown),
		cmocka_unit_test_setup_teardown(test_none_when_off, setup, teardown),
		cmocka_unit_test_setup_teardown(test_segments_of_a_run, setup, teardown),
		cmocka_unit_test_setup_teardown(test_damage_is_left_to_the_reader, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
