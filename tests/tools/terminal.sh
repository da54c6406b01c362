#!/bin/bash
# On a terminal: passwords without echo, asked twice when new; progress; questions before a live
# store is changed.
set -eu
. "$TESTS/lib/cli.sh"

# on_terminal STATUS [WAIT SEND]... -- COMMAND...: what the terminal showed is in ./shown
on_terminal()
{
	local status=$1 got=0
	shift
	"$DIALOG" "$@" >shown || got=$?
	[ "$got" = "$status" ] || fail "expected status $status, got $got: $(cat shown)"
}
shows() { grep -qE -- "$1" shown || fail "\"$1\" was not shown: $(cat shown)"; }
hides() { ! grep -qE -- "$1" shown || fail "\"$1\" was shown: $(cat shown)"; }

bakfs="bakfs --repo repo"
mkdir src
head -c 20000000 /dev/urandom >src/data
on_terminal 0 'new password' $'alpha\n' 'again' $'beta\n' 'new password' $'gamma\n' \
	'again' $'gamma\n' -- $bakfs init
shows 'these differ'
hides 'alpha|beta|gamma'
on_terminal 0 password $'gamma\n' -- $bakfs list
hides gamma
on_terminal 0 password $'gammX\177a\n' -- $bakfs list
on_terminal 0 password $'beta\025gamma\n' -- $bakfs list
on_terminal 1 password $'beta\n' -- $bakfs list
shows 'wrong password'
on_terminal 1 password $'\003' -- $bakfs list
shows cancelled
on_terminal 2 password $'\n' -- $bakfs list
shows 'the password is empty'

# Progress goes to a terminal alone, and not with -q.
on_terminal 0 password $'gamma\n' -- $bakfs backup files:src
shows $'\rsrc: .* file'
on_terminal 0 password $'gamma\n' -- $bakfs -q backup files:src
hides $'\rsrc: '

# Questions.
printf '[repository]\npath = repo\n[store src]\ntype = files\npath = src\n' >bakfs.conf
echo new >src/data
on_terminal 1 password $'gamma\n' 'Go on?' $'n\n' -- bakfs -c bakfs.conf restore 1
shows 'live store src'
is "$(cat src/data)" new
on_terminal 0 password $'gamma\n' 'Go on?' $'y\n' -- bakfs -c bakfs.conf restore 1
is "$(stat -c %s src/data)" 20000000
