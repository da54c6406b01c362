# Real ChromaDB servers for tests, to be sourced: each with a folder of its own, on a free port. The
# server is the one shared object of the PyPI wheel, kept in $BAKFS_TEST_SERVERS
# (~/.cache/bakfs-test-servers); nothing else of the package is needed.
#
#   chroma_need               false when it cannot be had; $chroma_program runs it
#   chroma_start DIR [PORT]   data in DIR/data; its port in DIR/port, ready on return
#   chroma_stop DIR, chroma_kill DIR
#   chroma_url DIR
#   chroma_data COMMAND...    rows in a server: see chroma_data.py
#   chroma_proxy DIR UPSTREAM [RULE...]   a proxy that does harm: see chroma_proxy.py; its port in DIR/port.
#                                         Called again it has new rules, and an empty DIR/log

chroma_version=1.5.9
chroma_sha256=cc09b3df76e5a5cb386aed2715a2eea152e3949f9e1ba93c7119505377749929
chroma_dir=${BAKFS_TEST_SERVERS:-$HOME/.cache/bakfs-test-servers}/chromadb-$chroma_version
chroma_program=$chroma_dir/chroma

chroma_fetch()
{
	local wheel
	python3 -m pip -q download --no-deps --only-binary :all: --python-version 3.11 \
		--platform manylinux_2_17_x86_64 -d "$chroma_dir" "chromadb==$chroma_version" >&2 ||
		return 1
	wheel=$(echo "$chroma_dir"/chromadb-*.whl)
	echo "$chroma_sha256  $wheel" | sha256sum --quiet -c >&2 || return 1
	python3 -c 'import sys, zipfile
wheel = zipfile.ZipFile(sys.argv[1])
wheel.extractall(sys.argv[2], [n for n in wheel.namelist() if n.startswith("chromadb_rust_bindings/")])' \
		"$wheel" "$chroma_dir" || return 1
	rm -f "$wheel"
	printf '#!/bin/sh\nPYTHONPATH=%s exec python3 -c "import sys, chromadb_rust_bindings as b
b.cli([\\"chroma\\"] + sys.argv[1:])" "$@"\n' "$chroma_dir" >"$chroma_dir/new"
	chmod 755 "$chroma_dir/new"
	mv "$chroma_dir/new" "$chroma_program"
}

chroma_need()
{
	[ ! -x "$chroma_program" ] || return 0
	mkdir -p "$chroma_dir"
	(
		flock 9
		[ -x "$chroma_program" ] || chroma_fetch
	) 9>"$chroma_dir/lock"
}

chroma_url()
{
	echo "http://127.0.0.1:$(cat "$1/port")"
}

chroma_data()
{
	python3 -S "$TESTS/servers/chroma_data.py" "$@"
}

# chroma_wait PID DIR: until it answers; false when it ends before.
chroma_wait()
{
	until curl -sf -o /dev/null "$(chroma_url "$2")/api/v2/heartbeat"; do
		kill -0 "$1" 2>/dev/null || return 1
		read -rt 0.02 <> <(:) || :
	done
}

chroma_start()
{
	local dir=$1 try
	mkdir -p "$dir/data"
	for try in 1 2 3 4 5 6 7 8 9; do
		echo "${2-$((20000 + RANDOM % 12000))}" >"$dir/port"
		"$chroma_program" run --path "$dir/data" --host 127.0.0.1 \
			--port "$(cat "$dir/port")" >"$dir/log" 2>&1 </dev/null &
		echo $! >"$dir/pid"
		! chroma_wait $! "$dir" || return 0
		[ $# = 1 ] || return 1
	done
	return 1
}

chroma_end()
{
	local pid
	[ -f "$2/pid" ] || return 0
	pid=$(cat "$2/pid")
	rm -f "$2/pid"
	{
		kill "-$1" "$pid"
		wait "$pid"
		# A start_command's server is no child of ours.
		while kill -0 "$pid"; do read -rt 0.02 <> <(:) || :; done
	} 2>/dev/null || true
}

chroma_stop()
{
	chroma_end TERM "$1"
}

chroma_kill()
{
	chroma_end KILL "$1"
}

chroma_proxy()
{
	local dir=$1
	mkdir -p "$dir"
	printf '%s\n' "${@:3}" >"$dir/rules.new"
	mv "$dir/rules.new" "$dir/rules"
	: >"$dir/log"
	[ ! -f "$dir/pid" ] || return 0
	[ -p "$dir/ready" ] || mkfifo "$dir/ready"
	python3 -S "$TESTS/servers/chroma_proxy.py" "$dir/port" "$2" "$dir/rules" \
		>>"$dir/log" 2>&1 </dev/null 3>"$dir/ready" &
	echo $! >"$dir/pid"
	read -r _ <"$dir/ready"
}
