"""A writer's log on disk: SQLite in WAL mode with FULL synchronisation, so that a commit that returned survives a power loss.

Owns the file of records (protocol 3.10: append in order, truncate to the last valid record, a failed sync is final), with the stamp of each
beside it, which is no part of the record and under no hash. Must not know what a record says.

``synchronous=NORMAL`` loses the last commits with the power, and says nothing: FULL is asserted when the file is opened. After an
error the log refuses every further append: fsync cannot be tried again and believed.

A log with a reserve tells a disk that is full from one that failed: what found no room was never written, and can be tried again. The reserve is a
file beside the log that only takes up room. When there is no other, records of prohibitions (`audit.RESERVED`), with what waits before them, are
given as much of it as they need; nobody else is until all of it could be taken back, which is how the log knows that there is room again.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from killswitch.core import audit
from killswitch.core.events import Record
from killswitch.live.checkpoint import sync_directory

FULL = 2
RESERVE_BYTES = 1 << 20  # of a deployed node: the records of some dozens of stops
RESERVE = "log.reserve"  # the file's name, beside the log
RELEASED_BYTES = 1 << 14  # at a time: what a commit of one record writes, and a bit

SCHEMA = "CREATE TABLE IF NOT EXISTS record (seq INTEGER PRIMARY KEY, body BLOB NOT NULL, stamp INTEGER NOT NULL DEFAULT 0) STRICT, WITHOUT ROWID"

NUMBER_MAX = (1 << 63) - 1  # that SQLite takes
Row = tuple[int, bytes, int]  # number, the record as written, stamp
ADD_STAMP = "ALTER TABLE record ADD COLUMN stamp INTEGER NOT NULL DEFAULT 0"


class LogFailed(Exception):
    """A commit failed: nothing that was to become durable with it, or after it, ever will."""


class NoRoom(Exception):
    """The disk is full. The first ``written`` of the records are durable all the same, by the reserve; the others can be tried again later."""

    def __init__(self, written: int) -> None:
        super().__init__(f"no room; {written} written to the reserve")
        self.written = written


class Reserve:
    """A file at ``path`` that takes up ``size`` bytes, to be given back when nothing else is left. ``lent``: some of it has been."""

    def __init__(self, path: Path, size: int) -> None:
        """Raises `OSError` if there is no such file and none can be made. A disk that is full already leaves what there was."""
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._size = size
        self.lent = os.fstat(self._file).st_size < size
        self.restore()

    def lend(self) -> bool:
        """Give back a little; whether there was any left."""
        left = os.fstat(self._file).st_size
        if left:
            os.ftruncate(self._file, max(0, left - RELEASED_BYTES))
            self.lent = True
        return left > 0

    def restore(self) -> bool:
        """Take up all of it again; whether that could be done. Raises `OSError` for anything else than a full disk."""
        if self.lent:
            try:
                os.posix_fallocate(self._file, 0, self._size)
            except OSError as error:
                if not is_full_disk(error):
                    raise
                return False
            self.lent = False
        return True

    def close(self) -> None:
        os.close(self._file)


def is_full_disk(error: Exception) -> bool:
    """Whether an error is of a disk without room: SQLite says so of its files, and of the index beside them that it cannot make larger; the kernel
    has two words for it. What Python raised itself has no code."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return getattr(error, "sqlite_errorcode", None) in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE)


def urgent_among(records: Sequence[Record]) -> int:
    """How many of ``records`` may use the reserve: those up to the last prohibition, for a chain has no gaps."""
    return max((place for place, record in enumerate(records, 1) if audit.is_reserved(record.kind)), default=0)


class SqliteLog:
    """The log of one node. Used by one thread at a time. ``full``: the disk is, as far as the last append saw."""

    def __init__(self, path: Path, reserve_bytes: int = 0) -> None:
        """Open or create the log. Raises `LogFailed` if the file system cannot give WAL and FULL, or the file is no log.

        ``reserve_bytes``: to keep for prohibitions; 0: none, and a disk that is full is one that failed.
        """
        self._path = path
        self._failed = ""
        self._cut_behind: int | None = None  # the number of the last record that is believed, while what comes after it is still there
        self.full = False
        try:
            self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=1.0)
            self._reserve = Reserve(path.with_name(RESERVE), reserve_bytes) if reserve_bytes else None
            mode = self._change("PRAGMA journal_mode=WAL").fetchone()[0]
            self._database.execute(f"PRAGMA synchronous={FULL}")
            synchronous = self._database.execute("PRAGMA synchronous").fetchone()[0]
            self._change(SCHEMA)
            if "stamp" not in {column for _, column, *_ in self._database.execute("PRAGMA table_info(record)")}:
                self._change(ADD_STAMP)  # a log that was begun before records had any
            sync_directory(path.parent)
        except (sqlite3.Error, OSError) as error:
            why = f"no room on its disk, and no reserve left: make room ({error})" if is_full_disk(error) else str(error)
            raise LogFailed(f"{path}: {why}") from error
        if mode != "wal" or synchronous != FULL:
            raise LogFailed(f"{path}: durability: need journal_mode=wal and synchronous={FULL} (got {mode} and {synchronous})")
        self.full = self._reserve is not None and self._reserve.lent

    def append(self, records: Sequence[Record], stamps: Sequence[int] = ()) -> None:
        """Append ``records`` in one commit, with their ``stamps`` (0 if left out); when it returns they are durable. No records: only look whether
        there is room again.

        Raises `LogFailed`, then and for ever after; or `NoRoom`, if the log has a reserve and there is none but that.
        """
        if self._failed:
            raise LogFailed(self._failed)
        rows = [(record.seq, audit.written(record), stamp) for record, stamp in zip(records, stamps or [0] * len(records), strict=True)]
        if (self.full and not self._has_room()) or not self._commit(rows):
            self.full = True
            raise NoRoom(self._append_to_reserve(rows[: urgent_among(records)]))
        self.full = False

    def _has_room(self) -> bool:
        assert self._reserve is not None, "only a log with a reserve is ever full"
        try:
            return self._reserve.restore()
        except OSError as error:
            self._failed = f"the reserve cannot be restored: {error}"
            raise LogFailed(self._failed) from error

    def _append_to_reserve(self, urgent: Sequence[Row]) -> int:
        """Append what may use the reserve, if it is enough; how many records that are."""
        assert self._reserve is not None, "only a log with a reserve is ever full"
        while not self._commit(urgent):
            if not self._lend():
                return 0
        return len(urgent)

    def _lend(self) -> bool:
        """Whether the reserve had anything left to give. Raises `LogFailed`."""
        assert self._reserve is not None, "only a log with a reserve is ever full"
        try:
            return self._reserve.lend()
        except OSError as error:
            self._failed = f"the reserve cannot be given back: {error}"
            raise LogFailed(self._failed) from error

    def _found_no_room(self, error: sqlite3.Error) -> bool:
        """Whether that is all, and there is a reserve."""
        return self._reserve is not None and is_full_disk(error)

    def _change(self, statement: str, values: Sequence[int] = ()) -> sqlite3.Cursor:
        """A change without which no node can boot: on a full disk it is given as much of the reserve as it needs."""
        while True:
            try:
                return self._database.execute(statement, values)
            except sqlite3.Error as error:
                if not self._found_no_room(error) or not self._lend():
                    raise
                self.full = True

    def _commit(self, rows: Sequence[Row]) -> bool:
        """Whether there was room; always for nothing. Raises `LogFailed`."""
        if not rows:
            return True
        try:
            self._database.execute("BEGIN IMMEDIATE")
            if self._cut_behind is not None:
                self._database.execute("DELETE FROM record WHERE seq > ?", (self._cut_behind,))
            self._database.executemany("INSERT INTO record VALUES (?, ?, ?)", rows)
            self._database.execute("COMMIT")
        except sqlite3.Error as error:
            if self._found_no_room(error):
                with contextlib.suppress(sqlite3.Error):  # as a rule it has been rolled back already
                    self._database.execute("ROLLBACK")
                return False
            self._failed = f"commit of {rows[0][0]}..{rows[-1][0]} failed: {error}"
            raise LogFailed(self._failed) from error
        self._cut_behind = None
        return True

    def load(self) -> tuple[tuple[Record, ...], int]:
        """The longest valid prefix, and how many bytes of an unreadable or broken tail are cut off.

        On disk that is done in one commit with the next records, the first of which says so: who dies before that finds the tail again, and not a
        log that looks whole.
        """
        try:
            records, tail_bytes = audit.readable(body for (body,) in self._database.execute("SELECT body FROM record ORDER BY seq"))
        except sqlite3.Error as error:
            raise LogFailed(f"{self._path}: recovery ({error})") from error
        self._cut_behind = len(records) if tail_bytes else None
        return records, tail_bytes

    def last_stamp(self) -> int:
        """Of the last record that is there and believed; 0 if none is. Raises `LogFailed`."""
        last = NUMBER_MAX if self._cut_behind is None else self._cut_behind
        try:
            row = self._database.execute("SELECT stamp FROM record WHERE seq <= ? ORDER BY seq DESC LIMIT 1", (last,)).fetchone()
        except sqlite3.Error as error:
            raise LogFailed(f"recovery: {error}") from error
        return int(row[0]) if row else 0

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
        if self._reserve is not None:
            self._reserve.close()
