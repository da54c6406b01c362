#!/bin/bash
# Snapshots that vanished from the storage: a touch of `latest` fails and says why, since nobody knows
# whether the latest there is is the latest there was; a stamp that is named is restored.
set -eu
. "$TESTS/fs/lib.sh"
mkdir src
setup_repository <<-END
	[store src]
	type = files
	path = src
	[mount]
	restore_delay = 0
END
for version in 1 2 3; do
	echo $version >src/file
	expect 0 . bakfs backup
done
rm -f repo/snapshots/3
mount_it
touch mnt/restore/src/latest
expect 0 'failed: .*snapshot 3 is neither there' cat mnt/restore/src/wait
expect 0 'name the snapshot.s stamp' cat mnt/restore/src/status
is "$(cat src/file)" 3
stamp=$(cd mnt/by-store/src && ls -d ./*Z | head -n 1)
touch "mnt/restore/src/$stamp"
expect 0 '^done' cat mnt/restore/src/wait
is "$(cat src/file)" 1
unmount_it 'neither there|restore of src'
