#!/bin/bash
# kill -9 in the middle of a backup, at several moments: older snapshots stay, the repository is
# sound, the next backup works, uses what was stored, and leaves no unfinished file.
set -eu
. "$TESTS/lib/cli.sh"
setup_repository <<-END
	[store src]
	type = files
	path = src
END
mkdir src
echo first >src/first
expect 0 . bakfs backup
head -c 150000000 /dev/urandom >src/big

killed=0
for bytes in 1 100000 20000000 70000000 120000000; do
	bakfs -q backup >/dev/null 2>&1 &
	while kill -0 $! 2>/dev/null && [ "$(du -sb repo | cut -f 1)" -lt $bytes ]; do
		:
	done
	kill -KILL $! 2>/dev/null || :
	status=0
	wait $! 2>/dev/null || status=$?
	[ $status != 137 ] || killed=$((killed + 1))
	expect 0 good bakfs check
	is "$(bakfs cat 1 first)" first
	[ $status = 137 ] || head -c 1000 /dev/urandom >>src/big
done
[ $killed -gt 0 ] || fail "no backup was slow enough to be killed"
expect 0 . bakfs --json backup
expect 0 good bakfs verify
is "$(bakfs cat src@latest big | cmp - src/big && echo same)" same
is "$(find repo/tmp -type f -size +8 | wc -l)" 0 # of a record some bytes may stay
is "$(find repo/running -type f | wc -l)" 0
