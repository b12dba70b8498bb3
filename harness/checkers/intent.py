"""S4, S5 and S7: intent only grows, depends on nothing but its content, and every order stays in force until a certificate lists it.

Judged on ``intent`` facts, in which a node shows its whole set after each change, against orders and certificates as they became
durable, and on the grants that replicas give.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from harness.checkers.checker import InvariantChecker
from harness.checkers.run import Run
from harness.checkers.subjects import Order
from harness.checkers.words import CLOSED, agent_of, gate_of, is_replica, life_of
from harness.shared.history import Fact


@dataclass(frozen=True, slots=True)
class _Holding:
    """What a node last said that it holds."""

    orders: frozenset[str]
    certificates: frozenset[str]
    index: int


class Inflation(InvariantChecker):
    """S4. A node's set of orders and certificates never shrinks while it runs, and after Boot it holds all that was durable there before.

    An order body may go once a certificate in force at that node covers it: that changes no severity. An instance is a comparison.
    Cannot see: a node that never shows its set.
    """

    invariant = "S4"
    title = "Inflation: the intent that a node holds never shrinks, through steps and through restarts"
    kinds = frozenset({"intent", "intent-recovered", "node-crashed"})

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._last: dict[str, _Holding] = {}

    def see(self, index: int, fact: Fact) -> None:
        if fact.kind == "node-crashed":
            self._last.pop(fact.node, None)
            return
        now = _Holding(frozenset(fact.body["orders"]), frozenset(fact.body["certificates"]), index)
        if fact.kind == "intent-recovered":
            self._judge_recovery(index, fact, now)
        elif fact.node in self._last:
            self._judge_growth(fact.node, self._last[fact.node], now)
        self._last[fact.node] = now

    def _judge_growth(self, node: str, before: _Holding, now: _Holding) -> None:
        self.examined += 1
        lost = before.certificates - now.certificates or before.orders - now.orders - self.run.covered_by(now.certificates)
        if lost:
            self.blame(f"{node} no longer holds {min(lost)[:12]}, which it held before", before.index, now.index)

    def _judge_recovery(self, index: int, fact: Fact, now: _Holding) -> None:
        self.examined += 1
        node = self.run.node(fact.node)
        covered = self.run.covered_by(now.certificates)
        for order, durable_index in node.durable.items():
            if order not in now.orders and order not in covered:
                self.blame(f"{fact.node} recovered without order {order[:12]}, which was durable there", durable_index, index)
        for certificate, durable_index in node.certificates.items():
            if certificate not in now.certificates:
                self.blame(f"{fact.node} recovered without certificate {certificate[:12]}, which was durable there", durable_index, index)


class Confluence(InvariantChecker):
    """S5. Equal sets of orders and certificates give equal digests at all nodes, and equal severity for the same agent, whatever the order in
    which they came. An instance is a set that was seen at least twice. (That every permutation gives the same is tried by playing twice.)
    """

    invariant = "S5"
    title = "Confluence: nodes with equal intent have equal digests, and equal severity for an agent"
    kinds = frozenset({"intent"})

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._digests: dict[Any, tuple[str, int]] = {}
        self._severities: dict[Any, tuple[tuple[int, int], int]] = {}

    def see(self, index: int, fact: Fact) -> None:
        content = (tuple(fact.body["orders"]), tuple(fact.body["certificates"]))
        whom = "global" if is_replica(fact.node) else agent_of(fact.node)
        severity = (gate_of(fact.body["gate"]), life_of(fact.body["life"]))
        digest, digest_index = self._digests.setdefault(content, (fact.body["digest"], index))
        earlier, severity_index = self._severities.setdefault((whom, *content), (severity, index))
        if digest_index != index:
            self.examined += 1
        if digest != fact.body["digest"]:
            self.blame(f"{fact.node} gives another digest than was given before for the same orders and certificates", digest_index, index)
        elif earlier != severity:
            self.blame(f"{fact.node} makes {severity} of the intent that made {earlier} before", severity_index, index)


class KillWins(InvariantChecker):
    """S7. An order that no certificate in force at a node lists stays in force there: a sidecar's severity is at least the join of the orders
    that it holds or once made durable, a replica's at least that of its global ones; and a replica grants no lease against an order that it
    knows: none under gate CLOSED, and under a drain at most what is left of G on its own clock since it first learned the order, none
    after a reboot. An instance is an ``intent`` or ``lease-granted`` fact.
    """

    invariant = "S7"
    title = "KillWins: an order that no certificate lists stays in force, at every node that knows it"
    kinds = frozenset({"intent", "lease-granted"})

    def see(self, index: int, fact: Fact) -> None:
        self.examined += 1
        if fact.kind == "intent":
            self._judge_intent(index, fact)
        else:
            self._judge_grant(index, fact)

    def _judge_intent(self, index: int, fact: Fact) -> None:
        durable = self.run.node(fact.node).durable
        covered = self.run.covered_by(fact.body["certificates"])
        gate, life = gate_of(fact.body["gate"]), life_of(fact.body["life"])
        for identity in {**dict.fromkeys(fact.body["orders"]), **durable}:
            order = self.run.orders.get(identity)
            if order is None or identity in covered or not _concerns(order, fact.node):
                continue
            if gate < order.gate or life < order.life:
                why = f"{fact.node} counts ({gate},{life}) although {order.severity} {identity[:12]} is in no certificate in force there"
                self.blame(why, durable.get(identity, order.first_index), index)

    def _judge_grant(self, index: int, fact: Fact) -> None:
        len_ns = int(fact.body["len_ns"])
        if len_ns > self.run.bounds.lease_ns:
            self.blame(f"{fact.node} granted {len_ns} ns, more than a lease ({self.run.bounds.lease_ns} ns)", index)
        node = self.run.node(fact.node)
        for order, learned in self.run.in_force(node, fact.body["agent"]):
            left_ns: int | None = None
            if order.gate == CLOSED:
                left_ns = 0
            elif order.drains:
                left_ns = order.grace_ns - (fact.clock_ns - learned.clock_ns) if learned.boot == node.boot else 0
            if left_ns is not None and len_ns > max(left_ns, 0):
                why = f"{fact.node} granted {len_ns} ns to {fact.body['agent']} although {order.severity} {order.order[:12]}, which it knows, "
                self.blame(why + f"leaves {max(left_ns, 0)} ns", learned.index, index)


def _concerns(order: Order, node: str) -> bool:
    return order.scope[0] == "global" if is_replica(node) else agent_of(node) in order.agents
