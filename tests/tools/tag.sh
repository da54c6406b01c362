#!/bin/bash
# Tags: given, taken away, listed, and known to forget.
set -eu
. "$TESTS/lib/cli.sh"
mkdir src
echo some >src/file
setup_repository <<-END
	[store app]
	type = files
	path = src
END
for i in 1 2 3; do expect 0 . bakfs backup; done
tags() { expect 0 . bakfs list --json; jq -r ".snapshots[] | select(.number == $1) | .tags | join(\",\")" out; }

expect 2 'tag needs an ID' bakfs tag
expect 2 'is no tag' bakfs tag 1 a,b
expect 2 'is no tag' bakfs tag 1 ''
expect 2 'is no tag' bakfs tag 1 -
expect 2 'unknown option' bakfs tag 1 --old
expect 1 'no snapshot 9' bakfs tag 9 keep
expect 0 '^1 app@.*: no tags$' bakfs tag 1
expect 0 '^1 app@.*: keep,v1.0$' bakfs tag 1 keep v1.0
expect 0 '^1 app@.*: v1.0,q$' bakfs tag 1 -keep q
expect 0 '^1 app@.*: v1.0$' bakfs tag 1 -q
is "$(tags 1)" v1.0
expect 0 '"tags"' bakfs tag --json 1 keep
json '.snapshots[0].tags | join(",")' v1.0,keep
is "$(ls repo/tags | wc -l)" 1
expect 0 '^3 app@.*: blue$' bakfs tag app@latest blue
expect 0 keep bakfs list
grep -q TAGS out || fail "list has no tags"
expect 0 'tags.*keep' bakfs show 1

expect 0 . bakfs forget --json --keep-tag blue
json '[.forgotten[].number] | join(",")' 2
json '[.kept[].reasons[]] | join(",")' tag,tag
expect 1 'no snapshot 2' bakfs tag 2 keep
# Another machine reads them from the repository.
rm -rf home/cache
is "$(tags 1)" v1.0,keep
