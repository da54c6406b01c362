#!/bin/bash
# An old copy of the storage put back, snapshots and records deleted behind our back: said by list,
# status and check, and a restore of the latest asks.
set -eu
. "$TESTS/lib/cli.sh"
mkdir src
setup_repository <<-END
	[store app]
	type = files
	path = src
END
backup() { echo "$1" >src/file; expect 0 . bakfs backup; }
says() # REGEX: all that look at snapshots
{
	local command
	for command in list status check verify; do expect 3 "$1" bakfs $command; done
}

backup 1
backup 2
cp -a repo old
backup 3
expect 0 . bakfs forget 1
rm -rf repo
cp -a old repo

# What was seen is remembered, also without the index, and also by its state alone.
says 'snapshot 3 is neither there nor recorded as forgotten; snapshot 1 was forgotten and is there again'
rm -rf home/cache
says 'snapshot 3 is neither there nor recorded as forgotten; snapshot 1 was forgotten and is there again'

# The latest of what is there may not be the latest of what was.
expect 1 'number, or --yes' bakfs restore app@latest --to back
[ ! -e back ] || fail "restored without being asked"
expect 1 'number, or --yes' bakfs restore latest
is "$(cat src/file)" 3
expect 3 . bakfs restore app@latest --to back --yes
is "$(cat back/file)" 2
expect 3 . bakfs restore 2 --to named
is "$(cat named/file)" 2

# Numbers are not used twice.
echo 4 >src/file
expect 0 . bakfs backup
expect 3 . bakfs list --json
json '[.snapshots[].number] | join(",")' 1,2,4

# Forgetting what is known ends it.
expect 3 . bakfs forget 1 3
expect 0 STAMP bakfs list
expect 0 . bakfs check

# A machine that never saw the repository notices gaps, but no end that is missing.
rm -rf home/cache home/state
expect 0 STAMP bakfs list
rm -f repo/snapshots/4
expect 3 'snapshot 4 is neither' bakfs list
rm -rf home/cache home/state
expect 0 STAMP bakfs list
