"""How news travels from a replica: pushes at once, anti-entropy for ever after, fences until they hold (protocol 3.7).

Owns what is sent to peers, sidecars and sinks without being asked. Makes no decision: what is sent, and to whom, follows from the
state. Every message here may be lost, repeated or reordered; digests make up for it. What is new is said at once; what was said already
is said again after pauses that grow, to each target on its own and out of step with everybody else (``traffic``).
"""

from __future__ import annotations

from collections.abc import Hashable

from msgspec import structs

from killswitch.core import intent, traffic
from killswitch.core.certificates import ResumeCertificate
from killswitch.core.events import SetTimer
from killswitch.core.messages import COUNTER_MAX, NO_TOKEN, Fence, FenceAck, Gossip, IntentRead, IntentReply, Order, OrderPush, SinkClass, Token
from killswitch.core.outlet import parts, record, send
from killswitch.core.stamps import Reading, Stamps
from killswitch.core.replica.state import Replica, concerned, greatest_token, reaches, sidecar_of, uncovered
from killswitch.core.traffic import Tries

BODIES_MAX = 256
ORDERS_MAX = 1024  # of one reply: they have to fit into a frame


def spread(state: Replica, orders: tuple[Order, ...] = (), certificates: tuple[ResumeCertificate, ...] = (), after_lsn: int = 0) -> None:
    """Hand news to every peer and to the sidecars concerned, at once: an order even before it is durable here, which is harmless. A certificate waits
    for its record, ``after_lsn``, and so for the decision before that: what a crash can take back has permitted nothing anywhere (D5)."""
    for peer in state.others:
        send(state, peer, gossip(state, orders=orders, certificates=certificates), after_lsn)
    push(state, orders, certificates, after_lsn)


def push(state: Replica, orders: tuple[Order, ...], certificates: tuple[ResumeCertificate, ...], after_lsn: int = 0) -> None:
    """Best effort to sidecars; what is lost comes with the next lease reply. Each is told what concerns its agent, and nothing else: what came in one
    message may be of several tenants (S14)."""
    news: dict[str, tuple[list[Order], list[ResumeCertificate]]] = {}
    for order in orders:
        for agent in concerned(state, state.intent.orders[intent.content_id(order.raw)]):
            news.setdefault(agent, ([], []))[0].append(order)
    for certificate in certificates:
        known = state.intent.certificates[intent.content_id(certificate.raw)]
        for agent, identity in state.fleet.items():
            if reaches(state, known, identity):
                news.setdefault(agent, ([], []))[1].append(certificate)
    for agent, (stops, resumes) in sorted(news.items()):
        send(state, sidecar_of(agent), OrderPush(tuple(stops), tuple(resumes)), after_lsn)


def gossip(state: Replica, orders: tuple[Order, ...] = (), certificates: tuple[ResumeCertificate, ...] = (), *, ids: bool = False) -> Gossip:
    """One message of anti-entropy: always the digest and what this replica vouches for; ids and bodies where they are called for."""
    open_orders = [known.id for known in uncovered(state)]
    return Gossip(
        digest=intent.digest(state.intent),
        durable=tuple(order for order in open_orders if state.node in state.durable.get(order, ())),
        waited=tuple(order for order in open_orders if state.node in state.waited.get(order, ())),
        order_ids=tuple(sorted(state.intent.orders)) if ids else None,
        certificate_ids=tuple(sorted(state.intent.in_force)) if ids else None,
        orders=orders,
        certificates=certificates,
        keyset=state.trust.keyset.version,
    )


def on_gossip_timer(state: Replica, now_ns: int) -> None:
    """Say to each peer and sink what it may not have heard yet, if it is its turn."""
    message = gossip(state)
    news = (message.digest, message.durable, message.waited)
    for peer in state.others:
        if is_turn(state, peer, news, now_ns):
            boot, clock_ns = state.heard_clocks.get(peer, ("", 0))
            send(state, peer, structs.replace(message, clocks=Stamps(state.boot, now_ns, boot, clock_ns)))
    for (sink, agent), (token, order) in sorted(state.fences.items()):
        if is_turn(state, (sink, agent), token, now_ns):
            send(state, sink, Fence(agent, token, order))
    state.effects.append(SetTimer("gossip", now_ns + state.parameters.gossip_ns))


def is_turn(state: Replica, target: str | tuple[str, str], news: Hashable, now_ns: int) -> bool:
    """Whether to try a target now; that it was tried is noted."""
    tries = state.tries.setdefault(target, Tries())
    if not traffic.due(tries, news, now_ns):
        return False
    traffic.said(tries, news, now_ns, state.parameters.gossip_ns, f"{state.node}/{state.boot}/{target}")
    return True


def answer_gossip(state: Replica, message: Gossip, sender: str) -> None:
    """Bring two sets together: digest, then ids, then bodies. Ends as soon as neither side lacks anything, or has sent what it has:
    two replicas that cannot believe each other's orders, in the middle of a change of keys, try again with the next digest.
    """
    if message.digest != intent.digest(state.intent):
        state.tries.pop(sender, None)  # it lacks something, or this replica does: no pause before the next try
    if message.order_ids is None or message.certificate_ids is None:
        if message.digest != intent.digest(state.intent) and not message.orders and not message.certificates:
            send(state, sender, gossip(state, ids=True))
        return
    theirs, their_certificates = set(message.order_ids), set(message.certificate_ids)
    orders = tuple(known.order for id_, known in sorted(state.intent.orders.items()) if id_ not in theirs)[:BODIES_MAX]
    certificates = tuple(
        state.intent.certificates[id_].certificate for id_ in sorted(state.intent.in_force) if id_ not in their_certificates
    )[:BODIES_MAX]  # fmt: skip
    lacking = not theirs <= state.intent.orders.keys() or not their_certificates <= state.intent.certificates.keys()
    wanting = lacking and not (message.orders or message.certificates)
    if orders or certificates or wanting:
        send(state, sender, gossip(state, orders, certificates, ids=wanting))


def on_intent_read(state: Replica, message: IntentRead, sender: str, now_ns: int) -> None:
    """Somebody drafts. What a replica knows that may have forgotten something does not count."""
    tell_intent(state, message.nonce, sender, now_ns, counts=not state.joining)


def tell_intent(state: Replica, nonce: str, sender: str, now_ns: int, *, counts: bool) -> None:
    """Tell a peer every order that could be missing from its draft; more of them than a frame takes are no answer that counts."""
    orders = tuple(sorted((known.order for known in uncovered(state)), key=lambda order: order.raw))
    certificates = tuple(state.intent.certificates[id_].certificate for id_ in sorted(state.intent.in_force))[-BODIES_MAX:]
    complete, read = counts and len(orders) <= ORDERS_MAX, Reading(state.node, state.boot, now_ns)
    send(state, sender, IntentReply(nonce, orders[:ORDERS_MAX], certificates, complete, state.policies.in_force.seq, read))


# -- fences ------------------------------------------------------------------------------------------------------------------------------


def fence(state: Replica, agent: str, order: str) -> None:
    """Shut an agent's tokens out of every class F sink of its tenant, above the greatest that this replica has heard of."""
    for sink in press(state, agent, order):
        send(state, sink, Fence(agent, state.fences[(sink, agent)][0], order))


def press(state: Replica, agent: str, order: str) -> list[str]:
    """The sinks that are to be fenced: from the next round of gossip on each is told until it has answered."""
    token = Token(1, greatest_token(state, agent).counter + 1, "")
    sinks = [sink for sink, kind in sorted(state.config.sinks.items()) if kind == SinkClass.FENCED and sink.split("/")[1] == agent.partition("/")[0]]
    for sink in sinks:
        state.fences[(sink, agent)] = (token, order)
        state.tries.pop((sink, agent), None)
    return sinks


def on_fence_ack(state: Replica, ack: FenceAck, sender: str, now_ns: int) -> bool:
    """Whether this was the last fence that was wanted for the agent: from now on all of them hold."""
    wanted = state.fences.get((ack.sink, ack.agent))
    if wanted is None or not is_its_own(ack, sender) or ack.min_token < wanted[0]:
        return False
    if is_of_a_start(ack.min_token):
        state.heard_token[ack.agent] = max(ack.min_token, state.heard_token.get(ack.agent, NO_TOKEN))
        press(state, ack.agent, wanted[1])  # not at once: a sink that always answers so is told no more often for that
        return False
    del state.fences[(ack.sink, ack.agent)]
    state.tries.pop((ack.sink, ack.agent), None)
    record(state, "FENCE_ACKED", {"sink": ack.sink, "agent": ack.agent, "token": parts(ack.min_token), "order": wanted[1]}, now_ns)
    return not any((sink, ack.agent) in state.fences for sink in state.config.sinks)


def is_its_own(ack: FenceAck, sender: str) -> bool:
    """A sink speaks only for itself."""
    return ack.sink == sender


def is_of_a_start(fence: Token) -> bool:
    """Whether a sink stands at what a start asked for, which lets that start in: one that this replica had not heard of when it sent its own fence.
    The fence of a kill names no instance."""
    return bool(fence.instance) and fence.counter < COUNTER_MAX
