"""A live run beside a simulated one of the very same schedule: what both measured, and how far they are apart.

Owns what is compared, and how it adds up over a campaign. The simulation is played after the live run, and decides nothing about it: where
they disagree, it is the simulation's fidelity that is in question, and that is said and no more. Must not know how either is played.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from msgspec import structs

from harness.ranks import percentile
from harness.results import Beside, BesideRow, Disagreement, Figure, RunResult, Simulated
from harness.shared import implementation
from harness.shared.history import History, severity_name
from harness.single import Judged, simulate
from harness.verdict import Verdict
from scenarios.faults import FAULTS, SIM
from scenarios.schedule import Fault, Schedule


def simulated(live: Judged, implementation_name: str) -> Simulated:
    """What the simulator makes of the schedule of ``live``, but for faults that it does not have."""
    schedule, lacks = _simulable(live.schedule)
    judged = simulate(schedule, implementation.load(implementation_name))
    return Simulated(
        verdict=judged.result.verdict, broken=_broken(judged.result), ended=judged.result.ended, lacks=lacks, figures=figures(live, judged)
    )


def _simulable(schedule: Schedule) -> tuple[Schedule, tuple[str, ...]]:
    lacking = [entry for entry in schedule.timeline if isinstance(entry.action, Fault) and SIM not in FAULTS[entry.action.what].drivers]
    if not lacking:
        return schedule, ()
    timeline = tuple(entry for entry in schedule.timeline if entry not in lacking)
    return structs.replace(schedule, timeline=timeline), tuple(sorted({entry.action.what for entry in lacking if isinstance(entry.action, Fault)}))


def figures(live: Judged, simulated: Judged) -> tuple[Figure, ...]:
    """Every measure of both runs, paired by what it is about."""
    found = []
    for what, measure in MEASURES.items():
        here, there = measure(live), measure(simulated)
        found += [Figure(what=what, of=subject, live=here.get(subject), simulated=there.get(subject)) for subject in sorted(here | there)]
    return tuple(found)


def order_names(history: History) -> dict[str, str]:
    """{order id: a name that it has in both runs}. Ids differ, as nonces and keys do; what is ordered, and which of its like it is, does not."""
    names: dict[str, str] = {}
    alike: Counter[str] = Counter()
    for fact in history.of("order-learned"):
        body = fact.body
        if body["order"] not in names:
            name = f"{severity_name(body['gate'], body['life'])} on {' '.join(body['scope']).strip()}{' (escalated)' if body['parent'] else ''}"
            alike[name] += 1
            names[body["order"]] = name if alike[name] == 1 else f"{name}, no. {alike[name]}"
    return names


def _stop_times(run: Judged) -> dict[str, int]:
    """From an order being effective to an agent bound by it, process and all: the measure of service levels."""
    names = order_names(run.history)
    return {f"{names[stop.order]}, {stop.agent}": max(stop.last_admission_ns, stop.reaped_ns or 0) for stop in run.result.stop_times}


def _learning_times(run: Judged) -> dict[str, int]:
    """From a person's request to a sidecar that knows the order; only of orders of which the person was told."""
    names = order_names(run.history)
    asked_ns: dict[str, int] = {}
    for fact in run.history.of("order-requested"):
        asked_ns.setdefault(fact.body["request"], fact.at_ns)
    requests = {fact.body["order"]: fact.body["request"] for fact in run.history.of("order-status")}
    times: dict[str, int] = {}
    for fact in run.history.of("order-learned"):
        order, (role, _, agent) = fact.body["order"], fact.node.partition("/")
        if role == "sidecar" and requests.get(order) in asked_ns:
            times.setdefault(f"{names[order]}, {agent}", fact.at_ns - asked_ns[requests[order]])
    return times


def _applied(run: Judged) -> dict[str, int]:
    return {"": sum(not fact.body["again"] for fact in run.history.of("effect-applied"))}


MEASURES: dict[str, Callable[[Judged], dict[str, int]]] = {
    "stop_ns": _stop_times,
    "learned_ns": _learning_times,
    "stops": lambda run: {"": len(run.result.stop_times)},
    "applied": _applied,
    "admitted_late": lambda run: {"": sum(stop.admissions for stop in run.result.stop_times)},
    "fired": lambda run: {"": sum(fired for _, _, fired in run.result.faults.values())},
}
"""{what is compared: of one run, {which order and agent it is about, or nothing: how much}}."""


def summarise(runs: Sequence[RunResult]) -> Beside | None:
    """The whole campaign; None if nothing in it was played live."""
    pairs = [(run, run.simulated) for run in runs if run.simulated is not None]
    if not pairs:
        return None
    rows = []
    for scenario in dict.fromkeys(run.scenario for run, _ in pairs):
        measured = [figure for run, other in pairs if run.scenario == scenario for figure in other.figures]
        rows += [_row(scenario, what, [each for each in measured if each.what == what]) for what in MEASURES]
    return Beside(
        rows=tuple(row for row in rows if row.live is not None or row.simulated is not None),
        disagreements=tuple(found for run, other in pairs if (found := _disagreement(run, other)) is not None),
        lacks={run.scenario: other.lacks for run, other in pairs if other.lacks},
    )


def _row(scenario: str, what: str, measured: Sequence[Figure]) -> BesideRow:
    """Medians of the cases that both have, where there are any, so that what stands side by side is of the same cases."""
    differences = [each.live - each.simulated for each in measured if each.live is not None and each.simulated is not None]
    shown = [each for each in measured if each.live is not None and each.simulated is not None] or measured
    live, simulated = _median(each.live for each in shown), _median(each.simulated for each in shown)
    return BesideRow(
        scenario=scenario, what=what, pairs=len(differences), live=live, simulated=simulated,
        difference=live - simulated if differences and live is not None and simulated is not None else None,
        widest=max(differences, key=abs, default=None),
        only_live=sum(each.simulated is None for each in measured), only_simulated=sum(each.live is None for each in measured),
    )  # fmt: skip


def _median(values: Iterable[int | None]) -> int | None:
    known = sorted(value for value in values if value is not None)
    return percentile(known, 50) if known else None


def _broken(run: RunResult) -> tuple[str, ...]:
    return tuple(finding.invariant for finding in run.findings if finding.verdict is Verdict.INVALID)


def _disagreement(run: RunResult, other: Simulated) -> Disagreement | None:
    broken = _broken(run)
    only_live = tuple(each for each in broken if each not in other.broken)
    only_simulated = tuple(each for each in other.broken if each not in broken)
    if not only_live and not only_simulated:
        return None
    return Disagreement(
        scenario=run.scenario, seed=run.seed, live=run.verdict, simulated=other.verdict, only_live=only_live, only_simulated=only_simulated
    )
