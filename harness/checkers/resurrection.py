"""S6: what was stopped comes back only by a certificate.

Judged where an agent gets more freedom: its gate opens, or its process starts. A state predicate, so that a second defence that
happens to keep effects in does not hide that the first one fell.
"""

from __future__ import annotations

from harness.checkers.checker import InvariantChecker
from harness.checkers.run import Run
from harness.checkers.words import CLOSED, NEW, OPEN, STOP, gate_of, token_of
from harness.shared.history import Fact


class NoResurrection(InvariantChecker):
    """S6. When a gate goes to a milder state, every order that forbids that state and matches the agent is covered: of those that the sidecar
    knows, by a certificate durable at the sidecar; of those that the granters of its lease knew, by an authentic certificate anywhere. And
    no process starts while its sidecar knows an uncovered order that ends it.

    And whoever was asked to stop gets nothing new to do, also when the order is lifted: from the TERM until the process is gone its gate does not
    open again, and it admits nothing of class new. It goes on with what it has begun, at most.

    And no replica promises an agent a token while an order against it, of whatever severity, is durable there and no certificate that is covers it:
    its log has the order before the promise. What it is taught that others had promised is no promise of a start.

    An instance is a gate that opened, a process that started, a promise, or an effect of who was asked to stop.

    The granters of a lease are taken to be any q of a round that is not out, since only the sidecar knows whose replies it got: one such
    choice without a forbidding order is enough. A gate that opens without any lease belongs to S19 and S23.
    """

    invariant = "S6"
    title = "NoResurrection: a gate opens, and a process starts, only when every order against it is covered, and for none that was asked to stop"
    kinds = frozenset({
        "gate-changed", "process-started", "node-started", "token-promised", "process-termed", "process-reaped", "effect-admitted",
    })  # fmt: skip

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._gates: dict[str, int] = {}
        self._termed: dict[str, int] = {}  # sidecar -> the fact that it asked the process that it has to stop

    def see(self, index: int, fact: Fact) -> None:
        if fact.kind == "node-started":
            self._gates.pop(fact.node, None)
            self._termed.pop(fact.node, None)
        elif fact.kind == "gate-changed":
            gate = gate_of(fact.body["gate"])
            if gate < self._gates.get(fact.node, CLOSED):
                self.examined += 1
                self._judge_opening(index, fact, gate)
            self._gates[fact.node] = gate
        elif fact.kind == "token-promised":
            self._judge_promise(index, fact)
        elif fact.kind == "process-termed":
            self._termed[fact.node] = index
        elif fact.kind == "process-reaped":
            self._termed.pop(fact.node, None)
        elif fact.kind == "effect-admitted":
            self._judge_admission(index, fact)
        elif fact.node.startswith("sidecar/"):
            self.examined += 1
            self._judge_start(index, fact)

    def _judge_opening(self, index: int, fact: Fact, gate: int) -> None:
        agent, termed = fact.body["agent"], self._termed.get(fact.node)
        if gate == OPEN and termed is not None:
            self.blame(f"{fact.node} opened its gate for a process that it had asked to stop", termed, index)
        for order, learned in self.run.in_force(self.run.node(fact.node), agent):
            if order.gate > gate:
                self.blame(f"{fact.node} opened its gate although {order.severity} {order.order[:12]} is uncovered there", learned.index, index)
        if self.run.quorums_forget:
            self.skipped += 1
            return
        rounds = self.run.rounds.live(agent, token_of(fact.body["token"]), fact.clock_ns)
        for round_ in rounds:
            willing = [grant for grant in round_.grants.values() if not any(self._forbids(order, agent, gate) for order in grant.known)]
            if len(willing) >= self.run.cell_of(agent).quorum:
                return
        if rounds:
            self.blame(f"{fact.node} opened its gate on grants of replicas that know an uncovered order against it", *rounds[-1].proof(), index)

    def _judge_admission(self, index: int, fact: Fact) -> None:
        termed = self._termed.get(fact.node)
        self.examined += termed is not None
        if termed is not None and fact.body["cls"] == NEW:
            self.blame(f"{fact.node} let something new out of a process that it had asked to stop", termed, index)

    def _forbids(self, identity: str, agent: str, gate: int) -> bool:
        order = self.run.orders[identity]
        return order.gate > gate and not self.run.lifted(order, agent)

    def _judge_promise(self, index: int, fact: Fact) -> None:
        node, agent = self.run.node(fact.node), fact.body["agent"]
        if fact.node in self.run.forgetful:
            return
        self.examined += 1
        for order in self.run.orders_of.get(agent, ()):
            if order.order in node.durable and order.order not in node.covered:
                why = f"{fact.node} promised {agent} a token although {order.severity} {order.order[:12]} is uncovered there"
                self.blame(why, node.durable[order.order], index)

    def _judge_start(self, index: int, fact: Fact) -> None:
        for order, learned in self.run.in_force(self.run.node(fact.node), fact.body["agent"]):
            if order.life >= STOP:
                self.blame(f"{fact.node} started a process although {order.severity} {order.order[:12]} is uncovered there", learned.index, index)
