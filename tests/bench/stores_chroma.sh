# shellcheck shell=bash
# ChromaDB for tests/bench/stores: a collection of 50,000 rows of 384 numbers at scale 100, beside
# curl that fetches the same pages. Each night 1 % of the rows get new embeddings.

TESTS=$servers/..
# Not in the home that is thrown away.
BAKFS_TEST_SERVERS=${BAKFS_TEST_SERVERS:-$(getent passwd "$(id -u)" | cut -d: -f6)/.cache/bakfs-test-servers}
# shellcheck source=/dev/null
. "$servers/chroma.sh"

stop_chroma() { chroma_stop "$work/server"; }

chroma_store() { printf '[store bench]\ntype = chroma\nurl = %s\n' "$(chroma_url "$work/server")"; }

# Every page over one connection, as large as ours are.
chroma_pages()
{
	local at
	for ((at = 0; at < chroma_rows; at += 750)); do
		[ "$at" = 0 ] || echo next
		printf 'url = "%s/get"\noutput = "/dev/null"\nheader = "Content-Type: application/json"\n' \
			"$chroma_collection"
		printf 'data = "{\\"limit\\":750,\\"offset\\":%d,\\"include\\":[%s]}"\n' "$at" \
			'\"embeddings\",\"documents\",\"metadatas\",\"uris\"'
	done
}

bench_chroma()
{
	local i before
	chroma_rows=$((500 * scale))
	chroma_need
	chroma_start "$work/server"
	chroma_data fill "$(chroma_url "$work/server")" bench "$chroma_rows" 384
	chroma_collection=$(chroma_url "$work/server")/api/v2/tenants/default_tenant/databases/default_database/collections
	chroma_collection+=/$(curl -sf "$chroma_collection/bench" | jq -r .id)
	chroma_pages >"$work/pages"
	echo "$("$bakfs" --version | head -1), Chroma $chroma_version, $chroma_rows rows, $runs runs, medians"
	for ((i = 0; i < runs; i++)); do
		chroma_store | begin_repository
		measure curl curl -sf -K "$work/pages"
		measure first "$bakfs" -q backup
		value whole "$(repository_size)"
		chroma_data change "$(chroma_url "$work/server")" bench \
			$((chroma_rows / 100 * i)) $((chroma_rows / 100 * (i + 1)))
		before=$(repository_size)
		measure second "$bakfs" -q backup
		value added $(($(repository_size) - before))
	done
	measure restore "$bakfs" -q restore bench@latest --yes

	begin_table chroma
	compare 'first backup, beside curl of the same pages' first curl 1.25
	compare 'after 1 % of the rows changed' second curl 1.25
	share 'which adds, of the first' "$(median added)" "$(median whole)" B '3 %'
	row 'restore' "$(timing restore)" '' '' ''
	peak 'peak of a first backup' first '128 MiB'
	peak 'peak of a second backup' second '128 MiB'
	peak 'peak of a restore' restore '128 MiB'
}
