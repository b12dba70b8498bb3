"""Finding the first place at which two plays of one schedule part."""

from __future__ import annotations

import pytest

from harness.shared.implementation import OURS
from harness.twice import Divergence, Footprint, first_difference, footprint
from tests.live.schedules import SECOND, short


def prints(steps: str, facts: str) -> Footprint:
    return Footprint(f"{steps}/{facts}", tuple(letter.encode() for letter in steps), tuple(letter.encode() for letter in facts))


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (("abc", "xyz"), ("abd", "xyz"), (2, "step")),
        (("abc", "xyz"), ("abc", "xzz"), (1, "fact")),
        (("abc", "xyz"), ("axc", "qyz"), (1, "step")),  # facts follow from steps
        (("abc", "xyz"), ("ab", "xyz"), (2, "step")),
        (("abc", "xyz"), ("abc", "xyzz"), (3, "fact")),
        (("", ""), ("a", ""), (0, "step")),
    ],
)
def test_the_first_difference_is_found_steps_before_facts(one: tuple[str, str], other: tuple[str, str], expected: tuple[int, str]) -> None:
    assert first_difference(prints(*one), prints(*other)) == expected
    assert first_difference(prints(*other), prints(*one)) == expected


def test_a_footprint_has_an_entry_for_each_step_and_fact_and_is_the_same_each_time() -> None:
    schedule = short(duration_ns=SECOND)
    one, other = footprint(schedule, OURS), footprint(schedule, OURS)
    assert one == other
    assert len(one.steps) > 100
    assert len(one.facts) > 50
    longer = footprint(short(duration_ns=2 * SECOND), OURS)
    index, what = first_difference(one, longer)
    assert what == "step"
    assert index > 0
    assert one.steps[:index] == longer.steps[:index]


def test_a_divergence_in_words() -> None:
    assert str(Divergence("step", 7, "this", "that")) == "the plays part at step 7: first this; second that"
