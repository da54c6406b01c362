#!/usr/bin/env python3
"""Data in a Qdrant server for tests, and what is there, by plain requests.

usage: qdrant_data.py URL COMMAND...          the key, if any, is in $QDRANT_KEY
  fill NAME POINTS [DIM] [SEED]   a new collection: vectors, payloads of all kinds, an index
  change NAME SHARE SEED          writes that share of its points anew
  write NAME FILE                 adds and changes points until FILE is there; says when it has begun
  digest NAME...                  how many points, a sum of them all, indexed fields
  collections | aliases
  snapshots                       collections that have some on the server, and how many
  look NAME...                    all four
  alias NAME COLLECTION           leads there; - takes it away
  drop NAME... | clear            clear: all of them
"""
import hashlib
import json
import os
import random
import sys
import urllib.error
import urllib.parse
import urllib.request

url = sys.argv[1]


def quote(name):
    return urllib.parse.quote(name, safe="")


def ask(method, path, body=None):
    request = urllib.request.Request(url + path, method=method)
    request.add_header("Content-Type", "application/json")
    if os.environ.get("QDRANT_KEY"):
        request.add_header("api-key", os.environ["QDRANT_KEY"])
    data = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(request, data) as answer:
            return json.load(answer)["result"]
    except urllib.error.HTTPError as why:
        sys.exit(f"{method} {path}: {why.code} {why.read().decode()[:300]}")


def point(number, dim, source):
    payload = {"number": number, "kind": "even" if number % 2 == 0 else "odd",
               "text": " ".join(source.choice(["Äpfel", "b\"c", "日本", "plain\\", "x\ny"]) for _ in range(6)),
               "list": [1, 2.5, None, True, {"deep": [[]]}], "price": source.random() * 100}
    vector = [round(source.uniform(-1, 1), 6) for _ in range(dim)]
    return {"id": number, "vector": vector, "payload": payload}


def put(name, points):
    ask("PUT", f"/collections/{name}/points?wait=true", {"points": points})


def fill(name, count, dim=8, seed=1):
    name = quote(name)
    count, dim, source = int(count), int(dim), random.Random(int(seed))
    ask("PUT", f"/collections/{name}", {"vectors": {"size": dim, "distance": "Euclid"}})
    ask("PUT", f"/collections/{name}/index?wait=true", {"field_name": "kind", "field_schema": "keyword"})
    step = max(1, 200000 // dim)
    for first in range(0, count, step):
        put(name, [point(n, dim, source) for n in range(first, min(first + step, count))])


def change(name, share, seed):
    name = quote(name)
    source = random.Random(int(seed))
    count = ask("POST", f"/collections/{name}/points/count", {"exact": True})["count"]
    dim = ask("GET", f"/collections/{name}")["config"]["params"]["vectors"]["size"]
    chosen = sorted(source.sample(range(count), max(1, int(count * float(share)))))
    for first in range(0, len(chosen), 500):
        put(name, [point(n, dim, source) for n in chosen[first:first + 500]])


def write(name, file):
    source, number = random.Random(), 10 ** 6
    dim = ask("GET", f"/collections/{name}")["config"]["params"]["vectors"]["size"]
    while not os.path.exists(file):
        put(name, [point(number, dim, source), point(0, dim, source)])
        number += 1
        if number == 10 ** 6 + 1:
            print("begun", flush=True)


def pages(name):
    offset = None
    while True:
        body = {"limit": 1000, "with_payload": True, "with_vector": True}
        if offset is not None:
            body["offset"] = offset
        page = ask("POST", f"/collections/{name}/points/scroll", body)
        yield from page["points"]
        offset = page.get("next_page_offset")
        if offset is None:
            return


def digest(*names):
    for name in names:
        name = quote(name)
        total, number = hashlib.sha256(), 0
        for p in pages(name):
            number += 1
            total.update(json.dumps([p["id"], p.get("payload"), p["vector"]], sort_keys=True).encode())
        schema = sorted(ask("GET", f"/collections/{name}")["payload_schema"])
        print(number, total.hexdigest()[:32], *schema)


def collections():
    print(*sorted(c["name"] for c in ask("GET", "/collections")["collections"]), sep="\n")


def aliases():
    print(*sorted(f"{a['alias_name']} {a['collection_name']}" for a in ask("GET", "/aliases")["aliases"]), sep="\n")


def snapshots():
    for c in ask("GET", "/collections")["collections"]:
        n = len(ask("GET", f"/collections/{quote(c['name'])}/snapshots"))
        if n:
            print(c["name"], n)


def look(*names):
    digest(*names)
    aliases()
    collections()
    snapshots()


def alias(name, collection):
    actions = [{"delete_alias": {"alias_name": name}}] if collection == "-" else [
        {"create_alias": {"alias_name": name, "collection_name": collection}}]
    ask("POST", "/collections/aliases", {"actions": actions})


def drop(*names):
    for name in names:
        ask("DELETE", f"/collections/{quote(name)}")


def clear():
    drop(*(c["name"] for c in ask("GET", "/collections")["collections"]))


if __name__ == "__main__":
    globals()[sys.argv[2]](*sys.argv[3:])
