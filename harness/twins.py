"""Twins: what only two runs can show. A schedule is played again, altered in one respect that must not matter, and the two are compared.

Owns the alterations, and what has to be equal. Findings stand under the invariants' ids, beside or in place of what a checker saw in the single run:

    S5   a node that is handed the orders and certificates on its log in other sequences, some of them twice, ends with the same intent
    S14  without another tenant's agents, work and orders, everything at a tenant's own nodes happens as with them, to the nanosecond
    S24  with wall clocks that are years apart and jump by hours, everything but the stamps of records is the same
    S27  in a process with another hash seed, everything is the same

Must not know how a single run is judged.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import chain, zip_longest
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from msgspec.structs import replace

from harness import twice
from harness.quiet import with_and_without
from harness.shared.history import Fact
from harness.shared.implementation import ImplementationUnknown
from harness.shared.implementation import load as load_implementation
from harness.verdict import Finding, Verdict
from killswitch.core import audit
from killswitch.core.certificates import Approval, ResumeCertificate
from killswitch.core.events import Append, Boot, Durable, Input, Observe, Receive
from killswitch.core.keys import KeyedHash
from killswitch.core.machine import Implementation, NodeConfig
from killswitch.core.messages import Gossip, Order, OrderPush
from scenarios.deploy import configurations, host_of
from scenarios.dice import Stream
from scenarios.faults import CENTURY
from scenarios.schedule import ClockSpec, Schedule
from scenarios.units import NS_PER_UNIT, Span
from sim.driver import Played, play

SEQUENCES = 4
WALL_JUMPS = 3
JUMP = Span(-12 * NS_PER_UNIT["h"], 12 * NS_PER_UNIT["h"])
CLOCK_NS = 1_000_000_000  # when a node is handed its orders again; what time it is must not matter

Compare = Callable[[Schedule, Implementation, Played], Finding | None]


def findings(schedule: Schedule, implementation: Implementation, played: Played, wanted: Collection[str] = ()) -> list[Finding]:
    """Play the twins of a run that was played to its end; all of them if none is ``wanted``. A twin that does not apply says nothing."""
    judged = schedule.expect.invariants or TWINS
    chosen = [TWINS[name] for name in wanted or TWINS if name in TWINS and name in judged] if played.ended == "complete" else []
    made = (compare(schedule, implementation, played) for compare in chosen)
    return [finding for finding in made if finding is not None]


def merged(single: Iterable[Finding], twins: Iterable[Finding]) -> tuple[Finding, ...]:
    """One finding for each invariant: what a checker saw in the single run, unless that is valid and the twin says more."""
    found = {finding.invariant: finding for finding in single}
    for twin in twins:
        seen = found.get(twin.invariant)
        if seen is None or seen.verdict is Verdict.VALID:
            found[twin.invariant] = twin if seen is None else replace(twin, examined=seen.examined + twin.examined, skipped=seen.skipped)
    return tuple(found.values())


def not_judged(wanted: Collection[str], found: Iterable[Finding]) -> tuple[str, ...]:
    """What only a twin could have judged, and none did; ``wanted``: what was to be judged, everything if it is empty."""
    judged = {finding.invariant for finding in found}
    return tuple(name for name in ALONE if name not in judged and (not wanted or name in wanted))


def first_parting(one: Sequence[Any], other: Sequence[Any]) -> tuple[int, Any, Any] | None:
    """Index and both sides of the first place at which two sequences differ; `None` stands for an end."""
    return next(((index, a, b) for index, (a, b) in enumerate(zip_longest(one, other)) if a != b), None)


def _compared(invariant: str, what: str, pairs: Iterable[tuple[str, Sequence[Any], Sequence[Any]]]) -> Finding:
    """Steps before facts, as facts follow from them."""
    examined = 0
    for name, one, other in pairs:
        parting = first_parting(one, other)
        if parting is not None:
            index, a, b = parting
            why = f"{what}, {name} {index} is another: {_brief(a)} became {_brief(b)}"
            return Finding(invariant=invariant, verdict=Verdict.INVALID, why=why, examined=examined + index)
        examined += len(one)
    return Finding(invariant=invariant, verdict=Verdict.VALID, examined=examined)


def _brief(entry: Any) -> str:
    return "nothing" if entry is None else str(entry)[:300]


# -- S24: wall clocks


def other_walls(schedule: Schedule) -> Schedule:
    """The same, but every host's wall clock shows another year, and jumps by hours now and then."""

    def assigned(host: str) -> tuple[tuple[int, int], ...]:
        stream = Stream(f"{schedule.tape.seed}/twin/wall/{host}")
        ahead = stream.within(Span(-CENTURY // 2, CENTURY))
        times = sorted(stream.below(schedule.duration_ns) for _ in range(WALL_JUMPS))
        return ((0, ahead), *((at, ahead + stream.within(JUMP)) for at in times))

    nodes = configurations(schedule)
    clocks = {node: replace(schedule.clocks.get(node, ClockSpec()), wall=assigned(host_of(node))) for node in nodes}
    return replace(schedule, clocks=clocks)


def _wall(schedule: Schedule, implementation: Implementation, played: Played) -> Finding:
    other = play(other_walls(schedule), implementation)
    return _compared("S24", "with other wall clocks", [("step", played.trace, other.trace), ("fact", _unstamped(played), _unstamped(other))])


def _unstamped(played: Played) -> list[Fact]:
    """All facts but the stamps of records, in which wall clocks show, and which every message hands on."""
    return [fact for fact in played.history if fact.kind != "log-stamped"]


# -- S14: another tenant


def _tenant(schedule: Schedule, implementation: Implementation, played: Played) -> Finding | None:
    tenants = sorted({agent.tenant for agent in schedule.topology.agents})
    if len(tenants) < 2:
        return None
    gone = Stream(f"{schedule.tape.seed}/twin/tenant").pick(tenants)
    pair = [play(each, implementation) for each in with_and_without(schedule, played.history, gone)]
    own = {node for node in configurations(schedule) if node.count("/") == 2 and node.split("/")[1] != gone}
    steps = [[step for step in each.trace if step[1] in own] for each in pair]
    facts = [[fact for fact in _unstamped(each) if fact.node in own] for each in pair]
    return _compared("S14", f"without tenant {gone}", [("step", steps[0], steps[1]), ("fact", facts[0], facts[1])])


# -- S27: another process


def _process(schedule: Schedule, implementation: Implementation, played: Played) -> Finding:
    try:
        load_implementation(implementation.name)
    except ImplementationUnknown:
        why = f"another process cannot load {implementation.name!r}: give the object the name by which it is loaded, module:object"
        return Finding(invariant="S27", verdict=Verdict.UNKNOWN, why=why)
    with TemporaryDirectory(prefix="haltproof-twin-") as scratch:
        other = twice.elsewhere(schedule, implementation.name, Path(scratch))
    here = twice.footprint_of(played)
    if here.digest == other.digest:
        return Finding(invariant="S27", verdict=Verdict.VALID, examined=len(here.steps) + len(here.facts))
    index, what = twice.first_difference(here, other)
    entries: Sequence[Any] = played.trace if what == "step" else list(played.history)
    why = f"in a process with another hash seed, {what} {index} is another than {_brief(entries[index] if index < len(entries) else None)}"
    return Finding(invariant="S27", verdict=Verdict.INVALID, why=why, examined=index)


# -- S5: other sequences


def _sequences(schedule: Schedule, implementation: Implementation, played: Played) -> Finding | None:
    """Every replica and sidecar learns what is on its log again, in sequences of its own."""
    configs = configurations(schedule)
    examined = 0
    with implementation.installed():
        for node, (records, _) in played.logs.items():
            config = configs[node]
            news = _learned(records) if config.role in ("replica", "sidecar") else []
            if len(news) < 2:
                continue
            stream = Stream(f"{schedule.tape.seed}/twin/sequence/{node}")
            first = None
            for _ in range(SEQUENCES):
                sequence = _shuffled(news, stream)
                intent = _taught(implementation, config, played.secret, sequence)
                examined += 1
                if first is not None and intent != first:
                    why = f"{node} that learned the {len(news)} orders and certificates on its log in another sequence is at {intent}, not {first}"
                    return Finding(invariant="S5", verdict=Verdict.INVALID, why=why, examined=examined)
                first = intent
    return Finding(invariant="S5", verdict=Verdict.VALID, examined=examined) if examined else None


def _learned(records: Iterable[Any]) -> list[Order | ResumeCertificate]:
    """The orders and certificates of a log, as they came."""
    news: list[Order | ResumeCertificate] = []
    for record in records:
        if record.kind in ("ORDER_ACCEPTED", "ORDER_LEARNED"):
            body = audit.content(record)
            news.append(Order(body["raw"], body["signer"], body["signature"]))
        elif record.kind == "CERT_ACCEPTED":
            body = audit.content(record)
            news.append(ResumeCertificate(body["raw"], tuple(Approval(approver, signature) for approver, signature in body["approvals"])))
    return news


def _shuffled(news: Sequence[Order | ResumeCertificate], stream: Stream) -> list[Order | ResumeCertificate]:
    """Each at least once, one in three twice, in any sequence."""
    left = list(chain(news, (each for each in news if stream.below(3) == 0)))
    return [left.pop(stream.below(len(left))) for _ in range(len(left))]


def _taught(implementation: Implementation, config: NodeConfig, secret: bytes, news: Iterable[Order | ResumeCertificate]) -> tuple[Any, ...]:
    """What is in force at a fresh node that was handed ``news`` one by one, each durable before the next."""
    machine = implementation.machine(config, KeyedHash(secret, {config.node}))
    teacher = next(replica for replica in config.replicas if replica != config.node or len(config.replicas) == 1)
    intent: tuple[Any, ...] = ()
    inputs: Iterable[Input] = chain([Boot((), "boot-1", "twin")], (Receive(teacher, _carrier(config, each)) for each in news))
    for event in inputs:
        waiting: list[Input] = [event]
        while waiting:
            try:
                effects = machine.step(waiting.pop(0), CLOCK_NS)
            except Exception as error:  # noqa: BLE001  # what a step raises is for S27; here it is where this sequence led
                return (f"{type(error).__name__}: {error}",)
            lsns = [effect.record.seq for effect in effects if isinstance(effect, Append)]
            waiting += [Durable(max(lsns))] if lsns else []
            for effect in effects:
                if isinstance(effect, Observe) and effect.kind == "intent":
                    intent = tuple(effect.fields.values())
    return intent


def _carrier(config: NodeConfig, news: Order | ResumeCertificate) -> OrderPush | Gossip:
    orders = (news,) if isinstance(news, Order) else ()
    certificates = (news,) if isinstance(news, ResumeCertificate) else ()
    if config.role == "sidecar":
        return OrderPush(orders, certificates)
    return Gossip("", orders=orders, certificates=certificates)


TWINS: dict[str, Compare] = {"S5": _sequences, "S14": _tenant, "S24": _wall, "S27": _process}
ALONE = ("S24",)  # no checker sees it in a single run
