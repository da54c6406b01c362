#!/bin/bash
# Qdrant through the mount: a server takes what cp takes out; a snapshot file copied to /restore is
# restored by itself, one that is cut off or something else is refused, and consent is asked for.
set -euo pipefail
. "$TESTS/servers/qdrant.sh"
. "$TESTS/lib/cli.sh"

need_fuse
qdrant_live
setup_repository < <(
	qdrant_store live
	qdrant_store forced 'collection = bare' 'restore = force'
	printf '[mount]\nrestore_delay = 0\n'
)
qdrant s-live fill books 300
qdrant s-live fill bare 20
qdrant s-live alias library books
qdrant s-live digest library bare >want
expect 0 'snapshot 1' bakfs backup live
mkdir mnt
bakfs mount mnt
room=mnt/restore/live
forced=mnt/restore/forced

# job ROOM NUMBER RESULT [WORDS]: its NUMBERth ends so.
job()
{
	local ends='Z (done|failed)(:|$)'
	until [ "$(grep -cE "$ends" "$1/log")" -ge "$2" ]; do
		read -rt 0.05 <> <(:) || :
	done
	grep -E "$ends" "$1/log" | tail -1 | grep -q "Z $3.*${4-}" || fail "$3 expected: $(tail -3 "$1/log")"
}

# --- out of it
(cd mnt/latest && sha256sum --quiet -c live.sha256)
curl -fsS -X POST "$(qdrant_url s-live)/collections/copy/snapshots/upload?priority=snapshot" \
	-F snapshot=@mnt/latest/live/books.snapshot >/dev/null
is "$(qdrant s-live digest copy)" "$(head -1 want)"
qdrant s-live drop copy

# --- into it
cp mnt/latest/live/books.snapshot .
qdrant s-live change books 0.5 3
cp books.snapshot $room/
job $room 1 'done'
qdrant s-live digest library bare | diff want - >diff || fail "upload: $(cat diff)"
touch $room/rollback
job $room 2 'done'
is "$(qdrant s-live aliases)" 'library books'
! qdrant s-live digest library bare | diff -q want - >/dev/null || fail "not rolled back"
# As servers name them, and a part of a snapshot.
cp books.snapshot $room/books-6502343254892175-2026-11-21-14-02-12.snapshot
job $room 3 'done'
qdrant s-live digest library bare | diff want - >diff || fail "its own name: $(cat diff)"
qdrant s-live change library 0.5 4
mkdir -p $room/$(basename "$(readlink mnt/by-store/live/latest)")
touch $room/$(basename "$(readlink mnt/by-store/live/latest)")/books.snapshot
job $room 4 'done'
qdrant s-live digest library bare | diff want - >diff || fail "a part: $(cat diff)"

# --- only with consent
qdrant s-live change bare 0.5 5
touch $room/latest
job $room 5 failed 'used by its own name, no alias leads to it'
cp mnt/latest/live/bare.snapshot $forced/
job $forced 1 'done'
qdrant s-live digest library bare | diff want - >diff || fail "in place: $(cat diff)"

# --- damaged inside: the server finds that, and nothing is left there
qdrant s-live look library bare >want-all
mkdir damaged
python3 - books.snapshot damaged/books.snapshot <<'END'
import sys, tarfile
data = bytearray(open(sys.argv[1], "rb").read())
for entry in tarfile.open(sys.argv[1]):
    if entry.name.startswith("0/segments/"):
        data[entry.offset_data + 10] ^= 0xff  # the archive in it begins with a name
open(sys.argv[2], "wb").write(data)
END
cp damaged/books.snapshot $room/
job $room 6 failed 'status 500'
qdrant s-live look library bare | diff want-all - >diff || fail "damaged: $(cat diff)"
is "$(find s-live -name 'bakfs-*')" ''

# --- refused, by the exit status of cp
head -c 20000 books.snapshot >cut.snapshot
head -c 20000 /dev/urandom >noise.snapshot
for bad in cut noise; do
	! cp $bad.snapshot $room/ 2>err || fail "$bad was accepted"
	grep -Eq 'cut off|no tar archive' $room/status || fail "$bad: $(cat $room/status)"
	rm -f $room/$bad.snapshot
done
cp books.snapshot $forced/
job $forced 2 failed "none of this store's"
qdrant s-live digest library bare | diff want - >diff || fail "refused: $(cat diff)"
is "$(qdrant s-live snapshots)" ''
umount mnt
