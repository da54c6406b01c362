# shellcheck shell=bash
# Neo4j for tests/bench/stores: 2,000 x SCALE nodes with 10 properties and as many relationships, dumped
# beside neo4j-admin, and exported. Each night 1 % of the nodes get another value.
. "$servers/neo4j.sh"

stop_neo4j() { neo4j_kill "$work/server" 2>/dev/null; }

neo4j_store()
{
	local port
	port=$(cat "$work/server/port")
	printf '[store %s]\ntype = neo4j\nurl = http://127.0.0.1:%s\nuser = neo4j\n' export "$port"
	printf 'password = testpass1\n[store dump]\ntype = neo4j\nmode = dump\nsystem = no\nhome = %s\n' \
		"$work/server"
}

# A night's changes, and the server stopped after them.
neo4j_edit()
{
	neo4j "$work/server" "MATCH (n:Item) WHERE (n.i * 7919 + $1) % 100 = 0 SET n.c = n.c + 1" >/dev/null
}

bench_neo4j()
{
	local run before size n=$((scale * 2000))
	neo4j_need || {
		echo "Neo4j $neo4j_version cannot be had" >&2
		exit 77
	}
	neo4j_heap=1g
	neo4j_home "$work/server"
	neo4j_start "$work/server"
	neo4j "$work/server" "UNWIND range(1, $n) AS i CALL (i) { CREATE (:Item {i: i, c: 0, a: randomUUID(),
		b: 'name ' + i, d: date(), e: 0.5 * i, f: i % 2 = 0, g: [i, i + 1], h: 'x', j: datetime()})
		} IN TRANSACTIONS OF 10000 ROWS" >/dev/null
	neo4j "$work/server" 'CREATE INDEX FOR (n:Item) ON (n.i)' >/dev/null
	neo4j "$work/server" 'CALL db.awaitIndexes(300)' >/dev/null
	neo4j "$work/server" 'MATCH (a:Item) CALL (a) { MATCH (b:Item {i: a.i + 1}) CREATE (a)-[:NEXT {i: a.i}]->(b)
		} IN TRANSACTIONS OF 10000 ROWS' >/dev/null
	for ((run = 0; run < runs; run++)); do
		neo4j_store | begin_repository
		measure export "$bakfs" -q backup export
		before=$(repository_size)
		neo4j_edit $((2 * run))
		measure export_next "$bakfs" -q backup export
		value export_added $(($(repository_size) - before))
		neo4j_stop "$work/server"
		measure theirs sh -c "exec '$work/server/bin/neo4j-admin' database dump neo4j --to-stdout >/dev/null"
		measure dump "$bakfs" -q backup dump
		before=$(repository_size)
		neo4j_start "$work/server"
		neo4j_edit $((2 * run + 1))
		neo4j_stop "$work/server"
		measure dump_next "$bakfs" -q backup dump
		value dump_added $(($(repository_size) - before))
		neo4j_start "$work/server"
	done
	size=$("$bakfs" cat dump@latest neo4j.dump | wc -c)
	echo "$("$bakfs" --version | head -1), Neo4j $neo4j_version community, $runs runs, medians"
	begin_table "Neo4j, $n nodes, dump of $((size >> 20)) MiB"
	compare "dump, beside neo4j-admin" dump theirs ""
	row "the next one, 1 % of the nodes changed" "$(timing dump_next)" "" "" ""
	share "what that adds" "$(median dump_added)" "$size" bytes "3 %"
	row "export" "$(timing export)" "" "" ""
	row "the next one" "$(timing export_next)" "" "" ""
	share "what that adds" "$(median export_added)" \
		"$("$bakfs" cat export@latest nodes.ndjson | wc -c)" bytes "3 %"
	echo "peaks are those of the largest process, which for a dump is Java's"
	peak "peak memory: export" export 128
}
