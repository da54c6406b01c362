#!/bin/bash
# Two at once. While a backup runs: another of the same store is refused, one of another store works,
# forget and prune work beside it, prune --alone is refused, and the first one ends well. The backup
# is held up by a pipe, which it reads.
set -eu
. "$TESTS/lib/cli.sh"
setup_repository <<-END
	[store slow]
	type = command
	dump = cat $work/pipe
	filename = numbers
	[store other]
	type = files
	path = $work/src
END
mkfifo pipe
mkdir src
seq 1 20000 >src/numbers
for i in 1 2 3; do
	expect 0 "snapshot $i" bakfs backup other
	seq 1 $((20000 * i)) >src/numbers
done
held()
{
	bakfs backup slow >held.out 2>&1 </dev/null &
	exec 5>pipe # opens when the backup has come to read
	seq 1 100000 >&5
}
released()
{
	seq 100001 150000 >&5
	exec 5>&-
	wait $! || fail "the backup that was held up: $(cat held.out)"
	is "$(bakfs cat slow@latest numbers | sha256sum)" "$(seq 1 150000 | sha256sum)"
}
held
expect 1 '^bakfs: store slow is being backed up by process [0-9]+ on' bakfs backup slow
is "$(wc -l <err)" 1
expect 0 'snapshot 4' bakfs backup other
expect 0 . bakfs forget 1
expect 0 . bakfs prune
expect 1 '^bakfs: .*(at work|running|busy)' bakfs prune --alone
expect 0 . bakfs list
expect 0 good bakfs check
rm -rf home/cache # the index of both
expect 0 'snapshot 5' bakfs backup other
expect 0 . bakfs reindex
released
expect 0 good bakfs check
expect 0 . bakfs verify

expect 0 . bakfs prune --alone
expect 0 good bakfs check
is "$(find repo/running repo/tmp -type f | wc -l)" 0
