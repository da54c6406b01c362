# For scripts that make system calls of bakfs fail: words for the environment of tests/fault/calls.h.
# FAULTCALLS is the shared object that does it.

# What to put before a command, as in: expect 1 . $(fault under=$work/repo at=3 error=ENOSPC) bakfs ...
# Words: under= kinds= at= sticky= error= count= clock=
fault()
{
	local word
	printf 'env LD_PRELOAD=%s ASAN_OPTIONS=verify_asan_link_order=0' "$FAULTCALLS"
	for word in "$@"; do
		printf ' FAULT_%s=%s' "$(tr '[:lower:]' '[:upper:]' <<<"${word%%=*}")" "${word#*=}"
	done
}

# calls PLACE KINDS COMMAND...: how many such calls the command makes
calls()
{
	rm -f count
	$(fault under="$1" kinds="$2" count="$work/count") "${@:3}" >/dev/null 2>&1 </dev/null || true
	cat count 2>/dev/null || echo 0
}

# Everything the tests change, kept and put back. Folders of packs that are empty may be missing;
# listing them all is most of what a small repository does.
keep()
{
	find repo/packs -mindepth 1 -empty -delete
	rm -rf kept
	mkdir kept
	cp -a repo home kept
}

put_back()
{
	rm -rf repo home
	cp -a kept/repo kept/home .
}

# No run's unfinished file, no lease.
expect_tidy()
{
	is "$(find repo/tmp -type f -regex '.*/[0-9a-f]*-[^/]*' -size +0 | wc -l)" 0
	is "$(find repo/running -type f | wc -l)" 0
}
