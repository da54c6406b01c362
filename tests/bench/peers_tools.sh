# shellcheck shell=bash
# What each tool of tests/bench/peers is asked to do; sourced by it. run_NAME leaves figures in
# $work/figures/NAME.WHAT, one line a run: seconds, and of the timed ones peak KiB and CPU seconds.

export BAKFS_KEY=$work/bakfs.key RESTIC_PASSWORD=bench RUSTIC_PASSWORD=bench BORG_PASSPHRASE=bench
export KOPIA_PASSWORD=bench KOPIA_CONFIG_PATH=$work/kopia/config KOPIA_CACHE_DIRECTORY=$work/kopia/cache
export KOPIA_LOG_DIR=$work/kopia/log KOPIA_CHECK_FOR_UPDATES=false
export XDG_CACHE_HOME=$work/cache XDG_STATE_HOME=$work/state BORG_BASE_DIR=$work/borg/home
export BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK=yes BORG_RELOCATED_REPO_ACCESS_IS_OK=yes

declare -A needs=([tar]=zstd [squashfs]=mksquashfs)
declare -A settings=(
	[bakfs]="zstd 3, key file (no stretching), AES-256-GCM; restore compares SHA-256 of each file"
	[restic]="compression auto, password (scrypt at each start); verifies what it packs and reads"
	[kopia]="compression zstd, password (scrypt at each start)"
	[rustic]="zstd 3, password (scrypt at each start)"
	[borg]="zstd,3, repokey, password (PBKDF2 at each start)"
	[tar]="tar | zstd -3 -T2, no encryption, no deduplication"
	[squashfs]="mksquashfs -comp zstd -Xcompression-level 3 -b 1M, no encryption"
)
version_bakfs() { "$bakfs" --version; }
version_restic() { restic version; }
version_kopia() { echo "kopia $(cat "$cache/bin/kopia.version" 2>/dev/null || kopia --version)"; }
version_rustic() { rustic --version; }
version_borg() { borg --version; }
version_tar() { zstd --version; }
version_squashfs() { mksquashfs -version; }

# timed NAME WHAT COMMAND...
timed() {
	local to=$work/figures/$1.$2 name=$1 what=$2
	shift 2
	if ! /usr/bin/time -o "$work/time" -f '%e %M %U %S' "$@" >"$work/out" 2>&1; then
		echo "$name: $what failed: $(grep -v '^ *$' "$work/out" | tail -1)"
		exit 1
	fi
	tail -1 "$work/time" | awk '{ print $1, $2, $3 + $4 }' >>"$to"
}
figure() { echo "$3" >>"$work/figures/$1.$2"; }
size() { du -sb "$1" | awk '{ printf "%.2f\n", $1 / 1e6 }'; }
added() { figure "$1" added "$(awk "BEGIN { printf \"%.2f\", $3 - $2 }")"; }

# What others wrote goes to disk, and memory is touched: see peers.
settle() {
	sync
	head -c $((data_bytes * 5 / 4)) /dev/zero >"$shm/warm"
	rm "$shm/warm"
}
# The dump, the SQLite file and the RDB as they are after the edits.
edit() { [ -d "$made/2" ] && cp "$made/2/"* "$data/"; }

# What is done with a mounted snapshot: $2 is the folder in the mount that is the data.
walk() {
	timed "$1" find find "$2"
	timed "$1" find-ls find "$2" -ls
	[ ! -e "$2/dump" ] || timed "$1" cat-dump sh -c 'exec cat "$1" >/dev/null' sh "$2/dump"
	timed "$1" cat-floats sh -c 'exec cat "$1" >/dev/null' sh "$2/vectors.f32"
}
# wait_for FIFO TEXT COMMAND...: until the command says it; it goes on in the background.
wait_for() {
	local fifo=$1 text=$2 line
	shift 2
	mkfifo "$fifo"
	"$@" >"$fifo" 2>&1 &
	while read -r line; do
		if [[ $line == *"$text"* ]]; then
			cat <"$fifo" >/dev/null &
			return 0
		fi
	done <"$fifo"
	echo "${1##*/}: it cannot mount here: $line"
	return 1
}

# backups NAME REPOSITORY COMMAND...: first, unchanged and changed, by the same command.
backups() {
	local name=$1 repo=$2 before
	shift 2
	settle
	timed "$name" first "$@"
	figure "$name" repository "$(size "$repo")"
	timed "$name" unchanged "$@"
	edit || return 0
	before=$(size "$repo")
	settle
	timed "$name" changed "$@"
	added "$name" "$before" "$(size "$repo")"
}

run_bakfs() {
	local repo=$work/bakfs/repo
	local b=("$bakfs" --repo "$repo" --key-file "$BAKFS_KEY")
	mkdir "$work/bakfs"
	rm -rf "$XDG_CACHE_HOME/bakfs" "$XDG_STATE_HOME/bakfs" "$BAKFS_KEY"
	"${b[@]}" init >/dev/null
	backups bakfs "$repo" "${b[@]}" -q backup "files:$data"
	timed bakfs list "${b[@]}" list
	settle
	timed bakfs restore "${b[@]}" -q restore data@latest --to "$shm/bakfs"
	rm -rf "$shm/bakfs"
	"${b[@]}" mount "$work/mnt" -o ro
	walk bakfs "$work/mnt/latest/data"
}

run_restic() {
	local r=(restic -q -r "$work/restic/repo" --cache-dir "$work/restic/cache")
	mkdir "$work/restic"
	"${r[@]}" init
	backups restic "$work/restic/repo" "${r[@]}" backup "$data"
	timed restic list "${r[@]}" snapshots
	settle
	timed restic restore "${r[@]}" restore latest --target "$shm/restic"
	rm -rf "$shm/restic"
	wait_for "$work/restic/ready" "Now serving" \
		restic -r "$work/restic/repo" --cache-dir "$work/restic/cache" mount "$work/mnt"
	walk restic "$work/mnt/snapshots/latest$data"
}

run_kopia() {
	local id
	mkdir "$work/kopia"
	kopia repository create filesystem --path="$work/kopia/repo" >/dev/null 2>&1
	kopia policy set --global --compression=zstd >/dev/null 2>&1
	backups kopia "$work/kopia/repo" kopia snapshot create --no-progress "$data"
	timed kopia list kopia snapshot list
	id=$(kopia snapshot list --json 2>/dev/null | jq -r '.[-1].id')
	settle
	timed kopia restore kopia restore --no-progress "$id" "$shm/kopia"
	rm -rf "$shm/kopia"
	wait_for "$work/kopia/ready" "Mounted" kopia mount "$id" "$work/mnt"
	walk kopia "$work/mnt"
}

run_rustic() {
	local r=(rustic --no-progress --log-level error -r "$work/rustic/repo" --cache-dir "$work/rustic/cache")
	mkdir "$work/rustic"
	"${r[@]}" init >/dev/null 2>&1
	backups rustic "$work/rustic/repo" "${r[@]}" backup "$data"
	timed rustic list "${r[@]}" snapshots
	settle
	timed rustic restore "${r[@]}" restore latest "$shm/rustic"
	rm -rf "$shm/rustic"
}

run_borg() {
	mkdir -p "$work/borg/home"
	borg init -e repokey "$work/borg/repo" 2>/dev/null
	backups borg "$work/borg/repo" borg create -C zstd,3 "$work/borg/repo::{now:%s.%f}" "$data"
	timed borg list borg list "$work/borg/repo"
	mkdir "$shm/borg"
	settle
	(
		cd "$shm/borg"
		timed borg restore borg extract "$work/borg/repo::$(borg list --short --last 1 "$work/borg/repo")"
	)
	rm -rf "$shm/borg"
	borg mount "$work/borg/repo::$(borg list --short --last 1 "$work/borg/repo")" "$work/mnt" 2>"$work/out" || {
		echo "borg: it cannot mount here: $(tail -1 "$work/out")"
		return 0
	}
	walk borg "$work/mnt$data"
}

run_tar() {
	mkdir "$work/tar"
	settle
	timed tar first sh -c 'tar cf - -C "$1" . | zstd -q -3 -T2 >"$2"' sh "$data" "$work/tar/all.zst"
	figure tar repository "$(size "$work/tar/all.zst")"
	mkdir "$shm/tar"
	settle
	timed tar restore sh -c 'zstd -q -d -c "$2" | tar xf - -C "$1"' sh "$shm/tar" "$work/tar/all.zst"
}

run_squashfs() {
	mkdir "$work/squashfs"
	settle
	timed squashfs first mksquashfs "$data" "$work/squashfs/all" -comp zstd -Xcompression-level 3 -b 1M \
		-processors "$(nproc)" -quiet -no-progress
	figure squashfs repository "$(size "$work/squashfs/all")"
	settle
	timed squashfs restore unsquashfs -q -n -d "$shm/squashfs" "$work/squashfs/all"
}
