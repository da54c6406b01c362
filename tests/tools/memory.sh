#!/bin/bash
# A backup stays within `memory`, whatever the size of a file that was backed up before and changed.
set -eu
. "$TESTS/lib/cli.sh"
grep -q -e __asan_init -e __tsan_init "$BAKFS" && skip "a sanitizer takes memory of its own"

mkdir src
setup_repository <<-END
	memory = 32M
	[store app]
	type = files
	path = src
END

# change: 96 MiB, the same every time but for one byte in each 4 KiB, which is the round's number.
change()
{
	python3 - "$1" <<-END
		import random, sys
		r = random.Random(7)
		with open("src/file", "wb") as f:
		    for i in range(96 * 256):
		        f.write(r.randbytes(4095) + bytes([int(sys.argv[1])]))
	END
}
# peak COMMAND...: its resident memory at most, in MiB
peak()
{
	python3 - "$@" <<-END
		import resource, subprocess, sys
		subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
		print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> 10)
	END
}

for round in 1 2; do
	change $round
	got=$(peak bakfs -q backup)
	[ "$got" -le 72 ] || fail "a backup under memory = 32M took $got MiB"
done
expect 0 . bakfs verify
