#!/bin/bash
# Programs that write to /restore: each of them to its end, killed half-way, and in ways that must
# not start anything.
set -eu
. "$TESTS/fs/lib.sh"
. "$TESTS/lib/faults.sh"
command -v sqlite3 >/dev/null || skip "sqlite3 is missing"
command -v python3 >/dev/null || skip "python3 is missing"
mkdir -p files/sub
echo one >files/a
echo two >files/sub/b
sqlite_file app.db 20000
setup_repository <<-END
	[store app]
	type = sqlite
	path = $work/app.db
	[store files]
	type = files
	path = $work/files
	[store note]
	type = command
	dump = cat $work/files/a
	restore_command = cat >$work/note
	[mount]
	restore_delay = 0
END
expect 0 . bakfs backup
mount_it
app=mnt/restore/app
sqlite_file whole.db 777
sqlite3 whole.db "create table fill as select zeroblob(400000) as z"
tar -cf whole.tar whole.db

# Takes away what was copied in, once no job reads it; the store is as it was before.
tidy_up()
{
	until_true find mnt/restore/*/ -mindepth 1 ! -name log ! -name wait ! -name status -delete
	rm -rf spare
	sqlite3 app.db 'delete from t where a > 5'
}

run() # COMMAND, as text
{
	bash -c "set -eo pipefail; app=$app work=$work; $1" >why 2>&1
}

count()
{
	sqlite3 app.db 'select count(*) from t'
}

asked_since() # LINES OF THE LOG
{
	tail -n +$(($1 + 1)) "$app/log" | grep -q 'asked for'
}

# --- to the end: one job each, and the store is as the dump ---

# scp's own protocol, to a program that stands for ssh and runs the other end here.
cat >ssh <<-'END'
	#!/bin/bash
	while [[ $1 == -* ]]; do
		case $1 in -o | -p | -l) shift ;; esac
		shift
	done
	shift # the host
	exec bash -c "$*"
END
chmod +x ssh

cat >ways <<-'END'
	cp whole.db $app/
	cp --preserve=all whole.db $app/x
	cp --sparse=always whole.db $app/x
	cp -r whole.db $app/x
	cp -f whole.db $app/x
	cp -b whole.db $app/x
	cp /dev/stdin $app/x <whole.db
	install -D -m 640 whole.db $app/x
	install -p -T whole.db $app/x
	dd if=whole.db of=$app/x bs=64k conv=fsync status=none
	dd if=whole.db of=$app/x bs=4096 oflag=sync status=none
	cp whole.db spare && mv spare $app/x
	rsync whole.db $app/x
	rsync -a --partial whole.db $app/x
	rsync -a --inplace --partial whole.db $app/x
	rsync -a --partial-dir=.rsync-partial whole.db $app/x
	rsync -a --delay-updates whole.db $app/
	rsync -a --temp-dir=$work whole.db $app/x
	rsync -aS whole.db $app/x
	rsync -a --append whole.db $app/x
	tar -c whole.db | tar -xC $app
	tar -c whole.db | tar -xC $app --to-stdout >$app/x
	cat <whole.db >$app/x
	cat whole.db | tee $app/x >spare
	head -c 4096 whole.db >spare; (cat spare 2>&- || true; tail -c +4097 whole.db) >>$app/x
	sqlite3 whole.db ".backup $app/x"
	sqlite3 whole.db "vacuum into '$app/x'"
	python3 -c "import shutil; shutil.copy2('whole.db', '$app/x')"
	python3 -c "import shutil; shutil.copyfile('whole.db', '$app/x')"
	python3 -c "import pathlib; pathlib.Path('$app/x').write_bytes(open('whole.db', 'rb').read())"
	python3 -c "import os; f = os.open('$app/x.tmp', 0o101); os.write(f, open('whole.db', 'rb').read()); os.close(f); os.replace('$app/x.tmp', '$app/x')"
	scp -O -q -S ./ssh whole.db host:$work/$app/x
END
n=0
while read -r way; do
	[[ $way != scp* ]] || command -v scp >/dev/null || continue
	[[ $way != *rsync* ]] || command -v rsync >/dev/null || continue
	before=$(wc -l <"$app/log")
	run "$way" || fail "$way: $(cat why $app/status)"
	# The kernel tells of the last close when the program may be gone already.
	until_true asked_since "$before"
	result app '^done: ' || fail "$way"
	is "$way: $(count)" "$way: 777"
	is "$way: $(tail -n +$((before + 1)) $app/log | grep -c 'asked for')" "$way: 1"
	n=$((n + 1))
	tidy_up
done <ways
is "$(ls $app | tr '\n' ' ')" 'log status wait '

# --- never: nothing starts, and what was there before stays ---

nothing_started()
{
	! grep -q 'asked for' <(tail -c +$((log_size + 1)) $app/log) ||
		fail "$1 started a job: $(tail -n 8 $app/log)"
	is "$1: $(count)" "$1: 5"
}

log_size=$(stat -c %s $app/log)
head -c 300000 whole.db >cut.db
mkdir folder
cp whole.db folder/
: >folder/latest
while read -r way; do
	[[ $way != *rsync* ]] || command -v rsync >/dev/null || continue
	run "$way" && fail "no error: $way"
	nothing_started "$way"
	tidy_up
done <<-'END'
	cp cut.db $app/x
	cp -a cut.db $app/
	mv -T <(cat cut.db) $app/x
	install cut.db $app/x
	rsync cut.db $app/x
	rsync --inplace cut.db $app/x
	rsync -a --delay-updates cut.db $app/
	tar -c cut.db | tar -xC $app
	dd if=cut.db of=$app/x bs=64k status=none
	cat <cut.db >$app/x
	head -c 4096 whole.db >>$app/x
	sqlite3 whole.db "vacuum into '$app/latest'"
	python3 -c "import shutil; shutil.copy2('cut.db', '$app/x')"
	scp -O -q -S ./ssh cut.db host:$work/$app/x
	cp folder/latest $app/
	rsync -a --exclude=whole.db folder/ $app/
	python3 -c "import shutil; shutil.copytree('folder', '$app', dirs_exist_ok=True, ignore=lambda d, n: ['whole.db'])"
	cp -a mnt/by-store/app/latest $app/
	ln -s whole.db $app/latest
	ln whole.db $app/x
	mkfifo $app/x
	mknod $app/x c 1 3
	echo >$app/latest
	echo >>$app/latest
	echo >$app/status
	truncate -s 0 $app/latest
	truncate -s 1 $app/latest
	truncate -s 1M $app/x
	touch $app/nosuch
	mv $app/status $app/x
	rm $app/log
	rmdir $app
	mkdir mnt/restore/new
	rm -r mnt/restore
END

# No error, and nothing starts either.
while read -r way; do
	run "$way" || fail "$way: $(cat why)"
	nothing_started "$way"
	tidy_up
done <<-'END'
	cp whole.db $app/.x
	cp whole.db $app/x.part && touch $app/x.part
	cp whole.db $app/x.part && mv $app/x.part $app/y.tmp
	cp -r folder $app/.folder && touch $app/.folder
	: >$app/x
	: >>$app/x
	touch -d '2020-01-01' $app/latest
	mkdir $app/folder && rmdir $app/folder
	cp -r folder $app/
	cp -a folder $app/ && chmod 700 $app/folder && touch -d '2020-01-01' $app/folder
	cp -a folder $app/ && rm -rf $app/folder
	mkdir $app/a && cp whole.db $app/a/ && mv $app/a/whole.db $app/a/x && cp $app/a/x spare && cmp spare whole.db
END

# --- killed: at its first and at a later call that writes, makes, or gives attributes ---

# Files arrive by its own descriptors here, so that each call is seen.
kills=0
while read -r way; do
	[[ $way != *rsync* ]] || command -v rsync >/dev/null || continue
	for point in w:1 w:2 m:1 a:1; do
		[[ $way != mv* ]] || cp whole.db spare
		log_size=$(stat -c %s $app/log)
		status=0
		{ $(fault under="$work/mnt" kinds="${point%:*}" at="${point#*:}" error=kill) $way; } \
			>why 2>&1 || status=$?
		if [ $status = 0 ]; then # it makes no such call
			result app '^done: '
		else
			kills=$((kills + 1))
			[[ $way != mv* ]] || cmp spare whole.db
			# Attributes may come when all is there, closed, and on its way.
			[ "$point" = a:1 ] || nothing_started "$way, killed at $point"
			# What is left is no obstacle, nor a danger.
			rm -f spare
			[ "$point" != w:2 ] || { cp whole.db $app/again && result app '^done: '; }
			[ "$point" != w:2 ] || is "$(count)" 777
		fi
		tidy_up
	done
done <<-END
	cp whole.db $app/x
	cp -a whole.db $app/x
	mv spare $app/x
	install -m 600 whole.db $app/x
	rsync -a whole.db $app/x
	rsync -a --inplace whole.db $app/x
	dd if=whole.db of=$app/x bs=64k status=none
	tar -xf whole.tar -C $app
	python3 -c import\ shutil;shutil.copyfile("whole.db","$app/x")
	sqlite3 whole.db .backup\ $app/x
END
[ $kills -ge 20 ] || fail "only $kills programs were killed"

# --- editors, which save by rename; a dump that proves nothing is theirs until it is touched ---

note=mnt/restore/note
edited()
{
	is "$(jobs_of note)" "$n"
	grep -qx 'second line' $note/dump || fail "not edited: $(cat $note/dump)"
	touch $note/dump
	result note '^done: '
	cmp note <(printf 'first line\nsecond line\n')
	n=$((n + 1))
	is "$(ls -A $note | tr '\n' ' ')" 'dump log status wait '
	rm $note/dump note
}
n=$(jobs_of note)
printf 'first line\nline to change\n' >text
cp text $note/dump
sed -i 's/line to change/second line/' $note/dump
edited
cp text $note/dump
python3 - $note/dump <<-'END'
	import os, sys, tempfile
	path = sys.argv[1]
	fd, temp = tempfile.mkstemp(dir=os.path.dirname(path), prefix=".")
	os.write(fd, b"first line\nsecond line\n")
	os.fsync(fd)
	os.close(fd)
	os.replace(path, path + "~")
	os.rename(temp, path)
	os.unlink(path + "~")
END
edited
for editor in vim.basic vim vim.tiny; do
	command -v $editor >/dev/null || continue
	cp text $note/dump
	TERM=dumb $editor -u NONE -N -es -c 'set writebackup' -c '%s/line to change/second line/' \
		-c 'wq' $note/dump </dev/null >vim.log 2>&1 || fail "$editor: $(cat vim.log)"
	edited
	break
done
# Path.touch of a dump, and of a trigger.
cp text $note/dump
python3 -c "import pathlib; pathlib.Path('$note/dump').touch()"
result note '^done: '
cmp note text
python3 -c "import pathlib; pathlib.Path('$note/latest').touch()"
result note '^done: '
is "$(cat note)" one
rm -f $note/*est $note/dump

# --- readers: whatever they look at, nothing starts and nothing waits ---

cp whole.db $app/kept.part
cp -r folder mnt/restore/files/
n=$(cat mnt/restore/*/log | wc -l)
python3 - mnt <<-'END'
	# As desktops, indexers and virus scanners do: names, attributes, first bytes, all bytes, maps.
	import mmap, os, select, stat, sys
	seen = 0
	for folder, _, names in os.walk(sys.argv[1], onerror=lambda e: sys.exit(str(e))):
	    os.scandir(folder).close()
	    for name in names + [".directory", ".hidden", "desktop.ini", "Thumbs.db", ".git", "latest"]:
	        path = os.path.join(folder, name)
	        if not os.path.lexists(path):
	            continue
	        seen += 1
	        st = os.lstat(path)
	        os.listxattr(path, follow_symlinks=False)
	        os.access(path, os.W_OK), os.path.realpath(path)
	        for xattr in "user.xdg.tags", "security.selinux", "system.posix_acl_access":
	            try:
	                os.getxattr(path, xattr, follow_symlinks=False)
	            except OSError:
	                pass
	        if not stat.S_ISREG(st.st_mode):
	            continue
	        with open(path, "rb") as f:
	            select.select([f], [], [], 0)
	            f.seek(0, os.SEEK_END)
	            f.seek(max(0, f.tell() - 128))
	            f.read()
	            f.seek(0)
	            while f.read(1 << 20):
	                pass
	            try:
	                os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_WILLNEED)
	                mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ).close()
	            except (OSError, ValueError):
	                pass
	        try:
	            os.close(os.open(path, os.O_RDWR))
	        except OSError:
	            pass
	assert seen > 20, seen
END
find mnt -type f -exec head -c 100 {} + >all
grep -r nosuchword mnt >all || true
du -a mnt >all
tar -c mnt >all 2>tar.log || ! grep -v 'file changed\|Cannot\|exit' tar.log || fail "tar: $(cat tar.log)"
is "$(cat mnt/restore/*/log | wc -l)" "$n"

# --- rm -rf of everything there: what was copied in goes, the rest stays, and works ---

cp whole.db $app/.kept
! rm -rf mnt/restore 2>why || fail "rm -rf of /restore"
is "$(ls -A mnt/restore | tr '\n' ' ')" 'app files note '
is "$(ls -A mnt/restore/* | grep -v : | sort -u | tr '\n' ' ')" ' log status wait '
is "$(cat mnt/restore/*/log | wc -l)" "$n"
touch $app/latest
result app '^done: '
is "$(count)" 20000
is "$(spooled)" 0
unmount_it 'restore of|cancelled|upload'
