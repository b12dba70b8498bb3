"""How long stopping took, beside the bound T1: one table from all runs, and its summary for each severity.

Owns the numbers of the stop-time section; every renderer and figure takes them from here. Percentiles are observed values
(`harness.ranks`), the same as on the terminal and in ``campaign.json``, which take all severities together.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from harness.ranks import percentile
from harness.results import RunResult
from reports.words import plain

SEVERITIES = ("HARD", "QUIESCE", "ISOLATE", "SOFT")


@dataclass(frozen=True, slots=True)
class Spread:
    """Median, 99th percentile and maximum of observed values."""

    p50: float
    p99: float
    worst: float


@dataclass(frozen=True, slots=True)
class StopRow:
    """All stops of one severity. ``ratio``: time to the last admission under the order over its bound T1; the others in nanoseconds.

    ``reaped`` counts the stops after which the process was gone, ``reaped_ns`` their times. ``worst_run``: scenario and seed of the
    highest ratio. ``late``: how many stops passed their bound.
    """

    severity: str
    stops: int
    late: int
    ratio: Spread
    admission_ns: Spread
    bound_ns: tuple[int, int]
    reaped: int
    reaped_ns: Spread | None
    worst_run: tuple[str, int]
    ratios: tuple[float, ...]


def table(runs: Iterable[RunResult]) -> pd.DataFrame:
    """One row a stop: scenario, seed, severity, admission_ns, reaped_ns (NA if none), bound_ns, ratio."""
    rows = [
        (run.scenario, run.seed, plain(stop.severity).upper(), stop.last_admission_ns, stop.reaped_ns, stop.bound_ns)
        for run in runs
        for stop in run.stop_times
        if stop.bound_ns > 0
    ]
    frame = pd.DataFrame(rows, columns=["scenario", "seed", "severity", "admission_ns", "reaped_ns", "bound_ns"])
    frame = frame.astype({"seed": "int64", "admission_ns": "int64", "bound_ns": "int64", "reaped_ns": "Int64"})
    return frame.assign(ratio=frame["admission_ns"] / frame["bound_ns"])


def summarise(stops: pd.DataFrame) -> tuple[StopRow, ...]:
    """One row a severity, the most urgent first."""
    present = stops["severity"].unique().tolist()
    ordered = [severity for severity in SEVERITIES if severity in present] + sorted(set(present) - set(SEVERITIES))
    return tuple(_row(severity, stops[stops["severity"] == severity]) for severity in ordered)


def _row(severity: str, stops: pd.DataFrame) -> StopRow:
    worst = stops.iloc[int(stops["ratio"].argmax())]
    reaped = stops["reaped_ns"].dropna()
    return StopRow(
        severity=severity,
        stops=len(stops),
        late=int((stops["admission_ns"] > stops["bound_ns"]).sum()),
        ratio=_spread(stops["ratio"]),
        admission_ns=_spread(stops["admission_ns"]),
        bound_ns=(int(stops["bound_ns"].min()), int(stops["bound_ns"].max())),
        reaped=len(reaped),
        reaped_ns=_spread(reaped.astype("int64")) if len(reaped) else None,
        worst_run=(str(worst["scenario"]), int(worst["seed"])),
        ratios=tuple(float(value) for value in stops["ratio"].sort_values()),
    )


def _spread(values: pd.Series) -> Spread:
    ordered = [float(value) for value in values.sort_values()]
    return Spread(percentile(ordered, 50), percentile(ordered, 99), ordered[-1])
