#!/bin/bash
# Redis and Valkey as a user has them: each of the servers that can be had is filled with every type,
# saved while others write, and brought back into itself and into a fresh server; what comes back is
# compared by plain commands (tests/servers/redis_digest.py). VERSION chooses the server, KEYS how
# many small keys there are.
set -euo pipefail
. "$TESTS/servers/redis.sh"
. "$TESTS/servers/redis_data.sh"
. "$TESTS/lib/cli.sh"

version=${VERSION:?}
keys=${KEYS:-500}
ways=${WAYS:-live tcp commands}
redis_need "$version" || skip "redis or valkey $version cannot be had"
command -v redis-cli >/dev/null || skip "redis-cli is missing"
trap 'for dir in "$work"/s-*; do [ ! -f "$dir/pid" ] || redis_kill "$dir"; done; cleanup' EXIT

redis_tcp "$version" s-live || fail "no server"
redis_tcp "$version" s-fresh || fail "no server"
setup_repository <<END
[store live]
type = redis
address = $work/s-live/sock
[store tcp]
type = redis
address = 127.0.0.1:$(cat s-live/port)
[store commands]
type = redis
address = $work/s-live/sock
restore_method = commands
[store scan]
type = redis
address = $work/s-live/sock
method = scan
[store bgsave]
type = redis
address = $work/s-live/sock
method = bgsave
[mount]
restore_delay = 0
END
redis_fill s-live "$version" "$keys"
redis_digest s-live >want

# --- one moment, whatever happens meanwhile
writer()
{
	local n=0
	while redis s-live eval 'redis.call("SET", "pair:a", ARGV[1]) redis.call("SET", "pair:b", ARGV[1])
		redis.call("INCR", "written")' 0 $((n++)) >/dev/null 2>&1; do :; done
}
writer &
writer=$!
while [ "$(redis s-live exists written)" != 1 ]; do :; done
expect 0 'live: snapshot 1' bakfs backup live
expect 0 'snapshot 2' bakfs backup tcp
kill $writer
wait $writer 2>/dev/null || true
expect 0 '"method": "replication"' bakfs show 1
bakfs restore 1 --to out1 -q
check=valkey-check-rdb
[[ $version != [67].* ]] || check=redis-check-rdb
ln -s "$(redis_binary "$version")" bin/$check
bin/$check out1/dump.rdb >check 2>&1 || fail "$check: $(tail -3 check)"
cp -r out1 s-copy
redis_start "$version" s-copy
is "$(redis s-copy get pair:a)" "$(redis s-copy get pair:b)"
redis_digest s-copy | grep -v -e "b'pair:" -e "b'written'" >got
diff want got >diff || fail "another server loads something else: $(head -3 diff)"
bakfs show 1 --json >out
json '.snapshots[0].manifest.data.counts["db0 keys"]' "$(redis s-copy dbsize)"
json '.snapshots[0].manifest.data.counts["db3 keys"]' 2
redis_stop s-copy
redis s-live del pair:a pair:b written >/dev/null
redis_digest s-live | diff want - >/dev/null || fail "the data is not what it was"

# --- the other ways to save give the same
for store in scan bgsave; do
	status=0
	[ $store = bgsave ] || status=3
	expect $status "$store: snapshot" bakfs backup $store
	bakfs restore $store@latest --to out-$store -q
	cp -r out-$store s-$store
	redis_start "$version" s-$store
	redis_digest s-$store | diff want - >diff || fail "$store: $(head -3 diff)"
	redis_stop s-$store
done

# --- and back: into a server that has something else, by both ways, with its settings kept
change()
{
	redis s-live flushall >/dev/null
	redis s-live set other 1 >/dev/null
	redis s-live -n 7 set seven 7 >/dev/null
	redis_digest s-live >changed
}
settings()
{
	redis s-live config get 'repl*'
	redis s-live config get 'save'
	redis s-live info replication | grep role
}
settings >settings
for store in $ways; do
	expect 0 'snapshot' bakfs backup $store
	change
	expect 0 "$store: restored" bakfs restore $store@latest --yes -v
	grep -q 'after: [0-9]* keys in 2 databases' err || fail "not counted after"
	[ $store = commands ] || ! grep -q 'restored with commands' err || fail "not as its master: $(cat err)"
	redis_digest s-live | diff want - >diff || fail "$store: $(head -3 diff)"
	settings | diff settings - || fail "$store: settings"
	[ -s s-live/dump.rdb ] || fail "$store: not on its disk"
	expect 0 'rolled back' bakfs rollback $store --yes
	redis_digest s-live | diff changed - >diff || fail "$store: rollback: $(head -3 diff)"
	expect 0 'rolled back' bakfs rollback $store --yes
	redis_digest s-live | diff want - >diff || fail "$store: undone: $(head -3 diff)"
done

# --- into a fresh server, while others read
sed "s:$work/s-live/sock:$work/s-fresh/sock:" bakfs.conf >fresh.conf
expect 0 'live: restored' bakfs --config fresh.conf restore live@latest --yes
redis_digest s-fresh | diff want - >diff || fail "fresh: $(head -3 diff)"

# --- parts, with their times to live
redis s-fresh flushall >/dev/null
redis s-fresh set keep me >/dev/null
expect 0 'live: restored' bakfs --config fresh.conf restore live@latest --yes --key 'hash *' \
	--key-type hash --db 0
{
	grep -E "^db0 b'hash (small|large)'" want
	echo "db0 b'keep' string -1 $(grep -c . /dev/null)"
} | sort >expected
redis_digest s-fresh | grep -v ^function | sed "s/\(b'keep'.* -1\) .*/\1 0/" | sort |
	diff expected - >diff || fail "part: $(cat diff)"
expect 0 'live: restored' bakfs --config fresh.conf restore live@latest --yes --db 3
is "$(redis s-fresh -n 3 dbsize)" 2
is "$(redis s-fresh get keep)" me
expect 1 'the snapshot has no such key' bakfs --config fresh.conf restore live@latest --yes \
	--key nothing
expect 1 'it is string, list' bakfs --config fresh.conf restore live@latest --yes --key-type x
