"""How runs add up: per scenario, per invariant, per failure, to one verdict.

Owns the arithmetic of verdicts over a campaign. A demanded fact that no run reached, or an entry of the timeline that came about in none, makes its
scenario unknown, and a rare state that many runs could have reached and none did the campaign: it was passed vacuously. A missed service level is a
violation. Reads results only.
"""

from __future__ import annotations

import shlex
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from harness import beside, rarities
from harness.ranks import percentile
from harness.results import Campaign, Failure, PlayedAgain, RareState, RunResult, ScenarioSummary
from harness.shared.history import VOCABULARY
from harness.verdict import Verdict, compose
from scenarios import derive
from scenarios.model import Scenario
from scenarios.units import MS_NS

FAILURES_MAX = 100
COMPLETE = "complete"  # how a run ended that nothing cut short
SEVERAL = 3  # scenarios of which one ought to come to a rare state that all of them have the means for
GONE = ", each to its last effect and the process gone"


def summarise(
    runs: Sequence[RunResult], scenarios: Mapping[str, Scenario], *, driver: str, implementation: str, version: str, wall_s: float, out: Path,
    replay: str, cut_short: str = "", files: Mapping[str, str] | None = None, missing: Mapping[str, tuple[str, ...]] | None = None,
) -> Campaign:  # fmt: skip
    """The campaign document. ``scenarios`` in the order in which they are to be shown; ``files``: {scenario: its file} of those outside the library.

    ``cut_short``: why not all runs were played; then nothing is valid, for what is missing might have been violated. ``missing``: {scenario: the
    capabilities for want of which it was not played}; what was not asked for says nothing of the rest.
    """
    lacks = missing or {}
    summaries = [
        summarise_scenario(scenario, [run for run in runs if run.scenario == name], cut_short, lacks.get(name, ()))
        for name, scenario in scenarios.items()
    ]
    seen = rare_states(runs)
    verdicts = [summary.verdict for summary in summaries if not summary.missing] + (
        [Verdict.UNKNOWN] if cut_short or any(state.wanted for state in seen.values()) else []
    )
    failures = [failure for run in runs for failure in failures_of(run, out, replay, (files or {}).get(run.scenario, ""))]
    stop_ns = sorted(stop.last_admission_ns for run in runs for stop in run.stop_times)
    return Campaign(
        verdict=compose(verdicts), driver=driver, implementation=implementation, version=version, runs=len(runs), wall_s=wall_s,
        runs_per_s=len(runs) / wall_s if wall_s else 0.0, scenarios=tuple(summaries), failures=tuple(failures[:FAILURES_MAX]),
        stop_time={f"p{percent}_ns": percentile(stop_ns, percent) for percent in (50, 99, 100)} if stop_ns else {},
        out=str(out), report=str(out / "report.html"), rarities=seen, beside=beside.summarise(runs),
        played_again=played_again(runs),
    )  # fmt: skip


def summarise_scenario(scenario: Scenario, runs: Sequence[RunResult], cut_short: str = "", missing: tuple[str, ...] = ()) -> ScenarioSummary:
    """One scenario over all its runs."""
    demanded = tuple(str(fact) for fact in scenario.expect.reached)
    reached: Counter[str] = Counter()
    faults: dict[str, list[int]] = {}
    for run in runs:
        reached.update({kind: count for kind, count in run.reached.items() if count})
        for what, counts in run.faults.items():
            faults[what] = [total + count for total, count in zip(faults.get(what, [0, 0, 0]), counts, strict=True)]
    vacuous = [fact for fact in demanded if not reached[fact]]
    idle = never_came_about(scenario, runs)
    levels = service_levels(scenario, runs)
    missed = [level for level in levels if level.startswith("missed")]
    verdict = compose(run.verdict for run in runs)
    why = next((run.why for run in runs if run.why), "")
    if missed and verdict is Verdict.VALID:
        verdict, why = Verdict.INVALID, f"service level {missed[0]}"
    elif vacuous and verdict is Verdict.VALID:
        verdict, why = Verdict.UNKNOWN, f"vacuous: no run reached {', '.join(vacuous)}; play more seeds, or mend the scenario"
    elif idle and verdict is Verdict.VALID:
        waiting = "; ".join(f"{entry!r} waits for {waits_for}" for entry, waits_for in idle.items())
        verdict, why = Verdict.UNKNOWN, f"vacuous: what the timeline says came about in no run: {waiting}; play more seeds, or mend the scenario"
    elif missing:
        verdict, why = Verdict.UNKNOWN, f"not played: {'; '.join(missing)}"
    elif cut_short and verdict is not Verdict.INVALID:
        verdict, why = Verdict.UNKNOWN, cut_short
    elif not runs:
        why = "no run was finished"
    unseen = sorted(kind for kind in VOCABULARY if not reached[kind] and kind not in vacuous)
    return ScenarioSummary(
        scenario=scenario.scenario, hypothesis=scenario.hypothesis, verdict=verdict, runs=len(runs), invariants=invariant_counts(runs),
        reached=dict(sorted(reached.items())), never_reached=(*vacuous, *unseen),
        demanded=demanded, faults={what: (armed, on, fired) for what, (armed, on, fired) in sorted(faults.items())},
        service_levels=tuple(levels), spent=sum(run.spent for run in runs), missing=missing, why=why,
        never_came_about=idle, skipped=skip_counts(runs), not_judged=not_judged(runs),
    )  # fmt: skip


def never_came_about(scenario: Scenario, runs: Iterable[RunResult]) -> dict[str, str]:
    """{entry of the timeline that came about in none of the runs: what it waits for, as the file says it}. Only a run that went on to its end can
    tell: what ended another is what kept the rest of its timeline from coming."""
    whole = [run for run in runs if run.ended == COMPLETE]
    entries = zip(derive.entry_ids(scenario.timeline), scenario.timeline, strict=True)
    return {name: derive.waits_for(entry) for name, entry in entries if whole and all(name in run.not_played for run in whole)}


def played_again(runs: Iterable[RunResult]) -> tuple[PlayedAgain, ...]:
    """Every play of a run that decided nothing, and was followed by another."""
    return tuple(
        PlayedAgain(scenario=run.scenario, seed=run.seed, play=number, why=attempt.why, kept=attempt.kept)
        for run in runs
        for number, attempt in enumerate(run.earlier, start=1)
    )


def rare_states(runs: Sequence[RunResult]) -> dict[str, RareState]:
    """Each rare state that was possible in some run, in the order of their table. One is wanted of several scenarios together: a single one has the
    means for some that its course does not come to, and says in its `expect` what it is for."""
    possible, reached, scenarios = Counter[str](), Counter[str](), defaultdict[str, set[str]](set)
    for run in runs:
        possible.update(run.rarities.keys())
        reached.update(name for name, times in run.rarities.items() if times)
        for name in run.rarities:
            scenarios[name].add(run.scenario)
    return {
        rarity.name: RareState(
            meaning=rarity.meaning, possible=possible[rarity.name], reached=reached[rarity.name],
            wanted=possible[rarity.name] >= rarity.within and len(scenarios[rarity.name]) >= SEVERAL and not reached[rarity.name],
        )
        for rarity in rarities.RARITIES if possible[rarity.name]
    }  # fmt: skip


def invariant_counts(runs: Sequence[RunResult]) -> dict[str, tuple[int, int, int]]:
    """{invariant: (valid, invalid, unknown)} over all runs."""
    counts: dict[str, Counter[Verdict]] = {}
    for run in runs:
        for finding in run.findings:
            counts.setdefault(finding.invariant, Counter())[finding.verdict] += 1
    return {id_: (each[Verdict.VALID], each[Verdict.INVALID], each[Verdict.UNKNOWN]) for id_, each in counts.items()}


def skip_counts(runs: Iterable[RunResult]) -> dict[str, tuple[int, int]]:
    """{invariant: (runs in which instances of it were skipped, such instances)}."""
    counts: dict[str, tuple[int, int]] = {}
    for run in runs:
        for finding in run.findings:
            if finding.skipped:
                times, instances = counts.get(finding.invariant, (0, 0))
                counts[finding.invariant] = (times + 1, instances + finding.skipped)
    return counts


def not_judged(runs: Sequence[RunResult]) -> tuple[str, ...]:
    """What every run lacked the twins for."""
    return tuple(name for name in (runs[0].not_judged if runs else ()) if all(name in run.not_judged for run in runs))


def service_levels(scenario: Scenario, runs: Sequence[RunResult]) -> list[str]:
    """What the scenario promises of stop times, over all its runs: a sentence for each, beginning with kept, missed or unmeasured. A stop time ends
    when the last effect is out and, if the order ends the process, that is gone as well."""
    times = sorted(max(stop.last_admission_ns, stop.reaped_ns or 0) for run in runs for stop in run.stop_times)
    levels = []
    for name, under_ns in sorted(scenario.expect.stop_time.items()):
        percent = int(name[1:])
        promise = f"stop-time {name} under {under_ns / MS_NS:.0f} ms"
        if not times:
            levels.append(f"unmeasured: {promise}")
            continue
        measured = percentile(times, percent)
        levels.append(f"{'kept' if measured < under_ns else 'missed'}: {promise}, measured {measured / MS_NS:.0f} ms over {len(times)} stops{GONE}")
    return levels


def failures_of(run: RunResult, out: Path, replay: str, file: str = "") -> list[Failure]:
    """A failure for each invariant that did not hold, and one for the run if it is unknown as a whole."""
    command = f"{replay} '{run.token}'" + (f" --scenario {shlex.quote(file)}" if file else "")
    if run.driver != "sim":
        command = f"haltproof run --live {shlex.quote(file or run.scenario)} --seeds {run.seed}..{run.seed}"
    witness = str(out / run.kept) if run.kept else ""
    common = {"scenario": run.scenario, "seed": run.seed, "token": run.token, "witness": witness, "replay": command}
    found = [
        Failure(invariant=finding.invariant, verdict=finding.verdict, why=finding.why, **common)  # type: ignore[arg-type]  # of the fields' own types
        for finding in run.findings
        if finding.verdict is not Verdict.VALID
    ]
    if run.why:
        found.append(Failure(invariant="run", verdict=Verdict.UNKNOWN, why=run.why, **common))  # type: ignore[arg-type]  # as above
    return found
