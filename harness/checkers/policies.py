"""S21: decisions are those of the policy that is in force, and policies go on and back by steps forward."""

from __future__ import annotations

from dataclasses import dataclass

from harness.checkers.checker import InvariantChecker
from harness.checkers.handed import Handed
from harness.checkers.requests import Request, ruled_on
from harness.checkers.run import Run
from harness.checkers.words import is_replica
from harness.shared.history import Fact

FIRST_SEQ = 1  # the policy of the deployment, which no rollout brought
KEPT_MAX = 16  # rollouts that a replica remembers, and whom it owes a word about them
ROLLED_BACK = "ROLLED_BACK"
GUARD = "guard"  # who asked, when nobody did


@dataclass(frozen=True, slots=True)
class _Rollout:
    """What a rollout says. ``request``: as who asked for it calls it."""

    seq: int = FIRST_SEQ
    stage: str = ""
    guard: int = 0
    stable: str = ""
    canary: str = ""
    former: str = ""
    parent: str = ""
    request: str = ""

    def leads_to(self, stage: str, stable: str) -> tuple[str, str]:
        """What is stable after a step to ``stage`` from here, and what was before the last promotion: a step back ends a trial or undoes that."""
        if stage == "STABLE":
            return (stable, self.stable)
        return (self.former, "") if stage == ROLLED_BACK and not self.canary else (self.stable, self.former)


NO_ROLLOUT = _Rollout()


class Policy(InvariantChecker):
    """S21. An instance is a decision on record, a rollout that became durable or came into force at a replica, or what was told of one.

    - A decision replays: an independent reading of the same policies and input gives the same answer (`harness.shared.rulings`, named by its fact).
    - It is under one rollout: the one in force at that replica, no earlier than any that is durable there, with that rollout's policies.
    - A kill is never less than the stable policy says: allowed if that allows it, and at least as severe.
    - Numbers never fall: not what is in force at a replica, its restarts included, and not from a rollout to the one that follows it.
    - A resume is decided under what k replicas held durably when it was asked for, or under a later rollout.
    - The replica that takes a certificate in before all other replicas has decided on it anew: allowed, with as many approvers as it takes by the
      policy in force there, and no more than one rollout after that of its draft.
    - Once a canary has by itself made more stops than its guard, known at a replica, that replica has rolled it back when liveness is due; and no
      guard rolls back what has not.
    - A request is over once an order that was made of it is lifted at a replica: that replica makes no other order of it.
    - Whoever asked for a rollout is told that it is effective once k replicas hold it durably, and that it was superseded if another was.
      A replica tells him the former only of what is in force there, and the latter also after that, where what is in force there at the end does not
      lead back to it. One of the two it has told when liveness is due, unless it started again since, or has heard of so many rollouts since that it
      need not remember.
    - Who asks after a rollout that one replica has accepted asks that one first: another might not have heard of it, and make a second one.
    - A replica that may have forgotten, and vouches again, decides by no earlier rollout than those that taught it held durably before it asked.
    - What comes into force at a replica is durable there, and in the end nothing newer is; of two rollouts of one number, made apart, it is the one
      that goes back.
    - A rollout takes over from the one that it follows what is stable, and what was before the last promotion; a step back ends a trial, and where
      there is none brings that back.

    A replica whose disk lied, or lost what it held, begins anew with its next start (A2), and what was durable there may be there still; and where
    quorums may have forgotten nothing counts as committed. Does not see decisions that never came on record (S15).
    """

    invariant = "S21"
    title = "Policy: decisions replay under the policy in force, a canary only raises, and numbers never fall"
    kinds = frozenset({"decision", "rollout-durable", "rollout-changed", "rollout-status", "rollout-told", "resume-requested", "order-learned",
                       "node-started", "certificate-learned", "rollout-asked-after", "replica-joined", *Handed.KINDS})  # fmt: skip

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._in_force: dict[str, tuple[int, str, str, str]] = {}  # replica -> seq, policy, canary, rollout
        self._changed: dict[str, int] = {}  # replica -> index of that fact
        self._durable: dict[str, tuple[int, int]] = {}  # replica -> greatest durable seq, its index
        self._held: dict[str, set[str]] = {}  # replica -> rollouts that are durable there
        self._left: dict[str, set[str]] = {}  # replica -> rollouts that its disk may have left it, though a fault may have taken them
        self._holders: dict[int, set[str]] = {}  # seq -> replicas that hold it or a later one durably
        self._committed = (FIRST_SEQ, 0)
        self._ever_held: dict[tuple[int, str], set[str]] = {}  # seq, request -> replicas at which that rollout was ever durable
        self._rollouts: dict[str, _Rollout] = {}
        self._rolled_ns = 0  # when a rollout was last news to a disk
        self._told: dict[str, dict[tuple[int, str], tuple[str, int]]] = {}  # replica -> seq, request -> the last word of that, and its fact
        self._asked: dict[str, tuple[int, int]] = {}  # request of a resume -> what was committed then, and since which fact
        self._raised: dict[str, tuple[tuple[int, str], int]] = {}  # order -> seq and canary that raised it, index of the decision
        self._made: dict[Request, dict[str, int]] = {}  # orders that decisions on it made, with the index of the first decision
        self._known: dict[str, set[str]] = {}  # replica -> raised orders that it knows
        self._accepted: dict[tuple[str, str], tuple[int, Fact]] = {}  # replica, certificate -> its decision to take it in
        self._learned: set[str] = set()  # certificates that any replica took in
        self._then: dict[str, dict[str, tuple[int, int]]] = {}  # replica -> what was durable at each when it started
        self._handed = Handed()

    def see(self, index: int, fact: Fact) -> None:
        if fact.kind == "order-learned":
            if self._raised and fact.body["order"] in self._raised and is_replica(fact.node):
                self._known.setdefault(fact.node, set()).add(fact.body["order"])
        elif fact.kind == "resume-requested":
            self._asked.setdefault(fact.body["request"], self._committed)
        elif fact.kind == "node-started":
            self._told.pop(fact.node, None)  # who asked it, it has forgotten
            if fact.node in self.run.custody:
                self._in_force.pop(fact.node, None)
                self._durable.pop(fact.node, None)
                self._left.setdefault(fact.node, set()).update(self._held.pop(fact.node, ()))
            if is_replica(fact.node):
                self._then[fact.node] = dict(self._durable)
        elif fact.kind == "certificate-learned":
            self._certificate(index, fact)
        elif fact.kind in Handed.KINDS:
            self._handed.see(fact)
        else:
            self.examined += 1
            {"decision": self._decision, "rollout-durable": self._rollout_durable, "rollout-changed": self._rollout_changed,
             "rollout-status": self._rollout_status, "rollout-told": self._rollout_told, "rollout-asked-after": self._asked_after,
             "replica-joined": self._joined}[fact.kind](index, fact)  # fmt: skip

    # -- decisions

    def _decision(self, index: int, fact: Fact) -> None:
        body = fact.body
        what = f"{fact.node} decided on {body['action']} {body['request']}"
        if not body["replayed"]:
            self.blame(f"{what}, and a replay disagrees: {body['why']}", index)
        self._under_one_rollout(what, index, fact)
        allowed, gate, life, *_ = body["ruling"]
        stable_allowed, stable_gate, stable_life, *_ = body["stable"]
        if body["action"] == "resume":
            if body["order"]:
                self._accepted[fact.node, body["order"]] = (index, fact)
            else:
                self._resume(what, index, fact)
            if allowed and not stable_allowed:
                self.blame(f"{what} and allowed what the stable policy does not", index)
        elif stable_allowed and (not allowed or gate < stable_gate or life < stable_life):
            self.blame(f"{what}, less severely than the stable policy does", index)
        if body["action"] == "order" and body["order"]:
            self._made_of(what, index, fact)
        if body["action"] == "order":
            self._raises(what, index, fact)
        if body["raised"] and body["order"]:
            self._raised[body["order"]] = ((body["seq"], body["canary"]), index)
            self._known.setdefault(fact.node, set()).add(body["order"])

    def _raises(self, what: str, index: int, fact: Fact) -> None:
        """What a guard counts: that more is ordered than the stable policy would have, be it that this would have ordered nothing."""
        allowed, gate, life, *_ = fact.body["ruling"]
        stable_allowed, stable_gate, stable_life, *_ = fact.body["stable"]
        harder = bool(allowed and (not stable_allowed or gate > stable_gate or life > stable_life))
        if harder is not fact.body["raised"]:
            self.blame(f"{what}, {'more' if harder else 'no more'} severely than the stable policy does, and says that it is not so", index)

    def _made_of(self, what: str, index: int, fact: Fact) -> None:
        """What was lifted is asked for anew, not completed or decided again. Another request under the same name is no part of it."""
        order = self.run.orders.get(fact.body["order"])
        if order is None:
            return
        made, covered = self._made.setdefault(ruled_on(fact, order), {}), self.run.node(fact.node).covered
        for earlier, decided in made.items():
            if earlier != fact.body["order"] and earlier in covered:
                self.blame(f"{what} anew, though order {earlier[:12]} of that request had been lifted there", decided, covered[earlier], index)
        made.setdefault(fact.body["order"], index)

    def _under_one_rollout(self, what: str, index: int, fact: Fact) -> None:
        seq, policy, canary = fact.body["seq"], fact.body["policy"], fact.body["canary"]
        in_force = self._in_force.get(fact.node)
        witness = (self._changed[fact.node], index) if in_force else (index,)
        if in_force is None:
            if seq != FIRST_SEQ or canary:
                self.blame(f"{what} under rollout {seq}, where none had come into force", *witness)
        elif (seq, policy) != in_force[:2] or canary not in ("", in_force[2]):
            self.blame(f"{what} under rollout {seq}, while {in_force[0]} was in force there, or under another policy than its", *witness)
        durable = self._durable.get(fact.node)
        self._goes_on(fact.node, index)
        if durable is not None and seq < durable[0]:
            self.blame(f"{what} under rollout {seq}, though it held {durable[0]} durably", durable[1], index)

    def _resume(self, what: str, index: int, fact: Fact) -> None:
        committed, since = self._asked.get(fact.body["request"], (FIRST_SEQ, 0))
        if fact.body["ruling"][0] and fact.body["seq"] < committed and not self.run.quorums_forget:
            self.blame(f"{what} under rollout {fact.body['seq']}, though {committed} was committed when it was asked for", since, index)

    def _certificate(self, index: int, fact: Fact) -> None:
        """The first replica had it from an operator, and decides on it; all others trust its approvals. One that is not authentic is S13's; one that
        came in a peer's name, though signed by approvers, decides nothing beyond its scope (S7)."""
        certificate = fact.body["certificate"]
        if certificate in self._learned or not is_replica(fact.node) or not fact.body["authentic"]:
            return
        self._learned.add(certificate)
        if self._handed.may_have_brought(fact):
            self.skipped += 1
            return
        self.examined += 1
        what = f"{fact.node} took in certificate {certificate[:12]}"
        decided, decision = self._accepted.get((fact.node, certificate), (index, None))
        if decision is None:
            self.blame(f"{what} from outside, and put no decision on that on record", index)
            return
        (allowed, *_, approvals), seq, drafted = decision.body["ruling"], decision.body["seq"], fact.body["policy_seq"]
        if not allowed or len(fact.body["approvers"]) < approvals:
            need = f"asks for {approvals} approvers" if allowed else "forbids it"
            self.blame(f"{what} of {len(fact.body['approvers'])} approvers, though its policy {need}", decided, index)
        if seq - drafted > 1:
            self.blame(f"{what}, drafted under rollout {drafted}, though {seq} was in force there", decided, index)

    # -- rollouts

    def _rollout_durable(self, index: int, fact: Fact) -> None:
        body, node = fact.body, fact.node
        seq = body["seq"]
        before = self._rollouts.get(body["parent"], NO_ROLLOUT)
        if seq <= before.seq:
            self.blame(f"rollout {seq} to {body['stage']} follows number {before.seq}, and is not above it", index)
        if body["record"] not in self._rollouts:
            self._new_rollout(index, fact, before)
        self._held.setdefault(node, set()).add(body["record"])
        self._ever_held.setdefault((seq, body["request"].partition("/")[2]), set()).add(node)
        self._durable[node] = max(self._durable.get(node, (FIRST_SEQ, 0)), (seq, index))
        holders = self._holders.setdefault(seq, set())
        holders.add(node)
        if len(holders) >= self.run.kill_quorum and seq > self._committed[0]:
            self._committed = (seq, index)

    def _new_rollout(self, index: int, fact: Fact, before: _Rollout) -> None:
        """Durable for the first time: where somebody asked for it, or at the replica whose guard it was. What is not authentic is S13's."""
        body, request = fact.body, fact.body["request"]
        former = body.get("former", "")  # histories of earlier versions do not tell
        new = _Rollout(body["seq"], body["stage"], body["guard"], body["stable"], body["canary"], former, body["parent"], request.partition("/")[2])
        if request == GUARD:
            stops = self._stops(fact.node, before.seq, before.canary)
            if len(stops) <= before.guard:
                why = f"{fact.node} rolled canary {before.seq} back, which by itself had made {len(stops)} stops of {before.guard} that it may"
                self.blame(why, *stops, index)
        if before is not NO_ROLLOUT and body["authentic"] and "former" in body:
            due = before.leads_to(new.stage, new.stable)
            if (new.stable, new.former) != due:
                what = f"rollout {new.seq} to {new.stage} has {new.stable[:12]} stable and {new.former[:12] or 'nothing'} before that"
                self.blame(f"{what}; number {before.seq} leads to {due[0][:12]} and {due[1][:12] or 'nothing'}", index)
        self._rollouts[body["record"]] = new
        self._rolled_ns = fact.at_ns

    def _rollout_told(self, index: int, fact: Fact) -> None:
        """The word as it leaves the replica. ACCEPTED waits for the disk, and may be overtaken by what does not."""
        node, about, stage = fact.node, (fact.body["seq"], fact.body["request"]), fact.body["stage"]
        told = self._told.setdefault(node, {})
        if stage == "ACCEPTED":
            told.setdefault(about, (stage, index))
            return
        told[about] = (stage, index)
        seq, _, _, record = self._in_force.get(node, (FIRST_SEQ, "", "", ""))
        now = self._rollouts.get(record, NO_ROLLOUT)
        if stage == "EFFECTIVE" and (now.seq, now.request) != about:
            self.blame(f"{node} called rollout {about[0]} effective, while {seq} was in force there", *self._latest(node), index)

    def _rollout_status(self, index: int, fact: Fact) -> None:
        seq, request, stage = fact.body["seq"], fact.body["request"], fact.body["stage"]
        holders, wanted = self._ever_held.get((seq, request), set()), min(cell.kill_quorum for cell in self.run.cells)
        if stage == "EFFECTIVE" and len(holders) < wanted:
            self.blame(f"told that rollout {seq} is effective, which {len(holders)} held durably, and it takes {wanted}", index)
        elif stage == "SUPERSEDED" and not any(other[0] >= seq and other != (seq, request) for other in self._ever_held):
            self.blame(f"told that another took the place of rollout {seq}, and there was none", index)

    def _asked_after(self, index: int, fact: Fact) -> None:
        asked, accepted = fact.body["replica"], fact.body["accepted"]
        if asked != accepted:
            self.blame(f"{asked} was asked after rollout request {fact.body['request']}, which {accepted} had accepted", index)

    def _joined(self, index: int, fact: Fact) -> None:
        """What a teacher lost itself it could not tell."""
        own = self._durable.get(fact.node, (FIRST_SEQ, 0))[0]
        for teacher in fact.body["teachers"]:
            seq, durable_index = self._then.get(fact.node, {}).get(teacher, (FIRST_SEQ, 0))
            if teacher not in self.run.custody and own < seq:
                self.blame(f"{fact.node} vouches again under rollout {own}, and {teacher}, which taught it, held {seq}", durable_index, index)

    def _rollout_changed(self, index: int, fact: Fact) -> None:
        body, node = fact.body, fact.node
        before = self._in_force.get(node)
        if body["seq"] < (before[0] if before else FIRST_SEQ):
            self.blame(f"{node} went from rollout {before[0] if before else FIRST_SEQ} to {body['seq']}", *self._latest(node), index)
        if body["record"] in self._left.get(node, ()):
            self._held.setdefault(node, set()).add(body["record"])
            self._durable[node] = max(self._durable.get(node, (FIRST_SEQ, 0)), (body["seq"], index))
        if body["record"] not in self._held.get(node, set()):
            self.blame(f"rollout {body['seq']} came into force at {node}, and was not durable there", index)
        self._in_force[node] = (body["seq"], body["stable"], body["canary"], body["record"])
        self._changed[node] = index

    def _goes_on(self, node: str, *witness: int) -> None:
        """Two that become durable at once come into force one after the other, so this is asked when something is decided, and at the end."""
        seq, _, _, record = self._in_force.get(node, (FIRST_SEQ, "", "", ""))
        held = [self._rollouts[each] for each in self._held.get(node, ())]
        goes_back = any((each.seq, each.stage) == (seq, ROLLED_BACK) for each in held)
        if goes_back and self._rollouts.get(record, NO_ROLLOUT).stage != ROLLED_BACK:
            self.blame(f"{node} went on with rollout {seq}, though it held one of that number that goes back", *self._latest(node), *witness)

    def _latest(self, node: str) -> tuple[int, ...]:
        return (self._changed[node],) if node in self._changed else ()

    # -- the guard

    def _stops(self, node: str, seq: int, canary: str) -> list[int]:
        """The decisions, known at a replica, by which a canary alone made stops more severe."""
        return [self._raised[order][1] for order in sorted(self._known.get(node, ())) if self._raised[order][0] == (seq, canary)]

    def settle(self) -> None:
        for node in (replica for replica in self.run.replicas if self.run.node(replica).works):
            seq, _, _, record = self._in_force.get(node, (FIRST_SEQ, "", "", ""))
            self._goes_on(node)
            durable, since = self._durable.get(node, (FIRST_SEQ, 0))
            if durable > seq:
                self.blame(f"{node} holds rollout {durable} durably, and {seq} is in force there", since)
            self._judge_words(node, record)
            self._judge_guard(node, record)

    def _judge_words(self, node: str, record: str) -> None:
        """Whoever asked here has the last word of his rollout: that it is in force, or is no more."""
        now, line = self._rollouts.get(record, NO_ROLLOUT), set()
        while record in self._rollouts:
            step = self._rollouts[record]
            line.add((step.seq, step.request))
            record = step.parent
        due_ns = max(self.run.healed_ns or 0, self.run.node(node).since_ns, self._rolled_ns) + self.run.bounds.propagation_ns
        due = self.run.healed_ns is not None and due_ns < self.run.end_ns and all(self.run.node(each).works for each in self.run.replicas)
        for about, (stage, index) in self._told.get(node, {}).items():
            if now.seq - about[0] >= KEPT_MAX:
                continue
            if stage == "EFFECTIVE" and about not in line:
                self.blame(f"{node} called rollout {about[0]} effective, and did not tell who asked that another took its place", index)
            elif stage == "ACCEPTED" and due:
                self.blame(f"{node} accepted rollout {about[0]}, and never told who asked what became of it", index)

    def _judge_guard(self, node: str, record: str) -> None:
        now = self._rollouts.get(record, NO_ROLLOUT)
        stops = self._stops(node, now.seq, now.canary)
        if now.stage == "CANARY" and len(stops) > now.guard:
            why = f"at {node} canary {now.seq} had by itself made {len(stops)} stops, more than {now.guard}, and was not rolled back"
            since_ns = max(self.run.healed_ns or 0, self.run.news_ns, self.run.node(node).since_ns)
            if self.run.healed_ns is None or self.run.end_ns < since_ns + self.run.bounds.propagation_ns:
                self.leave_undecided(f"{why} when the run ended, before that was due")
            else:
                self.blame(why, self._changed[node], *stops)
