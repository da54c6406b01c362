#!/usr/bin/env python3
"""A graph for tests of Neo4j, over HTTP and without any code of ours.

usage: neo4j_graph.py PORT fill [N]      every type of property, odd names, rules; N more nodes (200)
       neo4j_graph.py PORT digest        the graph as sorted lines that know no element ids
       neo4j_graph.py PORT change        much of it different
       neo4j_graph.py PORT clear         nothing left
       neo4j_graph.py PORT writers FILE  moves money and tells lies about it until FILE is gone
       neo4j_graph.py check FOLDER       an export that was taken between two moves: exit status
"""
import base64
import json
import os
import sys
import threading
import urllib.error
import urllib.request

TYPED = "application/vnd.neo4j.query"


class Failed(Exception):
    pass


def ask(statement, parameters=None, port=None):
    body = {"statement": statement}
    if parameters:
        body["parameters"] = parameters
    request = urllib.request.Request(
        f"http://127.0.0.1:{port or sys.argv[1]}/db/neo4j/query/v2",
        json.dumps(body).encode(),
        {
            "Content-Type": TYPED,
            "Accept": TYPED,
            "Authorization": "Basic " + base64.b64encode(b"neo4j:testpass1").decode(),
        },
    )
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            answer = json.load(answer)
    except urllib.error.HTTPError as error:
        answer = json.load(error)
    if answer.get("errors"):
        raise Failed(statement, answer["errors"])
    return answer["data"]["values"]


def typed(kind, value):
    return {"$type": kind, "_value": value}


def text(value):
    return typed("String", value)


ODD = ["b`c", "with space", "Größe", "\U0001f600", 'quo"te\'s', "back\\slash", "new\nline", "a.b:c", "_"]

VALUES = {
    "integer": typed("Integer", "1"),
    "least": typed("Integer", "-9223372036854775808"),
    "most": typed("Integer", "9223372036854775807"),
    "float": typed("Float", "0.1"),
    "tiny": typed("Float", "4.9E-324"),
    "huge": typed("Float", "1.7976931348623157E308"),
    "minus_zero": typed("Float", "-0.0"),
    "nan": typed("Float", "NaN"),
    "infinite": typed("Float", "-Infinity"),
    "yes": typed("Boolean", True),
    "text": text("plain"),
    "empty": text(""),
    "nul": text("a\0b"),
    "control": text("\x01\x1f\x7f\u0085\u2028"),
    "beyond": text("\U0001f600 \u0416 \"'`\\ \n\r\t"),
    "long": text("0123456789abcdef" * 20000),
    "bytes": typed("Base64", base64.b64encode(bytes(range(256))).decode()),
    "date": typed("Date", "-0044-03-15"),
    "time": typed("Time", "12:34:56.789012345+01:00"),
    "local_time": typed("LocalTime", "23:59:59.999999999"),
    "zoned": typed("ZonedDateTime", "2026-10-25T02:30:00+02:00[Europe/Berlin]"),
    "offset": typed("OffsetDateTime", "2026-11-21T14:02:12.000000001-11:30"),
    "local": typed("LocalDateTime", "9999-12-31T23:59:59"),
    "duration": typed("Duration", "P1Y2M3DT4H5M6.000000007S"),
    "point": typed("Point", "SRID=7203;POINT (1.5 -2.25)"),
    "point3": typed("Point", "SRID=9157;POINT Z (1.0 2.0 3.0)"),
    "place": typed("Point", "SRID=4326;POINT (13.4 52.5)"),
    "place3": typed("Point", "SRID=4979;POINT Z (13.4 52.5 34.0)"),
}
LISTS = ["integer", "float", "nan", "yes", "text", "date", "time", "zoned", "duration", "point"]

RULES = [
    "CREATE CONSTRAINT one FOR (n:Many) REQUIRE n.number IS UNIQUE",
    "CREATE CONSTRAINT `two of``them` FOR (n:`b``c`) REQUIRE (n.`b``c`, n.other) IS UNIQUE",
    "CREATE CONSTRAINT three FOR ()-[r:NEXT]-() REQUIRE r.number IS UNIQUE",
    "CREATE INDEX four FOR (n:Many) ON (n.name, n.number)",
    "CREATE TEXT INDEX five FOR (n:Many) ON (n.name)",
    "CREATE POINT INDEX six FOR (n:Types) ON (n.place)",
    "CREATE INDEX `odd \U0001f600` FOR ()-[r:`with space`]-() ON (r.`new\nline`)",
    "CREATE FULLTEXT INDEX eight FOR (n:Many|Types) ON EACH [n.name, n.text] "
    "OPTIONS {indexConfig: {`fulltext.analyzer`: 'english'}}",
    "CREATE VECTOR INDEX nine FOR (n:Many) ON (n.vector) OPTIONS {indexConfig: "
    "{`vector.dimensions`: 3, `vector.similarity_function`: 'cosine'}}",
]


def fill(more):
    for rule in RULES:
        ask(rule)
    properties = dict(VALUES)
    properties.update({f"{name}_list": typed("List", [VALUES[name]] * 3) for name in LISTS})
    properties["empty_list"] = typed("List", [])
    ask("CREATE (n:Types) SET n = $p", {"p": typed("Map", properties)})
    odd = typed("Map", {name: text(name) for name in ODD})
    ask("CREATE (n:$($l)) SET n = $p", {"l": typed("List", [text(n) for n in ODD]), "p": odd})
    for name in ODD:
        ask(
            "MATCH (a:Types), (b:`_`) CREATE (a)-[r:$($t)]->(b) SET r = $p",
            {"t": text(name), "p": odd},
        )
    ask("MATCH (a:Types) CREATE (a)-[:SELF]->(a), (a)-[r:SELF]->(a) SET r = $p",
        {"p": typed("Map", properties)})
    ask("CREATE (), ({lonely: true}), (:Bare), (:Bare)-[:TWICE]->(:Bare:Other)")
    ask(
        "UNWIND range(1, toInteger($n)) AS i CREATE (:Many:Odd {number: i, name: 'name ' + i, "
        "vector: [1.0, i, 0.5], even: i % 2 = 0})",
        {"n": typed("Integer", str(more))},
    )
    ask("MATCH (a:Many), (b:Many {number: a.number + 1}) CREATE (a)-[:NEXT {number: a.number}]->(b)")
    ask("MATCH (n:Many) WHERE n.number % 3 = 0 REMOVE n:Odd")
    ask("CALL db.awaitIndexes(60)")


def plain(value):
    return json.dumps(value, sort_keys=True)


def digest():
    nodes, lines = {}, []
    for key, labels, properties in ask("MATCH (n) RETURN elementId(n), labels(n), properties(n)"):
        labels = sorted(label["_value"] for label in labels["_value"])
        nodes[key["_value"]] = plain([labels, properties])
    lines += ["node " + node for node in nodes.values()]
    for kind, start, end, properties in ask(
        "MATCH (a)-[r]->(b) RETURN type(r), elementId(a), elementId(b), properties(r)"
    ):
        ends = [hash_of(nodes[e["_value"]]) for e in (start, end)]
        lines.append("relationship " + plain([kind["_value"], *ends, properties]))
    for statement, state in ask(
        "SHOW INDEXES YIELD createStatement, state, type WHERE type <> 'LOOKUP' "
        "RETURN createStatement, state"
    ):
        lines.append("index " + plain([statement["_value"], state["_value"]]))
    for (statement,) in ask("SHOW CONSTRAINTS YIELD createStatement RETURN createStatement"):
        lines.append("constraint " + plain(statement["_value"]))
    print("\n".join(sorted(lines)))


def hash_of(line):
    import hashlib

    return hashlib.sha256(line.encode()).hexdigest()[:16]


def change():
    ask("MATCH (n:Many) WHERE n.number > 50 DETACH DELETE n")
    ask("MATCH (n:Many) SET n.number = n.number + 100, n.added = true")
    ask("MATCH (n:Types) REMOVE n:Types SET n:Other")
    ask("CREATE (:New {number: 1})-[:NEXT {number: 1000}]->(:New)")
    ask("DROP INDEX four")
    ask("CREATE INDEX ten FOR (n:New) ON (n.number)")


def clear():
    for (name,) in ask("SHOW CONSTRAINTS YIELD name RETURN name"):
        ask("DROP CONSTRAINT `" + name["_value"].replace("`", "``") + "`")
    for (name,) in ask("SHOW INDEXES YIELD name, type WHERE type <> 'LOOKUP' RETURN name"):
        ask("DROP INDEX `" + name["_value"].replace("`", "``") + "`")
    ask("MATCH (n) DETACH DELETE n")


# The sum of the accounts is 0, and there are as many moves as the purse has counted.
def writers(file):
    ask("UNWIND range(0, 9) AS i CREATE (:Account {i: i, sum: 0})")
    ask("CREATE (:Purse {moves: 0})-[:MOVED]->(:Move)<-[:GAVE]-(:Other)")

    def write(seed):
        while os.path.exists(file):
            seed = seed * 1103515245 + 12345 & 0x7FFFFFFF
            try:
                ask(
                    "MATCH (p:Purse) SET p.moves = p.moves + 1 WITH p "
                    f"MATCH (a:Account {{i: {seed % 10}}}), (b:Account {{i: {seed // 10 % 10}}}) "
                    f"SET a.sum = a.sum - {seed % 7}, b.sum = b.sum + {seed % 7} "
                    "CREATE (p)-[:MOVED]->(:Move {of: a.i}), (a)-[:GAVE]->(b)"
                )
            except Failed as failed:
                if "TransientError" not in str(failed):
                    raise

    threads = [threading.Thread(target=write, args=(seed,)) for seed in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def check(folder):
    total = moves = said = purses = 0
    ids = set()
    with open(folder + "/nodes.ndjson", encoding="utf-8") as file:
        for line in file:
            node = json.loads(line)
            ids.add(node["id"])
            p = node["properties"]
            if "Account" in node["labels"]:
                total += int(p["sum"]["_value"])
            if "Purse" in node["labels"]:
                said += int(p["moves"]["_value"])
                purses += 1
            moves += "Move" in node["labels"]
    kinds = {}
    with open(folder + "/relationships.ndjson", encoding="utf-8") as file:
        for line in file:
            line = json.loads(line)
            kinds[line["type"]] = kinds.get(line["type"], 0) + 1
            if line["start"] not in ids or line["end"] not in ids:
                sys.exit(f"hanging: {line}")
    if "one instant" not in sys.argv[3:]:
        return
    if total or moves != said + purses or kinds["MOVED"] != moves or kinds["GAVE"] != moves:
        sys.exit(f"torn: sum {total}, {moves} moves of {said}, {kinds}")


if sys.argv[1] == "check":
    check(sys.argv[2])
elif sys.argv[2] == "fill":
    fill(int(sys.argv[3]) if len(sys.argv) > 3 else 200)
elif sys.argv[2] == "writers":
    writers(sys.argv[3])
else:
    {"digest": digest, "change": change, "clear": clear}[sys.argv[2]]()
