"""How reports say things: every kind of fact has its sentence, units stay honest, and hostile characters become visible."""

from __future__ import annotations

import pytest

from harness.checkers.registry import CHECKERS
from harness.shared.history import VOCABULARY, Fact
from reports import invariants, words


def test_every_kind_of_fact_has_a_sentence_and_no_other() -> None:
    assert set(words.SENTENCES) == set(VOCABULARY)


@pytest.mark.parametrize("kind", VOCABULARY)
def test_a_sentence_only_uses_fields_that_its_kind_has(kind: str) -> None:
    numbers = {"gate", "life"}
    body = {name: 2 if name in numbers else 1_500_000 if name.endswith("_ns") else f"<{name}>" for name in VOCABULARY[kind][0]}
    lists = {"orders": ["a", "b"], "certificates": [], "covers": ["a"]}
    said = words.sentence(Fact(0, kind, "n", 0, {**body, **{name: value for name, value in lists.items() if name in body}}))
    assert "?" not in said
    assert said.endswith(".")


def test_a_fact_of_a_later_version_is_spelled_out() -> None:
    assert words.sentence(Fact(0, "moon-risen", "world", 0, {"phase": "full", "late": True})) == "moon-risen: phase full; late yes"
    assert words.sentence(Fact(0, "task-done", "agent/a/1", 0, {})) == "? notes that task ? is done."


@pytest.mark.parametrize(
    ("nanoseconds", "said"),
    [(None, "–"), (0, "0 s"), (999, "999 ns"), (1_000, "1 µs"), (230_000_000, "230 ms"), (5_050_505_051, "5.051 s"), (-2_000_000_000, "-2 s"),
     (123_456_000_000_000, "123,456 s")],
)  # fmt: skip
def test_durations(nanoseconds: int | None, said: str) -> None:
    assert words.duration(nanoseconds) == said


@pytest.mark.parametrize(
    ("share", "said"), [(0.0, "0.000"), (0.99996, "1.000"), (1.0, "1.000"), (1.00001, "1.00001"), (1.0427, "1.043"), (512.34, "512")]
)
def test_a_ratio_just_past_the_bound_is_never_rounded_down_to_it(share: float, said: str) -> None:
    assert words.ratio(share) == said


@pytest.mark.parametrize(
    ("gate", "life", "said"),
    [(0, 0, "RUN"), (2, 0, "ISOLATE"), (1, 1, "SOFT"), (2, 1, "QUIESCE"), (2, 2, "HARD"), ("CLOSED", "KILL", "HARD"), ("drain", "stop", "SOFT"),
     (0, 2, "0/2"), (7, 9, "7/9")],
)  # fmt: skip
def test_severities(gate: object, life: object, said: str) -> None:
    assert words.severity_word(gate, life) == said


def test_hostile_characters_become_visible() -> None:
    assert words.plain("a\x00b\x1b[2J\u202ec\ud800\r\n") == "a\\u0000b\\u001b[2J\\u202ec\\ud800\\u000d\n"
    assert words.plain("Grüße, 世界 🙂") == "Grüße, 世界 🙂"


def test_identifiers_are_cut_and_tokens_are_read() -> None:
    assert words.short("ab" * 32) == "abababab…"
    assert words.short([1, 4, "instance"]) == "1.4"
    assert words.short(["tenant", "acme"]) == "tenant acme"
    assert words.short([]) == "nothing"
    assert words.short([["replica/1", "boot", 5], ["replica/2", "boot", 6]]) == "replica/1, boot, 5, replica/2, boot, 6"


def test_invariants_sort_as_people_count() -> None:
    mixed = ["L10", "S10", "custom", "S2", "L1", "S1", "S²"]
    assert sorted(mixed, key=invariants.rank) == ["S1", "S2", "S10", "L1", "L10", "S²", "custom"]


def test_the_names_are_those_of_the_checkers() -> None:
    titled = {invariant: checker.title.partition(":")[0] for invariant, checker in CHECKERS.items()}
    assert titled == {invariant: invariants.promise(invariant).name for invariant in CHECKERS}


def test_nanoseconds_in_prose_become_durations() -> None:
    assert words.readable("late by 4006369631 ns; T1 allows 1010101011 ns, not 12 ns") == "late by 4.006 s; T1 allows 1.01 s, not 12 ns"
    assert words.readable("key k1234567 ns1\x1b") == "key k1234567 ns1\\u001b"
