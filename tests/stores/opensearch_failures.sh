#!/bin/bash
# What goes wrong with OpenSearch, made to go wrong by the server itself where it will, else by a proxy
# before it (tests/servers/http_proxy.py): each with its message, nothing recorded as a good snapshot,
# and the indices as they were before. CUTS=all: the connection is lost at each request of a backup and of
# a restore, not at some of those that change something.
set -euo pipefail
. "$TESTS/servers/opensearch.sh"
. "$TESTS/lib/cli.sh"

command -v curl >/dev/null || skip "curl is missing"
opensearch_need || skip "opensearch cannot be had: $opensearch_why"
trap 'for dir in "$work"/s-*; do [ ! -f "$dir/pid" ] || opensearch_kill "$dir"; done
	umount "$work/s-live/repo/small" "$work/full" 2>/dev/null || true; cleanup' EXIT

data=$TESTS/servers/opensearch_data.py
opensearch_start s-live || fail "no server"
url=$(cat s-live/url)
mkdir proxy
python3 "$TESTS/servers/http_proxy.py" "$url" proxy 2>proxy/errors &
until [ -s proxy/url ]; do read -rt 0.05 <> <(:) || :; done
setup_repository <<END
[store live]
type = opensearch
url = $(cat proxy/url)
timeout = 5s
[store snap]
type = opensearch
url = $(cat proxy/url)
timeout = 5s
mode = snapshot
path = $work/s-live/repo/shared
[store none]
type = opensearch
url = http://127.0.0.1:1
END

opensearch s-live PUT /articles '{"settings": {"number_of_shards": 2, "number_of_replicas": 0}}' >/dev/null
python3 "$data" bulk "$url" articles 0 400
opensearch s-live PUT /notes '{"settings": {"number_of_replicas": 0}, "aliases": {"reading": {}}}' >/dev/null
opensearch s-live PUT '/notes/_doc/1?refresh' '{"a": 1}' >/dev/null
digest()
{
	python3 "$data" digest "$url" articles notes
}
digest >want

# rules RULE...: of the proxy; none: it does what it should.
rules()
{
	local IFS=,
	echo "[$*]" >proxy/new
	mv proxy/new proxy/rules
}
# tables: what indices and repositories there are, and how many documents came and went: all of what a
# backup could have changed.
tables()
{
	opensearch s-live GET '/_cat/indices?h=index,uuid,status,docs.count,docs.deleted&s=index&expand_wildcards=all'
	opensearch s-live GET /_snapshot
}
# same: the indices are as they were, can be written to, and nothing is left beside them.
same()
{
	digest | diff want - >diff || fail "it changed: $(head -3 diff)"
	opensearch s-live PUT '/articles/_doc/a0000000?refresh' "$(opensearch s-live GET /articles/_source/a0000000)" >out
	json .result updated
	opensearch s-live GET '/_resolve/index/bakfs-*' >out
	json '.indices | length' "${1-0}"
	is "$(opensearch s-live GET '/_snapshot' | jq -c 'keys - ["bakfs"]')" '[]'
	[ ! -d s-live/repo/shared ] || is "$(find s-live/repo/shared -name '*bakfs*')" ''
}
pits()
{
	opensearch s-live GET /_nodes/stats/indices/search | jq '[.nodes[].indices.search.point_in_time_current] | add'
}
# refused REGEX COMMAND...: with that message; no snapshot more, all as before.
refused()
{
	local regex=$1 before
	shift
	[[ $* == *restore* ]] || tables >tables
	before=$(ls repo/snapshots)
	expect 1 "$regex" "$@"
	cp err told
	rules
	is "$(ls repo/snapshots)" "$before"
	if [[ $* == *restore* ]]; then
		same
	else
		tables | diff tables - || fail "a backup changed that"
	fi
	is "$(pits)" 0
}

# --- nobody there, or not for us, or not what it should be
expect 1 'none: .*127.0.0.1:1.*(refused|connect)' bakfs backup none
rules '{"match": ".", "do": "answer", "status": 401, "type": "text/plain", "body": "Unauthorized"}'
refused 'asks for a password: set password_file.*Unauthorized' bakfs backup live
rules '{"match": ".", "do": "answer", "status": 403, "body": "{\"error\": {\"root_cause\": [{\"type\": \"security_exception\", \"reason\": \"no permissions for [indices:data/read/search]\"}]}, \"status\": 403}"}'
refused 'does not allow this.*security_exception: no permissions for' bakfs backup live
rules '{"match": "GET /$", "do": "answer", "status": 200, "body": "{\"version\": {\"number\": \"8.1.0\"}}"}'
refused 'is not OpenSearch but version 8.1.0' bakfs backup live
rules '{"match": "GET /$", "do": "replace", "what": "2.19.1", "by": "2.3.0"}'
refused 'OpenSearch 2.3.0 is too old, it takes 2.4' bakfs backup live
rules '{"match": "GET /$", "do": "answer", "status": 200, "body": "<html>"}'
refused 'its answer is no JSON' bakfs backup live

# --- the server has too much to do for a moment, or a connection is cut: seen by nobody
rules '{"match": "/_search$", "from": 2, "times": 2, "do": "answer", "status": 429, "body": "{}"}' \
	'{"match": "POST /_search$", "from": 6, "times": 2, "do": "cut", "after": 20000}'
expect 0 'live: snapshot 1' bakfs backup live
rules
bakfs restore 1 --to out1 -q
is "$(cat out1/indices/articles/*.ndjson | grep -c '"_id"')" 400
expect 0 'snap: snapshot 2' bakfs backup snap
same
rules '{"match": "/_search$", "from": 5, "do": "answer", "status": 429, "body": "{\"error\": {\"type\": \"circuit_breaking_exception\", \"reason\": \"[parent] Data too large\"}}"}'
refused 'too much to do.*circuit_breaking_exception' bakfs backup live

# --- answers that look well and are not
rules '{"match": "POST /_search$", "do": "replace", "what": "\"timed_out\":false", "by": "\"timed_out\":true"}'
refused 'a search took the server too long' bakfs backup live
rules '{"match": "POST /_search$", "do": "replace", "what": "\"failed\":0", "by": "\"failed\":1"}'
refused 'shards answered' bakfs backup live
rules '{"match": "POST /_search$", "from": 6, "times": 1, "do": "replace", "what": "\"_source\":", "by": "\"_sauce\":"}'
refused 'has no _source: an export cannot have it' bakfs backup live
rules '{"match": "POST /_search$", "from": 6, "do": "replace", "what": "\"hits\":\\[.*\\]", "by": "\"hits\":[]"}'
refused 'articles: shard . has [0-9]* documents and gave' bakfs backup live

# --- the point in time is gone: deleted, and with the server
rules '{"match": "POST /_search$", "from": 6, "do": "first", "request": ["DELETE", "/_search/point_in_time/_all"]}'
refused 'No search context found.*the point in time is gone' bakfs backup live
rules '{"match": "POST /_search$", "from": 6, "times": 1, "do": "wait"}'
bakfs backup live >out 2>err </dev/null &
backup=$!
until [ -e proxy/waiting ]; do
	kill -0 $backup || fail "it ended: $(cat out err)"
	read -rt 0.05 <> <(:) || :
done
opensearch_kill s-live
opensearch_start s-live || fail "no server again"
: >proxy/go
status=0
wait $backup || status=$?
is $status 1
grep -Eq 'live: .*(point in time is gone|all shards failed|lost)' err || fail "$(cat err)"
rules
same
is "$(bakfs list --json | jq '.snapshots | length')" 2

# --- it cannot be exported
opensearch s-live PUT /blind '{"settings": {"number_of_replicas": 0}, "mappings": {"_source": {"enabled": false}}}' >/dev/null
refused 'index blind keeps no _source' bakfs backup live
opensearch s-live DELETE /blind >/dev/null
opensearch s-live POST /notes/_close >/dev/null
expect 3 'index notes is closed and not saved' bakfs backup live
opensearch s-live POST /notes/_open >/dev/null
sed 's/^type = opensearch/&\nindices = nothing*/' bakfs.conf >nothing.conf
refused 'no index of the server matches "nothing\*"' bakfs --config nothing.conf backup live

# --- mode snapshot: the folder
with()
{
	sed "s|^path = $work/s-live/repo/shared|$1|" bakfs.conf >with.conf
}
with "path = $work/s-live/repo/shared\nserver_path = /elsewhere\nrepository = other"
refused "doesn't match any of the locations specified by path.repo.*set path.repo" \
	bakfs --config with.conf backup snap
: >s-live/repo/file
with "path = $work/s-live/repo/file/deeper\nrepository = other"
refused 'not accessible on the node|repository_exception|Not a directory' \
	bakfs --config with.conf backup snap
mkdir s-live/repo/other
with "path = $work/s-live/repo/other\nserver_path = $work/s-live/repo/shared"
refused "the server's snapshot is not in path" bakfs --config with.conf backup snap
with ''
refused 'path is not set' bakfs --config with.conf backup snap
with "path = $work/s-live/repo/other"
refused 'repository bakfs lies in .*/shared' bakfs --config with.conf backup snap

# --- mode snapshot: what the server makes of it
rules '{"match": "GET /_snapshot/bakfs/bakfs-", "do": "replace", "what": "\"state\":\"SUCCESS\"", "by": "\"state\":\"PARTIAL\""}' \
	'{"match": "DELETE /_snapshot/bakfs/", "times": 2, "do": "drop"}'
refused "the server's snapshot is PARTIAL: 0 of" bakfs backup snap
is "$(opensearch s-live GET /_snapshot/bakfs/_all | jq '.snapshots | length')" 1
rules '{"match": "GET /_snapshot/bakfs/bakfs-", "do": "replace", "what": "\"failed\":0", "by": "\"failed\":1"}'
refused "the server's snapshot is SUCCESS: 1 of" bakfs backup snap
rules '{"match": "_current", "do": "answer", "status": 200, "body": "{\"snapshots\": [{\"snapshot\": \"nightly\"}]}"}'
refused 'snapshot nightly runs in repository bakfs: try later' bakfs backup snap
if [ $EUID = 0 ] && mkdir s-live/repo/small && mount -t tmpfs -o size=100k none s-live/repo/small 2>/dev/null; then
	with "path = $work/s-live/repo/small\nrepository = bakfs-small"
	expect 1 'No space left on device|gave up its snapshot: .* bytes free' bakfs --config with.conf backup snap
	opensearch s-live DELETE /_snapshot/bakfs-small >/dev/null
	umount s-live/repo/small
	same
	mkdir full
	mount -t tmpfs -o size=48k none full
	sed "s|^path = $work/repo|path = $work/full/repo|" bakfs.conf >full.conf
	expect 0 'made repository' bakfs --config full.conf init
	expect 1 'no space left' bakfs --config full.conf backup live
	umount full
	same
fi

# --- a restore is given up before anything is touched
rules '{"match": "GET /$", "do": "replace", "what": "2.19.1", "by": "2.18.0"}'
refused 'the snapshot is of OpenSearch 2.19.1, and the server is 2.18.0: it reads none of newer' \
	bakfs restore snap@latest --yes
rules '{"match": "GET /$", "do": "replace", "what": "2.19.1", "by": "4.0.0"}'
refused 'it reads those of 3 and 4' bakfs restore snap@latest --yes
rules '{"match": "/_nodes/stats/fs", "do": "replace", "what": "\"available_in_bytes\":[0-9]*", "by": "\"available_in_bytes\":10"}'
refused "the server's nodes have 10 bytes free" bakfs restore 1 --yes
opensearch s-live PUT /_cluster/settings '{"transient": {"cluster.max_shards_per_node": 3}}' >/dev/null
refused 'this action would add.*raise cluster.max_shards_per_node' bakfs restore 1 --yes
opensearch s-live PUT /_cluster/settings '{"transient": {"cluster.max_shards_per_node": null}}' >/dev/null

# --- documents that it does not take, or not at once
opensearch s-live PUT /_index_template/full '{"index_patterns": ["bakfs-*"], "template": {"settings": {"index.blocks.read_only_allow_delete": true}}}' >/dev/null
expect 1 'read-only-allow-delete.*data disk is full' bakfs restore 1 --yes
opensearch s-live DELETE /_index_template/full >/dev/null
# An answer that is lost; and clean-ups that do not arrive, or of which nobody hears.
rules '{"match": "POST /articles/_clone", "times": 1, "do": "lose"}' \
	'{"match": "DELETE /bakfs-", "times": 3, "do": "drop"}' \
	'{"match": "DELETE /bakfs-", "times": 2, "do": "lose"}'
refused 'keeping index articles as bakfs-before-.*(already exists|lost)' bakfs restore 1 --yes
! grep -q 'left over' told || fail "$(cat told)"
rules '{"match": "_bulk", "times": 2, "do": "items", "status": 429}'
expect 0 'live: restored' bakfs restore 1 --yes
rules
digest | diff want - >diff || fail "after 429: $(head -3 diff)"
expect 0 'rolled back' bakfs rollback live --yes
opensearch s-live GET '/_alias/articles' >out
kept=$(jq -r 'keys[0]' out)
case $kept in bakfs-before-*) ;; *) fail "articles leads to $kept" ;; esac
opensearch s-live DELETE "/bakfs-2*" >/dev/null
left=2
same() {
	digest | diff want - >diff || fail "it changed: $(head -3 diff)"
	opensearch s-live PUT '/articles/_doc/a0000000?refresh' "$(opensearch s-live GET /articles/_source/a0000000)" >out
	json .result updated
	opensearch s-live GET '/_resolve/index/bakfs-*' >out
	json '.indices | length' $left
	is "$(opensearch s-live GET '/_snapshot' | jq -c 'keys - ["bakfs"]')" '[]'
	is "$(find s-live/repo/shared -name '*bakfs*')" ''
}
same
rules '{"match": "_bulk", "do": "items", "status": 400}'
refused 'document "a[0-9]*" was not taken \(status 400\): made_up_exception: as told' bakfs restore 1 --yes
rules '{"match": "_bulk", "do": "items", "status": 429}'
refused 'takes no more documents.*made_up_exception' bakfs restore 1 --yes
rules '{"match": "_bulk", "do": "answer", "status": 413, "body": "{\"error\": \"too large\"}"}'
refused 'too large' bakfs restore 1 --yes
rules '{"match": "bakfs-.*/_count", "do": "replace", "what": "\"count\":[0-9]+", "by": "\"count\":7"}'
refused 'validation: index articles has 7 documents' bakfs restore 1 --yes
rules '{"match": "bakfs-.*/_count", "do": "replace", "what": "\"failed\":0", "by": "\"failed\":1"}'
refused 'counting bakfs-.*shards answered' bakfs restore snap@latest --yes
rules '{"match": "/_restore", "times": 1, "do": "lose"}'
refused 'already exists|lost' bakfs restore snap@latest --yes

# --- the exchange: not done; done, and nobody heard of it; nobody knows
rules '{"match": "POST /_aliases", "do": "answer", "status": 500, "body": "{\"error\": {\"type\": \"process_cluster_event_timeout_exception\", \"reason\": \"failed\"}}"}'
refused 'process_cluster_event_timeout_exception' bakfs restore 1 --yes
rules '{"match": "POST /_aliases", "times": 1, "do": "drop"}'
refused 'live: ' bakfs restore 1 --yes
rules '{"match": "POST /_aliases", "times": 1, "do": "lose"}'
expect 0 'live: restored' bakfs restore 1 --yes
rules
expect 0 'rolled back' bakfs rollback live --yes
opensearch s-live DELETE "/bakfs-2*" >/dev/null
same
rules '{"match": "POST /_aliases", "do": "drop"}' '{"match": "_resolve/index/(articles|notes)", "from": 3, "do": "drop"}'
expect 1 'nobody knows whether alias articles leads to bakfs-.*the old index is kept as bakfs-before' bakfs restore 1 --yes
rules
opensearch s-live DELETE "/bakfs-2*" >/dev/null
same

# --- CUTS=all: a connection that is lost at each request of a restore, once, and of a backup, for good
[ "${CUTS-}" = all ] || exit 0
# requests COMMAND...: how many it makes.
requests()
{
	: >proxy/log
	"$@" >out 2>err </dev/null
	wc -l <proxy/log
}
for store in live snap; do
	all=$(requests bakfs restore $store@latest --yes)
	expect 0 'rolled back' bakfs rollback $store --yes
	opensearch s-live DELETE "/bakfs-2*" >/dev/null
	for ((from = 1; from <= all; from++)); do
		for do in lose drop; do
			rules "{\"match\": \".\", \"from\": $from, \"times\": 1, \"do\": \"$do\"}"
			status=0
			bakfs restore $store@latest --yes >out 2>err </dev/null || status=$?
			rules
			if [ $status = 1 ]; then
				[ -s err ] || fail "no word of it"
			else
				digest | diff want - >diff || fail "$store: $do at $from: $(head -3 diff)"
				expect 0 'rolled back' bakfs rollback $store --yes
			fi
			opensearch s-live DELETE "/bakfs-2*" >/dev/null
			same
		done
	done
	all=$(requests bakfs backup $store)
	before=$(ls repo/snapshots)
	for ((from = 1; from < all; from++)); do
		rules "{\"match\": \".\", \"from\": $from, \"do\": \"drop\"}"
		status=0
		bakfs backup $store >out 2>err </dev/null || status=$?
		rules
		[ $status = 3 ] || is $status 1
		[ $status = 1 ] || before=$(ls repo/snapshots)
		[ -s err ] || fail "no word of it"
		is "$(ls repo/snapshots)" "$before"
		opensearch s-live DELETE /_search/point_in_time/_all >/dev/null
	done
done
same
