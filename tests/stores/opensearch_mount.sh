#!/bin/bash
# OpenSearch through the mount: a server takes what cp takes out, and the ways back by /restore: a
# trigger, a part, an export, a repository, one file of documents; each whole, or refused.
set -euo pipefail
. "$TESTS/servers/opensearch.sh"
. "$TESTS/lib/cli.sh"

need_fuse
command -v curl >/dev/null || skip "curl is missing"
opensearch_need || skip "opensearch cannot be had: $opensearch_why"
trap 'for dir in "$work"/s-*; do [ ! -f "$dir/pid" ] || opensearch_kill "$dir"; done; cleanup' EXIT

data=$TESTS/servers/opensearch_data.py
opensearch_start s-live || fail "no server"
url=$(cat s-live/url)
setup_repository <<END
[store live]
type = opensearch
url = $url
indices = articles
indices = notes
[store snap]
type = opensearch
url = $url
indices = articles
indices = notes
mode = snapshot
path = $work/s-live/repo/shared
[mount]
restore_delay = 0
END
opensearch s-live PUT /articles '{"settings": {"number_of_shards": 2, "number_of_replicas": 0}}' >/dev/null
python3 "$data" bulk "$url" articles 0 300
opensearch s-live PUT /notes '{"settings": {"number_of_replicas": 0}, "aliases": {"reading": {}}}' >/dev/null
opensearch s-live PUT '/notes/_doc/1?refresh' '{"a": 1}' >/dev/null
digest()
{
	python3 "$data" digest "$url" articles notes
}
# spoil: something else is there.
spoil()
{
	opensearch s-live PUT '/articles/_doc/new?refresh' '{"n": -1}' >/dev/null
	opensearch s-live DELETE '/notes/_doc/1?refresh' >/dev/null
}
# result ROOM REGEX: once the job is over that a touch started.
result()
{
	cat "mnt/restore/$1/wait" >result || fail "wait: $?"
	grep -Eq "$2" result || fail "not \"$2\": $(cat result "mnt/restore/$1/status"; tail -5 "mnt/restore/$1/log")"
}
digest >want
expect 0 'snap: snapshot 2' bakfs backup
mkdir mnt
bakfs mount mnt

# --- out of it
(cd mnt/latest && sha256sum --quiet -c live.sha256 snap.sha256)
mkdir s-live/repo/copy
cp -r mnt/latest/snap/repository/. s-live/repo/copy/
opensearch s-live PUT /_snapshot/copy "{\"type\": \"fs\", \"settings\": {\"location\": \"$work/s-live/repo/copy\", \"readonly\": true}}" >out
json .acknowledged true
name=$(opensearch s-live GET /_snapshot/copy/_all | jq -r '.snapshots[0].snapshot')
opensearch s-live POST "/_snapshot/copy/$name/_restore?wait_for_completion=true" \
	'{"indices": "articles", "rename_pattern": "articles", "rename_replacement": "taken"}' >out
json .snapshot.shards.failed 0
is "$(opensearch s-live GET /taken/_count | jq .count)" 300
opensearch s-live DELETE /taken >/dev/null
opensearch s-live DELETE /_snapshot/copy >/dev/null

# --- by a trigger, and back; a part
for store in live snap; do
	spoil
	touch mnt/restore/$store/latest
	result $store '^done'
	digest | diff want - >diff || fail "$store: touch latest: $(head -3 diff)"
	touch mnt/restore/$store/rollback
	result $store '^done'
	is "$(opensearch s-live GET /articles/_count | jq .count)" 301
	opensearch s-live PUT '/notes/_doc/2?refresh' '{"a": 2}' >/dev/null
done
stamp=$(readlink mnt/by-store/live/latest)
mkdir -p "mnt/restore/live/$stamp/indices"
touch "mnt/restore/live/$stamp/indices/articles"
result live '^done'
is "$(opensearch s-live GET /articles/_count | jq .count)" 300
is "$(opensearch s-live GET /notes/_source/2)" '{"a": 2}'

# --- by copies: an export, a repository, a folder of one index, a file
copied() # ROOM NAME
{
	touch "mnt/restore/$1/$2"
	result "$1" "${3-^done}"
	rm -rf "mnt/restore/$1/${2:?}"
}
spoil
cp -r mnt/latest/live mnt/restore/live/export
copied live export
digest | diff want - >diff || fail "an export: $(head -3 diff)"
spoil
cp -r mnt/latest/snap/repository mnt/restore/snap/copy
copied snap copy
is "$(opensearch s-live GET /articles/_count | jq .count)" 300
is "$(opensearch s-live GET /notes/_source/1)" '{"a": 1}'
spoil
cp -r mnt/latest/live/indices/articles mnt/restore/live/
copied live articles
is "$(opensearch s-live GET /articles/_count | jq .count)" 300
printf '%s\n' '{"create": {"_index": "notes", "_id": "8"}}' '{"b": [1.50]}' >some.ndjson
cp some.ndjson mnt/restore/live/
copied live some.ndjson
opensearch s-live GET /notes/_search >out
json '.hits.total.value' 1
grep -qF '"_source":{"b": [1.50]}' out || fail "not as it was copied in: $(cat out)"
opensearch s-live GET /articles/_count >out
json .count 300

# --- whole, or refused
digest >before
refused() # ROOM NAME REGEX
{
	copied "$1" "$2" "$3"
	digest | diff before - >diff || fail "$2 was refused, and changed: $(head -3 diff)"
}
printf '%s\n' '{"index": {"_index": "others", "_id": "8"}}' '{}' >others.ndjson
printf '%s\n' '{"index": {"_id": "8"}}' '{"a":' >cut.ndjson
printf '%s\n' '{"index": {"_index": "notes", "_id": "8"}}' '{}' '{"index": {"_index": "articles", "_id": "8"}}' '{}' >two.ndjson
cp others.ndjson cut.ndjson two.ndjson mnt/restore/live/
refused live others.ndjson 'documents of index others, which is not one of the store'
refused live cut.ndjson 'document 1: its second line is no JSON object'
refused live two.ndjson 'documents of index notes and of articles'
for damage in cut missing list catalogue; do
	rm -rf damaged
	cp -r mnt/latest/snap/repository damaged
	chmod -R u+w damaged
	blob=$(find damaged/indices -name '__*' -size +1k | sort | head -1)
	case $damage in
	cut) truncate -s -1 "$blob" ;;
	missing) rm "$blob" ;;
	list) printf x | dd of="$(find damaged/indices -name 'snap-*' | sort | head -1)" bs=1 seek=50 conv=notrunc status=none ;;
	catalogue) rm damaged/index.latest ;;
	esac
	cp -r damaged "mnt/restore/snap/$damage"
	refused snap $damage 'the repository is not whole: .*(missing|cut off or damaged)|none of a snapshot.s files'
done
umount mnt
