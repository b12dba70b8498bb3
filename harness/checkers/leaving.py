"""Who was asked to stop, and has nothing left that he could finish, leaves by himself (L4).

Owns what an agent could still finish, by its journal's own facts. Must not know what of it fits into a grace.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from harness.checkers.checker import InvariantChecker
from harness.checkers.words import KILL
from harness.shared.history import Fact

OVER = frozenset({"task-done", "task-rolled-back", "task-compensated"})


@dataclass(slots=True)
class _Work:
    """``doubts``: {task that was begun and has not ended: whether it is in doubt}. ``since``: when its journal last said anything, or when it was
    asked to stop, and that fact; None until it is asked, and once it is leaving."""

    doubts: dict[str, bool] = field(default_factory=dict)
    since: tuple[int, int] | None = None


class Leaving:
    """Shown every fact of ``KINDS`` by the checker that it blames through."""

    KINDS = OVER | {
        "process-started", "process-termed", "process-killed", "checkpoint-begun", "task-intent", "task-result", "task-absent", "task-in-doubt",
        "task-undoing", "node-paused",
    }  # fmt: skip

    def __init__(self, checker: InvariantChecker) -> None:
        self._checker = checker
        self._run = checker.run
        self._work: dict[str, _Work] = {}
        self._paused: set[str] = set()  # by whatever cause

    def see(self, index: int, fact: Fact) -> None:
        if fact.kind == "node-paused":
            self._paused.add(fact.node)
        else:
            self._goes_on(index, fact, self._work.setdefault(fact.body["agent"], _Work()))

    def _goes_on(self, index: int, fact: Fact, work: _Work) -> None:
        match fact.kind:
            case "process-started" | "checkpoint-begun":
                work.since = None
            case "process-termed":
                work.since = (fact.at_ns, index)
            case "process-killed":
                self._judge(index, fact, work)
                work.since = None
            case _:
                if fact.kind in OVER:
                    work.doubts.pop(fact.body["task"], None)
                else:
                    work.doubts[fact.body["task"]] = fact.kind == "task-in-doubt"
                if work.since is not None:
                    work.since = (fact.at_ns, index)

    def _judge(self, index: int, fact: Fact, work: _Work) -> None:
        """Its grace is over. What is in doubt is asked about once more at the most, one after the other; after that there is nothing to wait for."""
        agent, run = fact.body["agent"], self._run
        nodes = {fact.node, f"agent/{agent}"}
        excused = (
            nodes & self._paused
            or any(run.struck_beyond_links(node) for node in nodes)
            or fact.node in run.clock_suspects
            or not nodes.isdisjoint(run.custody)
        )
        at_once = any(order.life == KILL for order, _ in run.in_force(run.node(fact.node), agent))
        if work.since is None or excused or at_once or not all(work.doubts.values()):
            return
        self._checker.examined += 1
        since_ns, since = work.since
        idle_ns, allowed_ns = fact.at_ns - since_ns, (1 + len(work.doubts)) * run.bounds.answering_ns
        if idle_ns > allowed_ns:
            why = f"{agent} was asked to stop, had nothing left that it could finish for {idle_ns} ns, and had to be killed"
            self._checker.blame(f"{why}; allowed are {allowed_ns} ns", since, index)
