#!/bin/bash
# --help, man pages and completions say the same: every command, option and key, in each of them,
# and none that is not there.
set -euo pipefail
man=$TESTS/../man
bad=0

complain()
{
	echo "$*"
	bad=1
}

# The long options that a help text lists between two of its lines.
options_of()
{
	bakfs "$1" --help | sed -n '/^Options:$/,/^Options of/s/^  ....\(--[a-z-]*\).*/\1/p'
}

# Those that a page describes.
options_in()
{
	sed -n '/^\.Sh OPTIONS/,/^\.Sh E/s/^\.It Fl \(. , Fl \)\{0,1\}-\([a-z-]*\).*/--\2/p' "$1"
}

page_of()
{
	grep -lx "\.Nm bakfs-$1\( ,\)\{0,1\}" "$man"/*.1
}

# What bash offers for "bakfs WORD..."; the last word is the one to complete.
completed()
{
	COMP_WORDS=(bakfs "$@")
	COMP_CWORD=$#
	COMPREPLY=()
	_bakfs
	printf '%s\n' "${COMPREPLY[@]}"
}
compopt() { :; } # only inside of a completion by bash itself

check_commands()
{
	local command
	for command in $commands; do
		page_of "$command" >/dev/null || complain "no page for $command"
		grep -qx "\.It Cm $command" "$man/bakfs.1" || complain "bakfs(1) lacks $command"
		completed "$command" | grep -x "$command" >/dev/null || complain "not completed: $command"
	done
	for command in $(sed -n '/^\.Ss Commands/,/^\.El/s/^\.It Cm //p' "$man/bakfs.1"); do
		[[ " $commands " == *" $command "* ]] || complain "bakfs(1) has $command"
	done
}

check_options()
{
	local command option page
	for command in $commands; do
		page=$(page_of "$command")
		for option in $(options_of "$command"); do
			options_in "$page" | grep -x -- "$option" >/dev/null ||
				complain "${page##*/} lacks $option of $command"
			completed "$command" "$option" | grep -x -- "$option" >/dev/null ||
				complain "not completed: $command $option"
		done
	done
	for page in "$man"/bakfs-*.1; do
		for option in $(options_in "$page"); do
			for command in $(sed -n 's/^\.Nm bakfs-\([a-z]*\).*/\1/p' "$page"); do
				options_of "$command"
			done | grep -x -- "$option" >/dev/null || complain "${page##*/} has $option"
		done
	done
}

check_common_options()
{
	local option
	bakfs --help | sed -n '/^Options of every/,/^$/s/^  ....\(--[a-z-]*\).*/\1/p' | sort \
		>common
	options_in "$man/bakfs.1" | sort | diff common - || complain "bakfs(1): common options"
	while read -r option; do
		completed "$option" | grep -x -- "$option" >/dev/null || complain "not completed: $option"
	done <common
	[ "$(wc -l <common)" -gt 5 ] || complain "common options not found"
}

check_suboptions()
{
	local page=$man/bakfs-mount.1
	bakfs mount --help | sed -n '/^Options of -o/,/^$/s/^  \([a-z_]*\).*/\1/p' | sort >help
	[ -s help ] || complain "no options of -o"
	sed -n '/^Comma/,/^\.El/s/^\.It Cm \([a-z_]*\).*/\1/p' "$page" | sort | diff help - ||
		complain "bakfs-mount(1): options of -o"
	completed mount -o "" | sed 's/=$//' | sort | diff help - ||
		complain "completion of mount -o"
	[ "$(completed mount -o ro,um)" = ro,umask= ] || complain "completion of -o ro,um"
}

# Keys of a section stand in the page's subsection of that name.
check_config_keys()
{
	local section
	for section in repository mount; do
		sed -n "s/^config $section //p" keys | sort >expected
		sed -n "/^\.Ss \[$section\]/,/^\.S/s/^\.It Cm //p" "$man/bakfs.conf.5" | sort |
			diff expected - || complain "bakfs.conf(5): [$section]"
	done
}

# A driver's options stand in its section, those of every store in theirs.
check_store_options()
{
	local driver begin end
	for driver in $(sed -n 's/^store \([a-z]*\) .*/\1/p' keys | sort -u); do
		begin="^\.Sh TYPE ${driver^^}$" end='^\.S[h] '
		[ "$driver" != every ] || begin='^\.Ss Every store$' end='^\.S[hs] '
		sed -n "s/^store $driver //p" keys | sort >expected
		awk -v begin="$begin" -v end="$end" '
			$0 ~ begin { inside = 1; next }
			$0 ~ end { inside = 0 }
			inside && /^\.It Cm / { print $3 }' "$man/bakfs-stores.7" | sort |
			diff expected - || complain "bakfs-stores(7): options of $driver"
	done
}

check_lint()
{
	local page
	command -v mandoc >/dev/null || return 0
	for page in "$man"/*.[1578]; do
		mandoc -T lint -W warning "$page" || complain "${page##*/}: lint"
	done
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
ln -s "$BAKFS" bakfs
PATH=$work:$PATH
. "$TESTS/../tools/completions/bakfs.bash"
"$LIST_KEYS" >keys
commands=$(bakfs --help | sed -n '/^Options/q; s/^  \([a-z]*\) .*/\1/p' | tr '\n' ' ')

check_commands
check_options
check_common_options
check_suboptions
check_config_keys
check_store_options
check_lint
exit $bad
