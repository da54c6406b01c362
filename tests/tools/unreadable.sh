#!/bin/bash
# A file or folder that cannot be read is left out and named, in the manifest too; the rest is
# there.
set -eu
. "$TESTS/lib/cli.sh"
without_root # root reads everything
setup_repository <<-END
	[store src]
	type = files
	path = src
END
mkdir -p src/closed src/open
echo 1 >src/open/file
echo 2 >src/closed/file
echo 3 >src/locked
chmod 0 src/closed src/locked
expect 3 'warning: src: .*locked' bakfs --json backup
grep -q 'warning: src: .*closed' err
json '.snapshots[0].warnings | length' 2
expect 0 . bakfs --json show src@latest
json '.snapshots[0].manifest.warnings | length' 2
is "$(bakfs cat 1 open/file)" 1
expect 1 'no locked' bakfs cat 1 locked
expect 0 good bakfs verify
chmod 700 src/closed src
chmod 0 src
expect 1 '^bakfs: src: .*ermission denied' bakfs backup
chmod 700 src
