"""When the entries of a timeline are due, decided from the facts of a running cell.

Owns the three forms of a trigger (`scenarios.schedule.Trigger`). Must not know what an entry does. A live run has no choice of moment
below the time between two looks at the traces, so that a state is met shortly after it came to hold.
"""

from __future__ import annotations

from collections.abc import Callable

from harness.history import Fact
from killswitch.core.machine import Parameters
from scenarios.schedule import Entry, Trigger

MILLION = 1_000_000


def matches(trigger: Trigger, fact: Fact) -> bool:
    """Whether ``fact`` is one of those that an ``after`` trigger counts."""
    if fact.kind != trigger.after:
        return False
    return all((fact.node if field == "node" else fact.body.get(field)) == value for field, value in trigger.where.items())


class Standing:
    """What the facts so far say of each agent, for ``when`` triggers. ``clock_ns(node)`` reads a node's own clock now."""

    def __init__(self, parameters: Parameters, clock_ns: Callable[[str], int]) -> None:
        self._parameters = parameters
        self._clock_ns = clock_ns
        self._lease_until_ns: dict[str, int] = {}
        self._drain_until_ns: dict[str, tuple[int, int]] = {}  # agent -> (deadline, grace) of the order that ends first
        self._grace_ns: dict[str, int] = {}
        self._gate: dict[str, tuple[str, str]] = {}

    def see(self, fact: Fact) -> None:
        body = fact.body
        match fact.kind:
            case "lease-opened":
                self._lease_until_ns[body["agent"]] = body["until_ns"]
            case "order-learned":
                self._grace_ns[body["order"]] = body["grace_ns"]
            case "drain-deadline":
                grace_ns = self._grace_ns.get(body["order"], self._parameters.grace_ns)
                known = self._drain_until_ns.get(body["agent"], (body["deadline_ns"], grace_ns))
                self._drain_until_ns[body["agent"]] = min(known, (body["deadline_ns"], grace_ns))
            case "gate-changed":
                self._gate[body["agent"]] = (body["gate"], body["mode"])
                if body["gate"] == "CLOSED" and body["mode"] in ("BOOT", "STOPPED"):
                    self._lease_until_ns.pop(body["agent"], None)
                    self._drain_until_ns.pop(body["agent"], None)

    def holds(self, quantity: str, agent: str, comparison: str, value: str) -> bool:
        """Raises `ValueError` for a state that nobody defined."""
        if (quantity, comparison) == ("gate", "is"):
            return self._gate.get(agent, ("", ""))[0] == value
        if (quantity, comparison) == ("mode", "is"):
            return self._gate.get(agent, ("", ""))[1] == value
        if (quantity, comparison) == ("lease.left", "<"):
            until_ns, whole_ns = self._lease_until_ns.get(agent), self._parameters.lease_ns
        elif (quantity, comparison) == ("drain.left", "<"):
            until_ns, whole_ns = self._drain_until_ns.get(agent, (None, 0))
        else:
            raise ValueError(f"when: no such state (got {quantity} {comparison} {value})")
        if until_ns is None:
            return False
        left_ns = until_ns - self._clock_ns(f"sidecar/{agent}")
        return left_ns * MILLION < int(value) * whole_ns


class Timeline:
    """Hands out each entry once, when it is due. Times are nanoseconds since the start of the run."""

    def __init__(self, entries: tuple[Entry, ...], standing: Standing) -> None:
        self._standing = standing
        self._pending = {entry.id: entry for entry in entries}
        self._seen = dict.fromkeys(self._pending, 0)
        self._due_ns = {entry.id: entry.trigger.at_ns for entry in entries if entry.trigger.at_ns is not None}

    def see(self, fact: Fact) -> None:
        self._standing.see(fact)
        for entry in self._pending.values():
            trigger = entry.trigger
            if trigger.after and entry.id not in self._due_ns and matches(trigger, fact):
                self._seen[entry.id] += 1
                if self._seen[entry.id] == trigger.count:
                    self._due_ns[entry.id] = fact.at_ns + trigger.delay_ns

    def due(self, now_ns: int) -> list[Entry]:
        """The entries whose moment has come, in the order of the schedule."""
        come = [entry for entry in self._pending.values() if self._is_due(entry, now_ns)]
        for entry in come:
            del self._pending[entry.id]
        return come

    def _is_due(self, entry: Entry, now_ns: int) -> bool:
        if entry.trigger.when is not None:
            return self._standing.holds(*entry.trigger.when)
        due_ns = self._due_ns.get(entry.id)
        return due_ns is not None and due_ns <= now_ns
