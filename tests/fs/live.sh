#!/bin/bash
# What other processes add or take away shows, without remounting, past everything the kernel keeps.
set -eu
. "$TESTS/fs/lib.sh"
mkdir src web
echo 1 >src/a
echo page >web/a
setup_repository <<-END
	[store src]
	type = files
	path = src
	[store web]
	type = files
	path = web
END
expect 0 . bakfs backup src

# Looks at everything, so that the kernel keeps all of it: names, absent names, listings, pages.
look()
{
	find mnt -path mnt/restore -prune -o -type f -exec cat {} + >/dev/null
	ls -lR mnt >/dev/null
	for absent in mnt/latest/web mnt/by-store/web mnt/latest/web.json mnt/by-store/src/nosuch; do
		[ ! -e $absent ] || true
	done
}

stamp_of() # STORE: newest
{
	bakfs list --json | jq -r "[.snapshots[] | select(.store == \"$1\")][-1].stamp"
}

listed() # NAME DIR
{
	ls "$2" | grep -qx "$1"
}

run_shown() { [ -d mnt/by-date/*/"${stamp:9:6}Z-manual"/src ]; }
for options in '' '-o ro'; do
	mount_it $options
	for round in 1 2 3; do
		look
		echo "$options$round" >src/a
		expect 0 . bakfs backup src
		stamp=$(stamp_of src)
		until_true listed "$stamp" mnt/by-store/src
		# From here on all of it must be of the new state: nothing lags behind the list.
		is "$(readlink mnt/by-store/src/latest)" "$stamp"
		is "$(cat mnt/latest/src/a)" "$options$round"
		is "$(cat mnt/by-store/src/latest/a)" "$options$round"
		[ -f "mnt/by-store/src/$stamp.json" ] || fail "no manifest"
		is "$(jq -r .stamp mnt/latest/src.json)" "$stamp"
		(cd mnt/latest && sha256sum -c --quiet src.sha256)
		until_true run_shown
	done
	unmount_it
done

# Who waits costs nothing: once what was begun is done, there are two seconds in which hardly a
# thread wakes up. (One looks after file systems that send no events, four times a minute.)
wakeups() { cat "/proc/$mounted/task/"*/status | awk '/ctxt_switches/ { n += $2 } END { print n }'; }
mkfifo never
for options in '' '-o ro'; do
	mount_it $options
	look
	for ((tries = 0; ; tries++)); do
		before=$(wakeups)
		read -rt 2 <>never || true
		woken=$(($(wakeups) - before))
		((woken >= 40)) || break
		((tries < 10)) || fail "$woken wakeups while nobody asked"
	done
	unmount_it
done

# A run that gains a store: its manifest and its sums change with it.
mount_it
look
expect 0 . bakfs backup --type weekly
web=$(stamp_of web)
until_true listed "$web" mnt/by-store/web
run=$(echo mnt/by-date/*/*-weekly)
until_true listed web "$run"
is "$(jq -r '.stores | keys | join(" ")' "$run/manifest.json")" 'src web'
(cd "$run" && sha256sum -c --quiet SHA256SUMS)
is "$(cat mnt/latest/web/a)" page
is "$(ls mnt/latest | tr '\n' ' ')" 'src src.json src.sha256 web web.json web.sha256 '

# Many at once, while somebody reads everything all the time.
(while [ -e mnt/status ] && [ ! -e stop ]; do look; done) 2>/dev/null &
reader=$!
for i in 1 2 3 4 5 6; do
	echo "$i" >src/a
	bakfs backup -q src
done
last=$(stamp_of src)
until_true listed "$last" mnt/by-store/src
is "$(readlink mnt/by-store/src/latest)" "$last"
is "$(cat mnt/latest/src/a)" 6
touch stop
wait $reader || true
grep -q "$last" mnt/status
unmount_it
