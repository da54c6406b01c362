#!/bin/bash
# What goes wrong with Redis and Valkey, made to go wrong: each with its message, nothing recorded as
# a good snapshot, and the server as it was before.
set -euo pipefail
. "$TESTS/servers/redis.sh"
. "$TESTS/servers/redis_data.sh"
. "$TESTS/lib/cli.sh"

redis_need 7.0 || skip "redis 7.0 cannot be had"
command -v redis-cli >/dev/null || skip "redis-cli is missing"
trap 'for dir in "$work"/s-*; do [ ! -f "$dir/pid" ] || redis_kill "$dir"; done
	umount "$work/full" 2>/dev/null || true; cleanup' EXIT

setup_repository <<END
[store live]
type = redis
address = $work/s-live/sock
timeout = 10s
[store commands]
type = redis
address = $work/s-live/sock
restore_method = commands
[store one-way]
type = redis
address = $work/s-live/sock
restore_method = replication
[store none]
type = redis
address = 127.0.0.1:1
END

# snapshots N: so many there are.
snapshots()
{
	bakfs list --json >out
	json '.snapshots | length' "$1"
}

# With its password and its dump; it looks up from loading often.
start_again()
{
	redis_start 7.0 s-live 'requirepass secret' 'enable-protected-configs yes' \
		'loading-process-events-interval-bytes 1024'
}

# await PID STATE: until the server says so; the process must not end before.
await()
{
	while [[ $(redis s-live info persistence) != *"$2"* ]]; do
		kill -0 "$1" 2>/dev/null || fail "it ended before $2: $(cat out err)"
	done
}

# same: the live server is as it was.
same()
{
	redis_digest s-live | diff want - >diff || fail "it changed: $(head -3 diff)"
}

# --- nobody there, or not for us
expect 1 'no server listens there' bakfs backup live
expect 1 'no server listens there: 127.0.0.1:1: Connection refused' bakfs backup none
redis_start 7.0 s-live 'loading-process-events-interval-bytes 1024' \
	'user admin on nopass ~* &* +@all' 'user default on >secret ~* &* +@all' \
	'user few on >few +ping +info' 'user reader on >reader ~* +@read +@connection +info +function|dump +acl'
export REDISCLI_AUTH=secret
redis_fill s-live 7.0 200
redis s-live save >/dev/null
expect 0 'snapshot 1' bakfs backup live
unset REDISCLI_AUTH
expect 1 'it wants a password' bakfs backup live
REDISCLI_AUTH=wrong expect 1 'wrong user or password' bakfs backup live
! grep -q 'wrong"' err || fail "the password is told"
echo secret >password
sed "s:^address.*:&\npassword_file = $work/password:" bakfs.conf >file.conf
expect 0 'snapshot 2' bakfs --config file.conf backup live
sed "s:^address.*:&\npassword_command = cat $work/password:" bakfs.conf >command.conf
expect 0 'snapshot 3' bakfs --config command.conf backup live
sed "s:^address.*:&\nuser = few:" bakfs.conf >few.conf
REDISCLI_AUTH=few expect 1 'the user lacks a right.*NOPERM' bakfs --config few.conf backup live
sed "s:^address.*:&\nuser = reader:" bakfs.conf >reader.conf
REDISCLI_AUTH=reader expect 3 'saved key by key, as replication is refused' \
	bakfs --config reader.conf backup live
bakfs show live@latest --json >out
json '.snapshots[0].manifest.data.method' scan
REDISCLI_AUTH=reader expect 3 'user reader may not sync' bakfs --config reader.conf doctor live
export REDISCLI_AUTH=secret
expect 0 'live: well: .*Redis 7.0' bakfs doctor live
expect 0 'snapshot 5' bakfs backup commands
expect 0 'snapshot 6' bakfs backup one-way
snapshots 6
digest()
{
	python3 "$TESTS/servers/redis_digest.py" "$1/sock" secret
}
redis_digest() { digest "$1"; }
redis_digest s-live >want

# --- killed while it sends: the save takes 20 s, and ends when it has begun
redis s-live config set rdb-key-save-delay 100000 >/dev/null
bakfs backup live >out 2>err </dev/null &
backup=$!
await $backup rdb_bgsave_in_progress:1
redis_kill s-live
status=0
wait $backup || status=$?
is $status 1
grep -Eq 'the server closed the connection (after [0-9]+ bytes|instead)' err || fail "$(cat err)"
snapshots 6
start_again
same

# --- killed while it loads: it has its old data when it is back
redis s-live config set key-load-delay 50000 >/dev/null
bakfs restore live@latest --yes >out 2>err </dev/null &
restore=$!
await $restore async_loading:1
redis_kill s-live
status=0
wait $restore || status=$?
is $status 1
grep -q 'live: ' err || fail "$(cat err)"
start_again
same

# --- we are killed while it loads: it keeps what it had, and the next one lets it go
settings()
{
	redis s-live config get 'repl-diskless-load'
	redis s-live config get 'masteruser'
	redis s-live config get 'tls-replication'
	redis s-live info replication | grep role
}
redis s-live config set masteruser 'some one' >/dev/null
settings >settings
kill_in_load()
{
	redis s-live config set key-load-delay 50000 >/dev/null
	bakfs restore live@latest --yes >out 2>err </dev/null &
	restore=$!
	await $restore async_loading:1
	kill -9 $restore
	wait $restore 2>/dev/null || true
	redis s-live config set key-load-delay 0 >/dev/null
	while [[ $(redis s-live info replication) != *master_sync_in_progress:0* ]]; do :; done
	same
	[[ $(redis s-live set a b) == READONLY* ]] || fail "it takes writes"
}
kill_in_load
expect 1 'a restore that was killed left the server a replica of 127.0.0.1:[0-9]*, so it takes no writes' \
	bakfs doctor live
expect 3 'a restore that was killed had left the server a replica of .* it is its own primary again' \
	bakfs backup live
settings | diff settings - || fail "settings"
same
expect 0 'live: well' bakfs doctor live
kill_in_load
expect 3 'it is its own primary again' bakfs restore live@latest --yes
settings | diff settings - || fail "settings"
same
redis s-live config set masteruser '' >/dev/null
# One that nobody of us made a replica is left alone.
redis s-live replicaof 127.0.0.1 1 >/dev/null
expect 1 'replica that lost its primary' bakfs backup one-way
is "$(redis s-live info replication | grep -c role:slave)" 1
redis s-live replicaof no one >/dev/null

# --- it is not reached any more when it shall copy from us
sed "s:$work/s-live/sock:$work/between:" bakfs.conf >between.conf
between() # BYTES [WORD]
{
	rm -f between
	python3 "$TESTS/servers/redis_proxy.py" "$work/between" "$work/s-live/sock" "$@" &
	proxy=$!
	while [ ! -S between ]; do kill -0 $proxy || fail "no proxy"; done
}
settings >settings
between 1000000 REPLICAOF
expect 1 'live: .*between: (no server listens|the server closed)' \
	bakfs --config between.conf restore live@latest --yes --no-safety
grep -q "settings were not put back (the next backup" out err || fail "$(cat out err)"
wait $proxy
expect 0 'snapshot' bakfs backup live
settings | diff settings - || fail "settings"
same

# --- we are killed while keys are put beside the old ones: those are found and removed. What stands
# between lets only the first of them through
between 20000
bakfs --config between.conf restore commands@latest --yes --no-safety >out 2>err </dev/null &
restore=$!
while [ "$(redis s-live -n 15 dbsize)" = 0 ] || [ "$(redis s-live -n 15 randomkey)" = bakfs-restore ]; do
	kill -0 $restore 2>/dev/null || fail "it ended: $(cat out err)"
done
expect 0 'live: well' bakfs doctor live
kill -9 $restore
wait $restore 2>/dev/null || true
while [[ $(redis s-live client list) == *bakfs-restore* ]]; do :; done
kill $proxy
expect 3 'database 15 is what a restore that was killed had brought so far' bakfs doctor live
expect 3 'database 15 had what a restore that was killed left there, and was emptied' \
	bakfs backup live
same

# --- too little memory: seen beforehand, and met on the way
redis s-live config set maxmemory 1500000 >/dev/null
expect 1 "the target's maxmemory is 1500000 bytes" bakfs restore live@latest --yes
redis s-live config set maxmemory 0 >/dev/null
same
redis s-live config set maxmemory 3000000 >/dev/null
expect 1 'maxmemory is too small for the data' bakfs restore commands@latest --yes
redis s-live config set maxmemory 0 >/dev/null
same

# --- a replica, no way back to us, a user that may not
redis s-live replicaof 127.0.0.1 1 >/dev/null
expect 1 'the target is a replica of 127.0.0.1:1' bakfs restore live@latest --yes --no-safety
redis s-live replicaof no one >/dev/null
sed "s:^restore_method = replication:&\nlisten = 192.0.2.1\ntimeout = 3s:" bakfs.conf >nowhere.conf
expect 1 'the server does not reach us at 192.0.2.1' bakfs --config nowhere.conf restore one-way@latest --yes
same
is "$(redis s-live info replication | grep -c role:master)" 1
is "$(redis s-live config get repl-diskless-load | tail -1)" disabled
redis s-live acl setuser half on '>half' '~*' '&*' +@all -replicaof >/dev/null
sed "s:^address.*:&\nuser = half:" bakfs.conf >half.conf
REDISCLI_AUTH=half expect 0 'restored with commands: .*NOPERM' bakfs --config half.conf restore live@latest --yes -v
same

# --- its disk is full: restored, and told
if [ $EUID = 0 ] && mkdir full && mount -t tmpfs -o size=64k none full 2>/dev/null; then
	redis s-live config set dir "$work/full" >/dev/null
	expect 3 "restored in the server's memory, but not on its disk" bakfs restore live@latest --yes
	redis s-live config set dir "$work/s-live" >/dev/null
	umount full
	same
fi

# --- a server that cannot read it is not touched
unset REDISCLI_AUTH
pair()
{
	local from=$1 to=$2 want=$3
	redis_need "$from" && redis_need "$to" || return 0
	redis_start "$from" s-from
	redis s-from set who from >/dev/null
	redis_start "$to" s-to
	redis s-to set who to >/dev/null
	sed "s:$work/s-live:$work/s-from:" bakfs.conf >from.conf
	sed "s:$work/s-live:$work/s-to:" bakfs.conf >to.conf
	expect 0 'snapshot' bakfs --config from.conf backup live
	if [ "$want" = fine ]; then
		expect 0 'restored' bakfs --config to.conf restore live@latest --yes
		is "$(redis s-to get who)" from
	else
		expect 1 "the target cannot read this snapshot: .*$want" \
			bakfs --config to.conf restore live@latest --yes
		is "$(redis s-to get who)" to
		is "$(redis s-to info replication | grep -c role:master)" 1
	fi
	redis_kill s-from
	redis_kill s-to
	rm -rf s-from s-to
}
pair 6.2 9.1 fine
pair 7.0 8.1 fine
pair 8.1 9.0 fine
pair 7.0 6.2 'RDB version 10, as Redis 7.0 writes it, and Redis 6.2.14 reads up to 9'
pair 9.0 8.1 'RDB version 80, as Valkey 9.0 writes it, and Valkey 8.1.8 reads up to 11'
pair 8.1 7.0 'RDB version 11, as Redis 7.2 or Valkey 7.2 to 8.1 writes it, and Redis 7.0.15 reads up to 10'
