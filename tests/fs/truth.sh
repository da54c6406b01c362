#!/bin/bash
# What a mount shows is what was saved, as told by other people's programs; and it stays so: places
# in listings, handles of files, numbers over remounts, many snapshots, other time zones.
set -eu
. "$TESTS/fs/lib.sh"
export LC_ALL=C
mkdir -p src/sub/deep src/many
cd src
echo one >plain
echo linked >linked
ln linked sub/linked
ln -s ../plain sub/symlink
echo exe >setuid
touch -d '2011-05-06 07:08:09.123456789 UTC' plain
truncate -s 5M holed
printf middle | dd of=holed conv=notrunc bs=1M seek=2 status=none
mkfifo fifo
chmod 6755 setuid
chmod 1770 sub
(cd many && seq -f 'a file with a name of some length %g' 2000 | tr '\n' '\0' | xargs -0 touch)
if setfattr -n user.note -v "text" plain 2>/dev/null; then
	setfattr -n user.binary -v 0x0001fe sub
fi
if [ $EUID = 0 ]; then
	mknod null c 1 3
	mknod loop b 7 0
	chown 1234:4321 plain
	chown -h 99:99 sub/symlink
	setfacl -m u:12:rw,g:13:r plain sub 2>/dev/null || true
	setfacl -d -m u:12:r sub 2>/dev/null || true
	setcap cap_net_raw=ep setuid 2>/dev/null || true
	setfattr -n trusted.note -v t sub 2>/dev/null || true
fi
cd ..
save_src

# Everything that programs show of a tree, in one text.
shown() # DIR
{
	(
		cd "$1"
		find . \( -type d -printf '%P %M %U:%G %T@ %n\n' \) -o \
			-printf '%P %M %U:%G %T@ %n %s [%l]\n' | sort
		find . \( -type b -o -type c \) -exec stat -c '%n %t:%T' {} + | sort
		find . -print0 | sort -z | xargs -0 getfattr -h -d -m - -e hex 2>/dev/null
		find . ! -type l -print0 | sort -z | xargs -0 getfacl -n 2>/dev/null
		getcap -r . 2>/dev/null | sort
		find . -type f -links +1 -printf '%i %P\n' | sort | awk '{ print ($1 != was), $2; was = $1 }'
		tar -cf - --format=posix --pax-option=delete=atime,delete=ctime --sort=name --acls --numeric-owner . 2>/dev/null | sha256sum
	)
}
shown src >source.txt
grep -q 'user.note' source.txt || echo "no attributes here: not compared"

# Data and holes: as they were, or smaller than a block of the source's.
ranges()
{
	python3 - "$1" <<-'END'
		import os, sys
		fd = os.open(sys.argv[1], os.O_RDONLY)
		size, at = os.fstat(fd).st_size, 0
		while at < size:
		    try:
		        data = os.lseek(fd, at, os.SEEK_DATA)
		    except OSError:
		        break
		    at = os.lseek(fd, data, os.SEEK_HOLE)
		    print(data, at)
	END
}

for options in '' '-o ro'; do
	mount_it $options
	shown mnt/latest/src | diff source.txt - >difference || fail "$(head -c 3000 difference)"
	is "$(ranges mnt/latest/src/holed)" "$(ranges src/holed)"
	is "$(($(stat -c %b mnt/latest/src/holed) * 512))" \
		"$(ranges mnt/latest/src/holed | awk '{ n += $2 - $1 } END { print n }')"
	rsync -aHAXn --delete -i src/ mnt/latest/src/ >changes
	[ ! -s changes ] || fail "rsync would do: $(head changes)"
	# No label is no attribute at all: else `ls -l` asks for one of each file.
	for file in mnt/latest/src/plain mnt/latest/src.json mnt/latest; do
		expect 1 'Operation not supported' getfattr -n security.selinux $file
	done

	# Places in a listing.
	for folder in mnt/latest/src/many mnt/by-store/src mnt/latest; do
		python3 "$TESTS/fs/handles.py" positions $folder || fail "positions of $folder"
	done
	unmount_it
done

# Handles, as an NFS server keeps them: they are good after a remount, for a kernel that has
# forgotten everything. (Without knfsd in many kernels, this is what it would ask.)
if [ $EUID = 0 ]; then
	mount_it -o ro
	status=0
	python3 "$TESTS/fs/handles.py" save mnt/latest/src saved || status=$?
	python3 "$TESTS/fs/handles.py" save mnt/by-date dates || status=$?
	for again in 1 2; do
		unmount_it
		mount_it $([ $again = 1 ] || echo -o ro)
		for file in saved dates; do
			[ $status != 0 ] || python3 "$TESTS/fs/handles.py" open mnt $file || status=$?
		done
	done
	unmount_it
	[ $status = 77 ] && echo "skipped: no handles here"
	[ $status = 0 ] || [ $status = 77 ] || fail "handles"
fi

# Two views of one snapshot are two places: each knows its way up.
mount_it -o ro
for folder in mnt/latest/src/sub/deep mnt/by-store/src/latest/sub/deep mnt/by-date/*/*/src/sub/deep; do
	(cd "$folder" && ls -R /proc/self/cwd/../../.. >/dev/null &&
		python3 -c 'import os, sys; sys.exit(os.getcwd() != sys.argv[1])' "$(pwd -P)")
done
unmount_it

# Names are of UTC wherever one is.
mount_it -o ro
ls mnt/by-date mnt/by-date/* >utc
unmount_it
export TZ=Pacific/Kiritimati
mount_it -o ro
ls mnt/by-date mnt/by-date/* | diff utc -
unmount_it
unset TZ

# Many snapshots. Each is synced as it is made, which a disk takes its time for: memory does not.
mkdir mnt-memory
if mount -t tmpfs tmpfs mnt-memory 2>/dev/null; then
	mv repo mnt-memory/repo
	ln -s mnt-memory/repo repo
fi
"$CLONE" repo key 1 9999 3600
mount_it -o ro
is "$(ls mnt/by-store/src | grep -c 'Z$')" 10000
newest=$(ls mnt/by-store/src | grep 'Z$' | sort | tail -1)
is "$(readlink mnt/by-store/src/latest)" "$newest"
ls -U mnt/by-store/src | grep 'Z$' | sort -c
is "$(ls mnt/by-date | wc -l)" "$(ls mnt/by-store/src | grep 'Z$' | cut -c1-8 | sort -u | wc -l)"
is "$(stat -c %h mnt/by-store/src)" 10002
is "$(cat "mnt/by-store/src/$newest/plain")" one
cmp src/linked mnt/latest/src/sub/linked
python3 "$TESTS/fs/handles.py" positions mnt/by-store/src
[ "$(awk '/VmHWM/ { print $2 }' /proc/$mounted/status)" -lt 120000 ] ||
	grep -q -e __asan_init -e __tsan_init "$BAKFS" ||
	fail "$(grep VmHWM /proc/$mounted/status)"
unmount_it
