# Programs out of Debian packages, for tests, that are not installed: they are unpacked into
# $BAKFS_TEST_SERVERS (~/.cache/bakfs-test-servers). So no service starts, now or at the next boot,
# no account and no file of the system is made, and no right is needed.
#
#   debian_need NAME PACKAGE...   the packages, and what they need and is not installed; false when
#                                 they cannot be had, and why in $debian_why. NAME is also that of
#                                 the folder in which they have libraries of their own, if any
#
# Afterwards PATH and LD_LIBRARY_PATH begin with what was unpacked, and $debian_root is its folder:
# what a program looks for in a fixed place lies below that. Sourced while HOME is the user's.

debian_servers=${BAKFS_TEST_SERVERS:-$HOME/.cache/bakfs-test-servers}

# debian_unpack DIR PACKAGE...: whole or not at all. apt proves what it fetches.
debian_unpack()
{
	local dir=$1 new=$1.new package
	local apt=(apt-get -y -qq --no-install-recommends -o "Dir::Cache::archives=$new/debs"
		-o Debug::NoLocking=1 -o Acquire::Retries=0 -o Acquire::http::Timeout=20)
	shift
	rm -rf "$new"
	mkdir -p "$new/debs/partial" "$new/root"
	"${apt[@]}" --download-only install "$@" || {
		[ $EUID = 0 ] && apt-get -qq update && "${apt[@]}" --download-only install "$@"
	} || return 1
	for package in "$new"/debs/*.deb; do
		[ ! -e "$package" ] || dpkg -x "$package" "$new/root" || return 1
	done
	rm -r "$new/debs"
	mv "$new" "$dir"
}

debian_need()
{
	local name=$1 folder
	shift
	debian_why="no apt-get here"
	command -v apt-get >/dev/null && command -v dpkg >/dev/null || return 1
	folder=$debian_servers/debian-$(. /etc/os-release && echo "${VERSION_ID-}")-$name
	mkdir -p "$debian_servers"
	(
		flock 9
		[ -d "$folder" ] || debian_unpack "$folder" "$@" >"$folder.log" 2>&1
	) 9>"$debian_servers/debian.lock" || {
		rm -rf "$folder.new"
		debian_why=$(tail -n 1 "$folder.log")
		return 1
	}
	debian_root=$folder/root
	PATH=$debian_root/usr/sbin:$debian_root/usr/bin:$debian_root/sbin:$debian_root/bin:$PATH:/usr/sbin
	for folder in "$debian_root"/usr/lib/{,*-linux-gnu/}"$name" "$debian_root"/usr/lib/*-linux-gnu; do
		[ ! -d "$folder" ] || LD_LIBRARY_PATH=$folder${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
	done
	export LD_LIBRARY_PATH
}
