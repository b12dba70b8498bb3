"""The report as Markdown, the size of a comment on a change: the answer, the table, the first proofs.

Owns the escaping for Markdown. A name may hold anything, so that every character that could start markup, a mention, an issue
number, a link or a table cell is written as an entity.
"""

from __future__ import annotations

import re

from reports.view import GLYPHS, ScenarioView, View
from reports.violations import FailureView
from reports.words import WHY_SKIPPED, count, duration, ratio

# Services refuse comments past 65,536 characters; this many failures with their facts stay far below.
_FAILURES_MOST = 5
_FACTS_MOST = 12
_SCENARIOS_MOST = 60
_ROWS_MOST = 60
_TEXT_MOST = 600
_MARKUP = re.compile(r"[\\`*_{}\[\]<>#|&@~$]|^[-+=]|:(?=//)")


def markdown(view: View) -> str:
    """The comment, ending with a line feed."""
    headline = view.headline
    lines = [f"## {headline.glyph} {headline.title}", "", escape(headline.sentence), ""]
    lines += [" · ".join(f"{name} {code(value)}" for name, value in headline.facts), ""]
    lines += _scenarios(view)
    if view.failures:
        lines += ["### Why", ""]
        for failure in view.failures[:_FAILURES_MOST]:
            lines += _failure(failure)
        if len(view.failures) > _FAILURES_MOST:
            lines += [f"{len(view.failures) - _FAILURES_MOST} more are in the full report.", ""]
    lines += _again(view) + _stop_times(view) + _beside(view) + _calibration(view) + _idle_faults(view) + _unreached(view)
    return "\n".join(lines).rstrip() + "\n"


def escape(text: str) -> str:
    """``text`` on one line, such that it reads the same and means nothing to Markdown or HTML."""
    line = " ".join(text.split())
    line = line if len(line) <= _TEXT_MOST else line[: _TEXT_MOST - 1] + "…"
    line = re.sub(r"^(\d+)\.", r"\1&#46;", _MARKUP.sub(lambda match: f"&#{ord(match.group())};", line))
    return line.replace("www.", "www&#46;")


def code(text: str) -> str:
    """``text`` as inline code, with a fence longer than any run of backticks in it; table bars cannot stand in code and are widened."""
    line = " ".join(text.split()).replace("|", "¦") or "–"
    fence = "`" * (max((len(run) for run in re.findall(r"`+", line)), default=0) + 1)
    space = " " if "`" in line else ""
    return f"{fence}{space}{line}{space}{fence}"


def _scenarios(view: View) -> list[str]:
    lines = ["| | scenario | runs | broken, undecided or skipped |", "|---|---|--:|---|"]
    lines += [_scenario(scenario) for scenario in view.scenarios[:_SCENARIOS_MOST]]
    if len(view.scenarios) > _SCENARIOS_MOST:
        lines.append(f"| | {len(view.scenarios) - _SCENARIOS_MOST} more | | |")
    if any(scenario.skipped for scenario in view.scenarios):
        lines += ["", f"◐ held where it could be judged, ⊘ never could be; in brackets, how many instances were skipped, {WHY_SKIPPED}."]
    if view.unjudged:
        lines += ["", escape(view.unjudged)]
    return [*lines, ""]


def _scenario(scenario: ScenarioView) -> str:
    notes = [*(f"✕ {invariant}" for invariant in scenario.broken), *(f"? {invariant}" for invariant in scenario.undecided)]
    notes += [*scenario.notes, *scenario.skipped]
    return f"| {scenario.glyph} {scenario.word} | {escape(scenario.name)} | {scenario.runs:,} | {escape('; '.join(notes)) or '–'} |"


def _failure(failure: FailureView) -> list[str]:
    title = f"{GLYPHS[failure.verdict]} {failure.invariant} {failure.name}".strip()
    more = f" and {count(failure.more, 'more seed')}" if failure.more else ""
    lines = [f"**{escape(title)}** in {escape(failure.scenario)}, seed {failure.seed}{more}. {escape(failure.why)}", ""]
    if failure.measure:
        lines += [escape(failure.measure), ""]
    for fact in failure.facts[:_FACTS_MOST]:
        lines.append(f"{fact.number}. {fact.at} {code(fact.node)} {escape(fact.text)}")
    if len(failure.facts) > _FACTS_MOST:
        lines.append(f"\n{len(failure.facts) - _FACTS_MOST} more facts are in the full report.")
    if failure.facts:
        lines.append("")
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall(r"`+", failure.replay)), default=0))
    return [*lines, fence + "sh", failure.replay, fence, ""]


def _again(view: View) -> list[str]:
    if not view.again:
        return []
    more = [f"- {len(view.again) - _ROWS_MOST} more are in the full report"] if len(view.again) > _ROWS_MOST else []
    return ["### Played again", "", *(f"- {escape(each)}" for each in view.again[:_ROWS_MOST]), *more, ""]


def _stop_times(view: View) -> list[str]:
    if not view.stops:
        return []
    lines = ["### Time to last effect, against the bound", "", "Over all stops of a severity; p50 and p99 by nearest rank.", ""]
    lines += ["| severity | stops | late | p50 | p99 | worst | bound | worst / bound |"]
    lines.append("|---|--:|--:|--:|--:|--:|--:|--:|")
    for row in view.stops:
        spread = row.admission_ns
        times = " | ".join(duration(int(value)) for value in (spread.p50, spread.p99, spread.worst, row.bound_ns[1]))
        lines.append(f"| {escape(row.severity)} | {row.stops:,} | {row.late:,} | {times} | {ratio(row.ratio.worst)} |")
    return [*lines, ""]


def _beside(view: View) -> list[str]:
    if view.beside is None:
        return []
    said = (*(view.beside.findings or ("No invariant broke in one of the two and not in the other.",)), *view.beside.lacks)
    lines = ["### Live beside simulated", "", *(f"- {escape(each)}" for each in said), ""]
    lines += ["| scenario | what | live | simulated | difference | widest | cases |", "|---|---|--:|--:|--:|--:|--:|"]
    for row in view.beside.rows[:_ROWS_MOST]:
        figures = " | ".join((row.live, row.simulated, row.difference, row.widest, f"{row.pairs:,}"))
        lines.append(f"| {escape(row.scenario)} | {escape(row.title)} | {figures} |")
    if len(view.beside.rows) > _ROWS_MOST:
        lines.append(f"| {len(view.beside.rows) - _ROWS_MOST} more are in the full report | | | | | | |")
    return [*lines, ""]


def _calibration(view: View) -> list[str]:
    if view.calibration is None:
        return []
    rows = "; ".join(f"{row.title} p99 {row.p99}, worst {row.worst}" for row in view.calibration.rows)
    said = (view.calibration.where, f"{rows[:1].upper()}{rows[1:]}." if rows else "", view.calibration.meaning)
    return ["### Noise of the host", "", " ".join(map(escape, filter(None, said))), ""]


def _idle_faults(view: View) -> list[str]:
    idle = [f"{fault.what} {fault.idle}" for fault in view.faults if fault.idle]
    return [f"Faults that tested nothing: {escape('; '.join(idle))}.", ""] if idle else []


def _unreached(view: View) -> list[str]:
    missing = [f"{row.name} (possible in {count(row.possible, 'run')})" for row in view.rarities if not row.reached]
    return [f"Rare states that no run reached: {escape('; '.join(missing))}.", ""] if missing else []
