#!/bin/bash
# A tree with everything that breaks backup programs, compared with its mounted snapshot: by rsync,
# and attribute by attribute by a program that knows nothing of bakfs.
set -eu
. "$TESTS/fs/lib.sh"
export LC_ALL=C

# Names.
mkdir src
cd src
touch -- plain ' blank ' $'new\nline' $'tab\t' 'semi;colon' '$(touch oops)' '`touch oops`' '-rf' \
	'quote"s' "quote's" 'back\slash' $'cr\rcr' '*' '?' $'\xff\xfe not utf-8' $'\xc3\xa4' '~' '#'
printf content >"$(printf 'n%.0s' {1..255})"
mkdir "$(printf 'd%.0s' {1..255})" $'dir\nwith\\both' empty
echo x >$'dir\nwith\\both/file'

# Deeper than PATH_MAX.
(
	deep=$(printf 'p%.0s' {1..200})
	for _ in {1..25}; do
		mkdir "$deep"
		cd -P "./$deep" 2>/dev/null || cd "./$deep"
	done
	echo bottom >file
)

# Contents: none, one byte, around blocks and chunks, zeros, holes.
: >nothing
printf x >one
head -c 4095 /dev/urandom >b4095
head -c 4097 /dev/urandom >b4097
head -c 3000000 /dev/urandom >megabytes
head -c 3000000 /dev/zero >zeros
truncate -s 1M all-hole
truncate -s 10M hole-between
printf begin | dd of=hole-between conv=notrunc status=none
printf end | dd of=hole-between conv=notrunc status=none bs=1 seek=10485757
truncate -s 1T terabyte
printf middle | dd of=terabyte conv=notrunc status=none bs=1M seek=500000
seq 400000 >text

# Links.
ln -s plain symlink
ln -s /nowhere/at/all dangling
ln -s "$(printf 'l%.0s' {1..4000})" long-link
ln megabytes hard1
ln megabytes empty/hard2
mkdir links
for i in {1..60}; do ln plain "links/$i"; done

# Other kinds of files, and bits.
mkfifo fifo
touch setuid setgid sticky
chmod 4755 setuid
chmod 2755 setgid
chmod 1644 sticky
mkdir -m 1777 sticky-dir
mkdir -m 2755 setgid-dir
touch -d '1901-12-14 00:00:01.123456789 UTC' old
touch -d '2200-01-01 00:00:00.999999999 UTC' future
touch -d '@0' epoch
touch -h -d '2001-02-03 04:05:06.7 UTC' symlink
attributes=no
if setfattr -n user.test -v value plain 2>/dev/null; then
	attributes=yes
	setfattr -n user.empty plain
	setfattr -n user.binary -v 0x00ff00 plain
	setfattr -n user.large -v "$(printf 'v%.0s' {1..3000})" one
	setfattr -n user.dir -v d empty
	setfattr -n user.linked -v l megabytes
fi
if [ $EUID = 0 ]; then
	mkdir -m 0 closed
	touch unreadable
	chmod 0 unreadable
	mknod char c 1 3
	mknod block b 7 200
	chown 12345:54321 one
	chown -h 1:2 symlink
	chown 4294967294:4294967294 b4095
	setcap cap_net_raw+ep setuid 2>/dev/null || true
	setfattr -n trusted.test -v t plain 2>/dev/null || true
fi
setfacl -m u:12345:rwx,g:54321:r one 2>/dev/null || true
setfacl -d -m u:12345:rx empty 2>/dev/null || true

# A folder of many, for pages of entries, and a deep one of few.
mkdir many
(cd many && seq -f 'file%g' 6000 | xargs touch)
mkdir -p a/b/c/d/e/f/g
cd ..
touch -d '2011-01-01 00:00:00 UTC' src

save_src
"$DESCRIBE" src >source.txt

for options in '' '-o ro' '-o ro,verify=full'; do
	mount_it $options
	# rsync would read a terabyte of holes for an hour, and neither it nor tar goes beyond
	# PATH_MAX: these are compared below.
	for direction in 'src/ mnt/latest/src/' 'mnt/latest/src/ src/'; do
		rsync -aHAXSn --checksum --delete --exclude=/terabyte --exclude='/ppp*' -i $direction >changes
		[ ! -s changes ] || fail "rsync would do: $(head changes)"
	done
	is "$(dd if=mnt/latest/src/terabyte bs=1M skip=500000 count=1 status=none | head -c 6)" middle
	for view in mnt/latest/src mnt/by-store/src/latest/ mnt/by-date/*/*/src; do
		"$DESCRIBE" -b "$view" >mounted.txt
		diff source.txt mounted.txt >difference || fail "$view: $(head -c 3000 difference)"
	done
	[ $attributes = no ] || is "$(getfattr --only-values -n user.test mnt/latest/src/plain)" value
	(cd mnt/latest && grep -v pppp src.sha256 | sha256sum -c --quiet) || fail "sums"
	is "$(grep -c . mnt/latest/src.sha256)" "$(($(find src -type f -printf x | wc -c) - 1))"
	# A copy out is what was saved.
	if [ "$options" = '-o ro' ]; then
		keep=(--xattrs --xattrs-include='*' --acls --numeric-owner)
		mkdir copy
		tar -C mnt/latest/src "${keep[@]}" --exclude='./ppp*' -Sc . 2>tar.log |
			tar -C copy "${keep[@]}" -xp 2>>tar.log || fail "tar: $(head -c 3000 tar.log)"
		"$DESCRIBE" copy | grep -v '^\. ' | sed 's/ data=[^ ]*//' >copied.txt
		grep -Ev '^(ppp|\. )' source.txt | sed 's/ data=[^ ]*//' | diff - copied.txt >difference ||
			fail "copied: $(head -c 3000 difference)"
	fi
	unmount_it
done
