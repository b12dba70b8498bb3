"""Planted bugs of fences: those that are never sent or asked after, that go too early, or that are taken for more than a sink has answered."""

from __future__ import annotations

from harness.planted.bug import PlantedBug
from killswitch.core import trust
from killswitch.core.events import Send
from killswitch.core.messages import NO_TOKEN, ApplyResult, Evidence, Fence, FenceAck, Life, Token
from killswitch.core.outlet import parts, record
from killswitch.core.replica import dispatch, orders, step
from killswitch.core.replica.state import Replica, concerned
from killswitch.core.sidecar import permits, starts
from killswitch.core.sidecar.state import Sidecar

_after_accept = orders.after_accept
_forget_lifted = step.forget_lifted
_note_durable = orders.note_durable
_on_apply_result = permits.on_apply_result
_on_fence_ack = dispatch.on_fence_ack
_open_token = starts.open_token
_press = dispatch.press


def never_fence(state: Replica, agent: str, order: str) -> None:
    """The leases run out by themselves, so who needs a fence."""


def one_fence_is_a_fence(state: Replica, ack: FenceAck, sender: str, now_ns: int) -> bool:
    """The agent is shut out."""
    waiting = dict(state.fences)
    return _on_fence_ack(state, ack, sender, now_ns) or (ack.sink, ack.agent) in waiting.keys() - state.fences.keys()


def fences_take_their_time(state: Sidecar, token: Token, now_ns: int) -> None:
    """They have been asked for, and will come."""
    _open_token(state, token, now_ns)
    state.fences_missing = ()


def high_enough(fence: Token) -> bool:
    """The sink refuses all that is below, and that is what was asked for."""
    return False


def lifted_is_lifted(state: Replica) -> None:
    """A fence comes with an order, and goes with it."""
    for (sink, agent), (_, order) in list(state.fences.items()):
        if order in state.intent.lifted:
            del state.fences[(sink, agent)]
            state.tries.pop((sink, agent), None)


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


def answered(state: Replica, ack: FenceAck, sender: str, now_ns: int) -> bool:
    """It is the sink's word that it is fenced."""
    wanted = state.fences.get((ack.sink, ack.agent))
    if wanted is not None:
        state.fences[ack.sink, ack.agent] = (min(wanted[0], ack.min_token), wanted[1])
    return _on_fence_ack(state, ack, sender, now_ns)


def refused_is_refused(state: Sidecar, result: ApplyResult) -> None:
    """The agent is told, and asks again; what stands at the sink is the sink's affair."""
    _on_apply_result(state, result)
    if result.status == "REJECTED_FENCED":
        state.effects = [effect for effect in state.effects if not (isinstance(effect, Send) and isinstance(effect.message, Fence))]


def leave_the_last_to_its_start(state: Replica, agent: str, order: str) -> list[str]:
    """An agent that is resumed fences its own sinks, so one of them says enough of the kill."""
    sinks = _press(state, agent, order)
    if state.intent.certificates and len(sinks) > 1:
        del state.fences[(sinks[-1], agent)]
        return sinks[:-1]
    return sinks


def one_at_a_time(state: Replica) -> None:
    """What stays in force is pressed on at the sink that comes first; the others had their time."""
    pressed = {key: order for key, (_, order) in state.fences.items() if order in state.intent.lifted}
    _forget_lifted(state)
    for sink, agent in sorted(pressed.keys() & state.fences.keys()):
        if any(other < sink for other, whose in pressed if whose == agent):
            del state.fences[(sink, agent)]
            state.tries.pop((sink, agent), None)


def fence_what_is_effective(state: Replica, order: str, now_ns: int) -> None:
    """A sink is told of a kill that holds; what one replica alone has heard may still be lost."""
    known = state.intent.orders[order]
    _after_accept(state, order, now_ns)
    if known.severity.life is Life.KILL and order not in state.effective:
        for agent in concerned(state, known):
            for key in [key for key, (_, why) in state.fences.items() if key[1] == agent and why == order]:
                del state.fences[key]
            state.effects = [each for each in state.effects if not (isinstance(each, Send) and isinstance(each.message, Fence)
                                                                    and each.message.order == order)]  # fmt: skip


def fence_once_effective(state: Replica, order: str, replica: str, now_ns: int) -> None:
    before = order in state.effective
    _note_durable(state, order, replica, now_ns)
    if order in state.effective and not before and state.intent.orders[order].severity.life is Life.KILL and order not in state.intent.lifted:
        for agent in concerned(state, state.intent.orders[order]):
            dispatch.fence(state, agent, order)


BUGS = (
    PlantedBug("B60", "a hard kill sends no fence to the sinks", {"replica.dispatch:fence": never_fence}, ("S2",),
               ("kill-with-effects-in-flight",), "easy"),
    PlantedBug("B151", "an agent counts as fenced once one of its sinks is", {"replica.dispatch:on_fence_ack": one_fence_is_a_fence}, ("S20",),
               ("fenced-at-every-sink",), "easy"),
    PlantedBug("B152", "an agent is started while its sinks are still to be fenced", {"sidecar.starts:open_token": fences_take_their_time}, ("S8",),
               ("fenced-at-every-sink",), "easy"),
    PlantedBug("B181", "a sink that stands at a start's own fence counts as fenced", {"replica.dispatch:is_of_a_start": high_enough}, ("S20",),
               ("fenced-by-who-missed-a-start",), "easy"),
    PlantedBug("B182", "a fence that is pressed goes with the first of two kills that is lifted", {"replica.step:forget_lifted": lifted_is_lifted},
               ("L2",), ("one-of-two-kills-lifted",), "easy"),
    PlantedBug("B194", "nobody is fenced whose soft stop could not be carried out", {"replica.orders:take_evidence": an_answer_like_any_other},
               ("L2",), ("stop-that-nothing-carries-out",), "easy"),
    PlantedBug("B201", "whatever a sink answers counts for the fence that is wanted", {"replica.dispatch:on_fence_ack": answered}, ("S20",),
               ("fence-answered-late",), "easy"),
    PlantedBug("B259", "who is refused by a fence does not ask where it stands", {"sidecar.permits:on_apply_result": refused_is_refused},
               ("L6",), ("lifted-before-it-was-heard",), "easy"),
    PlantedBug("B310", "a kill after a resume is fenced for at all sinks but one", {"replica.dispatch:press": leave_the_last_to_its_start},
               ("L2",), ("fenced-at-every-sink",), "easy"),
    PlantedBug("B311", "the fences of a kill that stays in force go with another's, but for one", {"replica.step:forget_lifted": one_at_a_time},
               ("L2",), ("one-of-two-kills-lifted",), "easy"),
    PlantedBug("B312", "no sink is fenced before the kill is effective",
               {"replica.orders:after_accept": fence_what_is_effective, "replica.orders:note_durable": fence_once_effective},
               ("L2",), ("kill-lost-in-a-partition",), "easy"),
)  # fmt: skip
