#!/bin/bash
# What goes wrong with Qdrant, made to go wrong by a server that does as it is told: each with its
# message, nothing recorded as a good snapshot, nothing left on the server, and it as it was before.
set -euo pipefail
. "$TESTS/servers/qdrant.sh"
. "$TESTS/lib/cli.sh"
unset BAKFS_TEST_QDRANT

qdrant_live
setup_repository < <(
	qdrant_store live 'mode = snapshot' 'timeout = 10s'
	qdrant_store auto 'exclude = bare'
	printf '[store none]\ntype = qdrant\nurl = http://127.0.0.1:1\n'
)
qdrant s-live fill books 40
qdrant s-live fill bare 10
qdrant s-live alias library books

look()
{
	qdrant s-live look library bare
}

# again [OPTION...]: the server once more, without faults.
again()
{
	qdrant_kill s-live
	rm -f s-live/faults
	qdrant_start s-live "$@"
}

# snapshots N: so many there are.
snapshots()
{
	is "$(bakfs list --json | jq '.snapshots | length')" "$1"
}

# untouched: no snapshot more, the server as it was, the contract kept.
untouched()
{
	snapshots "$good"
	rm -f s-live/faults
	look | diff want - >diff || fail "it changed: $(cat diff)"
	qdrant_honest s-live
}

# --- nobody there, or not for us
expect 1 'Qdrant does not answer at http://127.0.0.1:1: Failed to connect' bakfs backup none
expect 0 'snapshot 1' bakfs backup live
look >want
good=1
again --key secret --read-key reader
export QDRANT_KEY=secret
expect 1 'it asks for a password: set password_file, status 401: Must provide an API key' \
	bakfs backup live
printf 'wrong\n' >key-file
sed "s:^url = .*:&\npassword_file = $work/key-file:" bakfs.conf >key.conf
expect 1 'does not accept the user or password, status 401: Invalid API key or JWT' \
	bakfs --config key.conf backup live
! grep -q wrong out err || fail "the key is told"
echo reader >key-file
expect 1 'it does not allow this, status 403: Forbidden' bakfs --config key.conf backup live
untouched
expect 3 'books: saved point by point, not as of one moment, as its snapshot failed: .*403' \
	bakfs --config key.conf backup auto
good=2
expect 1 'status 403: Forbidden' bakfs --config key.conf restore 1 --only books.snapshot --yes
! grep 'could not be deleted' err || fail "nothing was left"
expect 3 'this key may not restore' bakfs --config key.conf doctor auto
echo secret >key-file
expect 0 'snapshot 3' bakfs --config key.conf backup live
good=3
unset QDRANT_KEY
again
untouched

# --- a snapshot that cannot be made: the server says why, or another way is taken
disk='507 Insufficient storage: no space left on device'
words="500 Service internal error: failed to iterate over archive"
qdrant_fault s-live POST .*/snapshots 1 later
qdrant_fault s-live POST .*/snapshots 1 status "$words"
expect 1 "collection books: .*status ${words%% *}: ${words#* }" bakfs backup live
untouched
qdrant_fault s-live POST .*/snapshots 1 status "$disk"
expect 1 "collection books: .*status ${disk%% *}: ${disk#* }" bakfs backup live
untouched
# Points that come and go while they are read one by one, or are not to be had.
qdrant_fault s-live POST .*/snapshots 1 status "$disk"
qdrant_fault s-live POST .*/scroll 1 short
expect 3 'books: saved point by point.*507: Insufficient storage' bakfs backup auto
grep -q 'books has 40 points, and 39 were read: others wrote meanwhile' err || fail "$(cat err)"
good=4
untouched
# It failed once, and the second time it does not.
qdrant_fault s-live POST .*/snapshots 1 later
expect 0 'snapshot 5' bakfs backup live
good=5
untouched

# --- too much to do: it is asked again, but not for ever
qdrant_fault s-live POST .*/snapshots 2 status 429 Rate limiting exceeded
qdrant_fault s-live GET .*/snapshots 2 status 429 Rate limiting exceeded
expect 0 'snapshot 6' bakfs backup live
good=6
qdrant_fault s-live POST .*/snapshots 9 status 429 Rate limiting exceeded
expect 1 'it has too much to do, status 429: Rate limiting exceeded' bakfs backup live
untouched

# --- connections cut in every phase of a backup, which is not tried for long
sed 's:^timeout = 10s:timeout = 1s:' bakfs.conf >cut.conf
for phase in 'GET /' 'GET /collections' 'GET /aliases' 'GET /collections/b[a-z]*' \
	'POST .*/count' 'DELETE .*/bakfs-may-i' 'GET .*/snapshots' 'GET .*/snapshots/.*'; do
	qdrant_fault s-live $phase 99 cut
	expect 1 'lost|does not answer|too slow' bakfs --config cut.conf backup live
	untouched
done
# Asked twice, and no answer; then nobody can say whether there is one.
qdrant_fault s-live POST .*/snapshots 2 cut
qdrant_fault s-live GET /telemetry 1 body 99999
qdrant_fault s-live GET /telemetry 1 die-body 99999
expect 1 'a snapshot of books that was asked for may lie on the server' \
	bakfs --config cut.conf backup live
again
untouched
# Whether a snapshot is being made is looked at where the answer is lost.
qdrant_fault s-live POST .*/snapshots 1 deaf
qdrant_fault s-live GET .*/snapshots/.* 2 body 30000
expect 0 'snapshot 7' bakfs backup auto
good=7
bakfs restore 7 --to out7 -q
python3 -c 'import sys, tarfile
print(*sorted(tarfile.open(sys.argv[1]).getnames())[:2])' out7/books.snapshot >names
grep -q '0/replica_state.json' names || fail "not whole: $(cat names)"
untouched
# An answer that began well says as little as none: the snapshot is waited for.
qdrant_fault s-live POST .*/snapshots 1 body 5
expect 0 'snapshot 8' bakfs backup auto
good=8
untouched

# --- what comes is not what was made
qdrant_fault s-live GET .*/snapshots/.* 1 flip
expect 1 'is not what the server made: its SHA-256 is|came is damaged' bakfs backup live
untouched

# --- restarted in mid-backup: it goes on; gone for good: it says what is left
revive()
{
	{
		while kill -0 "$(cat s-live/pid)" 2>/dev/null; do
			read -rt 0.02 <> <(:) || :
		done
		rm -f s-live/faults
		python3 -S "$TESTS/servers/qdrant_fake.py" s-live >/dev/null 2>&1 &
		echo $! >s-live/pid
	} &
}
for what in 'GET .*/snapshots 1 die' 'GET .*/snapshots/.* 1 die-body 20000'; do
	qdrant_fault s-live $what
	revive
	expect 0 'snapshot' bakfs backup live
	good=$((good + 1))
	wait $!
	untouched
	again
done
qdrant_fault s-live GET .*/snapshots/.* 1 die-body 20000
expect 1 'does not answer|is left on the server, delete it' bakfs --config cut.conf backup live
grep -q 'is left on the server, delete it there' out err || fail "not told: $(cat err)"
again
rm -rf s-live/snapshots
untouched

# --- stopped while the server makes one: it is deleted when it comes
mkfifo s-live/go
qdrant_fault s-live POST .*/snapshots 1 slow
bakfs backup live >out 2>err </dev/null &
backup=$!
until [ -e s-live/held ]; do kill -0 $backup || fail "$(cat err)"; read -rt 0.02 <> <(:) || :; done
kill -INT $backup
: >s-live/go
status=0
wait $backup || status=$?
[ $status != 0 ] || fail "it went on"
untouched

# --- our own disk is full
if [ $EUID = 0 ] && mkdir mnt-full && mount -t tmpfs -o size=240k none mnt-full 2>/dev/null; then
	sed "s:^path = .*:path = $work/mnt-full/repo:; s:^mode = .*:&\ncollection = big:" bakfs.conf >full.conf
	qdrant s-live fill big 2000 32
	bakfs --config full.conf init -q
	expect 1 'no space left: [0-9]{5,} bytes' bakfs --config full.conf backup live
	is "$(qdrant s-live snapshots)" ''
	qdrant s-live drop big
	umount mnt-full
	untouched
fi

# --- restores that fail before anything is seen: nothing is left
restore=(bakfs restore 1 --only books.snapshot --yes)
up='POST .*/snapshots/upload'
for what in "read 20000|lost" "cut|lost" "deaf|lost" "$(echo status $disk)|507: Insufficient storage" \
	"status 400 Checksum mismatch: expected a, actual b|400: Checksum mismatch" \
	"status 500 Service internal error: failed to unpack|500: .*failed to unpack" \
	"break Service internal error: panicked|500: .*panicked"; do
	qdrant_fault s-live $up 1 ${what%|*}
	expect 1 "${what##*|}" "${restore[@]}"
	! grep 'could not be deleted' err || fail "nothing was left"
	untouched
done
qdrant_fault s-live $up 9 status 429 Rate limiting exceeded
expect 1 'too much to do, status 429' "${restore[@]}"
untouched
qdrant_fault s-live $up 1 status 429 Rate limiting exceeded
qdrant_fault s-live 'POST .*/count' 1 status 500 broken
expect 1 '500: broken' "${restore[@]}"
untouched
qdrant_fault s-live $up 1 die
revive
expect 1 'lost|does not answer' "${restore[@]}"
wait $!
untouched
again

# --- the aliases: half of them changed over, or nobody knows
qdrant s-live alias second books
look >want
swap='POST /collections/aliases'
qdrant_fault s-live $swap 1 half
expect 1 'the aliases lead where they led before: .*stopped half-way' "${restore[@]}"
untouched
qdrant_fault s-live $swap 1 cut
expect 1 'the aliases lead where they led before: .*lost' "${restore[@]}"
untouched
qdrant_fault s-live $swap 1 half
qdrant_fault s-live $swap 9 status 500 no more
expect 1 'the aliases could not be led back' "${restore[@]}"
grep -q 'is kept: aliases may lead to it' out err || fail "$(cat out err)"
rm -f s-live/faults
qdrant s-live alias library books
qdrant s-live alias second books
qdrant s-live drop $(qdrant s-live collections | grep bakfs)
untouched
qdrant_fault s-live $swap 1 deaf
expect 0 'live: restored' "${restore[@]}"
expect 0 'rolled back' bakfs rollback live --yes
qdrant s-live drop $(qdrant s-live collections | grep bakfs)
untouched

# --- in place, and it breaks on the way: what was there is back
qdrant s-live change bare 1 5
qdrant s-live change library 1 5
look >want
for phase in "POST .*/bare/snapshots/upload 1 break Service internal error: panicked" \
	"POST .*/bare/snapshots/upload 1 read 10000"; do
	qdrant_fault s-live $phase
	expect 1 'failed, and what was there is back' bakfs restore 1 --yes
	good=$((good + 1)) # the one before the restore
	untouched
done

# --- versions, clusters: refused before anything is sent
changes()
{
	wc -l <s-live/changes
}
refuse()
{
	local status=$1 words=$2 before
	shift 2
	again "$@"
	before=$(changes)
	expect "$status" "$words" bakfs restore 1 --only books.snapshot --yes
	is "$(changes)" "$before"
	untouched
}
refuse 1 'made by Qdrant 1.18.2, and 1.17.1 .* is older: it cannot read it; upgrade' --version 1.17.1
refuse 1 'only the next minor version is sure to read it.*any_version = yes' --version 1.20.0
refuse 1 'one of a cluster of 3' --peers 3
again --version 1.20.0
sed 's:^url.*:&\nany_version = yes:' bakfs.conf >any.conf
expect 0 'live: restored' bakfs --config any.conf restore 1 --only books.snapshot --yes
again --version 1.19.0
expect 0 'live: restored' bakfs restore 1 --only books.snapshot --yes
again --version 1.7.4
expect 1 'before 1.8 gives no checksums' bakfs backup live
expect 0 'auto: snapshot' bakfs backup auto
again --peers 2
expect 1 'one of a cluster' bakfs backup live
expect 3 'one of a cluster of 2' bakfs doctor auto
