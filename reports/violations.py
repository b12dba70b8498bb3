"""Each failure with its proof: the witness facts in words, their timeline, and the command that shows it again.

Owns which failures are shown in full and in what order. A failure that is the same invariant in the same scenario as one already
shown is only listed by its seed: a reader needs one proof of each, a search engine needs them all and reads the JSON.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from harness import results_store
from harness.results import Failure, RunResult
from harness.results_store import Results
from harness.shared.history import History
from harness.verdict import Finding, Verdict
from reports import invariants, timeline
from reports.words import duration, instant, plain, ratio, readable, sentence

# Enough for a page that is read; the results hold the rest.
SHOWN_MOST = 12


@dataclass(frozen=True, slots=True)
class FactLine:
    """One witness fact: its number in the picture, when and where it was, and what it says. ``clock`` is empty if it shows true time."""

    number: int
    at: str
    node: str
    clock: str
    text: str


@dataclass(frozen=True, slots=True)
class FailureView:
    """One violated or undecided invariant of one run.

    ``shown``: in full, with a timeline if it has a witness; else by name only. ``measure`` compares the worst time of the run with its
    bound, where that was passed. ``proof`` says why there is no timeline. ``more``: in how many further runs the same scenario failed the
    same invariant; ``others``: (seed, replay command) of those that the campaign lists.
    """

    anchor: str
    shown: bool
    scenario: str
    seed: int
    invariant: str
    name: str
    promise: str
    verdict: Verdict
    why: str
    measure: str
    token: str
    replay: str
    witness_path: str
    facts: tuple[FactLine, ...]
    timeline: timeline.Timeline | None
    proof: str
    more: int
    others: tuple[tuple[int, str], ...]


@dataclass(frozen=True, slots=True)
class Broken:
    """All failures of one invariant: the one to look at first, and in how many runs of how many scenarios it failed."""

    first: FailureView
    runs: int
    scenarios: int


def by_invariant(failures: Iterable[FailureView]) -> tuple[Broken, ...]:
    """One line for each invariant and verdict, in the order of their first failures."""
    grouped: dict[tuple[Verdict, str], list[FailureView]] = {}
    for failure in failures:
        grouped.setdefault((failure.verdict, failure.invariant), []).append(failure)
    return tuple(Broken(group[0], sum(1 + failure.more for failure in group), len(group)) for group in grouped.values())


def view(results_dir: Path, results: Results) -> tuple[FailureView, ...]:
    """All failures, one for each scenario and invariant; the first `SHOWN_MOST` of them are `FailureView.shown` in full."""
    runs = {(run.scenario, run.seed): run for run in results.runs}
    alike: dict[tuple[Verdict, str, str], list[Failure]] = {}
    for failure in results.campaign.failures:
        alike.setdefault((failure.verdict, failure.scenario, failure.invariant), []).append(failure)
    groups = _each_promise_first(alike.values())
    totals = Counter((finding.verdict, run.scenario, finding.invariant) for run in results.runs for finding in run.findings)
    histories = _Histories(results_dir)
    seen = []
    for number, group in enumerate(groups, start=1):
        first = min(group, key=lambda failure: failure.seed)
        run = runs.get((first.scenario, first.seed))
        history = histories.shown(run) if run and number <= SHOWN_MOST else None
        others = tuple((failure.seed, plain(failure.replay)) for failure in sorted(group, key=lambda failure: failure.seed) if failure is not first)
        more = max(totals[first.verdict, first.scenario, first.invariant], len(group)) - 1
        complaint = histories.complaint if number <= SHOWN_MOST else ""
        seen.append(_failure(f"failure-{number}", number <= SHOWN_MOST, first, run, history, others, more, complaint))
    return tuple(seen)


def _each_promise_first(groups: Iterable[list[Failure]]) -> list[list[Failure]]:
    """Violations before what is undecided; of each invariant the first proof before the second of any, so that a page shows them all."""
    seen: Counter[tuple[Verdict, str]] = Counter()
    ranked = []
    for group in groups:
        kind = (group[0].verdict, group[0].invariant)
        ranked.append(((group[0].verdict is not Verdict.INVALID, seen[kind], invariants.rank(group[0].invariant)), group))
        seen[kind] += 1
    return [group for _, group in sorted(ranked, key=lambda pair: pair[0])]


class _Histories:
    """The kept histories, each read once while failures of the same run follow each other; never more than one in memory."""

    def __init__(self, results_dir: Path) -> None:
        self._results_dir = results_dir
        self._of: tuple[str, int] | None = None
        self._history: History | None = None
        self.complaint = ""

    def shown(self, run: RunResult) -> History | None:
        if self._of != (run.scenario, run.seed):
            self._of = (run.scenario, run.seed)
            self.complaint = ""
            try:
                self._history = results_store.load_history(self._results_dir, run)
            except ValueError as error:
                self._history, self.complaint = None, f"The history of this run cannot be read: {error}"
        return self._history


def _failure(
    anchor: str,
    shown: bool,
    failure: Failure,
    run: RunResult | None,
    history: History | None,
    others: tuple[tuple[int, str], ...],
    more: int,
    complaint: str,
) -> FailureView:
    promise = invariants.promise(failure.invariant)
    finding = next((finding for finding in run.findings if finding.invariant == failure.invariant), None) if run else None
    drawing = timeline.draw(history, finding, {stop.order: stop.bound_ns for stop in run.stop_times}) if run and history and finding else None
    return FailureView(
        anchor=anchor,
        shown=shown,
        scenario=plain(failure.scenario),
        seed=failure.seed,
        invariant=plain(failure.invariant),
        name=promise.name,
        promise=promise.sentence,
        verdict=failure.verdict,
        why=readable(failure.why),
        measure=_measure(finding),
        token=plain(failure.token),
        replay=plain(failure.replay).replace("\n", " "),
        witness_path=plain(failure.witness),
        facts=_fact_lines(history, finding) if history and finding else (),
        timeline=drawing,
        proof="" if drawing else _no_proof(run, history, finding, complaint),
        more=more,
        others=others,
    )


def _measure(finding: Finding | None) -> str:
    """The timed bound that was broken; empty if the finding has none, or was broken in another way than by being late."""
    if finding is None or finding.observed_ns is None or not finding.bound_ns or finding.observed_ns <= finding.bound_ns:
        return ""
    share = ratio(finding.observed_ns / finding.bound_ns)
    return f"worst in this run {duration(finding.observed_ns)}, bound {duration(finding.bound_ns)}, ratio {share}"


def _fact_lines(history: History, finding: Finding) -> tuple[FactLine, ...]:
    facts = [history.facts[index] for index in finding.witness if 0 <= index < len(history)]
    return tuple(
        FactLine(number, instant(fact.at_ns), plain(fact.node), instant(fact.clock_ns) if fact.clock_ns != fact.at_ns else "", sentence(fact))
        for number, fact in enumerate(facts, start=1)
    )


def _no_proof(run: RunResult | None, history: History | None, finding: Finding | None, complaint: str) -> str:
    if complaint:
        return plain(complaint)
    if run is None:
        return "The results hold no run of this scenario and seed."
    if history is None:
        return "The history of this run is not shown here; replay it to see it."
    if finding is None:
        return "This is no finding of a checker, so no single fact proves it."
    return "The checker names no fact as its witness."
