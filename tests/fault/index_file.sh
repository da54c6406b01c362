#!/bin/bash
# The index is a cache: deleted, cut, garbage, of nobody, locked, without space, taken away while in
# use: nothing is lost, and what is wrong is said in clear words or mended.
set -eu
. "$TESTS/lib/cli.sh"
. "$TESTS/lib/faults.sh"
command -v sqlite3 >/dev/null || skip "sqlite3 is missing"
setup_repository <<-END
	[store src]
	type = files
	path = src
	[store slow]
	type = command
	dump = cat $work/pipe
	filename = numbers
END
mkdir src
mkfifo pipe
seq 1 50000 >src/numbers
head -c 200000 /dev/urandom >src/noise
expect 0 'snapshot 1' bakfs backup src
index=$(ls -d home/cache/bakfs/*)/index.sqlite
n=1

# Whatever it is now: all works.
all_works()
{
	is "$(bakfs cat 1 numbers | sha256sum)" "$(seq 1 50000 | sha256sum)"
	n=$((n + 1))
	echo $n >src/n
	expect 0 "snapshot $n" bakfs backup src
	expect 0 good bakfs check
}

rm "$index"
all_works
rm -rf home/cache
all_works
size=$(stat -c %s "$index")
for cut in 0 1 99 100 4096 $((size / 2)) $((size - 1)); do
	truncate -s "$cut" "$index"
	all_works
done
head -c 100000 /dev/urandom >"$index"
all_works
for at in 20 5000 20000 40000; do # in the middle of pages
	head -c 300 /dev/urandom | dd of="$index" bs=1 seek=$at conv=notrunc status=none
	bakfs list >/dev/null 2>err || grep -q 'bakfs reindex' err || fail "$(cat err)"
	expect 0 . bakfs reindex
	all_works
done
rm "$index"
mkdir "$index"
expect 1 "^bakfs: .*index.sqlite" bakfs list
is "$(wc -l <err)" 1
rmdir "$index"
all_works
sqlite3 "$index" 'DELETE FROM packs; DELETE FROM snapshots; DELETE FROM segments;'
all_works
sqlite3 "$index" 'PRAGMA user_version = 999;'
all_works
rm -f "$index"-wal "$index"-shm
head -c 40000 /dev/urandom >"$index-wal"
all_works

# No space for it: said so; the repository is as it was.
expect 1 '^bakfs: .*index.*(full|space|I/O)' \
	$(fault under="$work/home/cache" kinds=wnt at=1 sticky=1 error=ENOSPC) bakfs backup src
all_works

# Locked by somebody who writes: waited for.
mkfifo sql answers
sqlite3 "$index" <sql >answers 2>&1 &
exec 6>sql 7<answers
echo "BEGIN IMMEDIATE; SELECT 'locked';" >&6
read -r answer <&7
is "$answer" locked
expect 0 STAMP bakfs list # reading needs no lock
echo waits >src/n
bakfs backup src >waiting 2>&1 6>&- 7<&- </dev/null &
echo "COMMIT;" >&6
exec 6>&- 7<&-
wait $! || fail "$(cat waiting)"
n=$((n + 1))
grep -q "snapshot $n" waiting

trap '' PIPE
# Taken away, cut and replaced while a backup is at work.
for harm in 'rm -f "$index" "$index"-wal "$index"-shm' 'rm -rf home/cache' 'truncate -s 5000 "$index"' \
	'bakfs -q reindex'; do
	bakfs backup slow >held 2>&1 </dev/null &
	exec 5>pipe
	seq 1 100000 >&5 || :
	eval "$harm"
	seq 100001 400000 2>/dev/null >&5 || : # it may have given up
	exec 5>&-
	status=0
	wait $! || status=$?
	if [ $status = 0 ]; then
		is "$(bakfs cat slow@latest numbers | sha256sum)" "$(seq 1 400000 | sha256sum)"
		n=$((n + 1))
	else
		grep -q '^bakfs: .*index' held || fail "$harm: $(cat held)"
	fi
	all_works
done
expect 0 . bakfs verify
