# Debian packages, for tools/quickstart and tests/run to source.
# need PACKAGE...: installs those that are missing, as root or through sudo.

# What it takes to build bakfs.
build_packages=(build-essential cmake ninja-build pkg-config libfuse3-dev libzstd-dev libssl-dev
	libsqlite3-dev libjansson-dev libinih-dev libisal-dev libpq-dev libarchive-dev libhiredis-dev
	libcurl4-openssl-dev)

need()
{
	local package missing=() root=()

	if ! command -v dpkg-query apt-get >/dev/null; then
		echo "not a Debian system: these must be there: $*" >&2
		return 0
	fi
	for package; do
		dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed ||
			missing+=("$package")
	done
	if ((${#missing[@]} == 0)); then
		return 0
	fi
	if ((EUID != 0)); then
		if ! command -v sudo >/dev/null; then
			echo "missing packages, and no sudo to install them: ${missing[*]}" >&2
			return 1
		fi
		root=(sudo)
	fi
	echo "installing ${missing[*]}"
	"${root[@]}" apt-get update -qq &&
		"${root[@]}" env DEBIAN_FRONTEND=noninteractive \
			apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}
