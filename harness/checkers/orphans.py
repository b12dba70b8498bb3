"""What an earlier sidecar left running, and the next one finds (L2): it is ended before anything else, and gone in time, or said to live on.

Owns what is there at a start: all that an earlier start began, and nobody saw reaped. Processes that their own sidecar kills are judged elsewhere
(`death`).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from harness.checkers.checker import InvariantChecker
from harness.checkers.words import STOP, agent_of
from harness.shared.history import Fact


@dataclass(slots=True)
class _Orphan:
    """A process tree that a sidecar finds as it starts. ``began``: its own start; ``killed``: whether this sidecar has sent it SIGKILL. ``said``: the
    orders of which it has put on record that they could not be carried out."""

    began: int
    index: int
    at_ns: int
    killed: bool = False
    said: set[str] = field(default_factory=set)


class Orphans:
    """Shown every fact of ``KINDS`` by the checker that it blames through."""

    KINDS = frozenset({
        "node-started", "node-crashed", "node-paused", "process-started", "process-killed", "process-reaped", "evidence-recorded", "lease-requested",
    })  # fmt: skip

    def __init__(self, checker: InvariantChecker) -> None:
        self._checker = checker
        self._run = checker.run
        self._running: dict[str, int] = {}  # agent -> the start of a process that nobody has reaped yet
        self._found: dict[str, _Orphan] = {}  # agent -> what is there

    def see(self, index: int, fact: Fact) -> None:
        if not fact.node.startswith("sidecar/"):
            return
        agent = agent_of(fact.node)
        match fact.kind:
            case "node-started":
                if agent in self._running:
                    self._found[agent] = _Orphan(self._running[agent], index, fact.at_ns)
            case "process-started":
                self._running[agent] = index
            case "process-killed":
                if agent in self._found:
                    self._found[agent].killed = True
            case "lease-requested":
                if agent in self._found:
                    self._goes_on(index, self._found[agent], fact)
            case "evidence-recorded":
                if agent in self._found and fact.body["stage"] == "KILL_FAILED":
                    self._found[agent].said.add(fact.body["order"])
            case "process-reaped":
                self._running.pop(agent, None)
                self._over(agent, fact.at_ns)
            case "node-crashed" | "node-paused":  # whoever starts next finds it again
                self._found.pop(agent, None)

    def settle(self) -> None:
        for agent in list(self._found):
            self._over(agent, self._run.end_ns)

    def _goes_on(self, index: int, orphan: _Orphan, fact: Fact) -> None:
        """It asks for permissions, and was to end first what it found, whatever is ordered."""
        if not orphan.killed:
            orphan.killed = True
            self._checker.examined += 1
            why = f"{fact.node} found at its start that {fact.body['agent']} may still run, and asked for a lease before it had it killed"
            self._checker.blame(why, orphan.began, orphan.index, index)

    def _over(self, agent: str, at_ns: int) -> None:
        """It is gone, or the run is over: was all said until then?"""
        orphan, sidecar = self._found.pop(agent, None), self._run.sidecar(agent)
        if orphan is None or self._is_excused(sidecar.node, orphan):
            return
        for order, learned in self._run.in_force(sidecar, agent):
            lived_ns = at_ns - max(orphan.at_ns, learned.at_ns)
            if order.life < STOP or lived_ns <= self._run.bounds.death_ns:
                continue
            self._checker.examined += 1
            if order.order not in orphan.said:
                why = f"{sidecar.node} found at its start that {agent} still ran, could not end it for {lived_ns} ns, and never put that on record"
                self._checker.blame(f"{why} under {order.severity} {order.order[:12]}", orphan.index)

    def _is_excused(self, sidecar: str, orphan: _Orphan) -> bool:
        """Something befell it meanwhile, or takes its disk or its clock from it."""
        run = self._run
        struck = run.touched.get(sidecar, -1) > orphan.index or any(sidecar in targets for targets in run.faults_on.values())
        return struck or run.node(sidecar).disk_failed or sidecar in run.clock_suspects or sidecar in run.custody
