"""What commands print for people: tables, progress, errors. Colours help and are never needed.

Owns the look of the terminal. Reads results; knows no driver. Progress goes to standard error, and only if that is a terminal.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from harness.hunt import Matrix
from harness.planted.bug import PlantedBug
from harness.results import Campaign, RunResult, ScenarioSummary
from harness.verdict import Verdict
from reports import beside, calibration
from reports.words import WHY_SKIPPED, count, readable, unjudged
from scenarios.units import MS_NS

STYLES = {Verdict.VALID: "green", Verdict.INVALID: "bold red", Verdict.UNKNOWN: "yellow"}
FAILURES_SHOWN = 8
ENDINGS_SHOWN = 10
ENDING_MOST = 240  # characters of a reason, at the end, where each has one line


class Output(Console):
    """A console whose reader may leave: that is for the command to answer, not for a library that would end the process."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def console() -> Console:
    """Standard output; as wide as the terminal, or wide enough for a log."""
    return Output(width=None if sys.stdout.isatty() else 160, highlight=False)


def print_json(document: Any) -> None:
    """One JSON document on standard output, and nothing else."""
    sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(document, order="deterministic"), indent=1) + b"\n")


def complain(text: str) -> None:
    """An error, on standard error, as it is."""
    print(text, file=sys.stderr)


@contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar of runs done; silent where nobody looks."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def verdict(value: Verdict) -> str:
    return f"[{STYLES[value]}]{value}[/]"


def show_campaign(campaign: Campaign) -> None:
    """The table of scenario x verdict, each failure with its replay, and where the report is."""
    out = console()
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("scenario", "verdict", "runs", "invariants", "faults fired", "why"):
        table.add_column(name, justify="right" if name in ("runs", "faults fired") else "left", overflow="fold")
    for summary in campaign.scenarios:
        bad = [invariant for invariant, (_, invalid, unknown) in summary.invariants.items() if invalid or unknown]
        fired = sum(counts[2] for counts in summary.faults.values())
        partly = sum(name not in bad for name in summary.skipped)
        held = f"{len(summary.invariants) - len(bad)} held" + f" ({partly} in part)" * bool(partly) + (f", not: {', '.join(bad)}" if bad else "")
        table.add_row(summary.scenario, verdict(summary.verdict), str(summary.runs), held, str(fired), escape(summary.why or _idle(summary)))
    out.print(table)
    if any(summary.skipped for summary in campaign.scenarios):
        out.print(f"in part: instances were skipped, {WHY_SKIPPED}; the report counts them")
    if missing := unjudged(sorted({name for summary in campaign.scenarios for name in summary.not_judged}), campaign.driver):
        out.print(missing)
    for failure in campaign.failures[:FAILURES_SHOWN]:
        out.print(f"\n{verdict(failure.verdict)} {failure.invariant} in {failure.scenario}, seed {failure.seed}: {escape(readable(failure.why))}")
        out.print(f"  replay: {escape(failure.replay)}", soft_wrap=True)
    if len(campaign.failures) > FAILURES_SHOWN:
        out.print(f"\n... and {len(campaign.failures) - FAILURES_SHOWN} more, in the report")
    show_stop_times(campaign, out)
    show_beside(campaign, out)
    show_calibration(campaign, out)
    show_rarities(campaign, out)
    pace = f"{count(campaign.runs, 'run')} in {campaign.wall_s:.1f} s ({campaign.runs_per_s:.1f}/s)"
    out.print(f"\n{verdict(campaign.verdict)}: {pace}, {campaign.driver}, {campaign.version}")
    out.print(f"report: {campaign.report}", soft_wrap=True)
    for line in endings(campaign):
        out.print(escape(line), soft_wrap=True)


def _idle(summary: ScenarioSummary) -> str:
    """The kinds of fault that were armed in some run, and made a difference in none."""
    idle = [what for what, (armed, _, fired) in summary.faults.items() if armed and not fired]
    return f"never made a difference: {', '.join(idle)}" if idle else ""


def endings(campaign: Campaign) -> list[str]:
    """A line for each run that was played again, and then for each that is not valid, with its reason: for whoever sees the end of a log alone."""
    again = [f"played again: {each.scenario}, seed {each.seed}, after play {each.play}: {each.why}" for each in campaign.played_again]
    failed = {(each.scenario, each.seed): each for each in reversed(campaign.failures)}
    failed |= {(each.scenario, each.seed): each for each in reversed(campaign.failures) if each.verdict is Verdict.INVALID}
    runs = [f"{each.verdict}: {each.scenario}, seed {each.seed}: {each.invariant}: {each.why}" for each in failed.values()]
    known = {scenario for scenario, _ in failed}
    runs += [
        f"{each.verdict}: {each.scenario}, all runs: {each.why}"
        for each in campaign.scenarios
        if each.verdict is not Verdict.VALID and not each.missing and each.scenario not in known
    ]
    return [*_bounded(again, "played again"), *_bounded(runs, "not valid")]


def _bounded(lines: list[str], what: str) -> list[str]:
    shown = [readable(line) if len(line) <= ENDING_MOST else f"{readable(line)[:ENDING_MOST]}..." for line in lines[:ENDINGS_SHOWN]]
    return shown if len(lines) <= ENDINGS_SHOWN else [*shown, f"... and {len(lines) - ENDINGS_SHOWN} more {what}, in the report"]


def show_stop_times(campaign: Campaign, out: Console) -> None:
    if bill := sum(summary.spent for summary in campaign.scenarios):
        out.print(f"\nspent on effects, in all runs: {bill:,} cents")
    if campaign.stop_time:
        words = ", ".join(f"{name.removesuffix('_ns')} {value / MS_NS:.0f} ms" for name, value in campaign.stop_time.items())
        out.print(f"\ntime to last effect, from an order being effective to the last effect let out against it, over all stops of all runs: {words}")


def show_beside(campaign: Campaign, out: Console) -> None:
    """What the simulator makes of the same schedules, beside what was measured live."""
    view = beside.view(campaign.beside)
    if view is None:
        return
    out.print("\nlive beside simulated, medians")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("scenario", "what", "live", "simulated", "difference", "widest", "cases", ""):
        table.add_column(name, justify="right" if name in ("live", "simulated", "difference", "widest", "cases") else "left", overflow="fold")
    for row in view.rows:
        table.add_row(*map(escape, (row.scenario, row.title, row.live, row.simulated, row.difference, row.widest, str(row.pairs), row.note)))
    out.print(table)
    for said in (*view.findings, *view.lacks):
        out.print(f"fidelity: {escape(said)}")


def show_calibration(campaign: Campaign, out: Console) -> None:
    """How noisy the host of live runs is with nothing broken."""
    view = calibration.view(campaign.calibration)
    if view is not None:
        rows = "; ".join(f"{row.title} p99 {row.p99}, worst {row.worst}" for row in view.rows)
        out.print(f"\nnoise of the host: {rows or escape(view.where)}\n{escape(view.meaning)}")


def show_rarities(campaign: Campaign, out: Console) -> None:
    """How many of the rare states that were possible some run reached, and which none did: if that was unlikely, the campaign is vacuous."""
    missing = [f"{name} (possible in {count(state.possible, 'run')})" for name, state in campaign.rarities.items() if not state.reached]
    if campaign.rarities:
        words = f"{len(campaign.rarities) - len(missing)} of {len(campaign.rarities)} rare states reached"
        out.print(f"{words}; not yet: {', '.join(missing)}" if missing else words)
    if campaign.vacuous:
        out.print(f"{verdict(Verdict.UNKNOWN)}: vacuous, for want of {', '.join(campaign.vacuous)}; play other seeds, or mend what keeps them away")


def show_run(run: RunResult) -> None:
    """One run: each invariant that does not hold, and a line for the rest."""
    out = console()
    for finding in run.findings:
        if finding.verdict is not Verdict.VALID:
            witness = ", ".join(map(str, finding.witness))
            out.print(f"{verdict(finding.verdict)} {finding.invariant}: {escape(readable(finding.why))}; witness: facts {witness}")
    held = sum(finding.verdict is Verdict.VALID for finding in run.findings)
    of = len(run.findings) + len(run.not_judged)
    counts = f"{held} of {of} invariants hold, {run.facts} facts, ended: {run.ended}"
    out.print(f"{verdict(run.verdict)}: {run.scenario}, seed {run.seed}, played by {escape(run.implementation)}: {counts}")
    skips = [f"{finding.invariant} {finding.skipped}" for finding in run.findings if finding.skipped]
    if skips:
        out.print(f"instances skipped, {WHY_SKIPPED}: {', '.join(skips)}")
    if run.not_judged:
        out.print(unjudged(run.not_judged, run.driver))
    out.print(f"digest: {run.digest}")


def show_bugs(bugs: Iterable[PlantedBug]) -> None:
    """What is planted: who is expected to find each, and in which scenarios."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("bug", "expected", "difficulty", "scenarios", "mistake"):
        table.add_column(name, overflow="fold")
    for bug in bugs:
        table.add_row(bug.name, ", ".join(bug.caught_by) or "nobody", bug.difficulty, ", ".join(bug.scenarios), escape(bug.mistake))
    console().print(table)


def show_matrix(matrix: Matrix) -> None:
    """Bug x scenario x invariant x seeds, what was missed and what was a false alarm in plain sight."""
    out = console()
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("bug", "status", "expected", "found by, in so many seeds", "mistake"):
        table.add_column(name, overflow="fold")
    for catch in matrix.catches:
        style = "green" if catch.status in ("found", "clean") else "bold red"
        seen = [
            f"{sighting.scenario}: " + (", ".join(f"{id_} in {count}" for id_, count in sighting.seeds.items()) or f"nothing in {sighting.played}")
            + ("" if sighting.reached else " (never reached)")
            for sighting in catch.sightings
        ]  # fmt: skip
        table.add_row(catch.bug, f"[{style}]{catch.status}[/]", ", ".join(catch.expected) or "nobody", "\n".join(seen), catch.mistake)
    out.print(table)
    missed = [catch.bug for catch in matrix.catches if catch.status == "missed"]
    alarms = [catch.bug for catch in matrix.catches if catch.status == "false alarm"]
    broken = [catch.bug for catch in matrix.catches if catch.status == "broken"]
    out.print(f"\nwithin {matrix.seeds} seeds: not found: {', '.join(missed) or 'none'}; false alarms: {', '.join(alarms) or 'none'}")
    if broken:
        out.print(f"broken: {', '.join(broken)}: what replaces parts of the core raises by itself; replay one to see where (S27)")
