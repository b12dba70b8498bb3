"""S19 and S23: an open gate always stands on a quorum lease of this very start.

Leases are worked out again from requests and grants (`rounds`); the sidecar's own word is believed nowhere, only held against that.
"""

from __future__ import annotations

from harness.checkers.checker import InvariantChecker
from harness.checkers.words import agent_of, token_of
from harness.history import Fact


class LeaseSound(InvariantChecker):
    """S19 (D3). Every admission lies, on the sidecar's own clock, not after s_r + the least of q grants of one round of the same token and
    instance; and no lease that a sidecar believes to hold (``lease-opened``) reaches further than that. An instance is either.

    All on one clock, so that drift and clock faults need no exemption. Tightness: time since s_r, beside the length of the lease.
    """

    invariant = "S19"
    title = "LeaseSound: every open instant lies inside a quorum lease counted from the send of its own request"
    kinds = frozenset({"effect-admitted", "lease-opened"})

    def see(self, index: int, fact: Fact) -> None:
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
        if fact.kind == "effect-admitted":
            self.measure(reaches_ns - round_.sent_ns, until_ns - round_.sent_ns)
        if reaches_ns > until_ns:
            self.blame(f"{fact.node} {what} {reaches_ns - until_ns} ns beyond the end of its best quorum lease", *round_.proof(), index)


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
