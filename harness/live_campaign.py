"""Live runs, one after the other: played against real processes, judged like any other, and filed with the rest.

Owns how a live run becomes a result, and which is played again: one of which nothing can be said, and never one that was violated. Live runs share
cores and the clock, so a campaign plays one at a time; whoever plays two campaigns beside each other has each of them measure a noisier host.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from msgspec import Struct, structs

from harness import audit_store, beside, calibration, results_store
from harness.campaign import Outcome
from harness.checkers.jury import Jury
from harness.live import driver, lever
from harness.results import Attempt, Calibration, RunResult
from harness.shared import implementation
from harness.shared.history import History
from harness.shared.interruption import Terminated
from harness.single import Judged, StopConditions, result_of
from harness.verdict import Verdict
from harness.version import version
from scenarios import derive
from scenarios.draw import draw
from scenarios.model import Scenario
from scenarios.schedule import Schedule


class PlayedAll(Struct, kw_only=True):
    """All live runs, and what could not be cleaned up after any of them. ``halted``: why the safety lever kept the rest from starting."""

    outcome: Outcome
    left: list[str]
    halted: str = ""


def play_all(
    scenarios: Iterable[tuple[Path, Scenario]], seeds: Callable[[Scenario], Iterable[int]], implementation_name: str, out: Path,
    progress: Callable[[int, int], None] = lambda done, total: None, missing: Mapping[str, tuple[str, ...]] | None = None, retries: int = 0,
) -> PlayedAll:  # fmt: skip
    """Play every scenario over its seeds, but those for which something is ``missing``. Interrupting keeps what is done, and leaves nothing.

    A run whose verdict is unknown is played again, ``retries`` times at the most, and so is the last of a scenario that has not reached what it
    demands; all its plays are kept.
    """
    lacks = dict(missing or {})
    wanted = [(scenario, seed) for _, scenario in scenarios if scenario.scenario not in lacks for seed in seeds(scenario)]
    runs: list[RunResult] = []
    left: list[str] = []
    interrupted = terminated = False
    halted = why = ""
    noise: Calibration | None = None
    try:
        if wanted:
            first = {scenario.scenario: (scenario, seed) for scenario, seed in reversed(wanted)}
            noise, residue = calibration.calibrate([draw(*each, version()) for each in first.values()], _directory(out, "calibration"))
            left += residue
        last = {scenario.scenario: seed for scenario, seed in wanted}
        for scenario, seed in wanted:
            hoped, entries = (expected(scenario, runs), still_to_play(scenario, runs)) if seed == last[scenario.scenario] else ((), ())
            schedule, earlier = draw(scenario, seed, version()), tuple[Attempt, ...]()
            while True:
                judged, residue = play(schedule, implementation_name, out, noise)
                left += residue
                undecided = what_is_undecided(judged.result, hoped, entries) if len(earlier) < retries and not residue else ""
                run = structs.replace(judged.result, earlier=earlier)
                kept = results_store.keep_run(out, run, judged.schedule, judged.history, len(earlier) + 1 if undecided else 0)
                audit_store.keep(out / kept.kept, judged.trail)
                if not undecided:
                    break
                earlier += (Attempt(why=undecided, ended=kept.ended, wall_s=kept.wall_s, kept=kept.kept),)
            runs.append(kept)
            progress(len(runs), len(wanted))
    except driver.Halted as pulled:
        halted = str(pulled)
    except (KeyboardInterrupt, Terminated, Exception) as cut_short:  # whatever it was: what is done is kept, and it is told
        left += cut_short.left if isinstance(cut_short, driver.Unclean) else ()
        cause = cut_short.__cause__ if isinstance(cut_short, driver.Unclean) else cut_short
        terminated = isinstance(cause, Terminated)
        interrupted = terminated or isinstance(cause, KeyboardInterrupt)
        if not (interrupted or runs or left):
            raise
        how = "terminated" if terminated else "interrupted" if interrupted else "".join(traceback.format_exception(cause)).rstrip()
        why = f"{how} after {len(runs)} of {len(wanted)} runs"
    return PlayedAll(outcome=Outcome(runs, interrupted, why, terminated, lacks, noise), left=left, halted=halted)


def expected(scenario: Scenario, runs: Iterable[RunResult]) -> tuple[str, ...]:
    """The facts that a scenario demands of its runs together, and of which none of these has any."""
    reached = {kind for run in runs if run.scenario == scenario.scenario for kind, times in run.reached.items() if times}
    return tuple(fact for fact in map(str, scenario.expect.reached) if fact not in reached)


def still_to_play(scenario: Scenario, runs: Iterable[RunResult]) -> tuple[str, ...]:
    """The entries of the timeline of a scenario that came about in none of these runs."""
    so_far = [run for run in runs if run.scenario == scenario.scenario]
    return tuple(entry for entry in derive.entry_ids(scenario.timeline) if all(entry in run.not_played for run in so_far))


def what_is_undecided(run: RunResult, hoped: Iterable[str] = (), entries: Iterable[str] = ()) -> str:
    """What another play may say and this one could not: why its verdict is unknown, which of the facts that were ``hoped`` for it did not reach, or
    which ``entries`` of the timeline did not come about.

    Empty if nothing is: a violation has been decided, and so has what a stop condition or the safety lever ended.
    """
    if run.verdict is Verdict.INVALID or run.ended.startswith(("stop condition", lever.PREFIX)):
        return ""
    undecided = [f"{each.invariant}: {each.why}" for each in run.findings if each.verdict is Verdict.UNKNOWN]
    missed = [fact for fact in hoped if not run.reached.get(fact)]
    idle = [entry for entry in entries if entry in run.not_played]
    told = (f"not reached: {', '.join(missed)}" if missed else "", f"never came about: {', '.join(idle)}" if idle else "")
    return "; ".join(filter(None, (run.why, *undecided, *told)))


def play(schedule: Schedule, implementation_name: str, out: Path, noise: Calibration | None = None) -> tuple[Judged, tuple[str, ...]]:
    """One live run, judged, with the simulator's word on the same schedule; and what it left behind.

    ``noise``: of this host, when nothing was broken.
    """
    began = time.perf_counter()
    jury = Jury(schedule.expect.invariants)
    conditions = StopConditions(schedule, jury)
    directory = _directory(out, f"{schedule.scenario}-{schedule.seed}")
    played = driver.play(schedule, implementation_name, directory, conditions.watch if conditions.any else None)
    findings = Jury(schedule.expect.invariants) if conditions.any else jury
    history: History = played.history
    for fact in history:
        findings.see(fact)
    found = calibration.weigh(findings.findings(), noise, schedule.parameters.slack_ns)
    live = result_of(
        schedule, history, found, driver=driver.DRIVER, implementation=implementation.load(implementation_name).name,
        digest="", ended=played.ended, simulated_ns=played.wall_ns, wall_s=time.perf_counter() - began, fired=played.fired, why=played.why,
    )  # fmt: skip
    live.trail = audit_store.Trail(played.logs, public=played.public)
    live.result = structs.replace(live.result, simulated=beside.simulated(live, implementation_name))
    return live, played.left


def _directory(out: Path, name: str) -> Path:
    """Of one run; no two runs have the same."""
    return out / "live" / f"{name}-{time.time_ns():x}"
