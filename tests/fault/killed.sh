#!/bin/bash
# kill -9 at random system calls of a backup, forget, prune, key change, restore and reindex: the
# repository is sound, earlier snapshots verify, the same thing again works, so does the next
# backup, and nothing unfinished is left. FAULT_POINTS: how many (50), FAULT_SEED: which.
set -eu
. "$TESTS/lib/cli.sh"
. "$TESTS/lib/faults.sh"
points=${FAULT_POINTS:-50} RANDOM=${FAULT_SEED:-1}
setup_repository <<-END
	[store src]
	type = files
	path = src
END
mkdir src
for version in 1 2 3; do
	seq 1 $((20000 + version)) | sed "s/^100/$version/" >src/numbers
	head -c 100000 /dev/urandom >src/noise-$version
	expect 0 "snapshot $version" bakfs backup
done
seq 1 20009 | sed "s/^20/x/" >src/numbers
head -c 300000 /dev/urandom >src/new
printf second >second

backup() { "$@" bakfs backup; }
forget() { "$@" bakfs forget 1; }
prune() { "$@" bakfs prune; }
alone() { "$@" bakfs prune --alone; }
add_key() { "$@" bakfs key add --new-password-file second; }
rotate() { "$@" bakfs key rotate --yes; }
restore() { rm -rf restored; "$@" bakfs restore 3 --to restored; }
reindex() { "$@" bakfs reindex; }
open_anew() { rm -rf home/cache; "$@" bakfs list; }

keep
for operation in backup forget prune alone add_key rotate restore reindex open_anew; do
	case $operation in
	prune | alone)
		put_back
		expect 0 . bakfs forget 1 2
		keep
		;;
	esac
	clock= again=
	if [ $operation = prune ]; then
		clock=clock=180000
		again=$(fault $clock)
	fi
	put_back
	rm -f count
	$operation $(fault under="$work" count="$work/count" $clock) >out.log 2>&1 || fail "$(cat out.log)"
	n=$(cat count) killed=0
	for ((i = 0; i < (points + 8) / 9; i++)); do
		put_back
		at=$(((RANDOM * 32768 + RANDOM) % n + 1))
		what="$operation, killed at call $at of $n"
		status=0
		$operation $(fault under="$work" at=$at error=kill $clock) >out.log 2>&1 || status=$?
		[ $status = 137 ] && killed=$((killed + 1)) || [ $status = 0 ] ||
			fail "$what: $status: $(cat out.log)"
		bakfs check >out.log 2>&1 && grep -q good out.log || fail "$what: $(cat out.log)"
		bakfs -q verify >out.log 2>&1 || fail "$what: $(cat out.log)"
		$operation $again >out.log 2>&1 || fail "$what, again: $(cat out.log)"
		expect 0 'snapshot [0-9]' bakfs backup
		expect_tidy
		[ $((i % 2)) = 0 ] || expect 0 good bakfs check
		is "$(bakfs cat src@latest new | cmp - src/new && echo same)" same
	done
	echo "$operation: $n calls, killed $killed times"
	[ $killed -gt 0 ] || fail "$operation was never killed"
done

# What was finished before the kill is found again: at least the first of three packs.
# (The folder of each may have to be made first, which takes a second rename.)
put_back
head -c 150000000 /dev/urandom >src/big
status=0
$(fault under="$work/repo/packs" kinds=n at=5 error=kill) bakfs backup >out.log 2>&1 || status=$?
is $status 137
expect 0 . bakfs --json backup
[ "$(jq '.snapshots[0].added' out)" -lt 90000000 ] || fail "stored again: $(jq -c ".snapshots[0]" out)"
expect_tidy
is "$(bakfs cat src@latest big | cmp - src/big && echo same)" same
