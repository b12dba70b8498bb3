"""What lasted how long in a history: gates, leases, processes, outages and faults as spans of true time.

Owns the reading of a history into spans, and of a node's own clock into true time. Knows nothing of pixels (`timeline`).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from typing import Any, NamedTuple

from harness.shared.history import Fact, History
from reports.words import duration, gate_word, instant, plain, short


class Span(NamedTuple):
    """Something in force at ``node`` from ``start_ns`` to ``end_ns``. ``form`` chooses how it is drawn, ``letter`` says it without colour."""

    start_ns: int
    end_ns: int
    node: str
    form: str
    letter: str
    label: str
    title: str


class LocalClock:
    """One node's own clock, known at each of its facts and straight in between."""

    def __init__(self, facts: Iterable[Fact]) -> None:
        self.at_ns: list[int] = []
        self.reading_ns: list[int] = []
        for fact in facts:
            if not self.at_ns or fact.at_ns > self.at_ns[-1]:
                self.at_ns.append(fact.at_ns)
                self.reading_ns.append(fact.clock_ns)

    def true_time(self, reading_ns: int, seen_at_ns: int) -> int:
        """When, at or after ``seen_at_ns``, the clock shows ``reading_ns``; past the node's last fact the clock is taken to run on."""
        first = max(bisect_right(self.at_ns, seen_at_ns) - 1, 0)
        last = bisect_left(self.reading_ns, reading_ns, lo=min(first + 1, len(self.reading_ns)))
        if last >= len(self.at_ns):
            last = len(self.at_ns) - 1
        if last == 0:
            return seen_at_ns + max(0, reading_ns - self.reading_ns[0])
        at_ns, clock_ns = self.at_ns[last - 1], self.reading_ns[last - 1]
        ticks = self.reading_ns[last] - clock_ns
        if ticks <= 0:
            return max(seen_at_ns, at_ns + reading_ns - clock_ns)
        return max(seen_at_ns, at_ns + (reading_ns - clock_ns) * (self.at_ns[last] - at_ns) // ticks)

    def describe(self, from_ns: int, to_ns: int) -> str:
        """How the clock differs from true time over a stretch of the run: ``+1.2 s, 3 % slow``; empty if it does not."""
        first = max(bisect_right(self.at_ns, from_ns) - 1, 0)
        last = max(bisect_right(self.at_ns, to_ns) - 1, first)
        if not self.at_ns:
            return ""
        offset_ns = self.reading_ns[first] - self.at_ns[first]
        words = [f"{'+' if offset_ns > 0 else '−'}{duration(abs(offset_ns))}"] if offset_ns else []
        lasted = self.at_ns[last] - self.at_ns[first]
        if lasted >= 1_000_000:
            drift = (self.reading_ns[last] - self.reading_ns[first]) / lasted - 1
            if abs(drift) >= 0.00005:
                words.append(f"{abs(drift) * 100:.3g} % {'fast' if drift > 0 else 'slow'}")
        return ", ".join(words)


def outages(history: History, end_ns: int) -> list[Span]:
    """Where a node was down (from its crash to its next start) or paused."""
    found: list[Span] = []
    opening = {"node-crashed": ("down", "node-started"), "node-paused": ("paused", "node-resumed")}
    closing = {"node-started", "node-resumed"}
    under_way: dict[tuple[str, str], Fact] = {}
    for fact in history:
        if fact.kind in opening:
            under_way[fact.node, opening[fact.kind][1]] = fact
        elif fact.kind in closing and (begun := under_way.pop((fact.node, fact.kind), None)):
            found.append(_outage(begun, opening[begun.kind][0], fact.at_ns))
    found += [_outage(begun, opening[begun.kind][0], end_ns) for begun in under_way.values()]
    return found


def _outage(begun: Fact, form: str, end_ns: int) -> Span:
    return Span(begun.at_ns, end_ns, begun.node, form, "", form, f"{plain(begun.node)} {form} for {duration(end_ns - begun.at_ns)}")


def faults(history: History, end_ns: int) -> list[tuple[Span, frozenset[str]]]:
    """Each fault with the nodes that it touches."""
    found: list[tuple[Span, frozenset[str]]] = []
    under_way: dict[str, Fact] = {}
    for fact in history.of("fault-on", "fault-off", "healed"):
        name = str(fact.body.get("fault"))
        over = list(under_way) if fact.kind == "healed" else [name] if name in under_way else []
        found += [_fault(under_way.pop(other), fact.at_ns) for other in over]
        if fact.kind == "fault-on":
            under_way[name] = fact
    found += [_fault(begun, end_ns) for begun in under_way.values()]
    return sorted(found, key=lambda fault: fault[0].start_ns)


def _fault(begun: Fact, end_ns: int) -> tuple[Span, frozenset[str]]:
    what, target = plain(begun.body.get("what", "fault")), begun.body.get("target", "")
    title = f"{what} at {short(target)}, {instant(begun.at_ns)} to {instant(end_ns)}"
    return Span(begun.at_ns, end_ns, begun.node, "fault", "", what, title), frozenset(_names(target))


def _names(target: Any) -> Iterable[str]:
    if isinstance(target, str):
        yield from target.replace("->", " ").replace(",", " ").split()
    elif isinstance(target, list | tuple):
        for item in target:
            yield from _names(item)


def gates(history: History, end_ns: int) -> list[Span]:
    """The gate of each sidecar over time: ``form`` is gate-open, gate-drain or gate-closed; the label is the mode."""
    found: list[Span] = []
    current: dict[str, Fact] = {}
    for fact in history.of("gate-changed", "node-crashed"):
        if begun := current.pop(fact.node, None):
            found.append(_gate(begun, fact.at_ns))
        if fact.kind == "gate-changed":
            current[fact.node] = fact
    return found + [_gate(begun, end_ns) for begun in current.values()]


def _gate(begun: Fact, end_ns: int) -> Span:
    gate, mode = gate_word(begun.body.get("gate", "")), plain(begun.body.get("mode", ""))
    form = f"gate-{gate.lower()}" if gate in {"OPEN", "DRAIN", "CLOSED"} else "gate-closed"
    return Span(begun.at_ns, end_ns, begun.node, form, gate[:1], mode, f"gate {gate}, mode {mode}, for {duration(end_ns - begun.at_ns)}")


def leases(history: History, clocks: dict[str, LocalClock]) -> list[Span]:
    """Where each sidecar believes that it holds a lease: renewals join, a crash ends."""
    found: list[Span] = []
    current: dict[str, tuple[int, int, int]] = {}  # node -> start, end, renewals
    for fact in history.of("lease-opened", "node-crashed"):
        start_ns, until_ns, renewals = current.get(fact.node, (0, -1, 0))
        if fact.kind == "node-crashed":
            if current.pop(fact.node, None):
                found.append(_lease(fact.node, start_ns, min(until_ns, fact.at_ns), renewals))
            continue
        opened_until_ns = clocks[fact.node].true_time(int(fact.body.get("until_ns", fact.clock_ns)), fact.at_ns)
        if until_ns >= fact.at_ns:
            current[fact.node] = (start_ns, max(until_ns, opened_until_ns), renewals + 1)
            continue
        if until_ns >= 0:
            found.append(_lease(fact.node, start_ns, until_ns, renewals))
        current[fact.node] = (fact.at_ns, opened_until_ns, 0)
    return found + [_lease(node, *spell) for node, spell in current.items()]


def _lease(node: str, start_ns: int, end_ns: int, renewals: int) -> Span:
    title = f"{plain(node)} counts on a lease until {instant(end_ns)} (renewed {renewals} times)"
    return Span(start_ns, end_ns, node, "lease", "L", "lease", title)


def processes(history: History, end_ns: int) -> list[Span]:
    """The life of each agent's process, by the sidecar that owns it."""
    found: list[Span] = []
    current: dict[str, Fact] = {}
    for fact in history.of("process-started", "process-reaped"):
        agent = str(fact.body.get("agent"))
        if begun := current.pop(agent, None):
            found.append(_process(begun, fact.at_ns))
        if fact.kind == "process-started":
            current[agent] = fact
    return found + [_process(begun, end_ns) for begun in current.values()]


def _process(begun: Fact, end_ns: int) -> Span:
    agent = plain(begun.body.get("agent", ""))
    title = f"process of {agent} (token {short(begun.body.get('token'))}), {instant(begun.at_ns)} to {instant(end_ns)}"
    return Span(begun.at_ns, end_ns, f"sidecar/{begun.body.get('agent')}", "process", "", "process", title)
