#!/bin/bash
# bakfs mount: where it is refused, as a daemon and in the foreground, and by mount(8)'s helper.
set -eu
. "$TESTS/lib/cli.sh"
need_fuse
setup_repository <<-END
	[store src]
	type = files
	path = src
END
mkdir src mnt full
echo hello >src/file
echo x >full/file
expect 0 . bakfs backup

# Refused before anything happens.
expect 1 . bakfs mount nosuch
expect 1 'not empty' bakfs mount full
expect 1 . bakfs mount src/file
mkdir repo/mnt
expect 1 . bakfs mount repo/mnt
expect 1 . bakfs mount repo
expect 1 . bakfs mount "$work"
expect 2 'unknown option' bakfs mount mnt -o nosuch
expect 2 'unknown option' bakfs mount mnt -o verify=half
expect 2 'umask' bakfs mount mnt -o umask=9
expect 2 'one folder' bakfs mount
expect 1 'not a repository' bakfs --repo full --key-file key mount mnt
expect 1 . bakfs mount mnt -o snapshot=99
! mountpoint -q mnt || fail "something is mounted"

# The daemon: there when the command returns, logs where it was told to.
expect 0 '' bakfs mount mnt -o ro,nofail,x-systemd.automount,noauto,_netdev,log=log
mountpoint -q mnt || fail "not mounted"
is "$(cat mnt/latest/src/file)" hello
expect 1 . bakfs mount mnt
expect 1 'inside a mounted bakfs' bakfs restore 1 --to mnt/x
expect 1 'inside a mounted bakfs' bakfs restore 1 --to mnt/latest/src --overwrite
fusermount3 -u mnt || umount mnt
[ -e log ] || fail "no log"
expect 0 '' bakfs mount mnt --log log2
fusermount3 -u mnt || umount mnt
[ -e log2 ] || fail "no log"
expect 1 'log .*No such file' bakfs mount mnt --log nosuch/log
! mountpoint -q mnt || fail "mounted without its log"

# The foreground: says when it is ready, ends by a signal with status 0.
mkfifo ready
bakfs mount -f mnt >ready 2>err &
read -r line <ready
is "$line" "mounted on $work/mnt"
is "$(cat mnt/by-store/src/latest/file)" hello
kill -TERM $!
wait $! || fail "status $? after SIGTERM: $(cat err)"
! mountpoint -q mnt || fail "still mounted"

# mount(8)'s helper, with a configuration and with a repository.
helper=$HELPER
expect 0 '' "$helper" "$work/bakfs.conf" "$work/mnt" -o rw,ro
is "$(cat mnt/latest/src/file)" hello
fusermount3 -u mnt || umount mnt
expect 0 '' "$helper" "$work/repo" "$work/mnt" -o "ro,key_file=$work/key"
is "$(cat mnt/latest/src/file)" hello
fusermount3 -u mnt || umount mnt
expect 1 . "$helper" "$work/nosuch" "$work/mnt"
expect 2 usage "$helper"

# The units say what systemd understands.
if command -v systemd-analyze >/dev/null; then
	systemd-analyze verify --man=no "$TESTS"/../tools/systemd/mnt-bakfs.* 2>err || fail "$(cat err)"
	is "$(cat err)" ''
else
	echo "skipped: no systemd-analyze to check the units with"
fi
