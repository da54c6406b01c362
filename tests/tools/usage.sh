#!/bin/bash
# Exit statuses, bad usage, configurations, and JSON that is JSON.
set -eu
. "$TESTS/lib/cli.sh"

expect 0 '^usage: bakfs' bakfs --help
expect 0 '^bakfs [0-9]' bakfs --version
expect 0 '"version"' bakfs --version --json
json .version "$(bakfs --version | sed -n 's/^bakfs //p')"
expect 2 'say what to do' bakfs
expect 2 'unknown command "nosuch"' bakfs nosuch
expect 2 'unknown option --nosuch' bakfs list --nosuch
expect 2 'unknown option -X' bakfs -X list
expect 2 '--repo needs a REPO' bakfs list --repo
expect 2 '--json takes no value' bakfs list --json=yes
expect 2 'no repository' bakfs list
for command in show diff cat restore mount key; do
	expect 2 '^hint: see bakfs' bakfs $command
	expect 0 '^usage: bakfs' bakfs $command --help
done
if [ -e /dev/full ]; then
	status=0
	bakfs --help 2>err >/dev/full || status=$?
	is $status 1
fi

# Configurations: file and line, and the order in which files are found.
printf '[repository]\npaht = /x\n' >bad.conf
expect 2 "^bakfs: $work/bad.conf:2: unknown key \"paht\"" bakfs --config bad.conf list
expect 1 'nosuch.conf: No such file' bakfs --config nosuch.conf list
mkdir -p home/.config/bakfs
printf '[repository]\npath = ~/first\n' >home/.config/bakfs/bakfs.conf
printf '[repository]\npath = second\n' >second.conf
expect 1 "$HOME/first: not a repository" bakfs list
expect 1 "$work/second: not a repository" env BAKFS_CONFIG=second.conf bakfs list
expect 1 "$HOME/first: not a repository" \
	env BAKFS_CONFIG=second.conf bakfs -c home/.config/bakfs/bakfs.conf list
expect 1 "$work/third: not a repository" env BAKFS_CONFIG=second.conf bakfs -r third list
mv bad.conf home/.config/bakfs/bakfs.conf
expect 1 "$work/third: not a repository" bakfs --repo third list # no configuration is read

# Everything that prints facts prints JSON.
setup_repository <<-END
	[store src]
	type = files
	path = src
END
mkdir src
echo one >src/a
expect 0 . bakfs --json backup
json '.snapshots[0].store' src
json '.snapshots[0].warnings | length' 0
printf 'two\n' >src/$'odd\xff'
expect 0 . bakfs --json backup -d 'second "one"'
json '.snapshots[0].description' 'second "one"'
expect 0 . bakfs --json list
json '.snapshots | length' 2
json '.snapshots[1].number' 2
expect 0 . bakfs --json list --store nosuch
json '.snapshots | length' 0
expect 0 . bakfs --json show 1
json '.snapshots[0].manifest.totals.files' 1
expect 0 . bakfs --json diff 1 2
json '.changes[0].change' added
json '.changes[0].path_hex' 6f6464ff
json '.stat.added.bytes' 4
expect 0 . bakfs --json diff 1 2 --stat
json '.changes | length' 0
expect 0 . bakfs --json diff 2 2
json '.changes | length' 0
expect 0 . bakfs --json verify
json .snapshots 2
expect 0 . bakfs --json verify --quick latest
expect 0 . bakfs --json check
json '.findings | length' 0
expect 0 . bakfs --json status
json '.stores[0].configured' true
expect 0 . bakfs --json key list
json '.keys[0].kind' keyfile
expect 0 . bakfs --json reindex
expect 0 . bakfs --json restore 1 --to to
json '.restored[0].files' 1

# --run takes what the run's JSON says.
bakfs --json list >out
run=$(jq -r '.snapshots[0].run_stamp' out)
expect 0 . bakfs --json list --run "$run"
json '.snapshots[].number' 1
expect 0 . bakfs --json show "$run"
expect 1 'bakfs list shows' bakfs show 99
expect 1 'bakfs list shows' bakfs show nosuch@latest
expect 2 'UTF-8' bakfs backup -d $'\xff'
expect 2 'type is manual' bakfs backup --type pre-restore
expect 2 'level goes' bakfs backup --level 0
expect 2 'no store nosuch' bakfs backup nosuch
expect 2 'named twice' bakfs backup src src
