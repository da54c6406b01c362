# For scripts that mount: on top of tests/lib/cli.sh.
. "$TESTS/lib/cli.sh"
need_fuse

# A repository with a snapshot of ./src, its one store.
save_src()
{
	setup_repository <<-END
		[store src]
		type = files
		path = src
	END
	expect 0 'snapshot 1' bakfs backup
}

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

# odd_tree DIR N: what is awkward to serve. Names that any protocol can carry are in names/, those that
# some cannot in raw/; many/ has N files; holes, links, odd times.
odd_tree()
{
	local name n=0
	mkdir -p "$1/names/sub/deeper" "$1/raw" "$1/many" "$1/links" "$1/none"
	for name in ' lead' 'two  blanks' ümläut $'u\xcc\x88' 日本語 $'\xf0\x9f\x98\x80' $'no\xc2\xa0break' \
		"'quoted'" '#hash' '%41' '&and;' '~' '-n' '!bang' '$dollar`' '(1) [2] {3}' 'a=b,+' .hidden \
		UPPER "$(printf 'x%.0s' {1..200})" sub/deeper/end; do
		head -c $((n++ * 1000)) /dev/urandom >"$1/names/$name"
	done
	for name in $'new\nline' 'back\slash' $'\xff\xfe' '"' 'a:b' '*' '?' $'tab\t' $'\x01' 'dot.' 'blank ' \
		'<|>' "$(printf 'y%.0s' {1..255})"; do
		printf %s "$name" >"$1/raw/$name"
	done
	seq "$2" | split -l 1 -a 5 - "$1/many/a file with a name of some length "
	head -c 3000000 /dev/urandom >"$1/big"
	truncate -s 5M "$1/holed"
	printf middle | dd of="$1/holed" conv=notrunc bs=1M seek=2 status=none
	ln "$1/big" "$1/links/hard"
	ln -s ../big "$1/links/soft"
	ln -s nowhere "$1/links/broken"
	mkfifo "$1/links/fifo"
	touch -d '2011-05-06 07:08:09.123456789 UTC' "$1/big"
	chmod 640 "$1/holed"
}
