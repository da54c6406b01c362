#!/bin/bash
# cp from a snapshot to /restore: the upload borrows the snapshot's bytes, and takes no room.
set -eu
. "$TESTS/fs/lib.sh"
command -v sqlite3 >/dev/null || skip "sqlite3 is missing"
command -v python3 >/dev/null || skip "python3 is missing"
mkdir -p files/sub spool
head -c 20000000 /dev/urandom >files/large
truncate -s 8M files/sparse
printf middle | dd of=files/sparse bs=1M seek=4 conv=notrunc status=none
echo two >files/sub/b
: >files/empty
sqlite_file app.db 20000
setup_repository <<-END
	[store app]
	type = sqlite
	path = $work/app.db
	[store files]
	type = files
	path = $work/files
	[store note]
	type = command
	dump = cat $work/files/sub/b
	restore_command = cat >$work/note
	[mount]
	restore_delay = 0
	spool = $work/spool
END
expect 0 . bakfs backup
mount_it
note=mnt/restore/note from=mnt/latest/files

# copy FROM TO [FROM_OFFSET TO_OFFSET LENGTH]: by the system call alone; says how many bytes.
copy()
{
	python3 - "$@" <<-'END'
		import os, sys
		names, (at, to, n) = sys.argv[1:3], map(int, sys.argv[3:] or (0, 0, 1 << 40))
		source = os.open(names[0], os.O_RDONLY)
		target = os.open(names[1], os.O_WRONLY | os.O_CREAT, 0o600)
		total = 0
		while n and (got := os.copy_file_range(source, target, min(n, 1 << 30), at, to)):
		    at, to, n, total = at + got, to + got, n - got, total + got
		print(total)
	END
}
is "$(copy $from/large $note/large)" 20000000
is "$(spooled)" 0
cmp files/large $note/large
is "$(stat -c %s $note/large)" 20000000
[ "$(stat -c %b $note/large)" -ge 39062 ] || fail "it shows no blocks"
# A piece of it anywhere, over what is there, and behind the end.
is "$(copy $from/large $note/large 12345 5000 100000)" 100000
is "$(copy $from/large $note/large 1 20100000 70000)" 70000
is "$(copy $from/large $note/large 19999990 30 100)" 10
is "$(copy $from/large $note/large 20000000 30 100)" 0
is "$(copy $from/empty $note/large 0 0 100)" 0
cp files/large model
dd if=files/large of=model bs=5000 iflag=skip_bytes,count_bytes skip=12345 count=100000 seek=1 conv=notrunc status=none
dd if=files/large of=model iflag=skip_bytes,count_bytes oflag=seek_bytes skip=1 count=70000 seek=20100000 conv=notrunc status=none
dd if=files/large of=model iflag=skip_bytes oflag=seek_bytes skip=19999990 seek=30 conv=notrunc status=none
cmp model $note/large
is "$(spooled)" 0
# Bytes written over it are copies: these alone take room.
printf 'written over' | tee >(dd of=$note/large bs=1 seek=7000000 conv=notrunc status=none) |
	dd of=model bs=1 seek=7000000 conv=notrunc status=none
until_true cmp model $note/large
[ "$(spooled)" -le 1000000 ] || fail "$(spooled) bytes for twelve"
truncate -s 6M $note/large model 2>/dev/null || true
truncate -s 6M model
cmp model $note/large
# From an upload to another they are copied, as between any two files.
is "$(copy $note/large $note/second)" 6291456
cmp model $note/second
rm $note/second
touch $note/large
result note '^done: '
cmp model note
rm $note/large

# cp, with what it finds out about holes; a tree; and the rules that hold for writing.
cp $from/sparse $note/sparse
cmp files/sparse $note/sparse
[ "$(stat -c %b $note/sparse)" -lt 8000 ] || fail "the holes are filled"
rm $note/sparse
cp -a $from mnt/restore/files/tree
diff -r files mnt/restore/files/tree
if cp --version | grep -q 'GNU coreutils.* 9'; then
	[ "$(spooled)" -le 65536 ] || fail "cp copied: $(spooled) bytes"
fi
cp -a files saved
echo changed >files/sub/b
rm files/large
touch mnt/restore/files/tree
result files '^done: '
diff -r saved files
expect 1 'Invalid argument' cp $from/large $note/latest
is "$(ls -A $note | tr '\n' ' ')" 'log status wait '

# A dump that proves its end starts by itself; cut off, it does not.
sqlite3 app.db 'delete from t where a > 5'
cp mnt/latest/app/app.db mnt/restore/app/
result app '^done: '
is "$(sqlite3 app.db 'select count(*) from t')" 20000
copy mnt/latest/app/app.db mnt/restore/app/cut.db 0 0 20000 >out
grep -q '^error: cut.db: cut off: 20000 of' mnt/restore/app/status

# The snapshot is forgotten while an upload borrows from it: the bytes are there until they are
# collected.
cp $from/large $note/forgotten
number=$(bakfs list --json | jq '[.snapshots[] | select(.store == "files" and .type == "manual")][0].number')
stamp=$(readlink mnt/by-store/files/latest)
expect 0 . bakfs backup files
expect 0 . bakfs forget "$number"
gone() { [ ! -e "mnt/by-store/files/$stamp" ]; }
until_true gone
cmp saved/large $note/forgotten
touch $note/forgotten
result note '^done: '
cmp saved/large note
unmount_it 'restore of|cancelled|upload'
