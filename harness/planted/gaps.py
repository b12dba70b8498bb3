"""Planted bugs of what is easily left undone: fences that are never sent, answers ahead of the disk, failed disks, orders forgotten by count."""

from __future__ import annotations

from harness.planted.bug import PlantedBug
from killswitch.core import intent
from killswitch.core import sink as sinks
from killswitch.core.events import Send
from killswitch.core.intent import Intent, KnownOrder, View
from killswitch.core.messages import Apply, ApplyResult, Gate, LeaseRequest
from killswitch.core.replica import grants
from killswitch.core.replica.state import Replica
from killswitch.core.sidecar import state as sidecar_state
from killswitch.core.sidecar.state import Sidecar
from killswitch.core.sink import Sink

REMEMBERED = 8

_add_order = intent.add_order
_gate = sidecar_state.gate
_lease = grants.lease
_on_apply = sinks.on_apply


def never_fence(state: Replica, agent: str, order: str) -> None:
    """The leases run out by themselves, so who needs a fence."""


def answer_before_sync(state: Sink, message: Apply, sender: str, now_ns: int) -> None:
    _on_apply(state, message, sender, now_ns)
    state.effects = [
        Send(each.to, each.message) if isinstance(each, Send) and isinstance(each.message, ApplyResult) else each for each in state.effects
    ]


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


def escalate_nothing(state: Replica, parent: KnownOrder, now_ns: int) -> None:
    """The sidecar will see to it."""


def remember_the_latest(held: Intent, known: KnownOrder) -> bool:
    fresh = _add_order(held, known)
    while len(held.orders) > REMEMBERED:
        del held.orders[next(iter(held.orders))]
    return fresh


BUGS = (
    PlantedBug("B60", "a hard kill sends no fence to the sinks", {"replica.dispatch:fence": never_fence}, ("S2",),
               ("kill-with-effects-in-flight",), "easy"),
    PlantedBug("B61", "a sink answers before it is durable", {"sink:on_apply": answer_before_sync}, ("S9",), ("sinks-lose-power",), "easy"),
    PlantedBug("B62", "a sidecar whose disk failed keeps its gate open", {"sidecar.state:gate": open_without_a_disk}, ("S11",),
               ("disk-fails-at-work", "swarm-storm"), "easy"),
    PlantedBug("B63", "a replica whose disk failed goes on granting", {"replica.grants:lease": grant_without_a_disk}, ("S11",),
               ("disk-fails-at-work", "swarm-storm"), "easy"),
    PlantedBug("B64", "no replica escalates", {"replica.orders:escalate": escalate_nothing}, ("L3",), ("sidecar-gone-in-a-drain",), "easy"),
    PlantedBug("B65", "only the latest orders are remembered", {"intent:add_order": remember_the_latest}, ("S4", "S7", "S1", "S15"),
               ("many-orders",), "easy"),
)  # fmt: skip
