"""A page of memory that the harness shares with one node: through it ports say what a run asks of the node, and hear what it did.

Owns where pages are, how they are made and mapped, and lines that are read whole or not at all. Must not know what stands on any of them.
"""

from __future__ import annotations

import mmap
import os
import struct
from functools import lru_cache
from pathlib import Path

from killswitch.live.checkpoint import sync_directory


def place(folder: str, node: str, directory: Path) -> Path:
    """Where the page of ``node`` is in the run's directory; each port has a folder of its own."""
    return directory / folder / node.replace("/", "-")


def made(path: Path, content: bytes) -> mmap.mmap:
    """A new page, that reads ``content``. Raises `OSError`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    sync_directory(path.parent)
    return mapped(path)


def mapped(path: Path) -> mmap.mmap:
    """The whole page, to be read and written. Raises `OSError` if there is none."""
    file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        return mmap.mmap(file, 0)
    finally:
        os.close(file)


def write_line(page: mmap.mmap, at: int, *fields: int) -> None:
    """Eight bytes each, behind a version and before the same again: from the first write to the last a reader sees that the two differ."""
    (version,) = struct.unpack_from("<Q", page, at)
    struct.pack_into("<Q", page, at, version + 1)
    struct.pack_into(f"<{len(fields)}q", page, at + 8, *fields)
    struct.pack_into("<Q", page, at + 8 + 8 * len(fields), version + 1)


def read_line(page: mmap.mmap, at: int, fields: int) -> tuple[int, ...] | None:
    """The fields as they were whole; None before the first line was written."""
    layout = _layout(fields)
    while True:
        before, *line, after = layout.unpack_from(page, at)
        if before == after == layout.unpack_from(page, at)[0]:
            return tuple(line) if before else None


@lru_cache
def _layout(fields: int) -> struct.Struct:
    return struct.Struct(f"<Q{fields}qQ")
