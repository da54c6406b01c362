#!/bin/bash
# bakfs backup: which stores, what is skipped, and what a failing store means for the others.
set -eu
. "$TESTS/lib/cli.sh"
setup_repository <<-END
	[store one]
	type = files
	path = one
	[store gone]
	type = files
	path = nosuch
	[store two]
	type = files
	path = two
END
mkdir one two
echo 1 >one/file
echo 2 >two/file

# One fails, the others go on.
expect 3 '^bakfs: gone: .*nosuch' bakfs --json backup
json '[.snapshots[].store] | join(" ")' 'one two'
json '.failed[0].store' gone
expect 1 '^bakfs: gone: ' bakfs backup gone
expect 0 'snapshot 3' bakfs backup two --type weekly -d note
expect 0 '3 .* two +weekly .* note' bakfs list
expect 0 . bakfs --json show latest
json '[.snapshots[].number] | join(" ")' '1 3'

# Without a configuration.
expect 0 '^two: snapshot' env -u BAKFS_CONFIG bakfs --repo repo --key-file key backup files:two
expect 0 '^other: snapshot' bakfs backup --name other files:one
expect 0 '^relative_dir: snapshot' bakfs backup "files:$(mkdir 'relative dir' && echo 'relative dir')"
expect 2 'there is a store one already' bakfs backup files:one
expect 2 'for one store alone' bakfs backup --name x files:one files:two
expect 2 'is for a store given as' bakfs backup --name x one
expect 2 'is no store name' bakfs backup --name a.b files:one
expect 2 'unknown type' bakfs backup nosuch:/x
printf '[repository]\npath = repo\nkey_file = key\n' >none.conf
expect 2 'nothing to back up' bakfs -c none.conf backup

# Another host's store.
printf '[repository]\npath = repo\nkey_file = key\nhost = elsewhere\n' >host.conf
expect 1 'host' bakfs -c host.conf backup --name other files:one
expect 0 'snapshot' bakfs -c host.conf backup --take-over --name other files:one

# Quiet is quiet; -v is not.
expect 0 '' bakfs -q backup two
expect 0 'docs' bakfs -v backup --name docs files:one

# A store may do without being told from what is there already.
mkdir same
head -c 300000 /dev/urandom >same/a
cp same/a same/b
cat >same.conf <<-END
	[repository]
	path = repo
	key_file = key
	[store told]
	type = files
	path = same
	alike = no
	dedup = no
	[store usual]
	type = files
	path = same
END
expect 0 . bakfs -c same.conf --json backup told
json '.snapshots[0].new_bytes' 600000
expect 0 . bakfs -c same.conf --json backup usual
json '.snapshots[0].new_bytes' 300000
