# Completion of bakfs for bash. Commands and options come from bakfs itself, so they are always
# those of the program that is installed.

# What stands first in the indented lines of a help text.
_bakfs_commands()
{
	bakfs --help 2>/dev/null | sed -n '/^Options/q; s/^  \([a-z][a-z-]*\) .*/\1/p'
}

# The long options of a command, one a line; those that take something end with "=".
_bakfs_options()
{
	bakfs "$@" --help 2>/dev/null |
		sed -n '/^Options of -o/,/^$/d; s/^  \(-., \|    \)\(--[a-z-]*\) \([A-Z]\).*/\2=/p; t
			s/^  \(-., \|    \)\(--[a-z-]*\).*/\2/p'
}

_bakfs_suboptions()
{
	bakfs mount --help 2>/dev/null |
		sed -n '/^Options of -o/,/^$/s/^  \([a-z_]*=\{0,1\}\).*/\1/p'
}

_bakfs()
{
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
	local command= word options i

	COMPREPLY=()
	for ((i = 1; i < COMP_CWORD; i++)); do
		word=${COMP_WORDS[i]}
		case $word in
		-c | -r | --config | --repo | --password-file | --key-file) ((i++)) ;;
		-*) ;;
		*)
			command=$word
			break
			;;
		esac
	done
	case $prev in
	-o | --options)
		COMPREPLY=($(compgen -P "${cur%"${cur##*,}"}" -W "$(_bakfs_suboptions)" -- \
			"${cur##*,}"))
		compopt -o nospace
		return
		;;
	-t | --type)
		COMPREPLY=($(compgen -W 'manual daily weekly monthly' -- "$cur"))
		return
		;;
	--to | -r | --repo)
		compopt -o filenames
		COMPREPLY=($(compgen -d -- "$cur"))
		return
		;;
	-c | --config | --*-file)
		compopt -o filenames
		COMPREPLY=($(compgen -f -- "$cur"))
		return
		;;
	esac
	if [[ $cur == -* ]]; then
		options=$(_bakfs_options $command)
		COMPREPLY=($(compgen -W "${options//=/}" -- "$cur"))
	elif [[ ! $command ]]; then
		COMPREPLY=($(compgen -W "$(_bakfs_commands)" -- "$cur"))
	elif [[ $command == key && $prev == key ]]; then
		COMPREPLY=($(compgen -W 'add list change remove rotate' -- "$cur"))
	else
		compopt -o filenames
		COMPREPLY=($(compgen -f -- "$cur"))
	fi
}

complete -F _bakfs bakfs
