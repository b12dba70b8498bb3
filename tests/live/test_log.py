"""The log and the checkpoints on a real disk: what returned is there, what is broken is cut off, what failed stays failed."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.live import small_disks
from killswitch.core import audit
from killswitch.core.events import Record
from killswitch.core.machine import NodeConfig, Parameters
from killswitch.live.checkpoint import Checkpoints
from killswitch.live.clock import NodeClock
from killswitch.live.host import EXIT_DISK
from killswitch.live.log import RELEASED_BYTES, RESERVE, SCHEMA, LogFailed, NoRoom, Reserve, SqliteLog
from killswitch.live.node import Deployment

pytestmark = pytest.mark.live


def chain(length: int) -> list[Record]:
    records: list[Record] = []
    for number in range(length):
        records.append(audit.seal(records[-1] if records else None, "NOTE", number, "boot", {"number": number}))
    return records


def test_records_survive_and_the_chain_goes_on(tmp_path: Path) -> None:
    records = chain(5)
    log = SqliteLog(tmp_path / "log.db")
    log.append(records[:2])
    log.append(records[2:])
    log.close()
    again = SqliteLog(tmp_path / "log.db")
    assert again.load() == (tuple(records), 0)
    again.append([audit.seal(records[-1], "NOTE", 9, "boot", {})])
    assert len(again.load()[0]) == 6


def test_synchronous_full_is_in_force_and_not_merely_asked_for(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path / "log.db")
    assert log._database.execute("PRAGMA synchronous").fetchone() == (2,)
    assert log._database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    with pytest.raises(LogFailed, match="journal_mode=wal"):
        SqliteLog(Path(":memory:"))  # no file, so no write-ahead log: refused, not taken as good enough


def test_a_broken_tail_is_cut_off_on_disk_too(tmp_path: Path) -> None:
    records = chain(6)
    path = tmp_path / "log.db"
    log = SqliteLog(path)
    log.append(records, range(1, 7))
    log.close()
    with sqlite3.connect(path) as database:
        (body,) = database.execute("SELECT body FROM record WHERE seq = 4").fetchone()
        database.execute("UPDATE record SET body = ? WHERE seq = 4", (body[:-1] + bytes([body[-1] ^ 1]),))
    log = SqliteLog(path)
    survived, cut_bytes = log.load()
    assert survived == tuple(records[:3])
    assert cut_bytes > 0
    log.close()
    log = SqliteLog(path)
    assert log.load() == (survived, cut_bytes), "who dies before it has said so finds as much to cut"
    assert log.last_stamp() == 3
    log.append([audit.seal(survived[-1], "RECOVERED", 1, "boot", {"truncated": cut_bytes})])
    assert [record.kind for record in log.load()[0]] == ["NOTE"] * 3 + ["RECOVERED"]
    assert log.load()[1] == 0
    with sqlite3.connect(path) as database:
        assert database.execute("SELECT max(seq) FROM record").fetchone() == (4,)


def test_a_failed_commit_is_final(tmp_path: Path) -> None:
    records = chain(3)
    log = SqliteLog(tmp_path / "log.db")
    log.append(records[:1])
    with pytest.raises(LogFailed, match=r"1\.\.1 failed"):
        log.append(records[:1])
    with pytest.raises(LogFailed, match=r"1\.\.1 failed"):
        log.append(records[1:2])  # in itself it would succeed
    log.close()
    assert SqliteLog(tmp_path / "log.db").load()[0] == tuple(records[:1])


def test_what_append_returned_for_survives_sigkill(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from killswitch.core import audit; from killswitch.live.log import SqliteLog\n"
        f"log = SqliteLog(Path({str(tmp_path / 'log.db')!r})); last = None\n"
        "while True:\n"
        "    last = audit.seal(last, 'NOTE', 0, 'boot', {}); log.append([last]); print(last.seq, flush=True)"
    )
    writer = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    told = [int(writer.stdout.readline()) for _ in range(40)]
    os.kill(writer.pid, signal.SIGKILL)
    told += [int(line) for line in writer.communicate()[0].split()]
    survived, cut_bytes = SqliteLog(tmp_path / "log.db").load()
    assert cut_bytes == 0
    assert told == list(range(1, len(told) + 1))
    assert len(survived) in (len(told), len(told) + 1)


def test_checkpoints_keep_the_other_slot_whole(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "slots")
    assert checkpoints.load() == ()
    checkpoints.write(1, b"first")
    checkpoints.write(2, b"second")
    (tmp_path / "slots" / "slot1.tmp").write_bytes(b"torn")  # generation 3 died before its rename
    assert checkpoints.load() == (b"second", b"first")
    checkpoints.write(3, b"third")
    assert checkpoints.load() == (b"second", b"third")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system that can be filled up, with a log of three records on it."""
    place = tmp_path / "disk"
    try:
        small_disks.mount(place)
    except small_disks.NoSmallDisk as why:
        pytest.skip(str(why))
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(place: Path) -> Path:
    """Take up every byte that is left."""
    with (place / "ballast").open("wb", buffering=0) as ballast, contextlib.suppress(OSError):
        while ballast.write(bytes(4096)):
            pass
    assert os.statvfs(place).f_bavail == 0
    return place / "ballast"


def is_full(log: SqliteLog) -> bool:
    return log.full


def more(records: list[Record], *kinds: str) -> list[Record]:
    added: list[Record] = []
    for kind in kinds:
        added.append(audit.seal((records + added)[-1], kind, 0, "boot", {"why": "x" * 3000}))
    return added


def test_on_a_full_disk_prohibitions_have_the_reserve_and_all_else_waits(small_disk: Path) -> None:
    records = chain(3)
    log = SqliteLog(small_disk / "log.db", 8 * RELEASED_BYTES)
    log.append(records)
    ballast = fill(small_disk)
    while not is_full(log):  # the log's own pages have a bit of room yet
        new = more(records, "NOTE")
        with contextlib.suppress(NoRoom):
            log.append(new)
            records += new
    waits = more(records, "NOTE", "GATE_CHANGE", "NOTE")
    with pytest.raises(NoRoom) as met:
        log.append(waits)
    assert met.value.written == 2  # with what waits before it: a log has no gaps
    records += waits[:2]
    assert log.read_apart() == tuple(records)
    assert log._reserve is not None and log._reserve.lend()
    with pytest.raises(NoRoom) as met:
        log.append(waits[2:])  # what has been given back is for prohibitions only
    assert met.value.written == 0 < os.statvfs(small_disk).f_bavail
    with pytest.raises(NoRoom):
        log.append([])
    ballast.unlink()
    log.append(waits[2:])
    assert not is_full(log) and (small_disk / RESERVE).stat().st_size == 8 * RELEASED_BYTES
    log.close()
    again = SqliteLog(small_disk / "log.db", 8 * RELEASED_BYTES)
    assert again.load() == ((*records, waits[2]), 0)
    again.close()


def test_a_reserve_that_is_used_up_is_no_failure_and_one_opened_on_a_full_disk_is_what_there_is(small_disk: Path) -> None:
    records = chain(3)
    log = SqliteLog(small_disk / "log.db", 4 * RELEASED_BYTES)
    log.append(records)
    ballast = fill(small_disk)
    written = 3
    for _ in range(100):
        new = more(records, "PROC_KILL")
        with contextlib.suppress(NoRoom):
            log.append(new)
        held = len(log.read_apart())
        if held == written:
            break
        written, records = held, records + new
    assert 3 + 4 <= written < 103 and is_full(log) and (small_disk / RESERVE).stat().st_size == 0
    log.close()
    again = SqliteLog(small_disk / "log.db", 4 * RELEASED_BYTES)
    assert is_full(again) and len(again.load()[0]) == written
    ballast.unlink()
    again.append(more(records, "NOTE"))
    assert not is_full(again)
    again.close()


def test_without_a_reserve_a_full_disk_is_one_that_failed(small_disk: Path) -> None:
    records = chain(3)
    log = SqliteLog(small_disk / "log.db")
    log.append(records)
    fill(small_disk)
    with pytest.raises(LogFailed, match="full"):
        log.append(more(records, *["GATE_CHANGE"] * 20))
    log.close()


def test_a_log_that_was_closed_in_order_is_opened_on_a_full_disk_with_the_help_of_the_reserve(small_disk: Path) -> None:
    """It left no index beside it, and there is no room for a new one."""
    log = SqliteLog(small_disk / "log.db", reserve_bytes=8 * RELEASED_BYTES)
    log.append(chain(3))
    log.close()
    ballast = fill(small_disk)
    again = SqliteLog(small_disk / "log.db", reserve_bytes=8 * RELEASED_BYTES)
    assert is_full(again) and again.load() == (tuple(chain(3)), 0)
    assert (small_disk / RESERVE).stat().st_size < 8 * RELEASED_BYTES
    ballast.unlink()
    again.append([])
    assert not is_full(again)
    again.close()


@pytest.mark.parametrize("begun", [True, False])
def test_a_process_that_finds_no_room_to_open_its_log_says_so_and_ends_with_the_code_of_disks(small_disk: Path, begun: bool) -> None:
    config = NodeConfig(node="replica/1", role="replica", parameters=Parameters(), replicas=("replica/1",), quorum=1, kill_quorum=1)
    deployment = Deployment(config=config, cell="c", directory=str(small_disk), trace="", clock=NodeClock())
    deployment.save(small_disk.with_name("deployment.json"))
    if begun:
        SqliteLog(small_disk / "log.db").close()
    (small_disk / "lock").touch()
    fill(small_disk)
    command = [sys.executable, "-m", "killswitch.live.node", str(small_disk.with_name("deployment.json"))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (EXIT_DISK, "")
    (said,) = done.stderr.splitlines()
    assert said.startswith(f"{small_disk / 'log.db'}: no room on its disk, and no reserve left: make room (")


def test_a_torn_tail_is_cut_off_on_a_full_disk_with_the_help_of_the_reserve(small_disk: Path) -> None:
    records = chain(3)
    crashed = SqliteLog(small_disk / "log.db", 8 * RELEASED_BYTES)
    crashed.append(records)
    crashed._database.execute("UPDATE record SET body = x'00' WHERE seq = 2")
    fill(small_disk)
    while not is_full(crashed):
        new = more(records, "NOTE")
        with contextlib.suppress(NoRoom):
            crashed.append(new)
            records += new
    again = SqliteLog(small_disk / "log.db", 8 * RELEASED_BYTES)
    survived, cut_bytes = again.load()
    assert survived == tuple(records[:1]) and cut_bytes > 0
    said = audit.seal(survived[-1], "RECOVERED", 1, "boot", {"truncated": cut_bytes})
    stop = audit.seal(said, "ORDER_LEARNED", 1, "boot", {})
    with pytest.raises(NoRoom) as waits:
        again.append([said])
    assert waits.value.written == 0 and again.load() == (survived, cut_bytes)
    with pytest.raises(NoRoom) as urgent:
        again.append([said, stop])
    assert urgent.value.written == 2 and again.load() == ((*survived, said, stop), 0)
    assert (small_disk / RESERVE).stat().st_size < 8 * RELEASED_BYTES
    again.close()
    crashed.close()


def test_a_log_without_stamps_is_given_them_on_a_full_disk_with_the_help_of_the_reserve(small_disk: Path) -> None:
    Reserve(small_disk / RESERVE, 8 * RELEASED_BYTES).close()
    old = sqlite3.connect(small_disk / "log.db", isolation_level=None)
    old.execute("PRAGMA journal_mode=WAL")
    old.execute(SCHEMA.replace(", stamp INTEGER NOT NULL DEFAULT 0", ""))
    fill(small_disk)
    with pytest.raises(sqlite3.OperationalError, match="full"):
        old.executemany("INSERT INTO record VALUES (?, ?)", [(number, b"x") for number in range(1, 1000)])
    log = SqliteLog(small_disk / "log.db", 8 * RELEASED_BYTES)
    assert is_full(log) and log.last_stamp() == 0
    log.close()
    old.close()


def test_a_reserve_that_cannot_be_given_back_is_a_disk_that_failed(small_disk: Path) -> None:
    records = chain(3)
    log = SqliteLog(small_disk / "log.db", 4 * RELEASED_BYTES)
    log.append(records)
    fill(small_disk)
    assert log._reserve is not None
    writable = log._reserve._file
    log._reserve._file = os.open(small_disk / RESERVE, os.O_RDONLY)  # the system refuses to cut what is only open to be read
    os.close(writable)
    with pytest.raises(LogFailed, match="cannot be given back"):
        log.append(more(records, *["GATE_CHANGE"] * 20))
    with pytest.raises(LogFailed, match="cannot be given back"):
        log.append([])
    log.close()
