"""S15, as far as a history shows it: the log is the state, and no change of a gate goes unrecorded."""

from __future__ import annotations

from harness.checkers.checker import InvariantChecker
from harness.checkers.run import Run
from harness.checkers.words import CLOSED, gate_of
from harness.history import Fact


class AuditComplete(InvariantChecker):
    """S15 (D8). Folding a node's durable records gives its durable state, the hash chain verifies, and every change of a gate has its record
    by the end of the run. An instance is a fold or a change of a gate.

    A crash may take the record of the very last change with it, for a stop is acted on before it is recorded (D5). Nodes whose disk failed
    are held to the fold only. Cannot see: records of permits, and whether a record has a twin (a permission may be recorded and then
    overtaken by a stop before it opens a gate, so that records may outnumber changes).
    """

    invariant = "S15"
    title = "AuditComplete: the log folds to the state, its chain verifies, and every gate change is recorded"
    kinds = frozenset({"log-folded", "gate-changed", "gate-recorded", "node-crashed"})

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._shown: dict[str, int] = {}
        self._logged: dict[str, int] = {}
        self._unrecorded: dict[str, dict[int, list[int]]] = {}
        self._surplus: dict[str, dict[int, int]] = {}

    def see(self, index: int, fact: Fact) -> None:
        match fact.kind:
            case "log-folded":
                self._judge_fold(index, fact)
            case "gate-changed":
                self._changed(index, fact.node, gate_of(fact.body["gate"]))
            case "gate-recorded":
                self._recorded(fact.node, gate_of(fact.body["gate"]))
            case _:
                self._judge_records(fact.node, forgiven=1)
                self._shown.pop(fact.node, None)
                self._logged.pop(fact.node, None)
                self._unrecorded.pop(fact.node, None)
                self._surplus.pop(fact.node, None)

    def settle(self) -> None:
        for node in self._unrecorded:
            self._judge_records(node, forgiven=0)

    def _judge_fold(self, index: int, fact: Fact) -> None:
        self.examined += 1
        if not fact.body["chain_ok"]:
            self.blame(f"the hash chain of {fact.node} does not verify", index)
        elif fact.body["live"] != fact.body["folded"]:
            self.blame(f"the durable records of {fact.node} fold to another state than it had", index)

    def _changed(self, index: int, node: str, gate: int) -> None:
        if gate == self._shown.get(node, CLOSED):
            return
        self._shown[node] = gate
        self.examined += 1
        surplus = self._surplus.setdefault(node, {})
        if surplus.get(gate, 0):
            surplus[gate] -= 1
        else:
            self._unrecorded.setdefault(node, {}).setdefault(gate, []).append(index)

    def _recorded(self, node: str, gate: int) -> None:
        if gate == self._logged.get(node, CLOSED):
            return
        self._logged[node] = gate
        waiting = self._unrecorded.get(node, {}).get(gate)
        if waiting:
            waiting.pop(0)
        else:
            surplus = self._surplus.setdefault(node, {})
            surplus[gate] = surplus.get(gate, 0) + 1

    def _judge_records(self, node: str, forgiven: int) -> None:
        if self.run.node(node).disk_failed:
            return
        missing = sorted(index for waiting in self._unrecorded.get(node, {}).values() for index in waiting)
        if len(missing) > forgiven:
            self.blame(f"{node} changed its gate and never recorded it", missing[0])
