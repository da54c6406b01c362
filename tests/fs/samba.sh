#!/bin/bash
# A Samba share of a mount: a server of the test's own, on a port of its own, and Samba's client,
# which lists everything and fetches everything.
set -eu
. "$TESTS/servers/debian.sh"
debian_need samba samba smbclient || { echo "skipped: no Samba: $debian_why" && exit 77; }
. "$TESTS/fs/lib.sh"
odd_tree src 2000
save_src
mount_it

# Small answers, so that an entry often does not fit, and the listing is taken up again at its place.
share() # PORT
{
	mkdir -p smb/log
	cat >smb.conf <<-END
		[global]
		server role = standalone server
		interfaces = lo
		bind interfaces only = yes
		smb ports = $1
		private dir = $work/smb
		lock directory = $work/smb
		state directory = $work/smb
		cache directory = $work/smb
		pid directory = $work/smb
		ncalrpc dir = $work/smb/rpc
		map to guest = bad user
		guest account = $(id -un)
		load printers = no
		printcap name = /dev/null
		disable spoolss = yes
		disable netbios = yes
		mangled names = no
		store dos attributes = no
		smb2 max trans = 65536
		[src]
		path = $work/mnt/latest/src
		guest ok = yes
		writeable = yes
	END
	smbd -F -s smb.conf -l smb/log >smb/out 2>&1 &
	server=$!
}

client() # COMMANDS
{
	smbclient -s smb.conf -N -p "$port" //127.0.0.1/src -c "$1"
}

# A port that somebody else has ends it; else it answers sooner or later.
for try in 1 2 3 4 5; do
	port=$((20000 + RANDOM % 12000))
	share $port
	until client 'ls big' >listed 2>&1 || ! kill -0 $server 2>/dev/null; do :; done
	kill -0 $server 2>/dev/null && break
done
kill -0 $server || fail "no server: $(tail smb/out smb/log/*)"

# Samba follows links, and leaves out those that lead nowhere. What is in raw/ is no name to its
# client: a backslash parts names.
mkdir fetched
client 'recurse ON; prompt OFF; lcd fetched; mget names many links none big holed' >got 2>&1
! grep -v '^getting file' got || fail "the client says more than it should"
rm src/links/broken src/links/fifo fetched/links/fifo
diff -r --exclude=raw src fetched
is "$(find fetched | wc -l)" "$(find src -name raw -prune -o -print | wc -l)"

# Sizes and times as the listing says them.
client 'recurse ON; ls' >listed 2>why || true
python3 - src listed <<-'END'
	import os, re, sys, time

	source, listed = sys.argv[1:]
	folder, seen = "", {}
	for line in open(listed, encoding="utf-8", errors="surrogateescape"):
	    if line.startswith("\\"):
	        folder = line.strip("\n").replace("\\", "/").strip("/")
	    found = re.fullmatch(r"  (.*?) +[A-Z]+ +(\d+)  (\w+ \w+ +\d+ \d\d:\d\d:\d\d \d{4})\n", line)
	    if found and found[1] not in (".", ".."):
	        name = os.path.join(folder, found[1])
	        assert name not in seen, f"{name} comes twice"
	        seen[name] = int(found[2]), found[3]
	for at, folders, files in os.walk(source):
	    for name in folders + files:
	        path = os.path.relpath(os.path.join(at, name), source)
	        if path.startswith("raw/"):
	            continue
	        size, written = seen.pop(path)
	        st = os.stat(os.path.join(source, path))
	        if name in files:
	            assert size == st.st_size, f"{path}: {size}, not {st.st_size}"
	            when = time.mktime(time.strptime(written))
	            assert when == int(st.st_mtime), f"{path}: {written}, not {st.st_mtime}"
	more = [name for name in seen if not name.startswith("raw/") and name != "links/fifo"]
	assert not more, f"what is not in the source: {more}"
END

# A share that may be written to changes nothing.
for change in 'del big' 'mkdir new' 'put smb.conf new.txt' 'rename big other' 'rmdir none'; do
	client "$change" >changed 2>&1 || true
	grep -Eq 'NT_STATUS_(MEDIA_WRITE_PROTECTED|ACCESS_DENIED)' changed || fail "$change: $(cat changed)"
done
cmp src/big mnt/latest/src/big
is "$(ls mnt/latest/src | tr '\n' ' ')" 'big holed links many names none raw '

kill -TERM $server
wait $server || true
unmount_it
