/* The postgresql driver against a real server, started for it; skipped where none is installed. */
#include "rig.h"

#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define SERVER TESTS "/servers/postgresql.sh"

static char server_dir[64];

/* --- the server --- */

static int start_server(void **state)
{
	char command[512];

	(void)state;
	snprintf(server_dir, sizeof server_dir, "/tmp/bakfs-pg-XXXXXX");
	assert_non_null(mkdtemp(server_dir));
	snprintf(command, sizeof command, SERVER " start %s/pg", server_dir);
	if (system(command) != 0)
		return -1;
	snprintf(command, sizeof command, "%s/pg", server_dir);
	setenv("PGHOST", command, 1);
	setenv("PGUSER", "postgres", 1);
	setenv("T", TESTS, 1);
	snprintf(command, sizeof command,
		 "createdb shapes && psql -q -f " TESTS "/stores/postgresql_shapes.sql shapes && "
		 "pgbench -q -i -s 1 shapes 2>/dev/null && "
		 "psql -qc 'DELETE FROM pgbench_accounts WHERE aid > 20000' "
		 "-c 'VACUUM FULL pgbench_accounts' shapes");
	return system(command) ? -1 : 0;
}

static int stop_server(void **state)
{
	char command[512];

	(void)state;
	snprintf(command, sizeof command, SERVER " stop %s/pg immediate; rm -rf %s", server_dir,
		 server_dir);
	return system(command) ? -1 : 0;
}

static const char *uri(const char *db)
{
	static char text[256];

	snprintf(text, sizeof text, "host=%s/pg user=postgres dbname=%s", server_dir, db);
	return text;
}

static void use(struct rig *rig, const char *db)
{
	rig_store(rig, "postgresql", "uri", uri(db), NULL);
}

/* A database of its own, with all the shapes. */
static void make_shop(struct rig *rig)
{
	rig_sh(rig,
	       "psql -qc 'DROP DATABASE IF EXISTS shop' postgres 2>&1 && createdb -T shapes shop");
	use(rig, "shop");
}

/* --- looking by other means than the driver's --- */

/* Everything in a database, in an order of its own: definitions, and rows sorted. */
#define LOOK                                                                                   \
	"look() { pg_dump -s $1 | grep -v '^.\\(un\\)\\?restrict\\|^-- Dumped'; "              \
	"pg_dump -a --inserts $1 2>/dev/null | LC_ALL=C sort | grep -v "                       \
	"'^.\\(un\\)\\?restrict\\|^-- Dumped'; psql -Atc \"SELECT oid, md5(lo_get(oid)) FROM " \
	"pg_largeobject_metadata ORDER BY 1\" $1; }; "

static void assert_same_database(struct rig *rig, const char *a, const char *b)
{
	rig_sh(rig, LOOK "look %s >a.look; look %s >b.look; cmp a.look b.look", a, b);
}

static void assert_sql(struct rig *rig, const char *db, const char *sql, const char *want)
{
	const char *have = rig_out(rig, "psql -Atc \"%s\" %s", sql, db);

	if (strcmp(have, want) != 0)
		fail_msg("%s: it is \"%s\", not \"%s\"", sql, have, want);
}

static const char *leftovers(struct rig *rig)
{
	return rig_out(rig, "psql -Atc \"SELECT datname FROM pg_database WHERE datname LIKE "
			    "'bakfs%%'\" postgres");
}

static void drop_kept(struct rig *rig)
{
	rig_sh(rig,
	       "psql -Atc \"SELECT format('DROP DATABASE %%I;', datname) FROM pg_database WHERE "
	       "datname LIKE '%%_before_%%'\" postgres | psql -q postgres");
}

/* --- the tests --- */

static void test_comes_back_and_goes_again(void **state)
{
	struct rig *rig = *state;
	struct bak_error err = BAK_ERROR_INIT;

	make_shop(rig);
	uint64_t number = rig_backup(rig);
	assert_string_equal(rig->warnings, "");
	rig_sh(rig, "psql -qc 'DROP TABLE wide; DELETE FROM sales.customers WHERE id > 400' shop");
	rig->no_returns = 0;
	json_t *undo = rig_restore(rig, number);
	assert_int_equal(rig->no_returns, 1);
	assert_same_database(rig, "shapes", "shop");
	json_t *facts = rig_facts(rig, number), *counts = rig_counts(rig);
	assert_true(json_equal(json_object_get(facts, "counts"), counts));
	assert_int_equal(json_integer_value(json_object_get(counts, "shop: sales.customers")), 500);
	assert_int_equal(json_integer_value(json_object_get(counts, "shop: (large objects)")), 5);
	json_decref(facts);
	json_decref(counts);
	/* and back, and forth again */
	assert_int_equal(rig_rollback(rig, undo, &err), 0);
	assert_sql(rig, "shop", "SELECT count(*) FROM sales.customers", "400");
	assert_int_equal(rig_rollback(rig, undo, &err), 0);
	assert_same_database(rig, "shapes", "shop");
	assert_string_equal(leftovers(rig), "");
	json_decref(undo);
	drop_kept(rig);
}

/* What pg_restore and psql make of what cp takes out. */
static void test_is_read_by_postgresql_s_own_tools(void **state)
{
	struct rig *rig = *state;

	make_shop(rig);
	rig_extract(rig, rig_backup(rig), "custom");
	rig_sh(rig, "createdb copy && pg_restore --exit-on-error -j2 -d copy custom/shop.dump");
	assert_same_database(rig, "shapes", "copy");
	rig_store(rig, "postgresql", "uri", uri("shop"), "format", "plain", "globals", "no", NULL);
	uint64_t number = rig_backup(rig);
	rig_extract(rig, number, "plain");
	assert_string_equal(rig_out(rig, "ls plain"), "shop.sql");
	rig_sh(rig, "dropdb copy && createdb copy && psql -q -v ON_ERROR_STOP=1 -d copy -f "
		    "plain/shop.sql -o /dev/null");
	assert_same_database(rig, "shapes", "copy");
	rig_sh(rig, "dropdb copy; psql -qc 'DROP TABLE wide' shop");
	json_decref(rig_restore(rig, number));
	assert_same_database(rig, "shapes", "shop");
	drop_kept(rig);
}

/* While others write, all is of one moment: balances agree, and rows are as many as counted. */
static void test_is_of_one_moment(void **state)
{
	struct rig *rig = *state;

	make_shop(rig);
	rig_sh(rig, "pgbench -q -i -s 1 shop 2>bench.log");
	rig_sh(rig, "pgbench -n -T 60 -c 2 shop >bench.log 2>&1 & echo $! >bench.pid");
	rig_sh(rig,
	       "until [ \"$(psql -Atc 'SELECT count(*) > 20 FROM pgbench_history' shop)\" = t ]; "
	       "do :; done");
	uint64_t number = rig_backup(rig);
	rig_sh(rig, "kill $(cat bench.pid); tail --pid=$(cat bench.pid) -f /dev/null");
	json_decref(rig_restore(rig, number));
	assert_sql(
		rig, "shop",
		"SELECT count(DISTINCT n) FROM (SELECT sum(abalance) n FROM pgbench_accounts UNION "
		"ALL SELECT sum(bbalance) FROM pgbench_branches UNION ALL SELECT sum(tbalance) "
		"FROM "
		"pgbench_tellers UNION ALL SELECT sum(delta) FROM pgbench_history) x",
		"1");
	json_t *facts = rig_facts(rig, number);
	char rows[32];
	snprintf(rows, sizeof rows, "%" JSON_INTEGER_FORMAT,
		 json_integer_value(json_object_get(json_object_get(facts, "counts"),
						    "shop: public.pgbench_history")));
	assert_sql(rig, "shop", "SELECT count(*) FROM pgbench_history", rows);
	json_decref(facts);
	drop_kept(rig);
}

/* Roles, grants, settings, odd names, on a server that has nothing of it. */
static void test_goes_to_a_fresh_server(void **state)
{
	struct rig *rig = *state;
	char fresh[300];

	make_shop(rig);
	rig_sh(rig,
	       "psql -q shop <<'E'\n"
	       "CREATE ROLE readers; CREATE ROLE \"odd role\" LOGIN PASSWORD 'it''s; -- secret' IN "
	       "ROLE readers; CREATE ROLE unrelated;\n"
	       "COMMENT ON ROLE readers IS 'who reads; only';\n"
	       "ALTER DATABASE shop OWNER TO \"odd role\"; GRANT SELECT ON wide TO readers;\n"
	       "ALTER DATABASE shop SET search_path TO sales, \"$user\", \"Odd schema\";\n"
	       "ALTER DATABASE shop SET my.\"opt\" TO 'a''b';\n"
	       "ALTER ROLE \"odd role\" IN DATABASE shop SET statement_timeout = '10min';\n"
	       "ALTER ROLE \"odd role\" SET work_mem = '9MB';\n"
	       "REVOKE ALL ON DATABASE shop FROM PUBLIC; GRANT CONNECT ON DATABASE shop TO readers "
	       "WITH GRANT OPTION;\n"
	       "COMMENT ON DATABASE shop IS 'the shop''s'; ALTER DATABASE shop CONNECTION LIMIT "
	       "7;\n"
	       "CREATE DATABASE \"odd/na%%me\"\nE");
	rig_store(rig, "postgresql", "uri", uri("postgres"), "databases", "shop", "databases",
		  "odd*", NULL);
	uint64_t number = rig_backup(rig);
	rig_sh(rig, SERVER " start %s/fresh", server_dir);
	snprintf(fresh, sizeof fresh, "host=%s/fresh user=postgres", server_dir);
	rig_store(rig, "postgresql", "uri", fresh, NULL);
	json_decref(rig_restore(rig, number));
	rig_sh(rig,
	       LOOK "all() { look shop; psql -At -c '\\l shop' -c '\\drds' -c '\\du (odd|rea)*' -c "
		    "\"SELECT obj_description(oid) FROM pg_authid WHERE rolname = 'readers'\" -c "
		    "\"SELECT rolpassword FROM pg_authid WHERE rolname ~ 'odd'\" -c '\\c "
		    "\"odd/na%%me\"' "
		    "postgres; }; all >a.look; PGHOST=%s/fresh all >b.look; cmp a.look b.look",
	       server_dir);
	assert_string_equal(rig_out(rig,
				    "PGHOST=%s/fresh psql -Atc \"SELECT count(*) FROM pg_roles "
				    "WHERE rolname = 'unrelated'\" postgres",
				    server_dir),
			    "0");
	rig_sh(rig, SERVER " stop %s/fresh immediate", server_dir);
	rig_sh(rig,
	       "dropdb 'odd/na%%me' && dropdb shop && psql -qc 'DROP ROLE readers, \"odd role\", "
	       "unrelated' postgres");
}

static void test_ends_connections_only_when_told(void **state)
{
	struct rig *rig = *state;
	struct bak_error err = BAK_ERROR_INIT;

	make_shop(rig);
	uint64_t number = rig_backup(rig);
	rig_sh(rig, "psql -qc 'DROP TABLE wide' shop");
	rig_sh(rig,
	       "PGAPPNAME=till psql -qc 'SELECT pg_sleep(100)' shop >till.log 2>&1 & "
	       "until [ \"$(psql -Atc \"SELECT count(*) FROM pg_stat_activity WHERE "
	       "application_name = 'till' AND state = 'active'\" postgres)\" = 1 ]; do :; done");
	assert_int_equal(rig_try_restore(rig, number, NULL, 0, NULL, &err), -1);
	assert_int_equal(err.code, BAK_BUSY);
	assert_non_null(strstr(err.msg, "shop has 1 connection (till of postgres)"));
	assert_string_equal(leftovers(rig), "");
	assert_sql(rig, "shop", "SELECT to_regclass('wide') IS NULL", "t");
	rig->env.force = true;
	json_decref(rig_restore(rig, number));
	rig->env.force = false;
	assert_same_database(rig, "shapes", "shop");
	assert_sql(rig, "postgres",
		   "SELECT count(*) FROM pg_stat_activity WHERE application_name = "
		   "'till'",
		   "0");
	drop_kept(rig);
}

static void test_cancelled_it_leaves_nothing(void **state)
{
	struct rig *rig = *state;
	struct bak_error err = BAK_ERROR_INIT;
	uint64_t number = 0;

	make_shop(rig);
	rig->cancel = true;
	assert_int_equal(rig_try_backup(rig, NULL, &number, &err), -1);
	assert_int_equal(err.code, BAK_CANCELLED);
	rig->cancel = false;
	number = rig_backup(rig);
	rig_sh(rig, "psql -qc 'DROP TABLE wide' shop");
	rig->refuse_no_return = true;
	assert_int_equal(rig_try_restore(rig, number, NULL, 0, NULL, &err), -1);
	assert_int_equal(err.code, BAK_CANCELLED);
	rig->refuse_no_return = false;
	rig->cancel = true;
	assert_int_equal(rig_try_restore(rig, number, NULL, 0, NULL, &err), -1);
	assert_int_equal(err.code, BAK_CANCELLED);
	rig->cancel = false;
	assert_string_equal(leftovers(rig), "");
	assert_sql(rig, "shop", "SELECT to_regclass('wide') IS NULL", "t");
}

static void test_survives_a_damaged_snapshot(void **state)
{
	struct rig *rig = *state;
	struct bak_error err = BAK_ERROR_INIT;

	make_shop(rig);
	uint64_t number = rig_backup(rig);
	rig_sh(rig, "psql -qc 'DROP TABLE rooms' shop");
	rig_reopen(rig, true);
	assert_int_equal(rig_try_restore(rig, number, NULL, 0, NULL, &err), -1);
	assert_int_equal(err.code, BAK_CORRUPT);
	assert_string_equal(leftovers(rig), "");
	assert_sql(rig, "shop", "SELECT to_regclass('rooms') IS NULL", "t");
}

/* A part of a database never takes the place of the whole. */
static void test_saves_a_part(void **state)
{
	struct rig *rig = *state;
	struct bak_error err = BAK_ERROR_INIT;

	make_shop(rig);
	rig_store(rig, "postgresql", "uri", uri("shop"), "include_tables", "pgbench_*",
		  "include_tables", "\"Odd schema\".*", "exclude_tables", "public.pgbench_history",
		  NULL);
	uint64_t number = rig_backup(rig);
	json_t *facts = rig_facts(rig, number), *counts = json_object_get(facts, "counts");
	assert_int_equal(json_object_size(counts), 4);
	assert_int_equal(
		json_integer_value(json_object_get(counts, "shop: public.pgbench_tellers")), 10);
	json_decref(facts);
	assert_int_equal(rig_try_restore(rig, number, NULL, 0, NULL, &err), -1);
	assert_non_null(strstr(err.msg, "--to-database"));
	rig_store(rig, "postgresql", "uri", uri("shop"), "schema_only", "yes", NULL);
	number = rig_backup(rig);
	rig_extract(rig, number, "out");
	assert_string_equal(rig_out(rig, "pg_restore -l out/shop.dump | grep -c 'TABLE DATA' || :"),
			    "0");
	rig_store(rig, "postgresql", "uri", uri("shop"), "include_tables", "nothing_like_it", NULL);
	assert_int_equal(rig_try_backup(rig, NULL, &number, &err), -1);
	assert_non_null(strstr(err.msg, "include_tables matches no table"));
}

static void test_drops_what_was_kept_long_enough(void **state)
{
	struct rig *rig = *state;

	make_shop(rig);
	rig_store(rig, "postgresql", "uri", uri("shop"), "keep_old", "1d", NULL);
	uint64_t number = rig_backup(rig);
	rig_sh(rig,
	       "psql -q postgres <<'E'\n"
	       "CREATE DATABASE \"shop_before_20200101T000000Z\" ALLOW_CONNECTIONS false;\n"
	       "CREATE DATABASE \"shop_before_20200102T000000Z\";\n"
	       "CREATE DATABASE \"workshop_before_20200101T000000Z\" ALLOW_CONNECTIONS false;\n"
	       "E");
	json_decref(rig_restore(rig, number));
	assert_string_equal(rig->warnings, "");
	assert_non_null(strstr(rig->log, "dropped shop_before_20200101T000000Z"));
	assert_sql(rig, "postgres",
		   "SELECT count(*) FILTER (WHERE datname ~ '_2020'), count(*) FILTER (WHERE "
		   "datname ~ "
		   "'^shop_before_20') FROM pg_database",
		   "2|2");
	assert_sql(
		rig, "postgres",
		"SELECT count(*) FROM pg_database WHERE datname = 'shop_before_20200101T000000Z'",
		"0");
	drop_kept(rig);
}

/* A folder as a mount shows it, with roles; what is no dump is refused. */
static void test_takes_a_folder_back(void **state)
{
	struct rig *rig = *state;
	struct bak_error err = BAK_ERROR_INIT;
	uint64_t number;

	make_shop(rig);
	rig_sh(rig, "createdb 'odd/na%%me'");
	rig_store(rig, "postgresql", "uri", uri("postgres"), "databases", "shop", "databases",
		  "odd*", NULL);
	rig_extract(rig, rig_backup(rig), "up");
	rig_sh(rig, "psql -qc 'DROP TABLE wide' shop; dropdb 'odd/na%%me'");
	if (rig_try_backup(rig, rig_path(rig, "up"), &number, &err) < 0)
		fail_msg("%s", err.msg);
	json_decref(rig_restore(rig, number));
	assert_same_database(rig, "shapes", "shop");
	rig_sh(rig, "dropdb 'odd/na%%me'; echo x >up/notes.txt");
	assert_int_equal(rig_try_backup(rig, rig_path(rig, "up"), &number, &err), -1);
	assert_int_equal(err.code, BAK_REFUSED);
	assert_non_null(strstr(err.msg, "notes.txt"));
	drop_kept(rig);
}

/* The data directory with a tablespace: as PostgreSQL's own tool wants it, and a server starts on
 * it. Once more costs little. */
static void test_saves_the_whole_server(void **state)
{
	struct rig *rig = *state;
	struct bak_error err = BAK_ERROR_INIT;

	make_shop(rig);
	rig_sh(rig,
	       "mkdir %s/ts && chmod 711 %s && { [ $(id -u) != 0 ] || chown postgres: %s/ts; } && "
	       "psql -q postgres -c \"CREATE TABLESPACE ts LOCATION '%s/ts'\" && psql -q shop -c "
	       "'CREATE TABLE elsewhere TABLESPACE ts AS SELECT generate_series(1, 5000) a'",
	       server_dir, server_dir, server_dir, server_dir);
	rig_store(rig, "postgresql", "uri", uri("postgres"), "mode", "physical", NULL);
	uint64_t number = rig_backup(rig);
	assert_string_equal(rig->warnings, "");
	json_t *facts = rig_facts(rig, number);
	assert_int_equal(json_integer_value(json_object_get(facts, "timeline")), 1);
	assert_true(strlen(json_string_value(json_object_get(facts, "start_lsn"))) > 2);
	json_decref(facts);
	rig_sh(rig, "mkdir -m 711 there");
	rig_extract(rig, number, "there/data");
	rig_sh(rig, "$(" SERVER " bin)/pg_verifybackup -q there/data");
	rig_sh(rig, "{ [ $(id -u) != 0 ] || chown postgres: there there/data; } && chmod 711 . "
		    "&& " SERVER " run $PWD/there");
	rig_sh(rig, LOOK "all() { look shop | grep -v 'INTO public.unlogged'; psql -Atc 'SELECT "
			 "sum(a) FROM elsewhere' shop; }; all "
			 ">a.look; PGHOST=$PWD/there all >b.look; cmp a.look b.look");
	rig_sh(rig, SERVER " stop $PWD/there immediate");
	assert_int_equal(rig_try_restore(rig, number, NULL, 0, NULL, &err), -1);
	assert_non_null(strstr(err.msg, "--to"));
	uint64_t all = rig->result.new_bytes;
	rig_sh(rig, "psql -qc 'UPDATE wide SET id = id + 1000 WHERE id < 5' shop");
	rig_backup(rig);
	if (rig->result.new_bytes * 20 > all)
		fail_msg("%llu new bytes after %llu", (unsigned long long)rig->result.new_bytes,
			 (unsigned long long)all);
	rig_sh(rig, "psql -qc 'DROP TABLE elsewhere' shop; psql -qc 'DROP TABLESPACE ts' postgres");
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(test_##f, rig_setup, rig_teardown)
	const struct CMUnitTest tests[] = {
		TEST(comes_back_and_goes_again),
		TEST(is_read_by_postgresql_s_own_tools),
		TEST(is_of_one_moment),
		TEST(goes_to_a_fresh_server),
		TEST(ends_connections_only_when_told),
		TEST(cancelled_it_leaves_nothing),
		TEST(survives_a_damaged_snapshot),
		TEST(saves_a_part),
		TEST(drops_what_was_kept_long_enough),
		TEST(takes_a_folder_back),
		TEST(saves_the_whole_server),
	};

	if (system(SERVER " bin >/dev/null") != 0) {
		printf("skipped: no PostgreSQL server is installed (package postgresql)\n");
		return 77;
	}
	if (getenv("ONLY"))
		cmocka_set_test_filter(getenv("ONLY"));
	return cmocka_run_group_tests(tests, start_server, stop_server);
}
