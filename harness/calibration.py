"""The noise of a host, measured before the first live run of a job with nothing broken; and what it changes about verdicts.

Owns the schedule that is played for it, the figures, and the one rule that follows. No bound is ever widened. But where this host alone
adds more than the slack that the protocol allows for, a time limit that broke cannot be held against the subject: that is undecided, and undecided is
never a pass. Safety is never excused: its bounds (T1 to T4) assume nothing about how late anything is.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from msgspec import structs

from harness.checkers import CHECKERS
from harness.live import driver, noise
from harness.ranks import percentile
from harness.results import Calibration, Noise
from harness.verdict import Finding, Verdict
from killswitch.live.trace import TraceReader
from scenarios.schedule import Expectations, Schedule

PLAYED_NS = 2_000_000_000
HURRIED_NS = 100_000_000
IMPLEMENTATION = "killswitch"  # always ours: what is under test must not vouch for its own excuse
# Those that promise "soon", with room for a host in it. L8 bounds numbers too, and a log that grows too long is no matter of lateness.
SOON = frozenset(each for each in CHECKERS if each.startswith("L")) - {"L8"}


def calibrate(schedules: Iterable[Schedule], directory: Path) -> tuple[Calibration, tuple[str, ...]]:
    """Play the largest cell of ``schedules`` for a moment with nothing broken; what was measured, and what was left behind. Takes some 4 s.

    Raises what `driver.play` raises.
    """
    began = time.perf_counter()
    largest = max(schedules, key=lambda each: (len(each.topology.agents), each.topology.replicas, len(each.topology.sinks)))
    played = driver.play(peaceful(largest), IMPLEMENTATION, directory)
    if played.why:
        return Calibration(scenario=largest.scenario, wall_s=time.perf_counter() - began, why=played.why), played.left
    found = [noise.samples(TraceReader(trace).read()) for trace in sorted((directory / "traces").iterdir())]
    measured = Calibration(
        scenario=largest.scenario, wall_s=time.perf_counter() - began, timer=_noise(each.timer for each in found),
        trip=_noise(each.trip for each in found), sync=_noise(each.sync for each in found),
    )  # fmt: skip
    return measured, played.left


def peaceful(schedule: Schedule) -> Schedule:
    """The same cell and work for a moment, without orders or faults; hurried, so that the moment holds enough of everything."""
    hurried = structs.replace(
        schedule.parameters, renew_ns=min(HURRIED_NS, schedule.parameters.renew_ns), gossip_ns=min(HURRIED_NS, schedule.parameters.gossip_ns)
    )
    return structs.replace(
        schedule, scenario="calibration", duration_ns=PLAYED_NS, settle_ns=0, core=(), core_ns=0, timeline=(), stop_when=(), parameters=hurried,
        work=tuple(each for each in schedule.work if each.at_ns < PLAYED_NS), expect=Expectations(),
    )  # fmt: skip


def _noise(samples: Iterable[Sequence[int]]) -> Noise | None:
    ordered = sorted(each for some in samples for each in some)
    return Noise(samples=len(ordered), p99_ns=percentile(ordered, 99), worst_ns=ordered[-1]) if ordered else None


def weigh(findings: tuple[Finding, ...], calibration: Calibration | None, slack_ns: int) -> tuple[Finding, ...]:
    """``findings`` of a live run with ``slack_ns``, but for those that the noise of the host leaves undecided."""
    if calibration is None or calibration.worst_ns <= slack_ns:
        return findings
    return tuple(_undecided(each, calibration.worst_ns, slack_ns) if _excusable(each, calibration.worst_ns) else each for each in findings)


def _excusable(finding: Finding, noise_ns: int) -> bool:
    """A broken time limit that the noise might account for: what is later than the limit and all the noise together, it does not."""
    if finding.verdict is not Verdict.INVALID or finding.invariant not in SOON:
        return False
    return finding.observed_ns is None or finding.bound_ns is None or finding.observed_ns <= finding.bound_ns + noise_ns


def _undecided(finding: Finding, noise_ns: int, slack_ns: int) -> Finding:
    why = f"{finding.why}; undecided, for by itself this host adds up to {noise_ns} ns, more than the slack of {slack_ns} ns"
    return structs.replace(finding, verdict=Verdict.UNKNOWN, why=why)
