#!/bin/bash
# The ways in which a PostgreSQL store is restored by command: all databases of a run, several jobs,
# beside what is live, one table or schema; and what a rollback then undoes.
set -eu
. "$TESTS/lib/cli.sh"
. "$TESTS/servers/postgresql_here.sh"
make_shop
createdb -T shop second
psql -qc "UPDATE sales.customers SET name = 'second'" second
setup_repository <<-END
	[store shop]
	type = postgresql
	uri = host=$work/pg user=postgres dbname=shop
	[store both]
	type = postgresql
	uri = host=$work/pg user=postgres
	databases = shop
	databases = second
	jobs = 3
	[store service]
	type = postgresql
	uri = service=theirs
END
printf '[theirs]\nhost=%s\nuser=postgres\ndbname=second\n' "$work/pg" >services
export PGSERVICEFILE=$work/services
look() # DATABASE: all of it, rows sorted
{
	pg_dump -s "$1" | grep -v '^.\(un\)\?restrict'
	pg_dump -a --inserts "$1" 2>/dev/null | grep '^INSERT\|^SELECT.*setval' | LC_ALL=C sort
}
sql() # QUERY [DATABASE]
{
	psql -Atqc "$1" "${2-shop}"
}
look shop >shop.look
look second >second.look
same()
{
	local db
	for db; do look "$db" | diff "$db.look" - || fail "$db is not as it was"; done
}
kept()
{
	sql "SELECT count(*) FROM pg_database WHERE datname ~ '_before_'"
}

# All databases of a run, several jobs at a time, and back together.
expect 0 . bakfs backup
ls_names()
{
	bakfs show "$1@latest" --json | jq -r '.snapshots[].manifest.data.databases[].file' | tr '\n' ' '
}
is "$(ls_names service)$(ls_names both)" 'second.dump second.dump shop.dump '
sql 'DROP TABLE wide; DELETE FROM sales.log'
sql 'DROP SCHEMA sales CASCADE' second
look shop >shop.spoilt
expect 0 . bakfs restore both@latest --yes
same shop second
is "$(kept)" 2
is "$(find "$HOME" "$work" -name '.bakfs-*' | wc -l)" 0
expect 0 . bakfs rollback both --yes
look shop | diff shop.spoilt - || fail "rollback"
is "$(sql "SELECT to_regnamespace('sales') IS NULL" second)" t
expect 0 . bakfs rollback both --yes
same shop second

# What is put beside the live data leaves the rollback of the restore before it alone.
sql 'DELETE FROM sales.log'
expect 0 'rollback shop undoes it' bakfs restore shop@latest --yes
expect 0 . bakfs restore shop@latest --to-database copy --yes
! grep -q rollback out err || fail "a rollback is promised of what changed nothing"
look copy | diff shop.look - || fail "--to-database"
expect 1 'there is a database copy already' bakfs restore shop@latest --to-database copy --yes
expect 0 . bakfs rollback shop --yes
is "$(sql 'SELECT count(*) FROM sales.log')" 0
look copy | diff shop.look - || fail "a rollback touched what is beside"
expect 0 . bakfs rollback shop --yes
dropdb copy

# One table in place: its rows, with everything that refers to it as it was; and back again.
definitions()
{
	pg_dump -s -N 'bakfs_*' shop | grep -v '^.\(un\)\?restrict'
}
part() # STATUS REGEX ARGUMENT...
{
	expect "$1" "$2" bakfs restore shop@latest --yes "${@:3}"
}
kept_schema()
{
	sql "SELECT nspname FROM pg_namespace WHERE nspname ~ '^bakfs_before_' ORDER BY 1 DESC LIMIT 1"
}
drop_kept()
{
	sql "DROP SCHEMA $(kept_schema) CASCADE" 2>/dev/null
}
customers()
{
	sql "SELECT count(*), count(parent), count(*) FILTER (WHERE name ~ id::text) FROM sales.customers"
}
sql "DELETE FROM sales.customers WHERE id > 400; UPDATE sales.customers SET name = 'x', parent = NULL"
sql "CREATE TABLE refers (c int CONSTRAINT points REFERENCES sales.customers ON DELETE CASCADE);
	COMMENT ON CONSTRAINT points ON refers IS 'kept'; INSERT INTO refers VALUES (7)"
sql 'DELETE FROM sales.log'
definitions >before
part 0 'rollback shop undoes it' --table sales.customers
is "$(customers)" '500|499|500'
definitions | diff before - || fail "definitions changed"
is "$(sql "SELECT count(*) FROM $(kept_schema).customers WHERE name = 'x'")" 400
is "$(sql 'SELECT count(*) FROM refers'),$(sql 'SELECT count(*) FROM sales.log')" 1,0
expect 0 . bakfs rollback shop --yes
is "$(customers)" '400|0|0'
expect 0 . bakfs rollback shop --yes
is "$(customers)" '500|499|500'

# Rows that others need are missed, and nothing has happened.
drop_kept
sql "INSERT INTO sales.customers VALUES (1000, 'new'); INSERT INTO refers VALUES (1000)"
look shop >before
part 1 'violates foreign key constraint "points"' --table sales.customers
look shop | diff before - || fail "a restore that failed changed something"
sql 'DROP TABLE refers'

# Partitions go with their table; a table that is gone is made again, with all that belongs to it.
sql "DELETE FROM sales.orders WHERE customer > 10"
sql 'DROP TABLE wide, "Odd schema"."a ""table"" with % and é."; ALTER TABLE rooms RENAME TO chambers'
part 0 . --table sales.orders --table sales.customers --table '*wide' --table '"Odd schema".*' --table sales.log
sql 'ALTER TABLE chambers RENAME TO rooms; REFRESH MATERIALIZED VIEW sales.top'
drop_kept
same shop

# What it depends on is named; a sequence never goes back.
sql 'DROP TABLE sales.log, sales.customers; DROP TYPE sales.state; DROP FUNCTION sales.note'
look shop >before
part 1 'needs type sales.state, function sales.note\(\)' --table 'sales.customers'
part 1 'has no table "sales.nothing"' --table sales.nothing
part 1 'needs --table or --schema' --to-schema aside
look shop | diff before - || fail "a refused restore changed something"
part 0 . --schema sales
drop_kept
same shop
sql 'DROP SCHEMA sales CASCADE'
part 0 . --schema sales
expect 0 . bakfs rollback shop --yes
is "$(sql "SELECT to_regclass('sales.orders') IS NULL, to_regclass('$(kept_schema).orders') IS NULL")" 't|f'
expect 0 . bakfs rollback shop --yes
drop_kept
same shop
sql "CREATE TABLE counted (id int GENERATED ALWAYS AS IDENTITY, n int); INSERT INTO counted (n) SELECT 1 FROM generate_series(1, 7);
	CREATE TABLE single (LIKE counted INCLUDING ALL); INSERT INTO single (n) VALUES (1);
	CREATE TABLE last (LIKE counted INCLUDING ALL); INSERT INTO last OVERRIDING SYSTEM VALUE VALUES (2147483647, 1)"
expect 0 . bakfs backup shop
sql 'TRUNCATE counted, single, last RESTART IDENTITY; CREATE RULE nothing AS ON INSERT TO counted DO INSTEAD NOTHING'
part 0 . --table counted --table single --table last
expect 0 . bakfs rollback shop --yes
is "$(sql 'SELECT count(*) FROM counted')" 0
expect 0 . bakfs rollback shop --yes
sql 'DROP RULE nothing ON counted; INSERT INTO counted (n) VALUES (2); INSERT INTO single (n) VALUES (2); INSERT INTO last (n) VALUES (2)'
is "$(sql 'SELECT max(id), count(DISTINCT id) FROM counted')" '8|8'
is "$(sql 'SELECT max(id), count(DISTINCT id) FROM single')" '2|2'
is "$(sql 'SELECT min(id), count(DISTINCT id) FROM last')" '1|2'

# What was kept is told of, and dropped when it is old enough; but nothing that others use with it.
sql "ALTER SCHEMA $(kept_schema) RENAME TO bakfs_before_20200101t000000z"
sql 'CREATE SCHEMA bakfs_before_20200102t000000z; CREATE TABLE bakfs_before_20200102t000000z.t ();
	CREATE VIEW seen AS SELECT FROM bakfs_before_20200102t000000z.t;
	CREATE SCHEMA bakfs_before_mine; CREATE SCHEMA xbakfs_before_20200101t000000z'
expect 3 'restores kept 2 schemas of [0-9]+ (bytes|kB) \(bakfs_before_20200101t000000z, bakfs_before_20200102t000000z\) in database shop$' \
	bakfs doctor shop
grep -Eq 'restores kept [0-9]+ databases of [0-9]+ .* \(second_before_' out err || fail "$(cat out err)"
part 0 . --table single
is "$(sql "SELECT count(*) FROM pg_namespace WHERE nspname ~ 'bakfs_before_'")" 5
sed '0,/^uri/s/^uri/keep_old = 1d\n&/' bakfs.conf >keep.conf
expect 3 'bakfs_before_20200102t000000z could not be dropped: .*other objects depend on it' \
	bakfs --config keep.conf restore shop@latest --yes --table single
is "$(sql "SELECT count(*) FROM pg_namespace WHERE nspname ~ 'bakfs_before_'"),$(sql "SELECT count(*) FROM seen")" 5,0
is "$(sql "SELECT to_regnamespace('bakfs_before_20200101t000000z') IS NULL")" t
sql 'DROP SCHEMA bakfs_before_20200102t000000z CASCADE; DROP SCHEMA bakfs_before_mine; DROP SCHEMA xbakfs_before_20200101t000000z' 2>/dev/null
drop_kept

# Beside: tables with keys, indexes and partitions, in a schema of their own; the rest untouched.
drop_kept
sql 'DELETE FROM sales.orders; DELETE FROM sales.customers; DROP TABLE counted, single, last'
look shop >before
part 0 . --schema sales --table counted --to-schema 'a side'
! grep -q rollback out err || fail "a rollback is promised of what changed nothing"
is "$(sql 'SELECT (SELECT count(*) FROM "a side".orders), (SELECT count(*) FROM "a side".customers), (SELECT count(*) FROM "a side".counted)')" '5000|500|7'
is "$(sql "SELECT count(*) FILTER (WHERE indisprimary), count(*), bool_and(indisvalid) FROM pg_index i JOIN pg_class c ON c.oid = indexrelid WHERE relnamespace = '\"a side\"'::regnamespace")" '6|11|t'
part 1 'schema "a side" already exists' --schema sales --to-schema 'a side'
sql 'DROP SCHEMA "a side" CASCADE' 2>/dev/null
look shop | diff before - || fail "a restore beside changed something"
