#!/usr/bin/env python3
"""Writes commands for redis-cli --pipe: VERSION KEYS. The same ones each time."""
import random
import sys

version, keys = sys.argv[1], int(sys.argv[2])
out = sys.stdout.buffer
rng = random.Random(version)


def do(*words):
    parts = [b"*%d\r\n" % len(words)]
    for word in words:
        if not isinstance(word, bytes):
            word = str(word).encode()
        parts.append(b"$%d\r\n%s\r\n" % (len(word), word))
    out.write(b"".join(parts))


def text(n):
    return rng.randbytes(n).hex()


LATER = 4102444800000  # 2100

do("SET", "plain", "hello")
do("SET", "number", 12345)
do("SET", "negative", -7)
do("SET", "large number", 3000000000)
do("SET", "-129", "a key that is a number")
do("SET", "70000", "and a longer one")
do("SET", b"binary\x00\xff\r\n$5", bytes(range(256)))
do("SET", "", "a key without a name")
do("SET", "long" * 50, "a key that gets packed")
do("SET", "packs well", "abcabc" * 10000)
do("SET", "packs badly", rng.randbytes(300000))
do("SET", "until 2100", "x", "PXAT", LATER)
do("SETBIT", "bits", 100000, 1)
do("PFADD", "hyperloglog", *range(1000))

do("RPUSH", "list small", *range(20))
do("RPUSH", "list large", *(text(40) for _ in range(3000)))
do("RPUSH", "list with a large item", "a", rng.randbytes(20000), "b")
do("SADD", "set of integers", *range(-50, 50))
do("SADD", "set of words", "a", "b", "c", "1")
do("SADD", "set large", *(text(30) for _ in range(2000)))
do("ZADD", "zset small", 1, "a", 2.5, "b", "-inf", "c", "+inf", "d")
for i in range(600):
    do("ZADD", "zset large", rng.random() * 1e6, text(20))
do("HSET", "hash small", "f", "v", "number", 17)
for i in range(600):
    do("HSET", "hash large", "field%d" % i, text(40))
do("GEOADD", "places", 13.361389, 38.115556, "Palermo")
do("EXPIREAT", "hash large", LATER // 1000)
do("PEXPIREAT", "list small", LATER + 123)

for i in range(300):
    do("XADD", "stream", "%d-%d" % (1000 + i, i), "field", text(10), "n", i)
do("XGROUP", "CREATE", "stream", "workers", "0")
do("XREADGROUP", "GROUP", "workers", "alice", "COUNT", 20, "STREAMS", "stream", ">")
do("XREADGROUP", "GROUP", "workers", "bob", "COUNT", 5, "STREAMS", "stream", ">")
do("XACK", "stream", "workers", "1000-0", "1003-3")
do("XGROUP", "CREATE", "stream", "readers", "$")
do("XGROUP", "CREATECONSUMER", "stream", "readers", "carol")
do("XDEL", "stream", "1007-7")
do("XADD", "stream empty", "1-1", "a", "b")
do("XDEL", "stream empty", "1-1")

if version.startswith("9"):
    do("HSET", "fields expire", "a", 1, "b", 2, "c", 3)
    do("HPEXPIREAT", "fields expire", LATER, "FIELDS", 1, "a")
if version != "6.2":
    do("FUNCTION", "LOAD", "#!lua name=mylib\nredis.register_function('hello', "
       "function(keys, args) return 'hello ' .. args[1] end)")
    do("FUNCTION", "LOAD", "#!lua name=other\n-- " + "packs well " * 50 +
       "\nredis.register_function('other', function() return 1 end)")

do("SELECT", 3)
do("SET", "in three", "x")
do("HSET", "hash of three", "a", "b")
do("PEXPIREAT", "in three", LATER)
do("SELECT", 0)

for i in range(keys):
    kind = i % 8
    if kind < 4:
        do("SET", "k:%d" % i, text(10 + i % 50))
    elif kind == 4:
        do("SET", "t:%d" % i, i, "PXAT", LATER + i % 1000 * 10000)
    elif kind == 5:
        do("HSET", "h:%d" % i, "id", i, "name", text(8))
    elif kind == 6:
        do("RPUSH", "l:%d" % i, i, i + 1)
    else:
        do("ZADD", "z:%d" % i, i, "m", i / 7, "n")
