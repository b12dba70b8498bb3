"""S25: no order is ever too old, too many or too large to count."""

from __future__ import annotations

from harness.checkers.checker import InvariantChecker
from harness.shared.history import Fact


class NoExpiry(InvariantChecker):
    """S25. Whatever a node shows as its intent names every order that it has learned and did not lose in a crash, unless a certificate covers it
    there: time, their number and what wall clocks show take nothing out. S4 asks for what is durable; here it is enough to have heard. An
    instance is an order that is known where an ``intent`` is shown.

    Cannot see: an order that is refused where it arrives, which is S24's where a clock decides it, and L1's in any case; and one that is
    listed and does not count, which is S7's.
    """

    invariant = "S25"
    title = "NoExpiry: no order is dropped for its age, its size or their number"
    kinds = frozenset({"intent"})

    def see(self, index: int, fact: Fact) -> None:
        node = self.run.node(fact.node)
        listed = set(fact.body["orders"])
        self.examined += len(node.known)
        for order, learned in node.known.items():
            if order not in listed and order not in node.covered:
                why = f"{fact.node} has dropped order {order[:12]}, which it learned {fact.at_ns - learned.at_ns} ns before"
                self.blame(f"{why}, and is left with {len(listed)}", learned.index, index)
