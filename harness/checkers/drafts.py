"""What approvers of a resume are shown, and by whom (S20): all that is known and in force, by one who has heard of all that may be effective.

Owns drafts, and what is handed in on their strength. Whether a certificate was signed by those who may is judged elsewhere (`authority`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from harness.checkers.checker import InvariantChecker
from harness.checkers.subjects import Learned, Order
from harness.shared.history import Fact


@dataclass(frozen=True, slots=True)
class _Resume:
    """What somebody asked to resume, and since when."""

    tenant: str
    scope: tuple[str, str]
    at_ns: int


class Drafts:
    """Shown every fact of ``KINDS`` by the checker that it blames through."""

    KINDS = frozenset({"resume-requested", "draft-sent", "node-started", "replica-joined", "decision", "certificate-learned"})

    def __init__(self, checker: InvariantChecker) -> None:
        self._checker = checker
        self._run = checker.run
        self._resumes: dict[str, _Resume] = {}
        self._began: dict[str, tuple[str, int]] = {}  # replica -> boot of its last start, and its clock then
        self._taught: dict[str, tuple[int, int]] = {}  # replica -> its clock when this start of it joined, and the fact
        self._handed_in: dict[str, str] = {}  # replica -> the certificate that it decided to let in last

    def see(self, index: int, fact: Fact) -> None:
        match fact.kind:
            case "resume-requested":
                self._resume_requested(fact)
            case "draft-sent":
                self._draft_sent(index, fact)
            case "certificate-learned":
                self._let_in(index, fact)
            case "node-started":
                self._began[fact.node] = (fact.body["boot"], fact.clock_ns)
                self._taught.pop(fact.node, None)
            case "replica-joined":
                self._taught[fact.node] = (fact.clock_ns, index)
            case _ if fact.body["action"] == "resume":
                self._handed_in[fact.node] = fact.body["order"]

    def _resume_requested(self, fact: Fact) -> None:
        kind, value = fact.body["scope"]
        self._resumes.setdefault(fact.body["request"], _Resume(fact.body["tenant"], (kind, value), fact.at_ns))

    def _draft_sent(self, index: int, fact: Fact) -> None:
        resume = self._resumes.get(fact.body["request"])
        if resume is None:
            return
        self._checker.examined += 1
        if fact.node in self._run.forgetful:
            self._checker.blame(
                f"{fact.node} drafted a resume before it had been taught what it may have forgotten", self._run.forgetful[fact.node], index
            )
        for replica, boot, clock_ns in fact.body.get("heard", ()):  # histories of earlier versions do not tell
            self._judge_heard(index, fact.node, replica, boot, clock_ns)
        if fact.body["covers"] and "heard" in fact.body:
            self._judge_hearing(index, fact, resume)
        shown = set(fact.body["covers"])
        for order in self._run.orders.values():
            due = order.effective_ns is not None and order.effective_ns < resume.at_ns and order.within(resume.tenant, resume.scope)
            if due and not self._run.quorums_forget and order.order not in shown and order.order not in self._run.covered:
                why = f"{fact.node} drafted a resume that does not show {order.severity} {order.order[:12]}, effective before it was asked for"
                self._checker.blame(why, *order.proof(), index)
        for order, learned in self._unshown(fact.node, resume.tenant, resume.scope, shown):
            self._checker.blame(
                f"{fact.node} drafted a resume that does not show {order.severity} {order.order[:12]}, which it knew", learned.index, index
            )

    def _judge_hearing(self, index: int, fact: Fact, resume: _Resume) -> None:
        """Whoever drafts has heard so many, himself among them, that they meet every k who can have made an order effective, and names them, but for
        those that speak another version, in which nobody says how long he takes it; and who drafts in one reads nobody's clock."""
        others = self._run.struck_by("version")
        if fact.node in others:
            return
        heard = {replica for replica, _, _ in fact.body["heard"]} | {fact.node} | others
        for cell in self._run.cells if resume.scope[0] != "agent" else (self._run.cell_of(resume.scope[1]),):
            if len(heard.intersection(cell.replicas)) <= len(cell.replicas) - cell.kill_quorum:
                why = f"{fact.node} drafted a resume that only {', '.join(sorted(heard))} can be handed, who may all have missed an effective order"
                self._checker.blame(why, index)

    def _judge_heard(self, index: int, drafter: str, replica: str, boot: str, clock_ns: int) -> None:
        """What somebody knows who may have forgotten does not count. Whether it had been taught by then is told by its own clock."""
        own_boot, began_ns = self._began.get(replica, ("", 0))
        if boot != own_boot or clock_ns < began_ns or replica in self._run.clock_suspects:
            return  # an earlier start of it answered
        taught_ns, taught = self._taught.get(replica, (0, 0))
        if replica in self._run.forgetful or clock_ns < taught_ns:
            why = f"{drafter} drafted a resume on the word of {replica}, which had not been taught yet what it may have forgotten"
            self._checker.blame(why, self._run.forgetful.get(replica, taught), index)

    def _let_in(self, index: int, fact: Fact) -> None:
        """Only by whom it was handed to: the others have to take in what one of them has let in."""
        certificate = fact.body["certificate"]
        if self._handed_in.pop(fact.node, "") != certificate:
            return
        self._checker.examined += 1
        kind, value = fact.body["scope"]
        for order, learned in self._unshown(fact.node, fact.body["tenant"], (kind, value), fact.body["covers"]):
            why = f"{fact.node} let certificate {certificate[:12]} in, whose approvers were not shown {order.severity} {order.order[:12]}"
            self._checker.blame(f"{why}, which it knew", learned.index, index)

    def _unshown(self, replica: str, tenant: str, scope: tuple[str, str], shown: Collection[str]) -> Iterator[tuple[Order, Learned]]:
        """What a replica knows, uncovered, within the scope of a resume, and that is not among what approvers are shown."""
        node = self._run.node(replica)
        for identity, learned in node.known.items():
            order = self._run.orders[identity]
            if identity not in shown and identity not in node.covered and order.within(tenant, scope):
                yield order, learned
