#!/bin/bash
# OpenSearch as a user has it: indices of several shapes, saved in both ways while others write, and
# brought back into themselves and into a fresh server; what comes back is compared by plain queries
# (tests/servers/opensearch_data.py). DOCUMENTS says how many small documents there are.
set -euo pipefail
. "$TESTS/servers/opensearch.sh"
. "$TESTS/lib/cli.sh"

documents=${DOCUMENTS:-1000}
command -v curl >/dev/null || skip "curl is missing"
opensearch_need || skip "opensearch cannot be had: $opensearch_why"
trap 'for dir in "$work"/s-*; do [ ! -f "$dir/pid" ] || opensearch_kill "$dir"; done; cleanup' EXIT

data=$TESTS/servers/opensearch_data.py
names=(articles empty nested 'odd.names-$x_1' routed)
digest()
{
	python3 "$data" digest "$(cat "$1/url")" "${@:2}"
}

opensearch_start s-live || fail "no server"
url=$(cat s-live/url)
setup_repository <<END
[store live]
type = opensearch
url = $url
exclude = diary
[store snap]
type = opensearch
url = $url
mode = snapshot
path = $work/s-live/repo/shared
exclude = diary
[store diary]
type = opensearch
url = $url
indices = diary
[store diary-snap]
type = opensearch
url = $url
indices = diary
mode = snapshot
path = $work/s-live/repo/diary
repository = diary
END
python3 "$data" fill "$url" "$documents"
digest s-live "${names[@]}" >want

# all_before COUNT NEWEST: the pair says NEWEST, and all that was written before it is there. A request
# of two documents is no one moment: the one behind the pair may be missing.
all_before()
{
	[ $(($1 - $2)) = 1 ] || [ $(($1 - $2)) = 2 ] || fail "$1 documents, and the newest is $2"
}

# --- one moment of each index, whatever happens meanwhile: the newest document has all before it
opensearch s-live PUT /diary '{"settings": {"number_of_shards": 1, "number_of_replicas": 0}}' >/dev/null
python3 "$data" write "$url" diary &
writer=$!
until [ "$(opensearch s-live GET /diary/_count | jq .count)" -gt 200 ]; do :; done
expect 0 'diary: snapshot 1' bakfs backup diary
expect 0 'diary-snap: snapshot 2' bakfs backup diary-snap
kill $writer
wait $writer 2>/dev/null || true
bakfs restore 1 --to out-diary -q
grep -A1 '"pair"' out-diary/indices/diary/documents-0000.ndjson | tail -1 | jq .v >newest
grep -c '"_id":"w' out-diary/indices/diary/documents-0000.ndjson >number
all_before $(($(cat number) + 1)) $(cat newest)
for store in diary diary-snap; do
	expect 0 "$store: restored" bakfs restore $store@latest --yes
	opensearch s-live GET '/diary/_doc/pair?routing=x' >out
	newest=$(jq ._source.v out)
	opensearch s-live GET '/diary/_search?q=_id:w*' >out
	all_before "$(opensearch s-live GET /diary/_count | jq .count)" "$newest"
	[ $store != diary ] || is "$newest" "$(cat newest)"
done
opensearch s-live DELETE "/bakfs-*" >/dev/null

# --- what is in a snapshot is what the server's own tools take
expect 0 'live: snapshot 3' bakfs backup live
expect 0 'snap: snapshot 4' bakfs backup snap
bakfs show 3 --json >out
json '.snapshots[0].manifest.data.counts.articles' "$(opensearch s-live GET /articles/_count | jq .count)"
json '.snapshots[0].manifest.data.counts | length' 5
bakfs show 4 --json >out
json '.snapshots[0].manifest.data.counts.routed' 200
bakfs restore 3 --to out-live -q
bakfs restore 4 --to out-snap -q
is "$(grep -c pretty out-live/indices/odd*/documents-0000.ndjson)" 1
grep -qxF '{ "a" : 1, "b" : "two  blanks"}' out-live/indices/odd*/documents-0000.ndjson ||
	fail "a document is not what it was"
grep -qxF '{"exact":1.10}' out-live/indices/odd*/documents-0000.ndjson || fail "a number is not what it was"
opensearch s-live PUT /by-hand @out-live/indices/routed/index.json >/dev/null
for file in out-live/indices/routed/*.ndjson; do
	curl -sS -H 'Content-Type: application/x-ndjson' --data-binary "@$file" "$url/by-hand/_bulk" >out
	json .errors false
done
digest s-live by-hand | sed 's/^by-hand/routed/' | grep -v '^/' >got
grep ^routed want | diff got - >diff || fail "by hand: $(head -3 diff)"
opensearch s-live DELETE /by-hand >/dev/null

# --- a second backup of the same adds next to nothing
expect 0 'live: snapshot 5.*added [0-9.]* (B|KiB)' bakfs backup live

# --- back, over what is there; and undone; and done again
change()
{
	opensearch s-live GET /nested/_alias | jq -r 'keys[0]' >nested
	opensearch s-live DELETE "/$(cat nested)" >/dev/null
	opensearch s-live PUT '/articles/_doc/new?refresh' '{"n": -1}' >/dev/null
	opensearch s-live DELETE '/routed/_doc/7?routing=r2&refresh' >/dev/null
	opensearch s-live PUT /_ingest/pipeline/stamp '{"processors": []}' >/dev/null
	digest s-live articles empty routed >changed
}
for store in live snap; do
	change
	expect 0 "$store: restored" bakfs restore $store@latest --yes -v
	grep -q 'validated: 5 counts' err || fail "not counted: $(cat err)"
	digest s-live "${names[@]}" | diff want - >diff || fail "$store: $(head -3 diff)"
	expect 0 'rolled back' bakfs rollback $store --yes
	digest s-live articles empty routed | diff changed - >diff || fail "$store: rollback: $(head -3 diff)"
	is "$(opensearch s-live GET /nested/_count | jq .status)" 404
	expect 0 'rolled back' bakfs rollback $store --yes
	digest s-live "${names[@]}" | diff want - >diff || fail "$store: again: $(head -3 diff)"
	# saved under the names that lead to them
	expect 0 "$store: snapshot" bakfs backup $store
	bakfs show $store@latest --json >out
	json '.snapshots[0].manifest.data.indices | map(.name) | join(" ")' "${names[*]}"
done
expect 3 'advice: .* left by restores' bakfs doctor live
opensearch s-live DELETE "/bakfs-before-*" >/dev/null

# --- one of them, by its name, by a pattern, by its path
opensearch s-live POST '/articles/_delete_by_query?refresh&conflicts=proceed' '{"query": {"match_all": {}}}' >/dev/null
opensearch s-live DELETE '/routed/_doc/7?routing=r2&refresh' >/dev/null
expect 0 'snap: restored' bakfs restore snap@latest --yes --index 'art*'
digest s-live articles | grep ^articles >got
grep ^articles want | diff - got >diff || fail "part of snap: $(head -3 diff)"
is "$(opensearch s-live GET /routed/_count | jq .count)" 199
expect 0 'live: restored' bakfs restore live@latest --yes --only indices/routed
digest s-live "${names[@]}" | diff want - >diff || fail "part of live: $(head -3 diff)"
expect 1 'the snapshot has no such index' bakfs restore live@latest --yes --index nothing

# --- the server keeps one snapshot of each store, and others' for ever
opensearch s-live PUT '/_snapshot/bakfs/others?wait_for_completion=true' '{"indices": "routed"}' >/dev/null
expect 0 'snap: snapshot' bakfs backup snap
opensearch s-live GET /_snapshot/bakfs/_all >out
json '[.snapshots[] | select(.metadata.bakfs)] | length' 1
json '.snapshots | length' 2

# --- into a fresh server: out of the repository, and with what cp takes out
opensearch_start s-fresh || fail "no second server"
sed "s|$url|$(cat s-fresh/url)|; s|$work/s-live|$work/s-fresh|" bakfs.conf >fresh.conf
mkdir s-fresh/repo/shared
expect 0 'live: restored' bakfs --config fresh.conf restore live@latest --yes
digest s-fresh "${names[@]}" | diff want - >diff || fail "fresh: $(head -3 diff)"
opensearch s-fresh DELETE "/bakfs-*" >/dev/null
expect 0 'snap: restored' bakfs --config fresh.conf restore snap@latest --yes
digest s-fresh "${names[@]}" | diff want - >diff || fail "fresh snap: $(head -3 diff)"
is "$(ls -A s-fresh/repo/shared)" ""
is "$(opensearch s-fresh GET /_snapshot)" "{}"
opensearch s-fresh DELETE "/bakfs-*" >/dev/null
cp -r out-snap/repository s-fresh/repo/copy
opensearch s-fresh PUT /_snapshot/copy "{\"type\": \"fs\", \"settings\": {\"location\": \"$work/s-fresh/repo/copy\", \"readonly\": true}}" >out
json .acknowledged true
bakfs show 4 --json >out
snapshot=$(jq -r '.snapshots[0].manifest.data.snapshot' out)
opensearch s-fresh POST "/_snapshot/copy/$snapshot/_restore?wait_for_completion=true" '{"indices": "*"}' >out
json .snapshot.shards.failed 0
digest s-fresh "${names[@]}" | diff want - >diff || fail "the copy: $(head -3 diff)"
