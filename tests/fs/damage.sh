#!/bin/bash
# Damaged bytes: an error for what they cover, one line in the log, and all the rest as it was.
set -eu
. "$TESTS/fs/lib.sh"
mkdir src src/sub
head -c 8000000 /dev/urandom >src/random
seq 300000 >src/text
for i in $(seq 200); do echo "small $i" >"src/sub/$i"; done
save_src

# One byte in the middle of the largest pack: that is data.
pack=$(ls -S repo/packs/*/* | head -1)
size=$(stat -c %s "$pack")
at=$((size / 2))
old=$(dd if="$pack" bs=1 skip=$at count=1 status=none | od -An -tu1 | tr -d ' ')
printf "\\$(printf %o $((old ^ 1)))" >flipped
chmod u+w "$pack"
dd of="$pack" if=flipped bs=1 seek=$at conv=notrunc status=none

# What reads, block by block, must be what was saved; what does not, fails with EIO alone.
compare() # FILE
{
	local block=65536 n=0 i got
	n=$((($(stat -c %s "src/$1") + block - 1) / block))
	bad=0
	for ((i = 0; i < n; i++)); do
		got=0
		dd if="mnt/latest/src/$1" bs=$block skip=$i count=1 iflag=fullblock status=none >got 2>why || got=$?
		if [ $got != 0 ]; then
			grep -q 'Input/output error' why || fail "$1: $(cat why)"
			bad=$((bad + 1))
		else
			dd if="src/$1" bs=$block skip=$i count=1 status=none | cmp - got ||
				fail "$1: wrong bytes in block $i"
		fi
	done
}

for options in '' '-o ro'; do
	mount_it $options
	total=0
	for file in random text; do
		compare $file
		total=$((total + bad))
	done
	# A segment is about a mebibyte: its blocks and no others.
	[ $total -gt 0 ] || fail "nothing was damaged"
	[ $total -le 24 ] || fail "$total blocks of 64 KiB for one flipped byte"
	diff -r src/sub mnt/latest/src/sub
	# Again and again: still an error, still one line.
	for _ in 1 2 3; do
		! cat mnt/latest/src/random mnt/latest/src/text >all 2>/dev/null ||
			fail "damage went away"
	done
	is "$(sort mount.log | uniq -d)" ''
	grep -v 'damaged: pack' mount.log >lines || fail "nothing was logged"
	name=$(basename "$pack")
	grep -Eq "(random|text): snapshot 1 of src: .*pack $name at [0-9]+" lines ||
		fail "the line does not say file, snapshot, pack and offset: $(cat lines)"
	grep -q '^bakfs_damaged_reads_total [1-9]' mnt/metrics
	unmount_it 'damaged: pack|snapshot 1 of src'
done

# A pack is gone altogether, under a mount that has looked already.
mount_it
ls -lR mnt/latest/src >/dev/null
mv "$pack" away
! cat mnt/latest/src/random >/dev/null 2>&1 || fail "read from a pack that is gone"
ls -lR mnt/latest/src >/dev/null
# And comes back: no need to mount anew.
mv away "$pack"
compare random
[ $bad -le 24 ] || fail "$bad blocks still fail"
unmount_it 'pack|snapshot 1 of src'
