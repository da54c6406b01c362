#!/bin/bash
# What goes wrong with ChromaDB, made to go wrong, by the server itself or a proxy before it: each
# with its message, nothing recorded as a good snapshot, and the target as it was before.
set -euo pipefail
. "$TESTS/servers/chroma.sh"
. "$TESTS/lib/cli.sh"

chroma_need || skip "Chroma cannot be had"
trap 'for dir in "$work"/s-* "$work"/p-*; do chroma_kill "$dir"; done; cleanup' EXIT

setup_repository <<END
[store none]
type = chroma
url = http://127.0.0.1:1
timeout = 5s
[store nowhere]
type = chroma
mode = directory
path = $work/nothing
[store folder]
type = chroma
mode = directory
path = $work/s-live/data
busy_timeout = 1s
END

# snapshots N: so many there are.
snapshots()
{
	bakfs list --json >out
	json '.snapshots | length' "$1"
}

# same: the live server is as it was.
same()
{
	chroma_data state "$live" | diff <(cat names want) - >diff || fail "it changed: $(head -3 diff)"
}

# behind RULE...: the live server behind a proxy with these rules, in the configuration proxy.conf
behind()
{
	chroma_proxy p-proxy "$live" "$@" || fail "no proxy: $(cat p-proxy/log)"
	sed "s|$live|$(chroma_url p-proxy)|" bakfs.conf >proxy.conf
	sed 's|^timeout = 20s|timeout = 1s|' proxy.conf >cut.conf
}

# cut: words for what is cut however often it is tried, which cut.conf does not do for long
cut='connection to Chroma at .* lost|does not answer|is too slow'

# --- nobody there, nothing there, somebody else there
expect 1 'Chroma does not answer at http://127.0.0.1:1: ' bakfs backup none
mkdir nothing
expect 1 "$work/nothing holds no Chroma data: there is no chroma.sqlite3 in it" bakfs backup nowhere
expect 1 'nowhere: broken: .* holds no Chroma data' bakfs doctor nowhere
rmdir nothing
expect 1 'nothing: No such file' bakfs backup nowhere
mkdir nothing
echo 'this is no database, whatever its name may say' >nothing/chroma.sqlite3
expect 1 'file is not a database' bakfs backup nowhere
sqlite3 nothing/other 'create table x(y)' && mv nothing/other nothing/chroma.sqlite3
expect 1 'is no database of Chroma' bakfs backup nowhere
snapshots 0

chroma_start s-live || fail "no server: $(tail -3 s-live/log)"
live=$(chroma_url s-live)
cat >>bakfs.conf <<END
[store live]
type = chroma
url = $live
timeout = 20s
END
chroma_data fill "$live" first 150 8
chroma_data fill "$live" second 60 4
chroma_data digest "$live" >want
chroma_data names "$live" >names
expect 0 'snapshot 1' bakfs backup live
expect 0 'snapshot 2' bakfs backup folder

# --- rights: of the folder, of a proxy
chmod 0 s-live/data/chroma.sqlite3
if [ $EUID = 0 ]; then
	mkdir lent
	cp -L "$BAKFS" lent/bakfs
	chmod 755 . lent
	chmod -R a+rX key bakfs.conf
	chmod -R a+rwX repo home
	expect 1 'chroma.sqlite3 cannot be read: run as its owner \(user 0\): Permission denied' \
		setpriv --reuid=65534 --regid=65534 --clear-groups lent/bakfs backup folder
	chmod 644 s-live/data/chroma.sqlite3
	expect 1 'held off by a lock, which takes the right to write: run as its owner' \
		setpriv --reuid=65534 --regid=65534 --clear-groups lent/bakfs backup folder
fi
chmod 644 s-live/data/chroma.sqlite3
behind GET,/,1-,token:sesame POST,/,1-,token:sesame PUT,/,1-,token:sesame
expect 1 'it asks for a password: set password_file, status 401: who are you' \
	bakfs --config proxy.conf backup live
sed 's|^timeout = 20s|&\npassword = open|' proxy.conf >wrong.conf
expect 1 'it does not accept the user or password' bakfs --config wrong.conf backup live
! grep -q 'open$' err || fail "the password is told"
expect 1 'live: broken: .*status 401' bakfs --config wrong.conf doctor live
snapshots 2
sed "s|^timeout = 20s|&\npassword_command = echo once >>$work/asked; echo sesame|" proxy.conf >right.conf
expect 0 'snapshot 3' bakfs --config right.conf backup live
is "$(cat asked)" once # not by each thread
sed 's|^timeout = 20s|&\nuser = me\npassword = sesame|' proxy.conf >right.conf
expect 0 'snapshot 4' bakfs --config right.conf backup live
behind POST,/get,1-,status:403
expect 1 'collection first: .* it does not allow this, status 403: the proxy says no' \
	bakfs --config proxy.conf backup live
behind GET,/version,1-,status:404
expect 1 'this is no Chroma server: ' bakfs --config proxy.conf backup live
behind GET,/api/v2/version,1-,status:404 GET,/api/v1/heartbeat,1-,empty
expect 1 'is older than version 1: it knows no /api/v2' bakfs --config proxy.conf backup live
behind POST,/get,1-,empty
expect 1 'snapshot|collection first' bakfs --config proxy.conf backup live
snapshots 4

# --- the connection cut in each phase of a backup: once is made good, always is told
for rule in GET,/databases,1 GET,/count,1 POST,/get,2; do
	behind "$rule,drop"
	expect 0 'snapshot' bakfs --config proxy.conf backup live
	behind "$rule-,drop"
	expect 1 "live: .*($cut)" bakfs --config cut.conf backup live
done
behind POST,/get,1,cut:2000
expect 0 'snapshot' bakfs --config proxy.conf backup live
behind POST,/get,2-,cut:100
expect 1 "$cut" bakfs --config cut.conf backup live
behind POST,/get,1-,cut:0
expect 1 "$cut" bakfs --config cut.conf backup live
snapshots 8
bakfs restore live@latest --to out-live -q
chroma_data files out-live | diff want - >diff || fail "retried: $(head -3 diff)"

# --- a restore: too large for a proxy, in smaller batches; one row too large
behind POST,/add,1-,body:4000
expect 0 restored bakfs --config proxy.conf restore live@latest --yes
! grep -q 'left over' err || fail "$(cat err)"
[ "$(grep -c /add p-proxy/log)" -gt 4 ] || fail "$(cat p-proxy/log)"
chroma_data digest "$live" | diff want - >diff || fail "413: $(head -3 diff)"
chroma_data names "$live" >names
behind POST,/add,1-,body:60
expect 1 'a single row of [0-9]+ bytes is too large for the server, or for a proxy.* status 413' \
	bakfs --config proxy.conf restore live@latest --yes
same

# --- the connection cut in each phase of a restore
for rule in POST,/collections,1-,drop POST,/add,2-,drop POST,/get,1-,drop \
	PUT,/collections,1-,drop GET,/count,1-,drop; do
	behind "$rule"
	expect 1 "live: .*($cut)" bakfs --config cut.conf restore live@latest --yes
	same
done
behind POST,/add,1,lost POST,/get,1,drop
expect 0 restored bakfs --config proxy.conf restore live@latest --yes
chroma_data digest "$live" | diff want - >diff || fail "lost: $(head -3 diff)"
chroma_data names "$live" >names

# --- the exchange of names fails half-way: what was done is undone
for n in 1 2 4; do
	behind "PUT,/collections,$n,status:500"
	expect 1 'renaming .* to .*: .* status 500: the proxy says no' \
		bakfs --config proxy.conf restore live@latest --yes
	same
done
# An answer that was lost is no failure: it is looked at what was done.
behind PUT,/collections,2,lost POST,/collections,1,lost
expect 0 restored bakfs --config proxy.conf restore live@latest --yes
chroma_data digest "$live" | diff want - >diff || fail "lost: $(head -3 diff)"
chroma_data names "$live" >names
! grep -q bakfs- names || fail "left over: $(cat names)"
# Where it cannot be undone, it says what has which name, and deletes nothing.
behind PUT,/collections,2-,status:500
expect 1 'first is still named first.before-[0-9TZ]+ \(' \
	bakfs --config proxy.conf restore live@latest --yes
chroma_data names "$live" >after
is "$(grep -c '^first$' after)" 0
kept=$(comm -13 names after | grep '^first.before-')
[ "$(grep -c bakfs- after)" = 2 ] || fail "$(cat after)"
base=$live/api/v2/tenants/default_tenant/databases/default_database/collections
curl -sf -o out -X PUT -H 'Content-Type: application/json' -d '{"new_name":"first"}' \
	"$base/$(curl -sf "$base/$kept" | jq -r .id)"
for name in $(grep bakfs- after); do chroma_data drop "$live" "$name"; done
same

# --- what was kept is gone
expect 0 restored bakfs restore live@latest --yes
for name in $(chroma_data names "$live" | comm -13 names - | grep before-); do
	chroma_data drop "$live" "$name"
done
expect 1 'there is no collection first.before-[^ ]* any more: first cannot be rolled back' \
	bakfs rollback live -y
chroma_data digest "$live" | diff want - >diff || fail "no rollback: $(head -3 diff)"
chroma_data names "$live" >names

# --- the server is killed in the middle: of a backup, and of a restore
count=$(bakfs list --json | jq '.snapshots | length')
behind "POST,/get,2,kill:$(cat s-live/pid)"
expect 1 "$cut|status 50" bakfs --config cut.conf backup live
snapshots "$count"
chroma_kill s-live
chroma_start s-live "$(cat s-live/port)" || fail "no server"
same
behind "POST,/add,2,kill:$(cat s-live/pid)"
expect 1 "$cut|status 50" bakfs --config cut.conf restore live@latest --yes
grep -q 'is left over' err || fail "$(cat err)"
chroma_kill s-live
chroma_start s-live "$(cat s-live/port)" || fail "no server"

# --- we are: of a restore the doctor says how to remove what is left, of a rollback what is where
killed()
{
	expect 137 Killed bash -c '(echo $BASHPID >killed; exec "$@" -q) & wait $!' - bakfs --config proxy.conf "$@"
}
behind "POST,/add,2,kill:$work/killed"
killed restore live@latest --yes
expect 3 'live: advice: 4 collections left by restores that were killed' bakfs doctor live
while { bakfs doctor live || :; } | grep -o "curl -X DELETE $live/[^ ]*" >remove; do
	sh -e remove >/dev/null 2>&1 || fail "$(cat remove)"
done
same
expect 0 restored bakfs restore live@latest --yes
behind "PUT,/collections,2,kill:$work/killed"
killed rollback live --yes
expect 1 'live: broken: collection first.aside-[^ ]* was between two names' bakfs doctor live
aside=$(chroma_data names "$live" | grep aside)
curl -sf -o out -X PUT -H 'Content-Type: application/json' -d '{"new_name":"first"}' \
	"$base/$(curl -sf "$base/$aside" | jq -r .id)"
chroma_data digest "$live" | diff want - >diff || fail "killed: $(head -3 diff)"
chroma_data names "$live" >names

# --- somebody holds the database: the folder waits, and says who
mkfifo held
python3 - "$work/s-live/data/chroma.sqlite3" <<'END' >held &
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.close()
import signal
signal.pause()
END
holder=$!
read -r _ <held
expect 1 "database is locked, by process $holder" bakfs backup folder
kill $holder
wait $holder 2>/dev/null || true

# --- a full disk for the repository
count=$(bakfs list --json | jq '.snapshots | length')
if [ $EUID = 0 ] && mkdir mnt-full && mount -t tmpfs -o size=256k none mnt-full 2>/dev/null; then
	sed "s|^path = $work/repo|path = $work/mnt-full/repo|; s|^key_file.*|key_file = $work/full-key|" \
		bakfs.conf >full.conf
	expect 0 made bakfs --config full.conf init
	cat /dev/zero >mnt-full/rest 2>/dev/null || true
	for store in live folder; do
		expect 1 '[Nn]o space left' bakfs --config full.conf backup $store
	done
	bakfs --config full.conf list --json >out
	json '.snapshots | length' 0
	umount mnt-full
	same
fi
# --- no room for the restored folder, or below TMPDIR
if [ $EUID = 0 ] && mount -t tmpfs -o size=64k none mnt-full 2>/dev/null; then
	sed "s|^path = $work/s-live/data|path = $work/mnt-full/data|" bakfs.conf >small.conf
	expect 1 'full has [0-9]+ bytes free, and the new folder beside the old one needs' \
		bakfs --config small.conf restore folder@latest --yes
	sed "s|^busy_timeout.*|url = $live|" bakfs.conf >with-url.conf
	TMPDIR=$work/mnt-full expect 1 'full has no room to unpack the snapshot for a while' \
		bakfs --config with-url.conf restore folder@latest --yes --collection first
	umount mnt-full
fi
sed "s|^busy_timeout.*|server_command = $work/no-chroma\nurl = $live|" bakfs.conf >no-chroma.conf
expect 1 'server_command .*: it ended: .*not found.* takes Chroma.s program here' \
	bakfs --config no-chroma.conf restore folder@latest --yes --collection first
same

snap=$(bakfs list --json | jq '.snapshots | length')

# --- a damaged index: the server counts it, and fails when it is paged with embeddings
chroma_stop s-live
sqlite3 s-live/data/chroma.sqlite3 'delete from embeddings_queue'
for file in s-live/data/*/data_level0.bin; do truncate -s 1000 "$file"; done
for file in s-live/data/*/length.bin; do rm -f "$file"; done
chroma_start s-live "$(cat s-live/port)" || fail "no server on damaged indexes"
expect 1 'live: collection first: .*status 500: ' bakfs backup live
expect 1 'live: broken: collection first: .*status 500' bakfs doctor live
snapshots "$snap"
# What is broken does not keep the good data from coming back.
expect 0 restored bakfs restore live@latest --yes
chroma_data digest "$live" | diff want - >diff || fail "after damage: $(head -3 diff)"
# An index that is gone is told by a backup of the folder.
chroma_stop s-live
rm -r "s-live/data/$(sqlite3 s-live/data/chroma.sqlite3 'SELECT s.id FROM segments s JOIN max_seq_id m
	ON m.segment_id = s.id WHERE s.scope = "VECTOR" LIMIT 1')"
expect 3 'is gone: it is the index of a collection, whose vectors are lost' bakfs backup folder
