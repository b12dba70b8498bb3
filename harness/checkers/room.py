"""What a full disk takes: its reserve is for prohibitions, and permissions wait (S11, protocol 3.6 and 3.7).

Owns which kinds of record are which, by the protocol and not by the word of any implementation. Must not know how a disk keeps its reserve, nor how
much that is.
"""

from __future__ import annotations

from typing import ClassVar, Final

from harness.checkers.bounds import HOST_LAG_NS
from harness.checkers.checker import InvariantChecker
from harness.shared.history import Fact

# Orders and what came of them, gates, fences, keysets, and what takes trust away.
PROHIBITIONS: Final = frozenset({
    "ORDER_ACCEPTED", "ORDER_EFFECTIVE", "ORDER_LEARNED", "DECISION", "ESCALATED", "DECLARED", "GATE_CHANGE", "PROC_TERM", "PROC_KILL", "PROC_REAPED",
    "EVIDENCE", "FENCE", "FENCE_ACKED", "FORK_PROOF", "KEYSET", "ATTEMPT", "ATTEMPT_OVER", "QUARANTINE", "CLOCK_SUSPECT",
})  # fmt: skip
PERMISSIONS: Final = frozenset({"CERT_ACCEPTED", "PROMISE", "COSIG", "TOKEN", "PROC_START"})

ROLLOUTS: Final = frozenset({"POLICY_INSTALLED", "POLICY_ROLLOUT"})  # permissions that a replica takes from its peers, and on from nobody else


class Room:
    """The part of S11 that is about full disks. ``checker`` is told of instances and violations."""

    kinds: ClassVar[frozenset[str]] = frozenset({
        "disk-full", "recorded-without-room", "reserve-used", "disk-freed", "disk-failed", "node-crashed",
    })  # fmt: skip

    def __init__(self, checker: InvariantChecker) -> None:
        self._checker = checker
        self._waiting: dict[str, dict[int, tuple[int, int, str]]] = {}  # node -> lsn -> (when recorded, fact, kind) of prohibitions not durable yet

    def see(self, index: int, fact: Fact) -> None:
        if fact.kind == "recorded-without-room":
            self._recorded(index, fact)
        elif fact.kind == "reserve-used":
            self._used(index, fact)
        else:
            self._waiting.pop(fact.node, None)

    def _recorded(self, index: int, fact: Fact) -> None:
        self._checker.examined += 1
        if fact.body["what"] in PERMISSIONS:
            self._checker.blame(f"{fact.node} recorded a permission ({fact.body['what']}) though it knew that its disk was full", index)
        elif fact.body["what"] in ROLLOUTS and fact.body.get("own"):  # histories of earlier versions do not tell
            self._checker.blame(f"{fact.node} took on a rollout that it was asked for though it knew that its disk was full", index)
        elif fact.body["what"] in PROHIBITIONS:
            self._waiting.setdefault(fact.node, {})[fact.body["lsn"]] = (fact.at_ns, index, fact.body["what"])

    def _used(self, index: int, fact: Fact) -> None:
        self._checker.examined += 1
        if fact.body["what"] not in PROHIBITIONS:
            self._checker.blame(f"{fact.node} used up its reserve for what is no prohibition ({fact.body['what']})", index)
        waiting = self._waiting.get(fact.node, {})
        last_ns = waiting[fact.body["lsn"]][0] if fact.body["lsn"] in waiting else fact.at_ns
        for lsn in [lsn for lsn in waiting if lsn <= fact.body["lsn"]]:
            at_ns, recorded, kind = waiting.pop(lsn)
            if last_ns - at_ns > HOST_LAG_NS and not self._checker.run.struck(fact.node, frozenset({"disk-full"})):
                why = f"{fact.node} had room for {kind} all the time, and kept it from its disk for {last_ns - at_ns} ns, until another record came"
                self._checker.blame(why, recorded, index)
