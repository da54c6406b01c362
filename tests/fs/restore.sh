#!/bin/bash
# The way back through /restore, with the programs that people use.
set -eu
. "$TESTS/fs/lib.sh"
command -v sqlite3 >/dev/null || skip "sqlite3 is missing"
mkdir files files/sub
echo one >files/a
echo two >files/sub/b
sqlite3 app.db 'create table t(a); insert into t select value from generate_series(1, 20000)' 2>/dev/null ||
	sqlite3 app.db 'create table t(a); with recursive n(i) as (select 1 union all select i + 1
		from n where i < 20000) insert into t select i from n'
setup_repository <<-END
	[store app]
	type = sqlite
	path = $work/app.db
	[store files]
	type = files
	path = $work/files
	[store locked]
	type = files
	path = $work/files
	restore = no
	[mount]
	restore_delay = 0
END
expect 0 . bakfs backup app files
stamp=$(bakfs list --json | jq -r '[.snapshots[] | select(.store == "app")][0].stamp')
files_stamp=$(bakfs list --json | jq -r '[.snapshots[] | select(.store == "files")][0].stamp')
mount_it
app=mnt/restore/app

count()
{
	sqlite3 app.db 'select count(*) from t'
}

damage()
{
	sqlite3 app.db 'delete from t where a > 5'
	is "$(count)" 5
}

# What is there, and whose.
is "$(ls mnt/restore | tr '\n' ' ')" 'app files '
is "$(stat -c '%a %u' mnt/restore mnt/restore/app | sort -u)" "700 $EUID"
is "$(ls $app | tr '\n' ' ')" 'log status wait '
is "$(stat -c %s $app/status $app/wait $app/log | tr '\n' ' ')" '0 0 0 '
grep -q '^state: idle$' $app/status
grep -q '^none: ' $app/wait

# A stamp.
damage
touch "$app/$stamp"
result app '^done: '
is "$(count)" 20000
grep -Eq "^job: app-[0-9]+ done 100% $(stat -c %s mnt/latest/app/app.db) bytes, [1-9][0-9]* bytes/s, " $app/status ||
	fail "what was moved: $(cat $app/status)"
is "$(ls $app | tr '\n' ' ')" "$stamp log status wait "
is "$(jobs_of app)" 1
[ "$(stat -c %s $app/log)" -gt 0 ] || fail "an empty log"
is "$(stat -c %s $app/log)" "$(wc -c <$app/log)"

# latest, and back again.
damage
touch $app/latest
result app '^done: '
is "$(count)" 20000
touch $app/rollback
result app '^done: '
is "$(count)" 5
touch $app/latest
result app '^done: '

# Names that are no snapshots.
expect 1 'No such file' touch $app/20200101T000000Z
expect 1 'No such file' touch $app/lastest
expect 1 'No such file' mkdir $app/20200101T000000Z
n=$(jobs_of app)
before=$(ls $app)

# Programs that copy in bulk do not fire by names that happen to be triggers.
mkdir bulk
: >bulk/latest
: >"bulk/$stamp"
: >bulk/rollback
expect 1 'Invalid argument' cp bulk/latest $app/
expect 1 'Invalid argument' cp bulk/* $app/
expect 1 'Invalid argument' cp -a bulk/* $app/
expect 2 'Invalid argument' tar -C $app -xf <(tar -C bulk -c latest rollback "$stamp")
expect 23 'Invalid argument' rsync -a bulk/ $app/
expect 23 'Invalid argument' rsync -a --inplace bulk/ $app/
expect 1 'Invalid argument' mv bulk/rollback $app/
expect 1 'Invalid argument' bash -c ": >$app/latest"
expect 1 'Invalid argument|File exists' ln -s x $app/latest
expect 1 'Invalid argument|File exists' mkdir $app/latest
expect 1 'File exists' mkdir $app/status
expect 1 'Operation not permitted|Permission denied' touch $app/status
expect 1 'Operation not permitted' rm -f $app/status
expect 1 . cp -r "mnt/by-store/app/$stamp" $app/
rm -rf "$app/$stamp" 2>/dev/null || true
touch -d '2020-01-01' $app/latest 2>/dev/null || true
cat $app/latest $app/* >/dev/null 2>&1 || true
find $app -ls >/dev/null
is "$(jobs_of app)" "$n"

# A dump copied in: whole, it starts by itself.
sqlite3 app.db ".backup whole.db"
sqlite3 whole.db 'delete from t where a > 777; vacuum'
cp whole.db $app/whole.db
result app '^done: '
is "$(count)" 777
ls $app | grep -qx whole.db || fail "an upload is listed until after its job"
bakfs list --json >out
# What the job made is listed, and is never latest: neither the upload nor the wreck it replaced.
for type in import pre-restore; do
	made=$(jq -r "[.snapshots[] | select(.store == \"app\" and .type == \"$type\")][-1].stamp" out)
	until_true test -d "mnt/by-store/app/$made"
done
is "$(readlink mnt/by-store/app/latest)" "$stamp"
for program in 'cp -a' 'install -m 600' 'rsync -a' 'rsync -a --inplace'; do
	damage
	$program whole.db "$app/by-${program// /_}.db"
	result app '^done: '
	is "$(count)" 777
done
damage
cat whole.db >$app/cat.db
result app '^done: '
is "$(count)" 777
damage
dd if=whole.db of=$app/dd.db bs=1000 status=none
result app '^done: '
is "$(count)" 777
damage
tar -c whole.db | tar -C $app -x --transform 's/whole/tar/'
result app '^done: '
is "$(count)" 777
damage
cp whole.db whole-copy.db
mv whole-copy.db $app/
result app '^done: '
is "$(count)" 777
damage
# The first of two programs hears that it is not whole yet; the last one decides.
(head -c 5000 whole.db 2>/dev/null || true; tail -c +5001 whole.db) >$app/parts.db
result app '^done: '
is "$(count)" 777

# Cut off, or something else: the copy fails, status says why, nothing starts.
n=$(jobs_of app)
head -c 8000 whole.db >cut.db
echo 'this is no database' >text.db
expect 1 'Bad message' cp cut.db $app/
grep -q '^error: cut.db: cut off: 8000 of' $app/status
expect 1 'Bad message' cp text.db $app/
grep -q '^error: text.db: not a SQLite database' $app/status
expect 1 'Bad message' touch $app/cut.db
! rsync -a cut.db $app/cut2.db 2>err || fail "rsync of a cut dump"
grep -q 'Bad message' err
! rsync -a --inplace cut.db $app/cut3.db 2>err || fail "rsync of a cut dump"
is "$(jobs_of app)" "$n"
is "$(count)" 777

# What never starts, and what a final name starts.
damage
n=$(jobs_of app)
for name in .hidden whole.db.part whole.tmp 'whole.db~' whole.partial whole.filepart; do
	cp whole.db "$app/$name"
	touch "$app/$name"
done
cp cut.db $app/cut.part
expect 1 'Bad message' mv $app/cut.part $app/cut.final
is "$(jobs_of app)" "$n"
mv $app/whole.db.part $app/renamed.db
result app '^done: '
is "$(count)" 777
expect 1 'Invalid argument|of itself' mv $app/whole.tmp $app/latest # how mv tells EINVAL
rm -f $app/.hidden $app/*.part $app/*.tmp $app/*~ $app/*.partial $app/*.filepart

# Killed half-way, and killed after the last byte: nothing starts.
n=$(jobs_of app)
mkfifo pipe
has_bytes()
{
	[ "$(stat -c %s $app/killed.db)" -ge "$1" ]
}
for bytes in 5000 "$(stat -c %s whole.db)"; do
	dd if=pipe of=$app/killed.db bs=1000 status=none &
	writer=$!
	exec 6>pipe
	head -c "$bytes" whole.db >&6
	until_true has_bytes $((bytes / 1000 * 1000))
	kill -KILL $writer
	wait $writer || true
	exec 6>&-
done
is "$(jobs_of app)" "$n"
cp whole.db $app/killed.db
result app '^done: '
is "$(jobs_of app)" $((n + 1))

# A tree: copied in, with all that is in it; a touch starts it.
mkdir tree tree/inner
echo three >tree/a
echo four >tree/inner/c
: >tree/inner/latest
ln -s a tree/link
ln tree/a tree/inner/hard
touch -d '2012-12-12 12:12:12.123456789 UTC' tree/a tree/inner
chmod 640 tree/a
setfattr -n user.kept -v yes tree/a 2>/dev/null || true
store=mnt/restore/files
cp -a tree $store/new
"$DESCRIBE" tree | sed 's/ data=[^ ]*//' >expected
"$DESCRIBE" $store/new | sed 's/ data=[^ ]*//' | diff expected -
is "$(jobs_of files)" 0
cp -a tree $store/other
touch $store/other/inner $store/other/a
is "$(jobs_of files)" 0
rm -r $store/other
touch $store/new
result files '^done: '
"$DESCRIBE" files | sed 's/ data=[^ ]*//' | diff expected -
rm -rf $store/new
for way in 'rsync -aHAX tree/ mnt/restore/files/two' \
	'mkdir mnt/restore/files/two && tar -C tree -c . | tar -C mnt/restore/files/two -xp'; do
	echo changed >files/a
	bash -c "$way"
	touch $store/two
	result files '^done: '
	is "$(cat files/a)" three
	rm -rf $store/two
done

# A part of a snapshot.
echo changed >files/a
mkdir -p "$store/$files_stamp/sub"
expect 1 'No such file' mkdir "$store/$files_stamp/nosuch"
expect 1 'No such file' touch "$store/$files_stamp/sub/nosuch"
touch "$store/$files_stamp/sub/b"
result files '^done: '
is "$(cat files/sub/b)" two
is "$(cat files/a)" changed
touch "$store/$files_stamp"
result files '^done: '
is "$(cat files/a)" one
[ ! -e files/inner ] || fail "more than the snapshot"

# Links are shown and restored as they are; nothing of ours goes through one.
mkdir outside
echo untouched >outside/file
mkdir linked
ln -s "$work/outside" linked/out
ln -s outside/file linked/relative
cp -a linked $store/linked
is "$(readlink $store/linked/out)" "$work/outside"
touch $store/linked
result files '^done: '
is "$(readlink files/out)" "$work/outside"
is "$(find outside)" "$(printf 'outside\noutside/file')"
rm -rf $store/linked
expect 0 . bakfs backup files
links_stamp=$(bakfs list --json | jq -r '[.snapshots[] | select(.store == "files" and .type == "manual")][-1].stamp')
shows_links() { [ -h "mnt/by-store/files/$links_stamp/out" ]; }
until_true shows_links
mkdir -p "$store/$links_stamp"
expect 1 'Not a directory' mkdir "$store/$links_stamp/out"
expect 1 'No such file|Not a directory' touch "$store/$links_stamp/out/file"
rm files/out
mkdir files/out # a folder where the link was
echo kept >files/out/kept
touch "$store/$links_stamp/out"
result files 'done|failed'
is "$(cat outside/file)" untouched
is "$(ls outside)" file
touch "$store/$files_stamp"
result files '^done: '

# A failed job: said so, everywhere; and the store is as it was.
cp -r bulk $store/notes
damage
cat whole.db >$app/late.db
result app '^done: '
unmount_it 'restore of|cancelled|upload'

# The next mount shows what was, and takes the last result at once.
mount_it
grep -q "^job: app-.* done " $app/status
grep -q '^done: ' $app/wait
is "$(ls $app | tr '\n' ' ')" 'log status wait '
unmount_it
