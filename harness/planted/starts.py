"""Planted bugs of starts: which start of an agent may run, who was promised its token, when its predecessor is over, and hosts that are there
twice."""

from __future__ import annotations

from msgspec import structs

from harness.planted.bug import PlantedBug
from killswitch.core.events import Spawn
from killswitch.core.intent import View
from killswitch.core.messages import NO_TOKEN, Evidence, LeaseReply, LeaseRequest, StartReply, StartRequest, Token
from killswitch.core.replica import grants, orders
from killswitch.core.replica.state import Replica
from killswitch.core.sidecar import starts
from killswitch.core.sidecar import step as sidecar_step
from killswitch.core.sidecar.state import Sidecar

_lease = grants.lease
_forget_process = sidecar_step.forget_process
_note_promise = starts.note_promise
_on_start_reply = starts.on_start_reply
_predecessor_over = grants.predecessor_over
_request_start = starts.request_start
_on_start_request = grants.on_start_request
_take_evidence = orders.take_evidence


def restart_always(state: Sidecar) -> None:
    """The supervisor was told to: restart=always."""
    _forget_process(state)
    state.process = state.opened = True
    state.effects.append(Spawn(state.token))


def a_number_is_a_start(asked: Token, promised: Token) -> bool:
    return (asked.epoch, asked.counter) == (promised.epoch, promised.counter)


def wait_for_better_times(state: Sidecar, reply: LeaseReply, now_ns: int) -> None:
    """A denial says nothing of tomorrow."""


def a_lease_is_long_enough(state: Replica, request: StartRequest, now_ns: int) -> bool:
    """No lease is longer than a lease."""
    waited_ns = now_ns - state.promised_ns.get(request.agent, now_ns)
    return _predecessor_over(state, request, now_ns) or (not state.clock.suspected and waited_ns >= state.parameters.lease_ns)


def over_by_its_number(state: Replica, request: StartRequest, now_ns: int) -> bool:
    """Whoever proves that number three is over proves it of number three."""
    return _predecessor_over(state, request, now_ns) or state.stopped.get(request.agent, NO_TOKEN).counter >= request.token.counter - 1


def stopped_before(state: Replica, request: StartRequest, now_ns: int) -> bool:
    """Its sidecar proved that it had stopped."""
    return request.agent in state.stopped or _predecessor_over(state, request, now_ns)


def promised_is_ready(state: Sidecar, reply: StartReply, now_ns: int) -> None:
    """A quorum has promised the token, so nobody else can have a lease."""
    _on_start_reply(state, structs.replace(reply, ready=reply.granted), now_ns)


def own_count(state: Sidecar, counter: int) -> None:
    """Its starts are its own to number."""


def ask_at_once(state: Sidecar, reply: LeaseReply, now_ns: int) -> None:
    """Whoever is first has it."""
    before_ns = state.restart_after_ns
    _note_promise(state, reply, now_ns)
    state.restart_after_ns = before_ns


def started_because_it_is_on_record(state: Sidecar, token: Token) -> None:
    """All conditions were looked at when it was put on record."""
    state.spawning = False
    if state.token != token or state.disk_failed or state.disk_full:
        starts.abandon_start(state)
        return
    state.process = True
    state.last_applied = ""
    state.effects.append(Spawn(token))


def asked_once(state: Sidecar, replicas: tuple[str, ...], token: Token | None = None) -> None:
    """A quorum has promised it: whoever has not will have to live with that."""
    if token is None:
        _request_start(state, replicas)


def a_start_of_its_own(state: Sidecar, replicas: tuple[str, ...], token: Token | None = None) -> None:
    """What was before is no part of it."""
    before, state.last_stop = state.last_stop, (NO_TOKEN, *state.last_stop[1:])
    _request_start(state, replicas, token)
    state.last_stop = before


def left_for_later(state: Sidecar) -> None:
    """The token is promised, and the sinks are fenced: that need not be done again."""
    state.last_stop = (state.token, *state.last_stop[1:])


def busy(state: Replica, request: LeaseRequest, view: View, now_ns: int) -> tuple[int, str]:
    """Why is nobody's business."""
    length, why = _lease(state, request, view, now_ns)
    return length, "busy" if why == "unpromised" else why


def a_proof_is_a_proof(state: Replica, evidence: tuple[Evidence, ...], sender: str, now_ns: int) -> None:
    """Its sidecar signed that the order has taken hold."""
    _take_evidence(state, evidence, sender, now_ns)
    for proof in evidence:
        taken = state.proofs.get((proof.order, proof.agent)) == proof
        if taken and proof.token > state.stopped.get(proof.agent, NO_TOKEN):
            state.stopped[proof.agent] = proof.token


def waits_without_an_end(state: Replica, request: StartRequest, sender: str, now_ns: int) -> None:
    """When it was promised matters to nobody."""
    _on_start_request(state, request, sender, now_ns)
    state.promised_ns.pop(request.agent, None)


def a_promise_is_a_promise(state: Sidecar, reply: StartReply, now_ns: int) -> None:
    """A replica that is ready for one start of the agent is ready for the next."""
    _on_start_reply(state, structs.replace(reply, token=state.proposed or reply.token), now_ns)


def as_many_as_may_fail(state: Sidecar, reply: LeaseReply, now_ns: int) -> None:
    """Whom so many have given up on has no future."""
    _note_promise(state, reply, now_ns)
    if state.process and len(state.superseding) >= len(state.config.replicas) - state.config.quorum:
        state.outdated = True


BUGS = (
    PlantedBug("B40", "a supervisor restarts whatever ends", {"sidecar.step:forget_process": restart_always}, ("S6", "S8"),
               ("runaway-trader", "swarm-storm"), "easy"),
    PlantedBug("B126", "tokens are told apart by their number, not by the start", {"replica.grants:is_same_start": a_number_is_a_start}, ("S8",),
               ("cloned-from-a-snapshot",), "easy"),
    PlantedBug("B127", "a start that replicas have promised away goes on standing by", {"sidecar.starts:note_promise": wait_for_better_times},
               ("L6",), ("cloned-from-a-snapshot",), "easy"),
    PlantedBug("B170", "a successor waits one lease, not until every lease is out", {"replica.grants:predecessor_over": a_lease_is_long_enough},
               ("S8",), ("cloned-from-a-snapshot",), "easy"),
    PlantedBug("B176", "a proof that one host's start is over is taken for one of another start of the same number",
               {"replica.grants:predecessor_over": over_by_its_number}, ("S8",), ("cloned-from-a-snapshot",), "medium"),
    PlantedBug("B183", "an agent that was once proven stopped may start whenever it wants", {"replica.grants:predecessor_over": stopped_before},
               ("S8",), ("cloned-from-a-snapshot",), "easy"),
    PlantedBug("B190", "a sidecar takes a promise for the word that its predecessor is over", {"sidecar.starts:on_start_reply": promised_is_ready},
               ("S8",), ("cloned-from-a-snapshot",), "easy"),
    PlantedBug("B198", "a start takes the next number of its own, whatever others were told of", {"sidecar.starts:heed": own_count}, ("S8",),
               ("cloned-from-a-snapshot",), "easy"),
    PlantedBug("B209", "a start that was promised away is asked for again at once", {"sidecar.starts:note_promise": ask_at_once}, ("S8",),
               ("cloned-from-a-snapshot", "cloned-in-a-partition"), "easy"),
    PlantedBug("B215", "a start that is on record is carried out, whatever was ordered meanwhile",
               {"sidecar.starts:spawn": started_because_it_is_on_record}, ("S6",), ("ordered-while-it-starts",), "easy"),
    PlantedBug("B335", "a replica that has not promised a token yet is never asked to", {"sidecar.starts:request_start": asked_once}, ("L10",),
               ("approved-too-late", "clone-storm"), "medium"),
    PlantedBug("B336", "a start tells nobody that the one before it is over", {"sidecar.starts:request_start": a_start_of_its_own}, ("S8",),
               ("resume-race", "swarm-storm"), "easy"),
    PlantedBug("B343", "a start that an order overtook is taken up again when that is lifted", {"sidecar.starts:abandon_start": left_for_later},
               ("S8",), ("overtaken-start-is-not-taken-up-again",), "easy"),
    PlantedBug("B360", "a replica that has not promised a token yet does not say so", {"replica.grants:lease": busy}, ("L10",),
               ("approved-too-late", "clone-storm"), "medium"),
    PlantedBug("B400", "whatever is proven of a start counts as its end", {"replica.orders:take_evidence": a_proof_is_a_proof}, ("S8",),
               ("shut-off-is-not-stopped",), "medium"),
    PlantedBug("B404", "a replica does not note when it promised a token", {"replica.grants:on_start_request": waits_without_an_end}, ("L6",),
               ("cloned-from-a-snapshot",), "easy"),
    PlantedBug("B407", "an answer to another proposal counts for the one under way", {"sidecar.starts:on_start_reply": a_promise_is_a_promise},
               ("S8",), ("answered-after-it-asked-anew",), "easy"),
    PlantedBug("B432", "a start is given up for a promise to another by fewer replicas than keep a quorum from it",
               {"sidecar.starts:note_promise": as_many_as_may_fail}, ("L5",), ("two-starts-of-one-number", "cloned-in-a-partition"), "easy"),
)  # fmt: skip
