"""What one more agent costs: neither steps nor calls, which unlike time can be counted exactly, depend on how many there are, and it stays small."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

import pytest

from benchmarks.scale import fleet, kb_per_agent
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


@pytest.mark.slow
@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="how large objects are is a matter of the interpreter: this is CPython 3.11's")
def test_an_agent_takes_little_memory() -> None:
    """Of a small fleet, in which each pays for a larger part of what there is once: of 10,000 it is 20 KB (docs/performance.md)."""
    standing, _ = kb_per_agent(200)
    assert standing < 21
