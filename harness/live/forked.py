"""A child that an agent forks, and that goes its own ways: ``python forked.py SOCKET PAGE NUMBER``.

Owns what such a child does: it says again what its parent last said to the sidecar, over the socket that it inherited, and knocks at the sinks'
own doors, until its page calls it off. It does not hear SIGTERM, and does not end with its parent. Imports nothing of the project and little of
the library: it runs as a script, isolated, as a program would that a real agent had started.

A child whose sidecar is gone for good ends by itself after a while, so that no experiment can leave one behind.
"""

from __future__ import annotations

import mmap
import os
import select
import signal
import socket
import struct
import sys
import time

CHILDREN = 2  # the second in a session of its own
WANTED = struct.Struct("<q")  # 1 while they are to live
PORTS = struct.Struct("<8H")  # where the sinks listen; 0: no more
DEEDS = struct.Struct("<qqq")  # of each child: its pid, how often it asked, how often it knocked
LENGTH = struct.Struct("<q")  # of the frame that the parent last sent, which follows
PORTS_AT = WANTED.size
DEEDS_AT = PORTS_AT + PORTS.size
FRAME_AT = DEEDS_AT + CHILDREN * DEEDS.size
FRAME_MAX = 4096
SIZE = FRAME_AT + LENGTH.size + FRAME_MAX

EVERY_S = 0.2
KNOCK_EVERY = 5  # rounds
KNOCK_S = 0.1
ORPHANED_S = 3.0


def frame_of(page: mmap.mmap) -> bytes:
    """The frame, or nothing while it is being written anew."""
    (length,) = LENGTH.unpack_from(page, FRAME_AT)
    frame = page[FRAME_AT + LENGTH.size : FRAME_AT + LENGTH.size + length]
    return frame if LENGTH.unpack_from(page, FRAME_AT) == (length,) else b""


def knock(port: int, frame: bytes) -> None:
    """Say it to a sink, in clear and without any proof of who says it."""
    try:
        with socket.create_connection(("127.0.0.1", port), KNOCK_S) as door:
            door.settimeout(KNOCK_S)
            door.sendall(frame)
            door.recv(1)
    except OSError:
        pass  # turned away, which the sink puts on record


def is_deserted(way: int) -> bool:
    """Whether nobody is at the other end any more."""
    ends = select.poll()
    ends.register(way, select.POLLRDHUP)
    return bool(ends.poll(0))


def main(arguments: list[str]) -> int:
    way, path, number = int(arguments[0]), arguments[1], int(arguments[2])
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    page = mmap.mmap(file, SIZE)
    os.close(file)
    asked = knocked = rounds = 0
    heard_s = time.monotonic()
    while WANTED.unpack_from(page) == (1,) and time.monotonic() - heard_s < ORPHANED_S:
        DEEDS.pack_into(page, DEEDS_AT + number * DEEDS.size, os.getpid(), asked, knocked)
        frame = frame_of(page)
        try:
            if frame:
                os.write(way, frame)  # in one piece, or not at all: it is far smaller than what a socket takes at once
                asked += 1
            if frame or not is_deserted(way):  # with nothing to say yet, only a look tells
                heard_s = time.monotonic()
        except BlockingIOError:
            heard_s = time.monotonic()
        except OSError:
            pass  # nobody is at the other end any more
        if frame and rounds % KNOCK_EVERY == 0:
            for port in filter(None, PORTS.unpack_from(page, PORTS_AT)):
                knock(port, frame)
                knocked += 1
        rounds += 1
        time.sleep(EVERY_S)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
