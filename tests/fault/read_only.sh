#!/bin/bash
# A repository on a disk that became read-only: all that reads works, all that writes says why not
# and changes nothing. Once refused call by call, once on a disk that really is mounted so.
set -eu
. "$TESTS/lib/cli.sh"
. "$TESTS/lib/faults.sh"
setup_repository <<-END
	[store src]
	type = files
	path = src
END
mkdir src
seq 1 20000 >src/numbers
expect 0 'snapshot 1' bakfs backup
expect 0 'snapshot 2' bakfs backup
printf second >second
tree() { find repo/ -type f -exec sha256sum {} + | sort; }
tree >before

# With FAULT words, or on the real thing without.
all_that_reads()
{
	expect 0 good "$@" bakfs check
	expect 0 . "$@" bakfs verify
	expect 0 STAMP "$@" bakfs list
	is "$("$@" bakfs cat 1 numbers | sha256sum)" "$(sha256sum <src/numbers)"
	rm -rf home/cache # with no index of it yet
	expect 0 STAMP "$@" bakfs list
	rm -rf restored
	expect 0 . "$@" bakfs restore 2 --to restored
	cmp src/numbers restored/numbers
	expect 0 . "$@" bakfs reindex
}

all_that_writes()
{
	local command
	for command in 'backup' 'forget 1' 'prune' 'prune --alone' 'tag 1 keep' \
		'key add --new-password-file second'; do
		expect 1 '^bakfs: .*Read-only file system' "$@" bakfs $command
		is "$(wc -l <err)" 1
	done
	tree | diff before - || fail "the repository changed"
}

refused=$(fault under="$work/repo" kinds=wnmtua at=1 sticky=1 error=EROFS)
all_that_reads $refused
all_that_writes $refused

# The index's disk is read-only, or its folder may not be made: said, and nothing else happens.
expect 1 '^bakfs: .*index' $(fault under="$work/home/cache" kinds=wnmtu at=1 sticky=1 error=EROFS) \
	bakfs backup
tree | diff before - || fail "the repository changed"
expect 0 'snapshot 3' bakfs backup
tree >before

[ $EUID = 0 ] || exit 0
mkdir mnt
mount -t tmpfs -o size=16m tmpfs mnt 2>/dev/null || exit 0
mv repo mnt/repo
ln -s mnt/repo repo
mount -o remount,ro mnt
all_that_reads env
all_that_writes env
mount -o remount,rw mnt
expect 0 'snapshot 4' bakfs backup
expect 0 good bakfs check
