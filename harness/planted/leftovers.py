"""Planted bugs of what is left to be done when a part of it was lifted, forgotten or missed: fences after one of two kills, stops after their order,
promises and drafts after a loss, starts that a replica never heard of, records that a checkpoint or a wait runs ahead of."""

from __future__ import annotations

from msgspec import structs

from harness.planted.bug import PlantedBug
from killswitch.core import checkpoints, federation, trust
from killswitch.core import sink as sinks
from killswitch.core.checkpoints import Checkpoint
from killswitch.core.events import Spawn
from killswitch.core.intent import KnownOrder
from killswitch.core.messages import NO_TOKEN, Apply, Evidence, FenceAck, Life, OrderBody, StartReply, StartRequest, Token
from killswitch.core.outlet import parts, record
from killswitch.core.policy import Ruling
from killswitch.core.replica import dispatch, grants, orders
from killswitch.core.replica.state import Draft, Replica, concerned
from killswitch.core.sidecar import starts
from killswitch.core.sidecar import state as sidecar
from killswitch.core.sidecar import step as sidecar_step
from killswitch.core.sidecar.state import Sidecar
from killswitch.core.sink import Sink

_child_of = orders.child_of
_refusal = sinks.refusal
_drive_process = sidecar_step.drive_process
_on_fence_ack = dispatch.on_fence_ack
_on_start_reply = starts.on_start_reply
_predecessor_over = grants.predecessor_over
_tell_agent = orders.tell_agent


def high_enough(fence: Token) -> bool:
    """The sink refuses all that is below, and that is what was asked for."""
    return False


def lifted_is_lifted(state: Replica) -> None:
    """A fence comes with an order, and goes with it."""
    for (sink, agent), (_, order) in list(state.fences.items()):
        if order in state.intent.lifted:
            del state.fences[(sink, agent)]
            state.tries.pop((sink, agent), None)


def stopped_before(state: Replica, request: StartRequest, now_ns: int) -> bool:
    """Its sidecar proved that it had stopped."""
    return request.agent in state.stopped or _predecessor_over(state, request, now_ns)


def its_own_promises_are_enough(state: Replica, agent: str, token: Token, now_ns: int) -> None:
    """What a peer has promised is the peer's to keep."""


def never_mind(state: Sidecar, now_ns: int) -> None:
    """Nobody wants it stopped any more."""
    if state.stopping and not state.killing and not state.outdated and sidecar.ordered(state).life is Life.ALIVE:
        state.stopping = state.stop_drain = False
        state.stop_by_ns = None
    _drive_process(state, now_ns)


def heard_since_the_restart(state: Replica, agent: str) -> Token:
    """Whoever runs asks for leases, and says under which token."""
    return state.heard_token.get(agent, NO_TOKEN)


def stable_decides_resumes(stable: Ruling, candidate: Ruling) -> Ruling:
    """A canary is there to be tried on kills."""
    return stable


def heard_is_heard(state: Replica, draft: Draft) -> bool:
    """Enough others have told what they know."""
    cells = federation.concerned(state.config, draft.request.scope)
    return all(sum(replica in draft.heard for replica in cell.replicas) > len(cell.replicas) - cell.kill_quorum for cell in cells)


def the_parents_word(state: Replica, parent: KnownOrder, agent: str) -> OrderBody:
    """A child is given by whoever gave its parent."""
    return structs.replace(_child_of(state, parent, agent), tenant=parent.body.tenant)


def promised_is_ready(state: Sidecar, reply: StartReply, now_ns: int) -> None:
    """A quorum has promised the token, so nobody else can have a lease."""
    _on_start_reply(state, structs.replace(reply, ready=reply.granted), now_ns)


def an_answer_like_any_other(state: Replica, evidence: tuple[Evidence, ...], sender: str, now_ns: int) -> None:
    """Whoever ordered it is told that it failed; what more is to be done is for people to say."""
    for proof in evidence:
        old = state.proofs.get((proof.order, proof.agent))
        if (old is not None and not orders.is_further(old, proof)) or not trust.believes_evidence(state.trust, sender, proof):
            continue
        state.proofs[(proof.order, proof.agent)] = proof
        record(state, "EVIDENCE", {"agent": proof.agent, "order": proof.order, "stage": proof.stage, "token": parts(proof.token)}, now_ns)
        if proof.stage.startswith("STOPPED") and proof.token > state.stopped.get(proof.agent, NO_TOKEN):
            state.stopped[proof.agent] = proof.token
        orders.tell_agent(state, proof.order, proof.agent, proof.token, proof.stage)


def newest_of_all(slots: tuple[bytes, ...], journal: int) -> Checkpoint | None:
    """What is whole was written whole, so there is nothing to compare it with."""
    whole = [checkpoint for slot in slots if (checkpoint := checkpoints.unseal(slot)) is not None]
    return max(whole, key=lambda checkpoint: checkpoint.generation, default=None)


def waited_is_waited(state: Replica, order: str, replica: str, now_ns: int) -> None:
    """Nothing was granted for so long, wherever the order is by now."""
    waiters = state.waited.setdefault(order, set())
    if replica in waiters:
        return
    waiters.add(replica)
    known = state.intent.orders.get(order)
    if known is not None and len(waiters) >= state.config.kill_quorum and order not in state.intent.lifted:
        for agent in concerned(state, known):
            orders.declare(state, order, agent, now_ns)


def own_count(state: Sidecar, counter: int) -> None:
    """Its starts are its own to number."""


def begin_when_cut(state: Replica, *, cut: bool) -> None:
    """A log that is whole has nothing missing."""
    state.joining = bool(state.peers) and (cut or (state.config.joins and not state.lessons.joined))


def answered(state: Replica, ack: FenceAck, sender: str, now_ns: int) -> bool:
    """It is the sink's word that it is fenced."""
    wanted = state.fences.get((ack.sink, ack.agent))
    if wanted is not None:
        state.fences[ack.sink, ack.agent] = (min(wanted[0], ack.min_token), wanted[1])
    return _on_fence_ack(state, ack, sender, now_ns)


def started_because_it_is_on_record(state: Sidecar, token: Token) -> None:
    """All conditions were looked at when it was put on record."""
    state.spawning = False
    if state.token != token or state.disk_failed or state.disk_full:
        starts.abandon_start(state)
        return
    state.process = True
    state.last_applied = ""
    state.effects.append(Spawn(token))


def answered_is_answered(state: Sink, message: Apply, now_ns: int) -> str:
    """Each nonce is good once; when its answer comes is the network's business."""
    key, _ = state.challenges.get(message.nonce, ("", 0))
    if key == message.key:
        state.challenges[message.nonce] = (key, now_ns)
    return _refusal(state, message, now_ns)


def told_of_the_order(state: Replica, order: str, agent: str, token: Token, stage: str) -> None:
    """Each stage of an order once."""
    if state.told.get((order, "")) != stage:
        state.told[(order, "")] = stage
        _tell_agent(state, order, agent, token, stage)


def told_is_told(state: Replica, now_ns: int) -> None:
    """It was said, after all."""


BUGS = (
    PlantedBug("B181", "a sink that stands at a start's own fence counts as fenced", {"replica.dispatch:is_of_a_start": high_enough}, ("S20",),
               ("fenced-by-who-missed-a-start",), "easy"),
    PlantedBug("B182", "a fence that is pressed goes with the first of two kills that is lifted", {"replica.step:forget_lifted": lifted_is_lifted},
               ("L2",), ("one-of-two-kills-lifted",), "easy"),
    PlantedBug("B183", "an agent that was once proven stopped may start whenever it wants", {"replica.grants:predecessor_over": stopped_before},
               ("S8",), ("cloned-from-a-snapshot",), "easy"),
    PlantedBug("B184", "a replica that lost its disk learns what is in force, and no promises",
               {"replica.joining:promise_too": its_own_promises_are_enough}, ("S8",), ("replica-lost-its-disk",), "easy"),
    PlantedBug("B185", "who was asked to stop goes on when the order is lifted", {"sidecar.step:drive_process": never_mind}, ("L3",),
               ("lifted-while-it-stops",), "easy"),
    PlantedBug("B186", "a replica that restarted speaks of the starts that it has heard of since, not of those that it promised",
               {"replica.orders:greatest_token": heard_since_the_restart, "replica.dispatch:greatest_token": heard_since_the_restart}, ("S20", "L3"),
               ("wait-restarted-with-its-replica", "half-a-cell-escalates"), "easy"),
    PlantedBug("B187", "a canary has no say in a resume", {"rollout:meet": stable_decides_resumes}, ("S21",),
               ("resume-approved-under-a-later-policy",), "easy"),
    PlantedBug("B188", "a replica that may have forgotten drafts resumes", {"replica.resumes:heard_enough": heard_is_heard}, ("S20",),
               ("resume-asked-of-who-forgot",), "easy"),
    PlantedBug("B189", "the child of a soft order for everybody is nobody's", {"replica.orders:child_of": the_parents_word}, ("L3",),
               ("global-stop-with-a-host-gone",), "easy"),
    PlantedBug("B190", "a sidecar takes a promise for the word that its predecessor is over", {"sidecar.starts:on_start_reply": promised_is_ready},
               ("S8",), ("cloned-from-a-snapshot",), "easy"),
    PlantedBug("B193", "an agent takes its newest whole checkpoint, though its journal does not reach it", {"checkpoints:choose": newest_of_all},
               ("S12",), ("checkpoint-ahead-of-its-journal",), "easy"),
    PlantedBug("B194", "nobody is fenced whose soft stop could not be carried out", {"replica.orders:take_evidence": an_answer_like_any_other},
               ("L2",), ("stop-that-nothing-carries-out",), "easy"),
    PlantedBug("B195", "a replica says that it has waited under an order that its disk does not hold yet",
               {"replica.orders:note_waited": waited_is_waited}, ("S11",), ("waited-before-the-disk",), "easy"),
    PlantedBug("B198", "a start takes the next number of its own, whatever others were told of", {"sidecar.starts:heed": own_count}, ("S8",),
               ("cloned-from-a-snapshot",), "easy"),
    PlantedBug("B200", "a replica that cut its log forgets with its next restart that it has to be taught", {"replica.joining:begin": begin_when_cut},
               ("S8",), ("restarted-before-it-was-taught",), "easy"),
    PlantedBug("B201", "whatever a sink answers counts for the fence that is wanted", {"replica.dispatch:on_fence_ack": answered},
               ("S20",), ("fence-answered-late",), "easy"),
    PlantedBug("B215", "a start that is on record is carried out, whatever was ordered meanwhile",
               {"sidecar.starts:spawn": started_because_it_is_on_record}, ("S6",), ("ordered-while-it-starts",), "easy"),
    PlantedBug("B205", "a sink does not look at the age of the challenge that an effect answers", {"sink:refusal": answered_is_answered},
               ("S2",), ("challenge-answered-late",), "easy"),
    PlantedBug("B206", "of an order for several agents its asker is told each stage of the first alone",
               {"replica.orders:tell_agent": told_of_the_order}, ("S20",), ("challenge-answered-late", "swarm-storm")),
    PlantedBug("B207", "what has become of an agent is told once, whether it arrives or not", {"replica.orders:tell_again": told_is_told}, ("S20",),
               ("policy-storm", "swarm-storm"), "medium"),
)  # fmt: skip
