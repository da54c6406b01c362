#!/bin/bash
# Giving space back: what is said, in text and as JSON; beside a mount; what is refused.
set -eu
. "$TESTS/lib/cli.sh"
mkdir src
head -c 3000000 /dev/urandom >src/old
head -c 1000000 /dev/urandom >src/stays
setup_repository <<-END
	[store app]
	type = files
	path = src
END
bytes() { find repo/packs -type f -printf '%s\n' | awk '{s += $1} END {print s + 0}'; }

expect 2 'takes no argument' bakfs prune app
expect 2 'number from 0 to 100' bakfs prune --max-unused lots
expect 2 'number from 0 to 100' bakfs prune --max-unused 101
expect 0 'nothing to do' bakfs prune

expect 0 . bakfs backup
rm src/old
expect 0 . bakfs backup
expect 0 'nothing to do' bakfs prune
expect 0 . bakfs forget 1

# A day of grace: not yet. Of this the dry run says nothing, alone it would go.
expect 0 'nothing to do' bakfs prune --dry-run
expect 0 'to delete: 1 forgotten snapshot' bakfs prune --dry-run --alone
before=$(bytes)
expect 0 . bakfs prune --alone --dry-run --json
json .dry_run true
json .plan.deleted_snapshots 1
json '.plan.condemned_packs > 0' true
json '.done' null
is "$(bytes)" "$before"


expect 0 'deleted 1 snapshot and' bakfs prune --alone
(($(bytes) < 1300000)) || fail "$(bytes) bytes are left"
[ ! -e repo/snapshots/1 ] || fail 'the snapshot is still there'
[ -e repo/forgotten/1 ] || fail 'the record has gone'
is "$(find repo/condemned repo/running repo/tmp -type f | wc -l)" 0
expect 0 good bakfs check
expect 0 . bakfs verify
expect 0 . bakfs cat 2 stays
cmp out src/stays
expect 0 . bakfs prune --json
json .done.deleted_packs 0
json .done.next null

# The index made anew says the same.
expect 0 . bakfs reindex
expect 0 'nothing to do' bakfs prune
expect 0 . bakfs verify

# What is missing holds it up, and status 1 says so.
expect 0 . bakfs backup
mv repo/snapshots/2 two
expect 1 'neither there nor recorded as forgotten' bakfs prune
mv two repo/snapshots/2
expect 0 'nothing to do' bakfs prune

# Quiet.
expect 0 '' bakfs prune -q
