"""L14: who may work gets on with it."""

from __future__ import annotations

from harness.checkers.checker import InvariantChecker
from harness.checkers.run import Run
from harness.checkers.words import OPEN, gate_of
from harness.shared.history import Fact

OVER = frozenset({"task-done", "task-rolled-back", "task-compensated", "task-returned", "task-expired"})


class Progress(InvariantChecker):
    """L14. While an agent's gate is open and it has a task that is not over, its journal goes on: nothing is asked for that is never answered, and no
    task is left lying. Due within the bound of L9 from the heal, from the last word of the journal, from when the task was handed over, and from when
    the gate was last opened, whichever came last: an effect that was lost is tried again well within it, and doubts are found out.

    A task that is in doubt at a sink of class U is over: nobody can ever say. An instance is an agent that had a task open at the end, with its gate
    open. Nothing is due of one of whose host or sinks the disk failed, or that lost what it had written down (A2).
    """

    invariant = "L14"
    title = "Progress: an agent that may work gets on with its tasks"
    kinds = OVER | {
        "task-submitted", "task-intent", "task-intent-durable", "task-result", "task-undoing", "task-absent", "task-in-doubt",
        "task-acknowledged", "gate-changed", "process-started", "node-crashed",
    }  # fmt: skip

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._open: dict[str, dict[str, str]] = {}  # agent -> {task: its sink}
        self._since: dict[str, tuple[int, int]] = {}  # agent -> when something last happened to its work, and the fact
        self._gates: dict[str, int | None] = {}  # agent -> since when its gate is open

    def see(self, index: int, fact: Fact) -> None:
        if fact.kind == "node-crashed":
            if fact.node.startswith(("agent/", "sidecar/")):
                self._gates[fact.node.partition("/")[2]] = None
            return
        agent = fact.body["agent"]
        if fact.kind == "gate-changed":
            self._gates[agent] = fact.at_ns if gate_of(fact.body["gate"]) == OPEN else None
            return
        self._since[agent] = (fact.at_ns, index)
        if fact.kind == "task-submitted":
            self._open.setdefault(agent, {})[fact.body["task"]] = fact.body["sink"]
        elif fact.kind in OVER or (fact.kind == "task-in-doubt" and self.run.sinks.get(self._open.get(agent, {}).get(fact.body["task"], "")) == "U"):
            self._open.get(agent, {}).pop(fact.body["task"], None)

    def see_twin(self, _index: int, fact: Fact) -> None:
        """Upstream hands a task to whoever goes by the name: what the other host has ended is over."""
        if fact.kind in OVER:
            self._open.get(fact.body["agent"], {}).pop(fact.body["task"], None)

    def settle(self) -> None:
        healed_ns = self.run.healed_ns
        for agent, tasks in self._open.items():
            open_ns = self._gates.get(agent)
            if not tasks or healed_ns is None or open_ns is None or not self._fit(agent, set(tasks.values())):
                continue
            self.examined += 1
            last_ns, index = self._since[agent]
            idle_ns = self.run.end_ns - max(healed_ns, last_ns, open_ns)
            self.measure(idle_ns, self.run.bounds.doubt_ns)
            if idle_ns > self.run.bounds.doubt_ns:
                self.blame(f"{agent} has had {len(tasks)} tasks open and its gate too, and done nothing for {idle_ns} ns", index)

    def _fit(self, agent: str, sinks: set[str]) -> bool:
        nodes = (f"agent/{agent}", f"sidecar/{agent}", *sinks)
        return all(self.run.node(node).works and node not in self.run.custody for node in nodes)
