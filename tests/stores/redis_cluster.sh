#!/bin/bash
# A Redis cluster: saved node by node, and each key brought back to the node of its slot, into the
# same cluster, into one with fewer nodes, out of and into a single server; and what stops that.
set -euo pipefail
. "$TESTS/servers/redis.sh"
. "$TESTS/servers/redis_data.sh"
. "$TESTS/lib/cli.sh"

redis_need 7.0 || skip "redis 7.0 cannot be had"
command -v redis-cli >/dev/null || skip "redis-cli is missing"
trap 'for dir in "$work"/s-*; do [ ! -f "$dir/pid" ] || redis_kill "$dir"; done; cleanup' EXIT

# wait_ok NODE...: until each says that the cluster is well.
wait_ok()
{
	local node
	for node; do
		while [[ $(redis "$node" cluster info) != *cluster_state:ok* ]]; do
			kill -0 "$(cat "$node/pid")" || fail "no node"
		done
	done
}
nodes=()
for node in 1 2 3; do
	redis_tcp 7.0 s-$node 'cluster-enabled yes' || fail "no node"
	nodes+=("127.0.0.1:$(cat s-$node/port)")
done
redis-cli --cluster create "${nodes[@]}" --cluster-yes >cluster 2>&1 || fail "$(tail -3 cluster)"
wait_ok s-1 s-2 s-3
# Two nodes, that share the slots unevenly.
redis_tcp 7.0 s-a 'cluster-enabled yes' && redis_tcp 7.0 s-b 'cluster-enabled yes' || fail "no node"
redis s-a cluster addslotsrange 0 3000 3002 9999 >/dev/null
redis s-b cluster addslotsrange 3001 3001 10000 16383 >/dev/null
redis s-a cluster set-config-epoch 1 >/dev/null
redis s-b cluster set-config-epoch 2 >/dev/null
redis s-a cluster meet 127.0.0.1 "$(cat s-b/port)" >/dev/null
wait_ok s-a s-b
redis_start 7.0 s-single

# digest NODE...: of all of them together.
digest()
{
	local node
	for node; do redis_digest "$node"; done | sort -u
}
cluster()
{
	redis-cli -c -p "$(cat s-1/port)" "$@"
}

{
	for ((i = 0; i < 300; i++)); do echo "SET k$i $i"; done
	for ((i = 0; i < 40; i++)); do
		echo "RPUSH {user$i}list a b $i"
		echo "HSET {user$i}hash name u$i n $i"
		echo "ZADD }z{$i} 1.5 a 2 b"
		echo "PEXPIREAT {user$i}list 4102444800000"
	done
	echo 'XADD stream 1-1 a b'
	echo 'XGROUP CREATE stream workers 0'
	echo 'SET "" nameless'
	echo 'SET {} braces'
} | cluster >/dev/null
library='#!lua name=mylib
redis.register_function("hello", function() return 1 end)'
for node in 1 2 3; do redis s-$node function load "$library" >/dev/null; done
digest s-1 s-2 s-3 >want
is "$(wc -l <want)" 424
setup_repository <<END
[store cluster]
type = redis
address = ${nodes[1]}
[store single]
type = redis
address = $work/s-single/sock
END

# --- each primary, in one snapshot
expect 0 'cluster: snapshot 1.* 3 files' bakfs backup cluster
bakfs show 1 --json >out
json '.snapshots[0].manifest.data.counts["db0 keys"]' 423
bakfs restore 1 --to out-cluster -q
is "$(ls out-cluster | tr '\n' ' ')" 'slots-00000.rdb slots-05461.rdb slots-10923.rdb '
for file in out-cluster/*; do redis-check-rdb "$file" >check || fail "$(tail -3 check)"; done

# --- back into it: what changed, what went, what came; and undone
for ((i = 0; i < 100; i++)); do printf 'DEL k%d\nSET k%d changed\nSET new%d 1\n' $i $((i + 100)) $i; done |
	cluster >/dev/null
redis s-2 function delete mylib >/dev/null
digest s-1 s-2 s-3 >changed
expect 0 'cluster: restored' bakfs restore 1 --yes -v
grep -q 'before: 423 keys on 3 nodes' err || fail "$(cat err)"
grep -q '100 keys that the snapshot does not have removed' err || fail "$(cat err)"
grep -q '423 keys restored' err || fail "$(cat err)"
grep -q 'after: 423 keys on 3 nodes' err || fail "$(cat err)"
digest s-1 s-2 s-3 | diff want - >diff || fail "cluster: $(head -3 diff)"
for node in 1 2 3; do
	is "$(redis s-$node function list | grep -c mylib)" 1
	[ -s s-$node/dump.rdb ] || fail "node $node: not on its disk"
done
expect 0 'rolled back' bakfs rollback cluster --yes
digest s-1 s-2 s-3 | grep -v ^function >got
grep -v ^function changed | diff - got >diff || fail "rollback: $(head -3 diff)"
expect 0 'cluster: restored' bakfs restore 1 --yes --key 'k1?' --key 'new*'
is "$(cluster get k15) $(cluster get k115) $(cluster get new7)" '15 changed 1'
expect 1 'has no such key' bakfs restore 1 --yes --key nothing
# k12 lies in the file of the first node, k10 in that of another.
cluster mset '{k12}a' 1 '{k12}b' 1 >/dev/null
cluster set k12 other >/dev/null
cluster set k10 other >/dev/null
expect 0 'cluster: restored' bakfs restore 1 --yes --only slots-00000.rdb
is "$(cluster get k12) $(cluster get k10) $(cluster get '{k12}b')" '12 other 1'
expect 1 'no slots-7.rdb in snapshot 1' bakfs restore 1 --yes --only slots-7.rdb

# --- into another number of nodes, and a single server, and from there back
sed "s|${nodes[1]}|127.0.0.1:$(cat s-a/port)|" bakfs.conf >two.conf
expect 0 'cluster: restored' bakfs --config two.conf restore 1 --yes
digest s-a s-b | diff want - >diff || fail "two nodes: $(head -3 diff)"
sed "s|${nodes[1]}|$work/s-single/sock|" bakfs.conf >single.conf
redis s-single set old 1 >/dev/null
expect 0 'cluster: restored' bakfs --config single.conf restore 1 --yes -v
grep -q 'restored with commands: it is the snapshot of a cluster' err || fail "$(cat err)"
digest s-single | diff want - >diff || fail "single: $(head -3 diff)"
redis s-single set only-single 1 >/dev/null
digest s-single >want-single
expect 0 'single: snapshot' bakfs backup single
sed "s|$work/s-single/sock|${nodes[0]}|" bakfs.conf >into.conf
expect 0 'single: restored' bakfs --config into.conf restore single@latest --yes
digest s-1 s-2 s-3 | diff want-single - >diff || fail "single into cluster: $(head -3 diff)"

# --- what stops it, and leaves all as it was
same()
{
	digest s-1 s-2 s-3 | diff want-single - >diff || fail "it changed: $(head -3 diff)"
}
redis s-single -n 3 set three 3 >/dev/null
expect 0 'single: snapshot' bakfs backup single
expect 1 'the cluster has no database 3' bakfs --config into.conf restore single@latest --yes
same
redis s-single -n 3 flushdb >/dev/null
id=$(redis s-2 cluster myid)
redis s-1 cluster setslot 100 migrating "$id" >/dev/null
expect 3 'slots move from one node to another' bakfs backup cluster
expect 1 'moves slots from one node to another' bakfs restore 1 --yes --no-safety
redis s-1 cluster setslot 100 stable >/dev/null
same
for node in 1 2 3; do redis s-$node config set maxmemory 1000 maxmemory-policy noeviction >/dev/null; done
expect 1 "maxmemory is 3000 bytes" bakfs restore 1 --yes
for node in 1 2 3; do redis s-$node config set maxmemory 0 >/dev/null; done
same
# One node fills up on the way: what is there already is taken back.
for ((i = 0; i < 60; i++)); do echo "SETRANGE {user7}big$i 300000 x"; done | redis s-single >/dev/null
expect 0 'single: snapshot' bakfs backup single
owner=
for node in 1 2 3; do [ "$(redis s-$node get '{user7}list' 2>&1 | grep -c MOVED)" = 1 ] || owner=s-$node; done
used=$(redis $owner info memory | sed -n 's/^used_memory:\([0-9]*\).*/\1/p')
redis $owner config set maxmemory $((used + 3000000)) >/dev/null
expect 1 'maxmemory is too small for the data.*what was there is back|what was there is back' \
	bakfs --config into.conf restore single@latest --yes -v
grep -q 'keys that the snapshot does not have go first' err || fail "$(cat err)"
redis $owner config set maxmemory 0 >/dev/null
same
redis_kill s-2
expect 1 'cluster: .*(no server listens|has failed)' bakfs backup cluster
expect 1 'no server listens|has failed' bakfs restore 1 --yes --no-safety
