"""S19 and S23: an open gate always stands on a quorum lease of this very start.

Leases are worked out again from requests and grants (`rounds`); the sidecar's own word is believed nowhere, only held against that.
"""

from __future__ import annotations

from harness.checkers.checker import InvariantChecker
from harness.checkers.run import Run
from harness.checkers.words import CLOSED, OPEN, agent_of, token_of
from harness.shared.history import Fact


class LeaseSound(InvariantChecker):
    """S19 (D3). Every admission lies, on the sidecar's own clock, not after s_r + the least of q grants of one round of the same token and
    instance; and no lease that a sidecar believes to hold (``lease-opened``) reaches further than that. An instance is either, or a grant against
    an order.

    And no replica grants more than what it knows leaves: nothing against an uncovered order that closes the gate; under a soft one no longer than its
    grace since this replica learned it, on its own clock, and nothing if it learned it before it last started, or doubted its clock (D4, T5).

    And whoever has said that he doubts his clock neither grants by it nor admits anything, until that is over (T5).

    And a lease counts only grants whose content is complete: for each of q of them, the sidecar knows every order against its agent that the replica
    knew when it granted, or a certificate for it, by the step in which the lease opens. One that nobody outlived reading is known well enough.

    And whoever has put on record that a replica keeps two logs goes by no grant of it: the replica itself gives none, and a sidecar's lease has q
    others.

    All on one clock, so that drift and clock faults need no exemption. Tightness: time since s_r, beside the length of the lease.
    """

    invariant = "S19"
    title = "LeaseSound: every open instant lies inside a quorum lease counted from the send of its own request"
    kinds = frozenset({"effect-admitted", "lease-opened", "lease-granted", "order-quarantined", "fork-proven", "node-started"})

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._quarantined: set[tuple[str, str]] = set()
        self._forks: dict[str, dict[str, int]] = {}  # node -> the writers of two logs that it knows of, and since which fact

    def see(self, index: int, fact: Fact) -> None:
        if fact.kind == "lease-granted":
            self._grant(index, fact)
            return
        if fact.kind == "fork-proven":
            self._forks.setdefault(fact.node, {}).setdefault(fact.body["origin"], index)
            return
        if fact.kind == "node-started":
            if fact.node in self.run.custody:
                self._forks.pop(fact.node, None)  # what it put on record may be gone (A2)
            return
        if fact.kind == "order-quarantined":
            self._quarantined.add((fact.node, fact.body["order"]))
            return
        if fact.kind == "lease-opened":
            self._content(index, fact)
            self._unforked(index, fact)
        self.examined += 1
        agent, token = fact.body["agent"], token_of(fact.body["token"])
        if fact.kind == "lease-opened":
            best, reaches_ns = self.run.rounds.latest(agent, token), int(fact.body["until_ns"])
        else:
            best, reaches_ns = self.run.rounds.best(agent, token, fact.body["instance"]), fact.clock_ns
        what = "holds a lease" if fact.kind == "lease-opened" else "admitted an effect"
        if best is None:
            self.blame(f"{fact.node} {what} without {self.run.cell_of(agent).quorum} grants of one round under its token", index)
            return
        until_ns, round_ = best
        node = self.run.node(fact.node)
        if fact.kind == "effect-admitted" and node.doubts:
            self.blame(f"{fact.node} {what} by a clock that it doubted", node.measures_from[0], index)
        if fact.kind == "effect-admitted":
            self.measure(reaches_ns - round_.sent_ns, until_ns - round_.sent_ns)
        if reaches_ns > until_ns:
            self.blame(f"{fact.node} {what} {reaches_ns - until_ns} ns beyond the end of its best quorum lease", *round_.proof(), index)

    def _content(self, index: int, fact: Fact) -> None:
        round_, node = self.run.rounds.of(fact.body["agent"], fact.body["nonce"]), self.run.node(fact.node)
        if round_ is None or fact.node in self.run.custody:
            return
        lacking = [
            (grant.index, order)
            for grant in round_.grants.values()
            for order in grant.known
            if order not in node.known and order not in node.lifted and (fact.node, order) not in self._quarantined
        ]
        whole = len(round_.grants) - len({granted for granted, _ in lacking})
        if lacking and whole < self.run.cell_of(fact.body["agent"]).quorum:
            granted, order = lacking[0]
            why = f"{fact.node} counts a grant of a replica that knew order {order[:12]}, and has not learned it"
            self.blame(why, self.run.orders[order].first_index, granted, index)

    def _unforked(self, index: int, fact: Fact) -> None:
        """A lease that opens after the proof rests on others alone."""
        round_, forks = self.run.rounds.of(fact.body["agent"], fact.body["nonce"]), self._forks.get(fact.node, {})
        if round_ is not None and forks and len(round_.grants.keys() - forks.keys()) < self.run.cell_of(fact.body["agent"]).quorum:
            granters = [replica for replica in round_.grants if replica in forks]
            self.blame(f"{fact.node} counts a grant of a replica that keeps two logs, and knows it", *(forks[each] for each in granters), index)

    def _grant(self, index: int, fact: Fact) -> None:
        node, agent = self.run.node(fact.node), fact.body["agent"]
        forked = self._forks.get(fact.node, {}).get(fact.node)
        if forked is not None:
            self.examined += 1
            self.blame(f"{fact.node} granted {agent} a lease after it knew that it keeps two logs", forked, index)
        if node.doubts:
            self.blame(f"{fact.node} granted {agent} a lease by a clock that it doubted", node.measures_from[0], index)
        if not node.known or fact.node in self.run.custody:
            return
        for order, learned in self.run.in_force(node, agent):
            if order.gate == OPEN:
                continue
            self.examined += 1
            unknown = order.gate == CLOSED or learned.index < node.measures_from[0]
            left_ns = 0 if unknown else max(0, order.grace_ns - (fact.clock_ns - learned.clock_ns))
            if int(fact.body["len_ns"]) > left_ns:
                why = f"{fact.node} granted {agent} {fact.body['len_ns']} ns under {order.severity} {order.order[:12]}, which leaves {left_ns} ns"
                self.blame(f"{why} by what this replica can know", learned.index, index)


class BootClosed(InvariantChecker):
    """S23 (D5). After each start of a sidecar nothing is admitted before the instance that admits it got a quorum of grants, asked for since
    that start; and nothing at all leaves it between a crash and the next start. An instance is an admission.
    """

    invariant = "S23"
    title = "BootClosed: nothing is admitted before the first quorum lease of this start; nothing survives a restart"
    kinds = frozenset({"effect-admitted"})

    def see(self, index: int, fact: Fact) -> None:
        self.examined += 1
        node = self.run.node(fact.node)
        started = () if node.started_index is None else (node.started_index,)
        if not node.up:
            self.blame(f"{fact.node} admitted an effect after it had crashed", *started, index)
        elif self.run.rounds.any_quorum(agent_of(fact.node), fact.body["instance"]) is None:
            self.blame(f"{fact.node} admitted an effect before its instance got a quorum lease since it started", *started, index)
