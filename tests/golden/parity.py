"""Parity of packs, as bakfs-repository(5) has it: heads, checksums, and the sums themselves."""
import struct
import zlib

from reader import Bytes, check

TAIL = 12


def multiply(a, b):
    product = 0
    while b:
        product ^= a if b & 1 else 0
        a = a << 1 ^ (0x11D if a & 0x80 else 0)
        b >>= 1
    return product


INVERSE = [0] + [next(b for b in range(256) if multiply(a, b) == 1) for a in range(1, 256)]


class Parity:
    def __init__(self, repo, name):
        data = repo.read(name)
        repo.decoded.add(name)
        n = struct.unpack("<I", data[8:12])[0]
        check(data[:8] == b"bakpari1" == data[-8:], name + ": magic")
        check(data[8:12] == data[-12:-8], name + ": lengths")
        head = data[12 : 12 + n]
        check(head == data[-TAIL - n : -TAIL], name + ": the two heads")
        b = Bytes(
            repo.ring.unseal(
                b"bakfs object", head[:24], name.encode(), head[24:], repo.id + name.encode()
            )[0]
        )
        check(b.u8() == 1, name + ": version")
        self.k, self.m = b.u8(), b.u8()
        check(b.u8() == 0, name + ": zero")
        self.block, self.width, size = b.u32(), b.u32(), b.u64()
        identity = name[7:]
        self.pack = repo.read(f"packs/{identity[:2]}/{identity}")
        check(size == len(self.pack), name + ": size of its pack")
        self.rest = data[12 + n : -TAIL - n]
        self.check_sums(name, b)
        self.check_parity(name)

    def check_sums(self, name, b):
        self.pack += bytes(-len(self.pack) % self.block)
        for what in (self.pack, self.rest):
            for at in range(0, len(what), self.block):
                check(b.u32() == zlib.crc32(what[at : at + self.block]), f"{name}: block at {at}")
        b.done()

    def check_parity(self, name):
        row = self.width * self.block
        windows = -(-len(self.pack) // (self.k * row))
        check(len(self.rest) == windows * self.m * row, name + ": length of the parity")
        data = self.pack + bytes(windows * self.k * row - len(self.pack))
        for w in range(windows):
            for r in range(self.m):
                for x in range(0, row, 61):
                    total = 0
                    for i in range(self.k):
                        byte = data[(w * self.k + i) * row + x]
                        total ^= multiply(byte, INVERSE[(self.k + r) ^ i])
                    check(total == self.rest[(w * self.m + r) * row + x], f"{name}: parity {r} {x}")
