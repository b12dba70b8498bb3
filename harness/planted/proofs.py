"""Planted bugs of what is told of orders and agents: proofs of the wrong start, stages that were not reached, news that does not arrive."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from harness.planted.bug import PlantedBug
from killswitch.core import intent
from killswitch.core.intent import KnownOrder, Severity
from killswitch.core.messages import NO_TOKEN, Evidence, Gate, Message, OrderRequest, OrderStatus, Token
from killswitch.core.outlet import send
from killswitch.core.replica import orders
from killswitch.core.replica.state import Replica
from killswitch.core.sidecar import proof
from killswitch.core.sidecar.state import Sidecar

_prove = proof.prove
_stage = proof.stage
_order_before = orders.order_before
_tell_agent = orders.tell_agent
_remember_asker = orders.remember_asker
_after_accept = orders.after_accept


def always_effective(state: Replica, order: str) -> None:
    asker = state.asked.get(order)
    if asker is not None:
        send(state, asker[1], OrderStatus(asker[0], order, "EFFECTIVE", state.config.kill_quorum))


def drained_is_stopped(state: Sidecar, severity: Severity, at_gate: Any) -> str:
    return "STOPPED_CLEAN" if at_gate > 0 else ""


def stopped_once_is_stopped(state: Replica, agent: str, order: str) -> bool:
    return state.stopped.get(agent, NO_TOKEN) != NO_TOKEN


def prove_by_the_last_stop(state: Sidecar, order: str, reached: str, now_ns: int) -> None:
    """As if nothing ran any more."""
    runs = state.process, state.reaping
    state.process = state.reaping = False
    _prove(state, order, reached, now_ns)
    state.process, state.reaping = runs


def the_latest_to_arrive(old: Evidence, proof: Evidence) -> bool:
    """What came last is what holds."""
    return proof != old


def told_of_the_order(state: Replica, order: str, agent: str, token: Token, stage: str) -> None:
    """Each stage of an order once."""
    if state.told.get((order, "")) != stage:
        state.told[(order, "")] = stage
        _tell_agent(state, order, agent, token, stage)


def told_is_told(state: Replica, now_ns: int) -> None:
    """It was said, after all."""


def each_stage_once(state: Sidecar, at_gate: Gate, now_ns: int) -> None:
    """A stage that is reached stays reached, whichever start it is."""
    if state.disk_failed:
        return
    for known in intent.view(state.intent, state.identity).uncovered:
        reached = proof.stage(state, known.severity, at_gate)
        if reached and state.evidence_told.get(known.id) != reached:
            state.evidence_told[known.id] = reached
            proof.prove(state, known.id, reached, now_ns)


def all_but(unsaid: str) -> Callable[[Sidecar, Severity, Any], str]:
    """Proofs, but for those of one stage."""

    def stage(state: Sidecar, severity: Severity, at_gate: Any) -> str:
        reached = _stage(state, severity, at_gate)
        return "" if reached == unsaid else reached

    return stage


def asked_and_answered(state: Replica, known: KnownOrder, request: OrderRequest, sender: str, keys_wanted: int = 0) -> None:
    """What was asked for before has been seen to."""
    send(state, sender, OrderStatus(request.request, known.id, "ALREADY_COVERED", 0))


def no_is_no_answer(state: Replica, to: str, message: Message, after_lsn: int = 0) -> None:
    """Whoever may not ask is told nothing."""
    if not (isinstance(message, OrderStatus) and message.stage == "REFUSED"):
        send(state, to, message, after_lsn)


def asked_for_by_name(state: Replica, order: str, request: str, operator: str, keys_wanted: int = 0) -> None:
    """Nobody asked for the order that a soft one became."""
    known = state.intent.orders.get(order)
    if known is None or not known.body.parent:
        _remember_asker(state, order, request, operator, keys_wanted)


def told_where_it_was_let_in(state: Replica, order: str, request: str, operator: str, keys_wanted: int = 0) -> None:
    """Who asks again has been told, or will be, by the replica that let it in."""
    if order not in state.intent.orders or state.intent.orders[order].body.parent:
        _remember_asker(state, order, request, operator, keys_wanted)


def what_it_made_of_it_itself(state: Replica, order: str, now_ns: int) -> None:
    """What others made of it, they tell."""
    known, asked = state.intent.orders[order], state.asked
    if known.order.signer != state.node:
        state.asked = {each: asker for each, asker in asked.items() if each != known.body.parent}
    _after_accept(state, order, now_ns)
    state.asked = {**asked, **state.asked}


def whatever_was_made(state: Replica, request: OrderRequest) -> KnownOrder | None:
    """A name names one order, if that is as severe as what is asked for."""
    nonce, asked = f"{request.principal}/{request.request}", (request.tenant, request.scope, request.reason, request.cleanup)
    made = (known for known in state.intent.orders.values() if known.body.nonce == nonce)
    alike = (known for known in made if (known.body.tenant, known.body.scope, known.body.reason, known.body.cleanup) == asked)
    enough = (known for known in alike if known.severity.gate >= request.gate and known.severity.life >= request.life)
    return next(enough, None) or _order_before(state, request)


def only_its_own(state: Sidecar, now_ns: int) -> bool:
    """Whoever started a process answers for its end."""
    return state.killing and now_ns >= state.kill_by_ns


def a_kill_is_a_kill(state: Sidecar, severity: Severity, at_gate: Any) -> str:
    """It lives, and nothing ends it: whoever ordered anything should know."""
    return "KILL_FAILED" if state.kill_failed else _stage(state, severity, at_gate)


BUGS = (
    PlantedBug("B19", "every order is reported effective", {"replica.orders:tell_order": always_effective}, ("S20",), ("swarm-storm",), "easy"),
    PlantedBug("B43", "draining is reported as stopped", {"sidecar.proof:stage": drained_is_stopped}, ("S20", "S10"), ("soft-in-peace",), "easy"),
    PlantedBug("B101", "an agent that was once proven stopped counts as stopped ever after", {"replica.state:is_stopped": stopped_once_is_stopped},
               ("L3",), ("stopped-resumed-and-stopped-again",), "easy"),
    PlantedBug("B102", "a proof names the start that was reaped last, whatever has started since", {"sidecar.proof:prove": prove_by_the_last_stop},
               ("S20",), ("stopped-resumed-and-stopped-again", "swarm-storm"), "easy"),
    PlantedBug("B167b", "a proof that was overtaken replaces the one that says more", {"replica.orders:is_further": the_latest_to_arrive}, ("S20",),
               ("duplicated-and-reordered-signals", "duplicated-and-replayed-signals", "swarm-storm"), "easy"),
    PlantedBug("B206", "of an order for several agents its asker is told each stage of the first alone",
               {"replica.orders:tell_agent": told_of_the_order}, ("S20",), ("challenge-answered-late", "swarm-storm")),
    PlantedBug("B207", "what has become of an agent is told once, whether it arrives or not", {"replica.orders:tell_again": told_is_told}, ("S20",),
               ("policy-storm", "swarm-storm"), "medium"),
    PlantedBug("B258", "a stop is not proven again under the token of a start that came to nothing", {"sidecar.proof:gather": each_stage_once},
               ("S15",), ("ordered-before-its-token-is-durable",), "easy"),
    PlantedBug("B281", "nobody is told that an agent drains", {"sidecar.proof:stage": all_but("DRAINING")}, ("L13",),
               ("runaway-trader", "swarm-storm"), "easy"),
    PlantedBug("B282", "nobody is told that an agent is shut off", {"sidecar.proof:stage": all_but("GATE_CLOSED")}, ("L13",),
               ("kill-that-takes-two-keys", "tenant-resumes-under-a-global-order"), "easy"),
    PlantedBug("B283", "nobody is told that an agent stopped cleanly", {"sidecar.proof:stage": all_but("STOPPED_CLEAN")}, ("L13",),
               ("soft-in-peace",), "easy"),
    PlantedBug("B344", "whoever asks once more is told that his order was lifted", {"replica.orders:answer_again": asked_and_answered}, ("S20",),
               ("kill-lost-in-a-partition", "disk-fails-under-a-kill"), "easy"),
    PlantedBug("B401", "an order that is refused is not answered", {"replica.orders:send": no_is_no_answer}, ("L1",), ("more-than-they-may",),
               "easy"),
    PlantedBug("B412", "who asked for a soft order is told nothing of what it became", {"replica.orders:remember_asker": asked_for_by_name},
               ("S20",), ("sidecar-gone-in-a-drain",), "easy"),
    PlantedBug("B413", "who asks again where an order is known is not remembered", {"replica.orders:remember_asker": told_where_it_was_let_in},
               ("L1",), ("asked-again-where-it-is-known",), "easy"),
    PlantedBug("B424", "who asked for a soft order is told nothing of what another replica made of it",
               {"replica.orders:after_accept": what_it_made_of_it_itself}, ("S20",),
               ("sidecar-gone-in-a-drain", "soft-stop-of-who-never-came"), "easy"),
    PlantedBug("B430", "nobody says of a process that an earlier sidecar left that it cannot be ended",
               {"sidecar.step:cannot_end": only_its_own}, ("L2",), ("force-delete-left-it-running",), "easy"),
    PlantedBug("B438", "whoever asks again for less grace is told of the order that gives more", {"replica.orders:order_before": whatever_was_made},
               ("S20",), ("less-grace-on-second-thought",), "easy"),
    PlantedBug("B510", "that a kill failed is proven of orders that end nothing, too", {"sidecar.proof:stage": a_kill_is_a_kill}, ("S20",),
               ("isolated-and-hard-to-kill",), "easy"),
)  # fmt: skip
