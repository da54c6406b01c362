#!/bin/bash
# Keys: changed without rewriting data, and rotated; what was written before and after opens with the
# new slot alone, also in a process that was there before, and in the second reader.
set -eu
. "$TESTS/lib/cli.sh"
bakfs="bakfs --repo repo"
mkdir src
echo 1 >src/file
expect 0 . $bakfs --key-file key init --label first
expect 0 . $bakfs --key-file key backup files:src
packs() { (cd repo && find packs snapshots -type f -exec sha256sum {} + | sort); }
slots() { ls repo/keys | wc -l; }

# Changed: the new one opens it, the old one does not, the label stays, no data was touched.
packs >before
printf 'one\n' >one
printf 'two\n' >two
expect 0 'removed' $bakfs --key-file key key change --new-password-file one
expect 1 'wrong key file' $bakfs --key-file key list
expect 0 first $bakfs --password-file one key list
expect 0 . $bakfs --password-file one key change --new-password-file two --label second
expect 1 'wrong password' $bakfs --password-file one list
expect 0 second $bakfs --password-file two key list
expect 0 'removed' $bakfs --password-file two key change --new-key-file key2
packs | diff before - || fail "data was rewritten"
is "$(slots)" 1

# Rotated: what ends is said, and asked for.
bakfs="$bakfs --key-file key2"
expect 0 . $bakfs key add --new-password-file one --label safe
expect 2 'takes no argument' $bakfs key rotate now
expect 1 'will not open.*safe' $bakfs key rotate
grep -q 'give --yes' err
is "$(slots)" 2
expect 0 'will not open.*safe' $bakfs key rotate --yes
is "$(slots)" 1
expect 0 second $bakfs key list
expect 1 'wrong password' bakfs --repo repo --password-file one list
cp -r repo old
expect 0 'new key' $bakfs key rotate
packs | diff before - || fail "data was rewritten"

# Old and new packs, snapshots and records side by side; another machine without an index reads them.
for i in 2 3; do
	echo $i >src/file
	expect 0 . $bakfs backup files:src
	expect 0 . $bakfs key rotate
done
expect 0 . $bakfs tag 1 keep
expect 0 . $bakfs forget 2
rm -rf home/cache home/state
expect 0 . $bakfs check
expect 0 . $bakfs verify
expect 0 . $bakfs cat 1 file
is "$(cat out)" 1
expect 0 . $bakfs cat 3 file
is "$(cat out)" 3

# A rotation that was cut off: the old slot is there as well.
for slot in old/keys/*; do # and it may say that it is the newer one
	jq '.created = "2099-01-01T00:00:00Z"' "$slot" >"repo/keys/${slot##*/}"
done
expect 0 . $bakfs cat 3 file
is "$(slots)" 2
expect 0 'new key' $bakfs key rotate --yes
is "$(slots)" 1

# Somebody is at work: not now.
mkfifo wait
cat >slow.sh <<-'END'
	#!/bin/sh
	read -r line <wait
	echo dump
END
chmod +x slow.sh
cat >slow.conf <<-END
	[repository]
	path = repo
	key_file = key2
	[store slow]
	type = command
	dump = $work/slow.sh
END
cd "$work"
bakfs -c slow.conf -q backup &
until [ "$(ls repo/running)" ]; do :; done
expect 1 'at work' $bakfs key rotate
echo go >wait
wait $!
expect 0 . $bakfs key rotate

# The second reader, which knows nothing but bakfs-repository(5), opens all of it.
expect 0 . $bakfs key add --new-password-file one
[ -x /usr/bin/python3 ] || exit 0
cat >second.py <<-'END'
	import sys
	sys.dont_write_bytecode = True
	sys.path.insert(0, sys.argv[1])
	from decode import Store, Snapshot, Repository
	with open("key2") as key:
	    repo = Repository("repo", b"one", key.read())
	store = Store(repo)
	snapshots = [Snapshot(repo, store, name) for name in repo.below("snapshots")]
	for folder in ("forgotten", "tags"):
	    for name in repo.below(folder):
	        repo.object(name)
	used = {segment.key for copies in store.copies.values() for _, segment in copies}
	print(len(repo.ring.masters), len(used), len(snapshots))
END
/usr/bin/python3 second.py "$TESTS/golden" >read || { [ $? = 77 ] && exit 0 || fail "$(cat read)"; }
is "$(cat read)" "7 4 4"
