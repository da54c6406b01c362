#!/bin/bash
# A flipped byte: verify and check name what it reaches and exit 3, cat and restore give no wrong
# byte, everything else can be read.
set -eu
. "$TESTS/lib/cli.sh"
setup_repository <<-END
	[store src]
	type = files
	path = src
END
mkdir src
head -c 3000000 /dev/urandom >src/big
echo small >src/small
expect 0 . bakfs backup
expect 0 good bakfs check
pack=$(find repo/packs -type f -size +2000k)
[ "$(wc -l <<<"$pack")" = 1 ] || fail "one large pack was expected"
chmod u+w "$pack"
old=$(od -An -tu1 -j 1000000 -N 1 "$pack")
printf "\\x$(printf %x $((old ^ 1)))" | dd of="$pack" bs=1 seek=1000000 conv=notrunc status=none

expect 3 'big' bakfs --json verify
json '.damaged_files' 1
expect 3 'big' bakfs check
expect 3 . bakfs --json check
json '.damaged_packs + .damaged_segments > 0' true
expect 1 'pack [0-9a-f]*.* at [0-9]*' bakfs cat 1 big
is "$(head -c "$(stat -c %s out)" src/big | cmp - out && echo same)" same
is "$(bakfs cat 1 small)" small
expect 3 'big' bakfs restore 1 --to to
is "$(cat to/small)" small
[ ! -e to/big ] || fail "a damaged file was written"

# Repaired, what is lost is listed; the next backup stores it again, though the file is unchanged.
expect 3 'snapshot 1 \(src\): big: bytes [0-9]+-[0-9]+ of 3000000' bakfs check --repair
expect 3 . bakfs --json check --repair
json '.lost | length' 1
json '.lost[0] | .path + " " + (.snapshot | tostring)' 'big 1'
expect 3 'snapshot 2' bakfs backup # 3: it met the damage
expect 0 'snapshot 3' bakfs backup
expect 0 good bakfs verify 2 3
is "$(bakfs cat 2 big | cmp - src/big && echo same)" same
expect 3 'snapshot 1' bakfs check
! grep -q 'snapshot [23] (' out err || fail "a later snapshot needs what is lost"

# With parity nothing is lost, neither by reading nor by repairing.
sed -i "s,^path = $work/repo,path = $work/repo2\nparity = 5%," bakfs.conf
expect 0 . bakfs init
expect 0 . bakfs backup
pack=$(find repo2/packs -type f -size +2000k)
chmod u+w "$pack"
head -c 9000 /dev/urandom | dd of="$pack" bs=1 seek=1000000 conv=notrunc status=none
expect 3 'parity gives back' bakfs check
is "$(bakfs cat 1 big 2>err | cmp - src/big && echo same)" same
grep -q 'made anew from parity' err || fail "nothing was said of parity"
expect 0 repaired bakfs check --repair
expect 0 good bakfs check
is "$(bakfs cat 1 big 2>err | cmp - src/big && echo same)" same
[ ! -s err ] || fail "still damaged"
