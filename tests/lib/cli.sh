# For scripts that run bakfs: a folder of their own ($work, the current one), a home of their own,
# and words that say what is expected. BAKFS is the program, TESTS the folder tests/.

fail()
{
	printf 'line %s: %s\n' "${BASH_LINENO[*]:0:3}" "$*"
	exit 1
}

skip()
{
	echo "skipped: $*"
	exit 77
}

# expect STATUS REGEX COMMAND...: runs it without a terminal; its output stays in ./out and ./err
# and has a line that matches, or none at all if REGEX is empty.
expect()
{
	local status=$1 regex=$2 got=0
	shift 2
	setsid -w "$@" >out 2>err </dev/null || got=$?
	if [ "$got" != "$status" ] || ! { [ "$regex" ] && grep -Eq -- "$regex" out err ||
		[ ! "$regex$(cat out err)" ]; }; then
		head -n 50 out err
		fail "expected status $status and \"$regex\", got $got: $*"
	fi
}

# is TEXT EXPECTED
is()
{
	[ "$1" = "$2" ] || fail "\"$1\" is not \"$2\""
}

# json FILTER EXPECTED: of the document in ./out
json()
{
	is "$(jq -r "$1" out)" "$2"
}

# Makes a repository, repo, which key opens without waiting, and a configuration that names both.
# The configuration's further lines come from standard input.
setup_repository()
{
	{
		printf '[repository]\npath = %s/repo\nkey_file = %s/key\n' "$work" "$work"
		cat
	} >bakfs.conf
	export BAKFS_CONFIG=$work/bakfs.conf
	expect 0 'made repository' bakfs init
}

# Where a test can mount.
need_fuse()
{
	[ -c /dev/fuse ] || skip "no /dev/fuse here"
	(: <>/dev/fuse) 2>/dev/null || skip "/dev/fuse cannot be opened"
	command -v fusermount3 >/dev/null || [ $EUID = 0 ] || skip "no fusermount3"
	bakfs --version | grep -q 'mount through FUSE' || skip "built without FUSE"
}

# As root: runs the script once more as nobody, with copies that nobody can reach, and ends.
without_root()
{
	local status=0
	[ $EUID = 0 ] || return 0
	mkdir tests
	cp -r "$TESTS/lib" tests/
	cp "$0" tests/script
	cp -L "$BAKFS" tests/bakfs
	chmod 755 . tests tests/*
	BAKFS=$work/tests/bakfs TESTS=$work/tests setpriv --reuid=65534 --regid=65534 \
		--clear-groups bash "$work/tests/script" || status=$?
	exit $status
}

cleanup()
{
	local folder jobs
	cd /
	# Whoever is left would keep the test's output open, and ctest waiting.
	jobs=$(jobs -p)
	[ ! "$jobs" ] || kill $jobs 2>/dev/null || true
	for folder in "$work"/mnt*; do
		# A dead mount is no mountpoint(1) any more, but is still listed.
		! grep -q " $folder " /proc/self/mountinfo || umount "$folder" 2>/dev/null ||
			fusermount3 -u "$folder" 2>/dev/null || umount -l "$folder" 2>/dev/null || true
	done
	rm -rf "$work"
}

command -v jq >/dev/null || skip "jq is missing"
work=$(mktemp -d "${TMPDIR:-/tmp}/bakfs-test.XXXXXX")
trap cleanup EXIT
trap 'exit 1' INT TERM
cd "$work" || exit 1
mkdir home bin
ln -s "$BAKFS" bin/bakfs
PATH=$work/bin:$PATH
export HOME=$work/home
unset BAKFS_CONFIG BAKFS_PASSWORD BAKFS_NEW_PASSWORD XDG_CONFIG_HOME
export XDG_CACHE_HOME=$work/home/cache XDG_STATE_HOME=$work/home/state
