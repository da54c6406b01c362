#!/usr/bin/env python3
"""What a server holds, one line a key, asked for with plain commands over its Unix socket:
SOCKET [PASSWORD]. Independent of bakfs and of RDB."""
import hashlib
import socket
import sys


class Server:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.file = self.socket.makefile("rb")

    def send(self, commands):
        parts = []
        for words in commands:
            parts.append(b"*%d\r\n" % len(words))
            for word in words:
                word = word if isinstance(word, bytes) else str(word).encode()
                parts.append(b"$%d\r\n%s\r\n" % (len(word), word))
        self.socket.sendall(b"".join(parts))
        return [self.reply() for _ in commands]

    def ask(self, *words):
        return self.send([words])[0]

    def reply(self):
        line = self.file.readline()
        kind, rest = line[:1], line[1:-2]
        if kind == b"$":
            if int(rest) < 0:
                return None
            return self.file.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return None if int(rest) < 0 else [self.reply() for _ in range(int(rest))]
        if kind == b":":
            return int(rest)
        if kind == b"-":
            raise RuntimeError(rest.decode())
        return rest


ASK = {
    b"string": lambda key: [("GET", key)],
    b"list": lambda key: [("LRANGE", key, 0, -1)],
    b"set": lambda key: [("SMEMBERS", key)],
    b"zset": lambda key: [("ZRANGE", key, 0, -1, "WITHSCORES")],
    b"hash": lambda key: [("HGETALL", key)],
    b"stream": lambda key: [("XRANGE", key, "-", "+"), ("XINFO", "STREAM", key),
                            ("XINFO", "GROUPS", key)],
}


def content(server, key, kind, new):
    got = server.send(ASK[kind](key))
    if kind == b"set":
        return sorted(got[0])
    if kind == b"hash":
        pairs = sorted(zip(got[0][::2], got[0][1::2]))
        if not new or not pairs:
            return pairs
        names = [name for name, _ in pairs]
        return pairs, server.ask("HPEXPIRETIME", key, "FIELDS", len(names), *names)
    if kind == b"stream":
        facts = dict(zip(got[1][::2], got[1][1::2]))
        for name in (b"radix-tree-keys", b"radix-tree-nodes"):
            facts.pop(name, None)
        groups = []
        for group in got[2]:
            name = dict(zip(group[::2], group[1::2]))[b"name"]
            # How long ago an entry was handed out changes all the time.
            pending = server.ask("XPENDING", key, name, "-", "+", 1000)
            groups.append((group, [entry[:2] + entry[3:] for entry in pending]))
        return got[0], sorted(facts.items(), key=lambda f: f[0]), groups
    return got[0]


def main():
    server = Server(sys.argv[1])
    if len(sys.argv) > 2:
        server.ask("AUTH", sys.argv[2])
    info = dict(line.split(b":", 1) for line in server.ask("INFO").splitlines() if b":" in line)
    new = int(info.get(b"valkey_version", b"0").split(b".")[0]) >= 9
    for name in sorted(name for name in info if name[:2] == b"db" and name[2:].isdigit()):
        server.ask("SELECT", name[2:])
        keys, cursor = set(), b"0"
        while True:
            cursor, more = server.ask("SCAN", cursor, "COUNT", 10000)
            keys.update(more)
            if cursor == b"0":
                break
        keys = sorted(keys)
        for at in range(0, len(keys), 1000):
            some = keys[at:at + 1000]
            kinds = server.send([("TYPE", key) for key in some])
            ttls = server.send([("PTTL", key) for key in some])
            now = server.ask("TIME")
            ms = int(now[0]) * 1000 + int(now[1]) // 1000
            for key, kind, ttl in zip(some, kinds, ttls):
                if kind == b"none":
                    continue
                # To ten seconds: the answers come one after the other.
                until = round((ms + ttl) / 10000) if ttl >= 0 else ttl
                digest = hashlib.sha1(repr(content(server, key, kind, new)).encode()).hexdigest()
                print(name.decode(), repr(key), kind.decode(), until, digest)
    try:
        libraries = [dict(zip(library[::2], library[1::2]))
                     for library in server.ask("FUNCTION", "LIST", "WITHCODE")]
        for facts in sorted(libraries, key=lambda facts: facts[b"library_name"]):
            print("function", facts[b"library_name"].decode(),
                  hashlib.sha1(facts[b"library_code"]).hexdigest())
    except RuntimeError:
        pass


main()
