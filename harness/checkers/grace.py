"""S18: a grace period is given once."""

from __future__ import annotations

from dataclasses import dataclass

from harness.checkers.checker import InvariantChecker
from harness.checkers.run import Run
from harness.checkers.subjects import Learned
from harness.shared.history import Fact


@dataclass(frozen=True, slots=True)
class _Deadline:
    deadline_ns: int
    boot: str
    index: int


class GraceMonotone(InvariantChecker):
    """S18. A sidecar's drain deadline for an order is not later than its clock when it first learned the order, plus G; it never moves to
    later within a boot; and after a reboot, when the clock that it was measured on is gone, it has passed. An instance is a deadline set.

    A sidecar whose disk lied, or lost what it held, is skipped (A2): it may learn an order anew that it had learned before.

    A predicate on the variable (``drain-deadline``), because drain leases hide a restarted grace from its effects. An order that a crash
    took before it was durable may be learned, and its grace given, again: a deadline for an order that the sidecar does not know is the
    first of a new learning, and is held against it when it comes, in the same step.
    """

    invariant = "S18"
    title = "GraceMonotone: the drain deadline of an order never moves to later"
    kinds = frozenset({"drain-deadline", "order-learned"})

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._deadlines: dict[tuple[str, str], _Deadline] = {}

    def see(self, index: int, fact: Fact) -> None:
        identity = fact.body["order"]
        key = (fact.node, identity)
        learned = self.run.node(fact.node).known.get(identity)
        if fact.kind == "order-learned":
            if learned is not None and key in self._deadlines:
                self._judge_given(fact.node, identity, self._deadlines[key], learned)
            return
        if fact.node in self.run.custody:
            self.skipped += 1
            return
        self.examined += 1
        now = _Deadline(int(fact.body["deadline_ns"]), fact.body["boot"], index)
        if learned is not None:
            self._judge_kept(fact, now, self._deadlines.get(key), learned)
            self._judge_given(fact.node, identity, now, learned)
        self._deadlines[key] = now

    def _judge_kept(self, fact: Fact, now: _Deadline, before: _Deadline | None, learned: Learned) -> None:
        identity = fact.body["order"][:12]
        if before is not None and now.boot == before.boot and now.deadline_ns > before.deadline_ns:
            later_ns = now.deadline_ns - before.deadline_ns
            self.blame(f"{fact.node} moved its drain deadline for {identity} to {later_ns} ns later", before.index, now.index)
        elif now.boot != learned.boot and now.deadline_ns > fact.clock_ns:
            self.blame(f"{fact.node} gave order {identity} new grace after a reboot", learned.index, now.index)

    def _judge_given(self, node: str, identity: str, now: _Deadline, learned: Learned) -> None:
        grace_ns = self.run.orders[identity].time_to_stop_ns(self.run.bounds)
        over_ns = now.deadline_ns - (learned.clock_ns + grace_ns)
        if now.boot == learned.boot and over_ns > 0:
            self.blame(f"{node} drains {over_ns} ns longer for {identity[:12]} than its grace of {grace_ns} ns", learned.index, now.index)
