"""Figures drawn by matplotlib, as SVG that is equal byte for byte for equal numbers.

Owns the drawing, not the numbers (`stop_times`). The page is light or dark by the reader's setting, so colours leave here as CSS
variables with a fallback: a figure cut out of the page and opened alone still shows.
"""

from __future__ import annotations

import io
import re
from typing import Any

from reports.stop_times import StopRow
from reports.words import count

# Stand-ins that matplotlib draws with, and the variables of the page's style sheet that they become.
_INK, _MUTED, _RULE, _CURVE, _BREACH = "#010101", "#020202", "#030303", "#040404", "#050505"
_VARIABLES = {_INK: ("ink", "#1c2127"), _MUTED: ("muted", "#5b6570"), _RULE: ("rule", "#d5dae0"), _CURVE: ("accent", "#2b5f8f"),
              _BREACH: ("bad", "#a8281f")}  # fmt: skip
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "haltproof",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.edgecolor": _RULE,
    "axes.labelcolor": _MUTED,
    "xtick.color": _MUTED,
    "ytick.color": _MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def stop_time_curve(row: StopRow) -> str:
    """The share of stops (upwards) that were in force by a given fraction of their bound T1 (to the right), the bound as a line.

    Every stop has a tick below the curve; what lies past the bound is hatched, so that a breach is seen without colour.
    """
    import matplotlib as mpl  # 0.3 s to import, for those reports only that have a curve
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with mpl.rc_context():
        mpl.rcdefaults()  # whatever the reader's own matplotlibrc says
        for setting, value in _STYLE.items():
            mpl.rcParams[setting] = value
        figure = Figure(figsize=(4.4, 2.5), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        end = max(1.12, row.ratio.worst * 1.06)
        axes.axvspan(1, end, facecolor="none", edgecolor=_RULE, hatch="////", linewidth=0)
        axes.axvline(1, color=_BREACH, linewidth=1.4)
        axes.text(0.985, 0.06, "bound T1", color=_BREACH, ha="right", va="bottom")
        steps = [0.0, *row.ratios, end]
        heights = [0.0, *((index + 1) / row.stops for index in range(row.stops)), 1.0]
        axes.step(steps, heights, where="post", color=_CURVE, linewidth=1.8)
        ticks = sorted({round(value, 3) for value in row.ratios})  # a figure of 100,000 stops is no larger than its pixels
        axes.plot(ticks, [-0.06] * len(ticks), linestyle="none", marker="|", color=_CURVE, markersize=6, alpha=0.7)
        axes.set(xlim=(-0.02, end), ylim=(-0.12, 1.04), xlabel="last effect let out / bound", ylabel="share of stops")
        axes.set_yticks([0, 0.5, 1], ["0", "50 %", "100 %"])
        axes.set_title(f"{row.severity}, {count(row.stops, 'stop')}", loc="left", color=_INK, fontsize=10, parse_math=False)
        axes.grid(axis="y", color=_RULE, linewidth=0.6)
        axes.set_axisbelow(True)
        drawn = io.StringIO()
        figure.savefig(drawn, format="svg", transparent=True, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return _inline(drawn.getvalue(), row)


def _inline(drawn: str, row: StopRow) -> str:
    """The bare ``<svg>`` element: no prologue, no fixed size, no name spaces that look like addresses; ids unique in the page."""
    svg = drawn[drawn.index("<svg") :]
    # A style sheet inside an inline figure would reach the whole page.
    svg = re.sub(r"<(metadata|style)\b.*?</\1>\s*", "", svg, flags=re.DOTALL)
    name = f"stop-{_letters(row.severity)}"
    svg = re.sub(r'(id="|href="#|url\(#)', lambda match: f"{match.group()}{name}-", svg)
    view = re.search(r'viewBox="([^"]*)"', svg)
    head = f'<svg viewBox="{view.group(1) if view else "0 0 316 180"}" role="img" aria-label="{_described(row)}">'
    svg = head + svg[svg.index(">") + 1 :].replace("xlink:href", "href")
    for stand_in, (variable, fallback) in _VARIABLES.items():
        svg = svg.replace(stand_in, f"var(--{variable}, {fallback})")
    return svg.strip()


def _described(row: StopRow) -> str:
    return (
        f"Distribution of stop times of {_letters(row.severity)} as a fraction of the bound T1: median {row.ratio.p50:.3f}, "
        f"99th percentile {row.ratio.p99:.3f}, maximum {row.ratio.worst:.3f}, {row.late} past the bound"
    )


def _letters(severity: str) -> str:
    return re.sub(r"[^A-Za-z0-9]", "", severity)
