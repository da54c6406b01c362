#!/usr/bin/env python3
"""A stand-in for a Qdrant server, for tests: what the driver asks of one, answered as the real one does.

usage: qdrant_fake.py DIR [--version V] [--key K] [--read-key K] [--peers N]

Listens on a free port of 127.0.0.1, which it writes to DIR/port once it does; all it has lies in DIR, so
that it can be killed and started again; DIR/changes lists requests other than GET. Requests and answers are held against qdrant_contract.json: a
request that breaks it is answered 400 and noted in DIR/broken, and so is an answer of ours.

DIR/faults has a line for each fault, taken when its request comes:
    METHOD PATH-REGEX COUNT ACTION ARGUMENTS...
    status CODE WORDS     refused, in JSON          plain CODE WORDS   refused, in plain text
    cut                   the connection, before anything is done
    deaf                  the connection, behind it: done, and nobody hears of it
    body N                the connection, behind N bytes of the answer
    read N                the connection, behind N bytes of the request
    die                   the server, before anything is done
    die-body N            the server, behind N bytes of the answer
    flip                  a bit of the answer
    later WORDS           accepted, and it fails in the background
    slow                  accepted, and done in the background once somebody has written to the pipe
                          DIR/go; says so by DIR/held
    short                 a page without its first point
    half                  only the first half of a list of actions is done
    break WORDS           an upload that fails after it has begun to take the collection apart
"""
import argparse
import hashlib
import io
import json
import os
import random
import re
import struct
import sys
import tarfile
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

here = os.path.dirname(os.path.abspath(__file__))
contract = json.load(open(os.path.join(here, "qdrant_contract.json")))
kinds = {"string": str, "boolean": bool, "object": dict, "array": list, "null": type(None)}


# --- the contract ---

def is_kind(value, kind):
    if kind == "any":
        return True
    if kind == "integer":
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, kinds[kind])


def breach(shape, value, where):
    """What of value is not as the shape says; None."""
    if isinstance(shape, str):
        return None if any(is_kind(value, k) for k in shape.split("|")) else f"{where}: no {shape}"
    if isinstance(shape, list):
        if not isinstance(value, list):
            return f"{where}: no list"
        found = (breach(shape[0], item, where + "[]") for item in value)
        return next((f for f in found if f), None)
    if not isinstance(value, dict):
        return f"{where}: no object"
    for name, member in shape.items():
        if name == "*":
            continue
        if name.rstrip("?") in value:
            found = breach(member, value[name.rstrip("?")], f"{where}.{name.rstrip('?')}")
            if found:
                return found
        elif not name.endswith("?"):
            return f"{where}: {name} is missing"
    known = {name.rstrip("?") for name in shape}
    for name in value:
        if name in known:
            continue
        if "*" not in shape:
            return f"{where}: there is no {name}"
        found = breach(shape["*"], value[name], f"{where}.{name}")
        if found:
            return found
    return None


def query_breach(rule, query):
    for name, value in query.items():
        shape = rule.get("query", {}).get(name)
        if shape is None:
            return f"no parameter {name}"
        if shape == "integer" and not value.isdigit():
            return f"{name}: no integer"
        if shape == "boolean" and value not in ("true", "false"):
            return f"{name}: no boolean"
        if "|" in shape and value not in shape.split("|"):
            return f"{name}: none of {shape}"
    return None


def rule_of(method, path):
    for key, rule in contract.items():
        if not key:
            continue
        want, pattern = key.split()
        regex = re.sub(r"\{[a-z]\}", r"([^/]+)", pattern)
        match = re.fullmatch(regex, path)
        # A fixed name beats a parameter: /collections/aliases is no collection.
        if want == method and match and not (match.groups() and match.group(1) == "aliases" and
                                             pattern == "/collections/{c}"):
            return key, rule, [unquote(g) for g in match.groups()]
    return None, None, None


# --- snapshot files ---

def tar_header(name, size, kind=b"0", pieces=(), real=0):
    h = bytearray(512)
    h[0:len(name)] = name.encode()
    h[100:108] = b"0000644\0"
    h[108:116] = h[116:124] = b"0000000\0"
    h[124:136] = b"%011o\0" % size
    h[136:148] = b"%011o\0" % 0
    h[156:157] = kind
    h[257:265] = b"ustar  \0"
    for i, (offset, length) in enumerate(pieces[:4]):
        h[386 + 24 * i:398 + 24 * i] = b"%011o\0" % offset
        h[398 + 24 * i:410 + 24 * i] = b"%011o\0" % length
    if kind == b"S":
        h[482] = 1 if len(pieces) > 4 else 0
        h[483:495] = b"%011o\0" % real
    h[148:156] = b"        "
    h[148:156] = b"%06o\0 " % sum(h)
    return bytes(h)


def padded(data):
    return data + bytes(-len(data) % 512)


def plain(name, data):
    return tar_header(name, len(data)) + padded(data)


def sparse(name, size, pieces):
    """pieces: (offset, data). Those past the fourth go into further blocks of 21."""
    ranges = [(o, len(d)) for o, d in pieces] + [(size, 0)]
    data = b"".join(d for _, d in pieces)
    out = tar_header(name, len(data), b"S", ranges, size)
    rest = ranges[4:]
    while rest:
        block = bytearray(512)
        for i, (offset, length) in enumerate(rest[:21]):
            block[24 * i:24 * i + 24] = b"%011o\0%011o\0" % (offset, length)
        rest = rest[21:]
        block[504] = 1 if rest else 0
        out += bytes(block)
    return out + padded(data)


def vectors_of(points):
    out = bytearray()
    for p in points:
        vector = p.get("vector")
        if isinstance(vector, dict):
            vector = next((v for v in vector.values() if isinstance(v, list)), [])
        out += b"".join(struct.pack("<f", x) for x in vector or [] if isinstance(x, (int, float)))
    return bytes(out)


def segment_archive(points):
    lines = "".join(json.dumps(p, separators=(",", ":")) + "\n" for p in points).encode()
    vectors = vectors_of(points)
    size = max(1 << 20, len(vectors) + (1 << 16))
    files = [sparse("snapshot/vector_storage/matrix.dat", size, [(4096, vectors)]),
             sparse("snapshot/payload_storage/page_0.dat", len(lines) + (1 << 18), [(65536, lines)]),
             plain("snapshot/segment.json", b'{"version":1}')]
    return b"".join(files) + bytes(1024)


def make_archive(collection):
    """Segments change places from one to the next, as they do in the real one."""
    points = collection["points"]
    ids = sorted(points)
    segments = [[points[i] for i in ids if int(hashlib.md5(i.encode()).hexdigest(), 16) % 4 == s]
                for s in range(4)]
    entries = [sparse("0/wal/open-1", 1 << 20, [(i * 65536, bytes([i]) * 100) for i in range(8)])]
    for n, segment in enumerate(segments):
        name = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{collection['born']}{n}"))
        entries.append(plain(f"0/segments/{name}.tar", segment_archive(segment)))
    random.shuffle(entries)
    entries.append(plain("0/shard_config.json", b'{"type":"ReplicaSet"}'))
    entries.append(plain("0/replica_state.json", b'{"is_local":true}'))
    entries.append(plain("version.info", b"0.6.0"))
    entries.append(plain("config.json", json.dumps(collection["config"]).encode()))
    entries.append(plain("payload_index.json", json.dumps({"schema": collection["schema"]}).encode()))
    return b"".join(entries) + bytes(1024)


def read_archive(data):
    collection = {"points": {}, "born": str(uuid.uuid4())}
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as outer:
        for entry in outer:
            if entry.name == "config.json":
                collection["config"] = json.loads(outer.extractfile(entry).read())
            elif entry.name == "payload_index.json":
                collection["schema"] = json.loads(outer.extractfile(entry).read())["schema"]
            elif entry.name.startswith("0/segments/"):
                with tarfile.open(fileobj=outer.extractfile(entry), mode="r:") as inner:
                    page = inner.extractfile("snapshot/payload_storage/page_0.dat").read()
                for line in page[65536:].rstrip(b"\0").splitlines():
                    point = json.loads(line)
                    collection["points"][key_of(point["id"])] = point
    if "config" not in collection:
        raise tarfile.ReadError("no config")
    return collection


def key_of(point_id):
    """Sorts as the server does: numbers first."""
    return f"0{point_id:020}" if isinstance(point_id, int) else f"1{point_id}"


# --- the server's own state ---

class Refused(Exception):
    def __init__(self, status, words):
        super().__init__(words)
        self.status = status


class Store:
    """Collections in DIR/collections.json, snapshots in DIR/snapshots/COLLECTION/."""

    def __init__(self, folder):
        self.folder = folder
        self.lock = threading.RLock()
        self.path = os.path.join(folder, "collections.json")
        self.collections, self.aliases = {}, {}
        self.running, self.recovering, self.total = {}, {}, {}
        if os.path.exists(self.path):
            saved = json.load(open(self.path))
            self.collections, self.aliases = saved["collections"], saved["aliases"]

    def save(self):
        with open(self.path + ".new", "w") as f:
            json.dump({"collections": self.collections, "aliases": self.aliases}, f)
        os.rename(self.path + ".new", self.path)

    def find(self, name):
        name = self.aliases.get(name, name)
        if name not in self.collections:
            raise Refused(404, f"Not found: Collection `{name}` doesn't exist!")
        return name

    def get(self, name):
        name = self.find(name)
        if self.collections[name].get("dead"):
            raise Refused(500, "Service internal error: The replica set for shard 0 has no replica")
        return name, self.collections[name]

    def snapshots(self, name):
        return os.path.join(self.folder, "snapshots", name)

    def snapshot(self, name, snapshot):
        path = os.path.join(self.snapshots(name), os.path.basename(snapshot))
        if not os.path.isfile(path):
            raise Refused(404, f"Not found: Snapshot {snapshot}")
        return path

    def describe(self, path):
        checksum = path + ".checksum"
        return {"name": os.path.basename(path), "size": os.path.getsize(path),
                "creation_time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(os.path.getmtime(path))),
                "checksum": open(checksum).read() if os.path.exists(checksum) else None}

    def create(self, name, body):
        if name in self.collections:
            raise Refused(409, f"Wrong input: Collection `{name}` already exists!")
        if name in self.aliases:
            raise Refused(400, f"Wrong input: Can't create collection with name {name}. Alias with the "
                               "same name already exists")
        params = {k: body[k] for k in ("vectors", "sparse_vectors", "on_disk_payload") if body.get(k)}
        params.setdefault("vectors", {})
        params.setdefault("on_disk_payload", True)
        params.update(shard_number=body.get("shard_number") or 1, replication_factor=1,
                      write_consistency_factor=1)
        self.collections[name] = {
            "points": {}, "schema": {}, "born": str(uuid.uuid4()),
            "config": {"params": params, "hnsw_config": body.get("hnsw_config") or {"m": 16},
                       "optimizer_config": body.get("optimizers_config") or {},
                       "wal_config": body.get("wal_config") or {"wal_capacity_mb": 32}}}
        self.save()

    def drop(self, name):
        # Files of snapshots stay, as they do there.
        found = self.collections.pop(name, None) is not None
        self.aliases = {a: c for a, c in self.aliases.items() if c != name}
        self.save()
        return found

    def make_snapshot(self, name):
        name, collection = self.get(name)
        os.makedirs(self.snapshots(name), exist_ok=True)
        data = make_archive(collection)
        stamp = time.strftime("%Y-%m-%d-%H-%M-%S", time.gmtime())
        path = os.path.join(self.snapshots(name), f"{name}-6502343254892175-{stamp}.snapshot")
        with open(path + ".checksum", "w") as f:
            f.write(hashlib.sha256(data).hexdigest())
        with open(path + ".tmp", "wb") as f:
            f.write(data)
        os.rename(path + ".tmp", path)
        return self.describe(path)

    def recover(self, name, data):
        try:
            new = read_archive(data)
        except (tarfile.TarError, KeyError, ValueError) as why:
            raise Refused(500, f"Service internal error: failed to unpack snapshot: {why}") from why
        old = self.collections.get(name)
        if old:
            for key in ("vectors", "shard_number"):
                if old["config"]["params"].get(key) != new["config"]["params"].get(key):
                    raise Refused(400, "Wrong input: Snapshot is not compatible with existing "
                                       f"collection: Collection {key}")
            new["config"], new["schema"] = old["config"], old["schema"]
        self.collections[name] = new
        self.save()
        return True


def filtered(points, condition):
    """The part of filters that tests use: {"must": [{"key": K, "match": {"value": V}}]}."""
    for clause in (condition or {}).get("must", []):
        points = [p for p in points if (p.get("payload") or {}).get(clause["key"]) == clause["match"]["value"]]
    return points


# --- requests ---

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server_version = "actix"

    def log_message(self, *args):
        pass

    # One entrance for all methods.
    def do_any(self):
        self.fault = None
        parts = urlsplit(self.path)
        if self.command != "GET":
            with open(os.path.join(self.server.store.folder, "changes"), "a") as f:
                f.write(f"{self.command} {self.path}\n")
        try:
            self.pick_fault(parts.path)
            self.check_key(parts.path)
            self.handle_request(parts)
        except Refused as why:
            self.answer_json(why.status, {"status": {"error": str(why)}, "time": 0.0})
        except PermissionError as why:
            self.answer(401, "text/plain", str(why).encode())
        except (ConnectionError, BrokenPipeError):
            self.close_connection = True

    do_GET = do_PUT = do_POST = do_DELETE = do_any

    def pick_fault(self, path):
        with self.server.store.lock:
            self.pick_fault_locked(path)
        if not self.fault:
            return
        what = self.fault[0]
        if what == "die":
            os._exit(9)
        if what == "cut":
            self.cut()
        if what == "status":
            self.read_body()
            raise Refused(int(self.fault[1]), " ".join(self.fault[2:]))
        if what == "plain":
            self.read_body()
            self.answer(int(self.fault[1]), "text/plain", " ".join(self.fault[2:]).encode())
            raise ConnectionError

    def pick_fault_locked(self, path):
        faults = os.path.join(self.server.store.folder, "faults")
        if not os.path.exists(faults):
            return
        lines = open(faults).read().splitlines()
        for i, line in enumerate(lines):
            method, regex, count, *action = line.split()
            if method != self.command or not re.fullmatch(regex, path) or count == "0":
                continue
            lines[i] = " ".join([method, regex, str(int(count) - 1), *action])
            self.fault = action
            with open(faults + ".new", "w") as f:
                f.write("\n".join(lines) + "\n")
            os.rename(faults + ".new", faults)
            return

    def is_fault(self, name):
        return self.fault is not None and self.fault[0] == name

    def cut(self):
        self.connection.shutdown(2)
        raise ConnectionError

    def check_key(self, path):
        options = self.server.options
        self.writes = True
        if not options.key or path in ("/", "/readyz"):
            return
        given = self.headers.get("api-key") or self.headers.get("Authorization", "").removeprefix("Bearer ")
        if not given:
            self.read_body()
            raise PermissionError("Must provide an API key or an Authorization bearer token")
        if given not in (options.key, options.read_key):
            self.read_body()
            raise PermissionError("Invalid API key or JWT")
        self.writes = given == options.key

    def need_write(self):
        if not self.writes:
            raise Refused(403, "Forbidden: Global manage access is required")

    def read_body(self):
        length = int(self.headers.get("Content-Length") or 0)
        if self.is_fault("read"):
            self.rfile.read(min(length, int(self.fault[1])))
            self.cut()
        return self.rfile.read(length)

    def broken(self, why):
        with open(os.path.join(self.server.store.folder, "broken"), "a") as f:
            f.write(f"{self.command} {self.path}: {why}\n")

    def handle_request(self, parts):
        key, rule, names = rule_of(self.command, parts.path)
        if not key:
            self.read_body()
            self.broken("no such request")
            raise Refused(404, "no such request")
        query = {k: v[0] for k, v in parse_qs(parts.query).items()}
        raw = self.read_body()
        body = None
        why = query_breach(rule, query)
        if not why and "body" in rule:
            if len(raw) > 32 << 20:
                raise Refused(400, "Payload error: JSON payload has exceeded limit (33554432 bytes).")
            try:
                body = json.loads(raw)
                why = breach(rule["body"], body, "body")
            except ValueError as error:
                why = f"body: {error}"
        if not why and "form" in rule and "multipart/form-data" not in self.headers.get("Content-Type", ""):
            why = "no form"
        if why:
            self.broken(why)
            raise Refused(400, f"Format error in JSON body: {why}")
        self.route(key, rule, names, query, raw if "form" in rule else body)

    def route(self, key, rule, names, query, body):
        method = routes[key]
        if key == "GET /collections/{c}/snapshots/{s}":
            return self.send_snapshot(*names)
        if "snapshots" in key and query.get("wait") == "false":
            threading.Thread(target=self.quietly, args=(method, names, query, body)).start()
            if self.is_fault("deaf"):
                self.cut()
            return self.answer_json(202, {"status": "accepted", "time": 0.0})
        if self.is_fault("later"):
            raise Refused(500, " ".join(self.fault[1:]))
        result = method(self, *names, query=query, body=body)
        if self.is_fault("deaf"):
            self.cut()
        if "plain" in rule:
            return self.answer(200, "text/plain", result.encode())
        shape = rule.get("bare") or rule.get("result")
        why = breach(shape, result, "result")
        if why:
            self.broken("our answer: " + why)
        self.answer_json(200, result if "bare" in rule else {"result": result, "status": "ok", "time": 0.0})
        return None

    def quietly(self, method, names, query, body):
        try:
            if self.is_fault("later"):
                return
            method(self, *names, query=query, body=body)
        except (Refused, OSError):
            pass

    # --- answers ---

    def answer_json(self, status, value):
        self.answer(status, "application/json", json.dumps(value, separators=(",", ":")).encode())

    def answer(self, status, kind, data, headers=()):
        if self.is_fault("flip") and data:
            data = bytearray(data)
            data[len(data) // 2] ^= 1
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        if self.fault and self.fault[0] in ("body", "die-body"):
            self.wfile.write(data[:int(self.fault[1])])
            self.wfile.flush()
            if self.fault[0] == "die-body":
                os._exit(9)
            self.cut()
        self.wfile.write(data)

    def send_snapshot(self, name, snapshot):
        store = self.server.store
        name = store.find(name)
        data = open(store.snapshot(name, snapshot), "rb").read()
        etag = '"%s"' % hashlib.md5(data).hexdigest()
        headers = [("ETag", etag), ("Accept-Ranges", "bytes"),
                   ("Content-Disposition", f'attachment; filename="{snapshot}"')]
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if match and self.headers.get("If-Range", etag) == etag and int(match.group(1)) < len(data):
            first = int(match.group(1))
            headers.append(("Content-Range", f"bytes {first}-{len(data) - 1}/{len(data)}"))
            return self.answer(206, "application/octet-stream", data[first:], headers)
        return self.answer(200, "application/octet-stream", data, headers)

    # --- what is asked ---

    def root(self, query, body):
        return {"title": "qdrant - vector search engine", "version": self.server.options.version}

    def ready(self, query, body):
        return "all shards are ready"

    def cluster(self, query, body):
        peers = self.server.options.peers
        if peers < 2:
            return {"status": "disabled"}
        return {"status": "enabled", "peer_id": 1, "peers": {str(i): {"uri": "http://"} for i in range(peers)}}

    def telemetry(self, query, body):
        store = self.server.store
        out = {"number_of_collections": len(store.collections)}
        if query.get("details_level", "0") >= "2" and self.server.minor >= 16:
            out["snapshots"] = [{"id": c, "running_snapshots": store.running.get(c, 0),
                                 "running_snapshot_recovery": store.recovering.get(c, 0),
                                 "total_snapshot_creations": store.total.get(c, 0)}
                                for c in store.collections]
        return {"id": "fake", "collections": out}

    def list_collections(self, query, body):
        return {"collections": [{"name": c} for c in self.server.store.collections]}

    def list_aliases(self, query, body):
        return {"aliases": [{"alias_name": a, "collection_name": c}
                            for a, c in self.server.store.aliases.items()]}

    def update_aliases(self, query, body):
        self.need_write()
        store = self.server.store
        with store.lock:
            actions, aliases = body["actions"], dict(store.aliases)
            for n, action in enumerate(actions):
                if self.is_fault("half") and n == (len(actions) + 1) // 2:
                    store.aliases = aliases
                    store.save()
                    raise Refused(500, "Service internal error: stopped half-way")
                if "delete_alias" in action:
                    aliases.pop(action["delete_alias"]["alias_name"], None)
                if "create_alias" in action:
                    name = action["create_alias"]["alias_name"]
                    if name in store.collections:
                        raise Refused(409, f"Wrong input: Collection `{name}` already exists!")
                    aliases[name] = store.get(action["create_alias"]["collection_name"])[0]
            store.aliases = aliases
            store.save()
        return True

    def info(self, name, query, body):
        _, c = self.server.store.get(name)
        return {"status": "green", "optimizer_status": "ok", "indexed_vectors_count": 0,
                "points_count": len(c["points"]), "segments_count": 4, "config": c["config"],
                "payload_schema": {k: {"data_type": v, "points": len(c["points"])}
                                   for k, v in c["schema"].items()}}

    def create(self, name, query, body):
        self.need_write()
        with self.server.store.lock:
            self.server.store.create(name, body)
        return True

    def delete(self, name, query, body):
        self.need_write()
        with self.server.store.lock:
            return self.server.store.drop(name)

    def index(self, name, query, body):
        self.need_write()
        store = self.server.store
        with store.lock:
            schema = body.get("field_schema")
            store.get(name)[1]["schema"][body["field_name"]] = (
                schema["type"] if isinstance(schema, dict) else schema)
            store.save()
        return {"operation_id": 1, "status": "completed"}

    def list_snapshots(self, name, query, body):
        store = self.server.store
        name = store.find(name)
        folder = store.snapshots(name)
        files = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
        return [store.describe(os.path.join(folder, f)) for f in files if f.endswith(".snapshot")]

    def snapshot(self, name, query, body):
        store = self.server.store
        self.need_write()
        store.running[name] = store.running.get(name, 0) + 1
        store.total[name] = store.total.get(name, 0) + 1
        try:
            if self.is_fault("slow"):
                open(os.path.join(store.folder, "held"), "w").close()
                open(os.path.join(store.folder, "go")).close()
            return store.make_snapshot(name)
        finally:
            store.running[name] -= 1

    def delete_snapshot(self, name, snapshot, query, body):
        self.need_write()
        store = self.server.store
        name = store.find(name)
        path = store.snapshot(name, snapshot)
        os.remove(path)
        if os.path.exists(path + ".checksum"):
            os.remove(path + ".checksum")
        return True

    def upload(self, name, query, body):
        self.need_write()
        store = self.server.store
        boundary = re.search(r"boundary=([^;]+)", self.headers["Content-Type"]).group(1).encode()
        part = body.split(b"--" + boundary)[1]
        head, data = part.split(b"\r\n\r\n", 1)
        data = data[:-2]
        if b'name="snapshot"' not in head:
            raise Refused(400, "Multipart error: Field snapshot is missing")
        checksum = hashlib.sha256(data).hexdigest()
        if query.get("checksum") and checksum != query["checksum"]:
            # It does say them the wrong way round.
            raise Refused(400, f"Checksum mismatch: expected {checksum}, actual {query['checksum']}")
        file_name = re.search(rb'filename="([^"]*)"', head).group(1).decode()
        os.makedirs(store.snapshots(name), exist_ok=True)
        with open(os.path.join(store.snapshots(name), os.path.basename(file_name)), "wb") as f:
            f.write(data)
        with store.lock:
            if self.is_fault("break"):
                broken = store.collections.setdefault(name, read_archive(data))
                broken["points"] = {}
                broken["dead"] = True
                store.save()
                raise Refused(500, " ".join(self.fault[1:]))
            store.collections.get(name, {}).pop("dead", None)
            return store.recover(name, data)

    def put_points(self, name, query, body):
        self.need_write()
        store = self.server.store
        with store.lock:
            points = store.get(name)[1]["points"]
            for p in body["points"]:
                points[key_of(p["id"])] = {"id": p["id"], "payload": p.get("payload"), "vector": p["vector"]}
            store.save()
        return {"operation_id": 1, "status": "completed"}

    def delete_points(self, name, query, body):
        self.need_write()
        store = self.server.store
        with store.lock:
            points = store.get(name)[1]["points"]
            for point_id in body["points"]:
                points.pop(key_of(point_id), None)
            store.save()
        return {"operation_id": 1, "status": "completed"}

    def scroll(self, name, query, body):
        with self.server.store.lock:
            all_points = self.server.store.get(name)[1]["points"]
            points = [all_points[k] for k in sorted(all_points)]
        points = filtered(points, body.get("filter"))
        if body.get("offset") is not None:
            points = [p for p in points if key_of(p["id"]) >= key_of(body["offset"])]
        if self.is_fault("short"):
            points = points[1:]
        limit = body.get("limit") or 10
        after = points[limit]["id"] if len(points) > limit else None
        return {"points": points[:limit], "next_page_offset": after}

    def count(self, name, query, body):
        _, c = self.server.store.get(name)
        return {"count": len(filtered(list(c["points"].values()), body.get("filter")))}


routes = {
    "GET /": Handler.root,
    "GET /readyz": Handler.ready,
    "GET /cluster": Handler.cluster,
    "GET /telemetry": Handler.telemetry,
    "GET /collections": Handler.list_collections,
    "GET /aliases": Handler.list_aliases,
    "POST /collections/aliases": Handler.update_aliases,
    "GET /collections/{c}": Handler.info,
    "PUT /collections/{c}": Handler.create,
    "DELETE /collections/{c}": Handler.delete,
    "PUT /collections/{c}/index": Handler.index,
    "GET /collections/{c}/snapshots": Handler.list_snapshots,
    "POST /collections/{c}/snapshots": Handler.snapshot,
    "POST /collections/{c}/snapshots/upload": Handler.upload,
    "GET /collections/{c}/snapshots/{s}": Handler.send_snapshot,
    "DELETE /collections/{c}/snapshots/{s}": Handler.delete_snapshot,
    "PUT /collections/{c}/points": Handler.put_points,
    "POST /collections/{c}/points/delete": Handler.delete_points,
    "POST /collections/{c}/points/scroll": Handler.scroll,
    "POST /collections/{c}/points/count": Handler.count,
}


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], ConnectionError):
            with open(os.path.join(self.store.folder, "broken"), "a") as f:
                f.write(f"the fake itself: {sys.exc_info()[1]!r}\n")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--version", default="1.18.2")
    parser.add_argument("--key")
    parser.add_argument("--read-key")
    parser.add_argument("--peers", type=int, default=1)
    options = parser.parse_args()
    os.makedirs(options.folder, exist_ok=True)
    port_file = os.path.join(options.folder, "port")
    # Where it has been before: clients know that port.
    port = int(open(port_file).read()) if os.path.exists(port_file) else 0
    server = Server(("127.0.0.1", port), Handler)
    server.options = options
    server.minor = int(options.version.split(".")[1])
    server.store = Store(options.folder)
    with open(port_file + ".new", "w") as f:
        f.write(str(server.server_address[1]))
    os.rename(port_file + ".new", port_file)
    print("ready", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
