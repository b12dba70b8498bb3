"""Effects on their way out: admission, challenge, sending, retrying, and what the agent is told (protocol 2, 4; T3).

Owns every message to and from sinks but fences. An effect is admitted at the instant it is sent, by the gate and lease of that
instant; a class C sink's challenge comes first, so that the admission lies after it; a retry is an admission of its own.
"""

from __future__ import annotations

import hashlib

from killswitch.core.events import SetTimer
from killswitch.core.messages import (
    Apply, ApplyResult, Challenge, ChallengeRequest, EffectRequest, EffectResult, Fence, Gate, GateNotice, Query, QueryResult, ResolveRequest,
    ResolveResult, SinkClass,
)  # fmt: skip
from killswitch.core.outlet import observe, parts, record, send
from killswitch.core.sidecar import state as sidecar
from killswitch.core.sidecar.state import PAYLOAD_MAX, PERMITS_A_RECORD, PERMITS_MAX, QUESTIONS_MAX, Permit, Question, Sidecar, agent_node


def on_effect_request(state: Sidecar, request: EffectRequest, now_ns: int) -> None:
    """Admit or deny. A request for a key that is on its way or was answered already is no second effect: requests and answers cross."""
    if request.key in state.permits:
        return
    if request.key in state.answered:
        send(state, agent_node(state), state.answered[request.key])
        return
    fits = request.sink in state.config.sinks and len(request.payload or b"") <= PAYLOAD_MAX
    if not fits or len(state.permits) >= PERMITS_MAX or not sidecar.admit(state, request.cls, now_ns):
        answer(state, request.key, "DENIED")
        return
    permit = Permit(request.task, request.step, request.key, request.cls, request.sink, now_ns, request.payload)
    state.permits[request.key] = permit
    if len(state.permits) == 1:
        state.effects.append(SetTimer("permits", now_ns + state.parameters.renew_ns))
    if state.config.sinks[request.sink] == SinkClass.CHALLENGED:
        send(state, request.sink, ChallengeRequest(state.config.agent, request.key))
    else:
        send_apply(state, permit, now_ns)


def on_challenge(state: Sidecar, challenge: Challenge, now_ns: int) -> None:
    """The lease is looked at after the challenge, so the sink's time to live bounds how stale the look can be (T3)."""
    permit = state.permits.get(challenge.key)
    if permit is None or permit.sent or challenge.sink != permit.sink:
        return
    if sidecar.admit(state, permit.cls, now_ns):
        permit.nonce = challenge.nonce
        send_apply(state, permit, now_ns)
    else:
        withdraw(state, permit)


def send_apply(state: Sidecar, permit: Permit, now_ns: int) -> None:
    permit.sent = True
    permit.tried_ns = now_ns
    count, root = state.let_out
    state.let_out = (count + 1, hashlib.sha256(root + permit.key.encode()).digest())
    effect = Apply(state.config.agent, state.token, permit.task, permit.step, permit.key, permit.cls, permit.nonce, permit.payload)
    send(state, permit.sink, effect)
    if count + 1 >= PERMITS_A_RECORD:
        put_on_record(state, now_ns)


def put_on_record(state: Sidecar, now_ns: int) -> None:
    """Admissions in one record for many, at the latest with the gate's next change: what each was for is in the agent's journal before it leaves."""
    count, root = state.let_out
    if count:
        record(state, "PERMIT", {"token": parts(state.token), "count": count, "root": root}, now_ns)
        state.let_out = (0, bytes(32))


def on_apply_result(state: Sidecar, result: ApplyResult) -> None:
    """The sink's word on an effect that is on its way. One that took place is what the agent's last checkpoint will have to know of."""
    permit = state.permits.get(result.key)
    if permit is None or result.sink != permit.sink:
        return
    del state.permits[result.key]
    if result.status == "APPLIED":
        state.last_applied = permit.task
        end_doubt(state, permit.key)
        conclude(state, EffectResult(result.key, "APPLIED", result.result))
        return
    answer(state, result.key, "DENIED")
    if result.status == "REJECTED_FENCED":
        # Perhaps an echo of an earlier start, perhaps the end of this one: the fence itself says which (`starts.on_fence_ack`).
        send(state, result.sink, Fence(state.config.agent, state.token))


def conclude(state: Sidecar, result: EffectResult) -> None:
    """The last word on an effect. It is kept: the agent may ask once more before it has heard. Until its sink says that it never took place."""
    while len(state.answered) >= PERMITS_MAX:
        del state.answered[next(iter(state.answered))]
    state.answered[result.key] = result
    answer(state, result.key, result.status, result.result)


def abort_forbidden(state: Sidecar, now_ns: int) -> None:
    """Call back what was asked for and has not left: part of learning an order, in the same step (S3)."""
    for permit in list(state.permits.values()):
        if not permit.sent and not sidecar.admit(state, permit.cls, now_ns):
            withdraw(state, permit)


def withdraw(state: Sidecar, permit: Permit) -> None:
    del state.permits[permit.key]
    observe(state, "permit-aborted", agent=state.config.agent, key=permit.key)
    answer(state, permit.key, "DENIED")


def on_permit_timer(state: Sidecar, now_ns: int) -> None:
    """Try what went unanswered again, where trying twice is harmless; elsewhere the effect is in doubt (protocol 4)."""
    for permit in list(state.permits.values()):
        if now_ns - permit.tried_ns >= state.parameters.renew_ns:
            retry(state, permit, now_ns)
    for key, question in sorted(state.resolving.items()):
        ask_sink(state, key, question, now_ns)
    if state.permits or state.resolving:
        state.effects.append(SetTimer("permits", now_ns + state.parameters.renew_ns))


def retry(state: Sidecar, permit: Permit, now_ns: int) -> None:
    """Once more, by what the sink's class allows, or never: then it is in doubt."""
    kind = state.config.sinks[permit.sink]
    if permit.sent and kind != SinkClass.FENCED:
        del state.permits[permit.key]
        doubt(state, permit)
        conclude(state, EffectResult(permit.key, "IN_DOUBT"))
    elif not sidecar.admit(state, permit.cls, now_ns):
        return  # closed or draining: whether an earlier try landed is found out by the next start (D9)
    elif permit.sent:
        send_apply(state, permit, now_ns)
    else:
        permit.tried_ns = now_ns
        send(state, permit.sink, ChallengeRequest(state.config.agent, permit.key))


def doubt(state: Sidecar, permit: Permit) -> None:
    """It left, and its sink did not say what became of it: no stop is clean until it does, in whatever start. Of too many the last stands for the
    rest, under no key that anybody could ask about."""
    state.doubtful = {**state.doubtful, permit.key if len(state.doubtful) < PERMITS_MAX else "": permit.task}


def end_doubt(state: Sidecar, key: str) -> None:
    if key in state.doubtful:
        state.doubtful = {each: task for each, task in state.doubtful.items() if each != key}


def on_resolve_request(state: Sidecar, request: ResolveRequest, now_ns: int) -> None:
    """The agent asks what became of an effect. Fence first, then query, then decide (D9): the fence at this token was acknowledged before the
    process was spawned, and class C takes its challenges back when it is asked, so absent is final.
    """
    if state.config.sinks.get(request.sink, SinkClass.UNBOUNDED) == SinkClass.UNBOUNDED:
        send(state, agent_node(state), ResolveResult(request.key, "IN_DOUBT"))
        return
    if not state.permits and not state.resolving:
        state.effects.append(SetTimer("permits", now_ns + state.parameters.renew_ns))
    question = state.resolving[request.key] = Question(request.sink, f"{state.instance}/{now_ns}", now_ns)
    ask_sink(state, request.key, question, now_ns)


def ask_sink(state: Sidecar, key: str, question: Question, now_ns: int) -> None:
    """Once more; or, if it was asked often enough, and an answer could be here twice over, nobody can say, and the agent has other things to do."""
    question.tries += 1
    if question.tries > QUESTIONS_MAX and now_ns - question.since_ns >= 2 * state.trip_ns:
        del state.resolving[key]
        send(state, agent_node(state), ResolveResult(key, "IN_DOUBT"))
    else:
        send(state, question.sink, Query(state.config.agent, key, question.nonce))


def on_query_result(state: Sidecar, result: QueryResult) -> None:
    question = state.resolving.get(result.key)
    if question is None or (question.sink, question.nonce) != (result.sink, result.nonce):
        return
    del state.resolving[result.key]
    status = result.status if result.status in ("APPLIED", "ABSENT") else "IN_DOUBT"
    if status != "IN_DOUBT" and result.key:
        end_doubt(state, result.key)
    if status == "ABSENT":
        state.answered.pop(result.key, None)  # that nobody could say is no answer to who does it again
    send(state, agent_node(state), ResolveResult(result.key, status, result.result))


def announce_gate(state: Sidecar, gate: Gate) -> None:
    if state.process:
        send(state, agent_node(state), GateNotice(gate))


def answer(state: Sidecar, key: str, status: str, result: str = "") -> None:
    if state.process:
        send(state, agent_node(state), EffectResult(key, status, result))
