# shellcheck shell=bash
# Qdrant for tests/bench/stores: a collection, 50 MB of vectors at scale 100, beside curl that has a
# snapshot made, fetches it, and puts it back. Each night 1 % of its points change, here and there.
# With $BAKFS_TEST_QDRANT, the program of a real server, it is that one; else a stand-in, whose
# snapshots have the shape of real ones, but whose times tell nothing.

stop_qdrant() { [ ! -f "$work/qd/pid" ] || kill "$(cat "$work/qd/pid")" 2>/dev/null || true; }

qdrant_fetch()
{
	local url name
	url=$(qdrant_url "$work/qd")/collections/bench/snapshots
	name=$(curl -fsS -X POST "$url" | jq -r .result.name)
	curl -fsS -o "$1" "$url/$name"
	curl -fsS -X DELETE "$url/$name" >/dev/null
}

qdrant_put()
{
	curl -fsS -X POST -F "snapshot=@$1" -o /dev/null \
		"$(qdrant_url "$work/qd")/collections/copy/snapshots/upload?priority=snapshot"
	qdrant "$work/qd" drop copy
}

qdrant_rounds()
{
	local i before
	for ((i = 0; i < runs; i++)); do
		printf '[store bench]\ntype = qdrant\nurl = %s\ncollection = live\n' "$(qdrant_url "$work/qd")" |
			begin_repository
		measure fetch bash -c '. "$0"; . "$1"; work=$2; qdrant_fetch /dev/null' \
			"$servers/qdrant.sh" "$here/stores_qdrant.sh" "$work"
		measure first "$bakfs" -q backup
		before=$(repository_size)
		measure same "$bakfs" -q backup
		value same_added $(($(repository_size) - before))
		qdrant "$work/qd" change bench 0.01 "$i"
		before=$(repository_size)
		measure second "$bakfs" -q backup
		value added $(($(repository_size) - before))
		measure restore "$bakfs" -q restore bench@latest --yes
		qdrant "$work/qd" alias live bench
		qdrant "$work/qd" drop $(qdrant "$work/qd" collections | grep bakfs)
	done
}

bench_qdrant()
{
	local size points=$((1000 * scale)) i
	export TESTS=$servers/..
	# shellcheck source=/dev/null
	. "$servers/qdrant.sh"
	qdrant_real || points=$((points / 10))
	qdrant_start "$work/qd"
	qdrant "$work/qd" fill bench $points 128
	qdrant "$work/qd" alias live bench
	qdrant_fetch "$work/snapshot"
	size=$(stat -c %s "$work/snapshot")
	echo "$("$bakfs" --version | head -1), $(curl -fsS "$(qdrant_url "$work/qd")/" | jq -r .version)" \
		"$(qdrant_real && echo real || echo 'a stand-in'), $points points, $runs runs, medians"
	qdrant_rounds
	for ((i = 0; i < runs; i++)); do
		measure upload bash -c '. "$0"; . "$1"; work=$2; qdrant_put "$work/snapshot"' \
			"$servers/qdrant.sh" "$here/stores_qdrant.sh" "$work"
	done

	begin_table qdrant
	compare 'first backup, beside curl of a snapshot' first fetch ''
	compare 'after 1 % of the points changed' second fetch ''
	share 'which adds, of the snapshot' "$(median added)" "$size" B '3 %'
	share 'a second one of the same adds' "$(median same_added)" "$size" B ''
	compare 'restore, beside curl of an upload' restore upload ''
	peak 'peak of a first backup' first '128 MiB'
	peak 'peak of a second backup' second '128 MiB'
	peak 'peak of a restore' restore '128 MiB'
}
