"""L11: nobody waits on standby for ever."""

from __future__ import annotations

from dataclasses import dataclass

from harness.checkers.bounds import MILLION
from harness.checkers.checker import InvariantChecker
from harness.checkers.run import Run
from harness.checkers.words import agent_of
from harness.shared.history import Fact

MODE = "STANDBY"
RUN = ("OPEN", "ALIVE")


@dataclass(slots=True)
class _Waiting:
    """One sidecar's agent, by the sidecar's own clock: on standby without an order since ``since_ns``, and for ``stood_ns`` before that. The spell
    began at ``at_ns`` with the fact ``index``."""

    standby: bool = False
    ordered: bool = False
    since_ns: int | None = None
    stood_ns: int = 0
    ran_since_ns: int | None = None
    at_ns: int = 0
    index: int = 0

    def stood_until(self, clock_ns: int) -> int:
        return self.stood_ns + (0 if self.since_ns is None else clock_ns - self.since_ns)


class StandbyLimit(InvariantChecker):
    """L11 (protocol 3.5). An agent that stood by for S_max, with no order in force for it, comes under a stop order of its own sidecar: no later
    than the slack after that, and no sooner. Short spells of running do not wipe out what it stood by; a run of S_max does, and so does a start of
    the sidecar or an order of its own, with which the count begins anew. An instance is a spell of standby.

    Left out are spells in which the sidecar was paused or lost its disk, sidecars whose clock a fault broke (T5), and those that heard of
    prohibitions which they may not have been able to read: those bind, too, and leave no order.
    """

    invariant = "L11"
    title = "StandbyLimit: who stood by for too long is stopped, and nobody sooner"
    kinds = frozenset({"gate-changed", "intent", "order-learned", "node-started", "prohibition-arrived", "node-resumed"})

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._waiting: dict[str, _Waiting] = {}
        self._excused: set[str] = set()

    def see(self, index: int, fact: Fact) -> None:
        if not fact.node.startswith("sidecar/"):
            return
        waiting = self._waiting.setdefault(fact.node, _Waiting())
        match fact.kind:
            case "prohibition-arrived" | "node-resumed":
                self._excused.add(fact.node)
            case "node-started":
                self._waiting[fact.node] = _Waiting()
            case "order-learned":
                if fact.body["signer"] == fact.node:
                    self._own_order(index, fact, waiting)
            case "intent":
                waiting.ordered = (fact.body["gate"], fact.body["life"]) != RUN
                self._follow(index, fact, waiting)
            case _:
                waiting.standby = fact.body["mode"] == MODE
                self._follow(index, fact, waiting)

    def _follow(self, index: int, fact: Fact, waiting: _Waiting) -> None:
        stands, now_ns, limit_ns = waiting.standby and not waiting.ordered, fact.clock_ns, self.run.bounds.standby_max_ns
        if stands and waiting.since_ns is None:
            if waiting.ran_since_ns is None or now_ns - waiting.ran_since_ns >= limit_ns:
                waiting.stood_ns = 0
            waiting.since_ns, waiting.at_ns, waiting.index = now_ns, fact.at_ns, index
        elif not stands and waiting.since_ns is not None:
            self._judge(fact.node, waiting, waiting.stood_until(now_ns), index)
            waiting.stood_ns = waiting.stood_until(now_ns)
            waiting.since_ns, waiting.ran_since_ns = None, now_ns

    def _own_order(self, index: int, fact: Fact, waiting: _Waiting) -> None:
        """What it stood by has come to an end. The order is part of the step that finds the limit passed."""
        stood_ns, limit_ns = waiting.stood_until(fact.clock_ns), self.run.bounds.standby_max_ns
        self._judge(fact.node, waiting, stood_ns, index)
        if stood_ns < limit_ns and self._counts(fact.node):
            self.blame(
                f"{agent_of(fact.node)} was stopped by its sidecar after {stood_ns} ns on standby, and {limit_ns} are allowed", waiting.index, index
            )
        self._waiting[fact.node] = _Waiting(standby=waiting.standby, ordered=True)

    def _judge(self, node: str, waiting: _Waiting, stood_ns: int, *witness: int) -> None:
        bounds = self.run.bounds
        if not self._counts(node):
            self.skipped += 1
            return
        self.examined += 1
        if stood_ns > bounds.standby_max_ns + bounds.slack_ns:
            self.blame(f"{agent_of(node)} stood by for {stood_ns} ns without an order, and its sidecar did not stop it", waiting.index, *witness)

    def _counts(self, node: str) -> bool:
        return node not in self._excused and node not in self.run.clock_suspects and node not in self.run.custody and self.run.node(node).works

    def settle(self) -> None:
        """Who still stands by when the run ends, has done so for at least as long as a slow clock tells."""
        for node, waiting in self._waiting.items():
            if waiting.since_ns is not None and self.run.node(node).works:
                slow_ns = (self.run.end_ns - waiting.at_ns) * (MILLION - self.run.bounds.drift_ppm) // MILLION
                self._judge(node, waiting, waiting.stood_ns + slow_ns)
