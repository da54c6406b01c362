# shellcheck shell=bash
# PostgreSQL for tests/bench/stores: a database of pgbench, 1 GB at scale 100, beside pg_dump and
# pg_restore. Each night 1.3 % of its rows change, here and there.

stop_postgresql() { "$servers/postgresql.sh" stop "$work/pg" immediate >/dev/null 2>&1; }

postgresql_store() # JOBS
{
	printf '[store bench]\ntype = postgresql\njobs = %s\nuri = host=%s user=postgres dbname=bench\n' \
		"$1" "$work/pg"
}

postgresql_backups()
{
	local i before
	for ((i = 0; i < runs; i++)); do
		postgresql_store 1 | begin_repository
		measure dump sh -c 'exec pg_dump -Fc -Z0 bench >/dev/null'
		measure first "$bakfs" -q backup
		psql -qc "UPDATE pgbench_accounts SET abalance = abalance + 1
			WHERE abs(hashint4extended(aid, $i)) % 1000 < 13" bench
		before=$(repository_size)
		measure second "$bakfs" -q backup
		value added $(($(repository_size) - before))
	done
}

postgresql_restores() # JOBS
{
	local i
	postgresql_store "$1" | configure
	for ((i = 0; i < runs; i++)); do
		createdb copy
		measure "pg_restore-$1" pg_restore -j "$1" -d copy "$work/bench.dump"
		dropdb copy
		measure "restore-$1" "$bakfs" -q restore bench@latest --yes
		psql -Atc "SELECT format('DROP DATABASE %I', datname) FROM pg_database WHERE
			datname ~ '^bench_before_'" postgres | psql -q postgres
	done
}

bench_postgresql()
{
	local dump_size jobs
	"$servers/postgresql.sh" bin >/dev/null
	PATH=$("$servers/postgresql.sh" bin):$PATH
	export PGHOST=$work/pg PGUSER=postgres
	"$servers/postgresql.sh" start "$work/pg" shared_buffers=256MB max_wal_size=4GB autovacuum=off
	createdb bench
	pgbench -q -i -s $((68 * scale / 100)) bench 2>/dev/null
	psql -qc 'VACUUM ANALYZE' bench
	echo "$("$bakfs" --version | head -1), $(postgres --version), $(psql -Atc \
		"SELECT pg_size_pretty(pg_database_size('bench'))" postgres), $runs runs, medians"
	postgresql_backups
	pg_dump -Fc -Z0 -f "$work/bench.dump" bench
	dump_size=$(stat -c %s "$work/bench.dump")
	for jobs in 1 2; do postgresql_restores "$jobs"; done

	begin_table postgresql
	compare 'first backup, beside pg_dump -Fc -Z0 >/dev/null' first dump 1.1
	compare 'after 1.3 % of the rows changed' second dump ''
	share 'which adds, of the dump' "$(median added)" "$dump_size" B '1.5 %'
	for jobs in 1 2; do
		compare "restore, jobs = $jobs, beside pg_restore of a file" \
			"restore-$jobs" "pg_restore-$jobs" 1.1
	done
	peak 'peak of a first backup' first '128 MiB'
	peak 'peak of a second backup' second '128 MiB'
	peak 'peak of a restore' restore-1 '128 MiB'
}
