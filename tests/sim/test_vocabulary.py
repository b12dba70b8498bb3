"""Every fact that a run records is in the vocabulary, with exactly its fields: a real run of every scenario, and every word of the core."""

from __future__ import annotations

import ast

import pytest

from harness.shared.history import VOCABULARY, History
from harness.shared.implementation import Killswitch
from harness.version import version
from killswitch.core.events import Observe
from scenarios import load
from scenarios.draw import draw
from sim.driver import play
from tests.repo.modules import modules

LIBRARY = load.library()


def strangers(history: History) -> set[tuple[str, tuple[str, ...]]]:
    """Facts that are not of the vocabulary: (kind, fields too many or missing)."""
    found = set()
    for fact in history:
        known = VOCABULARY.get(fact.kind)
        differing = set(fact.body) ^ set(known[0]) if known else {"the kind itself"}
        if differing:
            found.add((fact.kind, tuple(sorted(differing))))
    return found


@pytest.mark.parametrize("name", LIBRARY)
def test_every_fact_of_a_run_is_in_the_vocabulary_with_exactly_its_fields(name: str) -> None:
    scenario = load.load(LIBRARY[name])
    for seed in (1, 2):
        history = play(draw(scenario, seed, version()), Killswitch()).history
        assert len(history) > 100
        assert strangers(history) == set()


def test_every_word_that_the_core_observes_is_in_the_vocabulary() -> None:
    """The driver drops an `Observe` of a kind that nobody knows, so a slip of the pen in the core would blind the checkers in silence."""
    words: dict[str, str] = {}
    for module in modules("killswitch/core"):
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("observe", "_observe", Observe.__name__):
                words |= {arg.value: module.name for arg in node.args[:2] if isinstance(arg, ast.Constant) and isinstance(arg.value, str)}
    assert len(words) > 10
    assert {word: module for word, module in words.items() if word not in VOCABULARY} == {}
