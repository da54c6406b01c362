# shellcheck shell=bash
# OpenSearch for tests/bench/stores: 200,000 documents at scale 100, beside a plain read of the same
# shards by curl, page after page (sort _doc, search_after; each shard in turn, a connection each, as
# many as there are shards at once). Each night 1 % of the documents change, here and there.

stop_opensearch() { opensearch_kill "$work/os"; }

opensearch_store()
{
	printf '[store bench]\ntype = opensearch\nurl = %s\nindices = bench\n' "$(cat "$work/os/url")"
	[ "$1" = export ] || printf 'mode = snapshot\npath = %s\n' "$work/os/repo/shared"
}

opensearch_fill()
{
	python3 - "$(cat "$work/os/url")" "$@" <<'PY'
import json, random, sys, urllib.request
url, begin, end, night = sys.argv[1], *map(int, sys.argv[2:])
words = [''.join(random.Random(i).choices('abcdefghijklmnop', k=3 + i % 7)) for i in range(5000)]
def document(i, version):
    r = random.Random(i)
    return {'n': i, 'version': version, 'text': ' '.join(r.choices(words, k=60)), 'tag': r.choice(words),
            'price': r.random()}
def send(lines):
    data = ('\n'.join(lines) + '\n').encode()
    request = urllib.request.Request(url + '/bench/_bulk', data, {'Content-Type': 'application/x-ndjson'})
    assert not json.load(urllib.request.urlopen(request))['errors']
changed = range(begin, end) if not night else random.Random(night).sample(range(begin, end), (end - begin) // 100)
lines = []
for i in changed:
    lines += [json.dumps({'index': {'_id': f'{i:08d}'}}), json.dumps(document(i, night))]
    if len(lines) == 4000:
        send(lines)
        lines = []
if lines:
    send(lines)
urllib.request.urlopen(urllib.request.Request(url + '/bench/_refresh', method='POST'))
PY
}

# A shard, page after page, to nowhere.
opensearch_read_shard()
{
	local url pit=$1 shard=$2 shards=$3 after='' body page=$work/page-$2
	url=$(cat "$work/os/url")
	while :; do
		body="{\"size\":2000,\"pit\":{\"id\":\"$pit\",\"keep_alive\":\"10m\"},\"slice\":{\"id\":$shard,\"max\":$shards},\"sort\":[\"_doc\"],\"track_total_hits\":false$after}"
		curl -sS -H 'Content-Type: application/json' -d "$body" "$url/_search" >"$page"
		after=$(tail -c 40 "$page" | sed -n 's/.*"sort":\[\([0-9]*\)\]}\]}}$/,"search_after":[\1]/p')
		[ "$after" ] || break
	done
}
opensearch_read()
{
	local pit shard shards=$1
	pit=$(curl -sS -X POST "$(cat "$work/os/url")/bench/_search/point_in_time?keep_alive=10m" | jq -r .pit_id)
	for ((shard = 0; shard < shards; shard++)); do
		opensearch_read_shard "$pit" $shard "$shards" &
	done
	wait
}

bench_opensearch()
{
	local i before mode shards=4 documents=$((2000 * scale)) size
	TESTS=$here/..
	# Not in the home that is thrown away.
	BAKFS_TEST_SERVERS=${BAKFS_TEST_SERVERS:-$(getent passwd "$(id -u)" | cut -d: -f6)/.cache/bakfs-test-servers}
	. "$servers/opensearch.sh"
	opensearch_need || { echo "no server: $opensearch_why" >&2; exit 77; }
	opensearch_start "$work/os"
	opensearch "$work/os" PUT /bench "{\"settings\": {\"number_of_shards\": $shards, \"number_of_replicas\": 0}}" >/dev/null
	opensearch_fill 0 $documents 0
	export -f opensearch_read opensearch_read_shard
	export work
	echo "$("$bakfs" --version | head -1), OpenSearch 2.19.1, $documents documents, $shards shards, $runs runs, medians"
	for mode in export snapshot; do
		for ((i = 0; i < runs; i++)); do
			opensearch_store $mode | begin_repository
			[ $mode = snapshot ] || measure curl bash -c "opensearch_read $shards"
			measure first-$mode "$bakfs" -q backup
			size=$("$bakfs" show bench@latest --json | jq '.snapshots[0].bytes // .snapshots[0].manifest.bytes')
			value size-$mode "$size"
			opensearch_fill 0 $documents $((i + 1))
			before=$(repository_size)
			[ $mode = snapshot ] || measure curl-second bash -c "opensearch_read $shards"
			measure second-$mode "$bakfs" -q backup
			value added-$mode $(($(repository_size) - before))
		done
		measure restore-$mode "$bakfs" -q restore bench@latest --yes
		opensearch "$work/os" DELETE '/bakfs-before-*' >/dev/null
	done

	begin_table opensearch
	compare 'first export, beside reading it with curl' first-export curl 1.25
	compare 'export after 1 % changed' second-export curl-second 1.25
	share 'which adds, of the export' "$(median added-export)" "$(median size-export)" B '3 %'
	share 'a snapshot after 1 % changed adds' "$(median added-snapshot)" "$(median size-snapshot)" B '3 %'
	peak 'peak of a first export' first-export '128 MiB'
	peak 'peak of a second export' second-export '128 MiB'
	peak 'peak of a restore of it' restore-export '128 MiB'
	peak 'peak of a first snapshot' first-snapshot '128 MiB'
	peak 'peak of a restore of it' restore-snapshot '128 MiB'
}
