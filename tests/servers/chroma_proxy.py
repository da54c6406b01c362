#!/usr/bin/env python3
"""A proxy before a Chroma server that does harm: PORTFILE UPSTREAM RULES
RULES is a file with a rule in each line, read anew when another one takes its place. A rule is METHOD
SUBSTRING FIRST[-LAST] ACTION, in one word with commas. It is for those requests whose path has the
substring, counted from 1. Actions:
  status:N        answers N with the words of a proxy, and passes nothing on
  cut:BYTES       passes it on, and closes after so many bytes of the answer
  drop            closes before it is passed on
  lost            passes it on, and closes without an answer
  body:BYTES      answers 413 when the request is larger
  token:TEXT      answers 401 unless it is authorized by that, as a bearer or a password
  kill:PID        ends that process, or the one whose number is in that file, and closes
  empty           answers 200 and {}
The port is written to PORTFILE, and a line to descriptor 3 once it listens. A line for each request goes to the standard output."""
import base64
import http.client
import http.server
import os
import signal
import sys
import threading

portfile, upstream, rules_file = sys.argv[1:]
host, port = upstream.split("//")[1].split(":")
rules, rules_read = [], None
lock = threading.Lock()


def read_rule(rule):
    method, part, span, action = rule.split(",", 3)
    first, _, last = span.partition("-")
    return {"method": method, "part": part, "first": int(first),
            "last": int(last) if last else (10**9 if "-" in span else int(first)),
            "action": action.partition(":"), "seen": 0}


def picked(method, path):
    """The actions that are for this request."""
    global rules, rules_read
    with lock:
        there = os.stat(rules_file)
        if (there.st_ino, there.st_mtime_ns) != rules_read:
            rules = [read_rule(line) for line in open(rules_file).read().split()]
            rules_read = (there.st_ino, there.st_mtime_ns)
        asked = [r for r in rules if r["method"] == method and r["part"] in path]
        for rule in asked:
            rule["seen"] += 1
        return [r["action"] for r in asked if r["first"] <= r["seen"] <= r["last"]]


class Cut(Exception):
    pass


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def answer(self, status, body, kind="application/json"):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def pass_on(self, body):
        server = http.client.HTTPConnection(host, int(port))
        headers = {"Content-Type": "application/json"} if body else {}
        server.request(self.command, self.path, body, headers)
        answer = server.getresponse()
        data = answer.read()
        server.close()
        return answer.status, answer.getheader("content-type") or "text/plain", data

    def authorized(self, token):
        head = self.headers.get("Authorization") or ""
        if head == "Bearer " + token:
            return True
        return head.startswith("Basic ") and \
            base64.b64decode(head[6:]).decode().endswith(":" + token)

    def act(self, action, argument, body):
        """True: done with it."""
        if action == "status":
            self.answer(int(argument), b"the proxy says no", "text/plain")
        elif action == "empty":
            self.answer(200, b"{}")
        elif action == "body":
            if len(body) <= int(argument):
                return False
            self.answer(413, b"<html>413 Request Entity Too Large</html>", "text/html")
        elif action == "token":
            if self.authorized(argument):
                return False
            self.answer(401, b"who are you", "text/plain")
        elif action == "drop":
            raise Cut
        elif action == "lost":
            self.pass_on(body)
            raise Cut
        elif action == "kill":
            os.kill(int(open(argument).read() if "/" in argument else argument), signal.SIGKILL)
            raise Cut
        elif action == "cut":
            status, kind, data = self.pass_on(body)
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[:int(argument)])
            raise Cut
        return True

    def handle_any(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            for action, _, argument in picked(self.command, self.path):
                if self.act(action, argument, body):
                    return
            status, kind, data = self.pass_on(body)
            self.answer(status, data, kind)
        except (Cut, OSError, http.client.HTTPException):
            self.close_connection = True
        finally:
            print(self.command, self.path, len(body), flush=True)

    do_GET = do_POST = do_PUT = do_DELETE = handle_any


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
server.daemon_threads = True
with open(portfile + ".new", "w") as file:
    file.write(str(server.server_address[1]))
os.rename(portfile + ".new", portfile)
os.write(3, b"ready\n")
os.close(3)
server.serve_forever()
