"""S21 on hand-made histories of canaries: what one of them raised is told as such."""

from __future__ import annotations

from typing import Any

import pytest

from harness.verdict import Verdict
from tests.unit.histories import ALLOWED, Story

REFUSED: list[Any] = [False, 0, 0, 0, 0]
HARDER: list[Any] = [True, 2, 2, 0, 1]


@pytest.mark.parametrize(
    ("stable", "ruling", "raised", "verdict"),
    [
        (ALLOWED, HARDER, True, Verdict.VALID),
        (ALLOWED, HARDER, False, Verdict.INVALID),
        (REFUSED, ALLOWED, True, Verdict.VALID),
        (REFUSED, ALLOWED, False, Verdict.INVALID),
        (REFUSED, REFUSED, False, Verdict.VALID),
        (ALLOWED, ALLOWED, True, Verdict.INVALID),
    ],
)
def test_what_is_raised_is_what_the_stable_policy_would_not_have_ordered(
    stable: list[Any], ruling: list[Any], raised: bool, verdict: Verdict
) -> None:  # fmt: skip
    story = Story()
    story.decide(stable=stable, ruling=ruling, raised=raised)
    finding = story.judged("S21")
    assert ("says that it is not so" in finding.why) is (verdict is Verdict.INVALID)
