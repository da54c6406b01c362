#!/bin/bash
# bakfs reads the golden repository, which an older bakfs made, and finds what expected.json says.
set -eu
. "$TESTS/lib/cli.sh"
golden=$TESTS/golden
cp -r "$golden/repo" "$golden/key" .
find repo -type f -exec sha256sum {} + | sort >before
bakfs="bakfs --repo repo --key-file key"

# Bytes of a path stand in expected.json as characters; names may have newlines.
bytes() { iconv -f utf-8 -t latin1; }
# entries NUMBER: what expected.json says of a snapshot, as path -> facts.
entries()
{
	jq --arg n "$1" '.snapshots as $all | $all[$n] | if .like then
		$all[.like].entries + .changed | delpaths([$all[$n].removed[] | [.]])
		else .entries end' "$golden/expected.json"
}

# Who may look, and what is listed.
expect 1 'wrong password' env BAKFS_PASSWORD=silver bakfs --repo repo list
expect 0 . env BAKFS_PASSWORD="$(jq -r .password "$golden/expected.json")" \
	bakfs --repo repo --json list
facts='[to_entries[] | .value + {number: (.key | tonumber)} | select(.number != 5)
	| {number, store, driver, stamp, type, host, run, description}]'
jq ".snapshots | $facts" "$golden/expected.json" >wanted
jq '[.snapshots[] | {number, store, driver, stamp, type, host, run, description}]' out |
	diff wanted - || fail "the list is another one"
json '.snapshots[0].tags | join(" ")' "$(jq -r '.tags["1"] | join(" ")' "$golden/expected.json")"
expect 1 . $bakfs cat 5 noise.bin
expect 0 good $bakfs check
expect 0 good $bakfs verify 1 2 3 4
expect 0 . $bakfs reindex
expect 0 . $bakfs check --json
json '.snapshots, .damaged_objects, .missing, (.findings | length)' $'4\n0\n0\n0'

# Single files.
for number in 1 2; do
	entries $number | jq -j 'to_entries[] | select(.value.sha256 and
		(.key | startswith("many/") | not)) | .value.sha256 + " " + .key + "\u0000"' |
		bytes >files
	while IFS=' ' read -r -d '' sum path; do
		is "$($bakfs cat $number "$path" | sha256sum)" "$sum  -"
	done <files
done

# All of it, restored: the type, mode, times, size, names, owners of each entry, its bytes, holes.
tree()
{
	local what='%y %m %T@ %s %n %p\0'
	[ $EUID != 0 ] || what="%U:%G $what"
	(cd "$1" && find . -mindepth 1 \( -type d -printf "${what/\%s %n/- -}" -o \
		! -type f -printf "${what/\%s/-}" -o -printf "$what" \)) | sort -z
}
types='{file: "f", folder: "d", symlink: "l", fifo: "p", char: "c", block: "b"}'
numbers='1 2 3 4'
[ $EUID = 0 ] || numbers=2 # the others have devices
for number in $numbers; do
	entries $number >entries.json
	expect 0 restored $bakfs restore $number --to tree$number
	jq -j --arg root $EUID "def octal: if . < 8 then tostring
			else (. / 8 | floor | octal) + (. % 8 | tostring) end;
		def pad: tostring | \"000000000\"[length:] + .;
		to_entries[] | select(.key != \"\") | .value as \$v
		| (if \$root == \"0\" then \"\(\$v.owner[0]):\(\$v.owner[1]) \" else \"\" end)
		+ $types[\$v.type] + \" \" + (\$v.mode | octal) + \" \(\$v.mtime[0]).\(\$v.mtime[1] | pad)0 \"
		+ (if \$v.type == \"file\" then \"\(\$v.size) \" else \"- \" end)
		+ (if \$v.type == \"folder\" then \"-\" else \"\(\$v.nlink // 1)\" end)
		+ \" ./\" + .key + \"\\u0000\"" entries.json | bytes | sort -z >wanted
	tree tree$number >found
	cmp wanted found || { diff <(tr '\0' '\n' <wanted) <(tr '\0' '\n' <found); fail "tree $number"; }
	jq -j 'to_entries[] | select(.value.sha256) | .value.sha256 + "  " + .key + "\u0000"' \
		entries.json | bytes >sums
	cut -z -c 67- sums | (cd tree$number && xargs -0 sha256sum -z --) >found
	cmp sums found || fail "sums of $number"
done

find repo -type f -exec sha256sum {} + | sort | diff before - || fail "the repository changed"
