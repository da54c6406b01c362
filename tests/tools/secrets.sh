#!/bin/bash
# Passwords: never in a command line, an environment, a message; the process hides its memory.
set -eu
. "$TESTS/lib/cli.sh"
without_root
secret=Tr0ub4dor
mkdir src
echo x >src/file
export BAKFS_PASSWORD=$secret
expect 0 . bakfs --repo repo -v init
expect 0 . bakfs --repo repo -v backup files:src
! grep -r "$secret" out err home repo || fail "the password was written down"
expect 1 'wrong password' env BAKFS_PASSWORD=x$secret bakfs --repo repo -v list
! grep "$secret" out err || fail "the password is in a message"

# A command store that shows what its children see, while bakfs runs.
cat >show.sh <<-'END'
	#!/bin/sh
	tr '\0' '\n' </proc/self/environ >child.env
	pid=$$
	until [ "$(cat /proc/$pid/comm)" = bakfs ]; do
		pid=$(sed -n 's/^PPid:\s*//p' /proc/$pid/status)
	done
	tr '\0' '\n' </proc/$pid/cmdline >parent.cmdline
	cat /proc/$pid/environ 2>/dev/null | tr '\0' '\n' >parent.env || :
	stat -c %U /proc/$pid/environ >parent.owner
	echo dump
END
chmod +x show.sh
cat >show.conf <<-END
	[repository]
	path = repo
	[store shown]
	type = command
	dump = $work/show.sh
END
expect 0 . bakfs -c show.conf backup
[ -s child.env ] || fail "the command did not run"
! grep "$secret" child.env || fail "a child has the password"
! grep "$secret" parent.cmdline || fail "the password is in the command line"
! grep "$secret" parent.env || fail "the password is in the environment"
# A process that hides its memory belongs to root in /proc. Sanitizers look into themselves.
grep -q __asan_init "$BAKFS" || is "$(cat parent.owner)" root
