#!/usr/bin/python3
# Damages segments of a repository, and says which bytes of which files they hold: found out by the
# second reader of the format (tests/golden), which shares no code with ours.
# usage: covered.py [--plan] REPOSITORY KEY SNAPSHOT N SEED
# Flips one bit in each of N data segments, in every copy; prints "OFFSET LENGTH PATH" for each range.
# --plan: only prints. Exit status 77: modules missing.
import os
import random
import stat
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "golden"))
from decode import BYTES, DATA, TREE, Pack, Repository, Snapshot, Store


class Segments(Store):
    """All segments, without the questions that the golden repository is asked."""

    def __init__(self, repo):
        self.repo, self.copies, self.objects = repo, {}, {}
        for name in repo.below("packs"):
            pack = Pack(repo, name)
            for segment in pack.segments:
                self.copies.setdefault(segment.id, []).append((pack.id, segment))
        for key, copies in self.copies.items():
            if copies[0][1].type == TREE:
                self.load_tree(key, copies[0][1].parts[0])


class Ranges(Snapshot):
    """Where each segment's bytes are, instead of what they are."""

    def describe(self, path, inode, link=None):
        if not self.entries:
            self.ranges = []
        self.entries[path.decode("latin-1")] = {}
        if inode["type"] != "file" or not inode["size"]:
            return
        at = 0
        for _, extents in self.store.extents(inode["content"], inode["size"]):
            for kind, length, segment, _ in extents:
                if kind == BYTES:
                    self.ranges.append((segment, at, length, path))
                at += length


def flip(path, at):
    os.chmod(path, stat.S_IRUSR | stat.S_IWUSR)
    with open(path, "r+b") as f:
        f.seek(at)
        byte = f.read(1)[0]
        f.seek(at)
        f.write(bytes([byte ^ 4]))


def main(root, key, number, n, seed):
    with open(key, encoding="ascii") as f:
        repo = Repository(root, None, f.read())
    store = Segments(repo)
    ranges = Ranges(repo, store, f"snapshots/{number}").ranges
    data = sorted({r[0] for r in ranges if store.copies[r[0]][0][1].type == DATA})
    draw = random.Random(seed)
    chosen = set(draw.sample(data, min(n, len(data))))
    for segment, at, length, path in ranges:
        if segment in chosen:
            print(at, length, path.decode())
    if plan:
        return
    for segment in chosen:
        for pack, copy in store.copies[segment]:
            name = pack.hex()
            flip(f"{root}/packs/{name[:2]}/{name}", copy.at + draw.randrange(80, copy.len))


plan = sys.argv[1] == "--plan"
args = sys.argv[1 + plan :]
main(args[0], args[1], int(args[2]), int(args[3]), int(args[4]))
