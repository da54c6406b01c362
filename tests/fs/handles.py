"""Positions and handles, as file servers use them.

handles.py positions DIR         telldir/seekdir: a listing is taken up again where it was, in any
                                 order, by another opened folder too
handles.py save DIR FILE         name_to_handle_at of all that is in DIR, with its stat, into FILE
handles.py open MOUNT FILE       open_by_handle_at of each: the same inode, and the same bytes

open exits 77 where the kernel gives no handles. Knows nothing of bakfs.
"""
import ctypes
import errno
import hashlib
import json
import os
import random
import stat
import struct
import sys

libc = ctypes.CDLL(None, use_errno=True)
libc.opendir.restype = libc.readdir.restype = ctypes.c_void_p
libc.opendir.argtypes = [ctypes.c_char_p]
libc.readdir.argtypes = libc.telldir.argtypes = libc.closedir.argtypes = [ctypes.c_void_p]
libc.telldir.restype = ctypes.c_long
libc.seekdir.argtypes = [ctypes.c_void_p, ctypes.c_long]


def next_name(folder):
    entry = libc.readdir(folder)
    return ctypes.string_at(entry + 19) if entry else None


def positions(path):
    folder = libc.opendir(os.fsencode(path))
    at, names = [], []
    while True:
        at.append(libc.telldir(folder))
        name = next_name(folder)
        if name is None:
            break
        names.append(name)
    assert len(set(names)) == len(names) == len(set(at)) - 1, "names or positions come twice"
    assert sorted(n for n in names if n not in (b".", b"..")) == sorted(os.listdir(os.fsencode(path)))
    again = libc.opendir(os.fsencode(path))
    order = list(range(len(names)))
    random.Random(20261121).shuffle(order)
    for which, i in enumerate(order[:3000]):
        handle = (folder, again)[which % 2]
        libc.seekdir(handle, at[i])
        for expected in names[i:i + 3]:
            found = next_name(handle)
            assert found == expected, f"at {at[i]} there is {found}, not {expected}"
    libc.seekdir(again, at[-1])
    assert next_name(again) is None, "there is something behind the end"
    libc.closedir(folder)
    libc.closedir(again)


def handle_of(path):
    buf = ctypes.create_string_buffer(8 + 128)
    mount = ctypes.c_int()
    struct.pack_into("I", buf, 0, 128)
    if libc.name_to_handle_at(-100, os.fsencode(path), buf, ctypes.byref(mount), 0) < 0:
        no = ctypes.get_errno()
        if no == errno.EOPNOTSUPP:
            sys.exit(77)
        raise OSError(no, os.strerror(no), path)
    return buf.raw[:8 + struct.unpack_from("I", buf, 0)[0]]


def facts(fd):
    st = os.fstat(fd)
    return [st.st_ino, st.st_mode, st.st_uid, st.st_gid, st.st_size, st.st_mtime_ns, st.st_nlink]


def save(path, out):
    saved = []
    for folder, folders, files in os.walk(path):
        for name in folders + files + ["."]:
            one = os.path.normpath(os.path.join(folder, name))
            fd = os.open(one, os.O_PATH | os.O_NOFOLLOW)
            saved.append([one, handle_of(one).hex(), facts(fd)])
            os.close(fd)
    with open(out, "w", encoding="ascii") as file:
        json.dump(saved, file)


def content(fd):
    proc = f"/proc/self/fd/{fd}"
    with open(proc, "rb") as file:
        return hashlib.sha256(file.read()).digest()


def open_all(mount, path):
    with open(path, encoding="ascii") as file:
        saved = json.load(file)
    random.Random(20261121).shuffle(saved)
    root = os.open(mount, os.O_RDONLY)
    opened = []
    # All of them before any name is looked up: the kernel has nothing but the handles.
    for one, handle, expected in saved:
        fd = libc.open_by_handle_at(root, bytes.fromhex(handle), os.O_PATH)
        if fd < 0:
            no = ctypes.get_errno()
            if no == errno.EPERM:
                sys.exit(77)
            raise OSError(no, os.strerror(no), one)
        assert facts(fd) == expected, f"{one}: {facts(fd)}, not {expected}"
        opened.append(fd)
    for (one, _, expected), fd in zip(saved, opened):
        if stat.S_ISREG(expected[1]):
            with open(one, "rb") as file:
                assert content(fd) == hashlib.sha256(file.read()).digest(), one
        os.close(fd)


command, args = sys.argv[1], sys.argv[2:]
{"positions": positions, "save": save, "open": open_all}[command](*args)
