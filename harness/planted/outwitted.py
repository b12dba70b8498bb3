"""Planted bugs of ends: a hard order for whoever had stopped, a stop that nobody bounds, and challenges that outlive the start of a sink."""

from __future__ import annotations

from harness.planted.bug import PlantedBug
from killswitch.core import sink, trust
from killswitch.core.events import Signal, SignalKind
from killswitch.core.intent import KnownOrder
from killswitch.core.messages import NO_TOKEN, ChallengeRequest, Gate
from killswitch.core.outlet import observe, parts, record
from killswitch.core.replica import dispatch, orders
from killswitch.core.replica.state import Replica, concerned, greatest_token, learn_order
from killswitch.core.sidecar import state as sidecar
from killswitch.core.sidecar import step
from killswitch.core.sidecar.state import Sidecar
from killswitch.core.sink import Sink

_challenge = sink.on_challenge_request


def whoever_was_to_stop(state: Replica, parent: KnownOrder, now_ns: int) -> None:
    """The time is over: what has stopped has nothing to fear from a kill."""
    for agent in concerned(state, parent):
        if greatest_token(state, agent) == NO_TOKEN:
            continue
        order = trust.sign_order(state.trust, state.node, orders.child_of(state, parent, agent))
        child = learn_order(state, order, state.node, now_ns)
        if child:
            record(state, "ESCALATED", {"parent": parent.id, "child": child, "agent": agent}, now_ns)
            observe(state, "escalated", parent=parent.id, child=child, agent=agent)
            dispatch.spread(state, (order,))
            orders.after_accept(state, child, now_ns)


def ask_and_wait(state: Sidecar, now_ns: int) -> None:
    """How long it may take, the order says."""
    state.stopping = True
    state.stop_drain = sidecar.gate(state, now_ns) is not Gate.CLOSED
    state.effects += [Signal(SignalKind.CONT), Signal(SignalKind.TERM)]
    step.request_stop(state)
    record(state, "PROC_TERM", {"token": parts(state.token)}, now_ns)


def numbered_anew(state: Sink, message: ChallengeRequest, sender: str, now_ns: int) -> None:
    """One challenge of this sink after the other."""
    instance, state.instance = state.instance, state.node
    _challenge(state, message, sender, now_ns)
    state.instance = instance


BUGS = (
    PlantedBug("B241", "a soft stop becomes a hard one for agents that are proven stopped, too", {"replica.orders:escalate": whoever_was_to_stop},
               ("L3",), ("soft-in-peace",), "easy"),
    PlantedBug("B242", "a stop that no order bounds has no end", {"sidecar.step:ask_to_stop": ask_and_wait}, ("L3",),
               ("unread-stop-of-a-deaf-agent",), "easy"),
    PlantedBug("B243", "challenges are numbered anew with each start of a sink", {"sink:on_challenge_request": numbered_anew}, ("S2",),
               ("in-doubt-until-the-sink-is-back",), "easy"),
)  # fmt: skip
