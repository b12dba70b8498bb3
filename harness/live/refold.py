"""After a live run: every process is played once more from its trace, through the pure core, and its log is folded afresh.

Owns two comparisons, and the reading of logs that dead nodes left. The replayed steps must give byte for byte the effects that the process gave,
or what was simulated says nothing of what was run (S27). And the state that the replay ends in must be what a fresh node folds from the records
that were written (S15).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from killswitch.core import audit
from killswitch.core.events import Append, Boot, Record
from killswitch.core.machine import Machine
from killswitch.live.trace import Step

_ENCODER = msgspec.msgpack.Encoder(order="deterministic")


def replay(life: Sequence[Step], machine: Machine) -> str:
    """Play the steps of one process again; the first step that differs, or empty."""
    for number, step in enumerate(life):
        effects = machine.step(step.event, step.clock_ns)
        if _ENCODER.encode(effects) != _ENCODER.encode(step.effects):
            return f"step {number} ({type(step.event).__name__}) gives other effects when it is replayed"
    return ""


def written(life: Sequence[Step]) -> tuple[Record, ...]:
    """All records of the log at the end of ``life``: those that it booted with, and those that it appended."""
    boot = life[0].event
    assert isinstance(boot, Boot), "Boot is the first input"
    return (*boot.records, *(effect.record for step in life for effect in step.effects if isinstance(effect, Append)))


def on_disk(log: Path) -> tuple[Record, ...]:
    """What the log file of a dead node holds; nothing if there is none. Raises `sqlite3.Error` or `msgspec.DecodeError` if it cannot be read."""
    if not log.exists():
        return ()
    database = sqlite3.connect(f"file:{log}?mode=ro", uri=True)
    try:
        rows = database.execute("SELECT body FROM record ORDER BY seq").fetchall()
    finally:
        database.close()
    return tuple(msgspec.msgpack.decode(body, type=Record) for (body,) in rows)


def stamps_on_disk(log: Path) -> dict[int, int]:
    """{lsn: stamp} of the records in the log file of a dead node. Raises `sqlite3.Error` if it cannot be read."""
    if not log.exists():
        return {}
    database = sqlite3.connect(f"file:{log}?mode=ro", uri=True)
    try:
        return dict(database.execute("SELECT seq, stamp FROM record"))
    finally:
        database.close()


def fold(life: Sequence[Step], live: Machine, fresh: Callable[[], Machine], log: Path | None) -> dict[str, Any] | None:
    """The body of a ``log-folded`` fact for the end of ``life``; None for a node that keeps no log.

    ``live``: the machine after `replay`. ``log``: the file that the last process left; what it holds must be the beginning of what was
    written, since a record may have been on its way to the disk when the process ended.
    """
    digest = live.digest()
    records = written(life)
    if not digest or not records:
        return None
    folded = fresh()
    last = life[-1]
    boot = life[0].event
    assert isinstance(boot, Boot), "Boot is the first input"
    folded.step(Boot(records, boot.boot, "fold"), last.clock_ns)
    chain_ok = isinstance(audit.verify(records), int)
    if log is not None:
        kept = on_disk(log)
        chain_ok = chain_ok and kept == records[: len(kept)]
    return {"records": len(records), "live": digest, "folded": folded.digest(), "chain_ok": chain_ok}
