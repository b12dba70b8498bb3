"""S11: what was acknowledged survives. The durability that a node promised by speaking, as against what its disk happened to keep."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from harness.checkers.checker import InvariantChecker
from harness.checkers.refusals import Refusals
from harness.checkers.room import Room
from harness.checkers.run import Run
from harness.checkers.words import CLOSED, Token, gate_of, is_replica, token_of
from harness.shared.history import Fact

Body = Mapping[str, Any]


def _name(token: Token) -> str:
    return ".".join(map(str, token))


# kind of a durable record -> what may be vouched for once it is there
_RECORDS: dict[str, Callable[[Body], tuple[tuple[str, str], ...]]] = {
    "order-durable": lambda body: tuple((what, body["order"]) for what in ("copy", "wait", "accepted", "own order")),
    "certificate-durable": lambda body: (("certificate", body["certificate"]),),
    "rollout-durable": lambda body: (("rollout", body["record"]), ("request", f"{body['seq']}/{body['request'].partition('/')[2]}")),
    "evidence-durable": lambda body: (("proof", f"{body['order']} {body['stage']} {token_of(body['token'])[1]}"),),
    "effect-applied": lambda body: (("effect", body["key"]),),
    "fence-durable": lambda body: (("fence", f"{body['agent']} {_name(token_of(body['min_token']))}"),),
}


@dataclass(frozen=True, slots=True)
class _Told:
    """The operator was told of so many durable copies, which must be among ``learners``."""

    index: int
    copies: int
    learners: frozenset[str]


class AckDurable(InvariantChecker):
    """S11. A sidecar that sent evidence about an order holds the order after every later Boot. When the operator was told ACCEPTED or
    EFFECTIVE with so many copies, at most the others of those who knew the order then come back from a crash without it.

    And whoever cannot keep what it learns vouches for nothing: from the step that carries a failed sync until the next start, and from one that
    carries a full disk until there is room, a replica grants no lease and a sidecar has its gate closed and lets no effect out (protocol 3.6, 3.7).

    And where there is no room but a reserve, that is for prohibitions: nobody who has been told that its disk is full records a permission, nor
    takes a rollout on that he is asked for; what
    becomes durable meanwhile ends in a prohibition, or in what came of one; and no such record waits for another one that is written a second or
    more later, where no other fault is about the disk's own time.

    And no word leaves a node before what it rests on is durable there: a promise of a token, to whom it was made or to a peer that learns, and a
    lease under it, before the promise; what a replica says of copies and waits, and that it has accepted an order, before the order; news of a
    rollout, and the answer to who asked for it, before the rollout; the acceptance of a resume, and the resume itself, before the certificate; a
    sidecar's proof, or an order of its own, before its record; what a sink says of an effect or a fence before that, and that it refuses an effect
    before the fence above its token. What a crash can take back has
    told others a lie (S8 judges that promises are kept, S16 the like of cosignatures). A word that is said again is judged anew if it leaves sooner.

    A node whose disk lied, or lost what it held, is skipped (A2). An order that the recovered certificates cover may be gone. An instance is a Boot
    after an acknowledgement, a word that rests on something, a disk that failed or was full, or a record that a full disk took. Cannot see: which
    replicas a status counted; so it blames only when the count cannot be met any more.
    """

    invariant = "S11"
    title = "AckDurable: what was acknowledged is held again after every crash, and nobody vouches for what is not durable"
    kinds = frozenset({
        "evidence-sent", "order-status", "intent-recovered", "disk-failed", "disk-full", "lease-granted", "effect-admitted", "gate-changed",
        "node-crashed", "token-promised", "promise-sent", "vouched", "order-durable", "rollout-durable", "certificate-durable",
        "evidence-durable", "effect-applied", "effect-rejected", "fence-durable", "recorded-without-room", "reserve-used", "disk-freed", "fault-on",
    })  # fmt: skip

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._proven: dict[str, dict[str, int]] = {}
        self._told: dict[str, _Told] = {}
        self._lost: dict[str, dict[str, int]] = {}
        self._failed: dict[str, int] = {}
        self._promised: set[tuple[str, str, Token]] = set()
        self._kept: set[tuple[str, str, str]] = set()  # replica, what, about what: what words of it may rest on
        self._gates: dict[str, int] = {}
        self._ajar: dict[str, tuple[int, int]] = {}  # sidecar -> when its disk failed or was full with the gate open, until it shows the gate closed

        self._room = Room(self)
        self._refusals = Refusals()

    def see(self, index: int, fact: Fact) -> None:
        if fact.kind in Room.kinds:
            self._room.see(index, fact)
        if fact.kind in Refusals.kinds:
            self._refusals.see(fact)
        if fact.kind == "gate-changed":
            self._judge_gate(index, fact)
        elif fact.kind == "node-crashed":
            self._shut_in_time(fact.node, fact.at_ns)
            self._gates.pop(fact.node, None)
        elif fact.kind == "evidence-sent":
            self._proven.setdefault(fact.node, {}).setdefault(fact.body["order"], index)
        elif fact.kind == "order-status":
            self._tell(index, fact)
        elif fact.kind in ("disk-failed", "disk-full"):
            self.examined += 1
            self._failed[fact.node] = index
            if self._gates.get(fact.node, CLOSED) != CLOSED:
                self._ajar.setdefault(fact.node, (index, fact.at_ns))
        elif fact.kind == "token-promised":
            token = token_of(fact.body["token"])
            self._promised.add((fact.node, fact.body["agent"], token))
            self._kept.add((fact.node, "promise", f"{fact.body['agent']} {_name(token)}"))
        elif fact.kind == "promise-sent":
            self._judge_promise(index, fact)
        elif fact.kind == "vouched":
            self._judge_word(index, fact)
        elif fact.kind in _RECORDS:
            self._kept.update((fact.node, what, about) for what, about in _RECORDS[fact.kind](fact.body))
        elif fact.kind in ("lease-granted", "effect-admitted"):
            self._judge_vouching(index, fact)
        elif fact.kind == "intent-recovered":
            self._judge_recovery(index, fact)

    def settle(self) -> None:
        for node in list(self._ajar):
            self._shut_in_time(node, self.run.end_ns)

    def _judge_gate(self, index: int, fact: Fact) -> None:
        """The step that carries the failed sync closes the gate, whether or not anybody asks for anything."""
        gate = self._gates[fact.node] = gate_of(fact.body["gate"])
        self._shut_in_time(fact.node, fact.at_ns)
        if gate != CLOSED and (trouble := self._trouble(fact.node)):
            self.blame(f"{fact.node} opened its gate after its disk {trouble}", self._failed[fact.node], index)

    def _trouble(self, node: str) -> str:
        """What is the matter with the node's disk; empty if it keeps what it is given."""
        state = self.run.node(node)
        return "" if node not in self._failed else "had failed" if state.disk_failed else "was full" if state.disk_full else ""

    def _shut_in_time(self, node: str, at_ns: int) -> None:
        index, failed_ns = self._ajar.pop(node, (0, at_ns))
        if at_ns > failed_ns:
            self.blame(f"{node} left its gate open when its disk could keep nothing", index)

    def _tell(self, index: int, fact: Fact) -> None:
        order, stage = fact.body["order"], fact.body["stage"]
        if stage not in ("ACCEPTED", "EFFECTIVE"):
            return
        copies = max(int(fact.body["copies"]), self.run.kill_quorum if stage == "EFFECTIVE" else 1)
        if order not in self._told or self._told[order].copies < copies:
            learners = frozenset(replica for replica in self.run.replicas if order in self.run.node(replica).known)
            self._told[order] = _Told(index, copies, learners)
            self._lost.pop(order, None)

    def _judge_recovery(self, index: int, fact: Fact) -> None:
        held = set(fact.body["orders"]) | self.run.covered_by(fact.body["certificates"])
        proven = self._proven.get(fact.node, {})
        self.examined += bool(proven)
        for order, evidence_index in proven.items():
            if fact.node in self.run.custody:
                self.skipped += 1
            elif order not in held:
                self.blame(f"{fact.node} came back without order {order[:12]}, about which it had sent evidence", evidence_index, index)
        if is_replica(fact.node):
            self._judge_copies(index, fact.node, held)

    def _judge_promise(self, index: int, fact: Fact) -> None:
        self.examined += 1
        agent, token = fact.body["agent"], token_of(fact.body["token"])
        if (fact.node, agent, token) not in self._promised:
            self.blame(f"{fact.node} told {agent} that token {token} is promised before that was durable", index)

    def _judge_word(self, index: int, fact: Fact) -> None:
        self.examined += 1
        what, about = fact.body["what"], fact.body["about"]
        if what == "refusal" and fact.node in self.run.custody:
            self.skipped += 1
            return
        if not (self._refusals.are_durable(fact.node, about) if what == "refusal" else (fact.node, what, about) in self._kept):
            self.blame(f"{fact.node} gave its word ({what}: {about[:40]}) before what it rests on was durable there", index)

    def _judge_vouching(self, index: int, fact: Fact) -> None:
        if trouble := self._trouble(fact.node):
            did = "granted a lease" if fact.kind == "lease-granted" else "let an effect out"
            self.blame(f"{fact.node} {did} after its disk {trouble}", self._failed[fact.node], index)
        if fact.kind == "lease-granted":
            token = token_of(fact.body["token"])
            if (fact.node, fact.body["agent"], token) not in self._promised:
                self.blame(f"{fact.node} granted {fact.body['agent']} a lease under token {token}, which was not durably promised there", index)

    def _judge_copies(self, index: int, replica: str, held: set[str]) -> None:
        for order, told in self._told.items():
            if replica not in told.learners:
                continue
            if replica in self.run.custody:
                self.skipped += 1
                continue
            self.examined += 1
            if order in held:
                continue
            lost = self._lost.setdefault(order, {})
            lost.setdefault(replica, index)
            if len(told.learners) - len(lost) < told.copies:
                why = f"the operator was told of {told.copies} copies of order {order[:12]}, and {sorted(lost)} came back without it"
                self.blame(why, told.index, *lost.values())
