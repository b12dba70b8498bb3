"""Ports on the loopback interface, and the refusal of any other address.

Owns which addresses the harness may touch: experiments reach nothing but this host.
"""

from __future__ import annotations

import random
import socket

LOOPBACK = "127.0.0.1"
# Below the range that the kernel gives to outgoing connections, so that a port is still ours when a crashed server returns to it.
LOWEST, HIGHEST = 20_000, 32_000
ATTEMPTS = 200

_handed_out: set[int] = set()


class NotLoopback(ValueError):
    """An address outside this host was about to be used."""


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


def loopback(address: str) -> str:
    """``address`` (``host:port``) if it is on the loopback interface. Raises `NotLoopback`."""
    host, _, port = address.rpartition(":")
    if host != LOOPBACK or not port.isdigit():
        raise NotLoopback(f"only {LOOPBACK}:PORT may be a target (got {address!r})")
    return address
