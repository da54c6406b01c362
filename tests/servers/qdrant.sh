# Qdrant servers for tests, to be sourced. No package has one: qdrant_fake.py stands in for it, unless
# $BAKFS_TEST_QDRANT is the path of a real server's program, which is then run in its place, or the URL
# of a real one that is running and has no collections; they are deleted in the end.
#
#   qdrant_real                          whether it is a real one
#   qdrant_start DIR [OPTION...]         in a folder of its own, on a free port; ready on return. Options are
#                                        the fake's; a real one knows --key and --read-key
#   qdrant_stop DIR, qdrant_kill DIR     started again it is at the same port
#   qdrant_live [OPTION...]              s-live is started, and ends with the script
#   qdrant_store NAME [LINE...]          a store of s-live, for the configuration
#   qdrant_url DIR
#   qdrant DIR COMMAND...                of qdrant_data.py
#   qdrant_fault DIR METHOD REGEX COUNT ACTION...    of the fake
#   qdrant_honest DIR                    no request and no answer broke the contract

qdrant_real()
{
	[ "${BAKFS_TEST_QDRANT-}" ]
}

qdrant_is_elsewhere()
{
	[[ ${BAKFS_TEST_QDRANT-} == http* ]]
}

qdrant_url()
{
	if qdrant_is_elsewhere; then
		echo "$BAKFS_TEST_QDRANT"
	else
		echo "http://127.0.0.1:$(cat "$1/port")"
	fi
}

qdrant()
{
	local dir=$1
	shift
	python3 -S "$TESTS/servers/qdrant_data.py" "$(qdrant_url "$dir")" "$@"
}

qdrant_run_real()
{
	local dir=$1 key= read_key=
	shift
	while [ $# -gt 0 ]; do
		case $1 in
		--key) key=$2 ;;
		--read-key) read_key=$2 ;;
		esac
		shift 2
	done
	[ -e "$dir/port" ] || python3 -c 'import socket
s = socket.socket()
s.bind(("127.0.0.1", 0))
print(s.getsockname()[1])' >"$dir/port"
	cat >"$dir/config.yaml" <<-END
		log_level: WARN
		telemetry_disabled: true
		storage:
		  storage_path: ./storage
		  snapshots_path: ./snapshots
		service:
		  host: 127.0.0.1
		  http_port: $(cat "$dir/port")
		  grpc_port: null
		  ${key:+api_key: $key}
		  ${read_key:+read_only_api_key: $read_key}
	END
	(
		cd "$dir" || exit 1
		exec "$BAKFS_TEST_QDRANT" --config-path config.yaml
	) >"$dir/log" 2>&1 &
}

qdrant_start()
{
	local dir=$1 pid ready
	shift
	mkdir -p "$dir"
	if qdrant_is_elsewhere; then
		[ ! "$(qdrant "$dir" collections)" ] || skip "$BAKFS_TEST_QDRANT has collections"
		pid=none
	elif qdrant_real; then
		qdrant_run_real "$dir" "$@"
		pid=$!
		until curl -fs "$(qdrant_url "$dir")/readyz" >/dev/null; do
			kill -0 $pid 2>/dev/null || return 1
			read -rt 0.05 <> <(:) || :
		done
	else
		[ -p "$dir/ready" ] || mkfifo "$dir/ready"
		python3 -S "$TESTS/servers/qdrant_fake.py" "$dir" "$@" >"$dir/ready" 2>"$dir/log" &
		pid=$!
		read -r ready <"$dir/ready" || return 1
	fi
	echo $pid >"$dir/pid"
}

qdrant_end()
{
	local pid
	pid=$(cat "$2/pid")
	if qdrant_is_elsewhere; then
		qdrant "$2" clear
		return
	fi
	{
		kill "-$1" "$pid"
		wait "$pid"
	} 2>/dev/null || true
}

qdrant_stop()
{
	qdrant_end TERM "$1"
}

qdrant_kill()
{
	qdrant_end KILL "$1"
}

qdrant_live()
{
	command -v curl >/dev/null || skip "curl is missing"
	trap 'for dir in "$work"/s-*; do [ ! -f "$dir/pid" ] || qdrant_kill "$dir"; done; cleanup' EXIT
	qdrant_start s-live "$@" || fail "no server: $(tail -3 s-live/log)"
}

qdrant_store()
{
	printf '[store %s]\ntype = qdrant\nurl = %s\n' "$1" "$(qdrant_url s-live)"
	printf '%s\n' "${@:2}"
}

qdrant_fault()
{
	local dir=$1
	shift
	echo "$*" >>"$dir/faults"
}

qdrant_honest()
{
	[ ! -s "$1/broken" ] || fail "the contract is broken: $(cat "$1/broken")"
}
