"""S15, as far as a history shows it: the log is the state, and what a node does and says has its record, once."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from harness.checkers.bounds import HOST_LAG_NS
from harness.checkers.checker import InvariantChecker
from harness.checkers.requests import Request, ruled_on
from harness.checkers.run import Run
from harness.checkers.well import Well
from harness.checkers.words import CLOSED, STOP, Token, gate_of, token_of
from harness.shared.history import Fact

PERMITS_A_RECORD = 64  # protocol 5: admissions share a record, but never more of them than this
NO_PERMITS = bytes(32)
TAKEN_IN = {"order-learned": "order", "certificate-learned": "certificate", "keyset-installed": "version", "fork-proven": "origin"}
STOPS = {"process-termed": "TERM", "process-killed": "KILL", "process-reaped": "REAPED"}
Proven = tuple[str, str, Token]
Ruled = tuple[Request, bool, int, str, str]  # whether several people ask, and under what: rollout, policy, canary


@dataclass(slots=True)
class _Book:
    """What one start of a node has shown, and what of it is on record.

    ``shown``, ``logged``: the gate, by its changes and by their records. ``unrecorded``, ``surplus``: changes without a record, and the
    reverse, by gate. ``stops``: stops without their record: (index, when); ``owed``: proofs without one, by order and token: likewise.
    """

    shown: int = CLOSED
    logged: int = CLOSED
    unrecorded: dict[int, list[int]] = field(default_factory=dict)
    surplus: dict[int, int] = field(default_factory=dict)
    proofs: dict[Proven, int] = field(default_factory=dict)
    recorded: dict[tuple[str, Token], int] = field(default_factory=dict)
    stops: dict[tuple[str, Token], tuple[int, int]] = field(default_factory=dict)
    owed: dict[tuple[str, Token], tuple[int, int]] = field(default_factory=dict)
    rulings: dict[Ruled, int] = field(default_factory=dict)
    in_full: dict[Request, int] = field(default_factory=dict)  # the ruling that allowed all that is asked for
    taken: dict[tuple[str, object], int] = field(default_factory=dict)
    lease: tuple[int, int] | None = None  # the end of the lease that it holds, by its own clock, and the fact
    leased: tuple[Token, int] | None = None  # the token under which a lease is on record as opened, and not as lost, and the fact
    over: dict[str, tuple[int, int]] = field(default_factory=dict)  # order -> when an attempt to read it ended in nothing, and the fact
    permits: int = 0
    root: bytes = NO_PERMITS
    started_ns: int = -1


class AuditComplete(InvariantChecker):
    """S15 (D8). Folding a node's durable records gives its durable state, and the hash chain verifies. By the end of the run every change of a gate
    has its record; every stop of a process (TERM, KILL, reaped) has one in the step that makes it, and a start has a durable one before; every proof
    that leaves, and every ruling that an operator is told of, has one; of none of these are there two in one start of a node. A start that comes to
    nothing because its token is opened under an order to stop has a record of a proof under that token, for each such order, in the step that opens
    it: else a replica that had promised it would wait for how it ends. A lease is on record as opened, once, before anything goes by it: the first
    one under its token, and any that comes after one that was lost. One that ran out is on record as lost, a second later at the most, by a
    sidecar that nothing but faults of links befell. What a node takes in (an order, a certificate, a change of the keyset, a proof that somebody
    keeps two logs) it puts on record once in one start, however often it comes; and of an attempt to read an order no step records two ends: that
    the order was taken in, and that it was not. Admissions share records: each counts exactly those since the one
    before, by number and by the hash over their keys, and never more than 64 go without. An instance is a fold, a change of a gate, a start, a stop,
    a proof, given or due, a ruling told, a lease, what is taken in, or a record of admissions.

    A crash may take the record of the very last change of a gate with it, for a stop is acted on before it is recorded (D5), that of a stop in the
    midst of whose step it comes, and that of the admissions since the last. Nodes whose disk failed are held to the fold only. Orphans that a
    boot ends are recorded as reaped alone.
    """

    invariant = "S15"
    title = "AuditComplete: the log folds to the state, its chain verifies, and whatever is done or said has its record, once"
    kinds = frozenset({
        "log-folded", "gate-changed", "gate-recorded", "node-crashed", "node-started", "evidence-sent", "evidence-recorded", "process-started",
        "process-termed", "process-killed", "process-reaped", "process-recorded", "effect-admitted", "permits-recorded", "decision",
        "order-status", "token-opened", "lease-opened", "lease-recorded", "attempt-over", *TAKEN_IN,
        *Well.KINDS,
    })  # fmt: skip

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._books: dict[str, _Book] = {}
        self._ruled: set[str] = set()
        self._well = Well(run)
        self._by_kind = {
            "log-folded": self._judge_fold,
            "gate-changed": self._changed,
            "gate-recorded": self._recorded,
            "node-crashed": self._crashed,
            "node-started": self._began,
            "evidence-sent": self._proof_sent,
            "evidence-recorded": self._proof_recorded,
            "process-started": self._started,
            "process-termed": self._stopped,
            "process-killed": self._stopped,
            "process-reaped": self._stopped,
            "process-recorded": self._process_recorded,
            "effect-admitted": self._admitted,
            "permits-recorded": self._permits_recorded,
            "decision": self._ruling,
            "order-status": self._told,
            "token-opened": self._opened,
            "lease-opened": self._leased,
            "lease-recorded": self._lease_recorded,
            "attempt-over": self._attempt_over,
            **dict.fromkeys(TAKEN_IN, self._took_in),
        }

    def see(self, index: int, fact: Fact) -> None:
        if fact.kind in Well.KINDS:
            self._well.see(fact)
        if fact.kind in self._by_kind:
            self._by_kind[fact.kind](index, fact)

    def settle(self) -> None:
        for node, book in self._books.items():
            self._close(node, book, forgiven=0)

    def _book(self, node: str) -> _Book:
        book = self._books.get(node)
        if book is None:
            book = self._books[node] = _Book()
        return book

    def _began(self, _index: int, fact: Fact) -> None:
        self._book(fact.node).started_ns = fact.at_ns

    def _crashed(self, _index: int, fact: Fact) -> None:
        """What it was doing at that very instant was cut off before the record, which comes last in a step (D5)."""
        book = self._books.pop(fact.node, None)
        if book is not None:
            book.stops = {stop: (index, at_ns) for stop, (index, at_ns) in book.stops.items() if at_ns < fact.at_ns}
            book.owed = {proof: (index, at_ns) for proof, (index, at_ns) in book.owed.items() if at_ns < fact.at_ns}
            self._close(fact.node, book, forgiven=1)

    def _close(self, node: str, book: _Book, forgiven: int) -> None:
        """A start of a node is over: was anything left without its record?"""
        if self.run.node(node).disk_failed or node in self.run.custody:
            return
        missing = sorted(index for waiting in book.unrecorded.values() for index in waiting)
        if len(missing) > forgiven:
            self.blame(f"{node} changed its gate and never recorded it", missing[0])
        for (what, _), (index, _) in book.stops.items():
            self.blame(f"{node} never recorded {what} of its agent's process", index)
        for (order, token), (index, _) in book.owed.items():
            self.blame(f"{node} opened token {token} under order {order[:12]}, and never proved that nothing runs under it", index)

    def _judge_fold(self, index: int, fact: Fact) -> None:
        self.examined += 1
        self._judge_lease(fact)
        if not fact.body["chain_ok"]:
            self.blame(f"the hash chain of {fact.node} does not verify", index)
        elif fact.body["live"] != fact.body["folded"]:
            self.blame(f"the durable records of {fact.node} fold to another state than it had", index)

    # -- gates: a permission may be recorded and then be overtaken by a stop before it opens anything, so that records may outnumber changes

    def _changed(self, index: int, fact: Fact) -> None:
        book, gate = self._book(fact.node), gate_of(fact.body["gate"])
        if gate == book.shown:
            return
        book.shown = gate
        self.examined += 1
        if book.surplus.get(gate, 0):
            book.surplus[gate] -= 1
        else:
            book.unrecorded.setdefault(gate, []).append(index)

    def _recorded(self, _index: int, fact: Fact) -> None:
        book, gate = self._book(fact.node), gate_of(fact.body["gate"])
        if gate == book.logged:
            return
        book.logged = gate
        waiting = book.unrecorded.get(gate)
        if waiting:
            waiting.pop(0)
        else:
            book.surplus[gate] = book.surplus.get(gate, 0) + 1

    # -- proofs

    def _proof_recorded(self, index: int, fact: Fact) -> None:
        book, proof = self._book(fact.node), _proof(fact)
        if proof in book.proofs:
            self.blame(f"{fact.node} recorded its proof of {proof[1]} twice", book.proofs[proof], index)
        book.proofs[proof] = index
        book.owed.pop((proof[0], proof[2]), None)

    def _opened(self, index: int, fact: Fact) -> None:
        book, token = self._book(fact.node), token_of(fact.body["token"])
        for order, _ in self.run.in_force(self.run.node(fact.node), fact.body["agent"]):
            if order.life >= STOP:
                self.examined += 1
                book.owed[order.order, token] = (index, fact.at_ns)

    def _proof_sent(self, index: int, fact: Fact) -> None:
        self.examined += 1
        if _proof(fact) not in self._book(fact.node).proofs:
            self.blame(f"{fact.node} sent a proof of {fact.body['stage']} that is not on record", index)

    # -- the process

    def _process_recorded(self, index: int, fact: Fact) -> None:
        book, key = self._book(fact.node), (fact.body["what"], token_of(fact.body["token"]))
        if key in book.recorded:
            self.blame(f"{fact.node} recorded {key[0]} of one process twice", book.recorded[key], index)
        book.recorded[key] = index
        book.stops.pop(key, None)

    def _started(self, index: int, fact: Fact) -> None:
        self.examined += 1
        if ("START", token_of(fact.body["token"])) not in self._book(fact.node).recorded:
            self.blame(f"{fact.node} started a process before its start was on record", index)

    def _stopped(self, index: int, fact: Fact) -> None:
        book, key = self._book(fact.node), (STOPS[fact.kind], token_of(fact.body["token"]))
        if fact.kind == "process-killed" and fact.at_ns == book.started_ns:
            return  # what an earlier sidecar left
        self.examined += 1
        if key not in book.recorded:
            book.stops.setdefault(key, (index, fact.at_ns))

    # -- leases, and what is taken in

    def _leased(self, index: int, fact: Fact) -> None:
        self._judge_lease(fact)
        book, until_ns = self._book(fact.node), max(int(fact.body["until_ns"]), fact.clock_ns)  # what came late may be over as it opens
        if book.lease is None:
            self.examined += 1
        if book.leased is None or book.leased[0] != token_of(fact.body["token"]):
            self.blame(f"{fact.node} goes by a lease under token {token_of(fact.body['token'])}, and never put on record that it opened", index)
        book.lease = (until_ns, index)

    def _lease_recorded(self, index: int, fact: Fact) -> None:
        """One that ran out unnoticed may open again under the same token."""
        book, token = self._book(fact.node), token_of(fact.body["token"])
        if fact.body["what"] == "LOST":
            self._judge_lease(fact)
            book.lease = book.leased = None
            return
        if book.leased is not None and book.leased[0] == token and book.lease is not None and fact.clock_ns < book.lease[0]:
            self.blame(f"{fact.node} put on record twice that a lease opened, which it held all the time", book.leased[1], index)
        book.leased = (token, index)

    def _judge_lease(self, fact: Fact) -> None:
        """By its own clock, which no fault touched. A grant that comes as the lease ends may go on with it."""
        lease = self._book(fact.node).lease
        if lease is None or fact.clock_ns <= lease[0] + HOST_LAG_NS:
            return
        if self._well.since_ns(fact.node) == 0:
            self.blame(f"{fact.node} lost its lease {fact.clock_ns - lease[0]} ns ago by its clock, and had not put that on record", lease[1])

    def _took_in(self, index: int, fact: Fact) -> None:
        book, taken = self._book(fact.node), (fact.kind, fact.body[TAKEN_IN[fact.kind]])
        self.examined += 1
        if taken in book.taken:
            self.blame(f"{fact.node} put on record twice that it took in {TAKEN_IN[fact.kind]} {str(taken[1])[:12]}", book.taken[taken], index)
        book.taken[taken] = index
        over_ns, over = book.over.get(fact.body.get("order", ""), (-1, index))
        if over_ns == fact.at_ns:
            self.blame(f"{fact.node} put on record that an attempt to read an order is over, and in the same step the order itself", over, index)

    def _attempt_over(self, index: int, fact: Fact) -> None:
        self.examined += 1
        self._book(fact.node).over[fact.body["order"]] = (fact.at_ns, index)

    # -- admissions

    def _admitted(self, index: int, fact: Fact) -> None:
        book = self._book(fact.node)
        book.permits += 1
        book.root = hashlib.sha256(book.root + fact.body["key"].encode()).digest()
        if book.permits > PERMITS_A_RECORD:
            self.blame(f"{fact.node} let {book.permits} effects out without a record of them", index)

    def _permits_recorded(self, index: int, fact: Fact) -> None:
        self.examined += 1
        book = self._book(fact.node)
        if fact.body["count"] != book.permits or fact.body["root"] != book.root.hex():
            self.blame(f"{fact.node} recorded {fact.body['count']} effects, and {book.permits} had left it since its last record, or others", index)
        book.permits, book.root = 0, NO_PERMITS

    # -- rulings

    def _ruling(self, index: int, fact: Fact) -> None:
        """Of orders, which are made once, and once more when further people ask for them, or under another policy while less was ordered than
        is asked for; a resume is decided anew with each draft."""
        body = fact.body
        if body["action"] != "order":
            return
        book, request, (allowed, gate, life, *_) = self._book(fact.node), body["request"], body["ruling"]
        asked = ruled_on(fact, self.run.orders.get(body["order"]))
        ruling = (asked, body["asking"] > 1, body["seq"], body["policy"], body["canary"])
        if allowed:
            earlier = book.rulings.get(ruling, book.in_full.get(asked))
            if earlier is not None:
                self.blame(f"{fact.node} recorded twice that it allows request {request}", earlier, index)
            book.rulings[ruling] = index
            if gate >= body["requested"][0] and life >= body["requested"][1]:
                book.in_full[asked] = index
        self._ruled.add(request)

    def _told(self, index: int, fact: Fact) -> None:
        if fact.body["stage"] in ("REFUSED", "ACCEPTED", "EFFECTIVE"):
            self.examined += 1
            if fact.body["request"] not in self._ruled:
                self.blame(f"the operator was told {fact.body['stage']} of request {fact.body['request']}, on which no ruling is on record", index)


def _proof(fact: Fact) -> Proven:
    return (fact.body["order"], fact.body["stage"], token_of(fact.body["token"]))
