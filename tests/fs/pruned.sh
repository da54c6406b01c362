#!/bin/bash
# A snapshot goes for good while its files are open: who reads goes on, or is told ESTALE; nobody
# gets other bytes, nothing is called damaged, and the mount serves what is left.
set -eu
. "$TESTS/fs/lib.sh"
mkdir -p src/sub
seq 2000000 >src/large
for i in $(seq 40); do seq $i $((i * 400)) >src/sub/f$i; done
ln -s large src/link
setup_repository <<-END
	[store src]
	type = files
	path = src
END
cp -r src first

for options in -o\ ro,cache=8M -o\ cache=8M; do
	rm -rf src
	cp -r first src
	expect 0 . bakfs backup
	gone=$(bakfs list --json | jq -r '.snapshots[-1] | "\(.number) \(.stamp)"')
	stamp=${gone#* }
	# Nothing of it is in the next one.
	rm -r src/*
	seq 3000000 3100000 >src/other
	expect 0 . bakfs backup
	mount_it $options
	at=mnt/by-store/src/$stamp
	exec 5<"$at/large" 6<"$at/sub/f7" 7<"$at/sub" 8<"$at/large"
	is "$(head -c 100000 <&5 | cksum)" "$(head -c 100000 first/large | cksum)"
	is "$(head -c 10 <&6)" "$(head -c 10 first/sub/f7)"
	expect 0 . bakfs forget "${gone% *}"
	expect 0 . bakfs prune --alone
	until_true [ ! -e "$at" ]
	for cold in no yes; do
		[ $cold$EUID != yes0 ] || echo 3 >/proc/sys/vm/drop_caches
		python3 - "$work/first/large" "$work/first/sub/f7" <<-'END'
			import errno, os, sys
			told = 0
			# Everywhere in it, twice.
			for fd, path in ((5, sys.argv[1]), (6, sys.argv[2]), (8, sys.argv[1])):
			    with open(path, "rb") as file:
			        right = file.read()
			    for off in list(range(0, len(right), 99991)) * 2:
			        try:
			            got = os.pread(fd, 70000, off)
			        except OSError as error:
			            assert error.errno == errno.ESTALE, f"{path} at {off}: {error}"
			            told += 1
			            continue
			        # Cut short where the next page cannot be had.
			        assert got and got == right[off:off + len(got)], f"{path} at {off}: other bytes"
			try:
			    os.listdir(7)
			except OSError as error:
			    assert error.errno in (errno.ESTALE, errno.ENOENT), f"the folder: {error}"
			print(told, "reads were told that it is gone")
		END
	done >told
	grep -q '^[1-9]' told || [ $EUID != 0 ] || fail "all of it was still there: $(cat told)"
	[ ! -e "$at/large" ] || fail "its name is still there"
	cmp src/other mnt/latest/src/other
	exec 5<&- 6<&- 7<&- 8<&-
	unmount_it
done
expect 0 . bakfs verify
