# shellcheck shell=bash
# For tests/bench/stores: a Redis server with 10,000 x SCALE small keys (and some of every type),
# beside `redis-cli --rdb`, which copies the same stream to a null device and looks at nothing.
. "$servers/redis.sh"

redis_version=7.0

stop_redis() { [ ! -f "$work/server/pid" ] || redis_stop "$work/server"; }

# redis_edit ROUND: every 77th key of the small ones, scattered: 1.3 %.
redis_edit()
{
	awk -v n=$((scale * 10000)) -v round="$1" 'BEGIN {
		for (i = 0; i < n; i += 77)
			printf "SET k:%d edited-%d-%d\r\n", i - i % 8, round, i }' |
		redis "$work/server" --pipe >/dev/null
}

bench_redis()
{
	redis_need $redis_version && command -v redis-cli >/dev/null || {
		echo "redis $redis_version cannot be had" >&2
		exit 77
	}
	redis_start $redis_version "$work/server" 'save ""'
	python3 "$servers/redis_data.py" $redis_version $((scale * 10000)) |
		redis "$work/server" --pipe >/dev/null
	local run before size
	for ((run = 0; run < runs; run++)); do
		measure theirs sh -c "exec redis-cli -s '$work/server/sock' --rdb - >/dev/null"
		begin_repository <<-END
			[store live]
			type = redis
			address = $work/server/sock
		END
		measure backup "$bakfs" -q backup live
		before=$(repository_size)
		redis_edit "$run"
		measure next "$bakfs" -q backup live
		value added $(($(repository_size) - before))
		measure restore "$bakfs" -q restore live@latest --yes --no-safety
	done
	redis "$work/server" save >/dev/null
	echo "$("$bakfs" --version | head -1), $(redis-server --version | cut -d' ' -f1-3), $runs runs, medians"
	size=$(stat -c %s "$work/server/dump.rdb")
	begin_table "Redis $redis_version, $((scale * 10000)) keys, RDB of $((size >> 20)) MiB"
	compare "backup, beside redis-cli --rdb" backup theirs 1.2
	compare "the next one, 1.3 % of the keys edited" next theirs ""
	share "what that adds" "$(median added)" "$size" bytes ""
	row "restore, as the server's master" "$(timing restore)" "" "" ""
	peak "peak memory: backup" backup 128
	peak "peak memory: the next one" next 128
	peak "peak memory: restore" restore 128
}
