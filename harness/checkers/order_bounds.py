"""S1 and S3: after an order, nothing is admitted that it forbids; everywhere within T1, and at once where it is known.

Both judge Apply messages as they went over the wire (``effect-admitted``) against orders as they became durable or were learned. Neither
asks a sidecar what it thinks of its gate.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.checkers.checker import InvariantChecker
from harness.checkers.run import CLOSED, DRAIN, NEW, OPEN, STOP, Order, agent_of
from harness.history import Fact


@dataclass(slots=True)
class _Watch:
    """One effective order over one agent. ``new_by_ns`` and ``any_by_ns``: real time after which new, and any, effects are forbidden."""

    order: Order
    new_by_ns: int
    any_by_ns: int | None


class StopBound(InvariantChecker):
    """S1 (T1). With t0 the k-th replica's durable copy and o uncovered: gate CLOSED, nothing later than t0 + L/(1-rho); gate DRAIN, no new
    task later than that, and nothing at all later than t0 + max(L, G)/(1-rho). An instance is an effective order and a matching agent.

    An order counts as covered as soon as one authentic certificate is durable anywhere or learned by the agent's sidecar; admissions
    after that belong to S6 and S7. Where a clock was broken that the bound leans on, the pair is skipped (T5) and counted.
    Cannot see: effects of an order that never became effective.
    """

    invariant = "S1"
    title = "StopBound: nothing that an effective order forbids is admitted later than T1 allows"
    kinds = frozenset({"order-durable", "effect-admitted"})

    def __init__(self, run: object) -> None:
        super().__init__(run)  # type: ignore[arg-type]
        self._watches: dict[str, list[_Watch]] = {}
        self._exempt: set[tuple[str, str]] = set()

    def see(self, index: int, fact: Fact) -> None:
        if fact.kind == "order-durable":
            order = self.run.orders[fact.body["order"]]
            if order.effective_index == index and order.gate != OPEN:
                self._watch(order, fact.at_ns)
            return
        agent = fact.body["agent"]
        watches = self._watches.get(agent)
        if watches:
            watches[:] = [watch for watch in watches if not self.run.lifted(watch.order, agent)]
            for watch in watches:
                self._judge(index, fact, watch)
