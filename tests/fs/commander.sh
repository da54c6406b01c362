#!/bin/bash
# Midnight Commander in a terminal, as somebody sits before it: looks into a mount, views a file,
# copies a folder out of it, and dumps into /restore.
set -eu
. "$TESTS/servers/debian.sh"
debian_need mc mc tmux || { echo "skipped: no mc: $debian_why" && exit 77; }
. "$TESTS/fs/lib.sh"
command -v sqlite3 >/dev/null || skip "sqlite3 is missing"
export LC_ALL=C.UTF-8 SHELL=/bin/bash
unset TMUX
[ ! -d "$debian_root/usr/share/mc" ] || export MC_DATADIR=$debian_root/usr/share/mc
odd_tree src 300
mkdir files dumps dumps/new copied
echo old >files/file
echo new >dumps/new/file
sqlite_file app.db 10
sqlite_file dumps/whole.db 777
setup_repository <<-END
	[store src]
	type = files
	path = src
	[store files]
	type = files
	path = files
	[store app]
	type = sqlite
	path = app.db
	[mount]
	restore_delay = 0
END
expect 0 . bakfs backup
mount_it
trap 'tmux -S "$work/terminal" kill-server 2>/dev/null || true; cleanup' EXIT

terminal()
{
	tmux -S "$work/terminal" "$@"
}

commander() # LEFT RIGHT
{
	terminal new-session -d -x 100 -y 30 "exec mc -d -u -a '$1' '$2' 2>mc.err"
	sees '10Quit'
}

keys()
{
	terminal send-keys "$@"
}

shows() # REGEX
{
	terminal capture-pane -p >screen
	grep -Eq -- "$1" screen
}

sees()
{
	until_true shows "$1"
}

# choose NAME: by mc's own search, which the next key ends; the line below the list shows it.
choose()
{
	keys C-s "$1"
	sees "^\| ?/?$1 "
}

copies() # what the cursor is on, to the other side
{
	keys F5
	sees 'Preserve attributes'
	keys Enter
}

leaves()
{
	keys F10
	until_true eval '! terminal has-session'
	# Where it lies it does not find its lists of archives.
	! grep -Ev 'sfs_init|extfs' mc.err || fail "mc says more than it should"
}

# The whole tree, by one key.
commander "$work/mnt/latest" "$work/copied"
choose src
copies
same_tree()
{
	rsync -aHn --checksum --delete -i src/ copied/src/ >changes && [ ! -s changes ]
}
until_true same_tree
sees '10Quit'
diff -r --no-dereference --exclude=fifo src copied/src
leaves

# A text, in the viewer.
commander "$work/mnt/latest/src/raw" "$work/copied"
choose 'dot.'
keys F3
sees '^dot\.'
keys F10
sees '10Quit'
leaves

# A dump that proves its end: the copy starts a job.
commander "$work/dumps" "$work/mnt/restore/app"
choose whole.db
copies
until_true eval '[ "$(jobs_of app)" = 1 ]'
result app 'done'
is "$(sqlite3 app.db 'select count(*) from t')" 777
leaves

# A folder starts by a touch, after it.
commander "$work/dumps" "$work/mnt/restore/files"
choose new
copies
until_true cmp dumps/new/file mnt/restore/files/new/file
sees '10Quit'
is "$(jobs_of files)" 0
leaves
touch mnt/restore/files/new
result files 'done'
is "$(cat files/file)" new
unmount_it 'restore of'
