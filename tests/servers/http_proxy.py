#!/usr/bin/env python3
"""A proxy before an HTTP server that does what it should, but for what a list of rules says.

http_proxy.py URL FOLDER    writes its own address to FOLDER/url; reads FOLDER/rules before each
                            request: JSON, a list of rules; a new list begins to count anew

A rule: {"match": REGEX of "METHOD PATH", "from": the n-th that matches (1), "times": how many (all),
"do": ...}, and with it:
  answer   "status", "body", "type": without asking the server
  replace  "what" (regex) and "by", in the body of the server's answer
  items    "status": of each document of a bulk request, without asking the server
  cut      "after": bytes of the body, then the connection ends
  lose     the server is asked, and its answer lost
  drop     the connection ends at once
  first    "request": [METHOD, PATH] is sent to the server before this one
  wait     FOLDER/waiting is made, and nothing done until FOLDER/go is there
Each line of FOLDER/log is a request.
"""
import http.client
import http.server
import json
import os
import re
import socketserver
import sys
import threading
import urllib.parse

target, folder = urllib.parse.urlparse(sys.argv[1]), sys.argv[2]
lock = threading.Lock()
state = {'text': '', 'rules': [], 'seen': []}


def chosen(request):
    with lock:
        with open(os.path.join(folder, 'log'), 'a') as log:
            log.write(request + '\n')
        try:
            with open(os.path.join(folder, 'rules')) as f:
                text = f.read()
        except FileNotFoundError:
            text = '[]'
        if text != state['text']:
            state.update(text=text, rules=json.loads(text), seen=[0] * len(json.loads(text)))
        for i, rule in enumerate(state['rules']):
            if not re.search(rule['match'], request):
                continue
            state['seen'][i] += 1
            begin = rule.get('from', 1)
            if begin <= state['seen'][i] < begin + rule.get('times', 1 << 30):
                return rule
    return {'do': ''}


def ask(method, path, body, headers):
    connection = http.client.HTTPConnection(target.hostname, target.port, timeout=300)
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    result = answer.status, answer.getheader('Content-Type'), answer.read()
    connection.close()
    return result


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def log_message(self, *args):
        pass

    def end(self):
        self.close_connection = True
        self.connection.shutdown(2)

    def reply(self, status, kind, body, after=None):
        self.send_response(status)
        if kind:
            self.send_header('Content-Type', kind)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body if after is None else body[:after])
        if after is not None:
            self.wfile.flush()
            self.end()

    def handle_any(self):
        length = int(self.headers.get('Content-Length') or 0)
        body = self.rfile.read(length) if length else None
        rule = chosen(f'{self.command} {self.path}')
        what = rule['do']
        headers = {k: v for k, v in self.headers.items() if k.lower() not in ('host', 'connection')}
        if what == 'drop':
            return self.end()
        if what == 'answer':
            return self.reply(rule['status'], rule.get('type', 'application/json'), rule['body'].encode())
        if what == 'items':
            item = {'index': {'status': rule['status'], 'error': {'type': 'made_up_exception', 'reason': 'as told'}}}
            n = body.count(b'\n') // 2
            return self.reply(200, 'application/json', json.dumps({'errors': True, 'items': [item] * n}).encode())
        if what == 'first':
            ask(*rule['request'], None, {})
        if what == 'wait':
            open(os.path.join(folder, 'waiting'), 'w').close()
            while not os.path.exists(os.path.join(folder, 'go')):
                threading.Event().wait(0.02)
        try:
            status, kind, answer = ask(self.command, self.path, body, headers)
        except OSError:
            return self.end()
        if what == 'lose':
            return self.end()
        if what == 'replace':
            answer = re.sub(rule['what'].encode(), rule['by'].encode(), answer)
        return self.reply(status, kind, answer, rule.get('after') if what == 'cut' else None)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = handle_any


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    request_queue_size = 64


server = Server(('127.0.0.1', 0), Handler)
with open(os.path.join(folder, 'url.new'), 'w') as f:
    f.write(f'http://127.0.0.1:{server.server_port}\n')
os.rename(os.path.join(folder, 'url.new'), os.path.join(folder, 'url'))
server.serve_forever()
