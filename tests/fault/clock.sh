#!/bin/bash
# A clock that goes backwards, or stood in the future: snapshots stay ordered by number, stamps are
# never given twice, latest is the newest by number, leases of dead processes hold nobody up.
set -eu
. "$TESTS/lib/cli.sh"
. "$TESTS/lib/faults.sh"
setup_repository <<-END
	[store src]
	type = files
	path = src
END
mkdir src
day=86400
i=0
# Days from now, in the order of the backups.
for days in 0 -3 400 0 -400 0; do
	i=$((i + 1))
	echo $i >src/file
	expect 0 "snapshot $i" $(fault clock=$((days * day))) bakfs backup
	is "$($(fault clock=$((days * day))) bakfs cat src@latest file)" $i
	is "$(bakfs cat latest file)" $i
	expect 0 good bakfs check
done
expect 0 . bakfs --json list
json '[.snapshots[].number] | map(tostring) | join(" ")' '1 2 3 4 5 6'
is "$(jq -r '.snapshots[].stamp' out | sort -u | wc -l)" 6

# Changed under the same stamp, in a second that stands still.
same=$(fault clock=-$((9 * day)))
for i in 7 8 9; do
	echo $i >src/file
	expect 0 "snapshot $i" $same bakfs backup
done
is "$(bakfs --json list | jq -r '.snapshots[].stamp' | sort -u | wc -l)" 9

# Killed while the clock stood in the future, and in the past: nobody waits for that time.
for days in 400 -400; do
	status=0
	$(fault under="$work/repo" kinds=m at=2 error=kill clock=$((days * day))) bakfs backup \
		>/dev/null 2>&1 || status=$?
	is $status 137
	is "$(find repo/running -type f | wc -l)" 1
	expect 0 'snapshot 1[01]' bakfs backup
	expect_tidy
done

# What was forgotten, and condemned, in the future: kept until then, and everything works meanwhile.
future=$(fault clock=$((400 * day)))
expect 0 . $future bakfs forget 1 2 3 4
expect 0 . $future bakfs prune
expect 0 good bakfs check
expect 0 . bakfs prune
expect 0 'snapshot 12' bakfs backup
expect 0 . bakfs prune
expect 0 good bakfs check
expect 0 . $(fault clock=$((410 * day))) bakfs prune
expect 0 good bakfs check
expect 0 . bakfs verify
