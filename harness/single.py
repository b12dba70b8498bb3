"""One run from end to end: a schedule is played, judged, counted, and becomes a result.

Owns what is read off a history beyond the verdicts: facts reached, faults armed, on and fired, stop times. The driver is a parameter.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection

from msgspec import Struct

from harness import rarities, twins
from harness.audit_store import Trail
from harness.checkers.jury import Jury
from harness.checkers.stop_times import stop_times
from harness.results import RunResult
from harness.shared import operations
from harness.shared.history import Fact, History
from harness.token import token_of
from harness.verdict import Finding, Verdict, compose
from killswitch.core.machine import Implementation
from scenarios import triggers
from scenarios.schedule import Fault, Schedule
from sim import driver as sim_driver
from sim.queue import collector_at_rest, sweep


class Judged(Struct, kw_only=True):
    """A run and everything that is known of it while it is in memory. ``trail``: the logs that its nodes left, if the driver has them at hand."""

    result: RunResult
    schedule: Schedule
    history: History
    trail: Trail | None = None


def simulate(schedule: Schedule, implementation: Implementation, twinned: Collection[str] | None = None) -> Judged:
    """Play a schedule in the simulator and judge it; with ``twinned``, those twins are played too, or all of them if none is named."""
    with collector_at_rest():
        sweep()
        return _simulate(schedule, implementation, twinned)


def _simulate(schedule: Schedule, implementation: Implementation, twinned: Collection[str] | None) -> Judged:
    began = time.perf_counter()
    jury = Jury(schedule.expect.invariants)
    conditions = StopConditions(schedule, jury)
    played = sim_driver.play(schedule, implementation, conditions.watch if conditions.any else None, keep_trace=twinned is not None)
    for fact in played.history.facts[conditions.seen :]:
        jury.see(fact)
    found = jury.findings()
    if twinned is not None:
        found = twins.merged(found, twins.findings(schedule, implementation, played, twinned))
    judged = result_of(
        schedule, played.history, found, driver=sim_driver.DRIVER, implementation=implementation.name, digest=played.digest,
        ended=played.ended, simulated_ns=played.simulated_ns, wall_s=time.perf_counter() - began, fired=played.fired,
        why=f"cut short: {played.ended}" if played.cut_short else "",
    )  # fmt: skip
    judged.trail = Trail(played.logs, played.secret)
    return judged


def result_of(
    schedule: Schedule, history: History, findings: tuple[Finding, ...], *, driver: str, implementation: str, digest: str, ended: str,
    simulated_ns: int, wall_s: float, fired: dict[str, int] | None = None, why: str = "",
) -> Judged:  # fmt: skip
    """The result of a run that any driver played. ``why``: what makes the run as a whole unknown; empty if nothing does."""
    why = why or in_vain(history)
    verdict = compose(finding.verdict for finding in findings)
    if why and verdict is Verdict.VALID:
        verdict = Verdict.UNKNOWN
    result = RunResult(
        scenario=schedule.scenario, seed=schedule.seed, driver=driver, implementation=implementation, verdict=verdict, findings=findings,
        digest=digest, token=str(token_of(schedule, implementation)), reached=reached(schedule, history),
        faults=fault_counts(schedule, history, fired or {}), stop_times=stop_times(history), wall_s=wall_s, simulated_ns=simulated_ns,
        facts=len(history), ended=ended, why=why, spent=spent(schedule, history), rarities=rarities.recognised(schedule, history),
        not_played=not_played(schedule, history), not_judged=twins.not_judged(schedule.expect.invariants, findings),
    )  # fmt: skip
    return Judged(result=result, schedule=schedule, history=history)


def reached(schedule: Schedule, history: History) -> dict[str, int]:
    """How often each kind of fact occurred, and each fact that the scenario demands, under the words of the demand."""
    counts = Counter(fact.kind for fact in history)
    for demanded in schedule.expect.reached:
        match = triggers.fact(demanded)
        if match.where:
            counts[demanded] = sum(match.holds(fact.kind, fact.node, fact.body) for fact in history.of(match.kind))
    return dict(sorted(counts.items()))


def in_vain(history: History) -> str:
    """Which faults proved nothing, and why: those that no measurement saw, and those that befell nobody. Empty if there are none."""
    unseen = [f"{fact.body['fault']}: {fact.body['measured']}" for fact in history.of("fault-unattested")]
    idle = [f"{fact.body['fault']} ({fact.body['what']}): {fact.body['measured']}" for fact in history.of("fault-idle")]
    told = (f"not seen to have happened: {'; '.join(unseen)}" if unseen else "", f"befell nobody: {'; '.join(idle)}" if idle else "")
    return "; ".join(filter(None, told))


def not_played(schedule: Schedule, history: History) -> tuple[str, ...]:
    """The entries of the timeline that never came about, because what they wait for did not, or the run was over by then."""
    begun = {fact.body["fault"] for fact in history.of("fault-on")} | {fact.body["operation"] for fact in history.of("operation-played")}
    return tuple(entry.id for entry in schedule.timeline if entry.id not in begun)


def spent(schedule: Schedule, history: History) -> int:
    """What the effects that took place have cost, in cents. An answer repeated for a known key costs nothing; nor is undoing paid for again."""
    costs = {work.task: work.cost for work in schedule.work if work.cost}
    if not costs:
        return 0
    tasks = {(fact.body["agent"], fact.body["key"]): fact.body["task"] for fact in history.of("effect-admitted")}
    bills = (fact.body for fact in history.of("effect-applied") if not fact.body["again"] and fact.body["cls"] != "undo")
    return sum(costs.get(tasks.get((bill["agent"], bill["key"]), ""), 0) for bill in bills)


def fault_counts(schedule: Schedule, history: History, fired: dict[str, int]) -> dict[str, tuple[int, int, int]]:
    """{kind of fault: (armed, on, fired)}, where fired counts the faults that made a difference."""
    kinds = {entry.id: entry.action.what for entry in schedule.timeline if isinstance(entry.action, Fault)}
    counts: dict[str, list[int]] = {what: [0, 0, 0] for what in sorted(kinds.values())}
    for fact in history.of("fault-armed", "fault-on"):
        counts[fact.body["what"]][fact.kind == "fault-on"] += 1
    did = {fact.body["fault"] for fact in history.of("fault-fired")} | set(fired)
    for fault in did & kinds.keys():
        counts[kinds[fault]][2] += 1
    return {what: (armed, on, difference) for what, (armed, on, difference) in counts.items()}


class StopConditions:
    """Ends a run early when one of the scenario's stop conditions holds. Judges on the way, so that violations can be one of them.

    ``seen``: how many facts it was told of, and the jury with it.
    """

    def __init__(self, schedule: Schedule, jury: Jury) -> None:
        self._conditions = schedule.stop_when
        self._jury = jury
        self.seen = 0
        self._readings: dict[str, Callable[[], int]] = {
            "facts": lambda: self.seen,
            "violations": lambda: len(jury.violated),
            "unbounded-agents": lambda: int("S1" in jury.violated),
        }

    @property
    def any(self) -> bool:
        return bool(self._conditions)

    def watch(self, fact: Fact) -> None:
        """Take the next fact. Raises `operations.Stopped` when a condition holds."""
        self.seen += 1
        self._jury.see(fact)
        for condition in self._conditions:
            if self._readings[condition.quantity]() > condition.above:
                raise operations.Stopped(f"stop condition: {condition.quantity} above {condition.above}")
