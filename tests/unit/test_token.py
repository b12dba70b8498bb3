"""Replay tokens: there and back, what is no token, and what has changed since."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from harness.shared.implementation import OURS
from harness.token import ReplayToken, TokenInvalid, mismatches, parse, token_of
from tests.unit.campaigns import schedule

DIGEST, CODE = "9f3a1c" + 58 * "0", "77e0d2b4a5c6"
DRAWN = replace(schedule("kill-during-partition", 42), scenario_digest=DIGEST, version=f"0.1.0+{CODE}")
TEXT = "hp1:kill-during-partition:42:9f3a1c-77e0d2"
HEX = st.text("0123456789abcdef", min_size=6, max_size=6)


def test_a_token_says_scenario_seed_and_which_code() -> None:
    token = token_of(DRAWN, OURS)
    assert str(token) == TEXT
    assert parse(TEXT) == token
    assert parse(f"  {TEXT}\n") == token
    assert mismatches(token, DRAWN) == []


@pytest.mark.parametrize("implementation", ["B07", "mine.broken:Machine"])
def test_a_token_names_whatever_else_was_played(implementation: str) -> None:
    token = token_of(DRAWN, implementation)
    assert str(token) == f"{TEXT}:{implementation}"
    assert parse(str(token)) == token


@given(
    scenario=st.from_regex(r"[a-z][a-z0-9-]{0,40}", fullmatch=True), seed=st.integers(0, 10**12 - 1), digest=HEX, code=HEX,
    implementation=st.sampled_from([OURS, "B01", "a.b_c:D"]),
)  # fmt: skip
def test_there_and_back(scenario: str, seed: int, digest: str, code: str, implementation: str) -> None:
    token = ReplayToken(scenario, seed, digest, code, implementation)
    assert parse(str(token)) == token


@pytest.mark.parametrize(
    "text",
    [
        "", "hp1:", TEXT[:-1], TEXT + "0", TEXT.replace("hp1", "hp2"), TEXT.replace(":42", ":-1"), TEXT.replace(":42", ":1234567890123"),
        TEXT.upper(), f"{TEXT}:", f"{TEXT}:$(rm)", f"{TEXT} {TEXT}", TEXT.replace("-77", "77"), "x" * 10_000,
    ],
)  # fmt: skip
def test_what_is_no_token_is_refused_in_one_short_line(text: str) -> None:
    with pytest.raises(TokenInvalid, match="was it copied whole") as refused:
        parse(text)
    assert len(str(refused.value)) < 250


def test_a_changed_scenario_and_a_changed_code_are_named_apart() -> None:
    token = parse(TEXT)
    other_file = mismatches(token, replace(DRAWN, scenario_digest="0" * 64))
    other_code = mismatches(token, replace(DRAWN, version="0.2.0+000000000000"))
    both = mismatches(token, replace(DRAWN, scenario_digest="0" * 64, version="0.2.0+000000000000"))
    assert [problem.partition(":")[0] for problem in other_file] == ["scenario"]
    assert [problem.partition(":")[0] for problem in other_code] == ["version"]
    assert both == [*other_file, *other_code]
    assert "9f3a1c" in other_file[0]
    assert "000000" in other_file[0]


def test_another_release_of_the_same_code_is_the_same_code() -> None:
    assert mismatches(parse(TEXT), replace(DRAWN, version=f"9.9.9+{CODE}")) == []
