"""A network namespace that a run makes for itself, lives in with all its processes, and leaves behind to die with the last of them.

Owns entering and leaving. It belongs to the calling thread, and to every thread and process that it starts from there; nothing outside is
reachable, and nobody outside sees the run's ports. Needs root.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NEW_NETWORK = 0x40000000  # CLONE_NEWNET
GET_FLAGS, SET_FLAGS = 0x8913, 0x8914  # SIOCGIFFLAGS, SIOCSIFFLAGS
UP = 1
INTERFACE = struct.Struct("16sH14x")
WHERE = "/proc/thread-self/ns/net"

_made: set[int] = set()


def here() -> int:
    """The number of the network namespace that the calling thread is in."""
    return Path(WHERE).stat().st_ino


def own() -> int:
    """The number of the namespace that the calling thread is in, if this process made it; 0: it is in the host's."""
    return number if _made and (number := here()) in _made else 0


@contextmanager
def entered() -> Iterator[int]:
    """In a namespace of one's own, with a loopback interface and nothing else; its number. Raises `OSError` if this host allows none."""
    libc = ctypes.CDLL(None, use_errno=True)
    before = os.open(WHERE, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _checked(libc.unshare(NEW_NETWORK))
        try:
            made = here()
            _made.add(made)
            _raise_loopback()
            yield made
        finally:
            _made.discard(here())
            _checked(libc.setns(before, NEW_NETWORK))
    finally:
        os.close(before)


def resent_segments() -> int:
    """How many TCP segments were sent again in the namespace of the calling thread."""
    names, values = (line.split() for line in Path("/proc/thread-self/net/snmp").read_text().splitlines() if line.startswith("Tcp:"))
    return int(values[names.index("RetransSegs")])


def _raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        _, flags = INTERFACE.unpack(fcntl.ioctl(any_socket, GET_FLAGS, INTERFACE.pack(b"lo", 0)))
        fcntl.ioctl(any_socket, SET_FLAGS, INTERFACE.pack(b"lo", flags | UP))


def _checked(result: int) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
