"""What nodes were handed that somebody made up, and until when that may be what they take in.

Owns how long an input may wait at its node: no longer than its host's lag, but while the node stands still or is slow. Must not know what it may
bring.
"""

from __future__ import annotations

from harness.checkers.bounds import HOST_LAG_NS
from harness.checkers.words import targets_of
from harness.shared.history import Fact

PAUSE = "pause"  # what holds a node, beside the ids of faults that make it slow


class Handed:
    """Shown every fact of ``KINDS``. An input is taken in in the instant in which it comes where time is simulated, else as soon as its host gets
    round to it: within a second. One that comes to a node which is paused or slow, or that may still wait when it becomes so, may wait until that is
    over, and a second more. What waits at a process dies with it."""

    KINDS = frozenset({"hostile-input", "node-paused", "node-resumed", "node-crashed", "fault-on", "fault-off", "healed"})

    def __init__(self) -> None:
        self._until_ns: dict[str, dict[str, int]] = {}  # node -> {sender: until when it may take in what it was last handed in that name}
        self._held_by: dict[str, set[str]] = {}  # node -> what holds it up
        self._waits: dict[str, set[str]] = {}  # node that is held up -> senders in whose names something may wait there

    def see(self, fact: Fact) -> None:
        match fact.kind:
            case "hostile-input":
                self._until_ns.setdefault(fact.node, {})[fact.body["sender"]] = fact.at_ns + HOST_LAG_NS
                if fact.node in self._waits:
                    self._waits[fact.node].add(fact.body["sender"])
            case "node-paused":
                self._hold(fact.node, PAUSE, fact.at_ns)
            case "node-resumed":
                self._let_go(fact.node, {PAUSE}, fact.at_ns)
            case "node-crashed":
                if fact.node in self._waits:
                    self._waits[fact.node].clear()
                self._let_go(fact.node, {PAUSE}, fact.at_ns)
            case "fault-on":
                if fact.body["what"] == "slow-node":
                    for node in targets_of(fact.body["target"]):
                        self._hold(node, fact.body["fault"], fact.at_ns)
            case "fault-off":
                for node in list(self._held_by):
                    self._let_go(node, {fact.body["fault"]}, fact.at_ns)
            case _:
                for node, held_by in list(self._held_by.items()):
                    self._let_go(node, held_by - {PAUSE}, fact.at_ns)

    def may_have_brought(self, fact: Fact, *senders: str) -> bool:
        """Whether what a node takes in may be what it was handed, in one of these names, or where none is given in any."""
        until_ns = self._until_ns.get(fact.node, {})
        waits = self._waits.get(fact.node, set())
        return any(sender in waits or fact.at_ns <= until_ns[sender] for sender in until_ns if not senders or sender in senders)

    def _hold(self, node: str, by: str, at_ns: int) -> None:
        self._held_by.setdefault(node, set()).add(by)
        waits = self._waits.setdefault(node, set())
        waits.update(sender for sender, until_ns in self._until_ns.get(node, {}).items() if at_ns <= until_ns)

    def _let_go(self, node: str, by: set[str], at_ns: int) -> None:
        held_by = self._held_by.get(node, set())
        if not by & held_by:
            return
        held_by -= by
        if not held_by:
            del self._held_by[node]
            for sender in self._waits.pop(node):
                self._until_ns[node][sender] = at_ns + HOST_LAG_NS
