#!/bin/bash
# Restore jobs as seen through /restore: cancelled, too late to cancel, queued, killed, outliving
# the mount, waited for, interrupted; and uploads for which there is no room.
set -eu
. "$TESTS/fs/lib.sh"
mkdir src
echo one >data
mkfifo gate
# The store: its restore begins, and ends when the test opens the gate.
setup_repository <<-END
	[store held]
	type = command
	dump = cat $work/data
	restore_command = cat >$work/data.new; echo begun >$work/begun; read -r _ <$work/gate; mv $work/data.new $work/data
	[store calm]
	type = command
	dump = cat $work/data
	restore_command = cat >$work/calm
	[mount]
	restore_delay = 0
END
expect 0 . bakfs backup
echo two >data

state_is() # STORE STATE
{
	grep -qx "state: $2" "mnt/restore/$1/status"
}

open_gate()
{
	echo go >gate
}

# reads PID: it is cat, and sleeps. Not yet cat, it would be this shell, which keeps a signal.
reads()
{
	until_true grep -q "^$1 (cat) S " "/proc/$1/stat"
}

begun()
{
	until_true test -e begun
	rm begun
}

ends_with() # STORE REGEX
{
	cat "mnt/restore/$1/wait" >result || fail "wait: $?"
	grep -Eq "$2" result || fail "not \"$2\": $(cat result "mnt/restore/$1/status" "mnt/restore/$1/log")"
}

# Too late to cancel: EBUSY from the point of no return on, until the end.
mount_it
held=mnt/restore/held
touch $held/latest
begun
state_is held restoring
expect 1 'Device or resource busy' rm $held/latest
# A second touch of the same starts nothing, of any name for it.
touch $held/latest "$held/$(readlink mnt/by-store/held/latest)"
is "$(grep -c '^job: ' $held/status)" 1
# Another store is not kept waiting.
touch mnt/restore/calm/latest
ends_with calm '^done: '
is "$(cat calm)" one
# Who reads `wait` sleeps until the end, and holds no thread: many more of them than threads.
for i in $(seq 40); do
	cat $held/wait >"waiter.$i" &
	waiters[i]=$!
done
cat $held/wait >interrupted &
interrupted=$!
reads $interrupted
kill -TERM $interrupted
wait $interrupted && fail "not interrupted" || true
[ ! -s interrupted ] || fail "an interrupted reader got an answer"
is "$(cat mnt/latest/held/dump)" one
open_gate
ends_with held '^done: '
for i in $(seq 40); do
	wait "${waiters[i]}" || fail "a waiter failed"
	cmp result "waiter.$i"
done
is "$(cat data)" one
rm $held/latest # over: only the name goes

# poll(2) tells of a change of status.
if command -v python3 >/dev/null; then
	touch $held/latest
	begun
	python3 - "$held/status" <<-'END' &
		import os, select, sys
		fd = os.open(sys.argv[1], os.O_RDONLY)
		poll = select.poll()
		poll.register(fd, select.POLLIN)
		while b"state: idle" not in os.pread(fd, 65536, 0):
		    if not poll.poll(30000):
		        sys.exit("no change was told")
	END
	poller=$!
	until_true test -e /proc/$poller
	open_gate
	wait $poller || fail "poll"
fi

# The same store: the next one waits for its turn, and can be cancelled meanwhile.
touch $held/latest
begun
touch $held/rollback
is "$(grep -c '^job: ' $held/status)" "$(($(grep -c '^job: .* done ' $held/status) + 2))"
rm $held/rollback
open_gate
ends_with held 'cancelled|done'
until_true state_is held idle
grep -q '^job: .* cancelled ' $held/status

# The mount ends while a job runs: readers are told, the job goes on, the next mount shows it.
touch $held/latest
begun
cat $held/wait >answer 2>why &
waiter=$!
reads $waiter
unmount_it 'restore of|cancelled'
wait $waiter && fail "a waiter was not told" || true
mount_it
state_is held restoring
expect 1 'No such file' rm $held/latest # what fired it went with the mount
cat $held/wait >answer &
waiter=$!
echo two >data
open_gate
wait $waiter
grep -q '^done: ' answer
is "$(cat data)" one
until_true state_is held idle

# The job is killed: failed, said so with what it was doing; the mount goes on.
touch $held/latest
begun
pid=$(jq -r .pid "$(ls home/state/bakfs/*/jobs/held-*.json | tail -1)")
kill -KILL "$pid"
ends_with held '^failed: .*ended while it was restoring'
until_true state_is held idle
grep -q '^error: .*ended while' $held/status
is_failed() { jq -e '.state == "failed"' "$(ls home/state/bakfs/*/jobs/held-*.json | tail -1)" >/dev/null; }
until_true is_failed
is "$(cat mnt/latest/held/dump)" one
exec 7<>gate # the restore command of the killed job still waits there
echo go >&7
exec 7<&-
unmount_it 'restore of|cancelled'

# Within the delay, rm stops it.
sed -i 's/restore_delay = 0/restore_delay = 3600/' bakfs.conf
mount_it
touch mnt/restore/calm/latest
until_true state_is calm waiting
grep -q '^job: .*waiting' mnt/restore/calm/status
rm mnt/restore/calm/latest
ends_with calm '^cancelled'
is "$(ls mnt/restore/calm | tr '\n' ' ')" 'log status wait '
# So does the removal of something in an uploaded folder.
cp -r src mnt/restore/calm/tree
echo x >mnt/restore/calm/tree/file
touch mnt/restore/calm/tree
until_true state_is calm waiting
expect 1 'Device or resource busy' touch mnt/restore/calm/tree/new
expect 1 'Device or resource busy' bash -c 'echo y >mnt/restore/calm/tree/file'
rm -rf mnt/restore/calm/tree
ends_with calm '^cancelled'
unmount_it 'restore of|cancelled'

# No room in the spool: the write says so, the upload is gone, and its room is free again.
if [ $EUID = 0 ] && mkdir mnt-small && mount -t tmpfs -o size=3M none mnt-small 2>/dev/null; then
	printf 'spool = %s\n' "$work/mnt-small" >>bakfs.conf
	head -c 8000000 /dev/urandom >large
	mount_it
	for _ in 1 2 3; do
		expect 1 'No space left' cp large mnt/restore/calm/
		is "$(ls mnt/restore/calm | tr '\n' ' ')" 'log status wait '
		grep -q '^error: large: .*No space' mnt/restore/calm/status
		head -c 2000000 large >mnt/restore/calm/fits
		cmp -n 2000000 large mnt/restore/calm/fits
		rm mnt/restore/calm/fits
	done
	is "$(ls -A mnt-small)" '' # nothing there has a name
	unmount_it 'No space|upload'
fi
