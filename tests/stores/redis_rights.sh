#!/bin/bash
# The rights that bakfs-stores(7) lists are enough, each list for what it is said to be for.
set -euo pipefail
. "$TESTS/servers/redis.sh"
. "$TESTS/servers/redis_data.sh"
. "$TESTS/lib/cli.sh"

redis_need 7.0 || skip "redis 7.0 cannot be had"
command -v redis-cli >/dev/null || skip "redis-cli is missing"
trap 'for dir in "$work"/s-*; do [ ! -f "$dir/pid" ] || redis_kill "$dir"; done; cleanup' EXIT

redis_start 7.0 s-live
redis_fill s-live 7.0 100
redis_digest s-live >want
save='+sync +replconf +ping +info +cluster|nodes'
commands='+restore +select +swapdb +flushdb +multi +exec +discard +function|restore +function|flush'
mark='+set +get +del +client|setname +client|list'

# user NAME RIGHT...: and a store of that name
user()
{
	redis s-live acl setuser "$1" on '>secret' "${@:2}" >/dev/null
	printf '[store %s]\ntype = redis\naddress = %s\nuser = %s\npassword = secret\n' \
		"$1" "$work/s-live/sock" "$1"
}
# shellcheck disable=SC2086
{
	user saver $save
	user scanner '~*' +ping +info +scan +dump +pttl +pexpiretime +select '+function|dump'
	user master $save +replicaof '+config|set' '+config|get' +bgsave
	user putter '~*' $save $commands +bgsave
	user marker '~*' $save $commands $mark +bgsave
} >stores
setup_repository <stores
for user in saver master putter marker; do
	expect 0 'snapshot' bakfs backup $user -v
	! grep 'refused' err || fail "$user"
done
expect 3 'scanner: saved key by key' bakfs backup scanner
for user in master putter marker; do
	redis s-live flushall >/dev/null
	redis s-live set other 1 >/dev/null
	expect 0 "$user: restored" bakfs restore $user@latest --yes -v
	redis_digest s-live | diff want - >diff || fail "$user: $(head -3 diff)"
	case $user in
	master) ! grep 'with commands' err || fail "not as its master" ;;
	putter) grep -q 'what is on the way bears no mark: .*NOPERM' err || fail "$(cat err)" ;;
	marker) ! grep 'no mark' err || fail "no mark" ;;
	esac
done
