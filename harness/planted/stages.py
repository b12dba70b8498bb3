"""Planted bugs of stages: what is told of a rollout, what a step back leaves, which rollouts are kept, and what proves how a start ended."""

from __future__ import annotations

from hashlib import sha256

from msgspec import structs

from harness.planted.bug import PlantedBug
from killswitch.core import federation, intent, rollout, sink, trust
from killswitch.core.bundles import RolloutBody, RolloutStatus
from killswitch.core.events import ProcessExited, Send
from killswitch.core.intent import KnownOrder, Severity
from killswitch.core.messages import NO_TOKEN, Apply, ApplyResult, Fence, Gate, OrderPush, QueryResult, SinkClass
from killswitch.core.outlet import observe, record
from killswitch.core.policy import Request
from killswitch.core.replica import dispatch, orders, rollouts
from killswitch.core.replica.state import Replica, concerned, is_stopped, learn_order
from killswitch.core.rollout import Asker, KnownRollout, Policies, Snapshot
from killswitch.core.sidecar import floors, permits, proof, step
from killswitch.core.sidecar.state import Floor, Sidecar, send_replicas
from killswitch.core.sink import Sink

_demand = floors.demand
_how_it_ended = step.how_it_ended
_on_apply_result = permits.on_apply_result
_on_query_result = permits.on_query_result
_outcome = rollouts.outcome
_refusal = sink.refusal
_rolled_back = rollout.rolled_back


def held_is_effective(state: Replica, known: KnownRollout, asker: Asker) -> RolloutStatus | None:
    """k replicas hold it, and that is all that it takes."""
    if asker.is_effective or len(rollouts.holders(state)) >= federation.own(state.config).kill_quorum:
        return None if asker.is_effective else RolloutStatus(asker.request, "EFFECTIVE", known.body.seq)
    return _outcome(state, known, asker)


def effective_for_good(state: Replica, known: KnownRollout, asker: Asker) -> RolloutStatus | None:
    """Effective is the last word: k replicas hold it."""
    return None if asker.is_effective else _outcome(state, known, asker)


def back_to_where_it_was(now: Snapshot, request: str) -> RolloutBody | str:
    """What is rolled back has nothing before it."""
    body = _rolled_back(now, request)
    return body if isinstance(body, str) else structs.replace(body, former="")


def up_to_and_including(snapshot: Snapshot, request: Request) -> bool:
    """So many percent, counted from zero."""
    words = f"{snapshot.salt}\0{request.tenant}\0{request.scope_kind}\0{request.scope_value}"
    return int.from_bytes(sha256(words.encode("utf-8", "surrogatepass")).digest()[:8]) % 100 <= snapshot.percent


def forget_the_rest(policies: Policies) -> None:
    """So many are kept, and no more."""
    for known in sorted(policies.rollouts.values(), key=rollout.rank)[rollout.KEPT_MAX :]:
        del policies.rollouts[known.id]
        policies.durable.discard(known.id)


def said_is_said(state: Sidecar, result: QueryResult) -> None:
    """An effect has one answer, and whoever asks again is given that."""
    kept = dict(state.answered)
    _on_query_result(state, result)
    state.answered.update(kept)


def numbers_alone(state: Sink, message: Apply, now_ns: int) -> str:
    """Tokens are numbered."""
    fence = state.fences.get(message.agent, NO_TOKEN)
    if state.kind == SinkClass.FENCED and message.key not in state.applied and message.token.counter >= fence.counter:
        return ""
    return _refusal(state, message, now_ns)


def a_checkpoint_is_there(state: Sidecar, event: ProcessExited) -> tuple[bool, tuple[str, ...]]:
    """It knows of the last effect of this start, so it is good enough, whoever saved it."""
    seen, state.checkpoint = state.checkpoint, state.checkpoint - 1
    ended = _how_it_ended(state, event)
    state.checkpoint = seen
    return ended


def each_stage_once(state: Sidecar, at_gate: Gate, now_ns: int) -> None:
    """A stage that is reached stays reached, whichever start it is."""
    if state.disk_failed:
        return
    for known in intent.view(state.intent, state.identity).uncovered:
        reached = proof.stage(state, known.severity, at_gate)
        if reached and state.evidence_told.get(known.id) != reached:
            state.evidence_told[known.id] = reached
            proof.prove(state, known.id, reached, now_ns)


def refused_is_refused(state: Sidecar, result: ApplyResult) -> None:
    """The agent is told, and asks again; what stands at the sink is the sink's affair."""
    _on_apply_result(state, result)
    if result.status == "REJECTED_FENCED":
        state.effects = [effect for effect in state.effects if not (isinstance(effect, Send) and isinstance(effect.message, Fence))]


def since_it_first_said_so(state: Sidecar, reason: str, severity: Severity, origin: str, why: str, now_ns: int) -> None:
    """It is the same reason, and no graver, so it holds since when it held."""
    before = state.floors.held.get(reason)
    _demand(state, reason, severity, origin, why, now_ns)
    held = state.floors.held[reason]
    state.floors.held[reason] = Floor(held.severity, origin, before.since_ns if before else now_ns)


def what_it_promised_itself(state: Replica, parent: KnownOrder, now_ns: int) -> None:
    """Who was promised no token has never started."""
    for agent in concerned(state, parent):
        if is_stopped(state, agent, parent.id) or state.promised.get(agent, NO_TOKEN) == NO_TOKEN:
            continue
        order = trust.sign_order(state.trust, state.node, orders.child_of(state, parent, agent))
        child = learn_order(state, order, state.node, now_ns)
        if child:
            record(state, "ESCALATED", {"parent": parent.id, "child": child, "agent": agent}, now_ns)
            observe(state, "escalated", parent=parent.id, child=child, agent=agent)
            dispatch.spread(state, (order,))
            orders.after_accept(state, child, now_ns)


def told_at_once(state: Sidecar) -> None:
    """It is a stop, so it does not wait."""
    own = tuple(known.order for known in intent.view(state.intent, state.identity).uncovered if known.order.signer == state.config.node)
    if own and not state.disk_failed:
        send_replicas(state, OrderPush(own, ()))


BUGS = (
    PlantedBug("B250", "a rollout whose place another took is called effective", {"replica.rollouts:outcome": held_is_effective}, ("S21",),
               ("rollouts-made-apart",), "easy"),
    PlantedBug("B251", "that another rollout took its place is not told of one that was effective", {"replica.rollouts:outcome": effective_for_good},
               ("S21",), ("rollouts-made-apart",), "easy"),
    PlantedBug("B252", "to roll a trial back forgets what was stable before the last promotion", {"rollout:rolled_back": back_to_where_it_was},
               ("S21",), ("trial-ended-after-a-promotion",), "easy"),
    PlantedBug("B253", "a canary decides one scope in a hundred too many", {"rollout:is_chosen": up_to_and_including}, ("S21",),
               ("canary-for-a-share",), "easy"),
    PlantedBug("B254", "of too many rollouts the oldest are kept", {"rollout:forget_old": forget_the_rest}, ("S21",),
               ("more-rollouts-than-are-kept",), "easy"),
    PlantedBug("B255", "what did not take place, and is done again, is answered with the doubt of before",
               {"sidecar.permits:on_query_result": said_is_said}, ("L9",), ("lost-at-a-challenged-sink",), "easy"),
    PlantedBug("B256", "a sink compares the numbers of tokens, not tokens", {"sink:refusal": numbers_alone}, ("S2",),
               ("two-starts-of-one-number",), "medium"),
    PlantedBug("B257", "a checkpoint of an earlier start makes a stop clean", {"sidecar.step:how_it_ended": a_checkpoint_is_there}, ("S10",),
               ("leaves-before-it-has-saved",), "easy"),
    PlantedBug("B258", "a stop is not proven again under the token of a start that came to nothing", {"sidecar.proof:gather": each_stage_once},
               ("S15",), ("ordered-before-its-token-is-durable",), "easy"),
    PlantedBug("B259", "who is refused by a fence does not ask where it stands", {"sidecar.permits:on_apply_result": refused_is_refused},
               ("L6",), ("lifted-before-it-was-heard",), "easy"),
    PlantedBug("B260", "what could not be read holds since its sender first said such a thing", {"sidecar.floors:demand": since_it_first_said_so},
               ("S22",), ("answered-before-it-spoke-again",), "medium"),
    PlantedBug("B261", "an agent whose start this replica did not promise is not escalated for", {"replica.orders:escalate": what_it_promised_itself},
               ("L3",), ("escalated-by-who-missed-the-start",), "medium"),
    PlantedBug("B262", "a sidecar's own order is told before it is on its log", {"sidecar.standby:tell": told_at_once}, ("S11",),
               ("standby-again-after-a-resume",), "easy"),
)  # fmt: skip
