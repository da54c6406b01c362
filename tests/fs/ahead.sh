#!/bin/bash
# What the mount does before it is asked: the bytes are the same, and who only looks costs nothing.
set -eu
. "$TESTS/fs/lib.sh"
mkdir src
for a in $(seq 12); do
	mkdir -p "src/d$a/inner"
	for b in $(seq 150); do echo "file $a $b" >"src/d$a/f$b"; done
	for b in $(seq 20); do seq "$b" "$((a * 300))" >"src/d$a/inner/f$b"; done
	: >"src/d$a/empty"
	ln -s f1 "src/d$a/link"
	ln "src/d$a/f2" "src/d$a/second name"
done
seq 3000000 >src/large
save_src
mkdir once
seq 6000000 | head -c 40000000 | split -a 3 -b 20000 - once/
expect 0 . bakfs backup "files:$PWD/once"

metric() { sed -n "s/^bakfs_$1 //p" mnt/metrics; }

for options in '' '-o ro'; do
	# Names and attributes, and a file here and there: nobody reads on.
	mount_it $options
	find mnt/latest/src -ls >/dev/null
	for a in 3 9 1; do cat mnt/latest/src/d$a/f7 >/dev/null; done
	head -c 100 mnt/latest/src/large >/dev/null
	is "$(metric pushed_files_total) $(metric prefetched_bytes_total)" '0 0'
	unmount_it

	# A walk that reads: several of them at once, over one another's feet.
	mount_it $options
	tar cf one.tar -C mnt/latest src
	[ "$(metric pushed_files_total)" -gt 200 ] || fail "only $(metric pushed_files_total) files pushed"
	[ "$(metric prefetched_bytes_total)" -gt 0 ] || fail "nothing decoded ahead"
	rm -rf out && mkdir out && tar xf one.tar -C out
	diff -r --no-dereference src out/src
	unmount_it
	mount_it $options
	for i in 1 2 3 4; do cp -a mnt/latest/src "out/$i" & done
	wait $(jobs -p | grep -vx "$mounted")
	for i in 1 2 3 4; do diff -r --no-dereference src "out/$i"; done
	unmount_it

	# The mount ends in the middle of it.
	mount_it $options
	(tar cf - -C mnt/latest src 2>/dev/null || true) | head -c 300000 >/dev/null
	unmount_it
done

# Small files that were read to their ends do not fill the memory; backwards, so that few are pushed.
mount_it
printf '%s\n' mnt/latest/once/* | tac | xargs cat | cmp - <(printf '%s\n' once/* | tac | xargs cat)
[ "$(metric cache_bytes)" -lt 30000000 ] || fail "$(metric cache_bytes) bytes are kept"
