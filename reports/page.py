"""The page: one HTML file that needs nothing else, from a view.

Owns how the templates are filled. Every value is escaped by Jinja; the only markup that is let through is this room's own style
sheet, script and figures. A content security policy inside the page forbids any request, whatever a hostile name might contain.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from reports import figures, invariants, words
from reports.view import GLYPHS, View

_TEMPLATES = Path(__file__).parent / "templates"


def html(view: View) -> str:
    """The whole page as text; equal views give equal text."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES, encoding="utf-8"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals.update(
        duration=words.duration, ratio=words.ratio, count=words.count, promise=invariants.promise, glyphs=GLYPHS, why_skipped=words.WHY_SKIPPED
    )
    script = (_TEMPLATES / "page.js").read_text(encoding="utf-8")
    return environment.get_template("page.html.j2").render(
        view=view,
        totals=_totals(view),
        curves=[Markup(figures.stop_time_curve(row)) for row in view.stops],  # noqa: S704  matplotlib has escaped its texts
        style=Markup((_TEMPLATES / "page.css").read_text(encoding="utf-8")),  # noqa: S704  our own file
        script=Markup(script),  # noqa: S704  our own file
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def _totals(view: View) -> tuple[Counter[str], Counter[str], Counter[str], Counter[str]]:
    """Runs of each invariant over all scenarios: valid, invalid, unknown; and its instances that were skipped."""
    valid: Counter[str] = Counter()
    invalid: Counter[str] = Counter()
    unknown: Counter[str] = Counter()
    skipped: Counter[str] = Counter()
    for scenario in view.scenarios:
        for cell in scenario.cells:
            valid[cell.invariant] += cell.valid
            invalid[cell.invariant] += cell.invalid
            unknown[cell.invariant] += cell.unknown
            skipped[cell.invariant] += cell.skipped
    return valid, invalid, unknown, skipped
