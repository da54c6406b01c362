/* Dumps of PostgreSQL show whether they are whole, at every length they can be cut to. */
#include "stores/postgresql/dump.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

struct dump {
	uint8_t p[65536];
	size_t len;
};

static void load(struct dump *dump, const char *name)
{
	char path[512];

	snprintf(path, sizeof path, TESTS "/fuzz/corpus/pg_dump/%s", name);
	FILE *file = fopen(path, "r");
	assert_non_null(file);
	dump->len = fread(dump->p, 1, sizeof dump->p, file);
	fclose(file);
	assert_true(dump->len > 0 && dump->len < sizeof dump->p);
}

static enum bak_verdict verdict(const uint8_t *p, size_t len, size_t piece, char *why)
{
	uint64_t state[BAK_PROOF_STATE_LEN / 8] = {0};

	for (size_t at = 0; at < len; at += piece)
		bak_pg_proof.feed(state, p + at, len - at < piece ? len - at : piece);
	return bak_pg_proof.verdict(state, len, why);
}

static void test_whole_at_one_length_only(void **state)
{
	static const char *const names[] = {"archive", "archive-zlib", "archive-offsets", "sql",
					    "sql-older"};
	static struct dump dump;
	char why[BAK_PROOF_WHY_LEN];

	(void)state;
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		size_t shortest = 0;

		load(&dump, names[i]);
		for (size_t piece = 1; piece <= dump.len; piece = piece * 3 + 1)
			assert_int_equal(verdict(dump.p, dump.len, piece, why), BAK_VERDICT_WHOLE);
		while (verdict(dump.p, shortest, 4096, why) != BAK_VERDICT_WHOLE)
			shortest++;
		/* what may be missing of SQL is the end of a comment, and blank lines */
		for (size_t at = shortest; at < dump.len; at++) {
			if (strncmp(names[i], "sql", 3) != 0)
				fail_msg("%s is whole at %zu of %zu", names[i], shortest, dump.len);
			if (!strchr("-\n", dump.p[at]) && dump.len - shortest > 100)
				fail_msg("%s is whole at %zu of %zu", names[i], shortest, dump.len);
		}
	}
}

static void assert_refused(const char *name, const char *words)
{
	static struct dump dump;
	char why[BAK_PROOF_WHY_LEN];

	load(&dump, name);
	assert_int_equal(verdict(dump.p, dump.len, 100, why), BAK_VERDICT_WRONG);
	if (!strstr(why, words))
		fail_msg("%s: %s", name, why);
}

static void test_other_things(void **state)
{
	static struct dump dump;
	char why[BAK_PROOF_WHY_LEN];

	(void)state;
	assert_refused("sql-cluster", "pg_dumpall");
	assert_refused("tar", "neither");
	assert_int_equal(verdict((const uint8_t *)"SELECT 1;\n", 10, 3, why),
			 BAK_VERDICT_UNPROVABLE);
	load(&dump, "archive-schema");
	assert_int_equal(verdict(dump.p, dump.len, 11, why), BAK_VERDICT_WHOLE);
	/* another block's id, a newer version, more behind the end */
	load(&dump, "archive");
	dump.p[6] = 99;
	assert_int_equal(verdict(dump.p, dump.len, 11, why), BAK_VERDICT_UNPROVABLE);
	load(&dump, "archive");
	dump.p[dump.len++] = 1;
	assert_int_equal(verdict(dump.p, dump.len, 11, why), BAK_VERDICT_CUT);
	dump.p[dump.len - 1] = 9;
	assert_int_equal(verdict(dump.p, dump.len, 11, why), BAK_VERDICT_WRONG);
}

/* What pg_dump writes into a pipe, "not known", becomes what it writes into a file. */
static void test_knows_where_rows_begin(void **state)
{
	static const size_t fields[] = {2629, 2792, 2955, 3240};
	static struct dump piped, filed;
	static uint8_t got[sizeof piped.p];

	(void)state;
	load(&piped, "archive");
	load(&filed, "archive");
	for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
		assert_int_equal(piped.p[fields[i]], BAK_PG_OFFSET_SET);
		memcpy(piped.p + fields[i], "\1\0\0\0\0\0\0\0", 9);
	}
	for (size_t piece = 1; piece <= piped.len; piece = piece * 3 + 1) {
		struct bak_pg_places places = {.n = 0};
		struct bak_error err = BAK_ERROR_INIT;
		int file = memfd_create("dump", MFD_CLOEXEC);

		assert_int_equal(pwrite(file, piped.p, piped.len, 0), piped.len);
		for (size_t at = 0; at < piped.len; at += piece) {
			size_t n = piped.len - at < piece ? piped.len - at : piece;

			assert_int_equal(bak_pg_places_see(&places, piped.p + at, n, &err), 0);
		}
		assert_int_equal(bak_pg_places_write(&places, file, &err), 0);
		bak_pg_places_release(&places);
		assert_int_equal(pread(file, got, sizeof got, 0), filed.len);
		assert_memory_equal(got, filed.p, filed.len);
		close(file);
	}
}

/* Rows that look like the end, or like commands, are rows. */
static void test_rows_are_rows(void **state)
{
	static const char head[] = "--\n-- PostgreSQL database dump\n--\n\n\\restrict k\n\n"
				   "COPY public.t (a) FROM stdin;\n",
			  row[] = "-- PostgreSQL database dump complete\n\\unrestrict k\n",
			  tail[] =
				  "\\.\n\n-- PostgreSQL database dump complete\n\n\\unrestrict k\n";
	struct bak_pg_sql sql = {.at = 0};
	char why[BAK_PROOF_WHY_LEN];

	(void)state;
	bak_pg_sql_feed(&sql, (const uint8_t *)head, strlen(head));
	assert_int_equal(sql.command_at, strstr(head, "\\restrict") - head);
	bak_pg_sql_feed(&sql, (const uint8_t *)row, strlen(row));
	assert_int_equal(sql.command_at, UINT64_MAX);
	assert_int_equal(bak_pg_sql_verdict(&sql, why), BAK_VERDICT_CUT);
	bak_pg_sql_feed(&sql, (const uint8_t *)tail, strlen(tail));
	assert_int_equal(sql.command_at, strlen(head) + strlen(row) +
						 (size_t)(strstr(tail, "\\unrestrict") - tail));
	assert_int_equal(bak_pg_sql_verdict(&sql, why), BAK_VERDICT_WHOLE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_whole_at_one_length_only),
		cmocka_unit_test(test_other_things),
		cmocka_unit_test(test_knows_where_rows_begin),
		cmocka_unit_test(test_rows_are_rows),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
