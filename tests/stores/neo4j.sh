#!/bin/bash
# Neo4j, a real server: exported while others write, frozen and not, dumped with the server stopped,
# restored whole and in parts, from the repository, by copy and by touch; what is there afterwards is
# asked by a program of its own. WAYS=short: saved and restored, no more. WAYS=all: with the database
# system, neo4j-admin's check, a rollback of a dump, and another server started on what cp takes out.
set -euo pipefail
. "$TESTS/servers/neo4j.sh"
. "$TESTS/lib/cli.sh"

neo4j_need || skip "Neo4j $neo4j_version cannot be had (Java 17, Maven and its network)"
ways=${WAYS:-some}
trap 'for dir in "$work"/s-*; do neo4j_kill "$dir"; done; rm -f "$work/writing"; cleanup' EXIT

graph()
{
	python3 "$TESTS/servers/neo4j_graph.py" "$(cat s-live/port)" "$@"
}

# same NAME: the graph is what was written down under that name.
same()
{
	graph digest | diff "$1" - >diff || fail "not as in $1: $(head -c 600 diff)"
}

# fact FILTER EXPECTED: of the snapshot shown last.
fact()
{
	json ".snapshots[0].manifest.data.$1" "$2"
}

neo4j_home "$work/s-live"
neo4j_start "$work/s-live"
for what in stop start; do
	printf '#!/bin/bash\n. "%s/servers/neo4j.sh"\nneo4j_lib=%s\nneo4j_%s %s\n' \
		"$TESTS" "$neo4j_lib" $what "$work/s-live" >$what
	chmod +x $what
done
echo testpass1 >password
store()
{
	printf '[store %s]\ntype = neo4j\nurl = http://127.0.0.1:%s\nuser = neo4j\n' "$1" \
		"$(cat s-live/port)"
	printf 'password_file = %s/password\n' "$work"
	shift
	[ $# = 0 ] || printf '%s\n' "$@"
}
more=no
[ "$ways" != all ] || more=yes
setup_repository < <(
	store live
	store frozen 'freeze = yes'
	store dump 'mode = dump' "home = $work/s-live" "system = $more" "check = $more" 'restart = yes' \
		"stop_command = $work/stop" "start_command = $work/start"
	printf '[mount]\nrestore_delay = 0\n'
)

# --- every type, odd names, rules: saved, and restored over something else
graph fill
graph digest >want
expect 3 'live: advice: an export without freeze is not one instant' bakfs doctor live
expect 0 'frozen: well: .*Neo4j 5.26' bakfs doctor frozen
expect 0 'snapshot 1' bakfs backup live
bakfs show live@latest --json >out
fact consistency 'not one instant'
fact frozen false
fact counts.nodes 207
fact counts.relationships 211
fact 'counts["label b`c"]' 1
fact counts.constraints 3
fact counts.indexes 6
graph change
graph digest >changed
expect 0 'element ids' bakfs restore live@latest --yes -v
same want
expect 0 'rolled back' bakfs rollback live --yes
same changed
[ "$ways" != short ] || exit 0
graph clear
expect 0 restored bakfs restore 1 --yes
same want

# --- a part of it, as new nodes; a rule that does not allow them
neo4j s-live 'MATCH (n:Many) DETACH DELETE n' >neo4j.out
expect 1 '--relationship goes with --label' bakfs restore 1 --relationship NEXT --yes
expect 0 '200 nodes and 199 relationships are there again' \
	bakfs restore 1 --label Many --relationship NEXT --yes -v
same want
expect 1 'ConstraintValidationFailed' bakfs restore 1 --label Many --yes
same want
expect 1 'restored with --label and --relationship' bakfs restore 1 --only nodes.ndjson --yes

# --- while others write: frozen it is one instant, which they then go on from
touch writing
graph writers "$work/writing" &
writers=$!
moves()
{
	neo4j s-live 'MATCH (p:Purse) RETURN p.moves' | tr -dc 0-9
}
until [ "$(moves)" -gt 5 ] 2>/dev/null; do
	kill -0 $writers
	read -rt 0.1 <> <(:) || :
done
for store in live frozen; do
	status=0
	bakfs -q backup $store 2>err || status=$?
	[ $status = 0 ] || { [ $status = 3 ] && grep -q 'were left out' err; } || fail "$(cat err)"
	rm -rf taken
	expect 0 restored bakfs restore $store@latest --to taken
	instant=
	[ $store = live ] || instant='one instant'
	graph=$(python3 "$TESTS/servers/neo4j_graph.py" check taken "$instant") || fail "$store: $graph"
done
bakfs show frozen@latest --json >out
fact consistency 'one instant'
before=$(moves)
until [ "$(moves)" -gt "$before" ]; do
	kill -0 $writers
	read -rt 0.1 <> <(:) || :
done
rm writing
wait $writers
is "$(neo4j s-live "SHOW INDEXES YIELD name WHERE name STARTS WITH '_bakfs' RETURN count(name)")" '[[0]]'
expect 0 restored bakfs restore 1 --yes
same want
expect 0 snapshot bakfs backup live

# --- through a mount: an export that was copied out, whole and not
need_fuse
mkdir mnt
bakfs mount mnt
room=mnt/restore/live
(cd mnt/by-store/live && sha256sum --quiet -c ./*.sha256)
# The job that was started last has ended, and well.
job_done()
{
	cat $room/wait >waited 2>&1 || true
	tail -n 1 $room/log | grep -q ' done$' || fail "$(tail -n 5 $room/log)"
}
cp -r "$(ls -d mnt/by-store/live/2*Z | head -n 1)" taken-out
graph change
cp -r taken-out $room/in && touch $room/in
job_done
same want
sed -i '$d' taken-out/nodes.ndjson
cp -r taken-out $room/cut && touch $room/cut
cat $room/wait >waited 2>&1 || true
grep -q 'cut off or changed: .*: ' $room/status || fail "$(cat $room/status)"
same want
graph change
touch $room/latest
job_done
same want

# --- dumps: the server is stopped for them, and started again
expect 0 'dump: well' bakfs doctor dump
expect 0 snapshot bakfs backup dump
neo4j_ready s-live || fail "the server is not back"
same want
bakfs show dump@latest --json >out
fact mode dump
fact stopped true
# What cp takes out is what neo4j-admin loads, with nothing in it compressed.
cp mnt/latest/dump/neo4j.dump taken.dump
grep -qa 'name 200' taken.dump || fail "the dump is compressed"
if [ "$ways" = all ]; then
	neo4j_home "$work/s-other"
	s-other/bin/neo4j-admin database load neo4j --from-stdin <taken.dump >load 2>&1 || fail "$(cat load)"
	neo4j_start "$work/s-other"
	python3 "$TESTS/servers/neo4j_graph.py" "$(cat s-other/port)" digest | diff want - >diff ||
		fail "another server: $(head -c 600 diff)"
	neo4j_stop "$work/s-other"
fi
graph change
graph digest >changed
room=mnt/restore/dump
cp taken.dump $room/
job_done
same want
cmp taken.dump "$(ls -d mnt/by-store/dump/2*Z | tail -n 1)/neo4j.dump"
ls s-live/data/databases.before-*Z/databases/neo4j >/dev/null
if head -c -100 taken.dump >$room/cut.dump 2>err; then
	! grep -q state=done $room/status || fail "a cut dump was accepted"
fi
grep -q "cut off: the dump's last block is not there" $room/status || fail "$(cat $room/status)"
if [ "$ways" = all ]; then
	touch $room/rollback
	job_done
	same changed
	expect 0 restored bakfs restore dump@latest --yes
	same want
fi
umount mnt
