# Real Neo4j community servers for tests, to be sourced: each with a home of its own, on free ports of
# 127.0.0.1. The jars come from Maven, their versions pinned and their checksums compared by Maven,
# and are kept in $BAKFS_TEST_SERVERS (~/.cache/bakfs-test-servers).
#
#   neo4j_need                     false when it cannot be had: no Java 17 to 25, no Maven, no network
#   neo4j_home DIR [SETTING...]    a home without data; settings are lines of neo4j.conf. The password
#                                  is testpass1; DIR/bin/neo4j-admin is the program, DIR/port is HTTP's
#   neo4j_start DIR                ready on return
#   neo4j_stop DIR, neo4j_kill DIR
#   neo4j DIR CYPHER [DATABASE]    its answer, as JSON without types; false on an error

neo4j_version=5.26.30
neo4j_servers=${BAKFS_TEST_SERVERS:-$HOME/.cache/bakfs-test-servers}
neo4j_lib=$neo4j_servers/neo4j-$neo4j_version
# A small heap, and as little work at the start as Java allows.
neo4j_java='-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:+UnlockDiagnosticVMOptions
	-XX:-BytecodeVerificationRemote -XX:-UsePerfData'

neo4j_pom()
{
	cat <<END
<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>t</groupId><artifactId>t</artifactId><version>1</version><packaging>pom</packaging>
<dependencies>
<dependency><groupId>org.neo4j</groupId><artifactId>neo4j</artifactId>
<version>$neo4j_version</version></dependency>
<dependency><groupId>org.neo4j.app</groupId><artifactId>neo4j-server</artifactId>
<version>$neo4j_version</version></dependency>
</dependencies></project>
END
}

# With Maven's own repository kept apart and thrown away: it is three times as large as the jars.
neo4j_fetch()
{
	(
		flock 9
		[ ! -e "$neo4j_lib/.done" ] || exit 0
		work=$(mktemp -d "$neo4j_servers/neo4j.XXXXXX")
		trap 'rm -rf "$work"' EXIT
		neo4j_pom >"$work/pom.xml"
		mvn -q -B -C -f "$work/pom.xml" -Dmaven.repo.local="$work/m2" \
			org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies \
			-DoutputDirectory="$neo4j_lib" -DincludeScope=runtime >&2 || exit 1
		touch "$neo4j_lib/.done"
	) 9>"$neo4j_servers/neo4j.lock"
}

neo4j_need()
{
	local major
	major=$(java -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p')
	[ "${major:-0}" -ge 17 ] || return 1
	mkdir -p "$neo4j_servers"
	[ -e "$neo4j_lib/.done" ] || { command -v mvn >/dev/null && neo4j_fetch; }
}

neo4j_configure()
{
	local dir=$1 port=$((20000 + RANDOM % 6000 * 2))
	shift
	echo $port >"$dir/port"
	{
		printf '%s\n' server.default_listen_address=127.0.0.1 \
			server.http.listen_address=127.0.0.1:$port \
			server.http.advertised_address=127.0.0.1:$port \
			server.bolt.listen_address=127.0.0.1:$((port + 1)) \
			server.bolt.advertised_address=127.0.0.1:$((port + 1)) \
			server.https.enabled=false server.memory.pagecache.size=32m \
			dbms.usage_report.enabled=false db.tx_log.preallocate=false \
			internal.server.bolt.thread_pool_shutdown_wait_time=0s \
			internal.server.bolt.connection_shutdown_wait_time=0s
		cat "$dir/settings"
	} >"$dir/conf/neo4j.conf"
}

neo4j_home()
{
	local dir=$1
	shift
	mkdir -p "$dir"/{conf,data,logs,run,plugins,import,lib,bin}
	printf '%s\n' "$@" >"$dir/settings"
	cat >"$dir/bin/neo4j-admin" <<END
#!/bin/sh
# NEO4J_HOME and NEO4J_CONF as whoever calls it says.
: "\${NEO4J_HOME:=$dir}" "\${NEO4J_CONF:=$dir/conf}"
export NEO4J_HOME NEO4J_CONF
exec java -Xmx128m ${neo4j_java//$'\n'/ } -cp '$neo4j_lib/*' \\
	org.neo4j.server.startup.Neo4jAdminCommand "\$@"
END
	chmod 755 "$dir/bin/neo4j-admin"
	neo4j_configure "$dir"
	# What "dbms set-initial-password testpass1" leaves, without a Java of its own.
	mkdir -p "$dir/data/dbms"
	echo "neo4j:SHA-256,e963dad295cbb319eb7e51a04403088b23cdd19359a7daa8fc07d00e30b340f7,$(:
		)5743aea7ad94c7b81e945ec9ffe7090c4c169bca842a65f3f6c483ff91c1b036,1024:" \
		>"$dir/data/dbms/auth.ini"
}

# Nothing that costs a starting server its time is run before its port is open.
neo4j_ready()
{
	(: <>"/dev/tcp/127.0.0.1/$(<"$1/port")") 2>/dev/null && neo4j "$1" 'RETURN 1' >/dev/null 2>&1
}

# Another port when it is taken: seen by its end before it was ready.
neo4j_start()
{
	local dir=$1 try
	for try in 1 2 3; do
		# shellcheck disable=SC2086
		java -Xms96m -Xmx${neo4j_heap:-192m} $neo4j_java -cp "$neo4j_lib/*:$dir/plugins/*" \
			org.neo4j.server.CommunityEntryPoint --home-dir="$dir" \
			--config-dir="$dir/conf" --console-mode >"$dir/console.log" 2>&1 </dev/null &
		echo $! >"$dir/pid"
		until neo4j_ready "$dir"; do
			kill -0 "$(cat "$dir/pid")" 2>/dev/null || break
			read -rt 0.1 <> <(:) || :
		done
		! neo4j_ready "$dir" || return 0
		grep -q 'already in use' "$dir/console.log" || break
		neo4j_configure "$dir"
	done
	tail -n 20 "$dir/console.log" >&2
	return 1
}

neo4j_end()
{
	local pid
	pid=$(cat "$2/pid" 2>/dev/null) || return 0
	kill "-$1" "$pid" 2>/dev/null || true
	# It may be the child of another shell, or of nobody who would bury it.
	while [ -e "/proc/$pid" ] && ! grep -q '^State:.*Z' "/proc/$pid/status" 2>/dev/null; do
		read -rt 0.05 <> <(:) || :
	done
	rm -f "$2/pid"
}

neo4j_stop()
{
	neo4j_end TERM "$1"
}

neo4j_kill()
{
	neo4j_end KILL "$1"
}

neo4j()
{
	jq -nc --arg s "$2" '{statement: $s}' | curl -sS -m 60 -u "neo4j:${neo4j_password:-testpass1}" \
		-H 'Content-Type: application/json' -H 'Accept: application/json' -d @- \
		"http://127.0.0.1:$(cat "$1/port")/db/${3:-neo4j}/query/v2" |
		jq -ce 'if .errors then (.errors | tostring | halt_error) else .data.values end'
}
