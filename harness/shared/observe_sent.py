"""What each message that a node sends means in the history's vocabulary: one mapping for both drivers, apart from inputs (``observe``) and records.

Owns the reading of what leaves, and which of it is said again and no fact a second time. Knows the core's messages, and of whoever observes a node
what this start of it has said so far.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

import msgspec

from harness.shared.observe_heard import Heard
from harness.shared.observe_records import Observing
from killswitch.core.bundles import PolicyNews, RolloutRequest, RolloutStatus
from killswitch.core.cells import CellStatus
from killswitch.core.certificates import ResumeBody, ResumeDraft, ResumeDraftRequest, ResumeStatus, ResumeSubmit
from killswitch.core.events import Send
from killswitch.core.heads import Cosigned, HeadNotice
from killswitch.core.lessons import Lesson
from killswitch.core.messages import (
    Apply,
    ApplyResult,
    Challenge,
    Evidence,
    Fence,
    FenceAck,
    Gossip,
    IntentReply,
    LeaseReply,
    LeaseRequest,
    OrderPush,
    OrderStatus,
    Query,
    QueryResult,
    ResolveResult,
    StartReply,
    StartRequest,
    StopAck,
)  # fmt: skip
from killswitch.core.outlet import parts


class Sending(Observing, Protocol):
    """Who observes a node that sends. ``clock_ns``: what the node's clock reads; ``durable``: the last record that its disk holds.

    ``said``: what this start has sent -> what it waits for at most, or 0; whose head it cosigned -> its size. ``claims``: what its latest gossip
    says of copies and of waits. ``round``: the nonce of its latest round of lease requests. ``signed``: the size of its last head; ``grown``:
    whether it has grown since. ``heard``: what a sidecar was told. ``accepted``: request for a rollout -> who said that it has accepted it, until
    that is asked after; None if nothing is.
    """

    clock_ns: int
    durable: int
    said: dict[object, int]
    claims: tuple[tuple[str, ...], tuple[str, ...]]
    round: str
    signed: int
    grown: bool
    heard: Heard
    accepted: dict[str, str] | None


def on_head_notice(node: Sending, _effect: Send, message: HeadNotice) -> None:
    head = message.head
    if head.size > node.signed:  # one fact for the head, not one for each witness that it is shown to
        node.signed, node.grown = head.size, False
        node.emit("sth-signed", {"origin": head.origin, "size": head.size, "root": head.root.hex(), "previous": head.previous})


def on_cosigned(node: Sending, effect: Send, message: Cosigned) -> None:
    """One fact for each cosignature, not one for each node that is told of it."""
    for cosignature in message.cosignatures:
        head = cosignature.head
        if cosignature.witness == node.node and node.said.get(head.origin, 0) <= head.size:
            if node.said.get(head.origin, 0) < head.size:
                node.said[head.origin] = head.size
                node.said.pop(("cosigned", head.origin), None)
            fields = {"origin": head.origin, "size": head.size, "root": head.root.hex(), "witness": node.node}
            say(node, effect, ("cosigned", head.origin), "cosignature-sent", fields)


def on_lease_request(node: Sending, effect: Send, message: LeaseRequest) -> None:
    for proof in message.evidence:
        on_evidence(node, effect, proof)
    if message.nonce != node.round and message.token.counter:
        node.round = message.nonce
        instance = message.token.instance
        node.emit("lease-requested", {"agent": message.agent, "nonce": message.nonce, "token": parts(message.token), "instance": instance})


def on_lease_reply(node: Sending, effect: Send, message: LeaseReply) -> None:
    if message.certificates:
        hand_on(node, effect, message)
    common = {"agent": message.agent, "nonce": message.nonce, "replica": node.node, "token": parts(message.token)}
    if message.len_ns > 0:
        node.emit("lease-granted", {**common, "len_ns": message.len_ns})
    elif message.token.counter:
        node.emit("lease-denied", {**common, "why": message.why})


def on_apply(node: Sending, effect: Send, message: Apply) -> None:
    fields = {"agent": message.agent, "token": parts(message.token), "instance": message.token.instance, "task": message.task}
    fate = {"step": message.step, "key": message.key, "cls": str(message.cls), "sink": effect.to}
    node.emit("effect-admitted", {**fields, **fate})


def on_query(node: Sending, effect: Send, message: Query) -> None:
    """One fact for each question of the agent, not one for each time that its sink is asked it."""
    if message.key in node.heard.asked:
        node.heard.asked -= {message.key}
        node.emit("question-asked", {"agent": message.agent, "sink": effect.to, "key": message.key, "nonce": message.nonce})


def on_resolve_result(node: Sending, _effect: Send, message: ResolveResult) -> None:
    node.emit("question-answered", {"agent": node.agent, "key": message.key, "status": message.status})


def on_challenge(node: Sending, _effect: Send, message: Challenge) -> None:
    node.emit("challenge-issued", {"sink": message.sink, "key": message.key, "nonce": message.nonce})


def on_evidence(node: Sending, effect: Send, message: Evidence) -> None:
    """One fact for each proof, not one for each replica or each heartbeat that it goes out with."""
    mark = (message.order, message.stage, message.token.counter)
    if mark not in node.said:
        node.said[mark] = 0
        fields = {"agent": message.agent, "token": parts(message.token), "order": message.order, "stage": message.stage}
        node.once_durable(effect.after_lsn, "evidence-sent", fields, sends=True)
        vouch(node, effect, "proof", f"{message.order} {message.stage} {message.token.counter}")


def on_start_request(node: Sending, effect: Send, message: StartRequest) -> None:
    for proof in message.evidence:
        on_evidence(node, effect, proof)
    mark = ("start", message.token)
    if mark not in node.said:
        node.said[mark] = 0
        told, by = node.heard.greatest
        tokens = {"token": parts(message.token), "told": parts(told), "over": parts(message.stopped)}
        node.emit("start-proposed", {"agent": message.agent, **tokens, "by": by})


def on_start_reply(node: Sending, effect: Send, message: StartReply) -> None:
    """One fact for each promise, and for each predecessor that is over, not one for each time that it is asked for again."""
    if message.certificates:
        hand_on(node, effect, message)
    fields = {"agent": message.agent, "token": parts(message.token)}
    if message.granted:
        say(node, effect, (message.agent, message.token), "promise-sent", fields)
    if message.ready:
        say(node, effect, ("ready", message.agent, message.token), "start-readied", fields)


def say(node: Sending, effect: Send, mark: object, kind: str, fields: dict[str, Any]) -> None:
    """One fact for each thing that this start says, when it is first said: what leaves later is no news, what leaves before it is."""
    waits_for = node.said.get(mark)
    if waits_for is None or max(effect.after_lsn, node.durable) < waits_for:
        node.said[mark] = effect.after_lsn
        node.once_durable(effect.after_lsn, kind, fields, sends=True)


def vouch(node: Sending, effect: Send, what: str, about: str) -> None:
    """Word of something that rests on a record of the node's own."""
    say(node, effect, (what, about), "vouched", {"what": what, "about": about})


def hand_on(node: Sending, effect: Send, message: Gossip | IntentReply | LeaseReply | OrderPush | StartReply) -> None:
    """Whoever hands a resume on has let it in, or has it from somebody who did."""
    for certificate in message.certificates:
        vouch(node, effect, "certificate", hashlib.sha256(certificate.raw).hexdigest())


def on_gossip(node: Sending, effect: Send, message: Gossip) -> None:
    if message.certificates:
        hand_on(node, effect, message)
    claims = (message.durable, message.waited)
    if claims != node.claims:
        if effect.after_lsn <= node.durable:  # what has yet to leave may be said sooner by the next
            node.claims = claims
        for what, orders in zip(("copy", "wait"), claims, strict=True):
            for order in orders:
                vouch(node, effect, what, order)


def on_order_push(node: Sending, effect: Send, message: OrderPush) -> None:
    """What somebody else signed is his word; what a sidecar signed itself is on its own log."""
    for order in message.orders if node.agent else ():
        if order.signer == node.node:
            vouch(node, effect, "own order", hashlib.sha256(order.raw).hexdigest())
    hand_on(node, effect, message)


def on_policy_news(node: Sending, effect: Send, message: PolicyNews) -> None:
    for signed in message.records:
        vouch(node, effect, "rollout", hashlib.sha256(signed.raw).hexdigest())


def on_lesson(node: Sending, effect: Send, message: Lesson) -> None:
    for each in message.promised:
        vouch(node, effect, "promise", f"{each.agent} {each.epoch}.{each.counter}.{each.instance}")


def on_fence(node: Sending, effect: Send, message: Fence) -> None:
    """One fact for each fence, not one for each time that its sink is told of it again."""
    fields = {"sink": effect.to, "agent": message.agent, "min_token": parts(message.min_token), "order": message.order}
    say(node, effect, ("fence", effect.to, message), "fence-sent", fields)


def on_fence_ack(node: Sending, effect: Send, message: FenceAck) -> None:
    token = message.min_token
    vouch(node, effect, "fence", f"{message.agent} {token.epoch}.{token.counter}.{token.instance}")


def on_effect_told(node: Sending, effect: Send, message: ApplyResult | QueryResult) -> None:
    if message.status == "APPLIED":
        vouch(node, effect, "effect", message.key)
    elif message.status == "REJECTED_FENCED":
        vouch(node, effect, "refusal", message.key)


def on_order_status(node: Sending, effect: Send, message: OrderStatus | CellStatus) -> None:
    if message.stage == "ACCEPTED":
        vouch(node, effect, "accepted", message.order)


def on_rollout_request(node: Sending, effect: Send, message: RolloutRequest) -> None:
    if node.accepted and (accepted := node.accepted.pop(message.request, "")):
        node.emit("rollout-asked-after", {"request": message.request, "replica": effect.to, "accepted": accepted})


def on_rollout_status(node: Sending, effect: Send, message: RolloutStatus) -> None:
    if message.stage != "REFUSED":
        vouch(node, effect, "request", f"{message.seq}/{message.request}")
        fields = {"request": message.request, "stage": message.stage, "seq": message.seq}
        node.once_durable(effect.after_lsn, "rollout-told", fields, sends=True)


def on_draft_request(node: Sending, effect: Send, message: ResumeDraftRequest) -> None:
    node.emit("draft-asked", {"request": message.request, "replica": effect.to})


def on_resume_status(node: Sending, effect: Send, message: ResumeStatus) -> None:
    fields = {"request": message.request, "certificate": message.certificate, "stage": message.stage}
    node.once_durable(effect.after_lsn, "resume-told", fields, sends=True)
    if message.stage == "ACCEPTED":
        vouch(node, effect, "certificate", message.certificate)


def on_draft(node: Sending, _effect: Send, message: ResumeDraft) -> None:
    if message.stage != "REFUSED":
        body = msgspec.msgpack.decode(message.raw, type=ResumeBody) if message.raw else None
        covers, heard = ([], []) if body is None else (list(body.covers), heard_for(node, body))
        certificate = hashlib.sha256(message.raw).hexdigest()
        node.emit("draft-sent", {"request": message.request, "covers": covers, "certificate": certificate, "heard": heard})


def on_submit(node: Sending, _effect: Send, message: ResumeSubmit) -> None:
    certificate = hashlib.sha256(message.certificate.raw).hexdigest()
    node.emit("resume-submitted", {"request": message.request, "certificate": certificate})


def heard_for(node: Sending, draft: ResumeBody) -> list[tuple[str, str, int]]:
    """Whom the drafter heard, and when: a draft ends for each a fixed span after its answer, and for the drafter that long from now."""
    own = next((end.clock_ns for end in draft.ends if end.replica == node.node), node.clock_ns)
    return [(end.replica, end.boot, end.clock_ns - (own - node.clock_ns)) for end in draft.ends if end.replica != node.node]


def on_stop_ack(node: Sending, _effect: Send, message: StopAck) -> None:
    node.emit("checkpoint-acknowledged", {"agent": node.agent, "generation": message.checkpoint})


SENT: Final[Mapping[type, Callable[[Sending, Send, Any], None]]] = {
    LeaseRequest: on_lease_request,
    StartRequest: on_start_request,
    LeaseReply: on_lease_reply,
    StartReply: on_start_reply,
    ResumeDraft: on_draft,
    ResumeSubmit: on_submit,
    Gossip: on_gossip,
    Lesson: on_lesson,
    Fence: on_fence,
    FenceAck: on_fence_ack,
    ResolveResult: on_resolve_result,
    Challenge: on_challenge,
    Query: on_query,
    ApplyResult: on_effect_told,
    QueryResult: on_effect_told,
    OrderPush: on_order_push,
    PolicyNews: on_policy_news,
    IntentReply: hand_on,
    OrderStatus: on_order_status,
    CellStatus: on_order_status,
    RolloutRequest: on_rollout_request,
    RolloutStatus: on_rollout_status,
    ResumeStatus: on_resume_status,
    ResumeDraftRequest: on_draft_request,
    HeadNotice: on_head_notice,
    Cosigned: on_cosigned,
    Apply: on_apply,
    Evidence: on_evidence,
    StopAck: on_stop_ack,
}
