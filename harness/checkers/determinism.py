"""S27, the part that one run shows: no state machine raises. That equal seeds give equal digests is tried by playing twice."""

from __future__ import annotations

from harness.checkers.checker import InvariantChecker
from harness.shared.history import Fact


class Determinism(InvariantChecker):
    """S27. ``step`` is total: it never raises. An instance is a start of a node."""

    invariant = "S27"
    title = "Determinism: no state machine raises"
    kinds = frozenset({"node-started", "step-raised"})

    def see(self, index: int, fact: Fact) -> None:
        if fact.kind == "node-started":
            self.examined += 1
        else:
            self.blame(f"{fact.node} raised {fact.body['error']}", index)
