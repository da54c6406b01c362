#!/bin/bash
# What goes wrong with dumps of Neo4j, made to go wrong by a neo4j-admin that says what the real one
# (5.26.30) says, and a server that holds the lock which the real one holds: each with its message,
# no snapshot counts as good, the data is as it was before, and a server that was stopped runs again.
set -euo pipefail
. "$TESTS/lib/cli.sh"

trap 'kill_server; umount "$work/full" 2>/dev/null || true; cleanup' EXIT
home=$work/home-of-it
mkdir -p "$home"/{bin,conf,data/databases/neo4j,data/transactions/neo4j}
echo old store >"$home/data/databases/neo4j/neostore"
echo old logs >"$home/data/transactions/neo4j/log"
touch "$home/data/databases/store_lock"
tail -c +2 "$TESTS/fuzz/corpus/neo4j_dump/zstd" >dump
printf '5.26.30\n' >version

# --- the peers. "say" makes neo4j-admin fail with these words.
cat >"$home/bin/neo4j-admin" <<END
#!/bin/bash
cd "$work"
case "\$*" in
--version) cat version; exit ;;
*) echo "\$*" >>asked ;;
esac
if [ -e "say-\$2" ]; then
	[ ! -e part ] || cat part
	echo "2026-11-21 20:40:52.771+0000 ERROR [o.n.c.d.DumpCommand] Failed to \$2 database '\$3': \$(cat say-\$2)" >&2
	echo "Dump failed for databases: '\$3'" >&2
	exit 1
fi
case \$2 in
dump)
	[ ! -e block ] || { touch blocked; read -r line <fifo; }
	cat dump
	;;
load)
	data=\$(sed -n 's/^server.directories.data=//p' "\$NEO4J_CONF/neo4j.conf")
	mkdir -p "\$data/databases/\$3" "\$data/transactions/\$3"
	sha256sum >"\$data/databases/\$3/neostore"
	echo new logs >"\$data/transactions/\$3/log"
	;;
esac
END
cat >server.py <<'END'
import fcntl, os, signal, sys
lock = open(sys.argv[1], "w")
fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
open("server.pid", "w").write(str(os.getpid()))
os.rename("server.pid", "running")
signal.pause()
END
# "refuse" keeps the server from starting: so many times.
cat >start <<END
#!/bin/bash
cd "$work"
if [ -s refuse ]; then
	sed -i '\$d' refuse
	echo it does not start >&2
	exit 1
fi
setsid python3 server.py "$home/data/databases/store_lock" >/dev/null 2>&1 &
pid=\$!
until [ -e running ]; do
	kill -0 \$pid || exit 1
	read -rt 0.02 <> <(:) || :
done
END
cat >stop <<END
#!/bin/bash
cd "$work"
[ ! -e stop-fails ] || { echo it does not stop >&2; exit 1; }
pid=\$(cat running) && kill \$pid || exit 1
while [ -e /proc/\$pid ] && ! grep -q '^State:.*Z' /proc/\$pid/status; do
	read -rt 0.02 <> <(:) || :
done
rm running
END
chmod +x "$home/bin/neo4j-admin" start stop
mkfifo fifo

kill_server()
{
	[ ! -e "$work/running" ] || kill "$(cat "$work/running")"
	rm -f "$work/running"
}

runs()
{
	[ -e running ] && kill -0 "$(cat running)"
}

tree()
{
	(cd "$home/data" && find . -type f ! -name store_lock -exec sha256sum {} + | sort -k 2)
}

# unchanged: the data is what it was, with nothing beside it.
unchanged()
{
	tree | diff tree - >diff || fail "the data has changed: $(cat diff)"
	[ -z "$(find "$home/data" -maxdepth 1 -name '*bakfs*' -o -maxdepth 1 -name '*.before-*')" ] ||
		fail "left over: $(ls -a "$home/data")"
}

snapshots()
{
	bakfs list --json >out
	json '.snapshots | length' "$1"
}

# store NAME SYSTEM [LINE...]
store()
{
	printf '[store %s]\ntype = neo4j\nmode = dump\nhome = %s\n' "$1" "$home"
	printf 'url = http://127.0.0.1:1\ntimeout = 1s\nsystem = %s\n' "$2"
	shift 2
	[ $# = 0 ] || printf '%s\n' "$@"
}
commands="stop_command = $work/stop
start_command = $work/start"
setup_repository < <(
	store plain no
	store free no 'restart = yes' "$commands"
	store bare no 'restart = yes'
	store both yes 'restart = yes' "$commands"
	store lost no 'neo4j_admin = /nowhere/neo4j-admin'
	store wrong no 'database = ../x'
)
tree >tree

# --- of a server that is stopped; nothing in it is compressed
expect 0 'plain: well: .*Neo4j 5.26.30' bakfs doctor plain
expect 0 'snapshot 1' bakfs backup plain
bakfs cat plain@latest neo4j.dump >taken
is "$(head -c 4 taken)" DZV1
tail -c +5 taken | zstd -dc >raw
tail -c +5 dump | zstd -dc | cmp - raw
expect 0 'snapshot 2' bakfs backup both
is "$(bakfs show both@latest --json | jq -r '.snapshots[0].manifest.data.databases | keys | join(" ")')" \
	'neo4j system'
[ ! -e running ]

# --- a server that runs, and may not be stopped, or cannot
./start
expect 1 "the server is running, process $(cat running) \(python3\): stop it, or let bakfs" \
	bakfs backup plain
expect 1 'needs stop_command and start_command' bakfs backup bare
expect 1 'plain: broken: the server is running' bakfs doctor plain
touch stop-fails
expect 1 'stop_command: it does not stop' bakfs backup free
rm stop-fails
runs
expect 1 'the server is running' bakfs restore plain@latest --yes
snapshots 2
expect 0 'snapshot 3' bakfs backup free
runs

# --- what neo4j-admin says, and what to do about it; the server runs again each time
while IFS='|' read -r words todo; do
	echo "$words" >say-dump
	head -c 300 dump >part
	expect 1 "database neo4j: neo4j-admin: Failed to dump database 'neo4j': $words.*$todo" \
		bakfs backup free
	runs
done <<'END'
The database is in use. Stop database 'neo4j' and try again.|stop the server first
Database does not exist: neo4j|see the option database
Active logical log detected, this might be a source of inconsistencies.|start it and stop it once
You do not have permission to dump the database.|as the server's user, or as root
No space left on device|
END
rm say-dump part
snapshots 3
dump=$(base64 -w 0 dump)
head -c 400 <<<"$dump" | base64 -d >dump
expect 1 'database neo4j: cut off behind [0-9]+ files' bakfs backup free
echo no dump at all >dump
expect 1 'not a Neo4j dump: it begins with neither DZV1 nor DGV1' bakfs backup free
: >dump
expect 1 'the dump is empty' bakfs backup free
base64 -d <<<"$dump" >dump
runs
snapshots 3
unchanged
expect 1 'neo4j-admin: /nowhere/neo4j-admin: No such file' bakfs backup lost
expect 1 'database: "../x" is no name of one' bakfs backup wrong
cp "$home/bin/neo4j-admin" admin
printf '#!/bin/sh\nexec java-that-is-not-there "$@"\n' >"$home/bin/neo4j-admin"
expect 1 'neo4j-admin: .*java-that-is-not-there: not found' bakfs backup free
rm "$home/bin/neo4j-admin"
expect 1 "neo4j-admin is neither in $home/bin nor in PATH" bakfs backup free
cp admin "$home/bin/neo4j-admin"

# --- cancelled in the middle, and a server that does not come back
touch block
setsid bakfs backup free >out 2>err </dev/null &
backup=$!
until [ -e blocked ]; do
	kill -0 $backup
	read -rt 0.02 <> <(:) || :
done
! runs || fail "it runs while it is dumped"
kill -TERM $backup
status=0
wait $backup || status=$?
[ $status != 0 ] || fail "a cancelled backup ends well"
runs || fail "it does not run after a cancelled backup"
rm block blocked
snapshots 3
echo 1 >refuse
expect 3 'the server was stopped and did not start again: start_command: it does not start' \
	bakfs backup free
snapshots 4
! runs || fail "it runs"
./start

# --- killed in the middle: the next one finds out, and starts the server again
touch block
setsid bakfs backup free >out 2>err </dev/null &
backup=$!
until [ -e blocked ]; do
	kill -0 $backup
	read -rt 0.02 <> <(:) || :
done
expect 1 'another bakfs has stopped the server, and is at work' bakfs restore free@latest --yes
bakfs doctor free >out 2>&1 || true
! grep -q killed out || fail "$(cat out)"
kill -KILL -- -$backup
wait $backup 2>/dev/null || true
rm block blocked
! runs || fail "it runs while it is dumped"
expect 1 'free: broken: a backup or restore that was killed has left the server stopped' \
	bakfs doctor free
echo 'Database does not exist: neo4j' >say-dump
expect 1 'had left the server stopped: it is started again' bakfs backup free
runs
rm say-dump
unchanged
./stop
: >"$home/data/.bakfs-stopped"
echo 5.25.1 >version
expect 1 'the snapshot is of Neo4j 5.26.30, and here is 5.25.1' bakfs restore free@latest --yes
runs
./stop
printf databases.before-x >"$home/data/.bakfs-stopped"
echo 5.26.30 >version
for what in 'backup free' 'doctor free' 'restore free@latest --yes'; do
	expect 1 'killed while databases and transactions changed places with those in .*before-x' \
		bakfs $what
done
! runs || fail "it runs with what may be half exchanged"
rm "$home/data/.bakfs-stopped"
./start
unchanged

# --- no room in the repository
if [ $EUID = 0 ] && mkdir full && mount -t tmpfs -o size=300k none full 2>/dev/null; then
	sed "s:^path = .*:path = $work/full/repo:" bakfs.conf >full.conf
	expect 0 'made repository' bakfs --config full.conf init
	head -c 400000 /dev/urandom >full/filler 2>/dev/null || true
	expect 1 '[Nn]o space left' bakfs --config full.conf backup free
	rm full/filler
	bakfs --config full.conf list --json >out
	json '.snapshots | length' 0
	runs
	umount full
fi

# --- restored, exchanged back and forth
expect 0 'restored' bakfs restore free@latest --yes
runs
is "$(cut -c 1-64 "$home/data/databases/neo4j/neostore")" "$(sha256sum <taken | cut -c 1-64)"
is "$(cat "$home/data/transactions/neo4j/log")" 'new logs'
is "$(cat "$home"/data/databases.before-*Z/databases/neo4j/neostore)" 'old store'
expect 0 'rolled back' bakfs rollback free --yes
is "$(cat "$home/data/databases/neo4j/neostore")" 'old store'
rm -r "$home"/data/databases.before-*Z
unchanged
runs

# --- what a restore refuses, and what fails in it, leaves everything as it was
echo 5.25.1 >version
expect 1 'the snapshot is of Neo4j 5.26.30, and here is 5.25.1' bakfs restore free@latest --yes
unchanged
echo 2025.01.0 >version
for words in 'No space left on device' 'Not a valid Neo4j archive: reading from stdin' \
	"The loaded database 'neo4j' is of a newer version than the current binaries."; do
	echo "$words" >say-load
	expect 1 "neo4j.dump: neo4j-admin: Failed to load database 'neo4j': $words" \
		bakfs restore free@latest --yes
	unchanged
done
rm say-load
echo 'Inconsistencies found' >say-check
expect 1 'neo4j-admin: .*Inconsistencies found' bakfs restore free@latest --yes
rm say-check
unchanged
runs
# The second half of the exchange fails: the first is undone.
mv "$home/data/transactions" transactions
echo in the way >"$home/data/transactions"
expect 1 'exchanging the folders: ' bakfs restore free@latest --yes
rm "$home/data/transactions"
mv transactions "$home/data/transactions"
unchanged
runs
echo 1 >refuse
expect 1 'the old data is back: the server did not start with the new data: start_command: it does not start' \
	bakfs restore free@latest --yes
unchanged
runs
expect 1 'a dump is restored as a whole' bakfs restore free@latest --label A --yes
expect 1 'nothing of the snapshot was chosen|no system.dump in snapshot' \
	bakfs restore free@latest --only system.dump --yes
expect 0 restored bakfs restore both@latest --only system.dump --yes
is "$(cat "$home/data/databases/neo4j/neostore")" 'old store'
[ -s "$home/data/databases/system/neostore" ]
