"""How the ``killswitch`` command ends: its exit codes, and the error that carries one.

Owns the numbers, which scripts rely on. A process that serves ends with 0 when it is asked to, a sidecar with ``restart: never`` as its program did.
"""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """DONE: done, or all confirmed. REFUSED, or an audit trail that does not hold. UNKNOWN: no replica answered, or a stop is not confirmed yet.
    HOST: this host has no place for the node: its disk fails, its port is taken, or another process is that node already."""

    DONE = 0
    REFUSED = 1
    UNKNOWN = 2
    USAGE = 64
    CONFIG = 65
    BUG = 70
    HOST = 74
    INTERRUPTED = 130
    BROKEN_PIPE = 141


class Wrong(Exception):
    """What was asked cannot be done; the message says why and what to try, ``code`` is how the command exits."""

    def __init__(self, message: str, code: Exit = Exit.USAGE) -> None:
        super().__init__(message)
        self.code = code
