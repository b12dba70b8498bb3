"""What makes a request for a stop the same (protocol 3.7): its person, its name and all of its content.

Owns how facts tell that, for every checker that asks. Must not know what becomes of a request.
"""

from __future__ import annotations

from typing import NamedTuple

from harness.checkers.subjects import Order
from harness.checkers.words import CLOSED, KILL, gate_of, life_of
from harness.shared.history import Fact

GRACE_MAX_NS = 1 << 62  # as a client sends it: more is no grace that anybody waits for


class Request(NamedTuple):
    """Two that are equal are one request, however often it is sent. What its facts do not tell is empty."""

    name: str
    person: str = ""
    tenant: str = ""
    scope: tuple[str, str] = ("", "")
    gate: int = 0
    life: int = 0
    grace_ns: int = 0
    reason: str = ""
    cleanup: str = ""


def asked_for(fact: Fact) -> Request:
    """What a person asked for, of an order-requested. Histories of earlier versions tell neither reason nor cleanup."""
    body, (kind, value) = fact.body, fact.body["scope"]
    gate, life, grace_ns = _clamped(gate_of(body["gate"]), life_of(body["life"]), int(body["grace_ns"]))
    reason, cleanup = body.get("reason", ""), body.get("cleanup", "")
    return Request(body["request"], body["principal"], body["tenant"], (kind, value), gate, life, grace_ns, reason, cleanup)


def ruled_on(fact: Fact, order: Order | None) -> Request:
    """What a replica decided on, of a decision on a stop, and of the order that it made of it: that tells what the ruling does not depend on."""
    body = fact.body
    gate, life, *grace_ns = body["requested"]  # histories of earlier versions do not tell the grace
    severity = _clamped(gate, life, *grace_ns)
    if order is None:
        return Request(body["request"], "", body["tenant"], ("", ""), *severity)
    return Request(body["request"], order.issuer, order.tenant, order.scope, *severity, order.reason, order.cleanup)


def _clamped(gate: int, life: int, grace_ns: int = 0) -> tuple[int, int, int]:
    return (max(0, min(gate, CLOSED)), max(0, min(life, KILL)), min(max(grace_ns, 0), GRACE_MAX_NS))
