"""The one place where a report's numbers are computed: results in, a view out, which HTML, Markdown and JUnit all show.

Owns what is counted and how it is put in order. Must not know any output format: everything here is plain text and numbers, already
rid of characters that mislead (`words.plain`), not yet escaped. Violations are seen through `violations`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

from harness import results_store
from harness.results import Campaign, RunResult, ScenarioSummary
from harness.shared.history import VOCABULARY
from harness.verdict import Verdict
from reports import beside, calibration, invariants, stop_times, violations
from reports.words import count, duration, plain, readable, unjudged

GLYPHS = {Verdict.VALID: "✓", Verdict.INVALID: "✕", Verdict.UNKNOWN: "?"}
SKIPS = {"partial": "◐", "skipped": "⊘"}
_TITLES = {Verdict.VALID: "Valid", Verdict.INVALID: "Invalid", Verdict.UNKNOWN: "Unknown"}


@dataclass(frozen=True, slots=True)
class Headline:
    """The answer: ``title`` in a word, ``sentence`` with what it rests on, ``facts`` as (name, value) pairs."""

    verdict: Verdict
    glyph: str
    title: str
    sentence: str
    facts: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Cell:
    """One invariant in one scenario: runs by verdict. ``vacuous``: it was valid only because nothing was there to examine.

    ``state`` is valid, partial (some instances were skipped), skipped (all were), vacuous, invalid, unknown, unjudged or absent; ``mark`` says the
    same in a character or two. ``skipped``: instances that lean on what was broken.
    """

    invariant: str
    valid: int
    invalid: int
    unknown: int
    examined: int
    skipped: int
    state: str
    mark: str


@dataclass(frozen=True, slots=True)
class Reach:
    """Which facts a scenario's runs reached: (fact, how often) for those demanded and those reached, names for those never."""

    demanded: tuple[tuple[str, int], ...]
    missed: tuple[str, ...]
    never: tuple[str, ...]
    reached: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class FaultRow:
    """One kind of fault over all runs. ``idle``: it was armed and never came into force or never made a difference."""

    what: str
    armed: int
    on: int
    fired: int
    idle: str


@dataclass(frozen=True, slots=True)
class RarityRow:
    """One rare state over the campaign: in how many runs it was possible, and how many reached it. ``wanted``: that one of so many ought to have."""

    name: str
    meaning: str
    possible: int
    reached: int
    wanted: bool


@dataclass(frozen=True, slots=True)
class ScenarioView:
    """One scenario. ``cells`` are in the order of `View.invariants`; ``by_verdict`` counts runs.

    ``notes``: what a reader has to know besides the invariants: why it is not valid, what it demanded and never reached, what it lacks.
    """

    name: str
    anchor: str
    hypothesis: str
    verdict: Verdict
    glyph: str
    word: str
    runs: int
    by_verdict: dict[Verdict, int]
    wall_s: float
    cells: tuple[Cell, ...]
    reach: Reach
    faults: tuple[FaultRow, ...]
    service_levels: tuple[str, ...]
    missing: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def broken(self) -> tuple[str, ...]:
        return tuple(cell.invariant for cell in self.cells if cell.invalid)

    @property
    def undecided(self) -> tuple[str, ...]:
        return tuple(cell.invariant for cell in self.cells if cell.unknown)

    @property
    def skipped(self) -> tuple[str, ...]:
        """What held as far as it could be judged, with how many instances were skipped; that of which there was nothing else comes first."""
        skips = sorted((cell for cell in self.cells if cell.state in ("partial", "skipped")), key=lambda cell: cell.state != "skipped")
        return tuple(f"{SKIPS[cell.state]} {cell.invariant} ({cell.skipped:,})" for cell in skips)


@dataclass(frozen=True, slots=True)
class View:
    """Everything that a report shows. ``scenarios``: violated ones first, then undecided ones. ``unjudged``: what no run was judged by, and what that
    needs, as a sentence."""

    headline: Headline
    driver: str
    invariants: tuple[str, ...]
    unjudged: str
    scenarios: tuple[ScenarioView, ...]
    faults: tuple[FaultRow, ...]
    never_reached: tuple[str, ...]
    rarities: tuple[RarityRow, ...]
    stops: tuple[stop_times.StopRow, ...]
    failures: tuple[violations.FailureView, ...]
    broken: tuple[violations.Broken, ...]
    beside: beside.BesideView | None
    calibration: calibration.CalibrationView | None
    again: tuple[str, ...]


def build(results_dir: Path) -> View:
    """Everything a report shows of the results in ``results_dir``. Raises `ValueError` naming a file that is missing or broken."""
    results = results_store.load(results_dir)
    campaign = results.campaign
    listed = {invariant for summary in campaign.scenarios for invariant in (*summary.invariants, *summary.not_judged)}
    ordered = tuple(sorted(listed, key=invariants.rank))
    examined: Counter[tuple[str, str]] = Counter()
    verdicts: Counter[tuple[str, Verdict]] = Counter()
    wall_s: dict[str, float] = defaultdict(float)
    for run in results.runs:
        verdicts[run.scenario, run.verdict] += 1
        wall_s[run.scenario] += run.wall_s
        for finding in run.findings:
            examined[run.scenario, finding.invariant] += finding.examined
    driver = plain(campaign.driver)
    scenarios = []
    worst_first = sorted(campaign.scenarios, key=lambda summary: (Verdict.INVALID, Verdict.UNKNOWN, Verdict.VALID).index(summary.verdict))
    for number, summary in enumerate(worst_first, start=1):
        by_verdict = {verdict: verdicts[summary.scenario, verdict] for verdict in Verdict}
        scenarios.append(_scenario(number, summary, ordered, examined, by_verdict, wall_s[summary.scenario], driver))
    lacking = campaign.scenarios or results.runs  # a run that was replayed stands alone
    not_judged = tuple(sorted({name for each in lacking for name in each.not_judged}, key=invariants.rank))
    failures = violations.view(results_dir, results)
    return View(
        headline=_headline(campaign, not_judged),
        driver=driver,
        invariants=tuple(plain(invariant) for invariant in ordered),
        unjudged=unjudged(not_judged, driver),
        scenarios=tuple(scenarios),
        faults=_faults(_added(campaign.scenarios)),
        never_reached=_never_reached(results.runs),
        rarities=_rarities(campaign),
        stops=stop_times.summarise(stop_times.table(results.runs)),
        failures=failures,
        broken=violations.by_invariant(failures),
        beside=beside.view(campaign.beside),
        calibration=calibration.view(campaign.calibration),
        again=tuple(f"{plain(each.scenario)}, seed {each.seed}, after play {each.play}: {readable(each.why)}" for each in campaign.played_again),
    )


def _headline(campaign: Campaign, not_judged: tuple[str, ...]) -> Headline:
    scenarios = count(len(campaign.scenarios), "scenario")
    runs = count(campaign.runs, "run")
    failed = [summary for summary in campaign.scenarios if summary.verdict is Verdict.INVALID]
    undecided = [summary for summary in campaign.scenarios if summary.verdict is Verdict.UNKNOWN]
    broken = sorted({failure.invariant for failure in campaign.failures if failure.verdict is Verdict.INVALID}, key=invariants.rank)
    if campaign.verdict is Verdict.INVALID:
        what = ", ".join(f"{plain(invariant)} {invariants.promise(invariant).name}".strip() for invariant in broken[:4])
        more = f" and {len(broken) - 4} more" if len(broken) > 4 else ""
        sentence = f"{what}{more} broke in {len(failed)} of {scenarios}." if broken else f"{len(failed)} of {scenarios} did not hold."
    elif campaign.verdict is Verdict.UNKNOWN:
        sentence = f"{len(undecided)} of {scenarios} could not be decided. Unknown is not a pass." if undecided else "Nothing was decided."
    else:
        of = f" of {scenarios}" if campaign.scenarios else ""  # a run that was replayed stands alone
        but = f" but {', '.join(map(plain, not_judged))}" if not_judged else ""
        sentence = f"Every invariant{but} held in {'its only run' if campaign.runs == 1 else f'all {runs}'}{of}."
        sentence += f" {unjudged(not_judged, campaign.driver)}" if not_judged else ""
    if campaign.vacuous and not undecided and not failed:
        sentence = f"No run reached {', '.join(plain(name) for name in campaign.vacuous)}: too little was tried to say that all is well."
    if campaign.verdict is Verdict.INVALID and undecided:
        sentence += f" {len(undecided)} more could not be decided."
    if campaign.played_again:
        sentence += f" {count(len(campaign.played_again), 'play')} decided nothing, and another followed."
    facts = (
        ("runs", f"{campaign.runs:,}"),
        ("wall time", duration(round(campaign.wall_s * 10**9))),
        ("runs per second", f"{campaign.runs_per_s:,.1f}" if campaign.runs_per_s < 100 else f"{campaign.runs_per_s:,.0f}"),
        ("driver", plain(campaign.driver)),
        ("implementation", plain(campaign.implementation)),
        ("version", plain(campaign.version)),
    )
    return Headline(campaign.verdict, GLYPHS[campaign.verdict], _TITLES[campaign.verdict], sentence, facts)


def _scenario(
    number: int,
    summary: ScenarioSummary,
    ordered: tuple[str, ...],
    examined: Counter[tuple[str, str]],
    by_verdict: dict[Verdict, int],
    wall_s: float,
    driver: str,
) -> ScenarioView:
    return ScenarioView(
        name=plain(summary.scenario),
        anchor=f"scenario-{number}",
        hypothesis=plain(summary.hypothesis),
        verdict=summary.verdict,
        glyph=GLYPHS[summary.verdict],
        word=_TITLES[summary.verdict].lower(),
        runs=summary.runs,
        by_verdict=by_verdict,
        wall_s=wall_s,
        cells=tuple(_cell(invariant, summary, examined[summary.scenario, invariant]) for invariant in ordered),
        reach=_reach(summary),
        faults=_faults(summary.faults),
        service_levels=tuple(plain(level) for level in summary.service_levels),
        missing=tuple(plain(capability) for capability in summary.missing),
        notes=_notes(summary, driver),
    )


def _notes(summary: ScenarioSummary, driver: str) -> tuple[str, ...]:
    why, missed = plain(summary.why), _missed(summary)
    notes = [why] if why else []
    if any(fact not in why for fact in missed):
        notes.append(f"Demanded and never reached: {', '.join(missed)}")
    if any(entry not in why for entry in summary.never_came_about):
        waiting = "; ".join(f"{plain(entry)}, which waits for {plain(what)}" for entry, what in summary.never_came_about.items())
        notes.append(f"Came about in no run: {waiting}")
    if summary.missing:
        notes.append(f"Not played: {driver} lacks {', '.join(plain(capability) for capability in summary.missing)}")
    return tuple(notes)


def _missed(summary: ScenarioSummary) -> tuple[str, ...]:
    return tuple(plain(fact) for fact in summary.demanded if not summary.reached.get(fact))


def _cell(invariant: str, summary: ScenarioSummary, examined: int) -> Cell:
    valid, invalid, unknown = summary.invariants.get(invariant, (0, 0, 0))
    runs, skipped = summary.skipped.get(invariant, (0, 0))
    if invalid:
        state, mark = "invalid", f"✕{invalid}"
    elif unknown:
        state, mark = "unknown", f"?{unknown}"
    elif not valid:
        state, mark = ("unjudged", "–") if invariant in summary.not_judged else ("absent", "")
    elif skipped:
        state = "partial" if examined else "skipped"
        mark = f"{SKIPS[state]}{runs}"
    else:
        state, mark = ("valid", "✓") if examined else ("vacuous", "○")
    return Cell(plain(invariant), valid, invalid, unknown, examined, skipped, state, mark)


def _reach(summary: ScenarioSummary) -> Reach:
    demanded = tuple((plain(fact), summary.reached.get(fact, 0)) for fact in summary.demanded)
    reached = sorted(summary.reached.items(), key=lambda item: (-item[1], item[0]))
    return Reach(
        demanded=demanded,
        missed=_missed(summary),
        never=tuple(plain(fact) for fact in summary.never_reached if fact not in summary.demanded),
        reached=tuple((plain(fact), times) for fact, times in reached if times),
    )


def _added(summaries: tuple[ScenarioSummary, ...]) -> dict[str, tuple[int, int, int]]:
    total: dict[str, tuple[int, int, int]] = {}
    for summary in summaries:
        for what, (armed, on, fired) in summary.faults.items():
            before = total.get(what, (0, 0, 0))
            total[what] = (before[0] + armed, before[1] + on, before[2] + fired)
    return total


def _faults(counts: dict[str, tuple[int, int, int]]) -> tuple[FaultRow, ...]:
    rows = []
    for what, (armed, on, fired) in sorted(counts.items()):
        idle = "never came into force" if armed and not on else "never made a difference" if on and not fired else ""
        rows.append(FaultRow(plain(what), armed, on, fired, idle))
    return tuple(rows)


def _rarities(campaign: Campaign) -> tuple[RarityRow, ...]:
    """Those that were reached least come first."""
    rows = [RarityRow(plain(name), plain(state.meaning), state.possible, state.reached, state.wanted) for name, state in campaign.rarities.items()]
    return tuple(sorted(rows, key=lambda row: (not row.wanted, row.reached * 1000 // max(row.possible, 1))))


def _never_reached(runs: tuple[RunResult, ...]) -> tuple[str, ...]:
    """The kinds of fact that no run of the campaign showed: what these results say nothing about."""
    seen = {kind for run in runs for kind, times in run.reached.items() if times}
    return tuple(kind for kind in VOCABULARY if kind not in seen)
