"""L1: after the heal every order comes everywhere, and who asks is told (``asking``).

Judged from ``healed`` on, what people ask from the last fault on, within `Bounds.propagation_ns` of the later of: the heal, the last news, and the
last start or resumption of the nodes concerned. A run that ends before that is over is undecided, unless all had come true already.
"""

from __future__ import annotations

from harness.checkers.asking import Asking
from harness.checkers.checker import InvariantChecker
from harness.checkers.run import Run
from harness.checkers.subjects import Node, Order
from harness.checkers.words import is_replica
from harness.shared.history import Fact


def propagated_ns(run: Run, *moments_ns: int) -> int | None:
    """When propagation is due: None without a heal, for nothing is due while faults may be on."""
    if run.healed_ns is None:
        return None
    return max(run.healed_ns, *moments_ns) + run.bounds.propagation_ns


class Delivery(InvariantChecker):
    """L1. Every working sidecar knows every uncovered order that matches its agent and that a working replica holds durably, by
    max(heal, durable at the replica, last start or resumption of either) + propagation. An instance is such a pair at the end of the run.

    A working node is started, up, not paused, and its disk has not failed since. The observed time runs from the heal. An order that killed
    whoever read it, and is openly not read again, is S26's affair.

    Nor is what people ask for left with a replica that nobody hears. A client goes on asking, and is told in the end, by max(last fault,
    asking) + `Bounds.asking_ns`, be it before the heal or after, if enough replicas work, and for a resume believe their clocks: k of each cell, and
    for a draft as many as meet every k, too:

    - of an order, that it is effective, or comes to nothing;
    - of a rollout, that it is accepted, or comes to nothing;
    - of a resume, what it would lift (a draft), or that there is nothing;
    - of what was approved, that it is accepted, or comes to nothing, or is to be drafted anew. What was sent on to other replicas it may draft anew
      by itself, for of those whom the draft heard none may be left; then that is what it asks for.

    And an answer that is no end is followed by the next question: by one for another draft, at once, where a resume came too late or did not show its
    approvers enough; by one what became of it, as soon as a client asks again, where a rollout is accepted, and no more is said.

    An instance is such a request; a client that starts again has forgotten it. In a core alone, none is that is due after the phase.
    """

    invariant = "L1"
    title = "Delivery: after the heal every live sidecar learns every order in time"
    kinds = Asking.KINDS | {"order-durable", "order-quarantined"}

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._durable_ns: dict[str, int] = {}
        self._unread: set[tuple[str, str]] = set()
        self._asking = Asking(self)

    def see(self, index: int, fact: Fact) -> None:
        if fact.kind in Asking.KINDS:
            self._asking.see(index, fact)
        elif fact.kind == "order-quarantined":
            self._unread.add((fact.node, fact.body["order"]))
        elif is_replica(fact.node):
            self._durable_ns[fact.body["order"]] = fact.at_ns

    def settle(self) -> None:
        self._asking.settle()
        for order in self.run.orders.values():
            holders = (self.run.node(replica) for replica in order.holders)
            sources = [node for node in holders if node.works and order.order in node.known]  # one that lost its disk may hold it no more
            if sources and order.order not in self.run.covered:
                for agent in sorted(order.agents):
                    sidecar = self.run.sidecar(agent)
                    if sidecar.works and (sidecar.node, order.order) not in self._unread:
                        self._judge(order, sidecar, sources)

    def _judge(self, order: Order, sidecar: Node, sources: list[Node]) -> None:
        self.examined += 1
        since_ns = max(self._durable_ns[order.order], sidecar.since_ns, min(source.since_ns for source in sources))
        due_ns = propagated_ns(self.run, since_ns)
        learned = sidecar.known.get(order.order)
        if learned is None:
            if due_ns is None or self.run.end_ns < due_ns:
                self.leave_undecided(f"{sidecar.node} had not learned order {order.order[:12]} when the run ended, before that was due")
            else:
                self.blame(f"{sidecar.node} never learned {order.severity} {order.order[:12]}", *order.proof())
        elif due_ns is not None and learned.at_ns > max(since_ns, self.run.healed_ns or 0):
            self.measure(learned.at_ns - max(since_ns, self.run.healed_ns or 0), self.run.bounds.propagation_ns)
            if learned.at_ns > due_ns:
                why = f"{sidecar.node} learned {order.severity} {order.order[:12]} {learned.at_ns - due_ns} ns after that was due"
                self.blame(why, *order.proof(), learned.index)
