#!/bin/bash
# Making repositories and opening them: passwords, key files, and folders that are none.
set -eu
. "$TESTS/lib/cli.sh"
bakfs="bakfs --repo repo"
tree() { find repo -type f -exec sha256sum {} + | sort; }

# A password.
expect 2 'no password' $bakfs init
[ ! -e repo ] || fail "something was made"
expect 2 'the password is empty' env BAKFS_PASSWORD= $bakfs init
export BAKFS_PASSWORD=right
expect 0 'made repository' $bakfs init
tree >before
expect 1 'there is a repository already' $bakfs init
expect 1 '^bakfs: wrong password$' env BAKFS_PASSWORD=wrong $bakfs list
is "$(wc -l <err)" 1
unset BAKFS_PASSWORD
printf 'wrong\n' >wrong
printf 'right\r\nsecond line\n' >right
expect 1 '^bakfs: wrong password$' $bakfs --password-file wrong list
expect 0 STAMP $bakfs --password-file right list
expect 1 'password file nosuch: No such file' $bakfs --password-file nosuch list
expect 2 'no password: set BAKFS_PASSWORD' $bakfs list
tree | diff before - || fail "the repository changed"

# By a command, and by a file of the configuration.
printf '[repository]\npath = repo\npassword_command = echo right\n' >command.conf
expect 0 STAMP bakfs -c command.conf list
printf '[repository]\npath = repo\npassword_command = echo right; exit 3\n' >command.conf
expect 2 'password_command ended with status 3' bakfs -c command.conf list
printf '[repository]\npath = repo\npassword_file = right\n' >file.conf
expect 0 STAMP bakfs -c file.conf list
expect 1 'wrong password' bakfs -c file.conf --password-file wrong list

# More keys, and fewer.
expect 0 'added key file' $bakfs --password-file right key add --label safe --new-key-file key
is "$(stat -c %a key)" 400
expect 0 safe $bakfs --key-file key key list
expect 0 'added password' env BAKFS_NEW_PASSWORD=more $bakfs --key-file key key add
expect 0 STAMP env BAKFS_PASSWORD=more $bakfs list
expect 0 . $bakfs --key-file key --json key list
for id in $(jq -r '.keys[] | select(.kind == "password") | .id' out); do
	expect 0 removed $bakfs --key-file key key remove "${id:0:8}"
done
expect 1 . $bakfs --password-file right list
expect 1 . $bakfs --key-file key key remove nosuch
expect 1 . $bakfs --key-file key key remove "$(jq -r '.keys[] | select(.kind == "keyfile") | .id' out)"
expect 0 STAMP $bakfs --key-file key list
printf 'not a key\n' >none
expect 2 . $bakfs --key-file none list

# Folders that are no repositories.
mkdir empty full
echo mine >full/file
expect 1 'not a repository' bakfs --repo empty --key-file key list
expect 1 'not a repository' bakfs --repo full --key-file key list
expect 1 'not a repository' bakfs --repo nosuch --key-file key list
expect 1 . bakfs --repo full init --key-file new
is "$(ls full)" file
[ ! -e new ] || fail "the key file of a failed init stayed"
expect 1 'protects nothing' bakfs --repo fresh init --key-file fresh/key
expect 0 'made key file' bakfs --repo fresh init --key-file new
expect 0 'used key file' bakfs --repo fresh2 init --key-file new

# Half-made, newer, damaged: said so, and left alone.
rm fresh/bakfs.json
expect 1 'half-made' bakfs --repo fresh --key-file new list
expect 1 'half-made' bakfs --repo fresh --key-file new init
[ ! -e fresh/bakfs.json ] || fail "a half-made repository was finished"
sed 's/"version":1/"version":2/' fresh2/bakfs.json >newer
chmod u+w fresh2/bakfs.json
cp newer fresh2/bakfs.json
expect 1 'format version 2' bakfs --repo fresh2 --key-file new list
expect 1 . bakfs --repo fresh2 --key-file new init
cmp newer fresh2/bakfs.json
sed 's/"avg":[0-9]*/"avg":16384/; s/"version":2/"version":1/' newer >fresh2/bakfs.json
expect 1 . bakfs --repo fresh2 --key-file new list
