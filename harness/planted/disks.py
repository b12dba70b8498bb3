"""Planted bugs of disks that fail, are full, or hold a broken log."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from harness.planted.bug import PlantedBug
from killswitch.core import audit
from killswitch.core.audit import Chain, Recovery
from killswitch.core.events import DiskFull, Record
from killswitch.core.intent import View
from killswitch.core.messages import Gate, LeaseRequest
from killswitch.core.replica import grants
from killswitch.core.replica.state import Replica
from killswitch.core.sidecar import state as sidecar_state
from killswitch.core.sidecar import step as sidecar_step
from killswitch.core.sidecar.state import Sidecar

_gate = sidecar_state.gate
_kill = sidecar_step.kill
_lease = grants.lease


def open_without_a_disk(state: Sidecar, now_ns: int) -> Gate:
    failed, state.disk_failed = state.disk_failed, False
    try:
        return _gate(state, now_ns)
    finally:
        state.disk_failed = failed


def grant_without_a_disk(state: Replica, request: LeaseRequest, view: View, now_ns: int) -> tuple[int, str]:
    failed, state.disk_failed = state.disk_failed, False
    try:
        return _lease(state, request, view, now_ns)
    finally:
        state.disk_failed = failed


def whatever_can_be_read(rows: Iterable[bytes]) -> tuple[tuple[Record, ...], int]:
    return tuple(entry for row in rows if (entry := audit.read(row)) is not None), 0


def all_of_it(records: Sequence[Record], boot: str) -> Recovery:
    return Recovery(Chain(boot, records[-1] if records else None), tuple(records), None)


def kill_when_there_is_room(state: Sidecar, now_ns: int) -> None:
    """Nothing that leaves no record, and a kill above all."""
    if not state.disk_full:
        _kill(state, now_ns)


def a_full_disk_is_no_failure(state: Sidecar, event: DiskFull, now_ns: int) -> None:
    """Somebody will clean up, and until then it all fits into memory."""


BUGS = (
    PlantedBug("B62", "a sidecar whose disk failed keeps its gate open", {"sidecar.state:gate": open_without_a_disk}, ("S11",),
               ("disk-fails-at-work", "swarm-storm"), "easy"),
    PlantedBug("B63", "a replica whose disk failed goes on granting", {"replica.grants:lease": grant_without_a_disk}, ("S11",),
               ("disk-fails-at-work", "swarm-storm"), "easy"),
    PlantedBug("B70", "what can be read of a broken log is believed, hole or not",
               {"audit:readable": whatever_can_be_read, "audit:recover": all_of_it}, ("S15", "S16"),
               ("power-loss-mid-checkpoint", "bit-rot"), "easy"),
    PlantedBug("B77", "a full disk holds up the kill", {"sidecar.step:kill": kill_when_there_is_room}, ("L2",),
               ("disk-full-at-a-hard-kill",), "easy"),
    PlantedBug("B78", "a sidecar goes on letting effects out that it has no room to record", {"sidecar.step:on_disk_full": a_full_disk_is_no_failure},
               ("S11",), ("disk-full-at-a-hard-kill",), "easy"),
)  # fmt: skip
