"""Planted bugs of what is in force: how severities join, which orders count for whom, and what holds of an order that a sidecar cannot read."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

from harness.planted.bug import PlantedBug
from killswitch.core import audit, codec, intent
from killswitch.core.certificates import ResumeCertificate
from killswitch.core.intent import Intent, KnownOrder, Severity, View
from killswitch.core.messages import Life, Order, UnknownProhibition
from killswitch.core.outlet import record
from killswitch.core.replica import grants
from killswitch.core.replica import state as replica_state
from killswitch.core.replica.state import Replica
from killswitch.core.sidecar import floors, permits
from killswitch.core.sidecar.state import Floor, Sidecar

REMEMBERED = 8

_add_order = intent.add_order
_demand = floors.demand
_lacking = grants.lacking
_members: WeakKeyDictionary[Replica, dict[str, frozenset[str]]] = WeakKeyDictionary()
_forbidden = grants.forbidden


def chain_of_severities(one: Severity, other: Severity) -> Severity:
    chain = (intent.RUN, intent.ISOLATE, intent.SOFT, intent.QUIESCE, intent.HARD)
    return max(one, other, key=chain.index)


def unknown_key_dropped(state: Sidecar, order: Order, sender: str, now_ns: int) -> None:
    """What does not verify is refused, whoever hands it on."""


def last_writer_wins(orders: Any) -> Severity:
    listed = list(orders)
    return listed[-1].severity if listed else intent.RUN


def members_at_issue(state: Replica, agent: str) -> View:
    """A group's order concerns those who were there when it came, as far as this replica had heard of them."""
    whole = replica_state.view_of(state, agent)
    lists = _members.setdefault(state, {})
    kept = []
    for known in whole.uncovered:
        listed = lists.setdefault(known.id, frozenset(state.heard_token))
        if known.body.scope.kind == "agent" or agent in listed:
            kept.append(known)
    digest = whole.digest if len(kept) == len(whole.uncovered) else audit.digest_of(each.id for each in kept)
    return View(intent.in_force(kept), tuple(kept), digest)


def unknown_prohibition_dropped(state: Sidecar, message: UnknownProhibition, sender: str, now_ns: int) -> None:
    """What cannot be read cannot be obeyed."""


def remember_the_latest(held: Intent, known: KnownOrder) -> bool:
    fresh = _add_order(held, known)
    while len(held.orders) > REMEMBERED:
        del held.orders[next(iter(held.orders))]
    return fresh


def any_answer_ends_a_floor(state: Sidecar, sender: str, sent_ns: int) -> None:
    """Whoever forbade it permits it now."""
    for reason in [reason for reason, floor in state.floors.held.items() if floor.origin == sender]:
        floors.drop(state, reason)


def only_what_was_read(state: Sidecar) -> str:
    """An order that could not be read is in no view."""
    return intent.view(state.intent, state.identity).digest


def keyset_ends_all_floors(state: Sidecar) -> list[tuple[Order, str]]:
    """The keyset is here, so what was withheld for want of it will come again."""
    for reason in list(state.floors.withheld):
        floors.drop(state, reason)
    return []


def the_latest_word(state: Sidecar, reason: str, severity: Severity, origin: str, why: str, now_ns: int) -> None:
    """What was said last of a thing is what holds."""
    before = state.floors.held.get(reason)
    severity = intent.join(intent.ISOLATE, severity)
    state.floors.held[reason] = Floor(severity, origin, now_ns)
    if before is None or before.severity != severity:
        floors.settle(state)
        floors.show(state, reason)
        permits.abort_forbidden(state, now_ns)
        record(state, "SECURITY", {"what": f"prohibition {reason}", "sender": origin, "why": why}, now_ns)


def all_that_fits_is_all(
    state: Replica, agent: str, asker_view: str, view: View, now_ns: int
) -> tuple[tuple[Order, ...], tuple[ResumeCertificate, ...], bool]:  # fmt: skip
    """The rest comes with the next heartbeat."""
    news, certificates, _ = _lacking(state, agent, asker_view, view, now_ns)
    return news, certificates, True


def whoever_lists_it(state: Sidecar, order: str) -> bool:
    """Nobody can say whose order it was, so anybody may lift it."""
    return any(order in state.intent.certificates[certificate].body.covers for certificate in state.intent.in_force)


def unread_is_isolated(state: Sidecar, message: UnknownProhibition, sender: str, now_ns: int) -> None:
    """Whatever it may have said, nothing leaves any more."""
    floors.demand(state, f"unread, of {sender}", intent.ISOLATE, sender, message.why, now_ns)


def unread_is_stopped(state: Sidecar, message: UnknownProhibition, sender: str, now_ns: int) -> None:
    """Nobody can know what it says, so it is taken for the worst that an agent can still answer."""
    severity = intent.join(intent.QUIESCE, Severity(codec.clamp_gate(message.gate), codec.clamp_life(message.life)))
    floors.demand(state, f"unread, of {sender}", severity, sender, message.why, now_ns)


def since_it_first_said_so(state: Sidecar, reason: str, severity: Severity, origin: str, why: str, now_ns: int) -> None:
    """It is the same reason, and no graver, so it holds since when it held."""
    before = state.floors.held.get(reason)
    _demand(state, reason, severity, origin, why, now_ns)
    held = state.floors.held[reason]
    state.floors.held[reason] = Floor(held.severity, origin, before.since_ns if before else now_ns)


def out_of_the_way(state: Sidecar, order: str, now_ns: int) -> None:
    """Nobody reads it any more, and so nobody dies of it."""


def a_process_is_no_effect(state: Replica, agent: str, view: View) -> str:
    """Its gate stays shut, whatever starts behind it."""
    stops = any(known.severity.life is not Life.ALIVE for known in view.uncovered)
    return _forbidden(state, agent, view if stops else view._replace(uncovered=()))


BUGS = (
    PlantedBug("B08", "severities are a chain: SOFT after ISOLATE opens the gate to what is in flight", {"intent:join": chain_of_severities},
               ("S3", "S1", "S5"), ("isolate-then-soft", "swarm-storm"), "easy"),
    PlantedBug("B17", "an order under a key that the keyset at hand does not know is refused", {"sidecar.floors:withhold": unknown_key_dropped},
               ("S22",), ("sidecar-behind-on-keys", "keys-rotated-in-a-partition"), "easy"),
    PlantedBug("B18", "the last order to be looked at is the one that counts", {"intent:in_force": last_writer_wins}, ("S3", "S7", "S1", "L2"),
               ("isolate-then-soft", "swarm-storm"), "easy"),
    PlantedBug("B20", "a group's order is for those who were there when it came", {"replica.grants:view_of": members_at_issue}, ("S1", "L1", "L10"),
               ("late-joiner-under-tenant-order",), "easy"),
    PlantedBug("B29", "an order of an unknown major version is dropped", {"sidecar.floors:on_unknown": unknown_prohibition_dropped}, ("S22",),
               ("control-plane-ahead-of-its-sidecars",), "easy"),
    PlantedBug("B65", "only the latest orders are remembered", {"intent:add_order": remember_the_latest}, ("S4", "S7", "S1", "S15"),
               ("many-orders",), "easy"),
    PlantedBug("B122", "an answer from before a prohibition ends it", {"sidecar.floors:heard_in_full": any_answer_ends_a_floor}, ("S22",),
               ("answers-overtaken-by-prohibitions",), "medium"),
    PlantedBug("B123", "what was withheld is dropped when its keyset comes", {"sidecar.floors:hand_back": keyset_ends_all_floors}, ("S22",),
               ("answers-overtaken-by-prohibitions", "sidecar-behind-on-keys"), "easy"),
    PlantedBug("B144", "of two prohibitions that a sidecar cannot read the latter replaces the former", {"sidecar.floors:demand": the_latest_word},
               ("S22",), ("control-plane-ahead-of-its-sidecars",), "easy"),
    PlantedBug("B153", "a reply that holds a part of the orders is called complete", {"replica.grants:lacking": all_that_fits_is_all}, ("S19",),
               ("more-orders-than-a-reply-holds",), "easy"),
    PlantedBug("B163b", "another tenant's approvers lift an order that nobody could read", {"sidecar.floors:is_released": whoever_lists_it}, ("S22",),
               ("poisoned-order",), "easy"),
    PlantedBug("B180", "a prohibition that a sidecar cannot read isolates, whatever its header says",
               {"sidecar.floors:on_unknown": unread_is_isolated}, ("S22",), ("control-plane-ahead-of-its-sidecars",), "easy"),
    PlantedBug("B260", "what could not be read holds since its sender first said such a thing", {"sidecar.floors:demand": since_it_first_said_so},
               ("S22",), ("answered-before-it-spoke-again",), "medium"),
    PlantedBug("B287", "an order that nobody outlived reading demands nothing", {"sidecar.floors:quarantine": out_of_the_way}, ("S22",),
               ("poisoned-order",), "easy"),
    PlantedBug("B408", "a start is promised under an order that only isolates", {"replica.grants:forbidden": a_process_is_no_effect}, ("S6",),
               ("isolated-when-it-asks-to-start",), "easy"),
    PlantedBug("B480", "a sidecar tells replicas what it has read, and nothing of what it has in quarantine",
               {"sidecar.floors:view_told": only_what_was_read}, ("L6",), ("quarantined-and-resumed-out-of-reach",), "easy"),
    PlantedBug("B486", "a prohibition that a sidecar cannot read stops its agent, whatever its header says",
               {"sidecar.floors:on_unknown": unread_is_stopped}, ("L5",), ("control-plane-ahead-of-its-sidecars",), "easy"),
)  # fmt: skip
