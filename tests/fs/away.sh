#!/bin/bash
# The repository is away, answers with errors, or does not answer, under a live mount: errors that end,
# and all is well again without mounting anew when it is back. The index is deleted, too.
set -eu
. "$TESTS/fs/lib.sh"
mkdir src mnt-disk
head -c 6000000 /dev/urandom >src/random
seq 200000 >src/text
for i in $(seq 50); do echo "small $i" >"src/$i"; done
setup_repository <<-END
	[store src]
	type = files
	path = src
	[mount]
	spool = $work/home
END
expect 0 . bakfs backup
mkfifo disk-ready
# The repository behind a disk that can fail; its index and state know it by its own id.
sed "s|^path = $work/repo|path = $work/mnt-disk/repo|" bakfs.conf >away.conf
mkdir shown
mv repo shown/repo
plug()
{
	"$PASSTHROUGH" shown mnt-disk >disk-ready &
	disk=$!
	read -r _ <disk-ready
}
unplug()
{
	kill -KILL "$disk"
	wait "$disk" || true
	umount -l mnt-disk 2>/dev/null || fusermount3 -uz mnt-disk
}
disk=
trap '[ ! "$disk" ] || kill -KILL "$disk" 2>/dev/null || true; cleanup' EXIT
plug
export BAKFS_CONFIG=$work/away.conf
latest=mnt/latest/src

disk_works() { [ -s mnt-disk/repo/bakfs.json ]; }
disk_fails() { ! disk_works; }

# By direct reads of the kernel's cache nothing would be seen: each look is at what was not read yet.
look() # FILE
{
	cmp "src/$1" "$latest/$1"
}
refused() # FILE
{
	! cat "$latest/$1" >got 2>why || fail "$1 was read from a disk that fails"
	grep -q 'Input/output error' why || fail "$1: $(cat why)"
	cmp -n "$(stat -c %s got)" got "src/$1"
}

for options in '-o cache=1M' '-o ro,cache=1M'; do
	mount_it $options
	look 1
	ls -lR mnt/latest >listing

	# Errors: EIO, while it lasts.
	kill -USR1 "$disk"
	until_true disk_fails
	refused random
	ls -lR mnt/latest | cmp - listing
	cat mnt/status >/dev/null
	kill -USR2 "$disk"
	until_true disk_works
	look random

	# Away, and mounted anew at its place: what is open of it is dead for ever.
	unplug
	refused text
	plug
	look text
	"$READERS" -t 16 -n 300 src $latest

	# It hangs: readers wait, others are served; it goes on, and so do they.
	unmount_it 'src:|cannot|mnt-disk|answer'
	mount_it $options
	look 2
	ls -lR mnt/latest >/dev/null
	kill -STOP "$disk"
	cat $latest/random >got &
	reader=$!
	until_true grep -q "^$reader (cat) D\|^$reader (cat) S " /proc/$reader/stat
	ls -lR mnt/latest | cmp - listing
	look 2
	kill -CONT "$disk"
	wait $reader || fail "what hung did not go on"
	cmp got src/random
	unmount_it 'src:|cannot|mnt-disk|answer'
done

# It hangs for longer than the mount has patience: many readers, each hears of it, and meanwhile what
# is known is shown; all works when the disk answers again.
mount_it -o cache=1M,timeout=1
look 2
ls -lR mnt/latest >/dev/null
kill -STOP "$disk"
for i in $(seq 24); do
	dd if=$latest/random of=/dev/null bs=4096 count=1 skip=$((520 + i * 36)) 2>"why.$i" &
	readers[i]=$!
done
ls -lR mnt/latest | cmp - listing
look 2
cat mnt/restore/src/status >/dev/null
for i in $(seq 24); do
	! wait "${readers[i]}" || fail "a disk that hangs was read"
	grep -q 'Connection timed out' "why.$i" || fail "$(cat "why.$i")"
done
kill -CONT "$disk"
until_true look random
unmount_it 'src:|cannot|mnt-disk|answer'

# It hangs, and nobody waits for it any more: who ends the mount gets that soon, and who reads there an
# error. Without a folder to watch the notifier asks the disk all the time. (Its connection is closed
# under threads that read from it, just before the process ends; ThreadSanitizer minds that.)
declare -A ending cats
mv shown/repo/forgotten forgotten
for way in TERM INT umount; do
	mkdir "mnt-$way"
	TSAN_OPTIONS="${TSAN_OPTIONS-} exitcode=0" \
		bakfs mount -f -o cache=1M,timeout=0 "mnt-$way" >ready 2>"log.$way" &
	ending[$way]=$!
	read -r line <ready
	is "$line" "mounted on $work/mnt-$way"
	cmp src/2 "mnt-$way/latest/src/2"
done
kill -STOP "$disk"
for way in TERM INT; do
	cat "mnt-$way/latest/src/random" >/dev/null 2>"why.$way" &
	cats[$way]=$!
done
for way in "${!ending[@]}"; do
	until_true grep -q request_wait_answer "/proc/${ending[$way]}/task/"*/wchan
done
kill -TERM "${ending[TERM]}"
kill -INT "${ending[INT]}"
fusermount3 -u mnt-umount
# The mount goes, and who reads is told; the kernel may keep a thread until the disk answers.
gave_up() { grep -q 'ended without what was under way' "log.$1"; }
for way in "${!ending[@]}"; do
	until_true gave_up "$way"
	! grep -q " $work/mnt-$way " /proc/self/mountinfo || fail "$way: still mounted"
done
for way in "${!cats[@]}"; do
	! wait "${cats[$way]}" || fail "$way: a disk that hangs was read"
done
kill -CONT "$disk"
for way in "${!ending[@]}"; do
	wait "${ending[$way]}" || fail "$way: ended with $?: $(cat "log.$way")"
	rmdir "mnt-$way"
done
mv forgotten shown/repo/forgotten

# The index is deleted: the mount goes on, and shows what others save.
mount_it
rm -rf home/cache
look random
export BAKFS_CONFIG=$work/away-not.conf
sed "s|^path = $work/mnt-disk/repo|path = $work/shown/repo|" away.conf >away-not.conf
echo new >src/new
expect 0 . bakfs backup
export BAKFS_CONFIG=$work/away.conf
shows_new() { [ "$(cat $latest/new)" = new ]; }
until_true shows_new
look random
unmount_it 'src:|cannot|mnt-disk|answer|index'
unplug
