#!/bin/bash
# Some databases of a Redis server: saved as a file that servers and their tools accept, whichever
# way it is saved, and brought back without touching the others.
set -euo pipefail
. "$TESTS/servers/redis.sh"
. "$TESTS/servers/redis_data.sh"
. "$TESTS/lib/cli.sh"

redis_need 7.0 || skip "redis 7.0 cannot be had"
command -v redis-cli >/dev/null || skip "redis-cli is missing"
trap 'for dir in "$work"/s-*; do [ ! -f "$dir/pid" ] || redis_kill "$dir"; done; cleanup' EXIT

redis_start 7.0 s-live
redis_fill s-live 7.0 200
for db in 5 9; do
	redis s-live -n $db mset a$db 1 b$db 2 >/dev/null
	redis s-live -n $db expire b$db 100000 >/dev/null
done
setup_repository <<END
[store some]
type = redis
address = $work/s-live/sock
databases = 3
databases = 5
databases = 7
[store all]
type = redis
address = $work/s-live/sock
[store bgsave]
type = redis
address = $work/s-live/sock
databases = 0
method = bgsave
[store scan]
type = redis
address = $work/s-live/sock
databases = 0
method = scan
[store bad]
type = redis
address = $work/s-live/sock
databases = cache
[mount]
restore_delay = 0
END
redis_digest s-live >before
digest() { redis_digest s-live | grep -E "^($1) " || true; }

# --- each way: a file that holds these alone
expect 1 'databases: "cache" is not a number' bakfs backup bad
for store in some bgsave scan; do
	dbs='db0|function' n=$(grep -Ec '^db0 ' before)
	[ $store != some ] || dbs='db3|db5|function' n=4
	status=0
	[ $store != scan ] || status=3
	expect $status "$store: snapshot" bakfs backup $store
	bakfs restore $store@latest --to out-$store -q
	redis-check-rdb out-$store/dump.rdb >check || fail "$store: $(tail -3 check)"
	cp -r out-$store s-$store
	redis_start 7.0 s-$store
	redis_digest s-$store >got
	grep -E "^($dbs) " before | diff - got >diff || fail "$store: $(head -3 diff)"
	redis_kill s-$store
	bakfs show $store@latest --json >out
	json '[.snapshots[0].manifest.data.counts | to_entries[] | select(.key != "functions").value] | add' $n
done
json '.snapshots[0].manifest.data.databases | join(" ")' 0
bakfs show some@latest --json >out
json '.snapshots[0].manifest.data.databases | join(" ")' '3 5 7'

# --- back: 3 and 5 as they were, 7 empty as it was, 0 and 9 and functions as they are now
change()
{
	redis s-live -n 3 flushdb >/dev/null
	redis s-live -n 5 set other 1 >/dev/null
	redis s-live -n 7 set seven 1 >/dev/null
	redis s-live -n 0 set zero 1 >/dev/null
	redis s-live -n 9 set nine 1 >/dev/null
	redis s-live function load replace '#!lua name=third
redis.register_function("third", function() return 3 end)' >/dev/null
}
change
digest 'db0|db9|function' >others
redis_digest s-live >changed
expect 0 'some: restored' bakfs restore some@latest --yes -v
grep -q 'restored with commands: other databases stay as they are' err || fail "$(cat err)"
digest 'db3|db5|db7' >got
grep -E '^db[357] ' before | diff - got >diff || fail "$(head -3 diff)"
digest 'db0|db9|function' | diff others - >diff || fail "others: $(head -3 diff)"
expect 0 'rolled back' bakfs rollback some --yes
redis_digest s-live | diff changed - >diff || fail "rollback: $(head -3 diff)"

# --- out of a snapshot of all, and of an upload, these alone; a snapshot of some, into all, likewise
expect 0 'all: snapshot' bakfs backup all
redis s-live -n 3 set more 1 >/dev/null
digest 'db0|db9|function' >others
sed 's:\[store some\]:[store x]:; s:\[store all\]:[store some]:; s:\[store x\]:[store all]:' bakfs.conf >swapped.conf
expect 0 'all: restored' bakfs --config swapped.conf restore all@latest --yes
digest 'db3|db5|db7' >got
grep -E '^db[357] ' changed | diff - got >diff || fail "of all: $(head -3 diff)"
digest 'db0|db9|function' | diff others - >diff || fail "of all, others: $(head -3 diff)"
expect 0 'some: restored' bakfs --config swapped.conf restore some@latest --yes
digest 'db3|db5|db7' >got
grep -E '^db[357] ' changed | diff - got >diff || true
digest 'db0|db9|function' | diff others - >diff || fail "into all, others: $(head -3 diff)"
sed 's:databases = 7:&\nrestore_method = replication:' bakfs.conf >replication.conf
redis_digest s-live >now
expect 1 'other databases stay as they are, so it cannot be restored by replication' \
	bakfs --config replication.conf restore some@latest --yes
redis_digest s-live | diff now - >diff || fail "refused, and changed: $(head -3 diff)"
if [ -c /dev/fuse ] && bakfs --version | grep -q 'mount through FUSE'; then
	redis s-live save >/dev/null
	redis s-live -n 5 set later 1 >/dev/null
	digest 'db0|db9|function' >others
	redis_digest s-live >now
	mkdir mnt
	bakfs mount mnt
	cp out-bgsave/dump.rdb mnt/restore/some/zero.rdb
	cat mnt/restore/some/wait >out 2>&1 || true
	grep -q 'it has keys, but none in the databases of this store' out || fail "$(cat out)"
	redis_digest s-live | diff now - >diff || fail "foreign: $(head -3 diff)"
	cp s-live/dump.rdb mnt/restore/some/all.rdb
	cat mnt/restore/some/wait >out 2>&1 || true
	is "$(redis s-live -n 5 exists later)" 0
	digest 'db0|db9|function' | diff others - >diff || fail "upload, others: $(head -3 diff)"
	umount mnt
fi
