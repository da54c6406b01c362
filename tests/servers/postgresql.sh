#!/bin/bash
# A PostgreSQL server of one's own, in a folder that is made and thrown away, on a Unix socket in it.
# usage: postgresql.sh start DIR [SETTING=VALUE...]   superuser postgres; PGHOST is DIR
#        postgresql.sh run DIR [SETTING=VALUE...]     again, what stop left
#        postgresql.sh stop DIR [MODE]                fast (default), immediate
#        postgresql.sh bin                            where the newest one's programs are
# Exit status 77: no server is installed. Started by root it runs as the user postgres.
set -euo pipefail

bin()
{
	local dirs
	mapfile -t dirs < <(ls -d /usr/lib/postgresql/*/bin/initdb 2>/dev/null | sort -V)
	if ((${#dirs[@]} == 0)); then
		echo "no PostgreSQL server is installed (package postgresql)" >&2
		exit 77
	fi
	dirname "${dirs[-1]}"
}

as_server()
{
	if ((EUID == 0)); then
		(cd / && exec setpriv --reuid=postgres --regid=postgres --init-groups \
			env -u PGHOST -u PGUSER HOME=/ "$@")
	else
		"$@"
	fi
}

run()
{
	local dir=$1 setting opts=
	shift
	for setting; do opts+=" -c '$setting'"; done
	as_server "$bin/pg_ctl" -D "$dir/data" -l "$dir/server.log" -w -t 60 -s \
		-o "-k '$dir' -c listen_addresses='' -c fsync=off -c shared_buffers=32MB$opts" start
}

bin=$(bin)
case ${1-} in
bin)
	echo "$bin"
	;;
start)
	dir=$2
	shift 2
	mkdir -p "$dir"
	if ((EUID == 0)); then chown postgres: "$dir"; fi
	# What leads there must let the server's user through.
	chmod a+x "$dir" "$(dirname "$dir")"
	as_server "$bin/initdb" -D "$dir/data" -U postgres -A trust -N --no-instructions \
		-E UTF8 --locale=C.UTF-8 >/dev/null
	run "$dir" "$@"
	;;
run)
	dir=$2
	shift 2
	run "$dir" "$@"
	;;
stop)
	as_server "$bin/pg_ctl" -D "$2/data" -w -t 60 -s -m "${3-fast}" stop
	;;
*)
	sed -n '2,7s/^# //p' "$0" >&2
	exit 2
	;;
esac
