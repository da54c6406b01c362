# shellcheck shell=bash disable=SC2034
# Who is measured by tests/bench/mount; sourced by it. NAME_cannot succeeds, and says why, when NAME
# cannot be measured; NAME_make makes its repository of $data; NAME_mount mounts it at $mnt and leaves
# the data's folder in $at.

export RESTIC_PASSWORD=bench BORG_PASSPHRASE=bench KOPIA_PASSWORD=bench RUSTIC_PASSWORD=bench
export KOPIA_CONFIG_PATH=$work/kopia/config KOPIA_CACHE_DIRECTORY=$work/kopia/cache
export KOPIA_LOG_DIR=$work/kopia/log KOPIA_CHECK_FOR_UPDATES=false BORG_BASE_DIR=$work/borg-home
export XDG_CACHE_HOME=$work/cache XDG_STATE_HOME=$work/state

# What is put into the page cache before a tool is measured.
declare -A own=([bakfs]=bakfs [restore]=bakfs [disk]="data parts" [squashfuse]=squashfs
	[restic]=restic [kopia]=kopia [borg]=borg [rustic]=rustic)

bk() { "$bakfs" -q --repo "$work/bakfs" --key-file "$work/key" "$@"; }
many() { "$bakfs" -q --repo "$work/many" --key-file "$work/many.key" "$@"; }
bakfs_cannot() { return 1; }
bakfs_make() {
	bk init
	bk backup "files:$data" "files:$work/parts"
	many init
	mkdir -p "$work/small"
	for ((i = 0; i < 100; i++)); do echo $i >"$work/small/$i"; done
	many backup "files:$work/small"
	"$build/tests/tools/clone_snapshots" "$work/many" "$work/many.key" 1 9999 3600
	many list >/dev/null
}
bakfs_mount() { bk mount "$mnt" -o ro && at=$mnt/latest/data parts=$mnt/latest/parts has_parts=1; }
many_mount() { many mount "$mnt" -o ro && at=$mnt/latest/small; }
# The same with /restore: it needs a configured store.
restore_cannot() { return 1; }
restore_make() {
	[ -e "$work/made.bakfs" ] || { bakfs_make && touch "$work/made.bakfs"; }
	printf '[repository]\npath = %s\nkey_file = %s\n[store data]\ntype = files\npath = %s\n' \
		"$work/bakfs" "$work/key" "$data" >"$work/conf"
}
restore_mount() {
	"$bakfs" -q --config "$work/conf" mount "$mnt" &&
		at=$mnt/latest/data parts=$mnt/latest/parts has_parts=1
}

disk_cannot() { return 1; }
disk_make() { :; }
disk_mount() { at=$data parts=$work/parts has_parts=1; }

squashfuse_cannot() { ! command -v squashfuse_ll mksquashfs >/dev/null && echo "not installed"; }
squashfuse_make() {
	mksquashfs "$data" "$work/squashfs" -comp zstd -Xcompression-level 3 -quiet -no-progress >/dev/null
}
squashfuse_mount() { squashfuse_ll "$work/squashfs" "$mnt" && at=$mnt; }

# wait_for TEXT COMMAND...: until the command says it; it goes on in the background.
wait_for() {
	local text=$1 line
	shift
	rm -f "$shm/ready"
	mkfifo "$shm/ready"
	"$@" >"$shm/ready" 2>&1 &
	while read -r line; do
		[[ $line == *"$text"* ]] || continue
		cat <"$shm/ready" >/dev/null &
		return 0
	done <"$shm/ready"
	return 1
}

restic_cannot() { ! command -v restic >/dev/null && echo "not installed"; }
restic_make() {
	restic -q -r "$work/restic" init && restic -q -r "$work/restic" backup "$data"
}
restic_mount() {
	wait_for "Now serving" restic -r "$work/restic" mount "$mnt" && at=$mnt/snapshots/latest$data
}

kopia_cannot() { ! command -v kopia >/dev/null && echo "not installed"; }
kopia_make() {
	kopia repository create filesystem --path="$work/kopia/repo" >/dev/null 2>&1
	kopia policy set --global --compression=zstd >/dev/null 2>&1
	kopia snapshot create --no-progress "$data" >/dev/null 2>&1
	kopia snapshot list --json 2>/dev/null | jq -r '.[-1].id' >"$work/kopia/id"
}
kopia_mount() { wait_for "Mounted" kopia mount "$(cat "$work/kopia/id")" "$mnt" && at=$mnt; }

borg_cannot() { ! command -v borg >/dev/null && echo "not installed"; }
borg_make() {
	borg init -e repokey "$work/borg" 2>/dev/null
	borg create -C zstd,3 "$work/borg::a" "$data"
}
borg_mount() { borg mount "$work/borg::a" "$mnt" 2>/dev/null && at=$mnt$data; }

rustic_cannot() {
	if ! command -v rustic >/dev/null; then
		echo "not installed"
	else
		! rustic mount --help >/dev/null 2>&1 && echo "built without a mount"
	fi
}
rustic_make() {
	rustic --no-progress --log-level error -r "$work/rustic" init >/dev/null 2>&1
	rustic --no-progress --log-level error -r "$work/rustic" backup "$data" >/dev/null 2>&1
}
rustic_mount() {
	rustic -r "$work/rustic" mount --file-access read "$mnt" latest >/dev/null 2>&1 &
	until mountpoint -q "$mnt"; do :; done
	at=$mnt$data
}
