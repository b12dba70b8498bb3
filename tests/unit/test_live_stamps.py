"""The stamps that a live process puts beside its records."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from killswitch.core import audit, hlc
from killswitch.live import stamps
from killswitch.live.log import SqliteLog
from killswitch.live.stamps import Stamps

NOW_MS = 1_800_000_000_000
NOW = NOW_MS << hlc.COUNTER_BITS


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The wall clock, in milliseconds; to be set back at will."""
    reads = [NOW_MS]
    monkeypatch.setattr(stamps, "_wall_ms", lambda: reads[0])
    return reads


def test_stamps_grow_whatever_the_wall_clock_does(clock: list[int]) -> None:
    kept = Stamps()
    first = kept.tick()
    clock[0] -= 3_600_000
    assert first == NOW and kept.tick() == NOW + 1
    later = Stamps()
    later.resume(kept.last)  # a process that starts while the clock is an hour behind its own log
    assert later.tick() == NOW + 2


def test_a_stamp_that_was_heard_counts_unless_it_is_too_far_ahead(clock: list[int]) -> None:
    kept = Stamps()
    kept.hear(NOW + 7)
    assert kept.tick() == NOW + 8
    kept.hear((NOW_MS + hlc.AHEAD_MAX_MS + 1) << hlc.COUNTER_BITS)
    assert kept.tick() == NOW + 9


def test_stamps_lie_beside_the_records_also_in_a_log_that_was_begun_without(tmp_path: Path) -> None:
    first = audit.seal(None, "NOTE", 1, "boot", {})
    with sqlite3.connect(tmp_path / "log.db") as old:
        old.execute("CREATE TABLE record (seq INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT, WITHOUT ROWID")
        old.execute("INSERT INTO record VALUES (1, ?)", (audit.written(first),))
    old.close()
    log = SqliteLog(tmp_path / "log.db")
    assert (log.load(), log.last_stamp()) == (((first,), 0), 0)
    second = audit.seal(first, "NOTE", 2, "boot", {})
    log.append([second], [NOW])
    assert (log.load(), log.last_stamp()) == (((first, second), 0), NOW)
    log.close()
