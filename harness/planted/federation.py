"""Planted bugs of a federation: what counts in which cell, and what is told to whom when a split heals."""

from __future__ import annotations

from harness.planted.bug import PlantedBug
from killswitch.core import federation, intent
from killswitch.core.certificates import ResumeCertificate
from killswitch.core.intent import View
from killswitch.core.machine import Cell
from killswitch.core.messages import Order, OrderPush
from killswitch.core.outlet import send
from killswitch.core.replica import grants
from killswitch.core.replica.state import Draft, Replica, concerned, sidecar_of
from killswitch.core.sidecar.state import Sidecar

_lacking = grants.lacking


def copies_anywhere(state: Replica, order: str, cell: Cell) -> int:
    return len(state.durable.get(order, ()))


def whoever_answers(state: Sidecar) -> tuple[str, ...]:
    return federation.everyone(state.config)


def everybody_is_ours(state: Replica, agent: str) -> bool:
    return True


def own_cell_heard(state: Replica, draft: Draft) -> bool:
    own = federation.own(state.config)
    return not state.joining and sum(replica in draft.heard for replica in own.replicas) > len(own.replicas) - own.kill_quorum


def all_of_it_to_each(state: Replica, orders: tuple[Order, ...], certificates: tuple[ResumeCertificate, ...], after_lsn: int = 0) -> None:
    """One message says it all, and everybody looks for his own."""
    agents: set[str] = set()
    for order in orders:
        agents.update(concerned(state, state.intent.orders[intent.content_id(order.raw)]))
    for certificate in certificates:
        for covered in state.intent.certificates[intent.content_id(certificate.raw)].body.covers:
            if covered in state.intent.orders:
                agents.update(concerned(state, state.intent.orders[covered]))
    for agent in sorted(agents):
        send(state, sidecar_of(agent), OrderPush(orders, certificates), after_lsn)


def what_is_in_force(
    state: Replica, who: str, asker_view: str, view: View, now_ns: int
) -> tuple[tuple[Order, ...], tuple[ResumeCertificate, ...], bool]:  # fmt: skip
    """What does not concern the agent lifts nothing there."""
    news, certificates, complete = _lacking(state, who, asker_view, view, now_ns)
    if asker_view == view.digest:
        return news, certificates, complete
    everything = [state.intent.certificates[id_].certificate for id_ in sorted(state.intent.in_force)]
    heartbeat = now_ns // state.parameters.renew_ns
    return news, grants.portion(everything, heartbeat), complete and len(everything) <= grants.BODIES_MAX


BUGS = (
    PlantedBug("B45", "copies are counted across cells", {"replica.orders:copies": copies_anywhere}, ("S20",), ("two-cells-split-and-heal",), "easy"),
    PlantedBug("B46", "a lease is taken from whatever cell answers first",
               {"sidecar.state:granters": whoever_answers, "replica.grants:is_ours": everybody_is_ours}, ("S19", "S1", "S6", "S8"),
               ("home-cell-out-of-reach",), "easy"),
    PlantedBug("B138", "a resume is drafted once the drafter's own cell was heard", {"replica.resumes:heard_enough": own_cell_heard}, ("S20",),
               ("resume-across-a-split",), "easy"),
    PlantedBug("B240", "what a replica hears at once goes on to all concerned, of whatever tenant", {"replica.dispatch:push": all_of_it_to_each},
               ("S14",), ("two-cells-split-and-heal",), "easy"),
    PlantedBug("B276", "replies to sidecars carry every tenant's certificates", {"replica.grants:lacking": what_is_in_force}, ("S14",),
               ("swarm-storm",), "easy"),
)  # fmt: skip
