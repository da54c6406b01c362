# For scripts that mount: on top of tests/lib/cli.sh.
. "$TESTS/lib/cli.sh"
need_fuse

# mount_it [OPTION...]: in the foreground, on ./mnt; there when it returns.
mount_it()
{
	mkdir -p mnt 2>/dev/null || true # a dead mount may be there
	[ -p ready ] || mkfifo ready
	bakfs mount -f mnt "$@" >ready 2>mount.log &
	mounted=$!
	read -r line <ready || fail "no mount: $(cat mount.log)"
	is "$line" "mounted on $work/mnt"
}

# unmount_it [REGEX]: by a signal; exit status 0, and no line in the log but those that match.
unmount_it()
{
	local status=0
	kill -TERM "$mounted"
	wait "$mounted" || status=$?
	[ "$status" = 0 ] || fail "the mount ended with $status: $(cat mount.log)"
	! mountpoint -q mnt || fail "still mounted"
	! grep -Ev -- "${1-^$}|: ending$" mount.log >unexpected || fail "in the log: $(cat unexpected)"
}

# until_true COMMAND...: asks again and again; half a minute is far beyond what is promised.
until_true()
{
	local end=$((SECONDS + 30))
	until "$@" 2>/dev/null; do
		[ $SECONDS -lt $end ] || fail "never came true: $*"
	done
}

# result STORE REGEX: of the job that was started last, once it is over.
result()
{
	cat "mnt/restore/$1/wait" >result || fail "wait: $?"
	grep -Eq "$2" result || fail "not \"$2\": $(cat result "mnt/restore/$1/status" "mnt/restore/$1/log")"
}

jobs_of() # STORE
{
	grep -c '^job: ' "mnt/restore/$1/status" || true
}

# sqlite_file FILE ROWS: a database with so many rows in t
sqlite_file()
{
	sqlite3 "$1" "create table t(a); with recursive n(i) as (select 1 union all select i + 1
		from n where i < $2) insert into t select i from n"
}

# What uploads take in the spool: a file without a name, which the mount alone has open.
spooled()
{
	local fd total=0
	for fd in /proc/$mounted/fd/*; do
		[[ $(readlink "$fd") == "$work"/*' (deleted)' ]] || continue
		total=$((total + $(stat -Lc %b "$fd") * 512))
	done
	echo $total
}
