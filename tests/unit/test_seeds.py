"""Which seeds a text means."""

from __future__ import annotations

import pytest

from scenarios.seeds import SEED_MAX, SEEDS_MAX, Seeds, SeedsInvalid


@pytest.mark.parametrize(
    ("text", "seeds"),
    [("1", [1]), ("3", [1, 2, 3]), ("7..9", [7, 8, 9]), ("0..0", [0]), (" 2 ", [1, 2]), (f"{SEED_MAX}..{SEED_MAX}", [SEED_MAX])],
)
def test_a_count_or_a_range(text: str, seeds: list[int]) -> None:
    assert list(Seeds.parse(text).range) == seeds


@pytest.mark.parametrize(
    "text", ["", "0", "-1", "3..2", "1...2", "1..", "..2", "a", "1,2", "1.5", "1e3", "1234567890123", "٣x", f"1..{SEEDS_MAX + 1}"]
)
def test_whatever_else_is_refused_with_what_it_was_and_what_to_write(text: str) -> None:
    with pytest.raises(SeedsInvalid) as refused:
        Seeds.parse(text)
    assert str(refused.value).startswith("--seeds: ")
    assert f"(got {text!r})" in str(refused.value)
    assert "write 20, or 100..150" in str(refused.value)
