"""What one more agent costs does not depend on how many there are: neither steps nor calls, which unlike time can be counted exactly."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

import pytest

from benchmarks.scale import fleet
from harness.shared.implementation import Killswitch
from sim.driver import play


def calls(agents: int) -> float:
    """Calls of Python functions in a whole run, for each agent."""
    count = 0

    def counting(_frame: FrameType, event: str, _argument: Any) -> None:
        nonlocal count
        count += event == "call"

    schedule = fleet(agents, seconds=4)
    before = sys.getprofile()
    sys.setprofile(counting)
    try:
        play(schedule, Killswitch())
    finally:
        sys.setprofile(before)
    return count / agents


@pytest.mark.slow
def test_an_agent_of_many_costs_what_an_agent_of_few_does() -> None:
    assert calls(240) <= 1.05 * calls(60)
