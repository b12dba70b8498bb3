"""Rare states that testing must have seen: what FoundationDB calls *sometimes* assertions.

An invariant says what never happens; a rarity says what has to happen now and then, or the runs have proved little. Owns the table of them, how each
is recognised in a history, and which schedules make it possible. Judges nothing: `summary` finds a campaign vacuous that could have
reached one and never did.

A recogniser is a generator: it is sent each fact of its kinds, in order, and yields whether the state has just been reached.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass

from harness.shared.history import Fact
from killswitch.core.messages import Life
from scenarios.schedule import Fault, Operation, Schedule

Recogniser = Generator[bool, Fact, None]

STOPPING = frozenset({"soft", "quiesce"})
KILLING = frozenset({"hard"})
DEADLY = frozenset({"crash"})
CUTTING = frozenset({"partition", "loss", "delay", "pause"})


@dataclass(frozen=True)
class Rarity:
    """``possible``: whether a schedule can reach it at all. ``within``: so many possible runs ought to show it at least once."""

    name: str
    meaning: str
    kinds: tuple[str, ...]
    recognise: Callable[[], Recogniser]
    possible: Callable[[Schedule], bool]
    within: int = 200


def verbs(schedule: Schedule) -> frozenset[str]:
    """What people do in a schedule."""
    return frozenset(entry.action.verb for entry in schedule.timeline if isinstance(entry.action, Operation))


def hits(schedule: Schedule, whats: Iterable[str], role: str = "") -> bool:
    """Whether a fault of the schedule is one of ``whats``, and hits a node, or a link to a node, of that role."""
    wanted = frozenset(whats)
    return any(
        isinstance(action := entry.action, Fault)
        and action.what in wanted
        and any(node.startswith(role) for node in (*action.targets, *(end for link in action.links for end in link)))
        for entry in schedule.timeline
    )


# -- how each is recognised --------------------------------------------------------------------------------------------------------------


def soft_overtaken() -> Recogniser:
    """A step closes the gate before it writes the order down, so a drain that ended at the very instant counts."""
    drained: dict[str, int | None] = {}  # sidecar: when its drain ended, if it did
    reached = False
    while True:
        fact = yield reached
        reached = False
        if fact.kind == "order-learned":
            reached = fact.body["life"] == Life.KILL and drained.get(fact.node, -1) in (None, fact.at_ns)
        elif fact.body["mode"] == "DRAINING":
            drained[fact.node] = None
        elif drained.get(fact.node, -1) is None:
            drained[fact.node] = fact.at_ns


def lease_regained() -> Recogniser:
    lost: dict[str, object] = {}
    reached = False
    while True:
        fact = yield reached
        reached = False
        agent = fact.body["agent"]
        if fact.kind == "lease-lost":
            lost[agent] = fact.body["token"]
        else:
            reached = lost.pop(agent, None) == fact.body["token"]


def escalated_twice() -> Recogniser:
    by: dict[str, str] = {}
    reached = False
    while True:
        fact = yield reached
        reached = by.setdefault(fact.body["child"], fact.node) != fact.node


def minority_copy_lost() -> Recogniser:
    """The only holder of a durable order dies before a second replica has it."""
    holders: dict[str, set[str]] = {}
    reached = False
    while True:
        fact = yield reached
        reached = False
        if fact.kind == "order-durable" and fact.node.startswith("replica/"):
            holders.setdefault(fact.body["order"], set()).add(fact.node)
        elif fact.kind == "node-crashed":
            reached = any(holding == {fact.node} for holding in holders.values())


def kill_races_resume() -> Recogniser:
    """An order is heard of for the first time after a resume was asked for and before its certificate takes effect anywhere."""
    asked = False
    known: set[str] = set()
    reached = False
    while True:
        fact = yield reached
        reached = False
        if fact.kind == "order-learned":
            reached = asked and fact.body["order"] not in known
            known.add(fact.body["order"])
        else:
            asked = fact.kind == "resume-requested"


def crashed_in_drain() -> Recogniser:
    draining: set[str] = set()
    reached = False
    while True:
        fact = yield reached
        reached = False
        if fact.kind == "gate-changed":
            (draining.add if fact.body["mode"] == "DRAINING" else draining.discard)(fact.node)
        elif fact.node in draining:
            draining.discard(fact.node)
            reached = True


def each(fact_holds: Callable[[Fact], bool]) -> Callable[[], Recogniser]:
    """Recognised by a single fact."""

    def recognise() -> Recogniser:
        reached = False
        while True:
            fact = yield reached
            reached = fact_holds(fact)

    return recognise


def doubt_resolved() -> Recogniser:
    doubtful: set[str] = set()
    reached = False
    while True:
        fact = yield reached
        reached = False
        task = fact.body["task"]
        if fact.kind == "task-in-doubt":
            doubtful.add(task)
        elif task in doubtful:
            doubtful.discard(task)
            reached = True


def lease_out_in_pause() -> Recogniser:
    """A sidecar that stood still wakes to a lease that ran out meanwhile."""
    until: dict[str, int] = {}
    paused: set[str] = set()
    reached = False
    while True:
        fact = yield reached
        reached = False
        if fact.kind == "lease-opened":
            until[fact.node] = fact.body["until_ns"]
        elif fact.kind == "node-paused" and fact.clock_ns < until.get(fact.node, 0):
            paused.add(fact.node)
        elif fact.kind == "node-resumed" and fact.node in paused:
            paused.discard(fact.node)
            reached = fact.clock_ns > until[fact.node]


def grant_meets_order() -> Recogniser:
    """A replica learns of an order within a hundredth of a lease after it granted one."""
    granted: dict[str, tuple[int, int]] = {}
    reached = False
    while True:
        fact = yield reached
        reached = False
        if fact.kind == "lease-granted":
            granted[fact.node] = (fact.clock_ns, fact.body["len_ns"])
        elif fact.node in granted:
            at, length = granted[fact.node]
            reached = (fact.clock_ns - at) * 100 < length


def checkpoint_interrupted() -> Recogniser:
    """An agent recovers from an older checkpoint than the one that it was writing when it died."""
    begun: dict[str, int] = {}
    reached = False
    while True:
        fact = yield reached
        agent, generation = fact.body["agent"], fact.body["generation"]
        reached = False
        if fact.kind == "checkpoint-begun":
            begun[agent] = generation
        elif fact.kind == "checkpoint-durable":
            begun.pop(agent, None)
        else:
            reached = begun.pop(agent, 0) > generation


RARITIES: tuple[Rarity, ...] = (
    Rarity(
        "soft-overtaken-by-hard", "a kill reached a sidecar that was draining", ("gate-changed", "order-learned"), soft_overtaken,
        lambda schedule: "soft" in verbs(schedule) and bool(KILLING & verbs(schedule)),
    ),
    Rarity(
        "lease-regained", "a lease ran out, and the same start of the sidecar got another", ("lease-lost", "lease-opened"), lease_regained,
        lambda schedule: hits(schedule, CUTTING, "sidecar/"),
    ),
    Rarity(
        "escalated-at-once", "two replicas escalated the same stop by themselves, with the same child order", ("escalated",), escalated_twice,
        lambda schedule: bool(STOPPING & verbs(schedule)) and hits(schedule, ("partition", "crash", "pause"), "sidecar/"),
    ),
    Rarity(
        "only-copy-lost-its-holder", "the only replica that held an order died before a second one had it", ("order-durable", "node-crashed"),
        minority_copy_lost, lambda schedule: bool(verbs(schedule) - {"resume"}) and hits(schedule, DEADLY, "replica/"), within=1000,
    ),
    Rarity(
        "kill-races-resume", "a new order came while a resume was being approved", ("resume-requested", "certificate-durable", "order-learned"),
        kill_races_resume,
        lambda schedule: "resume" in verbs(schedule) and len(verbs(schedule)) > 1, within=1000,
    ),
    Rarity(
        "sidecar-died-in-drain", "a sidecar died while its agent was draining", ("gate-changed", "node-crashed"), crashed_in_drain,
        lambda schedule: "soft" in verbs(schedule) and hits(schedule, DEADLY, "sidecar/"),
    ),
    Rarity(
        "late-write-fenced", "a sink turned away what a fence had shut out", ("effect-rejected",),
        each(lambda fact: "fence" in fact.body["why"].lower()),
        lambda schedule: bool(verbs(schedule)) and hits(schedule, ("partition", "delay", "pause", "reorder"), "sink/"), within=1000,
    ),
    Rarity(
        "answered-again", "a sink was asked twice for one effect and gave the same answer", ("effect-applied",),
        each(lambda fact: bool(fact.body["again"])),
        lambda schedule: hits(schedule, ("loss", "partition", "duplicate-messages", "duplicate"), "sink/"),
    ),
    Rarity(
        "doubt-resolved", "a task was in doubt, and later was not", ("task-in-doubt", "task-done", "task-rolled-back"), doubt_resolved,
        lambda schedule: hits(schedule, ("partition", "pause", "crash"), "sink/") and hits(schedule, ("crash",)), within=1000,
    ),
    Rarity(
        "lease-out-in-pause", "a sidecar woke from a pause to a lease that had run out", ("lease-opened", "node-paused", "node-resumed"),
        lease_out_in_pause, lambda schedule: hits(schedule, ("pause",), "sidecar/"),
    ),
    Rarity(
        "grant-meets-order", "a replica learned of an order right after it granted a lease", ("lease-granted", "order-learned"), grant_meets_order,
        lambda schedule: bool(verbs(schedule) - {"resume"}), within=100,
    ),
    Rarity(
        "checkpoint-interrupted", "an agent recovered from the checkpoint before the one that it died writing",
        ("checkpoint-begun", "checkpoint-durable", "checkpoint-recovered"), checkpoint_interrupted,
        lambda schedule: hits(schedule, ("crash", "disk-fail"), "sidecar/") or hits(schedule, ("crash",), "agent/"), within=2000,
    ),
    Rarity(
        "presumed-stopped", "replicas declared an agent stopped by the clock alone (T4)", ("declared",), each(lambda fact: True),
        lambda schedule: bool(verbs(schedule) & (STOPPING | KILLING)) and hits(schedule, ("partition", "crash"), "sidecar/"),
    ),
)  # fmt: skip


def recognised(schedule: Schedule, facts: Iterable[Fact], rarities: Sequence[Rarity] = RARITIES) -> dict[str, int]:
    """{rarity that the schedule makes possible: how often the history reached it}."""
    counts: dict[str, int] = {}
    by_kind: dict[str, list[tuple[str, Recogniser]]] = {}
    for rarity in rarities:
        if rarity.possible(schedule):
            counts[rarity.name] = 0
            recogniser = rarity.recognise()
            next(recogniser)
            for kind in rarity.kinds:
                by_kind.setdefault(kind, []).append((rarity.name, recogniser))
    for fact in facts:
        for name, recogniser in by_kind.get(fact.kind, ()):
            counts[name] += recogniser.send(fact)
    return counts
