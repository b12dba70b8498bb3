"""Countdowns of processes that have to end, from when their sidecar learns why (L2, L3).

Time counts only while the sidecar is up and not paused. A crash of the sidecar ends the instance: the tree dies with its sidecar, has no
way out to a sink meanwhile, and S23 and S6 judge what is let out, and started, afterwards.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

from harness.checkers.checker import InvariantChecker
from harness.checkers.run import Run
from harness.checkers.subjects import Order
from harness.checkers.words import agent_of
from harness.shared.history import Fact


@dataclass(slots=True)
class Countdown:
    """An order that a sidecar knows and that its agent's process has to obey; None: it was asked to stop for another reason. ``spent_ns``: counted so
    far; ``since_ns`` None: paused."""

    order: Order | None
    index: int
    allowed_ns: int
    since_ns: int | None
    spent_ns: int = 0

    def pause(self, at_ns: int) -> None:
        if self.since_ns is not None:
            self.spent_ns, self.since_ns = self.spent_ns + at_ns - self.since_ns, None

    def resume(self, at_ns: int) -> None:
        if self.since_ns is None:
            self.since_ns = at_ns

    @property
    def began(self) -> str:
        return "it was asked to stop" if self.order is None else f"its sidecar learned {self.order.severity} {self.order.order[:12]}"

    def elapsed_ns(self, at_ns: int) -> int:
        return self.spent_ns + (at_ns - self.since_ns if self.since_ns is not None else 0)


class Countdowns(InvariantChecker):
    """Starts a countdown when a sidecar learns an order that ends its live process, or starts one that a known order ends."""

    kinds = frozenset({
        "order-learned", "process-started", "process-reaped", "certificate-durable", "node-crashed", "node-paused", "node-resumed", "evidence-sent",
    })  # fmt: skip
    outcome = "reaped"

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._countdowns: dict[str, list[Countdown]] = {}
        self._asked: set[str] = set()  # agents whose latest start was asked for what nobody takes back

    @abstractmethod
    def allowed_ns(self, order: Order) -> int | None:
        """How long the process may outlive the learning of the order; None: this order does not concern the invariant."""

    def see(self, index: int, fact: Fact) -> None:
        match fact.kind:
            case "order-learned":
                if fact.node.startswith("sidecar/"):
                    self._start(agent_of(fact.node), self.run.orders[fact.body["order"]], index, fact.at_ns)
            case "process-started":
                agent = fact.body["agent"]
                for order, _ in self.run.in_force(self.run.sidecar(agent), agent):
                    self._start(agent, order, index, fact.at_ns)
            case "certificate-durable":
                if fact.node.startswith("sidecar/"):
                    self._lift(agent_of(fact.node))
            case "node-paused" | "node-resumed":
                self._pause(fact)
            case "node-crashed":
                if fact.node.startswith(("sidecar/", "agent/")):
                    gone = fact.node.startswith("agent/")
                    self._end(agent_of(fact.node), index if gone else None, fact.at_ns)
            case "process-reaped" | "process-killed":
                self._end(fact.body["agent"], index, fact.at_ns)

    def settle(self) -> None:
        for agent in list(self._countdowns):
            self._end(agent, None, self.run.end_ns)

    def _start(self, agent: str, order: Order, index: int, at_ns: int) -> None:
        allowed_ns = self.allowed_ns(order)
        process = self.run.processes.get(agent)
        running = [countdown.order for countdown in self._countdowns.get(agent, ())]
        if allowed_ns is None or process is None or not process.alive or agent not in order.agents or order in running:
            return
        if order.order in self.run.sidecar(agent).covered:
            return  # its certificate was quicker: the order was lifted here before it came
        self._count(agent, order, index, allowed_ns, at_ns)

    def _count(self, agent: str, order: Order | None, index: int, allowed_ns: int, at_ns: int) -> None:
        since_ns = None if self.run.sidecar(agent).paused else at_ns
        self._countdowns.setdefault(agent, []).append(Countdown(order, index, allowed_ns, since_ns))

    def _lift(self, agent: str) -> None:
        covered = self.run.sidecar(agent).covered
        if agent in self._countdowns and agent not in self._asked:
            self._countdowns[agent] = [each for each in self._countdowns[agent] if each.order is None or each.order.order not in covered]

    def _pause(self, fact: Fact) -> None:
        if fact.node.startswith("sidecar/"):
            for countdown in self._countdowns.get(agent_of(fact.node), ()):
                countdown.pause(fact.at_ns) if fact.kind == "node-paused" else countdown.resume(fact.at_ns)

    def _end(self, agent: str, index: int | None, at_ns: int) -> None:
        """The process is gone (``index``), or the sidecar, or the run, ended before it (None): was the time over by then?"""
        for countdown in self._countdowns.pop(agent, ()):
            elapsed_ns = countdown.elapsed_ns(at_ns)
            if f"sidecar/{agent}" in self.run.clock_suspects:
                self.skipped += 1
            elif index is not None or elapsed_ns > countdown.allowed_ns:
                self.examined += 1
                self.measure(elapsed_ns, countdown.allowed_ns)
                if elapsed_ns > countdown.allowed_ns:
                    until = f"was {self.outcome} {elapsed_ns} ns" if index is not None else f"was not {self.outcome} within {elapsed_ns} ns"
                    why = f"the process of {agent} {until} after {countdown.began}"
                    self.blame(f"{why}; allowed are {countdown.allowed_ns} ns", countdown.index, *(() if index is None else (index,)))
