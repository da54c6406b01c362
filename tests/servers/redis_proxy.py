#!/usr/bin/env python3
"""Stands between a client and a server, and lets so many bytes of a client through and no more:
SOCKET SERVER BYTES [WORD]. Serves until it is killed, or is gone when a client says WORD; when a
client ends, so does its connection."""
import os
import select
import socket
import sys

path, server, limit = sys.argv[1], sys.argv[2], int(sys.argv[3])
last = sys.argv[4].encode() if len(sys.argv) > 4 else None


def serve(client):
    other = socket.socket(socket.AF_UNIX)
    other.connect(server)
    end = select.poll()
    end.register(client, select.POLLHUP | select.POLLRDHUP)
    left = limit
    with other:
        # One that may say no more is still watched for its end.
        while left > 0 or not end.poll(50):
            for source in select.select([client, other] if left > 0 else [other], [], [],
                                        0 if left <= 0 else None)[0]:
                data = source.recv(left if source is client else 65536)
                if not data:
                    return
                if source is client:
                    if last and last in data:
                        sys.exit()
                    left -= len(data)
                (other if source is client else client).sendall(data)


listener = socket.socket(socket.AF_UNIX)
listener.bind(path + ".new")
listener.listen(4)
os.rename(path + ".new", path)
while True:
    connection, _ = listener.accept()
    with connection:
        try:
            serve(connection)
        except OSError:
            pass
