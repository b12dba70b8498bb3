"""When the lines of a timeline play: at a time, after a fact, or as soon as the protocol's state is such.

Owns the reading of triggers for both drivers, from facts alone. Knows the schedule and the history, no driver: a driver says what time it
is, hands over each fact, and polls while a `when` is open.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from harness.shared.history import Fact
from scenarios.schedule import Entry
from scenarios.units import MILLION

POLL_NS = 5_000_000  # how often a driver should poll while `waiting` is true
_COMPARE: dict[str, Callable[[int, int], bool]] = {
    "<": lambda left, right: left < right,
    "<=": lambda left, right: left <= right,
    ">": lambda left, right: left > right,
    ">=": lambda left, right: left >= right,
}
_FOLLOWED = ("drain-deadline", "gate-changed", "lease-opened", "order-learned")  # what the state of a `when` is read off


class Triggers:
    """The timeline of one run. Each entry comes out once: from `timed`, `see` or `poll`."""

    def __init__(self, timeline: tuple[Entry, ...], lease_ns: int) -> None:
        self._lease_ns = lease_ns
        self.timed: list[tuple[int, Entry]] = []
        self._after: dict[str, list[tuple[Entry, list[int]]]] = {}
        self._when: list[Entry] = []
        self._lease_until: dict[str, int] = {}
        self._drain: dict[str, tuple[int, int]] = {}
        self._grace: dict[str, int] = {}
        self._gate: dict[str, tuple[str, str]] = {}
        for entry in timeline:
            trigger = entry.trigger
            if trigger.when is not None:
                self._when.append(entry)
            elif trigger.after:
                self._after.setdefault(trigger.after, []).append((entry, [trigger.count]))
            else:
                self.timed.append((trigger.at_ns or 0, entry))

    @property
    def waiting(self) -> bool:
        """Whether an entry waits for a state, so that polling is of use."""
        return bool(self._when)

    @property
    def kinds(self) -> list[str]:
        """The kinds of fact that `see` has to be shown; what else it is shown changes nothing."""
        return sorted({*self._after, *(_FOLLOWED if self._when else ())})

    def see(self, fact: Fact) -> list[tuple[int, Entry]]:
        """Entries that this fact releases, each with the delay after which it plays, in ns."""
        if self._when:
            self._follow(fact)
        watching = self._after.get(fact.kind)
        if not watching:
            return []
        due = []
        for entry, left in watching:
            if left[0] > 0 and matches(fact, entry.trigger.where):
                left[0] -= 1
                if left[0] == 0:
                    due.append((entry.trigger.delay_ns, entry))
        return due

    def poll(self, read: Callable[[str], int]) -> list[Entry]:
        """Entries whose state holds now. ``read`` gives a node's own clock, in ns."""
        due = [entry for entry in self._when if self._holds(entry, read)]
        self._when = [entry for entry in self._when if entry not in due]
        return due

    def _follow(self, fact: Fact) -> None:
        body = fact.body
        if fact.kind == "lease-opened":
            self._lease_until[body["agent"]] = body["until_ns"]
        elif fact.kind == "order-learned":
            self._grace[body["order"]] = body["grace_ns"]
        elif fact.kind == "drain-deadline":
            known = self._drain.get(body["agent"])
            if known is None or body["deadline_ns"] < known[0]:
                self._drain[body["agent"]] = (body["deadline_ns"], self._grace.get(body["order"], 0))
        elif fact.kind == "gate-changed":
            self._gate[body["agent"]] = (body["gate"], body["mode"])

    def _holds(self, entry: Entry, read: Callable[[str], int]) -> bool:
        quantity, agent, comparison, value = entry.trigger.when or ("", "", "", "")
        if quantity in ("gate", "mode"):
            known = self._gate.get(agent)
            return known is not None and known[quantity == "mode"] == value
        left, whole = self._left(quantity, agent, read)
        return whole > 0 and left > 0 and _COMPARE[comparison](left * MILLION // whole, int(value))

    def _left(self, quantity: str, agent: str, read: Callable[[str], int]) -> tuple[int, int]:
        """How much is left of a lease or drain, and how long it is in all; (0, 0) if there is none."""
        clock_ns = read(f"sidecar/{agent}")
        if quantity == "lease.left":
            until = self._lease_until.get(agent)
            return (0, 0) if until is None else (until - clock_ns, self._lease_ns)
        deadline, grace_ns = self._drain.get(agent, (0, 0))
        if not grace_ns:  # the deadline is observed before the order that sets it
            grace_ns = max(self._grace.values(), default=0)
        return deadline - clock_ns, grace_ns


def matches(fact: Fact, where: dict[str, Any]) -> bool:
    """Whether a fact's node and fields are as asked; what is not asked may be anything."""
    return all((fact.node if key == "node" else fact.body.get(key)) == value for key, value in where.items())
