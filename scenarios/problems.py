"""What can be wrong with a scenario file, and how a person is told.

Owns the one form of every complaint: ``path:line:column: field: problem (got X); remedy``. Knows nothing of what is right: the
document reader, the model and the checks decide that and report here.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import NamedTuple

GOT_LIMIT = 60
SHOWN_LIMIT = 50
CHOICES_LIMIT = 40


class Place(NamedTuple):
    """A position in the file, counted from 1."""

    line: int
    column: int


class Problem(NamedTuple):
    """One thing wrong. ``field`` is the dotted path of the key; ``got`` the offending text, or None where nothing was given."""

    path: str
    place: Place
    field: str
    problem: str
    got: str | None
    remedy: str

    def __str__(self) -> str:
        where = f"{self.path}:{self.place.line}:{self.place.column}: {self.field}: {self.problem}"
        got = "" if self.got is None else f" (got {self.got})"
        return f"{where}{got}; {self.remedy}"


class ScenarioInvalid(Exception):
    """The file is no valid scenario. ``problems``: all of them, sorted by place; the text of the exception names the first fifty."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(set(problems), key=lambda problem: (problem.path, problem.place, problem.field, problem.problem)))
        lines = [str(problem) for problem in self.problems[:SHOWN_LIMIT]]
        if len(self.problems) > SHOWN_LIMIT:
            lines.append(f"and {len(self.problems) - SHOWN_LIMIT} more")
        super().__init__("\n".join(lines))


class ScenarioNotFound(Exception):
    """No scenario of that name, and no file at that path."""


def shown(value: object) -> str:
    """A value as it stands in an error: quoted if text, on one line, and never longer than a line can bear."""
    if isinstance(value, dict):
        text = "{" + ", ".join(f"{key}: ..." for key in value) + "}"
    elif isinstance(value, list | tuple):
        plain = value and all(isinstance(each, str | int) for each in value)
        text = f"[{', '.join(map(str, value))}]" if plain else f"a list of {len(value)}"
    elif value is None:
        text = "nothing"
    elif isinstance(value, bool):
        text = str(value).lower()
    else:
        text = repr(value)
    return text if len(text) <= GOT_LIMIT else text[: GOT_LIMIT - 3] + "..."


def known_or_meant(word: object, known: Iterable[str], listed: str = "docs/scenarios.md") -> str:
    """A remedy for an unknown word: the likely one if there is one, else all that are known; or, of very many, what has them ``listed``."""
    choices = list(known)
    close = difflib.get_close_matches(str(word)[:GOT_LIMIT], choices, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    if len(choices) > CHOICES_LIMIT:
        return f"{listed} lists the {len(choices)} that are known"
    return "use one of " + ", ".join(choices) if choices else "remove it: nothing can stand here"
