"""Planted bugs of hosts that are there twice, and of cells that are there by half: numbers taken for starts, starts that nobody gives up, duties left
to some."""

from __future__ import annotations

from harness.planted.bug import PlantedBug
from killswitch.core.intent import KnownOrder
from killswitch.core.messages import LeaseReply, Token
from killswitch.core.replica import orders as replica_orders
from killswitch.core.replica.state import Replica
from killswitch.core.sidecar import starts
from killswitch.core.sidecar.state import Sidecar

_escalate = replica_orders.escalate
_may_vouch = starts.may_vouch
_note_promise = starts.note_promise


def a_number_is_a_start(asked: Token, promised: Token) -> bool:
    return (asked.epoch, asked.counter) == (promised.epoch, promised.counter)


def wait_for_better_times(state: Sidecar, reply: LeaseReply, now_ns: int) -> None:
    """A denial says nothing of tomorrow."""


def ask_at_once(state: Sidecar, reply: LeaseReply, now_ns: int) -> None:
    """Whoever is first has it."""
    before_ns = state.restart_after_ns
    _note_promise(state, reply, now_ns)
    state.restart_after_ns = before_ns


def whoever_promised_vouches(state: Sidecar, replica: str) -> bool:
    return _may_vouch(state, replica) and replica in state.ready


def leave_it_to_the_first(state: Replica, parent: KnownOrder, now_ns: int) -> None:
    """All would make the same order."""
    if state.node == state.config.replicas[0]:
        _escalate(state, parent, now_ns)


BUGS = (
    PlantedBug("B126", "tokens are told apart by their number, not by the start", {"replica.grants:is_same_start": a_number_is_a_start},
               ("S8",), ("cloned-from-a-snapshot",), "easy"),
    PlantedBug("B127", "a start that replicas have promised away goes on standing by", {"sidecar.starts:note_promise": wait_for_better_times},
               ("L6",), ("cloned-from-a-snapshot",), "easy"),
    PlantedBug("B209", "a start that was promised away is asked for again at once", {"sidecar.starts:note_promise": ask_at_once},
               ("S8",), ("cloned-from-a-snapshot", "cloned-in-a-partition"), "easy"),
    PlantedBug("B128", "grants count of nobody but the replicas that promised the token", {"sidecar.starts:may_vouch": whoever_promised_vouches},
               ("L5",), ("half-healed-cell",), "medium"),
    PlantedBug("B129", "of all replicas only the first escalates", {"replica.orders:escalate": leave_it_to_the_first},
               ("L3",), ("half-a-cell-escalates",), "easy"),
)  # fmt: skip
