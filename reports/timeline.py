"""The swim lanes of one violation: who did what when, zoomed on the witness.

Owns the geometry: which nodes get a lane, which stretch of the run is shown, and where each band, bar, arrow and badge lies. What
lasted how long comes from `spans`, what led to what from `signals`; how a shape looks is the template's and the style sheet's.
All lengths are in units of the drawing, whose tracks are `WIDTH` wide; the labels stand in a column of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from harness.shared.history import Fact, History
from harness.verdict import Finding
from reports import spans
from reports.signals import Signal, signals
from reports.words import duration, instant, plain, sentence

WIDTH = 890
_OVERVIEW = 34
_FAULT_ROW = 19
_AXIS = 30
_LANES_MOST = 16
_SHOWN_LEAST_NS = 40_000_000
_SHOWN_MOST_AROUND_NS = 1_000_000_000
_LEASE_ARROWS_MOST = 60
_ADMISSIONS_MOST = 300
_BADGE_APART = 21
_TICK_ROOM = 18

# Kinds that get a small mark even when they are no witness: (shape, form).
_MARKS = {
    "order-requested": ("diamond", "order"), "order-learned": ("dot", "order"), "order-durable": ("square", "order"),
    "resume-requested": ("letter-R", "resume"), "certificate-learned": ("letter-R", "resume"), "certificate-durable": ("letter-R", "resume"),
    "effect-admitted": ("up", "effect"), "effect-applied": ("down", "effect"), "effect-rejected": ("cross", "effect"),
    "process-termed": ("letter-T", "stop"), "process-killed": ("letter-K", "stop"), "declared": ("letter-P", "stop"),
    "escalated": ("letter-E", "stop"), "fence-durable": ("letter-F", "stop"), "step-raised": ("cross", "stop"), "disk-failed": ("cross", "stop"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle: a gate band, a lease, a process, an outage, a fault. ``text`` is shown if it fits, ``title`` on hover."""

    x: float
    y: float
    width: float
    height: float
    form: str
    text: str = ""
    title: str = ""


@dataclass(frozen=True, slots=True)
class Mark:
    x: float
    y: float
    shape: str
    form: str
    title: str


@dataclass(frozen=True, slots=True)
class Badge:
    """A numbered witness: the number at (x, y), tied to its place at (to_x, to_y)."""

    x: float
    y: float
    to_x: float
    to_y: float
    number: int
    title: str


@dataclass(frozen=True, slots=True)
class Arrow:
    x1: float
    y1: float
    x2: float
    y2: float
    form: str
    title: str


@dataclass(frozen=True, slots=True)
class Rule:
    """A vertical line with a text: a tick of the axis, or a limit."""

    x: float
    text: str
    anchor: str = "middle"


@dataclass(slots=True)
class Lane:
    """One node. ``mark_y`` is where its facts lie; ``gate_y`` and the bars below it only exist for a sidecar."""

    node: str
    name: str
    note: str
    top: float
    height: float
    mark_y: float
    guarded: bool
    badges: list[Badge] = field(default_factory=list)


@dataclass(slots=True)
class Timeline:
    """Everything that the template draws. ``summary`` is the text that stands for the picture where it cannot be seen."""

    width: float = WIDTH
    height: float = 0
    lanes_top: float = 0
    axis_y: float = 0
    summary: str = ""
    hidden: str = ""
    lanes: list[Lane] = field(default_factory=list)
    overview: list[Box] = field(default_factory=list)
    overview_ends: tuple[str, str] = ("", "")
    fault_bars: list[Box] = field(default_factory=list)
    shades: list[Box] = field(default_factory=list)
    bands: list[Box] = field(default_factory=list)
    arrows: list[Arrow] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    ticks: list[Rule] = field(default_factory=list)
    limits: list[Rule] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Window:
    """The stretch of true time that is shown."""

    start_ns: int
    end_ns: int

    def x(self, at_ns: int) -> float:
        return round((at_ns - self.start_ns) * WIDTH / (self.end_ns - self.start_ns), 2)

    def holds(self, at_ns: int) -> bool:
        return self.start_ns <= at_ns <= self.end_ns

    def cut(self, start_ns: int, end_ns: int) -> tuple[float, float] | None:
        """Left edge and width of what is seen of a span; None if it lies outside."""
        if end_ns < self.start_ns or start_ns > self.end_ns:
            return None
        left, right = self.x(max(start_ns, self.start_ns)), self.x(min(end_ns, self.end_ns))
        return left, round(max(right - left, 1.5), 2)


def draw(history: History, finding: Finding, bounds_ns: Mapping[str, int]) -> Timeline | None:
    """The timeline of one finding; None if it has no witness in this history. ``bounds_ns``: {order: its bound T1}."""
    witness = [index for index in finding.witness if 0 <= index < len(history)]
    if not witness:
        return None
    end_ns = max(fact.at_ns for fact in history)
    facts = [history.facts[index] for index in witness]
    window = _window(facts)
    by_node: dict[str, list[Fact]] = {}
    for fact in history:
        by_node.setdefault(fact.node, []).append(fact)
    clocks = {node: spans.LocalClock(there) for node, there in by_node.items()}
    drawing = Timeline()
    fault_spans = spans.faults(history, end_ns)
    _place_overview(drawing, history, fault_spans, window, end_ns)
    _place_faults(drawing, fault_spans, window)
    _place_lanes(drawing, facts, by_node, clocks, window)
    _place_bands(drawing, history, fault_spans, clocks, window, end_ns)
    _place_marks(drawing, history, witness, window)
    _place_axis(drawing, window)
    _place_limits(drawing, facts, bounds_ns, window)
    drawing.summary = (
        f"Swim lanes of {len(drawing.lanes)} nodes from {instant(window.start_ns)} to {instant(window.end_ns)} of true time, "
        f"with {len(witness)} witness facts, which are listed below in words."
    )
    return drawing


def _window(witness: Sequence[Fact]) -> _Window:
    """The witness with some room around it, more of it before than after: what led to it matters more than what followed."""
    first, last = min(fact.at_ns for fact in witness), max(fact.at_ns for fact in witness)
    least = min(_SHOWN_MOST_AROUND_NS, max(8 * (last - first), _SHOWN_LEAST_NS)) if last > first else _SHOWN_MOST_AROUND_NS
    room = max((last - first) // 6, least - (last - first))
    return _Window(max(0, first - room * 2 // 3), last + room // 3)


def _place_overview(drawing: Timeline, history: History, faults: list[tuple[spans.Span, frozenset[str]]], window: _Window, end_ns: int) -> None:
    """The whole run as one thin strip: faults, operations, and the stretch shown below."""
    whole = _Window(0, max(end_ns, 1))
    for span, _ in faults:
        left, width = whole.cut(span.start_ns, span.end_ns) or (0.0, 0.0)
        drawing.overview.append(Box(left, 12, width, 8, "fault", title=span.title))
    for fact in history.of("order-requested", "resume-requested"):
        drawing.overview.append(Box(whole.x(fact.at_ns), 9, 2, 14, "operation", title=f"{instant(fact.at_ns)}: {sentence(fact)}"))
    left, width = whole.cut(window.start_ns, window.end_ns) or (0.0, 0.0)
    drawing.overview.append(Box(left, 6, max(width, 4), 20, "window", title="the stretch shown below"))
    drawing.overview_ends = ("0 s", duration(end_ns))


def _place_faults(drawing: Timeline, faults: list[tuple[spans.Span, frozenset[str]]], window: _Window) -> None:
    """Fault windows as bars in as few rows as their overlaps allow."""
    row_ends: list[float] = []
    for span, _ in faults:
        seen = window.cut(span.start_ns, span.end_ns)
        if seen is None:
            continue
        left, width = seen
        needed = left + max(width, 7.0 * len(span.label) + 10)
        row = next((number for number, end in enumerate(row_ends) if end <= left), len(row_ends))
        row_ends[row:] = [needed] if row == len(row_ends) else [needed, *row_ends[row + 1 :]]
        drawing.fault_bars.append(Box(left, _OVERVIEW + 4 + row * _FAULT_ROW, width, _FAULT_ROW - 3, "fault", span.label, span.title))
    drawing.lanes_top = _OVERVIEW + (len(row_ends) * _FAULT_ROW + 22 if row_ends else 18)


def _place_lanes(
    drawing: Timeline, witness: list[Fact], by_node: dict[str, list[Fact]], clocks: dict[str, spans.LocalClock], window: _Window
) -> None:
    """Operator, replicas, the sidecars and sinks that the witness concerns, and whatever other node stands in it."""
    agents = _concerned(witness)
    named = {fact.node for fact in witness} | {str(fact.body["sink"]) for fact in witness if "sink" in fact.body}
    everyone = {node for node in by_node if node.startswith("sidecar/")} if not agents else set()
    used = {
        node
        for node, facts in by_node.items()
        if node.startswith("sink/") and any(fact.body.get("agent") in agents and window.holds(fact.at_ns) for fact in facts)
    }
    wanted = {node for node in by_node if node == "operator" or node.startswith("replica/")} | named | used | everyone
    wanted |= {f"sidecar/{agent}" for agent in agents}
    ordered = sorted(wanted & by_node.keys(), key=_lane_rank)
    shown = sorted(ordered, key=lambda node: (node not in named, _lane_rank(node)))[:_LANES_MOST]
    top = drawing.lanes_top
    for node in (node for node in ordered if node in shown):
        guarded = node.startswith("sidecar/")
        headroom = 24 if node in {fact.node for fact in witness} else 8
        height = headroom + (70 if guarded else 20)
        name = plain(node if len(node) <= 24 else f"{node[:23]}…")
        note = clocks[node].describe(window.start_ns, window.end_ns)
        drawing.lanes.append(Lane(node, name, note, top, height, top + headroom + 4, guarded))
        top += height + 2
    drawing.axis_y = top + 2
    drawing.height = drawing.axis_y + _AXIS
    left_out = len(by_node.keys() - set(shown) - {"world"})
    drawing.hidden = f"{left_out} other nodes took no part in this and are not drawn." if left_out > 1 else ""


def _concerned(witness: Sequence[Fact]) -> set[str]:
    """The agents of which the witness speaks."""
    agents = {str(fact.body["agent"]) for fact in witness if "agent" in fact.body}
    return agents | {fact.node.split("/", 1)[1] for fact in witness if fact.node.startswith(("sidecar/", "agent/"))}


def _lane_rank(node: str) -> tuple[int, list[tuple[int, str]]]:
    roles = ("world", "operator", "replica", "sidecar", "agent", "sink")
    role = node.split("/", 1)[0]
    return roles.index(role) if role in roles else len(roles), [(int(part) if part.isdecimal() else 0, part) for part in node.split("/")]


def _place_bands(
    drawing: Timeline,
    history: History,
    faults: list[tuple[spans.Span, frozenset[str]]],
    clocks: dict[str, spans.LocalClock],
    window: _Window,
    end_ns: int,
) -> None:
    """Shades of outages and faults over whole lanes; gate, lease and process as bars inside a sidecar's."""
    lanes = {lane.node: lane for lane in drawing.lanes}
    for span, targets in faults:
        for lane in drawing.lanes:
            if lane.node in targets and (seen := window.cut(span.start_ns, span.end_ns)):
                drawing.shades.append(Box(seen[0], lane.top, seen[1], lane.height, "fault", title=span.title))
    for span in spans.outages(history, end_ns):
        if span.node in lanes and (seen := window.cut(span.start_ns, span.end_ns)):
            lane = lanes[span.node]
            text = span.label if seen[1] > 50 else ""
            drawing.shades.append(Box(seen[0], lane.top, seen[1], lane.height, span.form, text, span.title))
    rows = {"gate": (14.0, 18.0), "lease": (37.0, 8.0), "process": (51.0, 5.0)}
    for span in (*spans.gates(history, end_ns), *spans.leases(history, clocks), *spans.processes(history, end_ns)):
        if span.node not in lanes or not (seen := window.cut(span.start_ns, span.end_ns)):
            continue
        below, height = rows[span.form.split("-")[0]]
        text = f"{span.letter} {span.label}" if seen[1] > 9.0 * len(span.label) + 14 else span.letter if seen[1] > 11 else ""
        text = text if height > 15 else ""
        drawing.bands.append(Box(seen[0], lanes[span.node].mark_y + below, seen[1], height, span.form, text, span.title))


def _place_marks(drawing: Timeline, history: History, witness: Sequence[int], window: _Window) -> None:
    lanes = {lane.node: lane for lane in drawing.lanes}
    numbers = {index: number for number, index in enumerate(witness, start=1)}
    agents = _concerned([history.facts[index] for index in witness])
    admissions = 0
    for index, fact in enumerate(history):
        lane = lanes.get(fact.node)
        if lane is None or not window.holds(fact.at_ns) or (agents and fact.body.get("agent", "") not in {"", *agents}):
            continue
        x, title = window.x(fact.at_ns), f"{instant(fact.at_ns)} (own clock {instant(fact.clock_ns)}): {sentence(fact)}"
        if index in numbers:
            lane.badges.append(Badge(x, lane.mark_y - 17, x, lane.mark_y, numbers[index], title))
        if fact.kind in _MARKS:
            shape, form = _MARKS[fact.kind]
            admissions += form == "effect"
            if form != "effect" or admissions <= _ADMISSIONS_MOST or index in numbers:
                drawing.marks.append(Mark(x, lane.mark_y, shape, f"{form} witness" if index in numbers else form, title))
    for lane in drawing.lanes:
        lane.badges = _apart(lane.badges)
    drawing.arrows = _arrows(signals(history), history, lanes, numbers, window)
    if admissions > _ADMISSIONS_MOST:
        drawing.hidden = f"{drawing.hidden} {admissions - _ADMISSIONS_MOST} effects are not drawn.".strip()


def _apart(badges: list[Badge]) -> list[Badge]:
    """The badges of one lane, moved sideways as far as needed to be told apart: first to the right, then back from the edge."""
    places: list[float] = []
    for badge in badges:
        places.append(max(badge.to_x, places[-1] + _BADGE_APART if places else _BADGE_APART / 2))
    edge = WIDTH - _BADGE_APART / 2
    for number in reversed(range(len(places))):
        places[number] = min(places[number], edge)
        edge = places[number] - _BADGE_APART
    return [replace(badge, x=place) for badge, place in zip(badges, places, strict=True)]


def _arrows(found: list[Signal], history: History, lanes: dict[str, Lane], witness: dict[int, int], window: _Window) -> list[Arrow]:
    """The signals between two drawn lanes; lease rounds only as many as leave the picture readable, those of the witness always."""
    drawn: list[Arrow] = []
    rounds = 0
    for signal in found:
        start, end = history.facts[signal.cause], history.facts[signal.effect]
        if start.node not in lanes or end.node not in lanes or not (window.holds(start.at_ns) and window.holds(end.at_ns)):
            continue
        proof = signal.cause in witness and signal.effect in witness
        rounds += signal.form in {"request", "grant"}
        if signal.form in {"request", "grant"} and rounds > _LEASE_ARROWS_MOST and not proof:
            continue
        form = " ".join([signal.form, *(["witness"] if proof else []), *([] if signal.recorded else ["inferred"])])
        ends = (window.x(start.at_ns), lanes[start.node].mark_y, window.x(end.at_ns), lanes[end.node].mark_y)
        drawn.append(Arrow(*ends, form, signal.title))
    return drawn


def _place_axis(drawing: Timeline, window: _Window) -> None:
    step = next(size * 10**power for power in range(3, 15) for size in (1, 2, 5) if (window.end_ns - window.start_ns) / (size * 10**power) <= 9)
    decimals = max(0, 9 - len(str(step)) + 1)
    for at_ns in range(-(-window.start_ns // step) * step, window.end_ns + 1, step):
        x = window.x(at_ns)
        anchor = "start" if x < _TICK_ROOM else "end" if x > WIDTH - _TICK_ROOM else "middle"
        drawing.ticks.append(Rule(x, f"{at_ns / 10**9:.{decimals}f}", anchor))


def _place_limits(drawing: Timeline, witness: Sequence[Fact], bounds_ns: Mapping[str, int], window: _Window) -> None:
    """When the order of the witness became effective, and where its bound lies, if the witness ends beyond it.

    The last acceptor in the witness is the one that made the order effective. A witness that ends before the bound breaks another rule.
    """
    effective = next((fact for fact in reversed(witness) if fact.kind == "order-durable"), None)
    bound_ns = bounds_ns.get(str(effective.body.get("order"))) if effective else None
    if effective is None or bound_ns is None or witness[-1].at_ns <= effective.at_ns + bound_ns:
        return
    limit = window.x(effective.at_ns + bound_ns)
    drawing.limits.append(Rule(window.x(effective.at_ns), "t0: effective", "start"))
    drawing.limits.append(Rule(limit, f"bound: t0 + {duration(bound_ns)}", "end" if limit > WIDTH / 2 else "start"))
    height = drawing.axis_y - drawing.lanes_top
    drawing.shades.append(Box(limit, drawing.lanes_top, WIDTH - limit, height, "late", title="past the bound"))
