"""Planted bugs of disks that fail, are full, or hold a broken log."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from harness.planted.bug import PlantedBug, as_if
from killswitch.core import audit
from killswitch.core.audit import Chain, Recovery
from killswitch.core.bundles import RolloutRequest
from killswitch.core.certificates import ResumeCertificate
from killswitch.core.events import DiskFull, Record
from killswitch.core.intent import View
from killswitch.core.messages import Gate, LeaseRequest
from killswitch.core.replica import grants, rollouts, witness
from killswitch.core.replica import state as replica_state
from killswitch.core.replica.state import Replica
from killswitch.core.sidecar import state as sidecar_state
from killswitch.core.sidecar import step as sidecar_step
from killswitch.core.sidecar.state import Sidecar

_be_lifted = sidecar_step.learn_certificate
_gate = sidecar_state.gate
_is_reserved = audit.is_reserved
_judge_heads = witness.answer
_kill = sidecar_step.kill
_learn_certificate = replica_state.learn_certificate
_lease = grants.lease
_on_rollout_request = rollouts.on_rollout_request


def open_without_a_disk(state: Sidecar, now_ns: int) -> Gate:
    with as_if(state, "disk_failed", False):
        return _gate(state, now_ns)


def grant_without_a_disk(state: Replica, request: LeaseRequest, view: View, now_ns: int) -> tuple[int, str]:
    with as_if(state, "disk_failed", False):
        return _lease(state, request, view, now_ns)


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


def what_came_of_it_can_wait(kind: str) -> bool:
    """An order needs its record at once; the proofs are for people, who are in no such hurry."""
    return kind != "EVIDENCE" and _is_reserved(kind)


def room_for_all(kind: str) -> bool:
    """The reserve is there to be used."""
    return True


def lift_without_room(state: Replica, certificate: ResumeCertificate, sender: str, now_ns: int) -> int:
    """It will be written as soon as there is room."""
    with as_if(state, "disk_full", False):
        return _learn_certificate(state, certificate, sender, now_ns)


def be_lifted_without_room(state: Sidecar, certificate: ResumeCertificate, now_ns: int) -> None:
    with as_if(state, "disk_full", False):
        _be_lifted(state, certificate, now_ns)


def cosign_without_room(state: Replica, now_ns: int) -> None:
    """A note of witnessing is small."""
    with as_if(state, "disk_full", False):
        _judge_heads(state, now_ns)


def roll_out_without_room(state: Replica, request: RolloutRequest, sender: str, now_ns: int) -> None:
    """Somebody has to."""
    full, state.disk_full = state.disk_full, False
    _on_rollout_request(state, request, sender, now_ns)
    state.disk_full = full


BUGS = (
    PlantedBug("B62", "a sidecar whose disk failed keeps its gate open", {"sidecar.state:gate": open_without_a_disk}, ("S11",),
               ("disk-fails-at-work", "swarm-storm"), "easy"),
    PlantedBug("B63", "a replica whose disk failed goes on granting", {"replica.grants:lease": grant_without_a_disk}, ("S11",),
               ("disk-fails-at-work", "swarm-storm"), "easy"),
    PlantedBug("B70", "what can be read of a broken log is believed, hole or not",
               {"audit:readable": whatever_can_be_read, "audit:recover": all_of_it}, ("S15", "S16"),
               ("bit-rot", "power-loss-mid-checkpoint"), "easy"),
    PlantedBug("B77", "a full disk holds up the kill", {"sidecar.step:kill": kill_when_there_is_room}, ("L2",),
               ("disk-full-at-a-hard-kill",), "easy"),
    PlantedBug("B78", "a sidecar goes on letting effects out that it has no room to record", {"sidecar.step:on_disk_full": a_full_disk_is_no_failure},
               ("S11",), ("disk-full-at-a-hard-kill",), "easy"),
    PlantedBug("B316", "what came of an order has no part in the reserve of a full disk", {"audit:is_reserved": what_came_of_it_can_wait}, ("S11",),
               ("room-for-prohibitions-alone", "disk-full-at-a-hard-kill"), "easy"),
    PlantedBug("B317", "whatever is recorded may use the reserve of a full disk", {"audit:is_reserved": room_for_all}, ("S11",),
               ("room-for-prohibitions-alone", "disk-full-at-a-hard-kill"), "easy"),
    PlantedBug("B318", "a replica takes a resume in that it has no room for", {"replica.state:learn_certificate": lift_without_room}, ("S11",),
               ("room-for-prohibitions-alone",), "easy"),
    PlantedBug("B319", "a sidecar takes a resume in that it has no room for", {"sidecar.step:learn_certificate": be_lifted_without_room}, ("S11",),
               ("room-for-prohibitions-alone",), "easy"),
    PlantedBug("B320", "a replica whose disk is full goes on cosigning", {"replica.witness:answer": cosign_without_room}, ("S11",),
               ("room-for-prohibitions-alone",), "easy"),
    PlantedBug("B422", "a replica takes a rollout on that it has no room for", {"replica.rollouts:on_rollout_request": roll_out_without_room},
               ("S11",), ("room-for-prohibitions-alone",), "easy"),
)  # fmt: skip
