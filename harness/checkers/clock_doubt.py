"""L12: a clock that breaks its promise is noticed by the node that it belongs to, and doubted for long enough."""

from __future__ import annotations

from dataclasses import dataclass

from harness.checkers.bounds import MILLION
from harness.checkers.checker import InvariantChecker
from harness.checkers.run import Run
from harness.checkers.words import CLOCK_FAULTS, agent_of, is_replica, targets_of
from harness.shared.history import Fact

DRIFT = "clock-drift"
# How much further than the promise allows a rate has to be off to be judged: what a round trip beside a lease may hide.
CLEAR = 5, 4


@dataclass(frozen=True, slots=True)
class _Since:
    """A node's clock read ``clock_ns`` at ``at_ns``, and nothing but drift has touched it since."""

    index: int
    at_ns: int
    clock_ns: int


class Doubt(InvariantChecker):
    """L12 (T5). Where a node's clock runs at a rate beyond the promise, and enough others that keep theirs are heard, that node says that it doubts
    its clock: a sidecar within four leases of T1, a replica, whose peers speak more seldom, within the bound of propagation besides, and not before
    two leases have passed on its own clock. The rate is that of its readings against real time; beyond the promise it is where (1-rho)^2 / (1+rho) or
    (1+rho)^2 / (1-rho) is missed by a quarter, for no node can tell more than its rate against that of others, nor that exactly.

    Enough others: more than n-q replicas of its cell for a sidecar, more than half of its peers for a replica; up, with clocks that nothing broke. An
    instance is a time so long, without any other fault, crash or pause from its beginning on. A clock that only jumps has no rate, and is not judged.

    And whoever doubts its clock does so until L after the last disagreement, by that same clock: so for L at the least, since it began with one. That
    the others were not all heard at one instant shortens nothing. An instance is a doubt that ends. A clock that leapt or stood measures nothing, and
    is not judged by that either.
    """

    invariant = "L12"
    title = "Doubt: who has a clock that breaks its promise comes to doubt it"
    kinds = frozenset({
        "lease-requested", "lease-granted", "lease-denied", "fault-on", "fault-off", "node-crashed", "node-paused", "node-resumed", "node-started",
        "disk-failed", "clock-suspected", "clock-trusted",
    })  # fmt: skip

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._since: dict[str, _Since] = {}
        self._drifting: dict[str, frozenset[str]] = {}  # fault -> the nodes whose clocks it makes drift
        self._others: set[str] = set()  # faults of other kinds that are on
        self._leaping: set[str] = set()  # whose clocks something else than drift has touched
        self._doubts: dict[str, tuple[int, int]] = {}  # who doubts its clock -> since which fact, and what it read then

    def see(self, index: int, fact: Fact) -> None:
        match fact.kind:
            case "lease-requested" | "lease-granted" | "lease-denied":
                if self._drifting and not self._others and any(fact.node in nodes for nodes in self._drifting.values()):
                    self._look(index, fact)
            case "fault-on":
                self._fault_on(fact)
            case "fault-off":
                self._since.clear()
                self._drifting.pop(fact.body["fault"], None)
                self._others.discard(fact.body["fault"])
            case "clock-suspected" | "clock-trusted":
                self._since.pop(fact.node, None)
                self._doubt_changes(index, fact)
            case _:
                self._since.clear()
                if fact.kind == "node-started":
                    self._doubts.pop(fact.node, None)

    def _doubt_changes(self, index: int, fact: Fact) -> None:
        if fact.kind == "clock-suspected":
            self._doubts[fact.node] = (index, fact.clock_ns)
            return
        began, began_ns = self._doubts.pop(fact.node, (index, fact.clock_ns - self.run.bounds.lease_ns))
        if fact.node in self._leaping:
            self.skipped += 1
            return
        self.examined += 1
        lasted_ns = fact.clock_ns - began_ns
        if lasted_ns < self.run.bounds.lease_ns:
            why = f"{fact.node} doubted its clock for {lasted_ns} ns of it; a doubt lasts {self.run.bounds.lease_ns} ns after the last disagreement"
            self.blame(why, began, index)

    def _fault_on(self, fact: Fact) -> None:
        nodes = frozenset(targets_of(fact.body["target"]))
        self._since.clear()
        if fact.body["what"] == DRIFT:
            self._drifting[fact.body["fault"]] = nodes
        else:
            self._others.add(fact.body["fault"])
            if fact.body["what"] in CLOCK_FAULTS:
                self._leaping |= nodes

    def _look(self, index: int, fact: Fact) -> None:
        node, since = fact.node, self._since.get(fact.node)
        if self.run.node(node).doubts or since is None:
            self._since[node] = _Since(index, fact.at_ns, fact.clock_ns)
            return
        lasted_ns, ran_ns, bounds = fact.at_ns - since.at_ns, fact.clock_ns - since.clock_ns, self.run.bounds
        due_ns = bounds.doubted_ns + (bounds.propagation_ns if is_replica(node) else 0)
        if lasted_ns < due_ns or ran_ns < 2 * bounds.lease_ns:
            return
        self._since[node] = _Since(index, fact.at_ns, fact.clock_ns)
        if not self._heard(node):
            self.skipped += 1
            return
        side = _beyond(ran_ns, lasted_ns, bounds.drift_ppm)
        if side:
            self.examined += 1
            why = f"the clock of {node} ran {ran_ns} ns in {lasted_ns} ns of real time, too {side}, and it never said that it doubts it"
            self.blame(why, since.index, index)

    def _heard(self, node: str) -> bool:
        """Whether more others are there, with clocks that nothing broke, than may be wrong at once."""
        cell = self.run.cell_with(node) if is_replica(node) else self.run.cell_of(agent_of(node))
        others = [each for each in cell.replicas if each != node]
        tolerated = len(others) // 2 if is_replica(node) else len(others) - cell.quorum
        return sum(self.run.node(each).works and each not in self.run.clock_suspects for each in others) > tolerated


def _beyond(ran_ns: int, lasted_ns: int, drift_ppm: int) -> str:
    """How a rate is beyond what others that keep the promise can agree with; empty if it is not, or not clearly."""
    low, high, (more, less) = MILLION - drift_ppm, MILLION + drift_ppm, CLEAR
    if ran_ns * more * high * MILLION < lasted_ns * less * low * low:
        return "slow"
    return "fast" if ran_ns * less * low * MILLION > lasted_ns * more * high * high else ""
