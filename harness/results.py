"""Results on disk: what a run or campaign leaves, and what every report is rendered from.

Owns the documents and their files. Knows verdicts and facts; does not know how a run was played.

A results directory holds ``campaign.json`` (`Campaign`), ``runs.jsonl`` and ``runs.parquet`` (`RunResult`, a line or row each), and
for every run that is not valid (and the first run of each scenario) ``runs/<scenario>-<seed>/`` with ``schedule.json``,
``history.jsonl`` and ``findings.json``.
"""

from __future__ import annotations

from msgspec import Struct

from harness.verdict import Finding, Verdict

CAMPAIGN_SCHEMA = "haltproof/campaign/1"


class StopTime(Struct, frozen=True, kw_only=True):
    """How long one effective order took to bind one agent: from t0 to its last admission that the order forbids (0 if none), and to its
    process being reaped (None if the order does not end the process, or it never was). ``bound_ns`` is B(o) of theorem T1.
    ``admissions``: how many it forbids there were after t0."""

    order: str
    agent: str
    severity: str
    last_admission_ns: int
    reaped_ns: int | None
    bound_ns: int
    admissions: int = 0


class Figure(Struct, frozen=True, kw_only=True):
    """One thing measured in a live run and in the simulator's run of the same schedule. ``what`` ends in ``_ns`` if it is a time, else it is a count.

    ``of``: which order and agent it is about; empty if it is about the run. None: it did not happen there.
    """

    what: str
    of: str
    live: int | None
    simulated: int | None


class Simulated(Struct, frozen=True, kw_only=True):
    """What the simulator made of the schedule of a live run. ``broken``: the invariants it violated. ``lacks``: faults that only the live driver has,
    and that the simulation therefore went without."""

    verdict: Verdict
    broken: tuple[str, ...]
    ended: str
    lacks: tuple[str, ...]
    figures: tuple[Figure, ...]


class Attempt(Struct, frozen=True, kw_only=True):
    """An earlier play of a live run, which decided nothing, so that the run was played again. ``why``: what was undecided; ``kept``: as of a run."""

    why: str
    ended: str
    wall_s: float
    kept: str


class RunResult(Struct, frozen=True, kw_only=True):
    """One run. ``reached``: how often each kind of fact occurred; ``rarities``: how often each rare state that was possible did. ``faults``: {what:
    [armed, on, fired]}. ``spent``: cents, for effects that took place. ``simulated``: of a live run, the same schedule in the simulator; ``earlier``:
    its plays before this one, first one first. ``not_played``: entries of the timeline that never came about; ``not_judged``: invariants
    for want of twins."""

    scenario: str
    seed: int
    driver: str
    implementation: str
    verdict: Verdict
    findings: tuple[Finding, ...]
    digest: str
    token: str
    reached: dict[str, int]
    faults: dict[str, tuple[int, int, int]]
    stop_times: tuple[StopTime, ...]
    wall_s: float
    simulated_ns: int
    facts: int
    ended: str
    why: str = ""
    kept: str = ""
    rarities: dict[str, int] = {}
    spent: int = 0
    simulated: Simulated | None = None
    earlier: tuple[Attempt, ...] = ()
    not_played: tuple[str, ...] = ()
    not_judged: tuple[str, ...] = ()


class ScenarioSummary(Struct, frozen=True, kw_only=True):
    """All runs of one scenario. ``invariants``: {id: [valid, invalid, unknown]}. ``never_reached``: demanded, or possible, and not seen.
    ``spent``: cents, in all runs. ``never_came_about``: {entry of the timeline that did so in no run: what it waits for}.
    ``skipped``: {id: [runs, instances]} that leaned on something broken; ``not_judged``: invariants that no run was judged by, for want of twins.

    ``missing``: capabilities that the scenario requires and the driver lacks; it was then not played.
    """

    scenario: str
    hypothesis: str
    verdict: Verdict
    runs: int
    invariants: dict[str, tuple[int, int, int]]
    reached: dict[str, int]
    never_reached: tuple[str, ...]
    demanded: tuple[str, ...]
    faults: dict[str, tuple[int, int, int]]
    service_levels: tuple[str, ...] = ()
    spent: int = 0
    missing: tuple[str, ...] = ()
    why: str = ""
    never_came_about: dict[str, str] = {}
    skipped: dict[str, tuple[int, int]] = {}
    not_judged: tuple[str, ...] = ()


class Failure(Struct, frozen=True, kw_only=True):
    """One violated or undecided invariant of one run, with the command that replays it. ``witness`` is the path of the kept run."""

    scenario: str
    seed: int
    invariant: str
    verdict: Verdict
    why: str
    token: str
    witness: str
    replay: str


class PlayedAgain(Struct, frozen=True, kw_only=True):
    """A play of a live run that decided nothing, for which the run was played again: its number (1: the first), why, and where it is kept."""

    scenario: str
    seed: int
    play: int
    why: str
    kept: str


class RareState(Struct, frozen=True, kw_only=True):
    """A state that runs must reach now and then: in how many it was possible, how many reached it, and whether none did where one ought to have."""

    meaning: str
    possible: int
    reached: int
    wanted: bool


class BesideRow(Struct, frozen=True, kw_only=True):
    """One figure of one scenario over all its runs: medians (observed values), each way of having it, over ``pairs``, the cases that occurred in
    both, if any did. ``difference``: between the two medians; ``widest``: live - simulated of one case, farthest from zero; others are counted in
    ``only_live`` and ``only_simulated``."""

    scenario: str
    what: str
    pairs: int
    live: int | None
    simulated: int | None
    difference: int | None
    widest: int | None
    only_live: int = 0
    only_simulated: int = 0


class Disagreement(Struct, frozen=True, kw_only=True):
    """Of one schedule, invariants that broke live and not in the simulator, or there alone: a finding about the simulation's fidelity."""

    scenario: str
    seed: int
    live: Verdict
    simulated: Verdict
    only_live: tuple[str, ...]
    only_simulated: tuple[str, ...]


class Beside(Struct, frozen=True, kw_only=True):
    """A live campaign beside the same schedules simulated. ``lacks``: {scenario: the faults that its simulation went without}."""

    rows: tuple[BesideRow, ...]
    disagreements: tuple[Disagreement, ...]
    lacks: dict[str, tuple[str, ...]]


class Noise(Struct, frozen=True, kw_only=True):
    """How late a host was at something, over so many samples."""

    samples: int
    p99_ns: int
    worst_ns: int


class Calibration(Struct, frozen=True, kw_only=True):
    """The noise of a host with nothing broken, in the cell of ``scenario``: timers, round trips through the proxy, and syncs; or ``why`` there is
    none."""

    scenario: str
    wall_s: float
    timer: Noise | None = None
    trip: Noise | None = None
    sync: Noise | None = None
    why: str = ""

    @property
    def worst_ns(self) -> int:
        """The worst of each, all at once: what one step of the protocol may have been delayed by."""
        return sum(noise.worst_ns for noise in (self.timer, self.trip, self.sync) if noise is not None)


class Campaign(Struct, frozen=True, kw_only=True):
    """The whole answer of `haltproof run` (architecture 8). ``played_again``: every play beside those that ``runs`` counts. ``files``: {file of the
    results: its digest}; ``seal``: the digest of this document with a seal of zeros (``digests``)."""

    schema: str = CAMPAIGN_SCHEMA
    verdict: Verdict
    driver: str
    implementation: str
    version: str
    runs: int
    wall_s: float
    runs_per_s: float
    scenarios: tuple[ScenarioSummary, ...]
    failures: tuple[Failure, ...]
    stop_time: dict[str, int]
    out: str = ""
    report: str = ""
    rarities: dict[str, RareState] = {}
    beside: Beside | None = None
    calibration: Calibration | None = None
    played_again: tuple[PlayedAgain, ...] = ()
    files: dict[str, str] = {}
    seal: str = ""

    @property
    def vacuous(self) -> tuple[str, ...]:
        """The rare states for want of which the campaign proves too little."""
        return tuple(name for name, state in self.rarities.items() if state.wanted)
