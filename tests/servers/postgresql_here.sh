# shellcheck shell=bash
# A PostgreSQL server for a test's script, to be sourced behind tests/lib/cli.sh: in $work/pg, where
# psql and its like find it, and ended on the way out, as others are in folders $work/pg*.
server=$TESTS/servers/postgresql.sh
"$server" bin >/dev/null || skip "no PostgreSQL server is installed (package postgresql)"
PATH=$("$server" bin):$PATH
end_postgresql()
{
	local dir
	for dir in "$work"/pg*; do "$server" stop "$dir" immediate 2>/dev/null || true; done
}
trap 'end_postgresql; cleanup' EXIT
"$server" start "$work/pg"
export PGHOST=$work/pg PGUSER=postgres

# A database with everything that there is.
make_shop()
{
	createdb shop
	psql -q -f "$TESTS/stores/postgresql_shapes.sql" shop
}
