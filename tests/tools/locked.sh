#!/bin/bash
# Secrets in a running process: in memory that is locked and that no core dump has, and nowhere else;
# nor in its arguments, its environment, its output or what it wrote.
set -eu
. "$TESTS/lib/cli.sh"
[ $EUID = 0 ] || skip "only root may look into a process that hides its memory"
[ -x /usr/bin/python3 ] || skip "no /usr/bin/python3"
! grep -q __asan_init "$BAKFS" || skip "sanitizers keep copies of their own"
password=Tr0ub4dor-and-three
printf '%s\n' "$password" >password
cat >slow.sh <<-'END'
	#!/bin/sh
	echo x >begun
	read -r line <wait
	echo dump
END
chmod +x slow.sh
mkfifo begun wait
cat >slow.conf <<-END
	[repository]
	path = repo
	[store slow]
	type = command
	dump = $work/slow.sh
END
expect 0 . bakfs --repo repo --key-file key init
expect 0 . bakfs --repo repo --key-file key key add --new-password-file password
cat >look.py <<-'END'
	import re, sys
	sys.dont_write_bytecode = True
	pid, golden = sys.argv[1:3]
	sys.path.insert(0, golden)
	try:
	    from reader import Repository
	except ImportError as missing:
	    print("skipped:", missing)
	    sys.exit(77)
	key = open("key").read()
	password = open("password").read().strip().encode()
	ring = Repository("repo", password, key).ring
	secrets = {"password": password, "key file": bytes.fromhex(key.split()[1]),
	           "text of the key file": key.split()[1].encode()}
	secrets.update({"master": m for _, m in ring.masters})
	found = set()
	flags, maps = {}, []
	for line in open(f"/proc/{pid}/smaps"):
	    if m := re.match(r"([0-9a-f]+)-([0-9a-f]+) r", line):
	        maps.append((int(m[1], 16), int(m[2], 16)))
	    elif line.startswith("VmFlags:") and maps:
	        flags.setdefault(maps[-1], line.split()[1:])
	with open(f"/proc/{pid}/mem", "rb", 0) as mem:
	    for begin, end in maps:
	        try:
	            mem.seek(begin)
	            data = mem.read(end - begin)
	        except OSError:
	            continue
	        for name, secret in secrets.items():
	            if secret in data:
	                found.add(name)
	                if "dd" not in flags[begin, end]:
	                    sys.exit(f"{name} lies where core dumps have it: {begin:x}")
	                if "lo" not in flags[begin, end]:
	                    print(f"{name} lies where it may be swapped")
	wanted = {"master", sys.argv[3]}
	if found != wanted:
	    sys.exit(f"found {found}, not {wanted}: the test does not see what it should")
	for name in "cmdline", "environ":
	    data = open(f"/proc/{pid}/{name}", "rb").read()
	    for secret in secrets.values():
	        if secret in data:
	            sys.exit(f"a secret is in its {name}")
END
# look SECRET OPTION...: while a backup runs
look()
{
	local secret=$1 pid status=0
	shift
	env "$@" -v -c slow.conf backup >out.$# 2>&1 &
	pid=$!
	read -r _ <begun
	/usr/bin/python3 look.py $pid "$TESTS/golden" "$secret" >looked || status=$?
	echo go >wait
	wait $pid
	[ $status != 77 ] || skip "$(cat looked)"
	[ $status = 0 ] || fail "$(cat looked)"
}
look "key file" bakfs --key-file key
look password bakfs --password-file password
look password BAKFS_PASSWORD=$password bakfs
! grep -r "$password" out.* repo home || fail "the password was written down"
