"""What a person is told of is what was asked for (S20): EFFECTIVE is no answer, if it is said of an order that is lesser, or gives more time, or was
made of another request; nor is it one that another request's order was lifted.

Owns requests and what they were answered with. Whether an answer is true is judged elsewhere (`status`).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from harness.checkers.checker import InvariantChecker
from harness.checkers.requests import Request, asked_for, ruled_on
from harness.checkers.subjects import Order
from harness.checkers.words import STOP
from harness.shared.history import Fact

EFFECTIVE, LIFTED = "EFFECTIVE", "ALREADY_COVERED"


@dataclass(slots=True)
class _Asked:
    """A request that was made, and the orders told of under its name since as all that it takes, or as lifted, each with its fact. ``until``: when
    something was asked for under that name again; from then on what is told may be an answer to that. ``in_full``: its fact tells all of it, as
    those of earlier versions do not."""

    index: int
    request: Request
    in_full: bool
    until: int | None = None
    told: dict[tuple[str, str], int] = field(default_factory=dict)  # order, stage


class Answers:
    """Shown every fact of ``KINDS`` by the checker that it blames through. Two people may call what they ask for by one name, and the answers do not
    tell whose they are: such a request is not judged."""

    KINDS = frozenset({"order-requested", "order-status", "decision"})

    def __init__(self, checker: InvariantChecker) -> None:
        self._checker = checker
        self._run = checker.run
        self._asked: dict[str, list[_Asked]] = {}  # by name
        self._made_of: dict[str, set[Request]] = {}  # order -> what it was made of, as far as that is on record

    def see(self, index: int, fact: Fact) -> None:
        body = fact.body
        if fact.kind == "decision":
            order = self._run.orders.get(body["order"]) if body["action"] == "order" else None
            if order is not None:
                self._made_of.setdefault(order.order, set()).add(ruled_on(fact, order))
            return
        askings = self._asked.setdefault(body["request"], [])
        if fact.kind == "order-requested":
            if askings:
                askings[-1].until = index
            askings.append(_Asked(index, asked_for(fact), "reason" in body))
        elif body["stage"] == LIFTED or (body["stage"] == EFFECTIVE and not body["keys"]):
            for asked in askings:
                asked.told.setdefault((body["order"], body["stage"]), index)

    def settle(self) -> None:
        for name, askings in self._asked.items():
            if len({asked.request.person for asked in askings}) == 1:
                for asked in askings:
                    self._judge(name, asked)

    def _judge(self, name: str, asked: _Asked) -> None:
        told = [(self._run.orders[order], stage, index) for (order, stage), index in asked.told.items() if order in self._run.orders]
        answers = [each for each in told if asked.until is None or each[2] < asked.until]
        if not answers:
            return
        self._checker.examined += 1
        if all(self._objection(order, stage, asked) for order, stage, _ in told):
            order, stage, index = answers[-1]
            why = f"{name} was told {stage} of {order.severity} {order.order[:12]} alone, with {order.grace_ns} ns of grace"
            self._checker.blame(f"{why}, which {self._objection(order, stage, asked)}", asked.index, order.first_index, index)

    def _objection(self, order: Order, stage: str, asked: _Asked) -> str:
        """Why it is no answer; empty, if it is one. What a soft order became was decided by nobody."""
        made_of = self._made_of.get(order.order)
        if stage == EFFECTIVE and not _is_enough(order, asked.request):
            return "is less than what it asks for"
        return "was made of another request" if asked.in_full and made_of and asked.request not in made_of else ""


def _is_enough(order: Order, asked: Request) -> bool:
    severe = order.gate >= asked.gate and order.life >= asked.life
    return severe and (order.life != STOP or order.grace_ns <= asked.grace_ns)
