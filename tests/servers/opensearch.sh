# A real OpenSearch node for tests, to be sourced: the engine and its standard modules out of Maven's
# registry (opensearch.jars: what, and its SHA-256), without plugins, so without Security. Kept in
# $BAKFS_TEST_SERVERS (~/.cache/bakfs-test-servers). Needs a Java of 11 to 21.
#
#   opensearch_need                       false, with the reason in $opensearch_why, when it cannot be had
#   opensearch_start DIR [SETTING=VALUE...]  ready on return; its address in DIR/url; started again it
#                                         has its data and its port; repositories may lie in DIR/repo
#   opensearch_stop DIR, opensearch_kill DIR
#   opensearch DIR METHOD PATH [BODY]     the answer, whatever the status; BODY may be @FILE

opensearch_home=${BAKFS_TEST_SERVERS:-$HOME/.cache/bakfs-test-servers}/opensearch-2.19.1
opensearch_registry=https://repo1.maven.org/maven2

opensearch_fetch()
{
	local list=$TESTS/servers/opensearch.jars
	mkdir -p "$opensearch_home/lib"
	(
		flock 9
		[ ! -e "$opensearch_home/done" ] || exit 0
		cd "$opensearch_home/lib" || exit 1
		sha256sum --status -c "$list" 2>/dev/null ||
			sed "s|^[^ ]* *\(.*\)|url = $opensearch_registry/\1\noutput = \1|" "$list" |
			curl -f --no-progress-meter --create-dirs --parallel --parallel-max 8 --retry 3 -m 300 -K - || exit 1
		sha256sum --quiet -c "$list" >&2 || exit 1
		java -m jdk.compiler/com.sun.tools.javac.Main -cp "$(opensearch_path)" -d .. \
			"$TESTS/servers/OpenSearchNode.java" >&2 || exit 1
		touch "$opensearch_home/done"
	) 9>"$opensearch_home/lock"
}

opensearch_path()
{
	sed "s:^[^ ]* *:$opensearch_home/lib/:" "$TESTS/servers/opensearch.jars" | tr '\n' :
}

opensearch_need()
{
	command -v java >/dev/null || { opensearch_why="no java here"; return 1; }
	[ -e "$opensearch_home/done" ] || opensearch_fetch || {
		opensearch_why="the registry does not give its jars"
		return 1
	}
}

opensearch()
{
	curl -sS -m 120 -X "$2" "$(cat "$1/url")$3" ${4+-H 'Content-Type: application/json' --data-binary "$4"}
}

# Its standard output is of no interest once it runs.
opensearch_start()
{
	local dir=$1 port pid
	mkdir -p "$1/repo"
	dir=$(cd "$1" && pwd)
	shift
	[ -e "$dir/url" ] || python3 -c 'import socket
s = socket.socket()
s.bind(("127.0.0.1", 0))
print("http://127.0.0.1:%d" % s.getsockname()[1])' >"$dir/url"
	port=$(sed 's/.*://' "$dir/url")
	(cd "$dir" && exec java -Xms128m -Xmx512m -XX:+UseSerialGC \
		-XX:TieredStopAtLevel=1 -XX:+UnlockDiagnosticVMOptions \
		-XX:-BytecodeVerificationRemote -XX:-UsePerfData -Dlog4j2.disable.jmx=true \
		-cp "$opensearch_home:$(opensearch_path)" OpenSearchNode "$dir/os" "$port" "$dir/repo" \
		"$@" >"$dir/console" 2>&1 </dev/null) &
	pid=$!
	echo $pid >"$dir/pid"
	# nothing that costs a starting server its time before its port is open
	until (: <>"/dev/tcp/127.0.0.1/$port") 2>/dev/null &&
		curl -sf -m 5 -o "$dir/health" "$(cat "$dir/url")/_cluster/health?wait_for_status=yellow&timeout=2s"; do
		kill -0 $pid 2>/dev/null || {
			grep -v '^[[:space:]]*at ' "$dir/console" | tail -5 >&2
			return 1
		}
		read -rt 0.1 <> <(:) || :
	done
}

opensearch_end()
{
	local pid
	pid=$(cat "$2/pid")
	{
		kill "-$1" "$pid"
		wait "$pid"
	} 2>/dev/null || true
}

opensearch_stop()
{
	opensearch_end TERM "$1"
}

opensearch_kill()
{
	opensearch_end KILL "$1"
}
