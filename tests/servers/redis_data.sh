# What test servers are filled with, and what they say they have: to be sourced after redis.sh.

# redis_fill DIR VERSION KEYS: every type and encoding, streams with groups, times to live, two
# databases, functions where there are any, and KEYS small keys.
redis_fill()
{
	local dir=$1 version=$2 keys=$3
	python3 "$TESTS/servers/redis_data.py" "$version" "$keys" | redis "$dir" --pipe >"$dir/fill"
	grep -q 'errors: 0' "$dir/fill" || { cat "$dir/fill"; return 1; }
}

# redis_digest DIR: what it holds, as redis-cli sees it: for each database each key with its type,
# time to live, and content in an order of its own; functions. Keys that expire go by their absolute
# time.
redis_digest()
{
	python3 "$TESTS/servers/redis_digest.py" "$1/sock"
}
