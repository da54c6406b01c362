#!/bin/bash
# The ways to a Redis server: TLS, sentinels, commands that were renamed; and what it is
# when it is no Redis server, by a peer that says so.
set -euo pipefail
. "$TESTS/servers/redis.sh"
. "$TESTS/servers/redis_data.sh"
. "$TESTS/lib/cli.sh"

redis_need 7.0 || skip "redis 7.0 cannot be had"
command -v redis-cli >/dev/null || skip "redis-cli is missing"
trap 'for dir in "$work"/s-*; do [ ! -f "$dir/pid" ] || redis_kill "$dir"; done; cleanup' EXIT

# --- TLS: the server's certificate is looked at, and it copies from us without
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=redis.test -keyout key.pem \
	-addext subjectAltName=DNS:redis.test -out cert.pem 2>/dev/null
for ((try = 0; try < 9; try++)); do
	tls=$((20000 + RANDOM % 12000))
	! redis_start 7.0 s-tls "tls-port $tls" 'bind 127.0.0.1' "tls-cert-file $work/cert.pem" \
		"tls-key-file $work/key.pem" "tls-ca-cert-file $work/cert.pem" \
		'tls-auth-clients no' 'tls-replication yes' || break
done
redis s-tls set secret 1 >/dev/null
setup_repository <<END
[store tls]
type = redis
address = rediss://127.0.0.1:$tls
tls_ca = $work/cert.pem
tls_name = redis.test
[store name]
type = redis
address = rediss://127.0.0.1:$tls
tls_ca = $work/cert.pem
[store issuer]
type = redis
address = 127.0.0.1:$tls
tls = yes
tls_name = redis.test
[store plain]
type = redis
address = 127.0.0.1:$tls
timeout = 2s
END
expect 0 'snapshot 1' bakfs backup tls
redis s-tls set secret 2 >/dev/null
expect 0 restored bakfs restore tls@latest --yes -v
! grep -q 'with commands' err || fail "$(cat err)"
is "$(redis s-tls get secret)" 1
is "$(redis s-tls config get tls-replication | tail -1)" yes
expect 1 "TLS: the server's certificate: IP address mismatch" bakfs backup name
expect 1 "TLS: the server's certificate: self.signed certificate" bakfs backup issuer
expect 1 'plain: ' bakfs backup plain
redis_kill s-tls

# --- a server without SYNC, without REPLCONF, without BGSAVE
redis_start 7.0 s-managed 'rename-command SYNC ""' 'rename-command BGSAVE ""' \
	'rename-command CONFIG ""' 'rename-command REPLICAOF ""'
redis_fill s-managed 7.0 100
redis_digest s-managed >want
cat >>bakfs.conf <<END
[store managed]
type = redis
address = $work/s-managed/sock
END
expect 3 'saved key by key' bakfs backup managed
redis s-managed flushall >/dev/null
expect 3 'not on its disk' bakfs restore managed@latest --yes
redis_digest s-managed | diff want - >diff || fail "managed: $(head -3 diff)"
is "$(redis s-managed -n 15 dbsize)" 0
redis_kill s-managed

# --- sentinels say where it is, and it stays a primary while it is restored
redis_tcp 7.0 s-primary || fail "no server"
redis s-primary set who primary >/dev/null
mkdir s-sentinel
port=$((20000 + RANDOM % 12000))
printf '%s\n' "port $port" 'bind 127.0.0.1' "unixsocket $work/s-sentinel/sock" "dir $work/s-sentinel" \
	"sentinel monitor shop 127.0.0.1 $(cat s-primary/port) 1" >s-sentinel/conf
redis-server s-sentinel/conf --sentinel >s-sentinel/log 2>&1 &
echo $! >s-sentinel/pid
while [[ $(redis s-sentinel ping 2>/dev/null) != PONG ]]; do
	kill -0 "$(cat s-sentinel/pid)" 2>/dev/null || fail "no sentinel: $(cat s-sentinel/log)"
done
cat >>bakfs.conf <<END
[store shop]
type = redis
sentinel = 127.0.0.1:1
sentinel = 127.0.0.1:$port
master_name = shop
[store none]
type = redis
sentinel = 127.0.0.1:$port
END
expect 0 'shop: snapshot' bakfs backup shop
redis s-primary set who other >/dev/null
expect 0 'restored with commands: sentinels' bakfs restore shop@latest --yes -v
is "$(redis s-primary get who)" primary
expect 1 'no sentinel could say .*knows no primary called mymaster' bakfs backup none

# --- peers that are something else
peer()
{
	python3 "$TESTS/servers/redis_peer.py" "$work/peer" "$1" &
	peer=$!
	while [ ! -S peer ]; do kill -0 $peer || fail "no peer"; done
	expect 1 "$2" bakfs backup peer
	kill $peer 2>/dev/null || true
	wait $peer 2>/dev/null || true
	rm -f peer
}
cat >>bakfs.conf <<END
[store peer]
type = redis
address = $work/peer
timeout = 2s
method = replication
END
peer garbage 'not a Redis server'
peer silent 'no answer for 2 seconds'
peer loading 'still loading its data, try again'
peer link 'replica that lost its primary'
peer short 'closed the connection after 9 bytes'
peer mark 'closed the connection after [0-9]+ bytes'
peer sum 'the RDB file is damaged: its checksum is not right'
peer type 'not a sound RDB file: an unknown type of record at byte 9'
peer head 'the answer makes no sense'
bakfs list --json >out
json '[.snapshots[] | select(.store == "peer")] | length' 0
