"""A writer's log on disk: SQLite in WAL mode with FULL synchronisation, so that a commit that returned survives a power loss.

Owns the file of records (protocol 3.10: append in order, truncate to the last valid record, a failed sync is final), with the stamp of each
beside it, which is no part of the record and under no hash. Must not know what a record says.

``synchronous=NORMAL`` loses the last commits with the power, and says nothing: FULL is asserted when the file is opened. After an
error the log refuses every further append: fsync cannot be tried again and believed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from killswitch.core import audit
from killswitch.core.events import Record
from killswitch.live.checkpoint import sync_directory

FULL = 2

SCHEMA = "CREATE TABLE IF NOT EXISTS record (seq INTEGER PRIMARY KEY, body BLOB NOT NULL, stamp INTEGER NOT NULL DEFAULT 0) STRICT, WITHOUT ROWID"

ADD_STAMP = "ALTER TABLE record ADD COLUMN stamp INTEGER NOT NULL DEFAULT 0"


class LogFailed(Exception):
    """A commit failed: nothing that was to become durable with it, or after it, ever will."""


class SqliteLog:
    """The log of one node. Used by one thread at a time."""

    def __init__(self, path: Path) -> None:
        """Open or create the log. Raises `LogFailed` if the file system cannot give WAL and FULL, or the file is no log."""
        try:
            self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=1.0)
            mode = self._database.execute("PRAGMA journal_mode=WAL").fetchone()[0]
            self._database.execute(f"PRAGMA synchronous={FULL}")
            synchronous = self._database.execute("PRAGMA synchronous").fetchone()[0]
            self._database.execute(SCHEMA)
            if "stamp" not in {column for _, column, *_ in self._database.execute("PRAGMA table_info(record)")}:
                self._database.execute(ADD_STAMP)  # a log that was begun before records had any
            sync_directory(path.parent)
        except (sqlite3.Error, OSError) as error:
            raise LogFailed(f"{path}: {error}") from error
        if mode != "wal" or synchronous != FULL:
            raise LogFailed(f"{path}: durability: need journal_mode=wal and synchronous={FULL} (got {mode} and {synchronous})")
        self._path = path
        self._failed = ""

    def append(self, records: Sequence[Record], stamps: Sequence[int] = ()) -> None:
        """Append ``records`` in one commit, with their ``stamps`` (0 if left out); when it returns they are durable. Raises `LogFailed`, then and for
        ever after."""
        if self._failed:
            raise LogFailed(self._failed)
        rows = [(record.seq, audit.written(record), stamp) for record, stamp in zip(records, stamps or [0] * len(records), strict=True)]
        try:
            self._database.execute("BEGIN IMMEDIATE")
            self._database.executemany("INSERT INTO record VALUES (?, ?, ?)", rows)
            self._database.execute("COMMIT")
        except sqlite3.Error as error:
            self._failed = f"commit of {rows[0][0]}..{rows[-1][0]} failed: {error}"
            raise LogFailed(self._failed) from error

    def load(self) -> tuple[tuple[Record, ...], int]:
        """The longest valid prefix, and how many bytes of an unreadable or broken tail were cut off, on disk too.

        The cut is durable before this returns: a record appended later must not meet a remnant of its own number.
        """
        try:
            records, tail_bytes = audit.readable(body for (body,) in self._database.execute("SELECT body FROM record ORDER BY seq"))
            if tail_bytes:
                self._database.execute("DELETE FROM record WHERE seq > ?", (len(records),))
        except sqlite3.Error as error:
            raise LogFailed(f"recovery: {error}") from error
        return records, tail_bytes

    def last_stamp(self) -> int:
        """Of the records that are there; 0 if none is. Raises `LogFailed`."""
        try:
            return int(self._database.execute("SELECT coalesce(max(stamp), 0) FROM record").fetchone()[0])
        except sqlite3.Error as error:
            raise LogFailed(f"recovery: {error}") from error

    def read_apart(self) -> tuple[Record, ...]:
        """The longest valid prefix of what is committed, from any thread and while the writer goes on. Raises `LogFailed`."""
        apart = sqlite3.connect(f"file:{self._path}?mode=ro", uri=True, timeout=1.0)
        try:
            rows = apart.execute("SELECT body FROM record ORDER BY seq").fetchall()
        except sqlite3.Error as error:
            raise LogFailed(f"{self._path}: {error}") from error
        finally:
            apart.close()
        return audit.readable(body for (body,) in rows)[0]

    def close(self) -> None:
        self._database.close()
