"""The replica's step: one input in, its effects out (protocol 3.7, 3.10).

Owns which part of the replica answers which input, and the fold of the log at boot.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from killswitch.core.bundles import PolicyNews, RolloutRequest
from killswitch.core.certificates import Approval, ResumeCertificate, ResumeDraftRequest, ResumeSubmit
from killswitch.core.countersigns import CountersignedRequest
from killswitch.core.heads import Cosigned, ForkProof, HeadNotice
from killswitch.core.keychanges import KeysetNews
from killswitch.core.lessons import Lesson, LessonRequest
from killswitch.core import attempts, audit, boot, drift, intent, keysets, publication, traffic
from killswitch.core.events import Boot, DiskFailed, DiskFreed, DiskFull, Durable, Effect, Input, Receive, Record, Timer
from killswitch.core.messages import (
    NO_TOKEN, Evidence, FenceAck, Gossip, IntentRead, IntentReply, LeaseRequest, Order, OrderPush, OrderRequest, StartRequest, Token,
)  # fmt: skip
from killswitch.core.outlet import observe, send
from killswitch.core.replica import dispatch, grants, joining, orders, resumes, rollouts, witness
from killswitch.core.replica.state import Replica, killing, learn, let_go, promise, promise_durable, read_order, uncovered
from killswitch.core.stamps import Stamps


def step(state: Replica, event: Input, now_ns: int) -> list[Effect]:
    """Take one input at ``now_ns`` on the replica's clock. Total, deterministic."""
    state.effects = []
    kind = type(event)
    if not state.booted and kind is not Boot:
        return state.effects
    if kind is Receive:
        handler = _MESSAGES.get(type(event.message))  # type: ignore[union-attr]  # narrowed by kind
        if handler is not None and is_heard(state, type(event.message), event.sender, now_ns):  # type: ignore[union-attr]  # narrowed by kind
            handler(state, event.message, event.sender, now_ns)  # type: ignore[union-attr]  # narrowed by kind
    elif isinstance(event, Boot):
        on_boot(state, event, now_ns)
    elif isinstance(event, Durable):
        on_durable(state, event, now_ns)
    elif isinstance(event, Timer):
        on_timer(state, event, now_ns)
    elif isinstance(event, DiskFailed):
        state.disk_failed = True  # forwards and denies, but vouches for nothing any more
        state.awaiting.clear()
        read_waiting(state, list(state.attempts.waiting), now_ns)  # a mark that no disk takes is not worth waiting for
        state.attempts.cautious = False
        resumes.go_on_drafting(state, now_ns)
    elif isinstance(event, DiskFull | DiskFreed):
        state.disk_full = kind is DiskFull  # permissions wait for room, prohibitions have the reserve
    if state.intent.version != state.seen_version:
        state.seen_version = state.intent.version
        show_intent(state)
        rollouts.watch_guard(state, now_ns)
    return state.effects


def is_heard(state: Replica, kind: type, sender: str, now_ns: int) -> bool:
    """Whether a message is within its sender's share. Orders, proofs and what replicas say of orders are heard however many they are."""
    if kind not in _SHARED or state.shares.take(traffic.share_of(sender), now_ns):
        return True
    dropped = state.over_share[sender] = state.over_share.get(sender, 0) + 1
    if str(dropped).strip("0") == "1":  # 1, 10, 100, ...: enough to see a flood by, and no flood itself
        observe(state, "over-share", sender=sender, dropped=dropped)
    return False


def on_timer(state: Replica, event: Timer, now_ns: int) -> None:
    if event.name == "gossip":
        if drift.trust_again(state, now_ns):
            orders.restart_waits(state, now_ns)
        dispatch.on_gossip_timer(state, now_ns)
        orders.tell_again(state, now_ns)
        joining.ask(state)
        rollouts.on_gossip_timer(state)
        witness.round_of_witnessing(state, now_ns)
    elif event.name == "waiting":
        orders.on_waiting_timer(state, now_ns)


def on_durable(state: Replica, event: Durable, now_ns: int) -> None:
    """What waited for its record may happen now."""
    state.chain.made_durable(event.lsn)
    vouches = rolled = read = False
    for lsn in [lsn for lsn in state.awaiting if lsn <= event.lsn]:
        kind, subject = state.awaiting.pop(lsn)
        if kind == "order" and isinstance(subject, str):
            orders.note_durable(state, subject, state.node, now_ns)
            vouches = True
        elif kind == "certificate" and isinstance(subject, str):
            intent.put_in_force(state.intent, subject)
            forget_lifted(state)
        elif kind == "joined":
            joining.finish(state)
        elif kind == "promise" and isinstance(subject, tuple):
            promise_durable(state, *subject)
        elif kind == "rollout" and isinstance(subject, str):
            rolled = rollouts.rollout_durable(state, subject) or rolled
        elif kind == "attempt" and isinstance(subject, str):
            read_waiting(state, [subject], now_ns)
            read = True
    if rolled:  # only now: of several that became durable at once, nothing is decided by any but the last
        rollouts.watch_guard(state, now_ns)
    if rolled or read:
        resumes.go_on_drafting(state, now_ns)
        joining.conclude(state, now_ns)
    if vouches:
        for peer in state.others:
            send(state, peer, dispatch.gossip(state))


def read_waiting(state: Replica, identities: list[str], now_ns: int) -> None:
    """The marks are durable: now the orders themselves."""
    waiting = [state.attempts.waiting.pop(identity) for identity in identities]
    took_in(state, [fresh for order, sender in waiting if (fresh := read_order(state, order, sender, now_ns))], now_ns)


def forget_lifted(state: Replica) -> None:
    """A fence is pressed on while any order kills its agent; after that the next start fences at its own token."""
    for (sink, agent), (token, order) in list(state.fences.items()):
        if order in state.intent.lifted:
            standing = killing(state, agent)
            if standing:
                state.fences[(sink, agent)] = (token, standing[0])
            else:
                del state.fences[(sink, agent)]
                state.tries.pop((sink, agent), None)


# -- messages --------------------------------------------------------------------------------------------------------------------------


def on_gossip(state: Replica, message: Gossip, sender: str, now_ns: int) -> None:
    """Intent knows no cells, and is joined across them; who has outwaited which lease is a cell's own matter (T4)."""
    if sender not in state.others:
        return
    if message.clocks is not None:
        state.heard_clocks[sender] = (message.clocks.boot, message.clocks.sent_ns)
        if sender in state.peers:
            watch_clock(state, message.clocks, sender, now_ns)
    took_in(state, learn(state, message.orders, message.certificates, sender, now_ns), now_ns)
    for order in message.durable:
        orders.note_durable(state, order, sender, now_ns)
    for order in message.waited if sender in state.peers else ():
        orders.note_waited(state, order, sender, now_ns)
    dispatch.answer_gossip(state, message, sender)
    if let_go(state, sender, message.keyset, message.clocks):
        resumes.go_on_drafting(state, now_ns)
    if message.keyset < state.trust.keyset.version:
        send(state, sender, keysets.since(state, message.keyset))


def watch_clock(state: Replica, stamps: Stamps, sender: str, now_ns: int) -> None:
    """The peer stamped this after it had heard of this clock, and before it came here. Most clocks are right: this one is if it goes with them."""
    if stamps.heard_boot != state.boot:
        return
    sight = drift.Sight(stamps.boot, stamps.heard_ns, now_ns, stamps.sent_ns)
    drift.compare(state.clock, sender, sight, state.parameters.drift_ppm, state.parameters.lease_ns)
    if drift.doubt(state, len(state.peers) // 2, now_ns):
        orders.restart_waits(state, now_ns)


def on_order_push(state: Replica, message: OrderPush, sender: str, now_ns: int) -> None:
    """A sidecar stopped its own agent, or holds what this replica does not know, or does no more: approvers have to be shown that, and its lease is
    denied. Orders prove themselves."""
    took_in(state, learn(state, message.orders, (), sender, now_ns), now_ns)


def on_intent_reply(state: Replica, message: IntentReply, sender: str, now_ns: int) -> None:
    took_in(state, resumes.on_intent_reply(state, message, sender, now_ns), now_ns)
    joining.on_intent(state, message, sender, now_ns)


def took_in(state: Replica, fresh: list[str], now_ns: int) -> None:
    """Orders that came from a peer: the sidecars that this replica can reach hear of them, too."""
    for order in fresh:
        orders.after_accept(state, order, now_ns)
    dispatch.push(state, tuple(state.intent.orders[order].order for order in fresh), ())


def on_keyset_news(state: Replica, message: KeysetNews, sender: str, now_ns: int) -> None:
    """A later keyset goes on to every peer at once, sidecars get it with their heartbeats; orders that waited for it are verified now."""
    before = state.trust.keyset.version
    if not keysets.learn(state, message, now_ns):
        return
    for peer in state.others:
        send(state, peer, keysets.since(state, before))
    held, state.withheld = state.withheld, {}
    for (_, peer), (known, _) in held.items():
        took_in(state, learn(state, (known.order,), (), peer, now_ns), now_ns)
    resumes.go_on_drafting(state, now_ns)


def on_evidence(state: Replica, message: Evidence, sender: str, now_ns: int) -> None:
    orders.take_evidence(state, (message,), sender, now_ns)


def on_fence_ack(state: Replica, message: FenceAck, sender: str, now_ns: int) -> None:
    if dispatch.on_fence_ack(state, message, sender, now_ns):
        for order in killing(state, message.agent):
            orders.tell_agent(state, order, message.agent, message.min_token, "FENCED")


def on_intent_read(state: Replica, message: IntentRead, sender: str, now_ns: int) -> None:
    if sender in state.others:
        dispatch.on_intent_read(state, message, sender, now_ns)


_MESSAGES: dict[type, Callable[[Replica, Any, str, int], None]] = {
    LeaseRequest: grants.on_lease_request,
    StartRequest: grants.on_start_request,
    Gossip: on_gossip,
    Evidence: on_evidence,
    OrderRequest: orders.on_order_request,
    CountersignedRequest: orders.on_countersigned,
    ResumeDraftRequest: resumes.on_draft_request,
    ResumeSubmit: resumes.on_submit,
    IntentRead: on_intent_read,
    IntentReply: on_intent_reply,
    FenceAck: on_fence_ack,
    OrderPush: on_order_push,
    HeadNotice: witness.on_head_notice,
    Cosigned: witness.on_cosigned,
    ForkProof: witness.on_fork_proof,
    KeysetNews: on_keyset_news,
    LessonRequest: joining.on_request,
    Lesson: joining.on_lesson,
    RolloutRequest: rollouts.on_rollout_request,
    PolicyNews: rollouts.on_news,
}

# What has a share: requests for permission and telemetry, which are said again. Whatever may carry an order, or lift one, has none.
_SHARED = frozenset({LeaseRequest, StartRequest, ResumeDraftRequest, RolloutRequest, PolicyNews, HeadNotice, Cosigned})


def show_intent(state: Replica) -> None:
    in_force = intent.in_force(known for known in uncovered(state) if known.body.scope.kind == "global")
    observe(
        state, "intent", digest=intent.digest(state.intent), orders=sorted(state.intent.orders), certificates=sorted(state.intent.in_force),
        gate=in_force.gate.name, life=in_force.life.name,
    )  # fmt: skip


# -- boot --------------------------------------------------------------------------------------------------------------------------------


def on_boot(state: Replica, event: Boot, now_ns: int) -> None:
    """Fold the log. When an order was first seen is not recovered: what is left of its grace counts as nothing (D4)."""
    recovery = boot.recover(state, event)
    state.chain.keep_hashes(recovery.records)
    state.boot, state.instance, state.booted_ns = event.boot, event.instance, now_ns
    foreign = boot.fold_all(state, recovery.records, fold, now_ns)
    state.promises_durable = dict(state.promised)
    state.promised_ns = dict.fromkeys(state.promised, now_ns)
    for order in state.intent.orders:
        state.durable.setdefault(order, set()).add(state.node)
    observe(state, "intent-recovered", orders=sorted(state.intent.orders), certificates=sorted(state.intent.in_force))
    rollouts.recovered(state)
    boot.note(state, event, recovery, now_ns, foreign)
    state.attempts.cautious = bool(recovery.records)
    attempts.quarantine(state, now_ns)
    state.disk_failed = foreign > 0  # what it cannot read of its own log may forbid anything: it forwards and denies
    joining.begin(state, cut=boot.is_cut(event, recovery))
    dispatch.on_gossip_timer(state, now_ns)
    joining.ask(state)
    for known in uncovered(state):
        orders.after_accept(state, known.id, now_ns)


def fold(state: Replica, entry: Record, body: dict[str, Any], now_ns: int) -> None:
    """Take one record of an earlier life into account."""
    kind = entry.kind
    if kind == "ORDER_ACCEPTED":
        known = intent.read_order(Order(body["raw"], body["signer"], body["signature"]))
        if known is None:
            raise ValueError("an order in a form that this version does not know")  # `boot.fold_all` counts it: it may forbid anything
        intent.add_order(state.intent, known)
        state.attempts.open.pop(known.id, None)
    elif kind == "CERT_ACCEPTED":
        approvals = tuple(Approval(approver, signature) for approver, signature in body["approvals"])
        certificate = intent.read_certificate(ResumeCertificate(body["raw"], approvals))
        if certificate is not None:
            intent.add_certificate(state.intent, certificate)
            intent.put_in_force(state.intent, certificate.id)
    elif kind == "PROMISE":
        promise(state, body["agent"], Token(*body["token"]))
    elif kind == "PREDECESSOR_STOPPED" or (kind == "EVIDENCE" and body["stage"].startswith("STOPPED")):
        if (token := Token(*body["token"])) > state.stopped.get(body["agent"], NO_TOKEN):
            state.stopped[body["agent"]] = token
    elif kind == "ORDER_EFFECTIVE":
        state.effective.add(body["order"])
    elif kind == "DECLARED":
        state.declared.add((body["order"], body["agent"]))
    elif kind in ("POLICY_INSTALLED", "POLICY_ROLLOUT", "POLICY_ROLLBACK"):
        rollouts.fold(state, kind, body)
    elif kind in _FOLDS:
        _FOLDS[kind](state, body)
    elif kind in (attempts.ATTEMPT, attempts.ATTEMPT_OVER):
        attempts.fold(state, kind, body)
    elif kind == "RECOVERED":
        state.joining = True
    elif kind == "JOINED":
        joining.fold(state, body["taught"])


_FOLDS: dict[str, Callable[[Replica, dict[str, Any]], None]] = {
    audit.COSIG: witness.fold,
    "FORK_PROOF": publication.fold_fork,
    keysets.KEYSET: keysets.fold,
}


def digest(state: Replica) -> str:
    """What of the state a fold of the log must give back (S15): intent, promises, what starts are over, what was found effective or declared, the
    keyset, what was witnessed."""
    certificates = sorted(state.intent.certificates)
    promises = [f"{agent}={token}" for agent, token in sorted(state.promised.items())]
    stopped = [f"{agent}={token}" for agent, token in sorted(state.stopped.items())]
    declared = [f"{order}@{agent}" for order, agent in sorted(state.declared)]
    words = [*sorted(state.intent.orders), "/", *certificates, "/", *promises, "/", *stopped, "/", *sorted(state.effective), "/", *declared]
    keyset = f"keyset={state.trust.keyset.version}/{state.trust.keyset.head}"
    return audit.digest_of([*words, "/", *sorted(state.policies.rollouts), keyset, *attempts.digest_words(state), *witness.digest_words(state)])
