#!/bin/bash
# bakfs doctor: each finding with what to do, for stores that are well, odd and broken.
set -euo pipefail
. "$TESTS/lib/cli.sh"

mkdir tree
echo x >tree/f
setup_repository <<END
[store tree]
type = files
path = $work/tree
[store gone]
type = files
path = $work/none
[store db]
type = sqlite
path = $work/tree/f
[store tool]
type = command
dump = no-such-program --all
[store plain]
type = command
dump = A=1 cat $work/tree/f
restore_command = cat >$work/out2
END

expect 0 "tree: well: $work/tree" bakfs doctor tree
expect 0 'repository: well' bakfs doctor tree plain
expect 0 '^home: well' bakfs doctor "files:$work/home"
expect 1 "gone: broken: $work/none: No such file" bakfs doctor gone
grep -q "to do: correct the store's path" out || fail "no way on"
expect 1 'db: broken: .*file is not a database' bakfs doctor db
expect 1 'tool: broken: dump: the program no-such-program is not there' bakfs doctor tool
grep -q 'tool: advice: without restore_command' out || fail "no advice"
expect 2 'no store other is configured' bakfs doctor other

# Everything at once, as data.
expect 1 findings bakfs doctor --json
json '.stores | length' 5
json '[.stores[] | select(.findings | length > 0) | .name] | sort | join(" ")' 'db gone tool'
json '.stores[] | select(.name == "gone").findings[0].severity' broken
json '.repository.findings | length' 0

# Without a repository the stores are still looked at.
expect 1 'repository: broken: .*not a repository' bakfs --repo "$work/nowhere" doctor tree
grep -q '^tree: well' out || fail "the store was not looked at"

# A backup says it beforehand.
expect 3 'tool: dump: the program no-such-program is not there; install it' bakfs backup tree tool
