"""The world's own judgement of signatures: whether an order or certificate that a node took in was authentic.

Owns a second, small reading of the rules of authority, apart from the core's on purpose: a mistake in the core's checks must not
blind the harness. Knows the people and nodes of the convention (`killswitch.core.keys.default_keyset`), their keys, and the changes of the keyset
that root keys really signed.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any

import msgspec

from killswitch.core import transparency
from killswitch.core.certificates import ResumeBody
from killswitch.core.heads import Sth
from killswitch.core.keychanges import KeyChange
from killswitch.core.keys import Signer
from killswitch.core.messages import OrderBody, OrderRequest

KILL = 2
EVERY_TENANT = ""
MAY_ASK = {"alice": (EVERY_TENANT, KILL), "erin": ("acme", KILL), "frank": (EVERY_TENANT, 0)}  # operator -> for which tenant, up to which life
OPERATORS = frozenset(MAY_ASK)
APPROVERS = frozenset({"bob", "carol", "dave"})
ROOTS = frozenset({"root/1", "root/2", "root/3"})
ROOTS_NEEDED = 2
NOBODY: frozenset[str] = frozenset()


class Judge:
    """``signer`` verifies everybody's keys; ``replicas`` sign orders, and a sidecar one to stop its own agent; ``approvals`` is M.

    An order stands whatever becomes of its key, so any key that was ever a replica's will do. A permission needs keys that are not revoked
    where it is taken in.
    """

    def __init__(self, signer: Signer, replicas: tuple[str, ...], approvals: int) -> None:
        self._signer = signer
        self._replicas = frozenset(replicas)
        self._order_keys = set(replicas)
        self._people: dict[str, str] = {}  # key that a rotation brought -> whose it is
        self._approvals = approvals
        self._roots: dict[int, tuple[frozenset[str], int]] = {1: (ROOTS, ROOTS_NEEDED)}  # version -> who signs the next, how many

    def order(self, raw: bytes, signer: str, signature: bytes) -> bool:
        return (signer in self._order_keys or _stops_its_own(raw, signer)) and self._signer.verify(signer, "order", raw, signature)

    def policy(self, raw: bytes, signer: str, signature: bytes, domain: str, revoked: Container[str]) -> bool:
        """A policy ("policy"), or a step of its rollout ("rollout"): a permission as well as a prohibition, so a key that was revoked brings none."""
        return signer in self._order_keys and signer not in revoked and self._signer.verify(signer, domain, raw, signature)

    def head(self, head: Sth) -> bool:
        return self._signer.verify(head.origin, "sth", transparency.note(head).encode(), head.signature)

    def keyset(self, raw: bytes, signatures: list[tuple[str, bytes]]) -> bool:
        """Whether enough root keys signed this change, of those before it and of those that it names; if so, what it brings counts from now on."""
        try:
            change = msgspec.msgpack.decode(raw, type=KeyChange)
        except (msgspec.DecodeError, ValueError):
            return False
        valid = {root for root, signature in signatures if self._signer.verify(root, "keyset", raw, signature)}
        before = self._roots.get(change.version - 1, (NOBODY, ROOTS_NEEDED))
        after = (frozenset(change.roots) or before[0], change.threshold or before[1])
        if any(len(valid & roots) < max(needed, 1) for roots, needed in (before, after)):
            return False
        self._roots[change.version] = after
        self._order_keys.update(key for who, key in change.rotates.items() if who in self._replicas)
        self._people.update((key, who) for who, key in change.rotates.items() if who in OPERATORS | APPROVERS)
        return True

    def _whose(self, key: str) -> str:
        return self._people.get(key, key)

    def certificate(self, raw: bytes, approvals: list[tuple[str, bytes]], revoked: Container[str] = ()) -> bool:
        try:
            body = msgspec.msgpack.decode(raw, type=ResumeBody)
        except (msgspec.DecodeError, ValueError):
            return False
        if not any(key == body.requester and self._signer.verify(key, "resume-asked", raw, signature) for key, signature in approvals):
            return False
        return len(self.approvers(raw, body, approvals, revoked)) >= max(self._approvals, body.approvals)

    def approvers(self, raw: bytes, body: ResumeBody, approvals: list[tuple[str, bytes]], revoked: Container[str] = ()) -> set[str]:
        """The distinct people who approve exactly this, and may."""
        may = APPROVERS - {self._whose(body.requester)}
        return {
            self._whose(key)
            for key, signature in approvals
            if self._whose(key) in may and key not in revoked and self._signer.verify(key, "resume", raw, signature)
        }

    def may_ask(self, facts: Mapping[str, Any], revoked: Container[str] = ()) -> bool:
        """Whether what was decided on, a stop or the draft of a resume, is for the person to ask in whose name it came."""
        return _is_within(MAY_ASK.get(self._whose(facts["principal"])), facts) and facts["principal"] not in revoked

    def askers(self, raw: bytes, signatures: list[tuple[str, bytes]], facts: Mapping[str, Any], revoked: Container[str] = ()) -> list[str]:
        """The distinct people who ask for exactly the stop that was decided on: the one whose request it is, and others who countersigned it."""
        try:
            request = msgspec.msgpack.decode(raw, type=OrderRequest)
        except (msgspec.DecodeError, ValueError):
            return []
        what = (request.principal, request.tenant, request.scope.kind, request.scope.value, request.gate, request.life, request.grace_ns)
        if what != tuple(facts[name] for name in ("principal", "tenant", "scope_kind", "scope_value", "gate", "life", "grace_ns")):
            return []
        asker = self._whose(request.principal)
        domains = {key: "order-request" if key == request.principal else "countersign" for key, _ in signatures}
        may = {who for who, limits in MAY_ASK.items() if _is_within(limits, facts)} | APPROVERS - {asker}
        asks = {
            key for key, signature in signatures
            if self._whose(key) in may and key not in revoked and self._signer.verify(key, domains[key], raw, signature)
        }  # fmt: skip
        return sorted({self._whose(key) for key in asks}) if request.principal in asks else []


def _is_within(limits: tuple[str, int] | None, facts: Mapping[str, Any]) -> bool:
    """Whether an operator's limits allow for what was decided on."""
    if limits is None:
        return False
    tenant, most = limits
    life: int = facts["life"]
    return (tenant == EVERY_TENANT or (facts["tenant"] == tenant and facts["scope_kind"] != "global")) and life <= most


def _stops_its_own(raw: bytes, signer: str) -> bool:
    """A sidecar may stop its own agent, and not kill it."""
    try:
        body = msgspec.msgpack.decode(raw, type=OrderBody)
    except (msgspec.DecodeError, ValueError):
        return False
    agent = signer.removeprefix("sidecar/")
    return signer != agent and (body.scope.kind, body.scope.value) == ("agent", agent) and body.tenant == agent.partition("/")[0] and body.life < KILL
