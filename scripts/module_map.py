"""Writes the map of modules in docs/architecture.md from the modules' own first sentences: `make map`.

What a module owns is said once, in the module; the map is a view of that, and a test holds it to be current.
"""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "architecture.md"
ROOMS = ("killswitch", "sim", "scenarios", "harness", "reports", "benchmarks")
BEGIN, END = "<!-- map: written by `make map` -->", "<!-- end of map -->"


def first_sentence(module: Path) -> str:
    """The first sentence of a module's docstring, on one line; empty if it has none."""
    paragraph = (ast.get_docstring(ast.parse(module.read_text("utf-8"))) or "").partition("\n\n")[0]
    sentence = " ".join(paragraph.split()).partition(". ")[0].rstrip(".")
    return sentence.replace("|", "\\|")


def rows(room: str) -> list[str]:
    """A table of one room: a row for each package and module."""
    lines = [f"### {room}", "", "|module|owns|", "|---|---|"]
    for path in sorted((ROOT / room).rglob("*.py"), key=lambda path: (path.parent, path.name != "__init__.py", path.name)):
        place = path.relative_to(ROOT)
        name = f"{place.parent}/" if path.name == "__init__.py" else str(place)
        lines.append(f"|`{name}`|{first_sentence(path)}|")
    return lines


def written(page: str) -> str:
    """The page with the map as it has to be. Raises `ValueError` if the page has no place for it."""
    head, found, rest = page.partition(BEGIN)
    _, closed, tail = rest.partition(END)
    if not found or not closed:
        raise ValueError(f"{PAGE}: the lines {BEGIN} and {END} are missing")
    table = "\n\n".join("\n".join(rows(room)) for room in ROOMS if list((ROOT / room).rglob("*.py")))
    return f"{head}{BEGIN}\n\n{table}\n\n{END}{tail}"


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text("utf-8")), "utf-8")
