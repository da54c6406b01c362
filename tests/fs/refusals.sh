#!/bin/bash
# Where a mount is refused, and what a mount that died leaves behind.
set -eu
. "$TESTS/fs/lib.sh"
mkdir src mnt other
echo hello >src/file
save_src

# Over, in and around the repository: by name, by a symlink, by a bind mount.
mkdir repo/inside
expect 1 'overlap' bakfs mount -f repo/inside
ln -s repo/inside link
expect 1 'overlap' bakfs mount -f link
expect 1 'overlap' bakfs mount -f repo
expect 1 'overlap|not empty' bakfs mount -f .
expect 1 'not there' bakfs mount -f nosuch
expect 1 'no folder' bakfs mount -f src/file
expect 1 'not empty' bakfs mount -f src
if [ $EUID = 0 ] && mkdir mnt-bind && mount --bind repo mnt-bind 2>/dev/null; then
	expect 1 'overlap' bakfs mount -f mnt-bind/inside
	umount mnt-bind
fi
rmdir repo/inside

# Twice.
mount_it
expect 1 'mounted already' bakfs mount -f mnt
is "$(cat mnt/latest/src/file)" hello
unmount_it

# The daemon is killed: the next mount takes what it left away, says so, and works.
for _ in 1 2; do
	mount_it
	cat mnt/latest/src/file >/dev/null
	kill -KILL "$mounted"
	wait "$mounted" || true
	expect 2 "not connected" ls mnt
done
mount_it
grep -q 'detached a dead mount' mount.log || fail "nobody said that a dead mount was there"
is "$(cat mnt/latest/src/file)" hello
unmount_it 'detached a dead mount'
! grep -q " $work/mnt " /proc/self/mountinfo || fail "something is still mounted"

# An aborted connection: the daemon ends, and nothing stays behind.
if [ $EUID = 0 ] && mkdir mnt-ctl && mount -t fusectl none mnt-ctl 2>/dev/null; then
	mount_it
	minor=$(grep " $work/mnt " /proc/self/mountinfo | cut -d' ' -f3 | cut -d: -f2)
	echo 1 >"mnt-ctl/$minor/abort"
	wait "$mounted" || fail "ended with $?"
	! grep -q " $work/mnt " /proc/self/mountinfo || fail "a dead mount was left behind"
	umount mnt-ctl
fi

# Unmounted by somebody else: ends with 0.
mount_it
umount mnt 2>/dev/null || fusermount3 -u mnt
wait "$mounted" || fail "ended with $?"

# While it is busy an unmount says so, and the mount goes on; also with somebody at `wait`.
mount_it
exec 5<mnt/latest/src/file
expect 1 'busy' fusermount3 -u mnt
is "$(cat <&5)" hello
exec 5<&-
exec 5<mnt/restore/src/wait
expect 1 'busy' fusermount3 -u mnt
exec 5<&-
fusermount3 -u mnt
wait "$mounted" || fail "ended with $?"

# A signal while files are open and somebody stands in the mount: ends, and detaches.
mount_it
exec 5<mnt/latest/src/file
(cd mnt/latest/src && exec tail -f /dev/null) &
inside=$!
is_inside() { [ "$(readlink "/proc/$inside/cwd")" = "$work/mnt/latest/src" ]; }
until_true is_inside
unmount_it
exec 5<&-
kill $inside
wait $inside || true
! grep -q " $work/mnt " /proc/self/mountinfo || fail "still mounted"
