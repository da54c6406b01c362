#!/bin/bash
# An NFS export of a mount, over versions 3 and 4, by a server in user space (nfs-ganesha), which finds
# files again by their handles; also after the mount and the server have been restarted.
set -eu
[ $EUID = 0 ] || { echo "skipped: needs root, for handles" && exit 77; }
[ -e /etc/netconfig ] || { echo "skipped: no /etc/netconfig, which libtirpc wants" && exit 77; }
unshare -nm true 2>/dev/null || { echo "skipped: no namespaces to be had" && exit 77; }
. "$TESTS/servers/debian.sh"
debian_need ganesha nfs-ganesha nfs-ganesha-vfs rpcbind libnfs13 ||
	{ echo "skipped: no NFS server: $debian_why" && exit 77; }

# All ports, and what lies in /run, are ours: nothing is told to the machine's own rpcbind or D-Bus.
if [ "${1:-}" != inside ]; then
	status=0
	unshare -nm --propagation private bash "$0" inside || status=$?
	exit $status
fi
. "$TESTS/fs/lib.sh"
mount -t tmpfs tmpfs /run
python3 -c 'import fcntl, socket, struct
fcntl.ioctl(socket.socket(), 0x8914, struct.pack("16sH22x", b"lo", 1))  # SIOCSIFFLAGS, up'
{
	cat /etc/passwd
	echo '_rpc:x:65533:65534::/:/bin/false'
} >passwd
mount --bind passwd /etc/passwd
rpcbind -f >rpcbind.log 2>&1 &

odd_tree src 2000
mknod src/links/null c 1 3
mknod src/links/loop b 7 9
chown 1234:4321 src/holed
chmod 6755 src/big
save_src
mkdir nfs
cat >ganesha.conf <<-END
	NFS_CORE_PARAM {
		Plugins_Dir = $(find "$debian_root/usr/lib" /usr/lib -path '*/ganesha/libfsalvfs.so' -printf '%h' -quit);
		Protocols = 3, 4;
		Enable_NLM = false;
		Enable_RQUOTA = false;
		Enable_UDP = false;
	}
	NFS_KRB5 { Active_krb5 = false; }
	NFSv4 {
		RecoveryRoot = $work/nfs;
		Graceless = true;
		Minor_Versions = 0;
		Only_Numeric_Owners = true;
		UseGetpwnam = true;
		DomainName = localdomain;
	}
	EXPORT {
		Export_Id = 7;
		Path = $work/mnt;
		Pseudo = /backups;
		Access_Type = RO;
		Squash = no_root_squash;
		SecType = sys;
		FSAL { Name = VFS; fsid_type = None; }
	}
END
v3="nfs://127.0.0.1$work/mnt?version=3"
v4="nfs://127.0.0.1/backups?version=4"
client=(timeout 120 python3 "$TESTS/fs/nfs_client.py")

serve() # MOUNT OPTION...
{
	mount_it "$@"
	until_true rpcinfo -T tcp 127.0.0.1 100000 >answers
	DBUS_SYSTEM_BUS_ADDRESS=unix:path=$work/none ganesha.nfsd -F -L nfs/log -f ganesha.conf \
		-p nfs/pid -N EVENT &
	server=$!
	until_true grep -q 'NFS SERVER INITIALIZED' nfs/log
}

end_serving()
{
	kill -KILL $server
	wait $server 2>/dev/null || true
	rm nfs/log
	unmount_it
}

serve -o ro
"${client[@]}" compare "$v4" /latest/src src
"${client[@]}" numbers "$v3" /by-store mnt/by-store
mkfifo go
exec 5<>go
"${client[@]}" hold "$v3" /latest/src src <go >held &
holder=$!
until_true grep -q holding held
end_serving

# What a client had is good after a restart of both.
serve
echo >&5
wait $holder || fail "handles from before"
"${client[@]}" compare "$v4" "/by-store/src/$(readlink mnt/by-store/src/latest)/raw" src/raw
end_serving
