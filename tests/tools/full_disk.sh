#!/bin/bash
# A full disk: a clean error that says how many bytes did not fit; older snapshots stay, nothing is
# half there, and the space of the failed run can be used again.
set -eu
. "$TESTS/lib/cli.sh"
[ $EUID = 0 ] || skip "only root can mount a small disk"
mkdir mnt src
mount -t tmpfs -o size=12m tmpfs mnt 2>/dev/null || skip "cannot mount a tmpfs"
printf '[repository]\npath = mnt/repo\nkey_file = key\n[store src]\ntype = files\npath = src\n' \
	>bakfs.conf
export BAKFS_CONFIG=$work/bakfs.conf
expect 0 . bakfs init
echo first >src/first
expect 0 . bakfs backup
head -c 40000000 /dev/urandom >src/big
expect 1 '^bakfs: src: no space left: [0-9]+ bytes' bakfs backup
expect 0 . bakfs --json list
json '.snapshots | length' 1
expect 0 good bakfs check
is "$(bakfs cat 1 first)" first
head -c 6000000 /dev/urandom >src/big
expect 0 'snapshot 2' bakfs backup
is "$(find mnt/repo/tmp -type f | wc -l)" 0
is "$(bakfs cat 2 big | cmp - src/big && echo same)" same
expect 0 good bakfs check
