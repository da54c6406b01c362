#!/bin/bash
# Who may mount: a normal user through fusermount3, and with a line in fstab that says `user`.
set -eu
. "$TESTS/fs/lib.sh"
[ $EUID = 0 ] || skip "needs root, to become somebody else"
[ -u "$(command -v fusermount3)" ] || skip "fusermount3 has no rights to give"
unshare -m true 2>/dev/null || skip "no mount namespace to be had"

# In a namespace of our own /dev/fuse is anybody's, fstab is ours, and mount(8) finds our helper.
if [ "${1:-}" != inside ]; then
	status=0
	unshare -m --propagation private env HOME="$HOME" bash "$0" inside || status=$?
	exit $status
fi
mknod -m 666 fuse c 10 229
mount --bind fuse /dev/fuse
mkdir sbin bin.user user mnt-user
# It looks for bakfs where that is installed.
sed "s|^PATH=.*|PATH=$work/bin.user:/usr/bin:/bin|" "$HELPER" >sbin/mount.fuse.bakfs
cp -L "$BAKFS" bin.user/bakfs
chmod -R a+rX . bin.user sbin
chmod 755 bin.user/bakfs sbin/mount.fuse.bakfs
mkdir user/src user/home
echo mine >user/src/file
chown -R 65534:65534 user mnt-user
export PATH=$work/bin.user:/usr/bin:/bin
nobody=(setpriv --reuid=65534 --regid=65534 --clear-groups env HOME="$work/user/home"
	XDG_CACHE_HOME="$work/user/home" XDG_STATE_HOME="$work/user/home")
printf '[repository]\npath = %s\nkey_file = %s\n[store src]\ntype = files\npath = %s\n' \
	"$work/user/repo" "$work/user/key" "$work/user/src" >user/bakfs.conf
bak=("${nobody[@]}" bakfs --config "$work/user/bakfs.conf")
expect 0 'made repository' "${bak[@]}" init
expect 0 'snapshot 1' "${bak[@]}" backup

# By fusermount3, which they may unmount too; nobody else looks in, not even the superuser.
for options in '' ro ro,nodev,uid=0; do
	expect 0 '' "${bak[@]}" mount mnt-user ${options:+-o $options}
	is "$("${nobody[@]}" cat mnt-user/latest/src/file)" mine
	expect 2 'Permission denied' ls mnt-user/latest
	[ "$options" ] || expect 0 status "${nobody[@]}" ls mnt-user/restore/src
	grep " $work/mnt-user " /proc/self/mountinfo | grep -q 'nosuid,nodev.*user_id=65534' ||
		fail "$(grep " $work/mnt-user " /proc/self/mountinfo)"
	expect 0 '' "${nobody[@]}" fusermount3 -u mnt-user
done
if ! grep -q '^user_allow_other' /etc/fuse.conf 2>/dev/null; then
	expect 1 'allow_other' "${bak[@]}" mount mnt-user -o allow_other
fi

# By fstab: the user may, the options that are for others are passed over.
printf '%s %s fuse.bakfs ro,user,noauto,x-systemd.automount 0 0\n' "$work/user/bakfs.conf" \
	"$work/mnt-user" >fstab
chmod 644 fstab
mount --bind fstab /etc/fstab
mount --bind sbin /usr/sbin
expect 0 '' "${nobody[@]}" mount "$work/mnt-user"
is "$("${nobody[@]}" cat mnt-user/latest/src/file)" mine
expect 0 '' "${nobody[@]}" fusermount3 -u "$work/mnt-user"

# And the superuser, for everybody.
printf '%s %s fuse.bakfs ro,allow_other,nofail 0 0\n' "$work/user/bakfs.conf" "$work/mnt-user" >fstab
expect 0 '' mount "$work/mnt-user"
is "$("${nobody[@]}" cat mnt-user/latest/src/file)" mine
expect 32 superuser "${nobody[@]}" umount "$work/mnt-user"
umount "$work/mnt-user"
is "$(cat user/src/file)" mine
