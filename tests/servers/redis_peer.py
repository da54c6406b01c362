#!/usr/bin/env python3
"""A server that answers like Redis until it is asked for its data, and then goes wrong:
SOCKET HOW. HOW file:PATH: it does not go wrong, and that file is its data. Serves until it is
killed."""
import os
import socket
import sys

path, how = sys.argv[1:]
INFO = b"# Server\r\nredis_version:7.0.0\r\nredis_mode:standalone\r\nrole:master\r\n"
RDB = b"REDIS0009\xff"
ANSWERS = {
    "garbage": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "loading": b"-LOADING Redis is loading the dataset in memory\r\n",
    "link": b"-NOMASTERLINK Can't SYNC while not connected with my master\r\n",
    "short": b"\n\n$100\r\nREDIS0009",
    "mark": b"$EOF:" + b"m" * 40 + b"\r\n" + RDB + b"12345678" + b"n" * 40,
    "sum": b"$18\r\n" + RDB + b"12345678",
    "type": b"$19\r\nREDIS0009\x77\xff12345678",
    "head": b"$many\r\n",
}
if how.startswith("file:"):
    data = open(how[5:], "rb").read()
    ANSWERS[how] = b"$%d\r\n" % len(data) + data


def serve(connection):
    file = connection.makefile("rb")
    while True:
        line = file.readline()
        if not line:
            return
        words = []
        for _ in range(int(line[1:])):
            words.append(file.read(int(file.readline()[1:]) + 2)[:-2])
        if how == "garbage":
            connection.sendall(ANSWERS[how])
            return
        if words[0] == b"INFO":
            if how == "silent":
                continue
            connection.sendall(b"$%d\r\n%s\r\n" % (len(INFO), INFO))
        elif words[0] == b"SYNC":
            connection.sendall(ANSWERS[how])
            return
        else:
            connection.sendall(b"+OK\r\n")


listener = socket.socket(socket.AF_UNIX)
listener.bind(path + ".new")
listener.listen(4)
os.rename(path + ".new", path)
while True:
    connection, _ = listener.accept()
    with connection:
        serve(connection)
