#!/usr/bin/env python3
"""How many points a collection's snapshot file has, as Qdrant's own library reads it, without a server.

usage: qdrant_offline.py FILE FOLDER      FOLDER is made; needs qdrant-edge-py from PyPI
"""
import os
import sys
import tarfile

import qdrant_edge

source, folder = sys.argv[1:]
os.makedirs(folder + "/shard")
with tarfile.open(source) as snapshot:
    snapshot.extractall(folder + "/files", filter="data")
# The library takes a shard's: the same files without the collection's around them.
with tarfile.open(folder + "/shard.snapshot", "w") as shard:
    for name in sorted(os.listdir(folder + "/files/0")):
        shard.add(f"{folder}/files/0/{name}", arcname=name)
qdrant_edge.EdgeShard.unpack_snapshot(folder + "/shard.snapshot", folder + "/shard")
loaded = qdrant_edge.EdgeShard.load(folder + "/shard")
print(loaded.count(qdrant_edge.CountRequest(exact=True)))
