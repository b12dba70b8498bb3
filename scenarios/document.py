"""A YAML file as plain values with the place of each, read so that no file can cost more than a bounded time and memory.

Owns the reading of YAML 1.2: limits, duplicate keys, anchors, scalars. Must not know what a scenario is. Values are built here,
from the parser's events, because every limit must hold before anything is constructed: an alias bomb is refused when the sum of
what it stands for passes the limit, not when memory does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)
from ruamel.yaml.reader import ReaderError

from killswitch import files
from scenarios.problems import Place, Problem, ScenarioInvalid, shown

BYTES_LIMIT = 256 * 1024
DEPTH_LIMIT = 16
NODES_LIMIT = 20_000

Steps = tuple[str | int, ...]
START = Place(1, 1)


class Complaint(NamedTuple):
    """A problem before it has a place in a file. ``got`` says what stands there, where that helps beyond the value itself."""

    at: Steps
    problem: str
    remedy: str
    got: str | None = None


_HALF = re.compile("[\ud800-\udfff]")
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_PLAIN_KEY = re.compile(r"[\w./-]{1,64}")
_PLAIN = {"": None, "~": None, "null": None, "Null": None, "NULL": None, "true": True, "True": True, "TRUE": True,
          "false": False, "False": False, "FALSE": False}  # fmt: skip


class Node:
    """One value of the file. ``size``: nodes that it stands for once aliases are followed; ``depth``: levels below and with it."""

    __slots__ = ("depth", "key_places", "place", "size", "value")

    def __init__(self, value: Any, place: Place) -> None:
        self.value = value
        self.place = place
        self.key_places: dict[str, Place] = {}
        self.size = 1
        self.depth = 1


class Document:
    """The whole file: its values (mappings as dicts, lists as tuples, no floats), where each stands, and what is already known to be wrong."""

    def __init__(self, path: str, root: Node, problems: Iterable[Problem] = ()) -> None:
        self.path = path
        self.root = root
        self.problems = tuple(problems)
        self.values: dict[str, Any] = plain(root)

    def place(self, at: Steps, key: bool = False) -> Place:
        """Where the value at a path stands (``key``: where its key does), or the nearest thing above it that is in the file."""
        node = self.root
        place = node.place
        for depth, step in enumerate(at):
            below = child(node, step)
            if below is None:
                break
            last = depth == len(at) - 1
            place = node.key_places[step] if key and last and isinstance(step, str) else below.place
            node = below
        return place

    def value(self, at: Steps) -> Any:
        """The value at a path. Raises `KeyError` if the file has none there."""
        node: Node | None = self.root
        for step in at:
            node = child(node, step) if node is not None else None
        if node is None:
            raise KeyError(at)
        return plain(node)

    def problem(self, at: Steps, problem: str, remedy: str, got: str | None = None, key: bool = False) -> Problem:
        return Problem(self.path, self.place(at, key), dotted(at), problem, got, remedy)


def dotted(at: Steps) -> str:
    """``('timeline', 0, 'hard')`` as ``timeline[0].hard``; a key that is no plain word is quoted, so that it cannot look like something else."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" if _PLAIN_KEY.fullmatch(step) else f".{shown(step)}" for step in at)
    return text.removeprefix(".") or "file"


def child(node: Node, step: str | int) -> Node | None:
    if isinstance(node.value, dict) and isinstance(step, str):
        found = node.value.get(step)
        return found if isinstance(found, Node) else None
    if isinstance(node.value, tuple) and isinstance(step, int) and 0 <= step < len(node.value):
        found = node.value[step]
        return found if isinstance(found, Node) else None
    return None


def plain(node: Node) -> Any:
    if isinstance(node.value, dict):
        return {key: plain(below) for key, below in node.value.items()}
    if isinstance(node.value, tuple):
        return tuple(plain(below) for below in node.value)
    return node.value


def read(path: Path) -> Document:
    """Read a file. Raises `ScenarioInvalid` if it is no YAML mapping within the limits, and `OSError` if it cannot be read."""
    return parse(files.content(path, BYTES_LIMIT + 1), str(path))


def parse(content: bytes, path: str) -> Document:
    """Read the bytes of a file. Raises `ScenarioInvalid` where reading cannot go on; duplicate keys and tags are in the document's problems."""
    text = _text(content, path)
    composer = _Composer(path, text)
    try:
        root = composer.document()
    except ReaderError as error:
        place = _place_of(text, error.position)
        raise ScenarioInvalid(
            [Problem(path, place, "file", "a character that YAML does not allow", shown(text[error.position]), "remove it")]
        ) from error
    except MarkedYAMLError as error:
        raise ScenarioInvalid([_syntax(path, error, text)]) from error
    return Document(path, root, composer.problems)


def _text(content: bytes, path: str) -> str:
    if len(content) > BYTES_LIMIT:
        raise _refused(path, START, f"larger than {BYTES_LIMIT // 1024} KiB", "split it: one scenario a file", None)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        place = _place_of(content[: error.start].decode("utf-8", errors="replace"), None)
        raise _refused(path, place, "not UTF-8", "save the file as UTF-8", f"byte 0x{content[error.start]:02x}") from error
    if not text.strip():
        raise _refused(path, START, "empty", "start with `scenario: a-name`, and see the library for examples", None)
    return text


def _place_of(text: str, position: int | None) -> Place:
    before = text if position is None else text[:position]
    return Place(before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1)


def _refused(path: str, place: Place, problem: str, remedy: str, got: str | None) -> ScenarioInvalid:
    return ScenarioInvalid([Problem(path, place, "file", problem, got, remedy)])


def _syntax(path: str, error: MarkedYAMLError, text: str) -> Problem:
    mark = error.problem_mark or error.context_mark
    place = START if mark is None else Place(mark.line + 1, mark.column + 1)
    what = str(error.problem or error.context or error).splitlines()[0]
    lines = text.splitlines()
    line = lines[place.line - 1] if place.line <= len(lines) else ""
    if "\t" in line[: place.column]:
        return Problem(path, place, "file", "a tab where only spaces may stand", None, "indent with spaces")
    remedy = "quote texts that hold ': ' or ' #', and close every quote and bracket"
    return Problem(path, place, "file", f"not YAML: {what}", shown(line.strip()) if line.strip() else None, remedy)


class _Composer:
    """Builds nodes from the parser's events; recursion is safe because `DEPTH_LIMIT` is checked on the way in."""

    def __init__(self, path: str, text: str) -> None:
        self.path = path
        self.events: Iterator[Any] = iter(YAML(typ="safe", pure=True).parse(text))
        self.anchors: dict[str, Node] = {}
        self.nodes = 0
        self.problems: list[Problem] = []

    def document(self) -> Node:
        for event in self.events:
            if isinstance(event, DocumentStartEvent):
                break
            if isinstance(event, StreamEndEvent):
                raise _refused(self.path, START, "empty", "start with `scenario: a-name`, and see the library for examples", None)
        first = next(self.events)
        if not isinstance(first, MappingStartEvent):
            raise _refused(self.path, _at(first), "the top level is not a mapping", "start with `scenario: a-name`, one key a line", None)
        root = self.node(first, ())
        for event in self.events:
            if isinstance(event, DocumentStartEvent):
                raise _refused(self.path, _at(event), "a second document", "keep one scenario a file: remove the '---' and what follows", None)
        return root

    def node(self, event: Any, at: Steps) -> Node:
        place = _at(event)
        if len(at) >= DEPTH_LIMIT:
            raise _refused(self.path, place, f"nested deeper than {DEPTH_LIMIT} levels", "flatten it: a scenario needs seven", None)
        if isinstance(event, AliasEvent):
            return self.alias(event, at, place)
        self.count(1, place)
        if event.tag is not None and not (isinstance(event, ScalarEvent) and event.tag == "!"):
            self.problems.append(Problem(self.path, place, dotted(at), "an explicit tag", shown(str(event.tag)), "remove it: types are known here"))
        if isinstance(event, ScalarEvent):
            node = Node(self.whole(_scalar(event), place, at), place)
        elif isinstance(event, SequenceStartEvent):
            node = self.sequence(place, at)
        else:
            node = self.mapping(place, at)
        if event.anchor is not None:
            self.anchors[event.anchor] = node
        return node

    def alias(self, event: AliasEvent, at: Steps, place: Place) -> Node:
        meant = self.anchors.get(event.anchor)
        if meant is None:
            raise _refused(self.path, place, "an alias of nothing before it", "name an anchor that is complete by here", f"*{event.anchor}")
        self.count(meant.size, place)
        if len(at) + meant.depth > DEPTH_LIMIT:
            raise _refused(self.path, place, f"nested deeper than {DEPTH_LIMIT} levels", "write it out without aliases", f"*{event.anchor}")
        return meant

    def count(self, size: int, place: Place) -> None:
        self.nodes += size
        if self.nodes > NODES_LIMIT:
            raise _refused(self.path, place, f"more than {NODES_LIMIT} values, aliases followed", "make it smaller, or split it", None)

    def whole(self, value: Any, place: Place, at: Steps) -> Any:
        """A text without halves of characters, which ``"\\uD800"`` makes and nothing can write down; what is left of it if there are some."""
        if isinstance(value, str) and _HALF.search(value):
            remedy = "write the character itself, or its whole code as \\U and eight digits"
            self.problems.append(Problem(self.path, place, dotted(at), "half of a character (a lone surrogate)", shown(value), remedy))
            return _HALF.sub("?", value)
        return value

    def sequence(self, place: Place, at: Steps) -> Node:
        below: list[Node] = []
        while not isinstance(event := next(self.events), SequenceEndEvent):
            below.append(self.node(event, (*at, len(below))))
        node = Node(tuple(below), place)
        return _sized(node, below)

    def mapping(self, place: Place, at: Steps) -> Node:
        node = Node({}, place)
        while not isinstance(event := next(self.events), MappingEndEvent):
            key = event.value if isinstance(event, ScalarEvent) else None
            key_place = _at(event)
            if key is None:
                raise _refused(self.path, key_place, "a key that is not a name", "write a plain word before the colon", None)
            key = self.whole(str(key), key_place, at)
            following = next(self.events)
            below = self.node(following, (*at, key))
            if isinstance(following, ScalarEvent) and following.value == "" and below.value is None:
                below.place = key_place  # nothing stands there, and the parser puts nothing at the next line
            if key in node.value:
                first = node.key_places[key]
                remedy = f"keep one: it stands already at line {first.line}"
                self.problems.append(Problem(self.path, key_place, dotted((*at, key)), "duplicate key", shown(key), remedy))
                continue
            node.value[key] = below
            node.key_places[key] = key_place
        return _sized(node, list(node.value.values()))


def _sized(node: Node, below: list[Node]) -> Node:
    node.size = 1 + sum(each.size for each in below)
    node.depth = 1 + max((each.depth for each in below), default=0)
    return node


def _at(event: Any) -> Place:
    return Place(event.start_mark.line + 1, event.start_mark.column + 1)


def _scalar(event: ScalarEvent) -> Any:
    """A plain scalar by YAML 1.2, but for numbers with a point, which stay text: nothing in a scenario is a float."""
    text = str(event.value)
    if not event.implicit[0]:
        return text
    if text in _PLAIN:
        return _PLAIN[text]
    return int(text) if _INTEGER.fullmatch(text) else text
