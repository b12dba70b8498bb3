"""The port through which a run makes a node's disk slow, failing or read-only: a page beside its log, asked before each commit.

Owns the page and both its ends. What it makes is what the node would see of a bad disk, a commit that takes long, that fails, or that the database
itself refuses; the file is never harmed. The node's end counts what it did, so that the count can be held against the node's own trace.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Sequence
from pathlib import Path

from harness.live import pages
from killswitch.core.events import Record
from killswitch.live.log import LogFailed, SqliteLog

FOLDER = "disks"
ORDERS = struct.Struct("<qqq")  # fails (0 or 1), slow_ns, read-only (0 or 1): the harness writes these
COUNTS = struct.Struct("<qq")  # failed, slowed: the node writes these
SIZE = ORDERS.size + COUNTS.size


def page_of(node: str, directory: Path) -> Path:
    """Where the page of ``node`` is, in the run's directory."""
    return pages.place(FOLDER, node, directory)


def log_at(path: Path, reserve_bytes: int = 0) -> SqliteLog:
    """The log at ``path``, behind its page if it has one."""
    page = page_of(path.parent.name, path.parents[2])
    return PortedLog(path, page, reserve_bytes) if page.exists() else SqliteLog(path, reserve_bytes)


class PortedLog(SqliteLog):
    """A log whose commits may be slow or fail, as ``page`` says. Once one has failed all do, as after any failed sync."""

    def __init__(self, path: Path, page: Path, reserve_bytes: int = 0) -> None:
        super().__init__(path, reserve_bytes)
        self._page = pages.mapped(page)
        self._broken = False

    def append(self, records: Sequence[Record], stamps: Sequence[int] = ()) -> None:
        fails, slow_ns, read_only = ORDERS.unpack_from(self._page)
        failed, slowed = COUNTS.unpack_from(self._page, ORDERS.size)
        if slow_ns:
            slowed += 1
            COUNTS.pack_into(self._page, ORDERS.size, failed, slowed)  # first: who dies while he waits was slowed, too
            time.sleep(slow_ns / 1e9)
        if read_only:  # from here on, for this process: the write that fails of it is final
            self._database.execute("PRAGMA query_only=ON")
        self._broken = self._broken or bool(fails)
        failed += bool(self._broken or read_only or self._failed)
        COUNTS.pack_into(self._page, ORDERS.size, failed, slowed)
        if self._broken:
            raise LogFailed("a commit failed by order")
        super().append(records, stamps)


class DiskSwitch:
    """The harness's end. Several faults may be on at once: their slowness adds up."""

    def __init__(self, path: Path) -> None:
        self._page = pages.made(path, bytes(SIZE))
        self.path = path
        self._failing: set[str] = set()
        self._read_only: set[str] = set()
        self._slow_ns: dict[str, int] = {}

    def fail(self, fault: str) -> None:
        self._failing.add(fault)
        self._order()

    def read_only(self, fault: str) -> None:
        self._read_only.add(fault)
        self._order()

    def slow(self, fault: str, by_ns: int) -> None:
        self._slow_ns[fault] = by_ns
        self._order()

    def let_be(self, fault: str) -> None:
        self._failing.discard(fault)
        self._read_only.discard(fault)
        self._slow_ns.pop(fault, None)
        self._order()

    def counts(self) -> tuple[int, int]:
        """Commits that failed and commits that were slowed, since the run began."""
        failed, slowed = COUNTS.unpack_from(self._page, ORDERS.size)
        return failed, slowed

    def _order(self) -> None:
        ORDERS.pack_into(self._page, 0, int(bool(self._failing)), sum(self._slow_ns.values()), int(bool(self._read_only)))
