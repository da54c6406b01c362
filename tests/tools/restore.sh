#!/bin/bash
# bakfs cat, restore into folders and into live stores, and rollback.
set -eu
. "$TESTS/lib/cli.sh"
command -v sqlite3 >/dev/null || skip "sqlite3 is missing"
setup_repository <<-END
	[store docs]
	type = files
	path = docs
	[store app]
	type = sqlite
	path = app.db
	[store fixed]
	type = files
	path = docs
	restore = no
END
mkdir -p docs/deep/er
echo a >docs/a
echo b >docs/deep/er/b
ln -s a docs/link
sqlite3 app.db 'CREATE TABLE t (n); INSERT INTO t VALUES (1), (2), (3)'
count() { sqlite3 app.db 'SELECT count(*) FROM t'; }
expect 0 . bakfs backup

# cat
is "$(bakfs cat docs@latest a)" a
is "$(bakfs cat docs@latest /deep/er/b)" b
is "$(bakfs cat latest docs/a)" a
expect 2 'begin the path with one of them' bakfs cat latest a
expect 1 'no nosuch in snapshot' bakfs cat 1 nosuch
expect 1 'symbolic link to a' bakfs cat 1 link
expect 1 'a folder' bakfs cat 1 deep
bakfs cat 1 a >file
cmp file docs/a

# --to
expect 0 'restored 2 files' bakfs restore 1 --to to
diff -r docs to
expect 1 'not empty' bakfs restore 1 --to to
echo changed >to/a
expect 0 . bakfs restore 1 --to to --overwrite
diff -r docs to
expect 0 . bakfs restore latest --to several
diff -r docs several/docs
is "$(sqlite3 several/app/app.db 'SELECT count(*) FROM t')" 3
expect 0 . bakfs restore latest docs --to chosen --only deep/er a
is "$(cd chosen && find . -type f | sort | tr '\n' ' ')" './a ./deep/er/b '
expect 0 . bakfs restore latest --to part --only docs/a
is "$(find part -type f)" part/docs/a
expect 1 'no nosuch in snapshot' bakfs restore 1 --to none --only nosuch
[ ! -e none ] || fail "a folder was made for nothing"
expect 1 'no snapshot of a store nosuch' bakfs restore latest nosuch --to none
expect 1 'inside the repository' bakfs restore 1 --to repo/x
expect 1 'inside the repository' bakfs restore 1 --to repo --overwrite
ln -s repo alias
expect 1 'inside the repository' bakfs restore 1 --to alias/x/y
expect 2 'needs an ID' bakfs restore --to to
expect 2 'goes with --to' bakfs restore 1 --overwrite

# Into the live store: asks, or needs --yes.
expect 1 'app was not restored' bakfs rollback app --yes
expect 1 'no store was restored' bakfs rollback --yes
sqlite3 app.db 'DELETE FROM t WHERE n > 1'
expect 1 'give --yes' bakfs restore app@latest
is "$(count)" 1
expect 0 'restored from app@' bakfs restore app@latest --yes
is "$(count)" 3
expect 0 . bakfs --json status
json '.jobs[0].state' 'done'
expect 1 'give --yes' bakfs rollback app
expect 0 'rolled back' bakfs rollback app --yes
is "$(count)" 1
expect 0 . bakfs --json restore app@latest -y # the pre-restore snapshot is not latest
is "$(count)" 3
job=$(ls home/state/bakfs/*/jobs/app-*.json | tail -n 1)
(exit 0) &
gone=$!
wait $gone
jq --argjson pid $gone '.pid = $pid | .state = "restoring"' "$job" >job.new
mv job.new "$job"
expect 0 . bakfs --json status # a job that died is no job that runs
json '.jobs[0].state' failed
json '.jobs[0].error' "the job's process ended while it was restoring: look at the store, then roll back or restore again"
echo changed >docs/a
expect 0 . bakfs restore docs@latest --yes
is "$(cat docs/a)" a
expect 0 . bakfs rollback docs -y
is "$(cat docs/a)" changed
expect 1 'restore = no' bakfs restore fixed@latest --yes
expect 1 'is not configured' env -u BAKFS_CONFIG bakfs --repo repo --key-file key restore app@latest --yes
expect 1 'restore = no' bakfs rollback fixed -y

# Missing snapshots: said so, and latest is not to be trusted.
expect 0 . bakfs backup docs
expect 0 . bakfs --json list --store docs
numbers=($(jq -r '.snapshots[].number' out))
rm "repo/snapshots/${numbers[-1]}"
expect 3 'warning: ' bakfs list
expect 1 'may not be the newest' bakfs restore docs@latest --to late
expect 3 . bakfs restore docs@latest --to late --yes
expect 3 . bakfs restore "${numbers[0]}" --to late2
expect 3 . bakfs check
