#!/bin/bash
# What goes wrong with Neo4j over HTTP, made to go wrong: each with its message, nothing recorded as
# a good snapshot, and the graph as it was before. STEP=1: the connection is cut in every answer of a
# backup and of a restore, not in each fourth and eleventh.
set -euo pipefail
. "$TESTS/servers/neo4j.sh"
. "$TESTS/lib/cli.sh"

neo4j_need || skip "Neo4j $neo4j_version cannot be had (Java 17, Maven and its network)"
step=${STEP:-11}
trap 'for dir in "$work"/s-*; do neo4j_kill "$dir"; done; umount "$work/full" 2>/dev/null || true
	cleanup' EXIT

digest()
{
	python3 "$TESTS/servers/neo4j_graph.py" "$(cat s-live/port)" digest
}

same()
{
	digest | diff "$1" - >diff || fail "not as in $1: $(head -c 600 diff)"
}

# snapshots N: so many there are.
snapshots()
{
	bakfs list --json >out
	json '.snapshots | length' "$1"
}

# proxy HOW [ARGUMENT...]: what goes wrong from now on with the stores that go through it.
proxy()
{
	printf '%s\n' "$@" >via.how
}

# store NAME PORT [LINE...]
store()
{
	printf '[store %s]\ntype = neo4j\nurl = http://127.0.0.1:%s\ntimeout = 20s\n' "$1" "$2"
	shift 2
	[ $# = 0 ] || printf '%s\n' "$@"
}

neo4j_home "$work/s-live"
neo4j_start "$work/s-live"
port=$(cat s-live/port)
python3 "$TESTS/servers/neo4j_proxy.py" "$port" "$work/via" 2>proxy.err &
proxy=$!
login='user = neo4j
password = testpass1'
setup_repository < <(
	store live "$port" "$login"
	store via PROXY "$login"
	store via-frozen PROXY "$login" 'freeze = yes'
	store none 1
	store wrong "$port" 'user = neo4j' 'password = not-this-one'
	store no-user "$port" 'password = testpass1'
	store expired "$port" 'user = fresh' 'password = testpass2'
	store missing "$port" "$login" 'database = nothing'
)
until [ -e via ]; do
	kill -0 $proxy
	read -rt 0.05 <> <(:) || :
done
sed -i "s/PROXY/$(cat via)/" bakfs.conf
cp bakfs.conf all.conf
neo4j s-live 'CREATE CONSTRAINT one FOR (n:A) REQUIRE n.i IS UNIQUE' >neo4j.out
neo4j s-live 'UNWIND range(1, 50) AS i CREATE (:A {i: i})-[:R {i: i}]->(:B)' >neo4j.out
neo4j s-live "CREATE USER fresh SET PASSWORD 'testpass2' CHANGE REQUIRED" system >neo4j.out
digest >want
expect 0 'snapshot 1' bakfs backup live

# --- nobody there, or not for us, or too old
expect 1 'Neo4j does not answer at http://127.0.0.1:1: ' bakfs backup none
expect 1 'it does not accept the user or password' bakfs backup wrong
! grep -q not-this-one err || fail "the password is told"
expect 1 'there is a password but no user: user = neo4j' bakfs backup no-user
expect 1 'the initial password must be changed first' bakfs backup expired
expect 1 'DatabaseNotFound' bakfs backup missing
proxy old
expect 1 'Neo4j 5.18.1 at .* has no Query API: .* or set mode = dump' bakfs backup via
expect 1 'has no Query API' bakfs doctor via
snapshots 1

# --- each answer of a backup cut: what is a snapshot then is a whole one
good=1
for store in via via-frozen; do
	proxy count
	expect 0 snapshot bakfs backup $store
	good=$((good + 1)) all=$(cat via.n)
	for ((n = 1; n <= all; n += (step + 2) / 3)); do
		proxy cut $n
		status=0
		bakfs -q backup $store >out 2>err || status=$?
		[ $status = 1 ] || [ $status = 0 ] || fail "request $n: $status: $(cat err)"
		[ $status = 1 ] || good=$((good + 1))
		[ $status = 0 ] || [ -s err ] || fail "request $n: no word"
	done
	snapshots $good
	[ "$good" -lt $((all + 2)) ] || fail "nothing of $store failed"
done
same want
is "$(neo4j s-live "SHOW INDEXES YIELD name WHERE name STARTS WITH '_bakfs' RETURN count(name)")" '[[0]]'

# --- a freeze that is lost, or does not hold everything
cat >lose <<END
. "$TESTS/servers/neo4j.sh"
neo4j "$work/s-live" 'SHOW TRANSACTIONS YIELD transactionId AS id RETURN id' | jq -r '.[][0]' |
	while read -r id; do
		neo4j "$work/s-live" "TERMINATE TRANSACTION '\$id'" || true
	done >lost 2>&1
END
proxy at 'SHOW INDEXES' "bash $work/lose"
expect 1 'the freeze was lost, so what was read is not one instant' bakfs backup via-frozen
printf '. "%s/servers/neo4j.sh"\nneo4j "%s/s-live" "CREATE ()"\n' "$TESTS" "$work" >write
proxy at 'SHOW INDEXES' "bash $work/write >/dev/null"
expect 1 'nodes were read and there are .*: something that the freeze does not hold' \
	bakfs backup via-frozen
neo4j s-live 'MATCH (n) WHERE labels(n) = [] DELETE n' >neo4j.out
snapshots $good
same want

# --- no room in the repository
if [ $EUID = 0 ] && mkdir full && mount -t tmpfs -o size=512k none full 2>/dev/null; then
	sed "s:^path = .*:path = $work/full/repo:" all.conf >full.conf
	expect 0 'made repository' bakfs --config full.conf init
	neo4j s-live 'UNWIND range(1, 30000) AS i CREATE (:Big {a: randomUUID(), b: randomUUID()})' >neo4j.out
	expect 1 '[Nn]o space left' bakfs --config full.conf backup live
	bakfs --config full.conf list --json >out
	json '.snapshots | length' 0
	umount full
	neo4j s-live 'MATCH (n:Big) DELETE n' >neo4j.out
	same want
fi

# --- answers of a restore cut: the graph is what it was, or what was restored
neo4j s-live 'MATCH (n:A) WHERE n.i > 10 DETACH DELETE n' >neo4j.out
neo4j s-live 'MATCH (n:A) SET n.i = n.i + 40' >neo4j.out
neo4j s-live 'CREATE INDEX two FOR (n:B) ON (n.x)' >neo4j.out
neo4j s-live 'CREATE CONSTRAINT three FOR ()-[r:R]-() REQUIRE r.i IS UNIQUE' >neo4j.out
digest >before
expect 0 snapshot bakfs backup live
first=$(bakfs list --json | jq '[.snapshots[] | select(.store == "via")][0].number')
proxy count
expect 0 restored bakfs restore "$first" --yes
all=$(cat via.n)
same want
expect 0 'rolled back' bakfs rollback via --yes
same before
for ((n = 1 + all % step; n <= all; n += step)); do
	proxy cut $n
	status=0
	bakfs -q restore "$first" --yes >out 2>err || status=$?
	if [ $status = 0 ]; then
		same want
		expect 0 'rolled back' bakfs rollback via --yes
	fi
	[ $status != 1 ] || [ -s err ] || fail "request $n: no word"
	digest | diff before - >diff || fail "request $n of $all: $(cat err; head -c 600 diff)"
done

# --- the server killed in the middle of a restore
proxy at 'CREATE (a)-[x' "kill -KILL $(cat s-live/pid)"
expect 1 'nodes with the label _Bakfs are left over' bakfs restore "$first" --yes
rm -f s-live/pid
neo4j_start "$work/s-live"
is "$(neo4j s-live 'MATCH (n:A) RETURN count(n)')" '[[10]]'
is "$(neo4j s-live 'MATCH (n:_Bakfs) RETURN count(n)')" '[[100]]'
expect 1 'label _Bakfs: a restore is under way, or was cut off' bakfs backup live
expect 1 '100 nodes are left of a restore that was cut off' bakfs doctor live
proxy count
expect 0 restored bakfs restore "$first" --yes
same want

# --- and of a backup
bakfs list --json >out
good=$(jq '.snapshots | length' out)
proxy at 'MATCH (a)-[r]' "kill -KILL $(cat s-live/pid)"
expect 1 'Neo4j' bakfs backup via
snapshots "$good"
kill $proxy
