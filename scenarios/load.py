"""From a file to a scenario, or to everything that is wrong with it.

Owns the order of reading: YAML within limits (``document``), shape (``model``), rules between parts (``checks``). A part with a wrong shape
is left out and the rest is still judged, so that one look at a file shows all of its problems.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from scenarios import checks, document
from scenarios.document import Document, Steps
from scenarios.forms import Form
from scenarios.model import ACTIONS, ClocksForm, DiskForm, NetworkForm, ParametersForm, Scenario, TopologyForm
from scenarios.problems import Problem, ScenarioInvalid, ScenarioNotFound, known_or_meant, shown

LIBRARY = Path(__file__).parent / "library"
PLACEHOLDERS: dict[str, Any] = {"scenario": "unnamed", "hypothesis": "none", "topology": {"tenants": {"unnamed": {"workers": 1}}}}
_PARTS: dict[str, type[Form]] = {"parameters": ParametersForm, "network": NetworkForm, "disk": DiskForm, "clocks": ClocksForm}
_KIND_OF_VALUE = {
    "string_type": ("must be text", "put it in quotes"),
    "int_type": ("must be a whole number", "write digits only, without quotes, unit or point"),
    "bool_type": ("must be true or false", "write one of those, without quotes: yes, no, on and off are words here"),
    "tuple_type": ("must be a list", "write [one, another], or one a line after '- '"),
    "dict_type": ("must be a mapping", "write key: value pairs"),
    "model_type": ("must be a mapping", "write key: value pairs"),
    "missing": ("missing", "add it"),
}


def load(path: Path) -> Scenario:
    """Read and validate a scenario file. Raises `ScenarioInvalid` with all its problems, or `OSError` if the file cannot be read."""
    return validate(document.read(path))


def parse(text: str, path: str = "scenario.yaml") -> Scenario:
    """Validate a scenario given as text; ``path`` is what its problems are said to be in. Raises `ScenarioInvalid`."""
    return validate(document.parse(text.encode(), path))


def library() -> dict[str, Path]:
    """The scenarios that come with the project, by name."""
    return {path.stem: path for path in sorted(LIBRARY.glob("*.yaml"))}


def find(name_or_path: str) -> Path:
    """The file of a library scenario, or the file at a path. Raises `ScenarioNotFound`."""
    known = library()
    if name_or_path in known:
        return known[name_or_path]
    path = Path(name_or_path)
    if path.is_file():
        return path
    if path.is_dir():
        raise ScenarioNotFound(f"a directory, and no scenario (got {shown(name_or_path)}); name the .yaml files in it")
    raise ScenarioNotFound(
        f"no scenario and no file of that name (got {shown(name_or_path)}); {known_or_meant(name_or_path, known, '`haltproof list`')}"
    )


def validate(read: Document) -> Scenario:
    """The scenario that a document holds. Raises `ScenarioInvalid`."""
    problems = list(read.problems)
    skipped: frozenset[str] = frozenset()
    numbers: tuple[int, ...] = ()
    try:
        scenario = Scenario.model_validate(read.values)
        numbers = tuple(range(len(scenario.timeline)))
    except ValidationError as error:
        found = error.errors(include_url=False)
        problems.extend(_problems(read, found))
        scenario, skipped, numbers = _what_is_left(read.values, found)
    for complaint in checks.complaints(scenario, skipped, numbers):
        problems.append(_placed(read, complaint))
    if problems:
        raise ScenarioInvalid(problems)
    return scenario


def _what_is_left(values: dict[str, Any], errors: list[ErrorDetails]) -> tuple[Scenario, frozenset[str], tuple[int, ...]]:
    """A scenario of the parts that have the right shape, the keys (``topology``, ``topology.quorum``) that have not, and the numbers of the
    timeline's entries that have."""
    skipped = {".".join(str(step) for step in error["loc"][:depth]) for error in errors for depth in (1, 2, 3, 4)}
    left = {key: value for key, value in values.items() if key in _aliases(Scenario) and key not in skipped}
    for key, placeholder in PLACEHOLDERS.items():
        left.setdefault(key, placeholder)
    if isinstance(values.get("topology"), dict):
        sound = {key: value for key, value in values["topology"].items() if key in _aliases(TopologyForm) and f"topology.{key}" not in skipped}
        left["topology"] = {**PLACEHOLDERS["topology"], **sound}
    for part, form in _PARTS.items():
        if isinstance(values.get(part), dict):
            left[part] = {key: value for key, value in values[part].items() if key in _aliases(form) and f"{part}.{key}" not in skipped}
    if isinstance(expect := values.get("expect"), dict) and isinstance(expect.get("reached"), tuple):
        demanded = (fact for number, fact in enumerate(expect["reached"]) if f"expect.reached.{number}" not in skipped)
        left["expect"] = {"reached": tuple(demanded)}
    entries = _entries_left(values.get("timeline"), errors)
    left["timeline"] = tuple(entries.values())
    if isinstance(values.get("timeline"), tuple) and len(entries) == len(values["timeline"]):
        skipped.discard("timeline")  # each is there in its place, under its name, if not with all that it says
    return Scenario.model_validate(left), frozenset(skipped), tuple(entries)


def _entries_left(timeline: Any, errors: list[ErrorDetails]) -> dict[int, Any]:
    """{number: entry} of a timeline, each without the keys that are wrong; those are left out of which it cannot be told what they do."""
    if not isinstance(timeline, tuple) or any(error["loc"] == ("timeline",) for error in errors):  # the list itself, for its length
        return {}
    wrong: dict[int, list[ErrorDetails]] = {}
    for error in errors:
        if error["loc"][0] == "timeline" and len(error["loc"]) > 1:
            wrong.setdefault(int(error["loc"][1]), []).append(error)
    mended = ((number, _mended(entry, wrong.get(number, []))) for number, entry in enumerate(timeline))
    return {number: entry for number, entry in mended if entry is not None}


def _mended(entry: Any, errors: list[ErrorDetails]) -> Any:
    """An entry without the keys that are wrong; None if its name or what it does is among them."""
    for error in errors:
        steps = error["loc"][2:]
        if not isinstance(entry, dict) or not steps or steps[0] == "id":
            return None
        key, inside = str(steps[0]), entry.get(str(steps[0]))
        if key not in ACTIONS:
            entry = {name: value for name, value in entry.items() if name != key}
        elif len(steps) > 1 and isinstance(inside, dict) and error["type"] != "missing":
            entry = {**entry, key: {name: value for name, value in inside.items() if name != steps[1]}}
        else:
            return None
    return entry if not errors or (any(name in ACTIONS for name in entry) and _has_its_shape(entry)) else None


def _has_its_shape(entry: dict[str, Any]) -> bool:
    """Whether what is left of an entry is one: a key that is wrong may have been one that it cannot do without."""
    try:
        Scenario.model_validate({**PLACEHOLDERS, "timeline": (entry,)})
    except ValidationError:
        return False
    return True


def _problems(read: Document, errors: list[ErrorDetails]) -> Iterator[Problem]:
    places = [error["loc"] for error in errors]
    for error in errors:
        # A list whose items are wrong is also counted as too short, by the items that are left: noise.
        if error["type"] == "too_short" and any(len(loc) > len(error["loc"]) and loc[: len(error["loc"])] == error["loc"] for loc in places):
            continue
        yield _problem(read, error)


def _problem(read: Document, error: ErrorDetails) -> Problem:
    kind, context = error["type"], error.get("ctx", {})
    at = _in_file(read, error["loc"], kind)
    got = None if kind == "missing" else shown(error["input"])
    of_key = kind == "extra_forbidden" or "[key]" in error["loc"]
    if kind == "scenario":
        problem, remedy = context["problem"], context["remedy"]
    elif kind in _KIND_OF_VALUE:
        problem, remedy = _KIND_OF_VALUE[kind]
    elif kind == "extra_forbidden":
        form = _form_at(error["loc"][:-1])
        problem, remedy = "unknown key", _inside(read, error["loc"]) or known_or_meant(error["loc"][-1], _aliases(form) if form else ())
        got = shown(error["loc"][-1])
    elif kind == "literal_error":
        choices = [choice.strip("'") for choice in str(context["expected"]).replace(" or ", ", ").split(", ")]
        problem, remedy = "not one of its values", known_or_meant(error["input"], choices)
    elif kind == "string_pattern_mismatch":
        problem, remedy = "not a valid name here", "use small letters, digits and dashes, and start with a letter"
        if "p(50" in context["pattern"]:
            problem, remedy = "not a percentile", "use p50, p90, p95, p99 or p100"
    else:
        problem, remedy = _limit(kind, context)
    return read.problem(at, problem, remedy, got, key=of_key)


def _inside(read: Document, loc: tuple[str | int, ...]) -> str:
    """The remedy for a key of what an entry does that stands beside it, one level too far left; empty for any other."""
    if len(loc) != 3 or loc[0] != "timeline":
        return ""
    node = read.root
    for step in loc[:2]:
        node = document.child(node, step) or node
    for action in (action for action in ACTIONS if document.child(node, action) is not None):
        form = _form_at((*loc[:2], action))
        if form is not None and loc[2] in _aliases(form):
            return f"it belongs inside: {action}: {{..., {loc[2]}: ...}}"
    return ""


def _limit(kind: str, context: dict[str, Any]) -> tuple[str, str]:
    limit = next((context[key] for key in ("ge", "le", "min_length", "max_length") if key in context), "the limit")
    what = {"greater_than_equal": "too small", "less_than_equal": "too large"}.get(kind, "too short" if "short" in kind else "too long")
    return what, f"use {'at least' if what in ('too small', 'too short') else 'at most'} {limit}"


def _in_file(read: Document, loc: tuple[str | int, ...], kind: str) -> Steps:
    """pydantic's path without the steps that are not in the file: list places of short forms, and marks such as ``[key]``."""
    node, at = read.root, list[str | int]()
    for number, step in enumerate(loc):
        below = document.child(node, step)
        if below is not None:
            at.append(step)
            node = below
        elif kind == "missing" and number == len(loc) - 1:
            at.append(step)
    return tuple(at)


def _placed(read: Document, complaint: document.Complaint) -> Problem:
    got = complaint.got
    if got is None:
        try:
            got = shown(read.value(complaint.at))
        except KeyError:
            got = None
    return read.problem(complaint.at, complaint.problem, complaint.remedy, got)


def _aliases(form: type[Form]) -> list[str]:
    return [field.alias or name for name, field in form.model_fields.items()]


def _form_at(loc: tuple[str | int, ...]) -> type[Form] | None:
    """The form whose keys may stand at a path of the model."""
    here: Any = Scenario
    for step in loc:
        here = _bare(here)
        if isinstance(here, type) and issubclass(here, Form):
            field = next((field for field in here.model_fields.values() if field.alias == step), None)
            here = field.annotation if field else None
        else:
            arguments = typing.get_args(here)
            here = (arguments[-1] if isinstance(step, str) else arguments[0]) if arguments else None
    bare = _bare(here)
    return bare if isinstance(bare, type) and issubclass(bare, Form) else None


def _bare(annotation: Any) -> Any:
    """An annotation without its metadata and without ``| None``."""
    while typing.get_origin(annotation) in (typing.Annotated, typing.Union, types.UnionType):
        annotation = typing.get_args(annotation)[0]
    return annotation
