"""L14: who may work gets on with it."""

from __future__ import annotations

from harness.checkers.checker import InvariantChecker
from harness.checkers.run import Run
from harness.checkers.words import OPEN, gate_of
from harness.shared.history import Fact

TOLD = frozenset({"task-acknowledged", "task-returned", "task-expired"})  # what upstream knows
OVER = TOLD | {"task-done", "task-rolled-back", "task-compensated"}


class Progress(InvariantChecker):
    """L14. While an agent's gate is open and it has a task that is not over, its journal goes on: every question of its is answered, and no task is
    left lying. Due within the longest step and propagation, and the bound of L9 where a task is in doubt, from the heal, from the last word of
    the journal, from when it was handed a task with nothing else to do, and from when its gate was last opened, whichever came last.

    A task that is handed over again is not over before upstream is told how it ended, though that be for the second time.

    A task that is in doubt at a sink of class U is over: nobody can ever say; and so is whatever another host of the agent's name has ended. An
    instance is an agent that had tasks, and its gate open, at the end. Nothing is due of one of whose host or sinks the disk failed, or that lost
    what it had written down (A2).
    """

    invariant = "L14"
    title = "Progress: an agent that may work gets on with its tasks"
    kinds = OVER | {
        "task-submitted", "task-intent", "task-intent-durable", "task-result", "task-undoing", "task-absent", "task-in-doubt",
        "task-handed-over-again", "gate-changed", "process-started", "node-crashed",
    }  # fmt: skip

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._open: dict[str, dict[str, str]] = {}  # agent -> {task: its sink}
        self._in_doubt: set[tuple[str, str]] = set()  # (agent, task)
        self._again: set[tuple[str, str]] = set()  # (agent, task) that upstream has to be told the end of
        self._since: dict[str, tuple[int, int]] = {}  # agent -> when something last happened to its work, and the fact
        self._gates: dict[str, int | None] = {}  # agent -> since when its gate is open

    def see(self, index: int, fact: Fact) -> None:
        if fact.kind == "node-crashed":
            if fact.node.startswith(("agent/", "sidecar/")):
                self._gates[fact.node.partition("/")[2]] = None
            return
        agent, task = fact.body["agent"], fact.body.get("task", "")
        if fact.kind == "gate-changed":
            self._gates[agent] = fact.at_ns if gate_of(fact.body["gate"]) == OPEN else None
            return
        tasks = self._open.setdefault(agent, {})
        if fact.kind in ("task-submitted", "task-handed-over-again"):
            self._handed(index, fact, tasks)
            return
        self._since[agent] = (fact.at_ns, index)
        if fact.kind == "task-in-doubt":
            self._in_doubt.add((agent, task))
        elif task:
            self._in_doubt.discard((agent, task))
        if fact.kind in TOLD:
            self._again.discard((agent, task))
            tasks.pop(task, None)
        elif (fact.kind in OVER and (agent, task) not in self._again) or (
            fact.kind == "task-in-doubt" and self.run.sinks.get(tasks.get(task, "")) == "U"
        ):
            tasks.pop(task, None)

    def _handed(self, index: int, fact: Fact, tasks: dict[str, str]) -> None:
        agent, task, sink = fact.body["agent"], fact.body["task"], fact.body["sink"]
        if fact.kind == "task-handed-over-again":
            if (agent, task) in self._in_doubt and self.run.sinks.get(sink) == "U":
                return  # it is over, as far as it will ever be
            self._again.add((agent, task))
        if not tasks:
            self._since[agent] = (fact.at_ns, index)
        tasks[task] = sink

    def see_twin(self, _index: int, fact: Fact) -> None:
        if fact.kind in OVER:
            self._open.get(fact.body["agent"], {}).pop(fact.body["task"], None)
            self._again.discard((fact.body["agent"], fact.body["task"]))

    def settle(self) -> None:
        healed_ns = self.run.healed_ns
        for agent, tasks in self._open.items():
            open_ns = self._gates.get(agent)
            if healed_ns is None or open_ns is None or not self._fit(agent, set(tasks.values())):
                continue
            self.examined += 1
            if not tasks:
                continue
            last_ns, index = self._since[agent]
            idle_ns = self.run.end_ns - max(healed_ns, last_ns, open_ns)
            allowed_ns = self.run.bounds.progress_ns(any((agent, task) in self._in_doubt for task in tasks))
            self.measure(idle_ns, allowed_ns)
            if idle_ns > allowed_ns:
                self.blame(f"{agent} has had {len(tasks)} tasks open and its gate too, and done nothing for {idle_ns} ns", index)

    def _fit(self, agent: str, sinks: set[str]) -> bool:
        nodes = (f"agent/{agent}", f"sidecar/{agent}", *sinks)
        return all(self.run.node(node).works and node not in self.run.custody for node in nodes)
