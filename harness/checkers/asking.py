"""What people ask for (L1): a client goes on asking until it is told the end of it, and an answer that is no end is followed by the next question.

Owns which answers are ends, and by when one is due. Must not know what becomes of orders on their way to sidecars (``delivery``).
"""

from __future__ import annotations

from harness.checkers.bounds import ASK_AGAIN_NS, HOST_LAG_NS, stretch
from harness.checkers.checker import InvariantChecker
from harness.checkers.subjects import Cell
from harness.checkers.words import CLIENT
from harness.shared.history import Fact

# What people ask for, and the answers after which nobody asks for it again.
ENDS = {
    "order-requested": ("EFFECTIVE", "ALREADY_COVERED", "NEEDS_KEYS", "REFUSED"),
    "resume-requested": ("DRAFTED", "ACCEPTED", "NOTHING_TO_COVER", "REFUSED"),  # those who approve a draft may take their time
    "resume-submitted": ("ACCEPTED", "NOTHING_TO_COVER", "REFUSED"),
    "rollout-requested": ("ACCEPTED", "EFFECTIVE", "SUPERSEDED", "REFUSED"),  # what became of it, its replica alone is asked (S21)
}
# What is no end: {the fact that tells of it: ({stage: what is to be asked next, or nothing}, within how long on the client's clock)}.
GOES_ON = {
    "resume-status": ({"EXPIRED": "for another draft", "NEEDS_CONTEXT": "for another draft", "ASK_ANOTHER": "", "DRAFTED": ""}, 0),
    "rollout-status": ({"ACCEPTED": "what became of it"}, ASK_AGAIN_NS),
}
ANSWERS = ("order-status", "draft-shown", "resume-status", "rollout-status")


class Asking:
    """Shown every fact of ``KINDS`` by the checker that it blames through."""

    KINDS = frozenset({"node-started", "clock-trusted", "draft-asked", "rollout-asked-after", *ENDS, *ANSWERS})

    def __init__(self, checker: InvariantChecker) -> None:
        self._checker = checker
        self._run = checker.run
        self._asked: dict[str, tuple[str, int, int]] = {}  # request without a final answer -> the asking, when, and the fact
        self._believed_ns = 0  # since when no replica doubts its clock any more that did
        self._open: set[str] = set()  # requests for a resume or a rollout of which this start of the client has not heard the end
        self._sent_on: set[str] = set()  # of what was approved, what some replica said that another is to let in
        self._next: dict[str, tuple[str, int, int]] = {}  # of these, what was answered that calls for another question; by when, and the fact

    def see(self, index: int, fact: Fact) -> None:
        if fact.kind in ENDS:
            asked = self._asked.setdefault(fact.body["request"], (fact.kind, fact.at_ns, index))
            if fact.kind == "resume-submitted" != asked[0]:
                self._asked[fact.body["request"]] = (fact.kind, fact.at_ns, index)
            self._open.add(fact.body["request"])
        elif fact.kind == "clock-trusted":
            self._believed_ns = fact.at_ns
        elif fact.kind in ("draft-asked", "rollout-asked-after"):
            self._close(fact.body["request"], fact.at_ns)
            if fact.body["request"] in self._sent_on:
                self._sent_on.discard(fact.body["request"])
                self._asked[fact.body["request"]] = ("resume-requested", fact.at_ns, index)
        elif fact.kind in ANSWERS:
            if fact.kind in GOES_ON:
                self._goes_on(index, fact, fact.body["request"], fact.body["stage"])
            self._answered(index, fact, fact.body["request"], fact.body.get("stage", "DRAFTED"))
        elif fact.node == CLIENT:  # it started
            self._asked.clear()
            self._open.clear()
            self._next.clear()
            self._sent_on.clear()

    def _answered(self, index: int, fact: Fact, request: str, stage: str) -> None:
        asked = self._asked.get(request)
        if asked is not None and stage in ENDS[asked[0]]:
            del self._asked[request]
        elif asked is not None and asked[0] == "resume-submitted" and GOES_ON["resume-status"][0].get(stage):
            self._asked[request] = ("resume-requested", fact.at_ns, index)
        elif asked is not None and (asked[0], stage) == ("resume-submitted", "ASK_ANOTHER"):
            self._sent_on.add(request)
        if request not in self._asked or self._asked[request][0] != "resume-submitted":
            self._sent_on.discard(request)

    def _goes_on(self, index: int, fact: Fact, request: str, stage: str) -> None:
        """An answer that calls for the next question, or for none any more."""
        stages, within_ns = GOES_ON[fact.kind]
        if stage not in stages:
            self._open.discard(request)
            self._close(request, fact.at_ns)
        elif stages[stage] and request in self._open:
            due_ns = fact.at_ns + stretch(within_ns, self._run.bounds.drift_ppm) + HOST_LAG_NS
            self._next.setdefault(request, (stages[stage], due_ns, index))

    def _close(self, request: str, at_ns: int) -> None:
        """The next question is asked, or not any more: was that in time?"""
        question, due_ns, index = self._next.pop(request, ("", at_ns, 0))
        if at_ns > due_ns and self._run.touched.get(CLIENT, -1) < index:
            self._checker.blame(
                f"who asked for {request} was told of it, and did not ask {question} within {at_ns - due_ns} ns of when that was due", index
            )

    def settle(self) -> None:
        for request in list(self._next):
            self._close(request, self._run.end_ns)
        for request, (kind, at_ns, index) in self._asked.items():
            self._judge_asked(request, kind, at_ns, index)

    def _judge_asked(self, request: str, kind: str, at_ns: int, index: int) -> None:
        run, client = self._run, self._run.node(CLIENT)
        if not client.up or client.paused or run.quorums_forget:
            return
        resumes = kind.startswith("resume")
        answering = {replica for replica in run.replicas if run.node(replica).works and not (resumes and run.node(replica).doubts)}
        drafts = kind == "resume-requested" or request in self._sent_on
        if any(len(answering.intersection(cell.replicas)) < _least(cell, drafts=drafts) for cell in run.cells):
            return
        since_ns = max(at_ns, client.since_ns, self._believed_ns if resumes else 0, *(run.node(replica).since_ns for replica in run.replicas))
        allowed_ns = run.bounds.asking_ns(len(run.replicas), len(answering), run.in_all, sent_on=request in self._sent_on)
        asked = f"handed in what was approved for {request}" if kind == "resume-submitted" else f"asked for {request}"
        why = f"who {asked} was never told the end of it"
        due = run.calm_ns is not None and run.end_ns >= max(run.calm_ns, since_ns) + allowed_ns
        if not due and run.goes_on:
            return
        self._checker.examined += 1
        if not due:
            self._checker.leave_undecided(f"{why}, but the run ended before that was due")
        else:
            self._checker.blame(why, index)


def _least(cell: Cell, *, drafts: bool) -> int:
    """How many replicas of a cell it takes to answer: as many as make an order effective; and for a draft so many that they meet every such k."""
    return max(cell.kill_quorum, len(cell.replicas) - cell.kill_quorum + 1) if drafts else cell.kill_quorum
