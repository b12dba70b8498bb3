"""S1 and S3: after an order, nothing is admitted that it forbids; everywhere within T1, and at once where it is known.

Both judge Apply messages as they went over the wire (``effect-admitted``) against orders as they became durable or were learned. Neither
asks a sidecar what it thinks of its gate.
"""

from __future__ import annotations

from typing import NamedTuple

from harness.checkers.checker import InvariantChecker
from harness.checkers.run import Run
from harness.checkers.subjects import Order
from harness.checkers.words import CLOSED, DRAIN, NEW, OPEN, STOP, agent_of, token_of
from harness.shared.history import Fact


class _Watch(NamedTuple):
    """One effective order over one agent, with the lengths after t0 when new, and any, effects are forbidden (None: never)."""

    order: Order
    effective_ns: int
    new_within_ns: int
    any_within_ns: int | None


class StopBound(InvariantChecker):
    """S1 (T1). With t0 the durable copy of the k-th replica of the agent's home cell and o uncovered: gate CLOSED, nothing later than
    t0 + L/(1-rho); gate DRAIN, no new task later than that, and nothing at all later than t0 + max(L, G)/(1-rho). An instance is an
    effective order and a matching agent.

    An order counts as covered as soon as an authentic certificate is durable anywhere or learned by the agent's sidecar; admissions
    after that belong to S6 and S7. Where a clock was broken that the bound leans on, or where quorums may have
    forgotten (A2), the pair is skipped and counted.
    Cannot see: what an order that never became effective should have stopped.
    """

    invariant = "S1"
    title = "StopBound: nothing that an effective order forbids is admitted later than T1 allows"
    kinds = frozenset({"order-durable", "effect-admitted"})

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._watches: dict[str, list[_Watch]] = {}
        self._exempt: set[tuple[str, str]] = set()

    def see(self, index: int, fact: Fact) -> None:
        if fact.kind == "order-durable":
            order = self.run.orders[fact.body["order"]]
            cell = order.became_effective(index)
            if cell is not None and order.gate != OPEN:
                self._watch(order, cell, fact.at_ns)
            return
        agent = fact.body["agent"]
        watches = self._watches.get(agent)
        if watches:
            watches[:] = [watch for watch in watches if not self.run.lifted(watch.order, agent)]
            for watch in watches:
                self._judge(index, fact, agent, watch)

    def settle(self) -> None:
        self.skipped = len(self._exempt)
        self.examined -= self.skipped

    def _watch(self, order: Order, cell: int, effective_ns: int) -> None:
        bounds = self.run.bounds
        any_within_ns = bounds.hard_ns if order.gate == CLOSED else bounds.soft_ns(order.grace_ns) if order.life >= STOP else None
        for agent in order.agents:
            if self.run.home(agent) != cell:
                continue  # what another cell holds binds nobody here
            self.examined += 1
            self._watches.setdefault(agent, []).append(_Watch(order, effective_ns, bounds.hard_ns, any_within_ns))

    def _judge(self, index: int, fact: Fact, agent: str, watch: _Watch) -> None:
        if self.run.clock_suspect(watch.order, agent) or self.run.quorums_forget:
            self._exempt.add((watch.order.order, agent))
            return
        elapsed_ns = fact.at_ns - watch.effective_ns
        limits = [watch.any_within_ns, watch.new_within_ns if fact.body["cls"] == NEW else None]
        for limit_ns in limits:
            if limit_ns is None:
                continue
            self.measure(elapsed_ns, limit_ns)
            if elapsed_ns > limit_ns:
                order = f"{watch.order.severity} {watch.order.order[:12]}"
                self.blame(
                    f"{agent} admitted an effect of class {fact.body['cls']} {elapsed_ns} ns after {order} became effective; T1 allows {limit_ns} ns",
                    *watch.order.proof(), *self._lease_proof(fact), index,
                )  # fmt: skip

    def _lease_proof(self, fact: Fact) -> tuple[int, ...]:
        """The round of lease under which the effect was admitted, if it had one."""
        agent, token, instance = fact.body["agent"], token_of(fact.body["token"]), fact.body["instance"]
        best = self.run.rounds.best(agent, token, instance)
        return best[1].proof() if best is not None else ()


class _Standing(NamedTuple):
    """What a sidecar's knowledge forbids it: the joined gate, the earliest drain deadline on its own clock, and the facts behind them."""

    revision: int
    gate: int
    deadline_ns: int | None
    gate_index: int
    deadline_index: int


class LocalStop(InvariantChecker):
    """S3 (T2). From the step in which a sidecar learns an order: gate CLOSED, it admits nothing; gate DRAIN, nothing new, and nothing at all
    after the earliest drain deadline (its own clock when it first learned the order, plus G; passed after a reboot). Until a certificate
    covering the order is durable at that sidecar. An instance is an order learned by the sidecar of an agent that it matches.

    A crash may forget an order that was not durable yet; that order is judged again from when it is learned again or recovered.
    Nor may it put off learning one: once it has held a lease since its boot its agent may run, and an order waits for no disk (protocol 3.7).
    Cannot see: an order that is put off without a mark on record.
    """

    invariant = "S3"
    title = "LocalStop: a sidecar that knows an order admits nothing that the order forbids"
    kinds = frozenset({"order-learned", "effect-admitted", "node-started", "lease-opened", "order-deferred"})

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._standings: dict[str, _Standing] = {}
        self._leased: dict[str, int] = {}  # sidecar -> where it had its first lease since its boot

    def see(self, index: int, fact: Fact) -> None:
        if fact.kind == "node-started":
            self._leased.pop(fact.node, None)
            return
        if fact.kind == "lease-opened":
            self._leased.setdefault(fact.node, index)
            return
        if fact.kind == "order-deferred":
            leased = self._leased.get(fact.node)
            if leased is not None:
                self.blame(
                    f"{fact.node} has had a lease since its boot, and put off order {fact.body['order'][:12]} until its disk was done", leased, index
                )
            return
        if fact.kind == "order-learned":
            if fact.node.startswith("sidecar/") and agent_of(fact.node) in self.run.orders[fact.body["order"]].agents:
                self.examined += 1
            return
        agent, cls = fact.body["agent"], fact.body["cls"]
        standing = self._standing(fact.node, agent)
        if standing.gate == CLOSED or (standing.gate == DRAIN and cls == NEW):
            gate = "CLOSED" if standing.gate == CLOSED else "DRAIN"
            self.blame(f"{fact.node} admitted an effect of class {cls} although the orders it knows make its gate {gate}", standing.gate_index, index)
        elif standing.deadline_ns is not None and fact.clock_ns > standing.deadline_ns:
            late_ns = fact.clock_ns - standing.deadline_ns
            self.blame(f"{fact.node} admitted an effect of class {cls} {late_ns} ns after its drain deadline", standing.deadline_index, index)

    def _standing(self, name: str, agent: str) -> _Standing:
        node = self.run.node(name)
        standing = self._standings.get(name)
        if standing is None or standing.revision != node.revision:
            standing = self._standings[name] = self._join(name, agent)
        return standing

    def _join(self, name: str, agent: str) -> _Standing:
        node = self.run.node(name)
        gate, gate_index, deadline_ns, deadline_index = OPEN, 0, None, 0
        for order, learned in self.run.in_force(node, agent):
            if order.gate > gate:
                gate, gate_index = order.gate, learned.index
            if order.drains:
                # A clock of another boot says nothing: the deadline counts as passed (protocol 3.6).
                passes_ns = learned.clock_ns + order.grace_ns if learned.boot == node.boot else -1
                if deadline_ns is None or passes_ns < deadline_ns:
                    deadline_ns, deadline_index = passes_ns, learned.index
        return _Standing(node.revision, gate, deadline_ns, gate_index, deadline_index)
