#!/usr/bin/env python3
"""A file system (FUSE) with one file, `program`: stuck_file_system.py FOLDER PROGRAM. It does not answer from SIGUSR1 to SIGUSR2."""

import ctypes
import os
import signal
import struct
import sys
import threading

LOOKUP, FORGET, GETATTR, OPEN, READ, STATFS, RELEASE, FLUSH, INIT, OPENDIR, ACCESS = 1, 2, 3, 14, 15, 17, 18, 25, 26, 27, 34
INTERRUPT, BATCH_FORGET = 36, 42
ROOT, PROGRAM = 1, 2
NOT_THERE, NOT_KNOWN = -2, -38

folder, program = sys.argv[1:]
with open(program, "rb") as file:
    content = file.read()
channel = os.open("/dev/fuse", os.O_RDWR)
options = f"fd={channel},rootmode=40000,user_id=0,group_id=0,allow_other"
libc = ctypes.CDLL(None, use_errno=True)
if libc.mount(b"stuck", os.fsencode(folder), b"fuse", 0, options.encode()):
    raise OSError(ctypes.get_errno(), "mount")
answers = threading.Event()
answers.set()
signal.signal(signal.SIGUSR1, lambda *_: answers.clear())
signal.signal(signal.SIGUSR2, lambda *_: answers.set())


def attributes(node):
    mode, size = (0o040755, 4096) if node == ROOT else (0o100755, len(content))
    return struct.pack("<6Q10I", node, size, 0, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)


# Nothing may be remembered: each question comes here.
def answer(kind, node, body):
    if kind == INIT:
        return 0, struct.pack("<4I2H2I2HI", 7, 31, 65536, 0, 12, 10, 65536, 1, 32, 0, 0) + bytes(28)
    if kind == LOOKUP:
        is_there = body == b"program\0"
        return (0, struct.pack("<4Q2I", PROGRAM, 0, 0, 0, 0, 0) + attributes(PROGRAM)) if is_there else (NOT_THERE, b"")
    if kind == GETATTR:
        return 0, struct.pack("<Q2I", 0, 0, 0) + attributes(node)
    if kind in (OPEN, OPENDIR):
        return 0, struct.pack("<Q2I", 1, 0, 0)
    if kind == READ:
        _, offset, size = struct.unpack_from("<2QI", body)
        return 0, content[offset : offset + size]
    if kind == STATFS:
        return 0, bytes(80)
    return (0, b"") if kind in (RELEASE, FLUSH, ACCESS) else (NOT_KNOWN, b"")


def serve():
    while True:
        try:
            request = os.read(channel, 1 << 20)
        except OSError:
            # It was unmounted.
            os._exit(0)
        answers.wait()
        _, kind, number, node = struct.unpack_from("<2I2Q", request)
        if kind not in (FORGET, BATCH_FORGET, INTERRUPT):
            error, out = answer(kind, node, request[40:])
            os.write(channel, struct.pack("<IiQ", 16 + len(out), error, number) + out)


threading.Thread(target=serve, daemon=True).start()
while True:
    signal.pause()
