"""What a person is told of is no less than what was asked for (S20): of an order that is lesser, or gives more time, EFFECTIVE is no answer.

Owns requests and what they were answered with. Whether an answer is true is judged elsewhere (`status`).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from harness.checkers.checker import InvariantChecker
from harness.checkers.subjects import Order
from harness.checkers.words import CLOSED, KILL, STOP, gate_of, life_of
from harness.shared.history import Fact


@dataclass(slots=True)
class _Asked:
    """A request as it was made last: its fact, by whom it ever was, and the orders since told of as all that it takes, each with its fact."""

    index: int
    fact: Fact
    people: set[str]
    told: dict[str, int] = field(default_factory=dict)


class Answers:
    """Shown every fact of ``KINDS`` by the checker that it blames through. Two people may call what they ask for by one name, and the answers do not
    tell whose they are: such a request is not judged."""

    KINDS = frozenset({"order-requested", "order-status"})

    def __init__(self, checker: InvariantChecker) -> None:
        self._checker = checker
        self._run = checker.run
        self._asked: dict[str, _Asked] = {}

    def see(self, index: int, fact: Fact) -> None:
        request = fact.body["request"]
        asked = self._asked.get(request)
        if fact.kind == "order-requested":
            people = {fact.body["principal"], *(asked.people if asked is not None else ())}
            self._asked[request] = _Asked(index, fact, people)
        elif asked is not None and fact.body["stage"] == "EFFECTIVE" and not fact.body["keys"]:
            asked.told[fact.body["order"]] = index

    def settle(self) -> None:
        for request, asked in self._asked.items():
            told = [(self._run.orders[order], index) for order, index in asked.told.items() if order in self._run.orders]
            if not told or len(asked.people) > 1:
                continue
            self._checker.examined += 1
            if not any(_is_enough(order, asked.fact) for order, _ in told):
                order, index = told[-1]
                why = f"{request} was told EFFECTIVE of {order.severity} {order.order[:12]} alone, with {order.grace_ns} ns of grace"
                self._checker.blame(f"{why}, which is less than what it asks for", asked.index, order.first_index, index)


def _is_enough(order: Order, asked: Fact) -> bool:
    body = asked.body
    severe = order.gate >= min(gate_of(body["gate"]), CLOSED) and order.life >= min(life_of(body["life"]), KILL)
    return severe and (order.life != STOP or order.grace_ns <= max(int(body["grace_ns"]), 0))
