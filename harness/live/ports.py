"""Ports on the loopback interface that nobody uses.

Owns which ports are handed out, and to whom. A port is drawn long before anything listens on it, so it is held by a lock until then, and for as
long as its process lives. All live runs of a user take their locks in one file, so that two side by side never draw the same port; the kernel lets
go of them with the process, however that ends. What addresses may be used at all is `harness.live.guard`'s.
"""

from __future__ import annotations

import fcntl
import os
import random
import socket
import tempfile
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from harness.live.guard import LOOPBACK

# Below the range that the kernel gives to outgoing connections, so that a port is still ours when a crashed server returns to it.
LOWEST, HIGHEST = 20_000, 32_000
ATTEMPTS = 200

_handed_out: set[int] = set()


def free_port() -> int:
    """A port that nobody listens on, and that no process of this user has been given and lives. Raises `OSError` if none is found."""
    for _ in range(ATTEMPTS):
        port = random.randrange(LOWEST, HIGHEST)
        if port in _handed_out or not _lock(port):
            continue
        if _is_free(port):
            _handed_out.add(port)
            return port
        _unlock(port)
    raise OSError(f"no free port in {LOWEST}..{HIGHEST} after {ATTEMPTS} attempts")


def give_back(ports: Iterable[int]) -> None:
    """These are done with: anybody may have them."""
    for port in _handed_out.intersection(ports):
        _handed_out.discard(port)
        _unlock(port)


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def _lock(port: int) -> bool:
    """Whether the byte of that port is ours now. Locks of a record are a process's, and no child's."""
    try:
        fcntl.lockf(_locks(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except (BlockingIOError, PermissionError):  # the two words that POSIX has for it
        return False
    return True


def _unlock(port: int) -> None:
    fcntl.lockf(_locks(), fcntl.LOCK_UN, 1, port)


@cache
def _locks() -> int:
    """The file, open until the process ends: were it closed but once, all locks would be gone."""
    file = Path(tempfile.gettempdir()) / f"haltproof-ports-{os.getuid()}"
    return os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
