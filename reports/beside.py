"""Live beside simulated, as a reader sees it: a row for each scenario and figure, and where the two disagree about a verdict.

Owns the wording; the numbers are the campaign's. Must not know any output format, nor how either run was played.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from harness.results import Beside, BesideRow, Disagreement
from reports.words import count, duration, plain

TITLES = {
    "stop_ns": "order effective to agent stopped",
    "learned_ns": "request to order learned",
    "stops": "stops",
    "applied": "effects applied",
    "admitted_late": "effects let out under an order in force",
    "fired": "faults that made a difference",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of one scenario, in words. ``note``: what occurred in one of the two only."""

    scenario: str
    title: str
    live: str
    simulated: str
    difference: str
    widest: str
    pairs: int
    note: str


@dataclass(frozen=True, slots=True)
class BesideView:
    """``findings``: a sentence for each run about whose verdict the two disagree. ``lacks``: one for each scenario simulated without some fault."""

    rows: tuple[Row, ...]
    findings: tuple[str, ...]
    lacks: tuple[str, ...]


def view(beside: Beside | None) -> BesideView | None:
    """None where nothing was played live."""
    if beside is None:
        return None
    return BesideView(
        rows=tuple(map(_row, beside.rows)),
        findings=tuple(map(_finding, beside.disagreements)),
        lacks=tuple(f"{plain(scenario)} was simulated without what only live runs have: {plain(', '.join(lacks))}."
                    for scenario, lacks in beside.lacks.items()),
    )  # fmt: skip


def _row(row: BesideRow) -> Row:
    timed = row.what.endswith("_ns")
    shown: Callable[[int], str] = duration if timed else "{:,}".format
    live, simulated = ("–" if value is None else shown(value) for value in (row.live, row.simulated))
    ways = ("later", "earlier") if timed else ("more", "fewer")
    alone = ((row.only_live, "only live"), (row.only_simulated, "only simulated"))
    return Row(
        scenario=plain(row.scenario), title=TITLES.get(row.what, plain(row.what)), live=live, simulated=simulated, pairs=row.pairs,
        difference=_which_way(row.difference, shown, ways), widest=_which_way(row.widest, shown, ways),
        note="; ".join(f"{count(number, 'case')} {where}" for number, where in alone if number),
    )  # fmt: skip


def _which_way(difference: int | None, shown: Callable[[int], str], ways: tuple[str, str]) -> str:
    """``live 12 ms later``."""
    if difference is None:
        return "–"
    return f"live {shown(abs(difference))} {ways[difference < 0]}" if difference else "the same"


def _finding(found: Disagreement) -> str:
    alone = ((found.only_live, "live and not simulated"), (found.only_simulated, "simulated and not live"))
    broke = "; ".join(f"{', '.join(map(plain, which))} broke {where}" for which, where in alone if which)
    return f"{plain(found.scenario)}, seed {found.seed}: live {found.live}, simulated {found.simulated}: {broke}."
