#!/bin/bash
# ChromaDB for real: saved under writers, by its interface and as its folder; restored, also into a
# fresh server and into one that has other data; compared by asking the servers, not by our counts.
set -euo pipefail
. "$TESTS/servers/chroma.sh"
. "$TESTS/lib/cli.sh"

chroma_need || skip "Chroma cannot be had"
writers=()
trap 'kill "${writers[@]}" 2>/dev/null || true
	for dir in "$work"/s-*; do chroma_kill "$dir"; done; cleanup' EXIT

# same URL: it has what is in want.
same()
{
	chroma_data digest "$1" >have || fail "digest"
	diff want have >diff || fail "it differs: $(head -5 diff | cut -c1-200)"
}

chroma_start s-live || fail "no server: $(tail -3 s-live/log)"
live=$(chroma_url s-live)
chroma_data fill "$live" plain 700 32
chroma_data fill "$live" turned 120 8 cosine
chroma_data fill "$live" inner 30 3 ip
chroma_data fill "$live" empty 0 3
cat >server_of <<END
#!/bin/bash
TESTS=$TESTS . "$TESTS/servers/chroma.sh"
case \$1 in
start) chroma_start "$work/s-live" \$(cat "$work/s-live/port") || exit 1 ;;
stop) chroma_stop "$work/s-live" ;;
esac
END
setup_repository <<END
[store api]
type = chroma
url = $live
[store folder]
type = chroma
mode = directory
path = $work/s-live/data
url = $live
server_command = $chroma_program
[store copy]
type = chroma
mode = directory
path = $work/s-copy/data
[store commands]
type = chroma
mode = directory
path = $work/s-live/data
url = $live
stop_command = bash $work/server_of stop
start_command = HOME=$HOME BAKFS_TEST_SERVERS=${chroma_dir%/*} setsid bash $work/server_of start
END
chroma_data digest "$live" >want

# --- by its interface: the export says what the server says
expect 0 'snapshot 1' bakfs backup api
bakfs restore api@latest --to out-api -q
chroma_data files out-api >have
diff want have >diff || fail "the export differs: $(head -5 diff | cut -c1-200)"
bakfs show api@latest --json >out
json '.snapshots[0].manifest.data.counts["default_tenant/default_database/plain"]' 700

# --- as its folder: a server starts on it
expect 0 'snapshot 2' bakfs backup folder
bakfs restore folder@latest --to s-copy/data -q
chroma_start s-copy || fail "no server on the copy: $(tail -3 s-copy/log)"
same "$(chroma_url s-copy)"
chroma_stop s-copy
# What did not change is not read.
expect 0 'snapshot 3' bakfs backup folder
bakfs show folder@latest --json >out
[ "$(jq .snapshots[0].added out)" -lt 40000 ] || fail "$(cat out)"
# Holes of an index are neither read nor filled.
index=$(cd s-copy/data && ls -d */link_lists.bin | head -n 1)
truncate -s 256M "s-copy/data/$index"
printf end | dd of="s-copy/data/$index" bs=1 seek=128M conv=notrunc 2>/dev/null
expect 0 'snapshot 4' bakfs backup copy
bakfs restore copy@latest --to out-copy -q
cmp "s-copy/data/$index" "out-copy/$index"
[ "$(stat -c %b "out-copy/$index")" -lt 1000 ] || fail "$(stat "out-copy/$index")"
if [ $EUID = 0 ] && mkdir mnt-small && mount -t tmpfs -o size=64m none mnt-small 2>/dev/null; then
	sed "s|$work/s-copy/data|$work/mnt-small/data|" bakfs.conf >small.conf
	expect 0 restored bakfs --config small.conf restore copy@latest --yes
	is "$(stat -c %s "mnt-small/data/$index")" $((256 << 20))
	umount mnt-small
fi
rm -r out-copy s-copy

# --- both under writers: one adds, one deletes too
python3 -S "$TESTS/servers/chroma_data.py" write "$live" growing & writers+=($!)
python3 -S "$TESTS/servers/chroma_data.py" write "$live" churning delete & writers+=($!)
for name in growing churning; do
	until chroma_data whole "$live" $name holes >rows 2>/dev/null && [ "$(cat rows)" -gt 0 ]; do
		kill -0 "${writers[@]}" || fail "no writer"
	done
done
cat >>bakfs.conf <<END
[store growing]
type = chroma
url = $live
exclude = churning
END
for i in 1 2; do
	expect 0 'snapshot' bakfs backup growing
	expect 0 'snapshot' bakfs backup folder
done
kill "${writers[@]}" && wait "${writers[@]}" 2>/dev/null || true
writers=()
# moment STORE I: the number of its I-th snapshot from the end
moment()
{
	bakfs list --json | jq "[.snapshots[] | select(.store == \"$1\").number] | sort | .[-$2]"
}
for i in 1 2; do
	bakfs restore "$(moment folder $i)" --to s-moment$i/data -q
	bakfs restore "$(moment growing $i)" --to out-moment$i -q
	chroma_start s-moment$i || fail "moment $i: $(tail -3 s-moment$i/log)"
	moment=$(chroma_url s-moment$i)
	for name in growing 'churning holes'; do
		rows=$(chroma_data whole "$moment" $name) || fail "moment $i, $name: $rows"
		[ "$rows" -gt 0 ] || fail "moment $i, $name: no rows"
	done
	chroma_data digest "$moment" growing churning | diff want - >diff ||
		fail "moment $i: $(head -5 diff | cut -c1-200)"
	# The export has the beginning of what was added.
	rows=$(chroma_data whole_file out-moment$i/default_tenant/default_database/growing/rows.ndjson) ||
		fail "export $i: $rows"
	[ "$rows" -gt 0 ] || fail "export $i has no rows"
	chroma_stop s-moment$i
done
chroma_data drop "$live" growing
chroma_data drop "$live" churning

# --- back into the live server: changed, lost and new collections
chroma_data change "$live" plain 3 5
chroma_data drop "$live" turned
chroma_data fill "$live" later 5 4
chroma_data digest "$live" >changed
number=$(bakfs list --json | jq '[.snapshots[] | select(.store == "api")][0].number')
expect 0 restored bakfs restore "$number" --yes -v
grep -q 'validated: 4 counts' err || fail "$(cat err)"
# The server gave new rows lists of deleted ones, which was noticed and got round.
grep -q 'reads back differently; it is made once more' err || echo "the server does it right now"
same "$live"
chroma_data names "$live" >names
! grep -q 'bakfs-' names || fail "something is left over: $(cat names)"
grep -q '^later.before-' names || fail "later was not kept: $(cat names)"
expect 0 'rolled back' bakfs rollback api -y
chroma_data digest "$live" | diff changed - >diff || fail "rollback: $(head -3 diff)"
expect 0 'rolled back' bakfs rollback api -y
same "$live"
# A backup of it leaves out what is kept.
expect 0 'snapshot' bakfs backup api
bakfs show api@latest --json >out
json '.snapshots[0].manifest.data.counts | length' 4
expect 3 'collections kept by restores' bakfs doctor api

# --- one collection alone, out of either
chroma_data change "$live" plain 0 2
chroma_data fill "$live" bystander 3 2
chroma_data drop "$live" inner
expect 0 restored bakfs restore "$number" --yes --collection 'inn*'
expect 0 restored bakfs restore "$number" --yes --only default_tenant/default_database/plain
chroma_data drop "$live" bystander
same "$live"
chroma_data drop "$live" turned
expect 0 restored bakfs restore 2 --yes --collection turned
same "$live"
expect 1 'no collection of the snapshot is what was asked for' \
	bakfs restore 2 --yes --collection nothing
expect 1 'files of a saved folder mean nothing by themselves' \
	bakfs restore 2 --yes --only chroma.sqlite3

# --- into a fresh server, another database and tenant made there
chroma_start s-fresh || fail "no server"
sed "s|$live|$(chroma_url s-fresh)|" bakfs.conf >fresh.conf
expect 0 restored bakfs --config fresh.conf restore "$number" --yes
same "$(chroma_url s-fresh)"

# --- the folder: not under a server; then with it stopped, and with commands
expect 1 'a server runs on .*/s-live/data: process [0-9]+ .* has it open' bakfs restore 2 --yes
same "$live"
chroma_stop s-live
expect 0 'restored' bakfs restore 2 --yes -v
grep -q 'validated: 4 counts' err || fail "$(cat err)"
chroma_start s-live "$(cat s-live/port)"
same "$live"
expect 0 'snapshot' bakfs backup commands
chroma_data drop "$live" plain
chroma_data digest "$live" >changed
expect 0 'the server answers at' bakfs restore commands@latest --yes -v
same "$live"
expect 0 'rolled back' bakfs rollback commands -y
chroma_data digest "$live" | diff changed - >diff || fail "rollback: $(head -3 diff)"
expect 0 'rolled back' bakfs rollback commands -y
same "$live"
expect 0 'commands: well' bakfs doctor commands
# One that does not start on the new folder gets its old one back.
sed 's|^stop_command.*|&\nstart_command = [ -e '"$work"'/once ] \&\& HOME='"$HOME"' BAKFS_TEST_SERVERS='"${chroma_dir%/*}"' setsid bash '"$work"'/server_of start \|\| { touch '"$work"'/once; echo it is broken >\&2; exit 1; }|; /^start_command = HOME/d' bakfs.conf >broken.conf
chroma_data drop "$live" plain
chroma_data digest "$live" >changed
expect 1 'start_command: it is broken' bakfs --config broken.conf restore commands@latest --yes
chroma_data digest "$live" | diff changed - >diff || fail "undone: $(head -3 diff)"
