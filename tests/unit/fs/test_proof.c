/* Formats that prove their own end, fed as programs write. */
#include "fs/proof.h"
#include "stores/drivers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define PAGES 5u
#define PAGE 4096u
#define SIZE (PAGES * PAGE)

static uint8_t database[SIZE];

static void put_be32(uint8_t *p, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		p[i] = (uint8_t)(v >> (24 - 8 * i));
}

/* What counts of a database's header: magic, page size, pages, the two change counters. */
static int make_database(void **state)
{
	(void)state;
	memset(database, 0x5a, sizeof database);
	memcpy(database, "SQLite format 3", 16);
	database[16] = PAGE >> 8;
	database[17] = PAGE & 0xff;
	put_be32(database + 24, 77);
	put_be32(database + 28, PAGES);
	put_be32(database + 92, 77);
	return 0;
}

static int read_database(void *ctx, uint64_t off, void *p, size_t len)
{
	unsigned *calls = ctx;
	++*calls;
	if (off + len > sizeof database)
		return -1;
	memcpy(p, database + off, len);
	return 0;
}

static enum bak_verdict verdict(struct bak_proof *proof, uint64_t size, unsigned *calls)
{
	enum bak_verdict out;
	char why[BAK_PROOF_WHY_LEN];
	*calls = 0;
	assert_int_equal(bak_proof_verdict(proof, size, read_database, calls, &out, why), 0);
	bool bad = out == BAK_VERDICT_CUT || out == BAK_VERDICT_WRONG;
	assert_int_equal(bad, *why != '\0');
	return out;
}

static void write_up_to(struct bak_proof *proof, uint64_t size, size_t piece)
{
	for (uint64_t off = 0; off < size; off += piece)
		bak_proof_write(proof, off, database + off,
				size - off < piece ? (size_t)(size - off) : piece);
}

static void test_whole_and_cut(void **state)
{
	(void)state;
	const size_t pieces[] = {1, 7, 99, 100, 4096, SIZE};
	for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
		struct bak_proof proof;
		unsigned calls;
		bak_proof_init(&proof, bak_store_sqlite.proof);
		assert_int_equal(verdict(&proof, 0, &calls), BAK_VERDICT_EMPTY);
		write_up_to(&proof, SIZE, pieces[i]);
		assert_int_equal(verdict(&proof, SIZE, &calls), BAK_VERDICT_WHOLE);
		assert_int_equal(verdict(&proof, SIZE - 1, &calls), BAK_VERDICT_CUT);
		assert_int_equal(verdict(&proof, SIZE - PAGE, &calls), BAK_VERDICT_CUT);
		assert_int_equal(verdict(&proof, SIZE + 1, &calls), BAK_VERDICT_WRONG);
		assert_int_equal(calls, 0); /* all of it was seen as it came */
	}
}

static void test_every_length_of_a_header(void **state)
{
	(void)state;
	for (uint64_t size = 1; size < 100; size++) {
		struct bak_proof proof;
		unsigned calls;
		bak_proof_init(&proof, bak_store_sqlite.proof);
		write_up_to(&proof, size, 13);
		assert_int_equal(verdict(&proof, size, &calls), BAK_VERDICT_CUT);
	}
}

static void test_another_kind(void **state)
{
	(void)state;
	struct bak_proof proof;
	unsigned calls;
	memcpy(database, "PGDMP", 5);
	bak_proof_init(&proof, bak_store_sqlite.proof);
	write_up_to(&proof, SIZE, 4096);
	assert_int_equal(verdict(&proof, SIZE, &calls), BAK_VERDICT_WRONG);
	bak_proof_init(&proof, bak_store_sqlite.proof);
	write_up_to(&proof, 3, 4096);
	assert_int_equal(verdict(&proof, 3, &calls), BAK_VERDICT_WRONG);
	make_database(NULL);
	database[16] = 3; /* a page size that is no power of two */
	bak_proof_init(&proof, bak_store_sqlite.proof);
	write_up_to(&proof, SIZE, 4096);
	assert_int_equal(verdict(&proof, SIZE, &calls), BAK_VERDICT_WRONG);
}

/* Old writers left the count alone: then nothing proves it, but a piece of a page disproves. */
static void test_a_count_that_is_not_valid(void **state)
{
	(void)state;
	struct bak_proof proof;
	unsigned calls;
	put_be32(database + 92, 3);
	bak_proof_init(&proof, bak_store_sqlite.proof);
	write_up_to(&proof, SIZE, 4096);
	assert_int_equal(verdict(&proof, SIZE, &calls), BAK_VERDICT_UNPROVABLE);
	assert_int_equal(verdict(&proof, SIZE - 1, &calls), BAK_VERDICT_CUT);
}

/* Backwards, over one another: read again from the file, and only then. */
static void test_out_of_order(void **state)
{
	(void)state;
	struct bak_proof proof;
	unsigned calls;
	bak_proof_init(&proof, bak_store_sqlite.proof);
	bak_proof_write(&proof, PAGE, database + PAGE, SIZE - PAGE);
	bak_proof_write(&proof, 0, database, PAGE);
	assert_int_equal(verdict(&proof, SIZE, &calls), BAK_VERDICT_WHOLE);
	assert_int_equal(calls, 0);
	bak_proof_write(&proof, 10, database, 50); /* the header is written over */
	assert_int_equal(verdict(&proof, SIZE, &calls), BAK_VERDICT_WHOLE);
	assert_true(calls > 0);
	verdict(&proof, SIZE, &calls);
	assert_int_equal(calls, 0);
}

static void test_truncated_and_written_again(void **state)
{
	(void)state;
	struct bak_proof proof;
	unsigned calls;
	bak_proof_init(&proof, bak_store_sqlite.proof);
	bak_proof_write(&proof, 0, "something else", 14);
	bak_proof_truncate(&proof, 0);
	write_up_to(&proof, SIZE, 1000);
	assert_int_equal(verdict(&proof, SIZE, &calls), BAK_VERDICT_WHOLE);
	bak_proof_truncate(&proof, 50);
	assert_int_equal(verdict(&proof, 50, &calls), BAK_VERDICT_CUT);
}

static void test_other_drivers(void **state)
{
	(void)state;
	struct bak_proof proof;
	unsigned calls;
	bak_proof_init(&proof, bak_store_files.proof);
	write_up_to(&proof, SIZE, 4096);
	assert_int_equal(verdict(&proof, SIZE, &calls), BAK_VERDICT_UNPROVABLE);
	assert_int_equal(verdict(&proof, 0, &calls), BAK_VERDICT_EMPTY);
}

static void test_a_file_that_cannot_be_read(void **state)
{
	(void)state;
	struct bak_proof proof;
	unsigned calls = 0;
	enum bak_verdict out;
	char why[BAK_PROOF_WHY_LEN];
	bak_proof_init(&proof, bak_store_sqlite.proof);
	assert_int_equal(bak_proof_verdict(&proof, SIZE * 100, read_database, &calls, &out, why),
			 0);
	bak_proof_init(&proof, bak_store_sqlite.proof);
	proof.stale = true;
	proof.format = &(struct bak_proof_format){
		.window = SIZE * 2, .feed = proof.format->feed, .verdict = proof.format->verdict};
	assert_int_equal(bak_proof_verdict(&proof, SIZE * 2, read_database, &calls, &out, why), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_whole_and_cut, make_database),
		cmocka_unit_test_setup(test_every_length_of_a_header, make_database),
		cmocka_unit_test_setup(test_another_kind, make_database),
		cmocka_unit_test_setup(test_a_count_that_is_not_valid, make_database),
		cmocka_unit_test_setup(test_out_of_order, make_database),
		cmocka_unit_test_setup(test_truncated_and_written_again, make_database),
		cmocka_unit_test_setup(test_other_drivers, make_database),
		cmocka_unit_test_setup(test_a_file_that_cannot_be_read, make_database),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
