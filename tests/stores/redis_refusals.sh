#!/bin/bash
# Disks that are full, files of a newer server, a server that still loads or lets in nobody: each with
# its message, nothing recorded as good, and the server as it was.
set -euo pipefail
. "$TESTS/servers/redis.sh"
. "$TESTS/servers/redis_data.sh"
. "$TESTS/lib/cli.sh"

redis_need 7.0 || skip "redis 7.0 cannot be had"
command -v redis-cli >/dev/null || skip "redis-cli is missing"
trap 'for dir in "$work"/s-*; do [ ! -f "$dir/pid" ] || redis_kill "$dir"; done
	umount "$work/full" "$work/repo" 2>/dev/null || true; cleanup' EXIT

disk()
{
	[ $EUID = 0 ] && mkdir -p "$1" && mount -t tmpfs -o size="$2" none "$1" 2>/dev/null
}
same()
{
	redis_digest s-live | diff want - >diff || fail "it changed: $(head -3 diff)"
}

redis_start 7.0 s-live
redis_fill s-live 7.0 200
redis_digest s-live >want

# --- the repository's disk is full while the server sends
if disk repo 400k; then
	setup_repository <<-END
		[store live]
		type = redis
		address = $work/s-live/sock
	END
	expect 1 'live: no space left: .* did not fit' bakfs backup live
	expect 0 'good' bakfs check
	bakfs list --json >out
	json '.snapshots | length' 0
	same
	is "$(redis s-live client list type replica | wc -l)" 0
	umount repo
	rm -rf repo key home/cache
fi
setup_repository <<END
[store live]
type = redis
address = $work/s-live/sock
[store newer]
type = redis
address = $work/newer
timeout = 5s
[mount]
restore_delay = 0
END
expect 0 'live: snapshot' bakfs backup live

# --- the disk of the append-only file is full: restored, and told
if disk full 300k; then
	redis_start 7.0 s-aof "dir $work/full" 'appendonly yes'
	sed "s:$work/s-live/sock:$work/s-aof/sock:" bakfs.conf >aof.conf
	expect 3 "restored in the server's memory, but not on its disk: .*append-only file" \
		bakfs --config aof.conf restore live@latest --yes
	redis_digest s-aof | diff want - >diff || fail "aof: $(head -3 diff)"
	is "$(redis s-aof info replication | grep -c role:master)" 1
	redis_kill s-aof
	umount full
fi

# --- a file of a server that is newer than anything known: kept as a whole, given to none that is older
python3 - newer.rdb <<'END'
import sys
data = b"REDIS0099\xfa\x09redis-ver\x0599.0.\xfe\x00\xa0something new"
crc = 0
for byte in data + b"\xff":
    crc ^= byte
    for _ in range(8):
        crc = crc >> 1 ^ (0x95ac9329ac4bc9b5 if crc & 1 else 0)
open(sys.argv[1], "wb").write(data + b"\xff" + crc.to_bytes(8, "little"))
END
python3 "$TESTS/servers/redis_peer.py" "$work/newer" "file:$work/newer.rdb" &
peer=$!
while [ ! -S newer ]; do kill -0 $peer || fail "no peer"; done
expect 3 'RDB version 99 has records that bakfs does not know: saved whole' bakfs backup newer
kill $peer
bakfs restore newer@latest --to out-newer -q
cmp newer.rdb out-newer/dump.rdb
sed "s:$work/newer:$work/s-live/sock:" bakfs.conf >older.conf
expect 1 'cannot read this snapshot: it is RDB version 99, as a Redis newer than 8.0 writes it, and Redis 7.0' \
	bakfs --config older.conf restore newer@latest --yes
same
sed "s:$work/newer:&\ndatabases = 0:" bakfs.conf >databases.conf
rm -f newer
python3 "$TESTS/servers/redis_peer.py" "$work/newer" "file:$work/newer.rdb" &
peer=$!
while [ ! -S newer ]; do kill -0 $peer || fail "no peer"; done
expect 1 'databases cannot be taken out: save all of them' bakfs --config databases.conf backup newer
kill $peer
wait $peer 2>/dev/null || true
if [ -c /dev/fuse ] && bakfs --version | grep -q 'mount through FUSE'; then
	mkdir mnt
	bakfs mount mnt
	cp newer.rdb mnt/restore/live/
	cat mnt/restore/live/wait >out 2>&1 || true
	grep -q 'cannot read this snapshot: it is RDB version 99' out || fail "$(cat out)"
	umount mnt
	same
fi

# --- it is still loading: it answers after some thirty keys each time
redis s-live eval 'for i = 1, 6000 do redis.call("SET", "x" .. i, i) end' 0 >/dev/null
redis_digest s-live >want
redis s-live save >/dev/null
redis_kill s-live
printf '%s\n' 'key-load-delay 5000' 'loading-process-events-interval-bytes 1024' >>s-live/conf
redis-server s-live/conf >/dev/null 2>&1 &
echo $! >s-live/pid
while [[ $(redis s-live ping 2>&1) != LOADING* ]]; do
	kill -0 "$(cat s-live/pid)" || fail "no server"
done
expect 1 'still loading its data, try again .LOADING' bakfs backup live
expect 1 'still loading its data, try again .LOADING' bakfs restore live@latest --yes
redis s-live config set key-load-delay 0 >/dev/null
while [[ $(redis s-live ping 2>&1) != PONG ]]; do kill -0 "$(cat s-live/pid)" || fail "no server"; done
same
expect 0 'live: snapshot' bakfs backup live

# --- protected mode: only where this machine has an address that is not its loopback's
outside=$(hostname -I 2>/dev/null | tr ' ' '\n' | grep -m 1 '^[0-9.]*$' || true)
if [ "$outside" ]; then
	port=$((20000 + RANDOM % 12000))
	redis_start 7.0 s-open 'bind *' "port $port" || fail "no server"
	cat >>bakfs.conf <<-END
		[store open]
		type = redis
		address = $outside:$port
	END
	expect 1 'protected mode lets in nobody from other machines .DENIED' bakfs backup open
fi
