"""Planted bugs of durability: what is told, granted, lifted or vouched for ahead of the disk, and what waits for it that must not."""

from __future__ import annotations

from typing import Any

from msgspec import structs

from harness.planted.bug import PlantedBug
from killswitch.core import federation, intent, sink, transparency, trust
from killswitch.core.certificates import ResumeCertificate
from killswitch.core.events import Append, DiskFailed, Durable, Send
from killswitch.core.heads import Cosignature, Cosigned, Sth
from killswitch.core.intent import KnownOrder, View
from killswitch.core.messages import NO_TOKEN, Apply, ApplyResult, Evidence, Gossip, LeaseRequest, Message, Order, OrderPush, Query, StartRequest
from killswitch.core.outlet import record, send
from killswitch.core.replica import dispatch, grants, orders, rollouts
from killswitch.core.replica import state as replica_state
from killswitch.core.replica.state import Replica
from killswitch.core.sidecar import permits
from killswitch.core.sidecar import step as sidecar_step
from killswitch.core.sidecar.state import Sidecar, send_replicas
from killswitch.core.sink import Sink

_after_accept = orders.after_accept
_answer_again = orders.answer_again
_learn_certificate = replica_state.learn_certificate
_learn_certificate_here = sidecar_step.learn_certificate
_lease = grants.lease
_note_waited = orders.note_waited
_on_apply = sink.on_apply
_on_durable = sidecar_step.on_durable
_on_query = sink.on_query
_reply = grants.reply
_spread = dispatch.spread


def acknowledge_before_sync(state: Replica, order: str, now_ns: int) -> None:
    _after_accept(state, order, now_ns)
    orders.note_durable(state, order, state.node, now_ns)


def failed_sync_is_fine(state: Sidecar, event: DiskFailed, now_ns: int) -> None:
    _on_durable(state, Durable(state.chain.seq), now_ns)


def prove_without_the_disk(state: Sidecar, order: str, reached: str, now_ns: int) -> None:
    """What a swallowed error comes to: the proof leaves as if its record were safe."""
    token, checkpoint = (state.token, state.checkpoint) if state.process else (state.last_stop[0], state.checkpoint)
    signed = trust.sign_evidence(state.trust, state.config.node, Evidence(state.config.agent, token, order, reached, checkpoint, ()))
    state.proved[order] = signed
    for replica in state.config.replicas:
        send(state, replica, signed)


def close_after_sync(state: Sidecar, order: Order, now_ns: int) -> bool:
    """The stop waits for the disk: the order is put on record first, and enforced when that is durable."""
    known = trust.read_order(state.trust, order)
    if known is None:
        return False
    if known.id in state.intent.orders or known.id in state.evidence_told or not intent.matches(known.body.tenant, known.body.scope, state.identity):
        return True
    state.evidence_told[known.id] = "waiting for the disk"
    body = {"raw": order.raw, "signer": order.signer, "signature": order.signature, "deadline": None}
    state.awaiting[record(state, "ORDER_LEARNED", body, now_ns)] = ("late order", known)
    return True


def durable_then_close(state: Sidecar, event: Durable, now_ns: int) -> None:
    for lsn in [lsn for lsn, (kind, _) in state.awaiting.items() if kind == "late order" and lsn <= event.lsn]:
        _, known = state.awaiting.pop(lsn)
        if isinstance(known, intent.KnownOrder):
            sidecar_step.start_grace(state, known, now_ns)
            intent.add_order(state.intent, known)
            permits.abort_forbidden(state, now_ns)
    _on_durable(state, event, now_ns)


def answer_before_sync(state: Sink, message: Apply, sender: str, now_ns: int) -> None:
    _on_apply(state, message, sender, now_ns)
    state.effects = [
        Send(each.to, each.message) if isinstance(each, Send) and isinstance(each.message, ApplyResult) else each for each in state.effects
    ]


def promise_before_sync(
    state: Replica, request: StartRequest, view: View, *, granted: bool, why: str = "", after_lsn: int = 0, now_ns: int = 0
) -> None:  # fmt: skip
    _reply(state, request, view, granted=granted, why=why, now_ns=now_ns)


def tell_at_once(state: Replica) -> None:
    """A rollout decides nothing at a peer before it is durable there, so the news may as well go now."""
    for peer in state.others:
        send(state, peer, rollouts.news(state))


def accepted_before_sync(state: Replica, certificate: ResumeCertificate, sender: str, now_ns: int) -> int:
    """It is on its way to the disk, and nobody takes it back."""
    return min(_learn_certificate(state, certificate, sender, now_ns), 1)


def told_before_sync(state: Sink, message: Query, sender: str) -> None:
    """Whoever asks wants to know how things stand, and that is how they stand."""
    began = len(state.effects)
    _on_query(state, message, sender)
    state.effects[began:] = [structs.replace(effect, after_lsn=0) if isinstance(effect, Send) else effect for effect in state.effects[began:]]


def lifted_before_sync(state: Sidecar, certificate: ResumeCertificate, now_ns: int) -> None:
    """It verifies, so it holds."""
    _learn_certificate_here(state, certificate, now_ns)
    known = intent.content_id(certificate.raw)
    if known in state.intent.certificates:
        intent.put_in_force(state.intent, known)


def granted_before_sync(state: Replica, request: LeaseRequest, view: View, now_ns: int) -> tuple[int, str]:
    """The sidecar has its quorum of promises, or it would not ask."""
    state.promises_durable[request.agent] = state.promised.get(request.agent, NO_TOKEN)
    return _lease(state, request, view, now_ns)


def waited_is_waited(state: Replica, order: str, replica: str, now_ns: int) -> None:
    """Nothing was granted for so long, wherever the order is by now."""
    durable, state.durable = state.durable, {order: {state.node}}
    _note_waited(state, order, replica, now_ns)
    state.durable = durable


def told_at_once(state: Sidecar) -> None:
    """It is a stop, so it does not wait."""
    own = tuple(known.order for known in intent.view(state.intent, state.identity).uncovered if known.order.signer == state.config.node)
    if own and not state.disk_failed:
        send_replicas(state, OrderPush(own, ()))


def whatever_is_known(state: Replica, message: Gossip, sender: str) -> None:
    """A certificate proves itself, whoever holds it."""
    if message.digest != intent.digest(state.intent):
        state.tries.pop(sender, None)
    if message.order_ids is None or message.certificate_ids is None:
        if message.digest != intent.digest(state.intent) and not message.orders and not message.certificates:
            send(state, sender, dispatch.gossip(state, ids=True))
        return
    theirs, their_certificates = set(message.order_ids), set(message.certificate_ids)
    known = tuple(each.order for id_, each in sorted(state.intent.orders.items()) if id_ not in theirs)[: dispatch.BODIES_MAX]
    certificates = tuple(
        each.certificate for id_, each in sorted(state.intent.certificates.items()) if id_ not in their_certificates
    )[: dispatch.BODIES_MAX]  # fmt: skip
    lacking = not theirs <= state.intent.orders.keys() or not their_certificates <= state.intent.certificates.keys()
    wanting = lacking and not (message.orders or message.certificates)
    if known or certificates or wanting:
        send(state, sender, dispatch.gossip(state, known, certificates, ids=wanting))


def held_somewhere(state: Replica, order: str, replica: str, now_ns: int) -> None:
    """A copy is a copy."""
    holders = state.durable.setdefault(order, set())
    if replica in holders:
        return
    holders.add(replica)
    here = federation.own(state.config)
    if order in state.intent.orders and orders.copies(state, order, here) >= here.kill_quorum and order not in state.effective:
        state.effective.add(order)
        record(state, "ORDER_EFFECTIVE", {"order": order, "holders": sorted(holders)}, now_ns)
    orders.tell_order(state, order)
    if replica == state.node and order in state.intent.orders:
        orders.note_own_wait(state, state.intent.orders[order], now_ns)


def spread_at_once(state: Replica, orders: tuple[Order, ...] = (), certificates: tuple[ResumeCertificate, ...] = (), after_lsn: int = 0) -> None:
    """Whoever hears of it sooner runs sooner."""
    _spread(state, orders, certificates)


def promised_is_promised(
    state: Replica, request: StartRequest, view: View, *, granted: bool, why: str = "", after_lsn: int = 0, now_ns: int = 0
) -> None:  # fmt: skip
    """Who asks again has been answered, or is about to be."""
    first = any(isinstance(effect, Append) and effect.record.kind == "PROMISE" for effect in state.effects)
    _reply(state, request, view, granted=granted, why=why, after_lsn=after_lsn if first else 0, now_ns=now_ns)


def writers_keep_their_own(state: Replica, cosignatures: list[Cosignature]) -> None:
    """It is the other witnesses that compare; a sidecar has its log, and can know as soon as may be."""
    for peer in state.peers:
        send(state, peer, Cosigned(tuple(cosignatures)), after_lsn=state.witnessed.lsn)
    for cosignature in cosignatures:
        if cosignature.head.origin not in state.peers:
            send(state, cosignature.head.origin, Cosigned((cosignature,)))


def nothing_new(state: Replica, head: Sth) -> None:
    """What was cosigned is known already, so there is nothing to wait for."""
    send(state, head.origin, Cosigned((transparency.cosign(state.trust.signer, state.node, head),)))


def refused_at_once(state: Sink, to: str, message: Message, after_lsn: int = 0) -> None:
    """A refusal changes nothing, so it waits for nothing."""
    refused = isinstance(message, ApplyResult) and message.status != "APPLIED"
    send(state, to, message, 0 if refused else after_lsn)


def known_is_accepted(state: Replica, known: KnownOrder, request: Any, sender: str, keys_wanted: int = 0) -> None:
    """It was let in, and whoever asks again is in a hurry."""
    _answer_again(state, known, request, sender, keys_wanted)
    if not intent.is_lifted(state.intent, known):
        orders.tell_order(state, known.id)


BUGS = (
    PlantedBug("B11", "a replica vouches for an order before its disk does", {"replica.orders:after_accept": acknowledge_before_sync}, ("S20", "S11"),
               ("replica-power-loss", "swarm-storm"), "easy"),
    PlantedBug("B12", "a failed sync counts as a sync",
               {"sidecar.step:on_disk_failed": failed_sync_is_fine, "sidecar.proof:prove": prove_without_the_disk}, ("S11", "S4", "S20"),
               ("disk-fails-under-a-kill", "swarm-storm"), "medium"),
    PlantedBug("B13", "the stop waits for the disk", {"sidecar.step:learn_order": close_after_sync, "sidecar.step:on_durable": durable_then_close},
               ("S3", "S18", "L1", "S1"), ("swarm-storm",), "medium"),
    PlantedBug("B61", "a sink answers before it is durable", {"sink:on_apply": answer_before_sync}, ("S9",), ("sinks-lose-power",), "easy"),
    PlantedBug("B66", "a replica tells of a promise before its disk does", {"replica.grants:reply": promise_before_sync}, ("S11",),
               ("swarm-storm",), "easy"),
    PlantedBug("B143", "a rollout is told to peers before it is durable", {"replica.rollouts:tell_all": tell_at_once}, ("S11",),
               ("policy-storm",), "easy"),
    PlantedBug("B147", "who handed in a resume is told that it is accepted before that is durable",
               {"replica.resumes:learn_certificate": accepted_before_sync}, ("S11",), ("swarm-storm", "resume-race"), "easy"),
    PlantedBug("B148", "a sink that is asked tells of effects that are not durable", {"sink:on_query": told_before_sync}, ("S11",),
               ("told-before-the-disk",), "medium"),
    PlantedBug("B154", "a sidecar lifts orders before it holds the certificate durably", {"sidecar.step:learn_certificate": lifted_before_sync},
               ("S6", "S3"), ("resume-on-a-slow-disk",), "easy"),
    PlantedBug("B155", "a replica grants under a promise that its disk does not hold yet", {"replica.grants:lease": granted_before_sync}, ("S11",),
               ("resume-on-a-slow-disk",), "easy"),
    PlantedBug("B195", "a replica says that it has waited under an order that its disk does not hold yet",
               {"replica.orders:note_waited": waited_is_waited}, ("S11",), ("waited-before-the-disk",), "easy"),
    PlantedBug("B262", "a sidecar's own order is told before it is on its log", {"sidecar.standby:tell": told_at_once}, ("S11",),
               ("standby-again-after-a-resume",), "easy"),
    PlantedBug("B267", "a replica hands certificates on before its disk holds them", {"replica.dispatch:answer_gossip": whatever_is_known},
               ("S11",), ("resume-on-a-slow-disk",), "easy"),
    PlantedBug("B268", "an order is told to be accepted for a copy that somebody else holds", {"replica.orders:note_durable": held_somewhere},
               ("S11",), ("waited-before-the-disk",), "easy"),
    PlantedBug("B270", "a resume is handed on while the replica that let it in has yet to hold it", {"replica.dispatch:spread": spread_at_once},
               ("S11",), ("resume-race",), "easy"),
    PlantedBug("B292", "a promise that is asked for again is told ahead of the disk", {"replica.grants:reply": promised_is_promised}, ("S11",),
               ("resume-on-a-slow-disk",), "easy"),
    PlantedBug("B293", "a sidecar is told of a cosignature of its log before that is durable", {"replica.witness:hand_out": writers_keep_their_own},
               ("S16",), ("waited-before-the-disk",), "easy"),
    PlantedBug("B294", "a cosignature is said again before the first one is durable", {"replica.witness:say_again": nothing_new}, ("S16",),
               ("waited-before-the-disk",), "easy"),
    PlantedBug("B414", "a sink refuses an effect before the fence that it refuses by is durable", {"sink:send": refused_at_once}, ("S11",),
               ("two-starts-of-one-number", "fence-answered-late"), "easy"),
    PlantedBug("B507", "who asks again is told that the order is accepted before that is durable", {"replica.orders:answer_again": known_is_accepted},
               ("S11",), ("asked-again-before-the-disk",), "easy"),
)  # fmt: skip
