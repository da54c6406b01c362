#!/usr/bin/env python3
"""Rows in a Chroma server, and what it says that it has; apart from bakfs.
  fill URL NAME N DIM [SPACE]   a collection of N rows
  change URL NAME FROM TO       new embeddings for these rows
  write URL NAME [delete]       adds rows, ten at a time, until it is killed; in between deletes some
  digest URL [LEFT-OUT...]      everything, in an order of its own, but for ids of collections
  whole URL NAME [holes]        its rows are the first ones of write, without a gap but for what
                                write deletes; prints how many
  whole_file PATH               the same of rows.ndjson
  names URL                     of all collections
  state URL                     both
  drop URL NAME
  files FOLDER                  as digest, out of an export
Every row follows from its number, so that a wrong one is seen."""
import base64
import json
import os
import struct
import sys
import urllib.error
import urllib.request

BASE = "/api/v2/tenants/default_tenant/databases/default_database/collections"


def call(method, url, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, method=method, data=data,
                                     headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return json.loads(answer.read() or b"null")


def vector(number, dim, salt=0):
    # Bits of float32 from a small generator: all of them matter.
    state = (number * 2654435761 + salt * 97 + 12345) & 0xffffffff
    out = []
    for _ in range(dim):
        state = (state * 1664525 + 1013904223) & 0xffffffff
        out.append((state >> 7) / 2**24 - 1.0 / 3)
    return struct.unpack(f"<{dim}f", struct.pack(f"<{dim}f", *out))


def metadata(number):
    if number % 5 == 4:
        return None
    # Not every double comes back from the server as it was sent; these do.
    out = {"n": number, "odd": bool(number % 2), "part": number / 8}
    if number % 3 == 0:
        out["tags"] = [f"t{number % 4}", "é\u2028"]
    return out


def rows(numbers, dim, salt=0):
    return {
        "ids": [f"row-{n:07d}" for n in numbers],
        "embeddings": [list(vector(n, dim, salt)) for n in numbers],
        "documents": [f"text \"{n}\"\n\U0001f600" if n % 4 else None for n in numbers],
        "metadatas": [metadata(n) for n in numbers],
        "uris": [f"file:///{n}" if n % 7 == 0 else None for n in numbers],
    }


def collection(url, name):
    return call("GET", f"{url}{BASE}/{name}")


def fill(url, name, n, dim, space="l2"):
    made = call("POST", url + BASE, {
        "name": name, "metadata": {"for": name, "size": int(n), "share": 0.1},
        "configuration": {"hnsw": {"space": space, "ef_construction": 50, "max_neighbors": 8,
                                   "sync_threshold": 100}},
        "get_or_create": True})
    for at in range(0, int(n), 500):
        call("POST", f"{url}{BASE}/{made['id']}/add",
             rows(range(at, min(at + 500, int(n))), int(dim)))


def change(url, name, first, last):
    there = collection(url, name)
    call("POST", f"{url}{BASE}/{there['id']}/upsert",
         rows(range(int(first), int(last)), there["dimension"], 1))


def write(url, name, delete=None):
    made = call("POST", url + BASE, {"name": name, "get_or_create": True, "configuration": {
        "hnsw": {"sync_threshold": 60, "max_neighbors": 8, "ef_construction": 40}}})
    at = 0
    while True:
        call("POST", f"{url}{BASE}/{made['id']}/add", rows(range(at, at + 10), 16))
        at += 10
        if delete:
            call("POST", f"{url}{BASE}/{made['id']}/delete", {"ids": [f"row-{at - 7:07d}"]})


def all_rows(url, there):
    at = 0
    while True:
        page = call("POST", f"{url}{BASE}/{there['id']}/get", {
            "limit": 300, "offset": at,
            "include": ["embeddings", "documents", "metadatas", "uris"]})
        if not page["ids"]:
            return
        # Rows without metadata have none or {}, as the server likes.
        yield from zip(page["ids"], page["embeddings"], page["documents"],
                       [m or None for m in page["metadatas"]], page["uris"])
        at += len(page["ids"])


def plain(value):
    return json.dumps(value, sort_keys=True)


def shown(embedding, cosine):
    if cosine:  # kept as a direction and a length: the last digits differ
        return " ".join("%.4f" % x for x in embedding)
    return struct.pack(f"<{len(embedding)}f", *embedding).hex()


def is_cosine(about):
    return (about["configuration_json"].get("hnsw") or {}).get("space") == "cosine"


def tell(about, lines):
    print(about["name"], about["dimension"], plain(about["metadata"]),
          plain(about["configuration_json"]))
    for line in sorted(lines):
        print(" ", *line)


def digest(url, *left_out):
    for there in sorted(call("GET", url + BASE), key=lambda c: c["name"]):
        if ".before-" in there["name"] or there["name"] in left_out:
            continue
        tell(there, [(plain(i), shown(e, is_cosine(there)), plain(d), plain(m), plain(u))
                     for i, e, d, m, u in all_rows(url, there)])


def state(url):
    names(url)
    digest(url)


def files(folder):
    found = []
    for path, _, names in os.walk(folder):
        if "collection.json" in names:
            with open(os.path.join(path, "collection.json")) as file:
                found.append((json.load(file), os.path.join(path, "rows.ndjson")))
    for about, path in sorted(found, key=lambda f: f[0]["name"]):
        lines = []
        with open(path, newline="\n") as file:
            for line in file:
                row = json.loads(line)
                raw = base64.b64decode(row["embedding"], validate=True)
                lines.append((plain(row["id"]),
                              shown(struct.unpack(f"<{len(raw) // 4}f", raw), is_cosine(about)),
                              plain(row["document"]), plain(row["metadata"]), plain(row["uri"])))
        tell(about, lines)


def check(found, holes):
    n = count = 0
    for i, e, d, m, u in found:
        if holes and n % 10 == 3 and i != f"row-{n:07d}":
            n += 1
        want = rows([n], 16)
        have = {"ids": [i], "documents": [d], "metadatas": [m], "uris": [u]}
        if any(have[key] != want[key] for key in have):
            sys.exit(f"row {n} is {i}: {have}")
        if struct.pack("<16f", *e) != struct.pack("<16f", *want["embeddings"][0]):
            sys.exit(f"row {n}: another embedding")
        n += 1
        count += 1
    print(count)


def whole(url, name, holes=None):
    there = collection(url, name)
    check(all_rows(url, there), holes)
    call("POST", f"{url}{BASE}/{there['id']}/query", {
        "query_embeddings": [list(vector(1, 16))], "n_results": 3})


def whole_file(path):
    found = []
    with open(path, newline="\n") as file:
        for line in file:
            row = json.loads(line)
            raw = base64.b64decode(row["embedding"], validate=True)
            found.append((row["id"], struct.unpack("<16f", raw), row["document"],
                          row["metadata"], row["uri"]))
    check(found, None)


def names(url):
    for name in sorted(c["name"] for c in call("GET", url + BASE)):
        print(name)


def drop(url, name):
    call("DELETE", f"{url}{BASE}/{name}")


try:
    globals()[sys.argv[1]](*sys.argv[2:])
except urllib.error.HTTPError as error:
    sys.exit(f"{error} {error.read()[:300]}")
