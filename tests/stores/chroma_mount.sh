#!/bin/bash
# ChromaDB through the mount: a server starts on the folder that cp takes out; an export or a folder
# copied to /restore is restored by touch, and refused as a whole when any of it is wrong.
set -euo pipefail
. "$TESTS/servers/chroma.sh"
. "$TESTS/lib/cli.sh"

need_fuse
chroma_need || skip "Chroma cannot be had"
trap 'for dir in "$work"/s-*; do chroma_kill "$dir"; done; cleanup' EXIT

chroma_start s-live || fail "no server"
live=$(chroma_url s-live)
chroma_data fill "$live" books 250 16
chroma_data fill "$live" notes 20 4
chroma_data digest "$live" >want
setup_repository <<END
[store api]
type = chroma
url = $live
[store folder]
type = chroma
mode = directory
path = $work/s-live/data
[mount]
restore_delay = 0
END
expect 0 'snapshot 1' bakfs backup api
expect 0 'snapshot 2' bakfs backup folder
mkdir mnt
bakfs mount mnt

# ended ROOM N STATE: so many jobs have ended, the last one so.
ended()
{
	local end=$((SECONDS + 120))
	until [ "$(grep -Ec ' (done|failed: .*)$' "$1/log")" = "$2" ]; do
		[ $SECONDS -lt $end ] || fail "job $2: $(cat "$1/status"; tail -5 "$1/log")"
		read -rt 0.05 <> <(:) || :
	done
	grep -E ' (done|failed: .*)$' "$1/log" | tail -1 | grep -Eq "$3" || fail "$(tail -5 "$1/log")"
}

same()
{
	chroma_data digest "$live" | diff "$1" - >diff || fail "$2: $(head -5 diff | cut -c1-200)"
}

# --- out of it
for store in api folder; do
	(cd mnt/latest && sha256sum --quiet -c $store.sha256)
done
chroma_data files mnt/latest/api | diff want - >diff || fail "export: $(head -3 diff)"
mkdir s-copy
cp -a mnt/latest/folder s-copy/data
chroma_start s-copy || fail "no server on the copy: $(tail -3 s-copy/log)"
chroma_data digest "$(chroma_url s-copy)" | diff want - >diff || fail "copy: $(head -3 diff)"
# Holes are kept.
chroma_data fill "$(chroma_url s-copy)" more 30 16
chroma_data digest "$(chroma_url s-copy)" >more
chroma_stop s-copy

# --- into it: by touch, and a part
room=mnt/restore/api
chroma_data change "$live" books 0 3
touch $room/latest
ended $room 1 done
same want latest
chroma_data change "$live" notes 0 3
chroma_data change "$live" books 0 3
stamp=$(basename "$(readlink mnt/by-store/api/latest)")
mkdir -p $room/$stamp/default_tenant/default_database
touch $room/$stamp/default_tenant/default_database/notes
ended $room 2 done
chroma_data digest "$live" | diff <(grep -A 20 '^notes' want) - >diff || true
! grep -q '^< ' diff || fail "the part: $(grep '^< ' diff | head -3)"
touch $room/rollback
ended $room 3 done
touch $room/$stamp
ended $room 4 done
same want stamp

# --- an export is an upload: whole, or one collection by its rows
mkdir export
cp -r mnt/latest/api/. export/
head -n 100 mnt/latest/api/default_tenant/default_database/books/rows.ndjson \
	>export/default_tenant/default_database/books/rows.ndjson
cp -r export $room/export
touch $room/export
ended $room 5 done
is "$(chroma_data digest "$live" | grep -c '"row-0')" 120
python3 - export/default_tenant/default_database/notes/rows.ndjson >notes.ndjson <<'END'
import base64, json, struct, sys
for line in open(sys.argv[1]):
    row = json.loads(line)
    raw = base64.b64decode(row["embedding"])
    row["embedding"] = struct.unpack(f"<{len(raw) // 4}f", raw)
    print(json.dumps(row))
END
cp notes.ndjson $room/notes.ndjson
touch $room/notes.ndjson
ended $room 6 done
chroma_data digest "$live" >have
# The other collection stays as it is.
is "$(grep -c '"row-0' have)" 120
sed -n '/^notes/,$p' have | grep '"row-0' | diff <(sed -n '/^notes/,$p' want | grep '"row-0') - >diff ||
	fail "by numbers: $(head -3 diff)"
touch $room/$stamp
ended $room 7 done

# --- refused, and nothing has changed
chroma_data names "$live" >names
refuse()
{
	local name=$1 why=$2 n
	n=$(grep -Ec ' (done|failed: .*)$' $room/log)
	cp -r $name $room/$name
	touch $room/$name
	ended $room $((n + 1)) "failed: .*$why"
	rm -rf $room/$name
	chroma_data names "$live" | diff names - >diff || fail "$name: $(cat diff)"
	same want "$name"
}
{ head -n 3 notes.ndjson; echo '{"id":"x"}'; } >cut.ndjson
refuse cut.ndjson 'line 4: not a row: its embedding is missing'
head -c 3000 export/default_tenant/default_database/books/rows.ndjson >half.ndjson
refuse half.ndjson 'not a row: no sound JSON'
mkdir -p strange/books
echo '{"name":"books"}' >strange/books/collection.json
refuse strange 'does not say which collection it is'
mkdir -p lone/books
cp export/default_tenant/default_database/books/collection.json lone/books/
refuse lone 'has no rows.ndjson'
mkdir other
echo text >other/readme
refuse other 'does not belong into an export of Chroma'

# --- a copied folder, with the server stopped
room=mnt/restore/folder
cp -r s-copy/data $room/data
touch $room/data
ended $room 1 'failed: .*a server runs on'
chroma_stop s-live
touch $room/data
ended $room 2 done
chroma_start s-live "$(cat s-live/port)" || fail "no server on the upload"
chroma_data digest "$live" | diff more - >diff || fail "upload: $(head -3 diff)"
chroma_stop s-live
mkdir nothing
touch nothing/here
cp -r nothing $room/nothing
touch $room/nothing
ended $room 3 'failed: .*holds no Chroma data'
cp -r s-copy/data $room/data-damaged
printf 'x%.0s' {1..3000} | dd of=$room/data-damaged/chroma.sqlite3 bs=1 seek=4096 conv=notrunc 2>/dev/null
touch $room/data-damaged
ended $room 4 'failed: .*(malformed|not what it should be)'
touch $room/rollback
ended $room 5 done
chroma_start s-live "$(cat s-live/port)" || fail "no server after the rollback"
same want rollback
umount mnt
