"""From a results directory to its reports: ``report.html``, ``report.md`` and ``junit.xml``, written beside the results.

Owns which files there are. Any results directory can be rendered again at any time, and gives the same bytes.
"""

from __future__ import annotations

from pathlib import Path

from reports.junit import junit
from reports.markdown import markdown
from reports.page import html
from reports.view import build

PAGE, COMMENT, JUNIT = "report.html", "report.md", "junit.xml"


def render(results_dir: Path) -> Path:
    """Write all reports into ``results_dir`` and return the path of the page. Raises `ValueError` naming a results file that is broken."""
    view = build(results_dir)
    (results_dir / PAGE).write_text(html(view), encoding="utf-8", newline="\n")
    (results_dir / COMMENT).write_text(markdown(view), encoding="utf-8", newline="\n")
    (results_dir / JUNIT).write_bytes(junit(view))
    return results_dir / PAGE
