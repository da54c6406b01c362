#!/bin/bash
# The disk is full, at every kind of place: each operation says so in a line, nothing is half there,
# earlier snapshots verify, and with space again all works. First by refusing what writes, from the
# n-th such call on; then on a real small disk, with less and less space left. FAULT_POINTS: how many
# places for each operation (6).
set -eu
. "$TESTS/lib/cli.sh"
. "$TESTS/lib/faults.sh"
points=${FAULT_POINTS:-6}
setup_repository <<-END
	[store src]
	type = files
	path = src
END
mkdir src
for version in 1 2 3; do
	seq 1 $((20000 + version)) | sed "s/^100/$version/" >src/numbers
	expect 0 "snapshot $version" bakfs backup
done
expect 0 . bakfs forget 1 2
head -c 3000000 /dev/urandom >src/new
keep

# sound WHAT
sound()
{
	bakfs check >out.log 2>&1 && grep -q good out.log || fail "$1: $(cat out.log)"
	is "$(bakfs cat 3 numbers | sha256sum)" "$numbers"
}
numbers=$(bakfs cat 3 numbers | sha256sum)

backup='bakfs backup' prune='bakfs prune --alone' forget='bakfs forget --last-good 3'
for operation in "$backup" "$prune" "$forget"; do
	put_back
	n=$(calls "$work/repo" wnmtu $operation)
	for ((i = 0; i < points; i++)); do
		put_back
		at=$((1 + i * (n - 1) / (points - 1)))
		what="$operation, full from write $at of $n on"
		status=0
		$(fault under="$work/repo" kinds=wnmt at=$at sticky=1 error=ENOSPC) \
			$operation >/dev/null 2>err || status=$?
		if [ $status != 0 ]; then
			grep -qiE '^bakfs: .*no space left' err || fail "$what: $(cat err)"
			is "$(wc -l <err)" 1
		fi
		[ $status = 0 ] || [ "$operation" != "$backup" ] ||
			is "$(bakfs --json list | jq '.snapshots | length')" 1
		[ $status = 0 ] && [ "$operation" = "$forget" ] || sound "$what"
		expect 0 . $backup
		expect_tidy
	done
done

# A real one. What is left goes from nothing to enough.
[ $EUID = 0 ] || exit 0
mkdir mnt
mount -t tmpfs -o size=12m tmpfs mnt 2>/dev/null || exit 0
put_back
cp -a repo mnt/repo
sed -i "s|^path = .*/repo|path = $work/mnt/repo|" bakfs.conf
free() { echo $(($(stat -f -c '%a * %S / 1024' mnt))); }
for left in 0 4 8 16 40 200 1000 2500; do
	rm -f mnt/ballast
	fallocate -l $(($(free) - left))K mnt/ballast
	status=0
	bakfs backup >/dev/null 2>err || status=$?
	is "$status" 1
	grep -qE '^bakfs: .*no space left: [0-9]+ bytes of' err || fail "$left KiB left: $(cat err)"
	sound "$left KiB left"
	bakfs prune --alone >/dev/null 2>err || grep -qE '^bakfs: .*no space left' err ||
		fail "$left KiB left: $(cat err)"
	sound "$left KiB left, pruned"
done
rm mnt/ballast
expect 0 'snapshot 4' bakfs backup
is "$(find mnt/repo/tmp mnt/repo/running -type f | wc -l)" 0
is "$(bakfs cat 4 new | cmp - src/new && echo same)" same
