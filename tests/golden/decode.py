#!/usr/bin/python3
# A second reader of the repository format, written from bakfs-repository(5) and from nothing else.
# It decodes every object of the golden repository, accounts for every byte, recomputes every hash,
# total and sum, and compares what it found with expected.json. The objects are in reader.py.
# usage: decode.py FOLDER        with repo/, key, expected.json in it. Exit status 77: modules missing
import hashlib
import json
import os
import re
import struct
import sys
import time

sys.dont_write_bytecode = True
try:
    from parity import Parity
    from reader import (
        BYTES,
        Bytes,
        DATA,
        FOOTER,
        HOLE,
        INNER,
        LINKS,
        LINK_NAMES,
        MiB,
        NAMES,
        PAGE,
        Pack,
        Payload,
        Repository,
        SPAN,
        TREE,
        TYPES,
        check,
        is_hex,
        is_time,
        mac,
        read_inode,
        read_object,
        seen,
        union,
        unzstd,
    )
except ImportError as missing:
    print(f"skipped: {missing} (packages python3-cryptography, python3-zstandard)")
    sys.exit(77)


# --- the content of a repository ---


class Store:
    """Segments by id and tree objects by place, out of all packs."""

    def __init__(self, repo):
        self.repo = repo
        self.packs = [Pack(repo, name) for name in repo.below("packs")]
        self.copies = {}
        for pack in self.packs:
            for segment in pack.segments:
                self.copies.setdefault(segment.id, []).append((pack.id, segment))
        self.used = {}  # segment id -> ranges of data that extents or footers name
        self.hashed = {}
        self.compare_copies()
        self.objects = {}
        for key, copies in self.copies.items():
            if copies[0][1].type == TREE:
                check(len({pack for pack, _ in copies}) >= 2, "a tree segment stored once")
                self.load_tree(key, copies[0][1].parts[0])
        self.check_nodes()
        self.gear = [
            struct.unpack("<Q", mac(repo.ring.gear_key, bytes([i]))[:8])[0] for i in range(256)
        ]

    def compare_copies(self):
        for copies in self.copies.values():
            whole = [s for _, s in copies if not s.flags & 1]
            for _, segment in copies:
                for off, data in segment.parts.items():
                    check(whole[0].get(off, len(data)) == data, "copies that differ")

    def load_tree(self, key, raw):
        b = Bytes(raw)
        while b.at < len(raw):
            off = b.at
            kind, length = b.u8(), b.u32()
            place = key + (off, 5 + length)
            self.objects[place] = kind, read_object(kind, b.take(length))

    def check_nodes(self):
        listed = set()
        for pack in self.packs:
            for segment, off, length, digest, span_len in pack.nodes:
                kind, span = self.objects[segment.id + (off, length)]
                check(kind == SPAN and span["hash"] == digest, "a node in a footer")
                check(span["len"] == span_len, "length of a span in a footer")
                listed.add(segment.id + (off, length))
            for segment, off, length, _ in pack.chunks:
                self.used.setdefault(segment.id, []).append((off, length))
        spans = {place for place, (kind, _) in self.objects.items() if kind == SPAN}
        check(listed == spans, "span nodes that no footer lists")

    def bytes(self, key, off, length):
        self.used.setdefault(key, []).append((off, length))
        for _, segment in self.copies[key]:
            data = segment.get(off, length)
            if data is not None:
                return data
        raise AssertionError("no copy of a segment keeps what is needed")

    def extents(self, content, size):
        """All extents of a file in order, span by span: yields lists."""
        if isinstance(content, list):
            yield None, content
            return
        kind, reference = content
        check(kind in (2, 3), "content")
        yield from self.below(kind, reference, size)

    def below(self, kind, reference, size):
        found, value = self.objects[reference]
        check(found == (SPAN if kind == 2 else INNER), "what a reference names")
        if found == SPAN:
            check(value["len"] == size, "length of a span")
            yield value, value["extents"]
            return
        check(sum(length for _, length, _ in value) == size, "lengths of an inner node")
        for line, length, below in value:
            if line >= 2:
                yield from self.below(line, below, length)
            else:
                yield None, [(line, length, None, None)]

    def check_span(self, span):
        """Recomputes the keyed hash of a span, and where its chunks end."""
        place = id(span)
        if place in self.hashed:
            return
        self.hashed[place] = span
        message, run, lengths = b"", b"", list(span["chunks"])

        def chunks():
            nonlocal message, run
            while run:
                n = lengths.pop(0)
                check(0 < n <= len(run), "chunks that do not fit their span")
                self.check_cut(run, n)
                message += b"\0" + mac(self.repo.ring.id_key, run[:n])[:16]
                run = run[n:]

        for kind, length, segment, off in span["extents"]:
            if kind == BYTES:
                run += self.bytes(segment, off, length)
                continue
            chunks()
            message += struct.pack("<BQ", 1 if kind == HOLE else 2, length)
        chunks()
        check(not lengths, "chunks beyond their span")
        check(mac(self.repo.ring.id_key, message)[:16] == span["hash"], "hash of a span")

    def check_cut(self, run, n):
        """The chunk that begins run ends where a writer cuts, unless the bytes end there."""
        c = self.repo.json["chunker"]
        bits = c["avg"].bit_length() - 1
        check(n <= c["max"], "a chunk too long")
        if n == len(run):
            run = run[:n]
        h, zero = 0, False
        for end in range(max(0, c["min"] - 64), min(n, len(run))):
            h = (h << 1) + self.gear[run[end]] & (1 << 64) - 1
            length = end + 1
            if length < c["min"]:
                continue
            zero = h >> 64 - (bits + 2 if length < c["avg"] else bits - 2) == 0
            if zero or length == c["max"]:
                check(length == n, "a chunk goes on behind a cut")
        check(zero or n == c["max"] or n == len(run), "a chunk ends where nothing cuts")

    def file(self, inode):
        """SHA-256 and hole map, from the extents."""
        sha, holes, at, size = hashlib.sha256(), [], 0, inode["size"]
        summed = not inode["flags"] & 4
        for span, extents in self.extents(inode["content"], size):
            if span:
                self.check_span(span)
            for kind, length, segment, off in extents:
                if kind == BYTES:
                    sha.update(self.bytes(segment, off, length))
                elif summed:
                    for part in range(0, length, MiB):
                        sha.update(bytes(min(MiB, length - part)))
                if kind == HOLE and holes and sum(holes[-1]) == at:
                    holes[-1][1] += length
                elif kind == HOLE:
                    holes.append([at, length])
                at += length
        check(at == size, "size of a file")
        check(inode["sha256"] == (sha.digest() if summed else bytes(32)), "SHA-256 of a file")
        check(bool(inode["flags"] & 8) == (not holes), "the flag of files without holes")
        return sha.hexdigest() if summed else None, holes

    def check_all_used(self):
        """Every byte of every data segment is a chunk's or an extent's."""
        for key, copies in self.copies.items():
            if copies[0][1].type == DATA:
                size = max(s.size for _, s in copies if s.size is not None)
                check(union(self.used[key]) == size, "bytes of a segment that nothing names")


# --- snapshots ---


def sums_line(path):
    """Length of a checksum line, and whether it begins with a backslash."""
    escaped = re.sub(rb"[\\\n\r]", lambda m: b"\\" + m[0], path)
    return 64 + 2 + len(escaped) + 1 + (escaped != path), escaped != path


class Snapshot:
    def __init__(self, repo, store, name):
        self.store = store
        payload = repo.object(name)
        length = struct.unpack("<I", payload[:4])[0]
        b = Payload(unzstd(payload[4:], length))
        check(b.u8() == 1, "version of a snapshot")
        self.number = b.varint()
        check(name == f"snapshots/{self.number}", "number of a snapshot")
        self.head = {}
        for key in ("store", "driver", "host", "run", "type", "description"):
            self.head[key] = b.string().decode()
        stamp, self.run_stamp, self.added = b.zigzag(), b.zigzag(), b.varint()
        self.head["stamp"] = stamp
        self.run_stores = [b.string().decode() for _ in range(b.varint())]
        root = Payload(b.take(b.varint()))
        root.head()
        check(root.u8() == 2, "type of the root")
        self.root = read_inode(root, 2)
        root.done()
        n_links, self.link_bytes = b.varint(), b.varint()
        top = None
        if n_links:
            b.table()
            top = b.reference()
        next_link = b.varint()
        self.manifest = json.loads(b.string())
        b.done()
        self.links = {number: (count, inode) for number, count, inode in self.link_table(top)}
        check(len(self.links) == n_links, "count of links")
        check(all(number < next_link for number in self.links), "next link number")
        sizes = [i["size"] for _, i in self.links.values() if i["type"] == "file"]
        check(sum(sizes) == self.link_bytes, "bytes of links")
        self.names_of = {number: 0 for number in self.links}
        self.entries = {}
        self.walk_root()

    def link_table(self, place):
        if place is None:
            return []
        kind, value = self.store.objects[place]
        if kind == LINKS:
            return value
        check(kind == LINK_NAMES, "top of a link table")
        out = []
        for first, below, count in value:
            links = self.link_table(below)
            check(links[0][0] == first and len(links) == count, "line of first links")
            out += links
        check(all(x[0] < y[0] for x, y in zip(out, out[1:])), "order of links")
        return out

    def walk_root(self):
        self.describe(b"", self.root)
        files, totals = self.walk(b"", self.root)
        check(totals == self.root["totals"], "totals of the root")
        check(len(self.entries) == 1 + totals[0], "count of entries")
        for number, (count, _) in self.links.items():
            check(self.names_of[number] == count, "count of a link's names")

    def walk(self, path, folder):
        """The files below a folder, with paths relative to it, and its totals."""
        if folder["top"] is None:
            return [], (0, 0, 0, 0, 0)
        return self.walk_page(path, folder["top"])[:2]

    def walk_page(self, path, place):
        kind, value = self.store.objects[place]
        if kind == PAGE:
            return self.walk_entries(path, value)
        check(kind == NAMES, "top of a folder")
        files, sums, first = [], (0, 0, 0, 0, 0), None
        for name, below, totals in value:
            more, theirs, their_first = self.walk_page(path, below)
            check(theirs == totals and their_first == name, "line of first names")
            files += more
            sums = tuple(a + b for a, b in zip(sums, totals))
            first = first or name
        return files, sums, first

    def walk_entries(self, path, entries):
        files, n, n_bytes = [], 0, 0
        for name, kind, link, inode in entries:
            whole = path + b"/" + name if path else name
            if link is not None:
                inode = self.links[link][1]
                check(inode["type"] == TYPES[kind], "type of a link")
                self.names_of[link] += 1
            self.describe(whole, inode, link)
            n += 1
            if kind == 1 and not inode["flags"] & 4:
                files.append(name)
            if kind == 1 and link is None:
                n_bytes += inode["size"]
            if kind == 2:
                more, totals = self.walk(whole, inode)
                check(totals == inode["totals"], "totals of a folder")
                n, n_bytes = n + totals[0], n_bytes + totals[3]
                files += [name + b"/" + file for file in more]
        lines = [sums_line(file) for file in files]
        escaped = sum(1 for _, e in lines if e)
        totals = n, len(files), escaped, n_bytes, sum(length for length, _ in lines)
        return files, totals, entries[0][0]

    def describe(self, path, inode, link=None):
        """As expected.json has it."""
        facts = ("type", "mode", "owner", "mtime", "ctime", "ino", "size", "target", "device")
        out = {key: inode[key] for key in facts if key in inode}
        if inode["xattrs"]:
            out["xattrs"] = inode["xattrs"]
        if inode["flags"]:
            out["flags"] = inode["flags"]
        if link is not None:
            out["nlink"] = self.links[link][0]
        if inode["type"] == "file":
            out["sha256"], holes = hashlib.sha256().hexdigest(), []
            if inode["size"]:
                out["sha256"], holes = self.store.file(inode)
            if holes:
                out["holes"] = holes
        self.entries[path.decode("latin-1")] = out


# --- comparing ---


def expected_entries(snapshots, number):
    wanted = snapshots[number]
    if "like" not in wanted:
        return wanted["entries"]
    entries = dict(snapshots[wanted["like"]]["entries"])
    entries.update(wanted["changed"])
    for path in wanted["removed"]:
        del entries[path]
    return entries


def compare(snapshot, snapshots):
    number = str(snapshot.number)
    wanted, found = expected_entries(snapshots, number), snapshot.entries
    for path in sorted(set(wanted) | set(found)):
        check(
            wanted.get(path) == found.get(path),
            f"snapshot {number}, {path!r}: expected {wanted.get(path)}, found {found.get(path)}",
        )
    head = dict(snapshot.head)
    head["stamp"] = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(head["stamp"]))
    for key, value in head.items():
        check(snapshots[number][key] == value, f"snapshot {number}: {key}")
    check(snapshot.run_stores == snapshots[number]["stores"], "stores of a run")
    entries, files, _, n_bytes, _ = snapshot.root["totals"]
    totals = {"entries": entries, "files": files, "bytes": n_bytes + snapshot.link_bytes}
    check(totals.items() <= snapshot.manifest["totals"].items(), f"manifest {number}: totals")
    for key in ("store", "driver", "host", "stamp"):
        check(snapshot.manifest[key] == head[key], f"manifest {number}: {key}")


def check_records(repo, expected):
    forgotten, tags, condemned, leases = [], {}, [], []
    for name in repo.below("forgotten"):
        record = json.loads(repo.object(name))
        check(set(record) == {"by", "time"} and is_time(record["time"]), name)
        first, _, last = name[10:].partition("-")
        forgotten.append([int(first), int(last or first)])
    for name in repo.below("tags"):
        number, n = name[5:].split("-")
        text = json.loads(repo.object(name))["tags"]
        tags[number] = max(tags.get(number, (0, None)), (int(n), text))
    for name in repo.below("condemned"):
        check(is_hex(name[10:], 32), name)
        record = json.loads(repo.object(name))
        check(is_time(record["time"]), name)
        condemned += record["packs"]
    for name in repo.below("running"):
        lease = json.loads(repo.object(name))
        check(name.startswith("running/" + lease["run"] + "-"), name)
        keys = ["boot", "host", "kind", "pid", "pid_ns", "run", "start", "stores", "time"]
        check(sorted(set(lease) - {"pid_start"}) == keys and lease["kind"] == "backup", name)
        leases.append({"name": name, "stores": lease["stores"], "time": lease["time"]})
    check(sorted(forgotten) == expected["forgotten"], "forgotten")
    check({number: text for number, (_, text) in tags.items()} == expected["tags"], "tags")
    check(sorted(condemned) == sorted(expected["condemned"]), "condemned")
    check(leases == expected["leases"], "leases")


def check_parity(repo):
    found = [Parity(repo, name) for name in repo.below("parity")]
    check(found, "no parity in this repository")


def check_everything_occurred():
    wanted = {"holed", ("codec", 0), ("codec", 1), ("filter", True), ("filter", False)}
    wanted |= {("type", n) for n in (DATA, TREE, FOOTER)}
    wanted |= {("object", n) for n in range(1, 7)} | {("inode", n) for n in range(1, 7)}
    wanted |= {("content", n) for n in (1, 2, 3)} | {("line", n) for n in range(4)}
    wanted |= {("extent", n) for n in range(3)} | {("columns", n) for n in (0, 1)}
    check(not wanted - seen, f"not in this repository: {wanted - seen}")


def main(folder):
    with open(os.path.join(folder, "expected.json"), encoding="utf-8") as f:
        expected = json.load(f)
    with open(os.path.join(folder, "key"), encoding="ascii") as f:
        key_file = f.read()
    repo = Repository(os.path.join(folder, "repo"), expected["password"].encode(), key_file)
    check(repo.kinds == {"password", "keyfile"}, "kinds of slots")
    store = Store(repo)
    names = repo.below("snapshots")
    check(sorted(n[10:] for n in names) == sorted(expected["snapshots"]), "snapshots")
    for name in names:
        compare(Snapshot(repo, store, name), expected["snapshots"])
    store.check_all_used()
    check_records(repo, expected)
    check_parity(repo)
    check_everything_occurred()
    check(repo.decoded == repo.names, f"not decoded: {repo.names - repo.decoded}")
    print(
        f"{len(repo.decoded)} objects, {len(store.copies)} segments,"
        f" {len(store.objects)} tree objects, {len(names)} snapshots: all as expected"
    )


if __name__ == "__main__":
    main(sys.argv[1])
