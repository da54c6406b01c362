#!/bin/bash
# What goes wrong with a PostgreSQL server, made to go wrong: what is said, and that nothing else
# happened.
set -eu
. "$TESTS/lib/cli.sh"
. "$TESTS/servers/postgresql_here.sh"
trap 'end_postgresql; umount "$work/pg-full/data/base" "$work/small" 2>/dev/null || true; cleanup' EXIT
pg="host=$work/pg user=postgres"
psql -q <<-'END'
	CREATE ROLE guarded LOGIN PASSWORD 'open sesame';
	CREATE ROLE nobody LOGIN;
	CREATE DATABASE shop;
END
psql -q shop <<-'END'
	CREATE EXTENSION hstore;
	CREATE TABLE big AS SELECT i, repeat(md5(i::text), 20) FROM generate_series(1, 20000) i;
	CREATE TABLE small AS SELECT generate_series(1, 10) a;
END
sed -i '1i local all guarded scram-sha-256' pg/data/pg_hba.conf
psql -Atqc 'SELECT pg_reload_conf()' >/dev/null
echo 'open sesame' >right
echo 'wrong' >wrong
mkdir tools14 tools0
printf '#!/bin/sh\necho "pg_dump (PostgreSQL) 14.2"\n' >tools14/pg_dump
chmod +x tools14/pg_dump

store() # NAME LINE...
{
	printf '[store %s]\ntype = postgresql\n' "$1"
	printf '%s\n' "${@:2}"
}
setup_repository < <(
	store shop "uri = $pg dbname=shop" 'lock_timeout = 1s'
	store waits "uri = $pg dbname=shop" 'lock_timeout = 0'
	store right "uri = host=$work/pg user=guarded dbname=postgres" "password_file = $work/right"
	store told "uri = host=$work/pg user=guarded dbname=postgres" "password_command = cat $work/right"
	store wrong "uri = host=$work/pg user=guarded dbname=postgres" "password_file = $work/wrong"
	store none "uri = host=$work/pg user=guarded dbname=postgres"
	store nope "uri = $pg dbname=nope"
	store pattern "uri = $pg" 'databases = nope*'
	store nobody "uri = host=$work/pg user=nobody dbname=shop" 'globals = no'
	store down "uri = host=$work/nowhere user=postgres dbname=shop"
	store older "uri = $pg dbname=shop" "bin_dir = $work/tools14"
	store notools "uri = $pg dbname=shop" "bin_dir = $work/tools0"
	store rights "uri = host=$work/pg user=nobody" 'mode = physical'
	store full "uri = host=$work/pg-full user=postgres dbname=shop"
	store slowly "uri = $pg dbname=shop" "bin_dir = $work/tools-slow"
	store server "uri = $pg" 'mode = physical'
	store senders "uri = host=$work/pg-senders user=postgres" 'mode = physical'
	printf '[mount]\nrestore_delay = 0\n'
)

count()
{
	bakfs list --json | jq '.snapshots | length'
}
# fails STORE REGEX: its backup does, and leaves no snapshot.
fails()
{
	local before
	before=$(count)
	expect 1 "$2" bakfs backup "$1"
	is "$(count)" "$before"
	! grep -E 'sesame' out err || fail "a secret is told"
}
live() # what the live database is
{
	psql -Atc 'SELECT (SELECT count(*) FROM big), (SELECT count(*) FROM small)' shop
}
databases()
{
	psql -Atc 'SELECT datname FROM pg_database ORDER BY 1' | tr '\n' ' '
}
until_sql() # QUERY: till it gives a row
{
	local end=$((SECONDS + 60))
	until [ "$(psql -Atc "$1" postgres)" ]; do
		[ $SECONDS -lt $end ] || fail "never: $1"
	done
}

# Passwords.
expect 0 . bakfs backup right told
fails wrong 'password authentication failed.*password_file'
fails none 'no password supplied.*pgpass'
echo "*:*:*:guarded:open sesame" >home/.pgpass
chmod 600 home/.pgpass
expect 0 . bakfs backup none
rm home/.pgpass

# What is not there, or may not be read.
fails nope 'database "nope" does not exist'
fails pattern 'no database of the server matches'
fails down 'failed: No such file or directory; start the server, or correct the uri$'
fails nobody 'permission denied for table big.*pg_read_all_data'
fails older 'PostgreSQL [0-9]+, and the pg_dump in .*tools14 is 14: install postgresql-client-'

fails notools 'pg_dump is not here: install postgresql-client-'
fails rights 'must be superuser or replication role.*REPLICATION'

# The doctor knows before.
expect 3 'right: advice: everybody on this machine may read or write password_file .*/right$' bakfs doctor right
chmod 640 right
expect 3 'right: advice: the user may not make a database to restore into' bakfs doctor right
! grep password_file out err || fail "$(cat out err)"
expect 1 'broken: .*password authentication failed' bakfs doctor wrong
expect 1 'broken: there is no pg_dump' bakfs doctor older
expect 1 'may not read every table' bakfs doctor nobody

# Locks, and a server that goes away while a dump waits for one.
expect 0 . bakfs backup shop
good=$(bakfs list --json | jq '.snapshots[-1].number')
psql -qc 'BEGIN; LOCK TABLE small; SELECT pg_sleep(600)' shop >/dev/null 2>&1 &
until_sql "SELECT 1 FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)%' AND wait_event = 'PgSleep'"
fails shop 'statement timeout.*lock_timeout'
before=$(count)
bakfs backup waits >out 2>err &
backup=$!
until_sql "SELECT 1 FROM pg_stat_activity WHERE application_name = 'pg_dump' AND wait_event_type = 'Lock'"
"$server" stop "$work/pg" immediate
! wait $backup || fail "a backup of a server that died"
grep -Eq 'server closed the connection|terminating connection|connection to server was lost' err ||
	fail "$(cat err)"
is "$(count)" "$before"
"$server" run "$work/pg"
was=$(live)

# The server goes away when a part of a dump has come. pg_dump stops there until it has.
mkdir tools-slow
mkfifo midway go
cat >tools-slow/pg_dump <<-END
	#!/bin/bash
	[ "\$1" != --version ] || exec pg_dump --version
	set -o pipefail
	pg_dump "\$@" | { head -c 3000000; echo >$work/midway; read -r _ <$work/go; cat; }
END
chmod +x tools-slow/pg_dump
ln -s "$("$server" bin)/pg_dumpall" tools-slow/
bakfs backup slowly >out 2>err &
backup=$!
read -r _ <midway
"$server" stop "$work/pg" immediate
echo >go
! wait $backup || fail "a backup of a server that died"
grep -Eq 'server closed the connection|terminating connection|connection to server was lost' err ||
	fail "$(cat err)"
is "$(count)" "$before"
"$server" run "$work/pg"
is "$(live)" "$was"

# The repository's disk gets full, under a dump and under a data directory; with room it goes on.
if [ $EUID = 0 ] && mkdir small && mount -t tmpfs -o size=6m tmpfs small; then
	psql -qc "CREATE TABLE noise AS SELECT string_agg(md5(i || '.' || j), '') FROM
		generate_series(1, 100) i, generate_series(1, 4000) j GROUP BY i" shop
	cp bakfs.conf roomy.conf
	sed -i "s,^path = .*,path = $work/small/repo,; s,^key_file = .*,key_file = $work/small.key," bakfs.conf
	expect 0 . bakfs init
	fails shop '[nN]o space left'
	fails server '[nN]o space left'
	mount -o remount,size=200m small
	expect 0 . bakfs backup shop server
	expect 0 . bakfs verify
	mv roomy.conf bakfs.conf
	umount small
	psql -qc 'DROP TABLE noise' shop
fi

# A server that is not set up for replication.
"$server" start "$work/pg-senders" wal_level=minimal max_wal_senders=0
fails senders 'max_wal_senders .*raise max_wal_senders and restart'
expect 1 'broken: .*max_wal_senders' bakfs doctor senders
"$server" stop "$work/pg-senders" immediate

# A table in place: somebody has it locked; the server goes away meanwhile. Its rows stay.
psql -qc 'BEGIN; SELECT FROM small; SELECT pg_sleep(500)' shop >/dev/null 2>&1 &
until_sql "SELECT 1 FROM pg_stat_activity WHERE query LIKE '%pg_sleep(500)%' AND wait_event = 'PgSleep'"
expect 1 'lock timeout.*lock_timeout' bakfs restore "$good" shop --yes --table small
psql -Atqc "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(500)%' AND pid <> pg_backend_pid()" postgres >/dev/null
psql -q shop <<-'END'
	CREATE FUNCTION slow(int) RETURNS int LANGUAGE plpgsql AS
		'BEGIN IF current_setting(''application_name'') = ''bakfs'' THEN PERFORM pg_sleep(600); END IF; RETURN $1; END';
	ALTER TABLE small ADD CONSTRAINT slow CHECK (slow(a) > 0) NOT VALID;
	DELETE FROM small WHERE a > 5;
END
was=$(live)
bakfs restore "$good" shop --yes --table small >out 2>err &
restore=$!
until_sql "SELECT 1 FROM pg_stat_activity WHERE application_name = 'bakfs' AND wait_event = 'PgSleep'"
"$server" stop "$work/pg" immediate
! wait $restore || fail "a restore into a server that died"
grep -Eq 'server closed the connection|terminating connection|connection to server was lost' err ||
	fail "$(cat err)"
"$server" run "$work/pg"
is "$(live)" "$was"
is "$(psql -Atc "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'bakfs%'" shop)" 0
psql -qc 'ALTER TABLE small DROP CONSTRAINT slow; DROP FUNCTION slow; INSERT INTO small SELECT generate_series(6, 10)' shop
was=$(live)

# The server goes away while a restore runs; what is left of it goes with the next one.
psql -q shop <<-'END'
	CREATE FUNCTION slow(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
		'BEGIN IF current_database() <> ''shop'' THEN PERFORM pg_sleep(600); END IF; RETURN $1; END';
	CREATE INDEX slow ON small (slow(a));
END
expect 0 . bakfs backup shop
slow=$(bakfs list --json | jq '.snapshots[-1].number')
bakfs restore "$slow" shop --yes >out 2>err &
restore=$!
until_sql "SELECT 1 FROM pg_stat_activity WHERE datname LIKE 'bakfs_restoring%' AND wait_event = 'PgSleep'"
"$server" stop "$work/pg" immediate
! wait $restore || fail "a restore into a server that died"
grep -Eq 'server closed the connection|terminating connection|connection to server was lost' err ||
	fail "$(cat err)"
"$server" run "$work/pg"
is "$(live)" "$was"
[[ $(databases) == *bakfs_restoring_* ]] || fail "no remains: $(databases)"
expect 3 'a restore that was killed left 1 database of [0-9]+ [kM]B \(bakfs_restoring_' bakfs doctor shop
psql -qc 'DROP INDEX slow; DROP FUNCTION slow' shop
expect 0 . bakfs restore "$good" shop --yes
[[ $(databases) != *bakfs_restoring_* ]] || fail "remains: $(databases)"
is "$(live)" "$was"
here=$(databases)

# An extension that the server does not have, as another server's dump may need one.
pg_dump -Fc shop | sed 's/hstore/hstxre/g' >strange.dump
if [ -c /dev/fuse ] && bakfs --version | grep -q 'mount through FUSE'; then
	mkdir mnt
	mkfifo ready
	bakfs mount -f mnt >ready 2>mount.log &
	mounted=$!
	read -r _ <ready
	cp strange.dump mnt/restore/shop/
	cat mnt/restore/shop/wait >result
	grep -q 'needs the extension hstxre .*install its package' result ||
		fail "$(cat mnt/restore/shop/status)"
	kill $mounted
	wait $mounted
	is "$(live) $(databases)" "$was $here"
fi

# The server's disk gets full. Its databases lie on a small one of their own.
if [ $EUID = 0 ]; then
	"$server" start "$work/pg-full" autovacuum=off
	PGHOST=$work/pg-full createdb shop
	PGHOST=$work/pg-full psql -qc 'CREATE TABLE mine AS SELECT 1' shop
	"$server" stop "$work/pg-full"
	mv pg-full/data/base base
	mkdir pg-full/data/base
	size=$(($(du -sk base | cut -f1) + 12000))
	if mount -t tmpfs -o size=${size}k tmpfs pg-full/data/base; then
		cp -a base/. pg-full/data/base/
		chown -R postgres: pg-full/data/base
		chmod 700 pg-full/data/base
		"$server" run "$work/pg-full" autovacuum=off
		psql -qc 'INSERT INTO big SELECT i, repeat(md5(i::text), 20) FROM generate_series(1, 30000) i' shop
		expect 0 . bakfs backup shop
		sed -i "s/^\[store shop\]/[store elsewhere]/; s/^\[store full\]/[store shop]/" bakfs.conf
		expect 1 '(No space left on device|could not extend file).*the disk of the database server is full' \
			bakfs restore shop@latest --yes
		is "$(PGHOST=$work/pg-full psql -Atc 'SELECT count(*) FROM mine' shop)" 1
		is "$(PGHOST=$work/pg-full psql -Atc "SELECT count(*) FROM pg_database WHERE datname LIKE 'bakfs%'")" 0
	fi
fi
