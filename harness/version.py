"""Which code this is: the version and a fingerprint of everything that decides how a run goes.

Owns the answer to "is this the code that made that token". Two checkouts with the same sources have the same fingerprint, whatever machine,
directory or Python they are on.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from importlib import metadata
from pathlib import Path

ROOMS = ("killswitch/core", "sim", "scenarios", "harness/planted", "harness/shared")


@lru_cache(maxsize=1)
def fingerprint() -> str:
    """Twelve hex digits over the sources of the core, the simulator and the drawing of schedules."""
    root = Path(__file__).resolve().parent.parent
    files = [path for room in ROOMS for path in (root / room).rglob("*") if path.suffix in (".py", ".cedar")]
    hasher = hashlib.sha256()
    for path in sorted(files, key=lambda path: path.relative_to(root).as_posix()):
        hasher.update(f"{path.relative_to(root).as_posix()}\0".encode())
        hasher.update(hashlib.sha256(path.read_bytes().replace(b"\r\n", b"\n")).digest())
    return hasher.hexdigest()[:12]


@lru_cache(maxsize=1)
def release() -> str:
    try:
        return metadata.version("haltproof")
    except metadata.PackageNotFoundError:  # run from a checkout that is not installed
        return "0"


def version() -> str:
    """As it stands in schedules and reports: release and fingerprint."""
    return f"{release()}+{fingerprint()}"
