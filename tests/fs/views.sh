#!/bin/bash
# The tree above the snapshots: what is there, what it says, and that nothing else can be done.
set -eu
. "$TESTS/fs/lib.sh"
mkdir src empty web
echo one >src/a
mkdir src/sub src/sub/deep
echo two >$'src/sub/back\\slash\nand newline'
: >src/sub/deep/nothing
ln src/a src/sub/linked
echo page >web/index.html
setup_repository <<-END
	[store src]
	type = files
	path = src
	[store empty]
	type = files
	path = empty
	[store web]
	type = files
	path = web
END
expect 0 . bakfs backup --type daily
first=$(bakfs list --json | jq -r '[.snapshots[] | select(.store == "src")][0].stamp')
first_run=$(bakfs list --json | jq -r '[.snapshots[] | select(.store == "src")][0].run_stamp')
echo three >src/b
expect 0 . bakfs backup src
second=$(bakfs list --json | jq -r '[.snapshots[] | select(.store == "src")][-1].stamp')
[ "$first" != "$second" ] || fail "two snapshots with one stamp"

# The whole tree of names, as the contract draws it.
names()
{
	(cd mnt && find . -mindepth 1 -maxdepth 3 ! -path './*/*/*/*' | LC_ALL=C sort)
}

check_tree()
{
	is "$(ls mnt | tr '\n' ' ')" "$1"
	is "$(ls mnt/latest | tr '\n' ' ')" \
		'empty empty.json src src.json src.sha256 web web.json web.sha256 '
	is "$(ls mnt/by-store | tr '\n' ' ')" 'empty src web '
	is "$(ls mnt/by-store/src | tr '\n' ' ')" \
		"$first $first.json $first.sha256 $second $second.json $second.sha256 latest "
	is "$(readlink mnt/by-store/src/latest)" "$second"
	day=${first_run:0:4}-${first_run:4:2}-${first_run:6:2}
	is "$(ls "mnt/by-date/$day/${first_run:9:6}Z-daily" | tr '\n' ' ')" \
		'SHA256SUMS empty manifest.json src web '
	is "$(ls "mnt/by-date/$day/${second:9:6}Z-manual" | tr '\n' ' ')" \
		'SHA256SUMS manifest.json src '
	[ -d mnt/latest/src ] && [ ! -L mnt/latest/src ] || fail "/latest/src is no folder"
	is "$(cat mnt/latest/src/b mnt/by-store/src/latest/b)" "$(printf 'three\nthree')"
	[ ! -e mnt/by-store/src/$first/b ] || fail "the first snapshot changed"
}

# Sums: right, of the size they say, relative to their folder, GNU's way of escaping.
check_sums()
{
	(cd mnt/latest && sha256sum -c --quiet src.sha256 web.sha256)
	(cd mnt/by-store/src && sha256sum -c --quiet "$first.sha256" "$second.sha256")
	for run in mnt/by-date/*/*; do
		(cd "$run" && sha256sum -c --quiet SHA256SUMS)
	done
	grep -q '^\\[0-9a-f]\{64\}  src/sub/back\\\\slash\\nand newline$' mnt/latest/src.sha256
	(cd mnt/latest && find src -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum |
		LC_ALL=C sort) >own
	LC_ALL=C sort mnt/latest/src.sha256 | diff - own
	for file in mnt/latest/*.sha256 mnt/by-date/*/*/SHA256SUMS mnt/latest/*.json \
		mnt/by-date/*/*/manifest.json mnt/status mnt/metrics; do
		is "$(wc -c <"$file")" "$(cat "$file" | wc -c)"
		is "$(stat -c %s "$file")" "$(cat "$file" | wc -c)"
	done
	# Any piece of it is a piece of the whole, by the kernel's cache and past it.
	python3 - mnt/status mnt/metrics mnt/latest/*.sha256 mnt/by-date/*/*/SHA256SUMS \
		mnt/latest/*.json mnt/by-date/*/*/manifest.json <<-'END'
		import mmap, os, sys
		for name in sys.argv[1:]:
		    wholes = []
		    for flags in 0, os.O_DIRECT:
		        fd = os.open(name, os.O_RDONLY | flags)
		        page = mmap.mmap(-1, 1 << 20)
		        whole = page[:os.preadv(fd, [page], 0)]
		        for at in 0, 1, 40, 63, 64, 65, len(whole) - 9:
		            got = os.preadv(fd, [memoryview(page)[:37]], at)
		            assert got and page[:got] == whole[at:at + 37], f"{name}: at {at}"
		        wholes.append(whole)
		        os.close(fd)
		    assert wholes[0] == wholes[1] or name in sys.argv[1:3], f"{name} is two texts"
	END
}

check_manifests()
{
	is "$(jq -r '.store, .stamp' mnt/latest/src.json | tr '\n' ' ')" "src $second "
	cmp mnt/latest/src.json "mnt/by-store/src/$second.json"
	is "$(jq -r '.stores | keys | join(" ")' mnt/by-date/*/*-daily/manifest.json)" \
		'empty src web'
	is "$(jq -r .type mnt/by-date/*/*-manual/manifest.json)" manual
}

# Attributes that prove, and are never listed.
check_attributes()
{
	command -v getfattr >/dev/null || return 0
	is "$(getfattr --only-values -n user.bakfs.sha256 mnt/latest/src/a)" \
		"$(sha256sum <src/a | cut -d' ' -f1)"
	is "$(getfattr --only-values -n user.bakfs.sha256 mnt/latest/src/sub/deep/nothing)" \
		"$(sha256sum </dev/null | cut -d' ' -f1)"
	is "$(getfattr --only-values -n user.bakfs.store mnt/latest/src/a)" src
	number=$(bakfs list --json | jq -r '[.snapshots[] | select(.store == "src")][-1].number')
	is "$(getfattr --only-values -n user.bakfs.snapshot mnt/latest/src/sub)" "$number"
	is "$(getfattr -d -m - mnt/latest/src/a 2>&1)" ''
	! getfattr -n user.bakfs.nosuch mnt/latest/src/a 2>/dev/null || fail "an attribute too many"
	! getfattr -n user.bakfs.sha256 mnt/latest/src/sub 2>/dev/null || fail "sum of a folder"
}

# One snapshot in two views: pwd stays right, files are the same inode.
check_views()
{
	is "$(cd mnt/latest/src/sub/deep && cd ../.. && env -u PWD pwd -P)" "$work/mnt/latest/src"
	is "$(cd mnt/by-store/src/$second/sub/deep && cd .. && env -u PWD pwd -P)" \
		"$work/mnt/by-store/src/$second/sub"
	is "$(stat -c %i mnt/latest/src/a)" "$(stat -c %i "mnt/by-store/src/$second/a")"
	[ "$(stat -c %i mnt/latest/src/sub)" != "$(stat -c %i "mnt/by-store/src/$second/sub")" ] ||
		fail "two folders with one inode number"
	for folder in mnt mnt/by-date mnt/by-store mnt/by-store/src mnt/latest mnt/by-date/* \
		mnt/by-date/*/* mnt/latest/src; do
		is "$(stat -c %h "$folder")" "$(($(find "$folder/" -mindepth 1 -maxdepth 1 -type d | wc -l) + 2))"
	done
	is "$(df --output=source mnt | tail -1)" "$work/repo"
	[ "$(df --output=avail mnt | tail -1)" -gt 0 ] || fail "no free space"
}

# Nothing of it can be changed.
check_unchangeable()
{
	local target
	for target in mnt/new mnt/latest/new mnt/latest/src/new mnt/by-store/src/latest/sub/new; do
		expect 1 'Read-only file system' touch "$target"
		expect 1 'Read-only file system' mkdir "$target"
		expect 1 'Read-only file system' ln -s x "$target"
	done
	expect 1 'Read-only file system' rm mnt/latest/src/a
	expect 1 'Read-only file system' rmdir mnt/latest/src/sub/deep
	expect 1 'Read-only file system' mv mnt/latest/src/a mnt/latest/src/c
	expect 1 'Read-only file system' chmod 777 mnt/latest/src/a
	expect 1 'Read-only file system' truncate -s 0 mnt/latest/src/a
	expect 1 'Read-only file system' touch mnt/status
	expect 1 'Read-only file system|Invalid cross-device' ln mnt/latest/src/a mnt/latest/src/c
	is "$(cat mnt/latest/src/a)" one
}

for options in '' '-o ro'; do
	mount_it $options
	for _ in first again; do
		check_tree "by-date by-store latest metrics $([ "$options" ] || echo 'restore ')status "
		check_sums
		check_manifests
		check_attributes
		check_views
		check_unchangeable
	done
	names >names.before
	grep -q 'src' mnt/status
	grep -q '^bakfs_store_snapshots{store="src"} 2$' mnt/metrics
	findmnt -no OPTIONS --mountpoint "$work/mnt" >flags
	grep -q nodev flags && grep -q nosuid flags
	[ -z "$options" ] || grep -Eq '^ro,|,ro,' flags
	inodes=$(find mnt -path mnt/restore -prune -o ! -name status ! -name metrics -printf '%i %P\n' | LC_ALL=C sort | sha256sum)
	unmount_it

	# Numbers mean the same after a remount.
	mount_it $options
	names | diff names.before -
	is "$(find mnt -path mnt/restore -prune -o ! -name status ! -name metrics -printf '%i %P\n' | LC_ALL=C sort | sha256sum)" "$inodes"
	unmount_it
done

# One store, one snapshot.
mount_it -o ro,store=web
is "$(ls mnt/by-store mnt/latest | tr '\n' ' ')" 'mnt/by-store: web  mnt/latest: web web.json web.sha256 '
unmount_it
mount_it -o "ro,snapshot=src@$first"
is "$(ls mnt/by-store/src | tr '\n' ' ')" "$first $first.json $first.sha256 latest "
unmount_it

# Owner, group and mode as told.
mount_it -o ro,uid=1234,gid=4321,umask=027
is "$(stat -c '%u:%g %a' mnt/latest/src/a)" "1234:4321 640"
unmount_it

# Other people: only with allow_other; with `owner` as the stored permissions say; never in /restore.
if [ $EUID = 0 ]; then
	chmod 755 . src src/sub
	chmod 600 src/a
	setfacl -m u:65534:r src/sub/linked 2>/dev/null || true # the same file as src/a
	chmod 600 src/b
	expect 0 . bakfs backup src
	nobody=(setpriv --reuid=65534 --regid=65534 --clear-groups)
	mount_it
	expect 2 'Permission denied' "${nobody[@]}" ls mnt/latest
	unmount_it
	mount_it -o allow_other
	is "$("${nobody[@]}" cat mnt/latest/src/b)" three
	expect 2 'Permission denied' "${nobody[@]}" ls mnt/restore
	expect 2 'Permission denied' "${nobody[@]}" ls mnt/restore/src
	expect 1 'Permission denied' "${nobody[@]}" cat mnt/restore/src/status
	expect 1 'Permission denied' "${nobody[@]}" touch mnt/restore/src/latest
	expect 1 'Permission denied' "${nobody[@]}" mkdir mnt/restore/src/new
	is "$(grep -c '^job: ' mnt/restore/src/status || true)" 0
	unmount_it
	expect 2 'no such group' bakfs mount mnt -o restore_group=no-such-group
	for group in --clear-groups --groups=65533,12; do
		member=(setpriv --reuid=65534 --regid=65534 "$group")
		mount_it -o allow_other,restore_group=12
		is "$(stat -c %a:%g mnt/restore mnt/restore/src mnt/restore/src/status | tr '\n' ' ')" \
			'770:12 770:12 440:12 '
		if [ "$group" = --clear-groups ]; then
			expect 1 'Permission denied' "${member[@]}" touch mnt/restore/src/latest
		else
			"${member[@]}" cat mnt/restore/src/status >/dev/null
			"${member[@]}" mkdir mnt/restore/src/new
			"${member[@]}" rmdir mnt/restore/src/new
		fi
		unmount_it
	done
	mount_it -o ro,allow_other,owner
	expect 1 'Permission denied' "${nobody[@]}" cat mnt/latest/src/b
	expect 1 'Permission denied' "${nobody[@]}" cat mnt/latest/src.json
	"${nobody[@]}" cat mnt/status >/dev/null
	if getfacl -cn src/a 2>/dev/null | grep -q 'user:65534:r'; then
		is "$("${nobody[@]}" cat mnt/latest/src/a)" one
	fi
	unmount_it
fi
