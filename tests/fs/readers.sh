#!/bin/bash
# 64 readers at random: over a whole tree, while damage comes, and over a damaged one; with signals.
# An independent reader of the format says which bytes are covered. READS: of each round (6000).
set -eu
. "$TESTS/fs/lib.sh"
/usr/bin/python3 -c 'import cryptography, zstandard' 2>/dev/null ||
	skip "python3-cryptography or python3-zstandard is missing"
reads=${READS:-6000}
mkdir -p src/small
head -c 5000000 /dev/urandom >src/random
seq 400000 >src/text
cp src/random src/twin # the same bytes, found again
head -c 400000 /dev/urandom | tee src/other >src/sub-a
truncate -s 4M src/sparse
dd if=src/random of=src/sparse bs=64k count=3 seek=20 conv=notrunc status=none
for i in $(seq 200); do seq "$i" $((i * 7)) >"src/small/$i"; done
save_src
covered=("$TESTS/fs/covered.py")
mkfifo half

# What the mount has open, and its memory in KiB.
opened() { ls "/proc/$mounted/fd" | wc -l; }
memory() { awk '/^VmRSS/ { print $2 }' "/proc/$mounted/status"; }

# Whole; with signals. Neither descriptors nor memory grow with the reads.
mount_it -o cache=8M
"$READERS" -s -n "$reads" src mnt/latest/src
fds=$(opened) kib=$(memory)
"$READERS" -s -r 3 -n "$reads" src mnt/latest/src
[ "$(opened)" -le "$fds" ] || fail "from $fds descriptors to $(opened)"
[ "$(memory)" -le $((kib * 5 / 4 + 20000)) ] || fail "from $kib KiB to $(memory)"
echo "descriptors: $fds, then $(opened); KiB: $kib, then $(memory)"
# While they read, damage comes: right bytes or an error where it is, right bytes elsewhere.
"${covered[@]}" --plan repo key 1 4 7 >damage
[ -s damage ] || fail "nothing to damage"
"$READERS" -l -n "$reads" -c damage -h half src mnt/latest/src &
readers=$!
read -r _ <half
"${covered[@]}" repo key 1 4 7 | cmp damage -
wait $readers || fail "while damage came"
is "$(sort mount.log | uniq -d)" ''
unmount_it 'snapshot 1 of src|damaged: pack'

# Damaged: an error for what is covered, to the page, and for nothing else; one line each.
for options in '-o cache=8M' '-o ro' '-o ro,cache=1M'; do
	mount_it $options
	"$READERS" -s -r 2 -n "$reads" -c damage src mnt/latest/src >out
	! grep -q ' 0 failed' out || fail "no read met the damage"
	cat out
	is "$(sort mount.log | uniq -d)" ''
	# Every file with a damaged range has its line.
	for file in $(cut -d' ' -f3 damage | sort -u); do
		cat "mnt/latest/src/$file" >all 2>/dev/null && fail "$file read whole"
		grep -q "^bakfs: .*\b$(basename "$file"): snapshot 1 of src\|hard link" mount.log ||
			fail "no line about $file: $(cat mount.log)"
	done
	# Nobody else has.
	[ "$(grep -c 'snapshot 1 of src' mount.log)" -le "$(wc -l <damage)" ] ||
		fail "more lines than damaged ranges: $(cat mount.log)"
	unmount_it 'snapshot 1 of src|damaged: pack'
done
