"""Since when a node has been well enough to owe what it can do alone: replicas (L3, L13), and sidecars that nothing ever befell (S15).

Owns who fell, and when that was healed; what faults were aimed at, the run tells. Must not know what is owed.
"""

from __future__ import annotations

from harness.checkers.run import Run
from harness.shared.history import Fact


class Well:
    """Shown every fact of ``KINDS``. Faults of links leave alone what a replica does by itself, and wall clocks are read for stamps only."""

    KINDS = frozenset({"core-healed", "healed", "node-crashed", "node-paused"})

    def __init__(self, run: Run) -> None:
        self._run = run
        self._fell: set[str] = set()  # who crashed or was paused, by whatever cause
        self._healed_ns: dict[str, int] = {}  # replica -> when, with everybody or with a core

    def see(self, fact: Fact) -> None:
        if fact.kind in ("core-healed", "healed"):
            for replica in fact.body.get("members", self._run.replicas):
                self._healed_ns.setdefault(replica, fact.at_ns)
        elif fact.kind in ("node-crashed", "node-paused"):
            self._fell.add(fact.node)

    def since_ns(self, replica: str) -> int | None:
        """From when on a replica owes what it can do alone: from the beginning if nothing touched it; else since it was healed.
        None: never. What it held may have been taken from it (A2), and a clock that was broken measures nothing (T5).
        """
        node = self._run.node(replica)
        if not node.works or replica in self._run.custody or replica in self._run.clock_suspects:
            return None
        if replica not in self._fell and not self._run.struck_beyond_links(replica):
            return 0
        healed_ns = self._healed_ns.get(replica)
        return None if healed_ns is None else max(healed_ns, node.since_ns)
