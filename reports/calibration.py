"""The noise of the host, as a reader sees it: what was measured with nothing broken, and what it means for the verdicts.

Owns the wording; the numbers are the campaign's. Must not know any output format, nor how anything was measured.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.results import Calibration
from reports.words import duration, plain

KINDS = {"timer": "timer lag", "trip": "round trip through the proxy", "sync": "record to disk"}


@dataclass(frozen=True, slots=True)
class NoiseRow:
    """One thing that the host is late at, its times in words."""

    title: str
    samples: int
    p99: str
    worst: str


@dataclass(frozen=True, slots=True)
class CalibrationView:
    """``where``: in which cell, and in what time, it was measured, or why it was not. ``meaning``: what became of the bounds."""

    where: str
    meaning: str
    rows: tuple[NoiseRow, ...]


def view(calibration: Calibration | None) -> CalibrationView | None:
    """None where nothing was played live."""
    if calibration is None:
        return None
    if calibration.why:
        return CalibrationView(f"Not measured: {plain(calibration.why)}.", "Bounds are not widened, and no violation is excused.", ())
    measured = {title: noise for name, title in KINDS.items() if (noise := getattr(calibration, name)) is not None}
    where = f"Measured before the first run, in the cell of {plain(calibration.scenario)} with nothing broken, in {calibration.wall_s:.1f} s."
    meaning = (
        f"Bounds are not widened: what this host adds, {duration(calibration.worst_ns)} if the worst of each comes together, has to fit into them as "
        "they are. Only where that is more than a scenario's slack is a broken time limit undecided instead of violated."
    )
    rows = (NoiseRow(title, noise.samples, duration(noise.p99_ns), duration(noise.worst_ns)) for title, noise in measured.items())
    return CalibrationView(where, meaning, tuple(rows))
