"""Kill intent: the severity lattice, and the observed-remove set of orders and resume certificates (protocol 3.5, D1, D2).

Owns what is ordered, for whom, and what has been lifted. Must not know who may order (``policy``, ``keys``), how it is enforced
(``sidecar``) or granted against (``leases``), or what time it is: prohibitions never expire (D6).

Orders only accumulate. A certificate lifts exactly the order ids it lists, as far as the scope that its approvers speak for reaches, and
only once it is in force (durable) at this node. What is in force for an agent is the join of the orders that match it and are not
lifted, so learning is commutative and idempotent.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final, NamedTuple

from msgspec import Struct, structs

from killswitch.core import audit, codec
from killswitch.core.certificates import ResumeBody, ResumeCertificate
from killswitch.core.messages import GRACE_MAX_NS, Gate, Life, Order, OrderBody
from killswitch.core.scopes import Scope


class Severity(NamedTuple):
    """A point of the product lattice gate x life; the join is taken in each component on its own (D2)."""

    gate: Gate
    life: Life

    @property
    def title(self) -> str:
        return NAMES.get(self, f"({self.gate.name},{self.life.name})")


COMPENSATE = "compensate"  # the cleanup of a soft order that wants what is begun undone
RUN = Severity(Gate.OPEN, Life.ALIVE)
ISOLATE = Severity(Gate.CLOSED, Life.ALIVE)
SOFT = Severity(Gate.DRAIN, Life.STOP)
QUIESCE = Severity(Gate.CLOSED, Life.STOP)
HARD = Severity(Gate.CLOSED, Life.KILL)
NAMES = {RUN: "RUN", ISOLATE: "ISOLATE", SOFT: "SOFT", QUIESCE: "QUIESCE", HARD: "HARD"}


def join(one: Severity, other: Severity) -> Severity:
    """The least severity at least as severe as both. ISOLATE joined with SOFT is QUIESCE: neither wins over the other."""
    if other is RUN:
        return one  # the least of all, and what most joins are with
    return Severity(max(one.gate, other.gate), max(one.life, other.life))


class Identity(Struct, frozen=True, cache_hash=True):
    """Who an agent is, from its deployment record: never from a message."""

    agent: str
    tenant: str
    labels: tuple[str, ...] = ()


class KnownOrder(Struct, frozen=True):
    """A verified order with its id and parsed body. ``severity`` is clamped to what this version knows (V4)."""

    id: str
    order: Order
    body: OrderBody
    severity: Severity


class KnownCertificate(Struct, frozen=True):
    """A verified certificate with its id and parsed body."""

    id: str
    certificate: ResumeCertificate
    body: ResumeBody


def content_id(raw: bytes) -> str:
    """The id of an order or certificate: SHA-256 of its signed bytes, in hex."""
    return hashlib.sha256(raw).hexdigest()


def read_order(order: Order) -> KnownOrder | None:
    """Parse an order's body; `None` if it is not one. Says nothing about who signed it.

    Numbers that make no sense are taken for the nearest that do, by every receiver alike: they are no reason not to obey.
    """
    body = codec.unpack(order.raw, OrderBody)
    if body is None:
        return None
    if not 0 <= body.grace_ns <= GRACE_MAX_NS:
        body = structs.replace(body, grace_ns=min(max(body.grace_ns, 0), GRACE_MAX_NS))
    severity = Severity(codec.clamp_gate(body.gate), codec.clamp_life(body.life))
    return KnownOrder(content_id(order.raw), order, body, severity)


def read_certificate(certificate: ResumeCertificate) -> KnownCertificate | None:
    body = codec.unpack(certificate.raw, ResumeBody)
    return None if body is None else KnownCertificate(content_id(certificate.raw), certificate, body)


def matches(tenant: str, scope: Scope, identity: Identity) -> bool:
    """Whether a scope of a tenant includes an agent. Only ``global`` crosses tenants; names are compared whole, never by prefix."""
    if scope.kind == "global":
        return True
    if tenant != identity.tenant:
        return False
    if scope.kind == "tenant":
        return scope.value == identity.tenant
    if scope.kind == "agent":
        return scope.value == identity.agent
    return scope.kind == "label" and scope.value in identity.labels


def includes(tenant: str, outer: Scope, body: OrderBody) -> bool:
    """Whether a resume of ``outer`` may speak of an order: its scope is the same or lies wholly within, and is nobody else's.

    A global resume lifts global orders alone: everybody is shown it, and would be shown what each tenant had stopped (S14).
    """
    if outer.kind == "global":
        return body.scope.kind == "global"
    if body.tenant != tenant or body.scope.kind == "global":
        return False
    return outer.kind == "tenant" or body.scope == outer


NOTHING: Final[frozenset[str]] = frozenset()  # one for all: most nodes never hear of a certificate


class Intent:
    """K: every order and certificate this node ever learned. Grows only; ``version`` counts its changes."""

    __slots__ = ("_digest", "_listing", "_named", "_views", "certificates", "in_force", "lifted", "orders", "version")

    def __init__(self) -> None:
        self.orders: dict[str, KnownOrder] = {}
        self.certificates: dict[str, KnownCertificate] = {}
        self.in_force: frozenset[str] = NOTHING
        self.lifted: frozenset[str] = NOTHING
        self.version = 0
        self._listing: dict[str, list[KnownCertificate]] = {}  # order id, known or not -> certificates in force that list it
        self._named: dict[str, list[KnownOrder]] | None = None  # nonce -> the orders that have it, from when somebody first asks
        self._views: dict[Identity, View] = {}
        self._digest = ""


class View(NamedTuple):
    """An intent as it concerns one agent: what is in force, from which orders (by id), and the digest of their ids."""

    severity: Severity
    uncovered: tuple[KnownOrder, ...]
    digest: str


FREE: Final = View(RUN, (), audit.digest_of(()))  # nothing in force, as for most agents at most times


def add_order(intent: Intent, known: KnownOrder) -> bool:
    """Take an order in. False if it was known: nothing changes then."""
    if known.id in intent.orders:
        return False
    intent.orders[known.id] = known
    if intent._named is not None:
        _name(intent._named, known)
    if is_lifted(intent, known):
        intent.lifted |= {known.id}
    _changed(intent)
    return True


def named(intent: Intent, nonce: str) -> tuple[KnownOrder, ...]:
    """The known orders of one nonce, in the order of learning: found without looking through the others."""
    if intent._named is None:
        intent._named = {}
        for known in intent.orders.values():
            _name(intent._named, known)
    return tuple(intent._named.get(nonce, ()))


def _name(index: dict[str, list[KnownOrder]], known: KnownOrder) -> None:
    index.setdefault(known.body.nonce, []).append(known)


def add_certificate(intent: Intent, known: KnownCertificate) -> bool:
    """Take a certificate in, without lifting anything yet: permissions act only once durable (D5)."""
    if known.id in intent.certificates:
        return False
    intent.certificates[known.id] = known
    _changed(intent)
    return True


def put_in_force(intent: Intent, certificate: str) -> None:
    """Let a known certificate lift what it lists."""
    if certificate in intent.in_force:
        return
    intent.in_force |= {certificate}
    known = intent.certificates[certificate]
    for order in sorted(lifts(intent, known)):
        intent._listing.setdefault(order, []).append(known)
        if order in intent.orders and is_lifted(intent, intent.orders[order]):
            intent.lifted |= {order}
    _changed(intent)


def lifts(intent: Intent, known: KnownCertificate) -> set[str]:
    """The ids that a certificate lifts: those it lists (D1).

    The answer must not depend on ``intent``, which is here because lifting whatever this node knows is the mistake one would make (B03).
    """
    return set(known.body.covers)


def is_lifted(intent: Intent, known: KnownOrder) -> bool:
    """Whether a certificate in force lists this order and may speak of it: one tenant's approvers lift nothing of another's (S13)."""
    return any(includes(each.body.tenant, each.body.scope, known.body) for each in intent._listing.get(known.id, ()))


def view(intent: Intent, identity: Identity) -> View:
    """What is in force for one agent. Remembered until the intent changes."""
    if not intent.orders:
        return FREE
    cached = intent._views.get(identity)
    if cached is None:
        uncovered = tuple(
            known
            for known in sorted(intent.orders.values(), key=lambda known: known.id)
            if known.id not in intent.lifted and matches(known.body.tenant, known.body.scope, identity)
        )
        cached = View(in_force(uncovered), uncovered, audit.digest_of(known.id for known in uncovered)) if uncovered else FREE
        intent._views[identity] = cached
    return cached


def in_force(orders: Iterable[KnownOrder]) -> Severity:
    """The join of orders; RUN if there are none."""
    severity = RUN
    for known in orders:
        severity = join(severity, known.severity)
    return severity


def digest(intent: Intent) -> str:
    """Equal for equal sets of orders and of certificates in force, whatever the order of learning (S5)."""
    if not intent._digest:
        intent._digest = audit.digest_of([*sorted(intent.orders), "/", *sorted(intent.in_force)])
    return intent._digest


def _changed(intent: Intent) -> None:
    intent.version += 1
    intent._views = {}
    intent._digest = ""
