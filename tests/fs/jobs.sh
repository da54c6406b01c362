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

# The same through bakfs status --json.
mount_it
job_file() # the newest of `held`
{
	ls home/state/bakfs/*/jobs/held-*.json | tail -1
}
twin_says() # FILTER: of the newest job of `held` in bakfs status --json
{
	bakfs status --json >twin
	is "$(jq -r "[.jobs[] | select(.store == \"held\")] | max_by(.id) | $1" twin)" "$2"
}

# The mount is killed: the job goes on, and the next mount shows it, and waits for it.
echo two >data
touch $held/latest
begun
twin_says .state restoring
twin_says .cancellable false
for key in id store state percent bytes rate target source error created finished pid; do
	jq -e --arg key $key '.jobs[0] | has($key)' twin >/dev/null || fail "no $key in $(cat twin)"
done
kill -KILL "$mounted"
wait "$mounted" || true
mount_it
state_is held restoring
cat $held/wait >answer &
waiter=$!
reads $waiter
open_gate
wait $waiter
grep -q '^done: ' answer
is "$(cat data)" one
twin_says .state done
unmount_it 'detached a dead mount|restore of|cancelled'

# An upload goes with its mount: its job says that nothing was changed.
sed -i 's/restore_delay = 0/restore_delay = 3600/' bakfs.conf
mount_it
cp data $held/dump
touch $held/dump
until_true state_is held waiting
pid=$(jq -r .pid "$(job_file)")
kill -KILL "$mounted"
wait "$mounted" || true
sed -i 's/restore_delay = 3600/restore_delay = 0/' bakfs.conf
mount_it
state_is held waiting
kill -KILL "$pid"
ends_with held '^failed: .*nothing was changed'
is "$(jq -r .state "$(job_file)")" failed
twin_says .state failed
unmount_it 'detached a dead mount|restore of|cancelled'

# A queue that is full says so, whatever it is asked by; what was said to fail does not start later.
printf 'restore_queue = 2\n' >>bakfs.conf
mount_it
touch $held/latest
begun
cp data $held/second
touch $held/second
n=$(grep -c '^job: ' $held/status)
before=$(ls -A $held)
expect 1 'Resource temporarily unavailable' touch $held/rollback
is "$(ls -A $held)" "$before"
cp data $held/third
expect 1 'Resource temporarily unavailable' touch $held/third
cp data $held/fourth.part
mv $held/fourth.part $held/fourth # no proof, no acceptance, no job
grep -q '^error: third: 2 jobs of this store are on their way' $held/status
touch $held/latest # on its way already: that is no third one
touch mnt/restore/calm/latest # another store has a queue of its own
ends_with calm '^done: '
open_gate
begun
open_gate
ends_with held '^done: '
until_true state_is held idle
is "$(grep -c '^job: ' $held/status)" "$n"
touch $held/third
begun
open_gate
ends_with held '^done: '
rm $held/*th $held/*d

# A deadline: who has not begun by then fails, and has changed nothing; who has begun goes on.
echo two >data
touch $held/latest
begun
unmount_it 'restore of|cancelled'
printf 'restore_deadline = 1\n' >>bakfs.conf
mount_it
cp data $held/late
touch $held/late
ends_with held '^failed: .*deadline.*nothing was changed'
state_is held restoring
open_gate
until_true state_is held idle
is "$(cat data)" one
unmount_it 'restore of|cancelled'
sed -i '/restore_queue/d; /restore_deadline/d' bakfs.conf

# What no job claims any more goes, a day later, when another one ends; what is not ours stays.
jobs=$(dirname "$(job_file)")
old=1500000000000000000
for name in held-$old.log held-$old.lock held-$old.cancel .held-$old.json.new \
	held-x-$old.log held-$old notes.txt; do
	touch -d '2 days ago' "$jobs/$name"
done
touch "$jobs/held-1500000000000000001.log" # of one that just begins
mount_it
touch $held/latest
begun
open_gate
ends_with held '^done: '
until_true state_is held idle
left() { ls -A "$jobs" | grep -e "$old" -e notes -e 0001.log | sort | tr '\n' ' '; }
swept() { [ "$(left)" = "held-$old held-1500000000000000001.log held-x-$old.log notes.txt " ]; }
until_true swept
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
