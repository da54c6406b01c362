#!/bin/bash
# Programs that people walk around with say the same of a mount as of the source, errors included.
set -eu
. "$TESTS/servers/debian.sh"
debian_need walkers ncdu tree busybox libarchive-tools p7zip-full hashdeep git file less ||
	{ echo "skipped: no programs: $debian_why" && exit 77; }
. "$TESTS/fs/lib.sh"
command -v sqlite3 >/dev/null || skip "sqlite3 is missing"
export LC_ALL=C.UTF-8 GIT_CONFIG_NOSYSTEM=1
odd_tree src 300
sqlite_file src/app.db 500
git=(git -c safe.directory='*' -c user.name=n -c user.email=e)
mkdir src/work
echo code >src/work/code
"${git[@]}" -C src/work init -q
"${git[@]}" -C src/work add code
"${git[@]}" -C src/work commit -qm first
save_src
mount_it
there=$work/mnt/latest/src

# alike COMMAND...: in both folders; what it prints is the same but for the order.
alike()
{
	(cd src && timeout 60 "$@" 2>"$work/errors.source" | sort >"$work/said.source")
	(cd "$there" && timeout 60 "$@" 2>"$work/errors" | sort >"$work/said")
	[ -s said ] || fail "nothing said: $*: $(cat errors)"
	diff said.source said >difference && diff errors.source errors >>difference ||
		fail "$*: $(head -c 2000 difference)"
}

alike find . -printf '%P %M %n %U %G %T+ %l\n'
alike tree -apugD --noreport
alike tree -aJ --noreport
alike busybox find . ! -name . -exec busybox stat -c '%n %a %h %u %g %Y %F' {} +
alike busybox find . -type f -exec busybox sha1sum {} +
alike md5deep -r -l names raw many
alike file -- * names/*
alike less many/*aaaaa
alike bash -c 'bsdtar -cf - . | bsdtar -tvf -'
alike bsdtar -cf - --format=mtree --options='mtree:!all,type,mode,uid,gid,link,sha256' .
alike bash -c 'ls -A1 -f many | wc -l'
alike bash -c 'find . -type f -print0 | du -l --apparent-size -b --files0-from=-'
alike bash -c 'ncdu -0 -o - . | grep -o "\"name\":\"[^\"]*\"" | sed "s|\"/.*|root|"'
alike python3 -c '
import os
for top, folders, files, fd in os.fwalk("."):
    print(os.fsencode(top), [os.fsencode(f) for f in sorted(folders)], os.stat(".", dir_fd=fd).st_nlink)
    for entry in os.scandir(fd):
        st = entry.stat(follow_symlinks=False)
        print(os.fsencode(entry.name), entry.is_dir(), entry.is_symlink(), st.st_mtime_ns, oct(st.st_mode))'
alike sqlite3 'file:app.db?mode=ro&immutable=0' 'pragma integrity_check; select sum(a) from t'
alike sqlite3 app.db 'select max(a) from t'
alike "${git[@]}" -C work log --stat
(cd "$there/work" && "${git[@]}" status --porcelain >"$work/said" 2>&1 && "${git[@]}" fsck 2>&1)
[ ! -s said ] || fail "git says: $(cat said)"
diff -r --no-dereference --exclude=fifo src "$there"

# Copies, in the ways that look closely; the second time there is nothing to do.
"${git[@]}" clone -q "$there/work" clone
cmp clone/code src/work/code
cp -a --sparse=auto "$there" copied
rsync -aHAX "$there/" rsynced/
busybox cp -a "$there" busyboxed
python3 -c 'import shutil, sys; shutil.copytree(*sys.argv[1:], symlinks=True, ignore=shutil.ignore_patterns("fifo"))' \
	"$there" python
for copy in copied rsynced; do
	rsync -aHAX --checksum --delete -i "$there/" $copy/ >changes
	[ ! -s changes ] || fail "$copy: $(head changes)"
	diff -r --no-dereference --exclude=fifo src $copy
done
for copy in busyboxed python; do
	diff -r --no-dereference --exclude=fifo src $copy
done
is "$(stat -c %b copied/holed)" "$(stat -c %b src/holed)"
sevenzip=$(find "$debian_root/usr/lib" /usr/lib -path '*/p7zip/7z' -print -quit)
(cd "$there" && "$sevenzip" a -bso0 -bsp0 "$work/all.7z" many big holed app.db) || fail "7z"
"$sevenzip" x -bso0 -bsp0 -ounpacked all.7z && diff -r src/many unpacked/many && cmp src/holed unpacked/holed

# What df says: what the repository takes, beside what is free on its disk.
read -r size used avail <<<"$(df -B1 --output=size,used,avail mnt | tail -1)"
taken=$(find repo -type f -printf '%s\n' | awk '{ n += $1 } END { print n }')
[ $((used + 65536)) -gt "$taken" ] && [ "$used" -lt $((taken + 65536)) ] ||
	fail "df says $used, the repository takes $taken"
[ $((used + avail)) -le "$size" ] || fail "df: more is used and free than there is"
unmount_it
