"""The house style, as far as a machine can judge it. What it cannot judge is in docs/architecture.md."""

from __future__ import annotations

import ast
import re

import pytest

from tests.repo.modules import ROOT, Module, modules

MODULE_LINES = 450  # about 400
FUNCTION_LINES = 70
UNDOCUMENTED_LINES = 12  # a handler this short, under a name that says it, needs no sentence to repeat it

# Words that name anything, and so nothing.
EMPTY_WORDS = frozenset({"manager", "helper", "helpers", "util", "utils", "data", "info"})
IMPOSED = frozenset({"handle_data"})  # a base class of the standard library calls it so
UNFINISHED = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "X" + "XX", "Not" + "ImplementedError")) + r")\b")

EVERYTHING = (*modules(), *modules("tests", "benchmarks", "scripts"))
CORE = modules("killswitch/core")

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def place(module: Module, line: int) -> str:
    """Where, as an editor can open it."""
    return f"{module.path.relative_to(ROOT)}:{line}"


def definitions(module: Module) -> list[Definition]:
    """Every class and function of a module, at any depth."""
    return [node for node in ast.walk(module.tree) if isinstance(node, Definition)]


def words(name: str) -> set[str]:
    """The words of an identifier, in lower case, whether it is snake or camel."""
    return {word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)}


def test_words_of_an_identifier() -> None:
    assert words("RunInfoStore") == {"run", "info", "store"}
    assert words("load_data_2") == {"load", "data", "2"}
    assert words("SVGHelper") == {"svg", "helper"}


@pytest.mark.parametrize("module", EVERYTHING, ids=lambda module: module.name)
def test_a_module_says_what_it_owns_and_stays_short(module: Module) -> None:
    assert ast.get_docstring(module.tree), place(module, 1)
    assert module.text.count("\n") <= MODULE_LINES, f"{place(module, 1)}: {module.text.count(chr(10))} lines"
    annotates = any(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.AnnAssign) for node in ast.walk(module.tree))
    assert not annotates or "from __future__ import annotations" in module.text, place(module, 1)


@pytest.mark.parametrize("module", EVERYTHING, ids=lambda module: module.name)
def test_functions_stay_short(module: Module) -> None:
    long = [
        f"{place(module, node.lineno)} {node.name}: {node.end_lineno - node.lineno + 1} lines"
        for node in definitions(module)
        if not isinstance(node, ast.ClassDef) and node.end_lineno is not None and node.end_lineno - node.lineno >= FUNCTION_LINES
    ]
    assert not long


@pytest.mark.parametrize("module", EVERYTHING, ids=lambda module: module.name)
def test_names_say_what_they_name(module: Module) -> None:
    named = [(module.name.rpartition(".")[2], 1), *((node.name, node.lineno) for node in definitions(module))]
    empty = [f"{place(module, line)} {name}" for name, line in named if words(name) & EMPTY_WORDS and name not in IMPOSED]
    assert not empty


@pytest.mark.parametrize("module", EVERYTHING, ids=lambda module: module.name)
def test_nothing_is_left_for_later(module: Module) -> None:
    left = [place(module, number) for number, line in enumerate(module.text.splitlines(), start=1) if UNFINISHED.search(line)]
    assert not left


@pytest.mark.parametrize("module", CORE, ids=lambda module: module.name)
def test_the_core_explains_itself(module: Module) -> None:
    """Every public class, and every public function that is more than its name."""
    mute = [
        f"{place(module, node.lineno)} {node.name}"
        for node in module.tree.body
        if isinstance(node, Definition) and not node.name.startswith("_") and ast.get_docstring(node) is None
        if isinstance(node, ast.ClassDef) or (node.end_lineno or 0) - node.lineno >= UNDOCUMENTED_LINES
    ]
    assert not mute
