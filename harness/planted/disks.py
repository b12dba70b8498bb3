"""Planted bugs of disks: what is torn, flipped, lost or buffered, and believed all the same; what a full one holds up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from weakref import WeakKeyDictionary

import msgspec

from harness.planted.bug import PlantedBug
from killswitch.core import audit
from killswitch.core.audit import Chain, Recovery
from killswitch.core.checkpoints import Checkpoint
from killswitch.core.events import Append, DiskFull, Effect, Record
from killswitch.core.outlet import Writer
from killswitch.core.replica.state import Replica
from killswitch.core.sidecar import step as sidecar_step
from killswitch.core.sidecar.state import Sidecar

GATHERED = 3

_kill = sidecar_step.kill


def always_the_same_slot(last: int, whole_slot: int | None) -> int:
    return last + 2


def one_more(last: int, whole_slot: int | None) -> int:
    """The slots take turns by themselves."""
    return last + 1


def as_it_lies_there(sealed: bytes) -> Checkpoint | None:
    """Whatever can be decoded is believed: the hash in front of it is taken for decoration."""
    try:
        return msgspec.msgpack.decode(sealed[32:], type=Checkpoint)
    except (msgspec.DecodeError, ValueError):
        return None


def whatever_can_be_read(rows: Iterable[bytes]) -> tuple[tuple[Record, ...], int]:
    return tuple(entry for row in rows if (entry := audit.read(row)) is not None), 0


def all_of_it(records: Sequence[Record], boot: str) -> Recovery:
    return Recovery(Chain(boot, records[-1] if records else None), tuple(records), None)


def grant_at_once(state: Replica, *, cut: bool) -> None:
    """It has the keys of a replica, so it is one."""


_gathered: WeakKeyDictionary[Writer, list[Effect]] = WeakKeyDictionary()


def gathered(state: Writer, kind: str, body: Mapping[str, object], now_ns: int) -> int:
    """Records are written a few at a time, to spare the disk; nobody flushes at a crash."""
    waiting = _gathered.setdefault(state, [])
    effect: Append = state.chain.append(kind, body, now_ns)
    waiting.append(effect)
    if len(waiting) >= GATHERED:
        state.effects.extend(waiting)
        waiting.clear()
    return effect.record.seq


def kill_when_there_is_room(state: Sidecar, now_ns: int) -> None:
    """Nothing that leaves no record, and a kill above all."""
    if not state.disk_full:
        _kill(state, now_ns)


def a_full_disk_is_no_failure(state: Sidecar, event: DiskFull, now_ns: int) -> None:
    """Somebody will clean up, and until then it all fits into memory."""


BUGS = (
    PlantedBug("B33", "records are gathered and written a few at a time, and a crash takes those that wait",
               {f"sidecar.{module}:record": gathered for module in ("step", "starts", "proof")}, ("S15",), ("swarm-storm",), "easy"),
    PlantedBug("B68", "every checkpoint goes to the same slot", {"checkpoints:next_generation": always_the_same_slot},
               ("S12",), ("power-loss-mid-checkpoint",), "easy"),
    PlantedBug("B216", "after a slot went bad the next checkpoint goes over the only whole one", {"checkpoints:next_generation": one_more},
               ("S12",), ("disk-that-lies", "bit-rot"), "medium"),
    PlantedBug("B69", "a checkpoint is believed without its hash", {"checkpoints:unseal": as_it_lies_there}, ("S12",), ("bit-rot",), "medium"),
    PlantedBug("B70", "what can be read of a broken log is believed, hole or not",
               {"audit:readable": whatever_can_be_read, "audit:recover": all_of_it},
               ("S15", "S16"), ("power-loss-mid-checkpoint", "bit-rot"), "easy"),
    PlantedBug("B71", "a replica that lost its disk grants at once", {"replica.joining:begin": grant_at_once},
               ("S1", "S6"), ("replica-lost-its-disk",), "easy"),
    PlantedBug("B77", "a full disk holds up the kill", {"sidecar.step:kill": kill_when_there_is_room},
               ("L2",), ("disk-full-at-a-hard-kill",), "easy"),
    PlantedBug("B78", "a sidecar goes on letting effects out that it has no room to record", {"sidecar.step:on_disk_full": a_full_disk_is_no_failure},
               ("S11",), ("disk-full-at-a-hard-kill",), "easy"),
)  # fmt: skip
