# The objects of the repository format as Python values, written from bakfs-repository(5) and from
# nothing else: numbers, keys, seals, segments, packs, tree objects. Every reader insists that no
# byte is left over and that what the page says of the bytes is true.
import hashlib
import hmac
import json
import os
import re
import struct

import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

DATA, TREE, FOOTER = 1, 2, 3
SPAN, INNER, PAGE, NAMES, LINKS, LINK_NAMES = 1, 2, 3, 4, 5, 6
HOLE, ZEROS, BYTES = 0, 1, 2
TYPES = {1: "file", 2: "folder", 3: "symlink", 4: "fifo", 5: "char", 6: "block", 7: "socket"}
MiB = 1 << 20
seen = set()  # which features of the format occurred


def check(truth, what):
    if not truth:
        raise AssertionError(what)


# --- numbers and strings ---


class Bytes:
    """Bytes taken from the front; `done` insists that none is left."""

    def __init__(self, data):
        self.data, self.at = bytes(data), 0

    def take(self, n):
        check(n <= len(self.data) - self.at, "cut short")
        self.at += n
        return self.data[self.at - n : self.at]

    def u8(self):
        return self.take(1)[0]

    def u32(self):
        return struct.unpack("<I", self.take(4))[0]

    def u64(self):
        return struct.unpack("<Q", self.take(8))[0]

    def varint(self):
        value = 0
        for i in range(10):
            byte = self.u8()
            value |= (byte & 0x7F) << 7 * i
            if byte < 0x80:
                check(value < 1 << 64, "a varint above 64 bits")
                return value
        raise AssertionError("a varint of more than 10 bytes")

    def zigzag(self):
        n = self.varint()
        return n >> 1 if n % 2 == 0 else -(n >> 1) - 1

    def string(self):
        text = self.take(self.varint())
        check(0 not in text, "a string with a zero")
        return text

    def done(self):
        check(self.at == len(self.data), f"{len(self.data) - self.at} bytes left over")


def unzstd(frame, length, checksum=True):
    parameters = zstandard.get_frame_parameters(frame)
    check(parameters.content_size == length, "content size of a zstd frame")
    check(parameters.has_checksum or not checksum, "a zstd frame without checksum")
    d = zstandard.ZstdDecompressor().decompressobj()
    out = d.decompress(frame)
    check(d.eof and not d.unused_data and len(out) == length, "not one zstd frame")
    return out


def mac(key, data):
    return hmac.new(key, data, hashlib.sha256).digest()


def is_time(text):
    return re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", text) is not None


def is_hex(text, n):
    return re.fullmatch("[0-9a-f]{%d}" % n, text) is not None


# --- keys and seals ---


def gcm_open(key, data, aad):
    try:
        return AESGCM(key).decrypt(bytes(12), data, aad)
    except InvalidTag:
        return None


class Ring:
    def __init__(self, plain):
        b = Bytes(plain)
        check(b.u8() == 1, "version of a key ring")
        self.plain, self.id_key, self.gear_key = plain, b.take(32), b.take(32)
        n = b.u8()
        check(n >= 1, "no masters")
        self.masters = [(b.u32(), b.take(32)) for _ in range(n)]
        check(all(number for number, _ in self.masters), "a master with number 0")
        b.done()

    def unseal(self, label, salt, context, data, aad):
        """What one of the masters opens, and its number."""
        for number, key in reversed(self.masters):
            plain = gcm_open(mac(key, label + b"\0" + salt + context), data, aad)
            if plain is not None:
                return plain, number
        raise AssertionError(label.decode() + ": no master opens it")


def slot_key(slot, password, key_file):
    kdf = slot["kdf"]
    salt = bytes.fromhex(kdf["salt"])
    check(len(salt) == 16, "length of a slot's salt")
    if slot["kind"] == "password":
        check(kdf["name"] == "scrypt" and 128 * kdf["n"] * kdf["r"] <= 1 << 30, "scrypt")
        return Scrypt(salt, 32, kdf["n"], kdf["r"], kdf["p"]).derive(password)
    check(slot["kind"] == "keyfile" and kdf["name"] == "hkdf-sha256", "kind of slot")
    match = re.fullmatch(r"bakfs-key-1 ([0-9a-f]{64})\n", key_file)
    check(match, "the key file")
    return HKDF(hashes.SHA256(), 32, salt, b"bakfs key slot").derive(bytes.fromhex(match[1]))


class Repository:
    def __init__(self, root, password, key_file):
        self.root = root
        self.names = set()
        for folder, _, files in os.walk(root):
            for file in files:
                if not file.startswith("."):
                    self.names.add(os.path.relpath(os.path.join(folder, file), root))
        self.decoded = {"bakfs.json"}
        self.json = json.loads(self.read("bakfs.json"))
        self.id = bytes.fromhex(self.json["id"])
        self.ring = self.open_slots(password, key_file)
        self.check_mac()

    def read(self, name):
        with open(os.path.join(self.root, name), "rb") as f:
            return f.read()

    def below(self, folder):
        return sorted(n for n in self.names if n.startswith(folder + "/"))

    def open_slots(self, password, key_file):
        rings, kinds, claims = set(), set(), []
        for name in self.below("keys"):
            check(re.fullmatch(r"keys/[0-9a-f]{32}\.json", name), name)
            slot = json.loads(self.read(name))
            check(slot["version"] == 1 and is_time(slot["created"]), name)
            check(isinstance(slot["label"], str), name)
            aad = b"bakfs slot" + self.id + bytes.fromhex(name[5:37])
            ring = gcm_open(
                slot_key(slot, password, key_file), bytes.fromhex(slot["ring"]), aad
            )
            check(ring is not None, name + " does not open")
            rings.add(ring)
            kinds.add(slot["kind"])
            self.decoded.add(name)
            claims.append((name[5:37], slot.pop("mac", None), slot))
        check(len(rings) == 1, "slots")
        self.kinds = kinds
        ring = Ring(rings.pop())
        for slot_id, claimed, slot in claims:
            text = json.dumps(slot, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
            covered = f"bakfs slot {slot_id} {text}".encode()
            right = claimed is None or bytes.fromhex(claimed) == mac(ring.id_key, covered)
            check(right, "MAC of slot " + slot_id)
        return ring

    def check_mac(self):
        j = dict(self.json)
        check(self.read("bakfs.json").count(b"\n") == 1, "bakfs.json is one line")
        check(j["format"] == "bakfs repository" and j["version"] == 1, "format")
        check(is_time(j["created"]) and is_hex(j["id"], 32), "bakfs.json")
        claimed = bytes.fromhex(j.pop("mac"))
        text = json.dumps(j, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        check(claimed == mac(self.ring.id_key, text.encode()), "MAC of bakfs.json")

    def object(self, name):
        """The payload of a sealed object."""
        sealed = self.read(name)
        self.decoded.add(name)
        return self.ring.unseal(
            b"bakfs object", sealed[:24], name.encode(), sealed[24:], self.id + name.encode()
        )[0]


# --- segments ---


def unfilter(n, data):
    count = len(data) // n
    out = bytearray(data)
    for i in range(n):
        out[i : count * n : n] = data[i * count : (i + 1) * count]
    return bytes(out)


class Segment:
    """One record of a pack, opened: a copy of a segment."""

    def __init__(self, repo, pack, at):
        self.at = at
        salt = pack[at : at + 24]
        plain, self.key = repo.ring.unseal(
            b"bakfs header", salt, b"", pack[at + 24 : at + 80], repo.id
        )
        h = Bytes(plain)
        check(h.u8() == 1, "format of a segment")
        self.type, self.flags, self.filter, codec = h.u8(), h.u8(), h.u8(), h.u8()
        check(h.take(3) == bytes(3), "zeros of a header")
        self.run, self.counter = h.take(12), h.u32()
        self.raw_len, stored_len = h.u32(), h.u32()
        check(h.take(8) == bytes(8), "zeros of a header")
        h.done()
        check(self.type in (DATA, TREE, FOOTER) and self.flags in (0, 1), "header")
        check(self.filter == 0 or 2 <= self.filter <= 16, "filter")
        check(max(self.raw_len, stored_len) <= 64 * MiB, "lengths")
        self.len = 80 + stored_len + 16
        check(at + self.len <= len(pack), "a record beyond its pack")
        body, key = repo.ring.unseal(
            b"bakfs body", salt, plain[8:24], pack[at + 80 : at + self.len], plain
        )
        check(key == self.key and codec in (0, 1), "body")
        if codec == 1:
            body = unzstd(body, self.raw_len)
        check(len(body) == self.raw_len, "raw length")
        if self.filter:
            body = unfilter(self.filter, body)
        seen.update([("codec", codec), ("filter", bool(self.filter)), ("type", self.type)])
        self.id = (self.run, self.counter)
        self.load(body)

    def load(self, raw):
        """Kept ranges and their bytes."""
        if not self.flags & 1:
            self.kept = [(0, len(raw))]
            self.parts = {0: raw}
            self.size = len(raw)
            return
        seen.add("holed")
        b = Bytes(raw)
        self.kept = [(b.u32(), b.u32()) for _ in range(b.u32())]
        end = -1
        for off, length in self.kept:
            check(length > 0 and off > end, "kept ranges")
            end = off + length
        self.parts = {off: b.take(length) for off, length in self.kept}
        self.size = None
        b.done()

    def get(self, off, length):
        """The bytes, or None when they are not all kept."""
        for start, n in self.kept:
            if start <= off and off + length <= start + n:
                return self.parts[start][off - start : off - start + length]
        return None


# --- packs ---


def padme(size):
    e = size.bit_length() - 1
    s = e.bit_length()
    step = 1 << (e - s)
    return (size + step - 1) // step * step


class Pack:
    def __init__(self, repo, name):
        self.id = bytes.fromhex(name[9:])
        data = repo.read(name)
        repo.decoded.add(name)
        check(data[-8:] == b"bakpack1", name + ": magic")
        footer_at = len(data) - 12 - struct.unpack("<I", data[-12:-8])[0]
        self.segments = []
        at = 0
        while at < footer_at:
            self.segments.append(Segment(repo, data, at))
            at += self.segments[-1].len
        check(at == footer_at, name + ": records end where the footer begins")
        footer = Segment(repo, data, footer_at)
        check(footer.at + footer.len == len(data) - 12, name + ": length of the footer")
        check(footer.type == FOOTER and not footer.flags and not footer.filter, "footer")
        check(footer.run + struct.pack("<I", footer.counter) == self.id, "id of a footer")
        check(all(s.type != FOOTER for s in self.segments), "a footer among the segments")
        self.load_footer(repo, Bytes(footer.parts[0]), len(data))

    def load_footer(self, repo, b, size):
        z, length = b.u32(), b.u32()
        frame = unzstd(b.take(z), length)
        padding = b.take(len(b.data) - b.at)
        check(not any(padding), "padding that is not zero")
        if size < 16 * MiB:
            check(padme(size - len(padding)) == size, "padding that is not Padme's")
        b = Bytes(frame)
        check(b.u8() == 1, "version of a footer")
        self.run, self.start = b.take(8), b.u64()
        runs = [b.take(12) for _ in range(b.varint())]
        check(b.varint() == len(self.segments), "segments of a footer")
        for segment in self.segments:
            self.check_segment(b, runs, segment)
        self.chunks = [row[:4] for row in self.places(b, False)]
        self.nodes = list(self.places(b, True))
        b.done()
        for segment, off, length, digest in self.chunks:
            check(mac(repo.ring.id_key, segment.get(off, length))[:16] == digest, "a chunk")

    def check_segment(self, b, runs, s):
        check((runs[b.varint()], b.varint()) == s.id, "id in the footer")
        check((b.u8(), b.u8(), b.u32()) == (s.type, s.flags, s.key), "a footer's segment")
        check((b.varint(), b.varint()) == (s.len, s.raw_len), "lengths in the footer")
        if s.flags & 1:
            end = 0
            ranges = []
            for _ in range(b.varint()):
                off, length = end + b.varint(), b.varint()
                ranges.append((off, length))
                end = off + length
            check(ranges == s.kept, "kept ranges in the footer")

    def places(self, b, nodes):
        number = end = 0
        for _ in range(b.varint()):
            step = b.varint()
            number, end = number + step, 0 if step else end
            off, length = end + b.varint(), b.varint()
            end = off + length
            span_len = b.varint() if nodes else None
            segment = self.segments[number]
            check(segment.type == (TREE if nodes else DATA), "place in a footer")
            check(segment.get(off, length) is not None, "a footer lists what is not kept")
            yield segment, off, length, b.take(16), span_len


# --- tree objects ---


class Payload(Bytes):
    """A payload with its run table."""

    def head(self):
        check(self.u8() == 1, "version of a payload")
        self.table()

    def table(self):
        self.runs = [self.take(12) for _ in range(self.varint())]

    def segment(self):
        return self.runs[self.varint()], self.counter()

    def counter(self):
        n = self.varint()
        check(n < 1 << 32, "counter")
        return n

    def reference(self):
        return self.segment() + (self.varint(), self.varint())

    def totals(self):
        return tuple(self.varint() for _ in range(5))


def read_content(b, size):
    kind = b.u8()
    seen.add(("content", kind))
    if kind == 1:
        extent = b.u8()
        check(extent <= 2, "kind of extent")
        if extent == BYTES:
            return [(BYTES, size, b.segment(), b.varint())]
        return [(extent, size, None, None)]
    check(kind in (2, 3), "kind of content")
    return kind, b.reference()


def read_inode(b, kind):
    i = {"type": TYPES[kind], "mode": b.varint()}
    check(i["mode"] <= 0o7777, "mode")
    i["owner"] = [b.varint(), b.varint()]
    i["mtime"] = [b.zigzag(), b.varint()]
    i["ctime"] = [b.zigzag(), b.varint()]
    i["ino"], i["flags"] = b.varint(), b.u8()
    x = Bytes(b.take(b.varint()))
    i["xattrs"] = {}
    last = b""
    while x.at < len(x.data):
        name = x.string()
        check(name > last, "order of extended attributes")
        last = name
        i["xattrs"][name.decode("latin-1")] = x.take(x.varint()).hex()
    seen.add(("inode", kind))
    if kind == 1:
        i["size"] = b.varint()
        if i["size"]:
            i["sha256"] = b.take(32)
            i["content"] = read_content(b, i["size"])
    elif kind == 2:
        i["totals"] = b.totals()
        i["top"] = b.reference() if i["totals"][0] else None
    elif kind == 3:
        i["target"] = b.take(b.varint()).decode("latin-1")
    elif kind in (5, 6):
        i["device"] = [b.varint(), b.varint()]
    return i


def read_page(b):
    entries = []
    for _ in range(b.varint()):
        name, kind = b.string(), b.u8()
        check(name and b"/" not in name and name not in (b".", b".."), "name")
        check(not entries or entries[-1][0] < name, "order of names")
        if kind & 0x80:
            entries.append((name, kind & 0x7F, b.varint(), None))
        else:
            entries.append((name, kind, None, read_inode(b, kind)))
    return entries


def read_names(b):
    lines = [(b.string(), b.reference(), b.totals()) for _ in range(b.varint())]
    check(all(x[0] < y[0] for x, y in zip(lines, lines[1:])), "order of first names")
    return lines


def read_links(b):
    links, number = [], 0
    for _ in range(b.varint()):
        step = b.varint()
        check(step > 0, "order of links")
        number += step
        count, kind = b.varint(), b.u8()
        links.append((number, count, read_inode(b, kind)))
    return links


def read_link_names(b):
    lines, number = [], 0
    for _ in range(b.varint()):
        number += b.varint()
        lines.append((number, b.reference(), b.varint()))
    return lines


def read_inner(b):
    lines = []
    for _ in range(b.varint()):
        kind, length = b.u8(), b.varint()
        check(kind <= 3 and length > 0, "line of an inner node")
        seen.add(("line", kind))
        lines.append((kind, length, b.reference() if kind >= 2 else None))
    return lines


def read_span(b):
    """The head stands before the run table, so this one reads its table itself."""
    check(b.u8() == 1, "version of a span node")
    span = {"len": b.varint(), "hash": b.take(16), "scatter": b.varint()}
    b.table()
    used = [(b.segment(), b.varint()) for _ in range(b.varint())]
    n_chunks, n_extents, codec, length = b.varint(), b.varint(), b.u8(), b.varint()
    columns = b.take(b.varint())
    check(codec in (0, 1), "codec of columns")
    seen.add(("columns", codec))
    c = Bytes(unzstd(columns, length, checksum=False) if codec else columns)
    check(len(c.data) == length, "length of columns")
    span["chunks"] = [c.varint() for _ in range(n_chunks)]
    kinds = [c.varint() for _ in range(n_extents)]
    ends, offsets = {}, []
    where = [c.zigzag() if kind >= 2 else None for kind in kinds]
    lengths = [c.varint() for _ in range(n_extents)]
    c.done()
    for kind, distance, n in zip(kinds, where, lengths):
        if kind >= 2:
            distance += ends.get(kind, 0)
            ends[kind] = distance + n
        offsets.append(distance)
    span["extents"] = [
        (min(k, BYTES), n, used[k - 2][0] if k >= 2 else None, off)
        for k, n, off in zip(kinds, lengths, offsets)
    ]
    seen.update(("extent", extent[0]) for extent in span["extents"])
    check(all(lengths) and sum(lengths) == span["len"], "extents of a span")
    check_used(used, span["extents"])
    return span


def union(ranges):
    total = end = 0
    for off, length in sorted(ranges):
        total += max(0, off + length - max(off, end))
        end = max(end, off + length)
    return total


def check_used(used, extents):
    for segment, n in used:
        mine = [(e[3], e[1]) for e in extents if e[2] == segment]
        check(union(mine) == n > 0, "bytes used of a segment")
    check(len({s for s, _ in used}) == len(used), "a segment twice in a span's table")


READERS = {
    INNER: read_inner,
    PAGE: read_page,
    NAMES: read_names,
    LINKS: read_links,
    LINK_NAMES: read_link_names,
}


def read_object(kind, payload):
    b = Payload(payload)
    check(kind in range(1, 7), "kind of object")
    seen.add(("object", kind))
    if kind == SPAN:
        out = read_span(b)
    else:
        b.head()
        out = READERS[kind](b)
    b.done()
    return out
