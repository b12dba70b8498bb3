"""What a node makes of a log of its own that it cannot read as a whole (S22): it may forbid anything.

Owns who is at a loss. Must not know what other versions make of each other's messages.
"""

from __future__ import annotations

from harness.checkers.checker import InvariantChecker
from harness.checkers.words import CLOSED, gate_of
from harness.shared.history import Fact

PERMITS = {"lease-granted": "granted a lease", "effect-admitted": "admitted an effect", "gate-changed": "opened its gate"}


class OwnLogs:
    """Shown facts, those of ``KINDS`` among them, by the checker that it blames through."""

    KINDS = frozenset({"log-unread", "node-started", *PERMITS})

    def __init__(self, checker: InvariantChecker) -> None:
        self._checker = checker
        self._unread: dict[str, int] = {}  # nodes that cannot read all of their own log, and the fact

    def see(self, index: int, fact: Fact) -> None:
        if fact.kind == "log-unread":
            self._checker.examined += 1
            self._unread[fact.node] = index
        elif fact.kind == "node-started":
            self._unread.pop(fact.node, None)
        elif fact.kind in PERMITS and fact.node in self._unread:
            self._checker.examined += 1
            if fact.kind != "gate-changed" or gate_of(fact.body["gate"]) < CLOSED:
                self._checker.blame(f"{fact.node} {PERMITS[fact.kind]}, and cannot read all of its own log", self._unread[fact.node], index)
