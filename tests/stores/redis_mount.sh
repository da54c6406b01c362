#!/bin/bash
# Redis through the mount: a server starts on what cp takes out; an RDB file copied to /restore is
# restored, whichever server made it, and one that is cut off or damaged is refused.
set -euo pipefail
. "$TESTS/servers/redis.sh"
. "$TESTS/servers/redis_data.sh"
. "$TESTS/lib/cli.sh"

need_fuse
redis_need 7.0 || skip "redis 7.0 cannot be had"
command -v redis-cli >/dev/null || skip "redis-cli is missing"
trap 'for dir in "$work"/s-*; do [ ! -f "$dir/pid" ] || redis_kill "$dir"; done; cleanup' EXIT

redis_start 7.0 s-live
redis_fill s-live 7.0 300
redis_digest s-live >want
setup_repository <<END
[store live]
type = redis
address = $work/s-live/sock
[mount]
restore_delay = 0
END
# done JOBS: so many have ended, and the last one well.
jobs_done()
{
	local end=$((SECONDS + 30))
	until [ "$(grep -c . $room/log)" != 0 ] && [ "$(grep -c ' done$' $room/log)" = "$1" ]; do
		[ $SECONDS -lt $end ] || fail "job $1: $(cat $room/status; tail -5 $room/log)"
	done
}

expect 0 'snapshot 1' bakfs backup live
mkdir mnt
bakfs mount mnt
room=mnt/restore/live

# --- out of it
(cd mnt/latest && sha256sum --quiet -c live.sha256)
redis-check-rdb mnt/latest/live/dump.rdb >check || fail "$(tail -3 check)"
mkdir s-copy
cp mnt/latest/live/dump.rdb s-copy/
redis_start 7.0 s-copy
redis_digest s-copy | diff want - >diff || fail "another server: $(head -3 diff)"
redis s-copy set of-the-copy 1 >/dev/null
redis s-copy save >/dev/null
redis_digest s-copy >copied

# --- into it: a file that another server wrote
cp s-copy/dump.rdb $room/
jobs_done 1
redis_digest s-live | diff copied - >diff || fail "upload: $(head -3 diff)"
touch $room/rollback
jobs_done 2
redis_digest s-live | diff want - >diff || fail "rollback: $(head -3 diff)"
redis s-live flushall >/dev/null
touch $room/latest
jobs_done 3
redis_digest s-live | diff want - >diff || fail "latest: $(head -3 diff)"

# --- refused, by the exit status of cp
head -c 5000 s-copy/dump.rdb >cut.rdb
{ head -c 4000 s-copy/dump.rdb; printf x; tail -c +4002 s-copy/dump.rdb; } >damaged.rdb
for bad in cut.rdb damaged.rdb want; do
	! cp $bad $room/ 2>err || fail "$bad was accepted"
	grep -Eq 'checksum|not an RDB' $room/status || fail "$bad: $(cat $room/status)"
	rm -f $room/$bad
done
# Without a checksum it is taken when it is touched, if it can be parsed to its end.
redis s-copy config set rdbcompression no >/dev/null
redis_stop s-copy
redis_start 7.0 s-copy 'rdbchecksum no'
redis s-copy save >/dev/null
cp s-copy/dump.rdb $room/plain.rdb
redis_digest s-live | diff want - >/dev/null || fail "restored without a proof"
touch $room/plain.rdb
jobs_done 4
redis_digest s-live | diff copied - >diff || fail "no checksum: $(head -3 diff)"
head -c -12 s-copy/dump.rdb >plain-cut.rdb
cp plain-cut.rdb $room/ 2>err || true
touch $room/plain-cut.rdb 2>err || true
cat $room/wait >out 2>&1 || true
redis_digest s-live | diff copied - >diff || fail "a part was restored"
umount mnt
