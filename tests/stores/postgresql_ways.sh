#!/bin/bash
# The ways in which a PostgreSQL store is restored by command: all databases of a run, several jobs,
# beside what is live, one table or schema; and what a rollback then undoes.
set -eu
. "$TESTS/lib/cli.sh"
server=$TESTS/servers/postgresql.sh
"$server" bin >/dev/null || skip "no PostgreSQL server is installed (package postgresql)"
PATH=$("$server" bin):$PATH
"$server" start "$work/pg"
trap '"$server" stop "$work/pg" immediate; cleanup' EXIT
export PGHOST=$work/pg PGUSER=postgres
createdb shop
psql -q -f "$TESTS/stores/postgresql_shapes.sql" shop
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
END
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
