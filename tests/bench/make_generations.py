#!/usr/bin/env python3
"""Data for tests/bench/generations, by the real programs:

  make_generations.py pair DIR [PERCENT]      databases before and after 2 % of their rows changed
  make_generations.py chain DIR N [PERCENT]   N generations of a SQL table as text and of a SQLite file

PERCENT scales the size (100: what the goals are about). pair makes, in DIR/before and DIR/after:
  dump        pg_dump -Fc -Z0 of a table of 200 MB; 2 % of the rows, scattered, get another time and one word
              more; they stay on their pages (fillfactor 90)
  db          SQLite of 252 MB with two indexes; 2 % of the rows get another time
  rdb         Redis, 42 MB; 2 % of the keys are written again
  moved.dump  as dump, but pages are full: changed rows go to the table's end, in no order
  grown.db    as db, but one word more as well, and the time is indexed: cells move, pages split
and in DIR/order: dump after CLUSTER by another column, rdb after a restart of the server.
chain makes DIR/sql/NN and DIR/db/NN: of each generation 1.3 % of the rows edited, 0.3 % added, 0.3 % deleted,
scattered. The same every time, but for what the servers themselves put in (dates, orders).
"""
import os
import pwd
import random
import shutil
import sqlite3
import subprocess
import sys

RANDOM = random.Random(20261121)
WORDS = ["".join(RANDOM.choices("abcdefghijklmnopqrstuvwxyz", k=RANDOM.randint(3, 10))) for _ in range(6000)]


def stamp():
    r = RANDOM
    return "2026-%02d-%02d %02d:%02d:%02d.%06d" % (
        r.randint(1, 12), r.randint(1, 28), r.randrange(24), r.randrange(60), r.randrange(60), r.randrange(10**6))


def text():
    return " ".join(RANDOM.choices(WORDS, k=RANDOM.randint(8, 40)))


def row(i):
    return (i, "user%d" % RANDOM.randrange(5000), stamp(), text(), RANDOM.randbytes(8).hex())


def some(n, permille):
    return RANDOM.sample(range(n), n * permille // 1000)


class Postgres:
    """A server of our own, on a socket only, that keeps nothing safe."""

    def __init__(self, work):
        bins = sorted(os.listdir("/usr/lib/postgresql"), key=int)
        self.bin = "/usr/lib/postgresql/%s/bin/" % bins[-1]
        self.dir, self.as_user = work, []
        os.makedirs(work)
        if os.geteuid() == 0:
            self.as_user = ["runuser", "-u", "postgres", "--"]
            os.chown(work, pwd.getpwnam("postgres").pw_uid, -1)
        self.run("initdb", "-A", "trust", "-U", "bench", "-E", "UTF8", "--locale=C", "-N", "-D", work + "/data")
        options = "-k %s -c listen_addresses= -c fsync=off -c autovacuum=off -c max_wal_size=4GB" % work
        self.run("pg_ctl", "-w", "-D", work + "/data", "-l", work + "/log", "-o", options, "start")

    def run(self, tool, *args, **kw):
        kw.setdefault("stdout", subprocess.DEVNULL)
        return subprocess.run(self.as_user + [self.bin + tool, *args], check=True, cwd="/", **kw)

    def sql(self, what):
        self.run("psql", "-q", "-v", "ON_ERROR_STOP=1", "-h", self.dir, "-U", "bench", "postgres", input=what, text=True)

    def dump(self, to):
        with open(to, "wb") as f:
            self.run("pg_dump", "-h", self.dir, "-U", "bench", "-Fc", "-Z0", "postgres", stdout=f)

    def stop(self):
        self.run("pg_ctl", "-w", "-D", self.dir + "/data", "-m", "fast", "stop")
        shutil.rmtree(self.dir)


def pair_postgres(pg, to, percent, name, fill):
    n = 8200 * percent
    rows = ("\t".join(map(str, row(i))) for i in range(n))
    pg.sql("create table messages(id bigint primary key, author text, created timestamp, body text, ref text)"
           " with (fillfactor = %d);\n" % fill +
           "create index on messages(author);\n"
           "copy messages from stdin;\n" + "\n".join(rows) + "\n\\.\n")
    pg.dump(to + "/before/" + name)
    edits = "".join("update messages set created = '%s', body = body || ' %s' where id = %d;\n" %
                    (stamp(), RANDOM.choice(WORDS), i) for i in some(n, 20))
    pg.sql("begin;\n" + edits + "commit;\n")
    pg.dump(to + "/after/" + name)
    if name == "dump":
        pg.sql("create index ref on messages(ref); cluster messages using ref; drop index ref;")
        pg.dump(to + "/order/" + name)
    pg.sql("drop table messages")


def pair_sqlite(to, percent, name, indexed, grow):
    n = 7900 * percent
    db = sqlite3.connect(to + "/live")
    db.execute("create table messages(id integer primary key, author, created, body, ref)")
    db.execute("create index by_author on messages(author)")
    db.execute("create index second on messages(%s)" % indexed)
    db.executemany("insert into messages values(?, ?, ?, ?, ?)", (row(i) for i in range(n)))
    db.commit()
    shutil.copy(to + "/live", to + "/before/" + name)
    db.executemany("update messages set created = ?, body = body || ? where id = ?",
                   [(stamp(), " " + RANDOM.choice(WORDS) if grow else "", i) for i in some(n, 20)])
    db.commit()
    db.close()
    os.rename(to + "/live", to + "/after/" + name)


class Redis:
    def __init__(self, work):
        self.dir = work
        os.makedirs(work, exist_ok=True)
        self.start()

    def start(self):
        self.server = subprocess.Popen(
            ["redis-server", "--port", "0", "--unixsocket", "redis.sock", "--save", "", "--dir", self.dir,
             "--dbfilename", "rdb"], cwd=self.dir, stdout=subprocess.PIPE, text=True)
        for line in self.server.stdout:
            if "ready to accept connections" in line.lower():
                break

    def cli(self, *args, **kw):
        subprocess.run(["redis-cli", "-s", self.dir + "/redis.sock", *args], check=True, stdout=subprocess.DEVNULL, **kw)

    def pipe(self, commands):
        def one(args):
            return "*%d\r\n" % len(args) + "".join("$%d\r\n%s\r\n" % (len(a), a) for a in args)
        self.cli("--pipe", input="".join(map(one, commands)), text=True)

    def save(self, to):
        self.cli("save")
        shutil.copy(self.dir + "/rdb", to)

    def stop(self):
        self.cli("shutdown", "nosave")
        self.server.wait()
        self.server.stdout.close()


def pair_redis(to, percent):
    n = 1600 * percent
    redis = Redis(to + "/redis")

    def write(i):
        v = row(i)
        return ("hset", "session:%d" % i, "user", v[1], "seen", v[2], "text", v[3], "token", v[4]) if i % 2 else \
            ("set", "page:%d" % i, "\t".join(map(str, v)))
    redis.pipe(write(i) for i in range(n))
    redis.save(to + "/before/rdb")
    redis.pipe(("hset", "session:%d" % i, "seen", stamp(), "token", RANDOM.randbytes(8).hex()) if i % 2 else
               ("append", "page:%d" % i, " " + RANDOM.choice(WORDS)) for i in some(n, 20))
    redis.save(to + "/after/rdb")
    redis.stop()
    redis.start()
    redis.save(to + "/order/rdb")
    redis.stop()
    shutil.rmtree(to + "/redis")


def pair(to, percent):
    for i in "before", "after", "order":
        os.makedirs(to + "/" + i)
    pg = Postgres(to + "/pg")
    pair_postgres(pg, to, percent, "dump", 90)
    pair_postgres(pg, to, percent, "moved.dump", 100)
    pg.stop()
    pair_sqlite(to, percent, "db", "ref", False)
    pair_sqlite(to, percent, "grown.db", "created", True)
    pair_redis(to, percent)


def chain(to, n, percent):
    os.makedirs(to + "/sql")
    os.makedirs(to + "/db")
    rows = {i: row(i) for i in range(3000 * percent)}
    new = len(rows)
    db = sqlite3.connect(to + "/live")
    db.execute("create table m(id integer primary key, u, c, t, e)")
    db.execute("create index mu on m(u)")
    db.executemany("insert into m values(?, ?, ?, ?, ?)", list(rows.values())[:2000 * percent])
    db.commit()
    for g in range(n):
        with open("%s/sql/%02d" % (to, g), "w") as f:
            f.writelines("\t".join(map(str, v)) + "\n" for v in rows.values())
        shutil.copy(to + "/live", "%s/db/%02d" % (to, g))
        ids = list(rows)
        for i in RANDOM.sample(ids, len(ids) * 13 // 1000):
            v = rows[i]
            rows[i] = (v[0], v[1], stamp(), v[3] + " " + RANDOM.choice(WORDS), v[4])
            if i < 2000 * percent:
                db.execute("update m set c = ?, t = ? where id = ?", (rows[i][2], rows[i][3], i))
        for i in RANDOM.sample(ids, len(ids) * 3 // 1000):
            del rows[i]
            db.execute("delete from m where id = ?", (i,))
        for _ in range(len(ids) * 3 // 1000):
            rows[new] = row(new)
            db.execute("insert into m values(?, ?, ?, ?, ?)", rows[new])
            new += 1
        db.commit()
    db.close()
    os.remove(to + "/live")


def main():
    what, to = sys.argv[1:3]
    args = list(map(int, sys.argv[3:]))
    to = os.path.abspath(to)
    if what == "pair":
        pair(to, *(args or [100]))
    else:
        chain(to, args[0], args[1] if len(args) > 1 else 100)


main()
