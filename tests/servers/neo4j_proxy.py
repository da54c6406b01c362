#!/usr/bin/env python3
"""Stands between a client and a Neo4j server, and makes things go wrong on the way.

usage: neo4j_proxy.py PORT FILE      writes its own port into FILE, until it is ended

What goes wrong stands in FILE.how, a line each; when that changes, requests are counted anew:
     cut, N       the N-th answer ends in its middle, and later ones are whole
     at, TEXT, COMMAND   before the first request with TEXT in it (its first line or body) the command
                  runs; then all goes on
     old          it says that it is an old server, without Query API
     count        nothing goes wrong
FILE.n holds how many requests there were.
"""
import http.client
import http.server
import json
import os
import socketserver
import subprocess
import sys
import threading

target, file = int(sys.argv[1]), sys.argv[2]
lock = threading.Lock()
state = {"how": None, "seen": 0, "done": False}


def note(text):
    """How this request goes wrong, and with which argument."""
    with lock:
        with open(file + ".how", encoding="utf-8") as lines:
            how = lines.read().split("\n")
        if how != state["how"]:
            state.update(how=how, seen=0, done=False)
        state["seen"] += 1
        with open(file + ".n", "w", encoding="ascii") as out:
            out.write(str(state["seen"]))
        if how[0] == "at" and not state["done"] and how[1].encode() in text:
            state["done"] = True
            subprocess.run(how[2], shell=True, check=True)
        return how[0] != "cut" and how[0] or state["seen"] == int(how[1]) and "cut"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def forward(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        how = note(self.requestline.encode() + body)
        try:
            connection = http.client.HTTPConnection("127.0.0.1", target)
            connection.request(self.command, self.path, body, dict(self.headers))
            answer = connection.getresponse()
            content = answer.read()
        except OSError:
            self.close_connection = True
            return
        if how == "old" and self.path == "/":
            content = json.dumps({"neo4j_version": "5.18.1", "neo4j_edition": "community"}).encode()
        self.send_response_only(answer.status)
        self.send_header("Content-Type", answer.headers.get("Content-Type", "application/json"))
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if how == "cut":
            content = content[: len(content) // 2]
            self.close_connection = True
        self.wfile.write(content)

    do_GET = do_POST = do_DELETE = forward


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True


server = Server(("127.0.0.1", 0), Handler)
with open(file + ".new", "w", encoding="ascii") as port:
    port.write(str(server.server_address[1]))
os.rename(file + ".new", file)
server.serve_forever()
