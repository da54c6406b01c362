#!/bin/bash
# Forgetting: by ID and by policy, what is said of it, and what is never forgotten.
set -eu
. "$TESTS/lib/cli.sh"
mkdir src other
echo some >src/file
echo more >other/file
setup_repository <<-END
	[store app]
	type = files
	path = src
	[store b]
	type = files
	path = other
	keep_last = 1
END
goes() { jq -c '[.forgotten[].number]' out; }
stays() { jq -c '[.kept[].number]' out; }
backup() { expect 0 . bakfs backup "$@"; }
objects() { (cd repo && find forgotten snapshots tags -type f | sort); }

# 1 to 4: daily of app; 5: monthly; 6, 7: b.
for i in 1 2 3 4; do backup --type daily app; done
backup --type monthly app
backup b
backup b

# Who says nothing of what to keep forgets nothing.
expect 2 'neither a number' bakfs forget --keep-last few
expect 2 'no time such as' bakfs forget --keep-within soon
expect 2 'is no tag' bakfs forget --keep-tag=-x
expect 2 'not both' bakfs forget 1 --keep-last 1
expect 2 'not both' bakfs forget 1 --store app
expect 2 'goes with numbers' bakfs forget --keep-last 1 --last-good
expect 2 'nothing says what to keep' bakfs --config /dev/null --repo repo --key-file key forget
expect 2 'nothing says what to keep' bakfs forget --store app --keep-last 0
is "$(objects | grep -c forgotten)" 0

# A dry run says what would be done; a store without a policy stays.
expect 0 'would forget 1 snapshot, 6 stay' bakfs forget --dry-run
grep -Eq '^ *6 .* b .*goes' out
grep -Eq '^ *7 .*stays +last$' out
grep -Eq '^ *1 .*stays +no policy$' out
is "$(objects | grep -c forgotten)" 0
expect 0 '"dry_run": true' bakfs forget --dry-run --json --keep-last 2 --store app
is "$(goes)" '[1,2,3]'
is "$(stays)" '[4,5]'
json '.kept[0].reasons[0]' last
expect 0 . bakfs forget -n --json --keep-daily 7
is "$(goes)" '[1,2,3,4,6]'
expect 0 . bakfs forget -n --json --keep-daily 7 --type daily
is "$(goes)" '[1,2,3]'
json '[.kept[] | select(.number == 6) | .reasons[]] | join(",")' 'other type'
expect 1 'no snapshot of a store c there' bakfs forget -n --keep-last 1 --store c

# The last good one stays whatever the policy.
expect 0 . bakfs forget -n --json --keep-tag none
is "$(goes)" '[1,2,3,4,6]'
json '.kept[0].reasons[0]' 'last good one'

# Done: neighbours share a record, and the numbers stay used up.
expect 0 'forgot 3 snapshots' bakfs forget --store app --keep-last 2
is "$(objects | grep forgotten)" forgotten/1-3
expect 0 . bakfs list
is "$(grep -c ' app ' out)" 2
expect 1 'no snapshot 1' bakfs show 1
expect 0 'forgot 0 snapshots' bakfs forget --store app --keep-last 2
expect 0 'forgot 1 snapshot, 3 stay' bakfs forget

# By ID.
expect 1 'there is no snapshot 8' bakfs forget 8
expect 1 'there are no snapshots 2-8' bakfs forget 2-8
expect 1 'there is no snapshot 0' bakfs forget 0
expect 2 'is no ID' bakfs forget nonsense
expect 0 'forgotten already: 2' bakfs forget 2
expect 0 'would forget 1 snapshot$' bakfs forget -n 4
expect 0 'forgot 1 snapshot$' bakfs forget app@latest
is "$(objects | grep -c forgotten/5)" 1
expect 1 'snapshot 4 is the last good one of store app' bakfs forget 4
expect 1 'snapshot 4 is the last good one of store app' bakfs forget app@latest --last-good
expect 1 'snapshot 4 is the last good one of store app' bakfs forget 2-5
expect 0 'forgot 1 snapshot$' bakfs forget 4 --last-good
expect 0 . bakfs list --json
json '[.snapshots[].number] | join(",")' 7
expect 0 . bakfs check
backup app
expect 0 . bakfs list --json
json '[.snapshots[].number] | join(",")' 7,8

# What was lost gets its record, and is an omission no more.
rm -f repo/snapshots/8
backup app
expect 3 'snapshot 8 is neither there' bakfs list
expect 3 'would record that 1 number has no snapshot' bakfs forget -n 8
expect 3 'recorded that 1 number has no snapshot' bakfs forget 8
expect 0 STAMP bakfs list

# Space comes back in the same breath; not yet that of what has just gone.
expect 2 'as two commands' bakfs forget --keep-last 1 --prune --json
backup app
expect 0 'forgot . snapshot' bakfs forget --keep-last 1 --prune
grep -q 'deleted 0 snapshots' out || fail "no prune: $(cat out)"
expect 0 'nothing to do' bakfs forget --keep-last 1 --prune --dry-run

# Other hosts' stores are left alone unless they are named.
sed 's/^key_file/host = elsewhere\nkey_file/' bakfs.conf >elsewhere.conf
backup app
expect 0 'forgot 0 snapshots, 0 stay' bakfs -c elsewhere.conf forget --keep-last 1
expect 0 'belongs to host' bakfs -v -c elsewhere.conf forget --keep-last 1
expect 0 'forgot 1 snapshot, 1 stays' bakfs -c elsewhere.conf forget --keep-last 1 --store app

# What the configuration says: the store's own instead of the repository's.
sed 's/^key_file/keep_daily = 7\nkeep_tag = a, b\nkey_file/' bakfs.conf >all.conf
backup app
backup b
expect 0 . bakfs -c all.conf forget -n --json
json '[.forgotten[].store] | join(",")' app,b
json '[.kept[] | .store + " " + .reasons[0]] | join(",")' 'app daily,b last'
printf 'keep_last = all\n' >>bakfs.conf
expect 2 'bakfs.conf:11: keep_last is given twice' bakfs forget
