"""A sink: where effects take place, of class F, C or U (protocol 4, T3).

Owns what a sink remembers and whom it refuses. Must not know orders, leases or operators: a fence and a challenge are all it needs.

    class  refuses                              remembers keys   so an effect takes place
    F      tokens below its durable fence       yes              exactly once for each key
    C      answers later than P on its clock    yes              at most once for each key; late by at most P
    U      nothing                              no               once for each arrival, however late
"""

from __future__ import annotations

from typing import Any

from killswitch.core import audit, boot
from killswitch.core.events import Boot, DiskFailed, Durable, Effect, Input, Receive, Record
from killswitch.core.machine import NodeConfig
from killswitch.core.messages import (
    NO_TOKEN, Apply, ApplyResult, Challenge, ChallengeRequest, Fence, FenceAck, Message, Query, QueryResult, SinkClass, Token,
)  # fmt: skip
from killswitch.core.outlet import parts, record, send

CHALLENGES_MAX = 1024


class Sink:
    """The state of one sink process. ``applied``: {key: result}; ``fences``: {agent: least token let in}."""

    def __init__(self, config: NodeConfig) -> None:
        self.config = config
        self.node = config.node
        self.tenant = config.node.split("/")[1]
        self.kind = config.sinks[config.node]
        self.effects: list[Effect] = []
        self.chain = audit.Chain("")
        self.fences: dict[str, Token] = {}
        self.applied: dict[str, str] = {}
        self.challenges: dict[str, tuple[str, int]] = {}  # nonce -> (key, issued at)
        self.challenge_count = 0
        self.boot = self.instance = ""
        self.booted = False
        self.disk_failed = False


def step(state: Sink, event: Input, now_ns: int) -> list[Effect]:
    """Take one input at ``now_ns`` on the sink's clock. Total, deterministic."""
    state.effects = []
    if isinstance(event, Boot):
        on_boot(state, event, now_ns)
    elif isinstance(event, Durable):
        state.chain.made_durable(event.lsn)
    elif isinstance(event, DiskFailed):
        state.disk_failed = True
    elif isinstance(event, Receive) and state.booted and not state.disk_failed:
        on_receive(state, event.message, event.sender, now_ns)
    return state.effects


def may_say(state: Sink, message: Message, sender: str) -> bool:
    """Only an agent's own sidecar acts for it, only within the sink's tenant; fences come from there or from a replica."""
    agent = getattr(message, "agent", "")
    if isinstance(message, Fence) and sender in state.config.replicas:
        return True
    return sender == f"sidecar/{agent}" and agent.partition("/")[0] == state.tenant


def on_receive(state: Sink, message: Message, sender: str, now_ns: int) -> None:
    """One message, from somebody who may say it."""
    if not may_say(state, message, sender):
        return
    if isinstance(message, Apply):
        on_apply(state, message, sender, now_ns)
    elif isinstance(message, Fence):
        on_fence(state, message, sender, now_ns)
    elif isinstance(message, ChallengeRequest):
        on_challenge_request(state, message, sender, now_ns)
    elif isinstance(message, Query):
        on_query(state, message, sender)


def on_apply(state: Sink, message: Apply, sender: str, now_ns: int) -> None:
    """Refuse, or apply and record in one; answer once that is durable."""
    refused = refusal(state, message, now_ns)
    if refused:
        body = {"agent": message.agent, "key": message.key, "token": parts(message.token), "why": refused}
        lsn = record(state, "REJECTED", body, now_ns)  # the fence that it rests on lies before it in the log
        send(state, sender, ApplyResult(state.node, message.key, refused), lsn)
        return
    again = message.key in state.applied and state.kind != SinkClass.UNBOUNDED
    result = state.applied[message.key] if again else f"{state.node}#{state.chain.seq + 1}"
    effect: dict[str, object] = {"agent": message.agent, "key": message.key, "token": parts(message.token), "cls": message.cls}
    effect |= {"result": result, "again": again}
    if message.payload and not again:
        effect["payload"] = message.payload
    lsn = record(state, "APPLIED", effect, now_ns)
    if state.kind != SinkClass.UNBOUNDED:
        state.applied[message.key] = result
    send(state, sender, ApplyResult(state.node, message.key, "APPLIED", result), lsn)


def refusal(state: Sink, message: Apply, now_ns: int) -> str:
    """Why an effect is not let in; empty if it is.

    A key that took place is answered as it was before, whatever has been fenced since: refused must mean that it never did.
    """
    if message.key in state.applied:
        return ""
    if state.kind == SinkClass.FENCED and message.token < state.fences.get(message.agent, NO_TOKEN):
        return "REJECTED_FENCED"
    if state.kind == SinkClass.CHALLENGED:
        key, issued_ns = state.challenges.pop(message.nonce, ("", 0))
        if key != message.key or now_ns - issued_ns > state.config.parameters.challenge_ns:
            return "REJECTED_CHALLENGE"
    return ""


def on_fence(state: Sink, message: Fence, sender: str, now_ns: int) -> None:
    """Raise the fence at once, say so once it is durable. A fence never falls."""
    if state.kind != SinkClass.FENCED:
        return
    held = state.fences.get(message.agent, NO_TOKEN)
    if message.min_token > held:
        held = state.fences[message.agent] = message.min_token
        record(state, "FENCE", {"agent": message.agent, "token": parts(held), "order": message.order}, now_ns)
    lsn = state.chain.seq if state.chain.pending else 0
    send(state, sender, FenceAck(state.node, message.agent, held, message.order), lsn)


def on_challenge_request(state: Sink, message: ChallengeRequest, sender: str, now_ns: int) -> None:
    while len(state.challenges) >= CHALLENGES_MAX:
        del state.challenges[next(iter(state.challenges))]
    state.challenge_count += 1
    nonce = f"{state.instance}/{state.challenge_count}"
    state.challenges[nonce] = (message.key, now_ns)
    send(state, sender, Challenge(state.node, message.key, nonce))


def on_query(state: Sink, message: Query, sender: str) -> None:
    """Whether a key was applied; the answer waits for what it rests on. ABSENT has to stay true: at class F the fence sees to it, at class C
    the challenges that are out for the key are taken back, so that whatever is still on its way with one comes too late.
    """
    lsn = state.chain.seq if state.chain.pending else 0
    if state.kind == SinkClass.UNBOUNDED:
        send(state, sender, QueryResult(state.node, message.key, "UNKNOWN", nonce=message.nonce), lsn)
    elif message.key in state.applied:
        send(state, sender, QueryResult(state.node, message.key, "APPLIED", state.applied[message.key], message.nonce), lsn)
    else:
        state.challenges = {nonce: challenge for nonce, challenge in state.challenges.items() if challenge[0] != message.key}
        send(state, sender, QueryResult(state.node, message.key, "ABSENT", nonce=message.nonce), lsn)


def on_boot(state: Sink, event: Boot, now_ns: int) -> None:
    recovery = boot.recover(state, event)
    state.boot, state.instance = event.boot, event.instance
    foreign = boot.fold_all(state, recovery.records, fold, now_ns)
    boot.note(state, event, recovery, now_ns, foreign)


def fold(state: Sink, entry: Record, body: dict[str, Any], now_ns: int) -> None:
    """Take one record of an earlier life into account."""
    if entry.kind == "APPLIED" and state.kind != SinkClass.UNBOUNDED:
        state.applied[body["key"]] = body["result"]
    elif entry.kind == "FENCE":
        state.fences[body["agent"]] = Token(*body["token"])


def digest(state: Sink) -> str:
    """What of the state a fold of the log must give back (S15)."""
    fences = [f"{agent}={token}" for agent, token in sorted(state.fences.items())]
    return audit.digest_of([*fences, "/", *(f"{key}={result}" for key, result in sorted(state.applied.items()))])
