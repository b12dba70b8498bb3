"""Ports on the loopback interface that nobody uses.

Owns which ports this process has handed out. What addresses may be used at all is `harness.live.guard`'s.
"""

from __future__ import annotations

import random
import socket

from harness.live.guard import LOOPBACK

# Below the range that the kernel gives to outgoing connections, so that a port is still ours when a crashed server returns to it.
LOWEST, HIGHEST = 20_000, 32_000
ATTEMPTS = 200

_handed_out: set[int] = set()


def free_port() -> int:
    """A port that nobody listens on and that this process has not handed out before. Raises `OSError` if none is found."""
    for _ in range(ATTEMPTS):
        port = random.randrange(LOWEST, HIGHEST)
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                trial.bind((LOOPBACK, port))
            except OSError:
                continue
        if port not in _handed_out:
            _handed_out.add(port)
            return port
    raise OSError(f"no free port in {LOWEST}..{HIGHEST} after {ATTEMPTS} attempts")
