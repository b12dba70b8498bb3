"""Whether a campaign and its runs tell the same story: what `haltproof report` asks before it shows either.

Owns the comparison of ``campaign.json`` with the lines of ``runs.jsonl``, that of files with their digests, and the refusal. Must not know how any is
written. Whoever cuts a line off, or turns a verdict by hand, has to be told so, and not be shown a page that looks as if nothing had happened.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness import digests, results_store, summary
from harness.ranks import percentile
from harness.results import Campaign, RunResult, ScenarioSummary
from harness.token import TokenInvalid, parse
from harness.verdict import Verdict, compose

TOLD_MAX = 20
UNTOLD = "whether a file in it was edited cannot be told"

Problems = Iterator[str]


def demand(out: Path) -> str:
    """What cannot be told of the results directory ``out``, in words; empty if nothing. Raises `ValueError` with all that does not fit in it, or what
    `results_store.load` finds wrong with it."""
    campaign, runs = results_store.load(out)
    changed = _changed(out, campaign, runs)
    place = out / results_store.RUNS_FILE
    differing = [f"{place}: {problem}" for problem in problems(campaign, runs)] or results_store.kept_problems(out, runs)
    found = [*changed, *differing]
    if found:
        raise ValueError(
            "\n".join((*found[:TOLD_MAX], f"{out}: these results were edited or cut short, and are not shown; play them again, or restore them"))
        )
    return "" if campaign.files else f"{out}: written before results had digests: {UNTOLD}"


def _changed(out: Path, campaign: Campaign, runs: Sequence[RunResult]) -> list[str]:
    """Files that are not what was written, with the command that writes those of a kept run anew; where there are no digests, what shows without."""
    if not (campaign.files or campaign.seal):
        kept = (place for run in runs if run.kept for place in sorted((out / run.kept).glob("*.json*")))
        return [problem for place in (out / results_store.CAMPAIGN_FILE, out / results_store.RUNS_FILE, *kept) for problem in digests.repeated(place)]
    again = {run.kept: f"; play it again: haltproof replay '{run.token}' --out DIR" for run in runs if run.kept and run.driver == "sim"}
    return [f"{problem}{again.get('/'.join(file.split('/')[:2]), '')}" for file, problem in digests.problems(out, campaign.files, campaign.seal)]


def problems(campaign: Campaign, runs: Sequence[RunResult]) -> list[str]:
    """Everything in which the two differ, each as ``field: problem``; empty if they agree."""
    return list(dict.fromkeys((*_whole(campaign, runs), *_each(campaign, runs))))


def _differs(field: str, said: object, found: object) -> Problems:
    if said != found:
        yield f"{field}: campaign.json says {said}, and the lines of runs.jsonl make {found}"


def _whole(campaign: Campaign, runs: Sequence[RunResult]) -> Problems:
    yield from _differs("runs", campaign.runs, len(runs))
    for (scenario, seed), times in Counter((run.scenario, run.seed) for run in runs).items():
        if times > 1:
            yield f"runs: {scenario!r}, seed {seed} stands in {times} lines"
    known = {each.scenario: each for each in campaign.scenarios}
    for name in sorted({run.scenario for run in runs} - known.keys() if known else ()):
        yield f"scenarios: campaign.json has no {name!r}, and runs.jsonl has runs of it"
    for each in campaign.scenarios:
        yield from _scenario(each, [run for run in runs if run.scenario == each.scenario])
    stop_ns = sorted(stop.last_admission_ns for run in runs for stop in run.stop_times)
    if campaign.stop_time and stop_ns:
        yield from _differs("stop_time", campaign.stop_time, {f"p{percent}_ns": percentile(stop_ns, percent) for percent in (50, 99, 100)})
    played = [each.verdict for each in campaign.scenarios if not each.missing] if campaign.scenarios else [run.verdict for run in runs]
    if campaign.verdict is Verdict.VALID and compose(played) is not Verdict.VALID:
        yield f"verdict: valid, and all that was played comes to {compose(played)}"
    if campaign.verdict is not Verdict.INVALID and Verdict.INVALID in (*played, *(run.verdict for run in runs)):
        yield f"verdict: {campaign.verdict}, and there is a violation"
    if campaign.verdict is Verdict.INVALID and Verdict.INVALID not in (*played, *(run.verdict for run in runs)):
        yield "verdict: invalid, and nothing that was played is"
    yield from _failures(campaign, runs)
    yield from _differs("played_again", campaign.played_again, summary.played_again(runs))


def _scenario(said: ScenarioSummary, runs: Sequence[RunResult]) -> Problems:
    name = repr(said.scenario)
    yield from _differs(f"{name}: runs", said.runs, len(runs))
    counted = summary.invariant_counts(runs)
    for invariant in (*said.invariants, *counted):
        if said.invariants.get(invariant) != counted.get(invariant):
            yield from _differs(f"{name}: {invariant} (valid, invalid, unknown)", said.invariants.get(invariant), counted.get(invariant))
            break  # the first of them: a run that is missing is missing from all
    yield from _differs(f"{name}: skipped", said.skipped, summary.skip_counts(runs))
    yield from _differs(f"{name}: not_judged", said.not_judged, summary.not_judged(runs))
    yield from _differs(f"{name}: spent", said.spent, sum(run.spent for run in runs))
    for entry in said.never_came_about:
        if any(entry not in run.not_played for run in runs if run.ended == summary.COMPLETE):
            yield f"{name}: never_came_about: {entry!r} in campaign.json, and it came about in a run"
    verdicts = Counter(run.verdict for run in runs)
    if verdicts[Verdict.INVALID] and said.verdict is not Verdict.INVALID:
        yield f"{name}: verdict: {said.verdict} in campaign.json, and {verdicts[Verdict.INVALID]} runs are invalid"
    if said.verdict is Verdict.VALID and (not runs or verdicts[Verdict.UNKNOWN]):
        yield f"{name}: verdict: valid in campaign.json, and {verdicts[Verdict.UNKNOWN]} of {len(runs)} runs are unknown"
    missed = any(level.startswith("missed") for level in said.service_levels)
    if said.verdict is Verdict.INVALID and not verdicts[Verdict.INVALID] and not missed:
        yield f"{name}: verdict: invalid in campaign.json, and no run is"


def _failures(campaign: Campaign, runs: Sequence[RunResult]) -> Problems:
    """The failures of the campaign are those of its runs, as many of them as a campaign tells."""
    told = Counter((each.scenario, each.seed, each.invariant, each.verdict) for each in campaign.failures)
    there = Counter(
        (run.scenario, run.seed, *found)
        for run in runs
        for found in (
            *((each.invariant, each.verdict) for each in run.findings if each.verdict is not Verdict.VALID),
            *([("run", Verdict.UNKNOWN)] if run.why else []),
        )
    )
    for scenario, seed, invariant, verdict in told - there:
        yield f"failures: campaign.json tells of {invariant} {verdict} in {scenario!r}, seed {seed}, and runs.jsonl does not"
    if len(campaign.failures) < summary.FAILURES_MAX:
        for scenario, seed, invariant, verdict in there - told:
            yield f"failures: runs.jsonl tells of {invariant} {verdict} in {scenario!r}, seed {seed}, and campaign.json does not"


def _each(campaign: Campaign, runs: Sequence[RunResult]) -> Problems:
    for number, run in enumerate(runs, start=1):
        earned = compose(finding.verdict for finding in run.findings)
        earned = Verdict.UNKNOWN if run.why and earned is Verdict.VALID else earned
        if run.findings and run.verdict is not earned:
            yield f"line {number}: verdict: {run.verdict}, and its findings come to {earned}"
        if run.driver != campaign.driver:
            yield f"line {number}: driver: {run.driver!r}, and the campaign was played by {campaign.driver!r}"
        try:
            token = parse(run.token)
        except TokenInvalid:
            continue
        if (token.scenario, token.seed) != (run.scenario, run.seed):
            yield f"line {number}: its token is of {token.scenario!r}, seed {token.seed}, and it says {run.scenario!r}, seed {run.seed}"
