"""Resumes on their way in (L6): whoever hands one to a replica is answered, and turned away only for a reason that holds at that replica.

Owns the reasons. What must not be let in is judged elsewhere (S13, S20, S21); this must not know what becomes of agents.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from harness.checkers.checker import InvariantChecker
from harness.checkers.policies import FIRST_SEQ
from harness.shared.history import Fact


@dataclass(slots=True)
class _Asked:
    """What a replica was handed, and the ruling on it that it put on record since."""

    index: int
    fact: Fact
    ruling: Fact | None = None


class HandedIn:
    """Shown every fact of ``KINDS`` by the checker that it blames through."""

    KINDS = frozenset({"resume-handed-in", "resume-told", "decision", "rollout-changed"})

    def __init__(self, checker: InvariantChecker) -> None:
        self._checker = checker
        self._run = checker.run
        self._waiting: dict[tuple[str, str], _Asked] = {}  # replica, certificate
        self._latest: dict[str, _Asked] = {}  # replica -> what it was handed last
        self._seq: dict[str, int] = {}  # replica -> the rollout in force there
        self._reasons: dict[str, Callable[[str, _Asked, Fact], bool]] = {
            "REFUSED": self._is_refused,
            "EXPIRED": self._is_over,
            "NEEDS_CONTEXT": self._lacks_context,
            "ASK_ANOTHER": self._is_for_another,
        }

    def see(self, index: int, fact: Fact) -> None:
        match fact.kind:
            case "resume-handed-in":
                asked = self._latest[fact.node] = _Asked(index, fact)
                self._waiting.setdefault((fact.node, fact.body["certificate"]), asked)
            case "resume-told":
                self._told(index, fact)
            case "rollout-changed":
                self._seq[fact.node] = fact.body["seq"]
            case _:
                latest = self._latest.get(fact.node)
                if latest is not None and fact.body["action"] == "resume" and fact.body["request"] == latest.fact.body["request"]:
                    latest.ruling = fact

    def settle(self) -> None:
        """One that is accepted is answered once the record is durable: what befalls the replica until then may take the answer with it."""
        for (replica, _), asked in self._waiting.items():
            befell = self._run.touched.get(replica, -1) > asked.index or replica in self._run.custody or not self._run.node(replica).works
            on = any(replica in targets for targets in self._run.faults_on.values())
            if befell or on or asked.fact.at_ns + self._run.bounds.propagation_ns > self._run.end_ns:
                continue
            self._checker.examined += 1
            self._checker.blame(f"{replica} was handed a resume for {asked.fact.body['request']}, and never answered", asked.index)

    def _told(self, index: int, fact: Fact) -> None:
        """An answer other than ACCEPTED comes in the step in which it was handed in."""
        asked = self._waiting.pop((fact.node, fact.body["certificate"]), None)
        latest = self._latest.get(fact.node)
        reason = self._reasons.get(fact.body["stage"])
        if asked is None or latest is None or reason is None or latest.fact.body["certificate"] != fact.body["certificate"]:
            return
        self._checker.examined += 1
        if not reason(fact.node, latest, fact):
            why = f"{fact.node} answered {fact.body['stage']} to an approved resume for {fact.body['request']}, for which it had no reason"
            self._checker.blame(why, latest.index, index)

    # -- reasons: whether each holds, as far as the history tells

    def _is_refused(self, _node: str, asked: _Asked, _told: Fact) -> bool:
        """A refusal may be one too many for the log; then nothing tells what was ruled."""
        if not asked.fact.body["authentic"] or asked.ruling is None:
            return True
        allowed, *_, approvals = asked.ruling.body["ruling"]
        return not allowed or len(asked.fact.body["approvers"]) < approvals

    def _is_over(self, node: str, asked: _Asked, told: Fact) -> bool:
        boot = self._run.node(node).boot
        if self._is_let_in(node, asked):
            return False
        ends = [clock_ns for replica, of, clock_ns in asked.fact.body["ends"] if replica == node and of == boot]
        return not ends or told.clock_ns >= ends[0]

    def _lacks_context(self, node: str, asked: _Asked, _told: Fact) -> bool:
        body = asked.fact.body
        if self._seq.get(node, FIRST_SEQ) - body["policy_seq"] > 1:
            return True
        known, covered = self._run.node(node).known, self._run.node(node).covered
        kind, value = body["scope"]
        unshown = (self._run.orders[order] for order in known if order not in body["covers"] and order not in covered)
        return any(order.within(body["tenant"], (kind, value)) for order in unshown)

    def _is_for_another(self, node: str, asked: _Asked, _told: Fact) -> bool:
        own = self._run.node(node)
        tells_no_age = own.doubts or not any(replica == node for replica, *_ in asked.fact.body["ends"])
        return own.disk_full or (tells_no_age and not self._is_let_in(node, asked))

    def _is_let_in(self, node: str, asked: _Asked) -> bool:
        """What is on a replica's log came in time; nobody is asked its age again."""
        return asked.fact.body["certificate"] in self._run.node(node).certificates
