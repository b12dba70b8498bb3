"""The source of every room, parsed once: what the tests of the repository itself look at.

Owns finding modules and resolving what they import. Knows no rule.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("killswitch", "sim", "scenarios", "harness", "reports")


class Module(NamedTuple):
    """One module: its dotted name (a package has its own), where it is, its text and its tree."""

    name: str
    path: Path
    text: str
    tree: ast.Module


class Import(NamedTuple):
    """One imported name, dotted: a module, or a name within one. ``typing_only``: under `if TYPE_CHECKING`, so it never runs."""

    target: str
    line: int
    typing_only: bool


def _name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def modules(*folders: str) -> tuple[Module, ...]:
    """Every module below the folders (the rooms, if none is named), in order of path."""
    found = []
    for folder in folders or ROOMS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            text = path.read_text("utf-8")
            found.append(Module(_name(path), path, text, ast.parse(text, filename=str(path))))
    return tuple(found)


def imports(module: Module) -> Iterator[Import]:
    """Everything that a module imports, wherever in it."""
    typing_only = {
        id(inner)
        for block in ast.walk(module.tree)
        if isinstance(block, ast.If) and ast.unparse(block.test).endswith("TYPE_CHECKING")
        for inner in ast.walk(block)
    }
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            for name in node.names:
                yield Import(name.name, node.lineno, id(node) in typing_only)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module.path}:{node.lineno}: import by the full name, not relatively"
            for name in node.names:
                yield Import(f"{node.module}.{name.name}", node.lineno, id(node) in typing_only)


def within(name: str, prefix: str) -> bool:
    """Whether a dotted name is a prefix or lies below it."""
    return name == prefix or name.startswith(f"{prefix}.")
