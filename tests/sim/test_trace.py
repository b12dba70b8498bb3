"""The digest of what nodes took in: equal for equal runs, another for every change, and the same whether or not the steps are kept."""

from __future__ import annotations

import pytest

from killswitch.core.events import Durable, Timer
from sim.trace import PIECE, Step, Trace

STEPS: list[Step] = [(at, f"node/{at % 3}", Durable(at) if at % 2 else Timer("poll")) for at in range(3 * PIECE + 5)]


def digest_of(steps: list[Step], facts: tuple[object, ...] = (), *, keep: bool = False) -> str:
    return traced(steps, keep=keep).digest(facts)


def traced(steps: list[Step], *, keep: bool) -> Trace:
    trace = Trace(keep=keep)
    for step in steps:
        trace.append(step)
        if len(trace) == PIECE:
            trace.fold()
    return trace


@pytest.mark.parametrize("count", [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE + 5])
def test_keeping_the_steps_changes_no_digest_and_loses_none_of_them(count: int) -> None:
    assert digest_of(STEPS[:count]) == digest_of(STEPS[:count], keep=True)
    assert traced(STEPS[:count], keep=True).steps() == STEPS[:count]
    assert traced(STEPS[:count], keep=False).steps() == []


@pytest.mark.parametrize("at", [0, PIECE - 1, PIECE, 2 * PIECE + 7, 3 * PIECE + 4])
def test_every_step_counts(at: int) -> None:
    changed = [*STEPS[:at], (*STEPS[at][:2], Timer("another")), *STEPS[at + 1 :]]
    left_out = [*STEPS[:at], *STEPS[at + 1 :]]
    assert len({digest_of(STEPS), digest_of(changed), digest_of(left_out)}) == 3


def test_every_fact_counts_and_where_steps_end_and_facts_begin() -> None:
    facts = tuple(STEPS[: PIECE + 9])
    assert digest_of([], facts) != digest_of([], facts[:-1])
    assert digest_of(STEPS[:9], tuple(STEPS[9:20])) != digest_of(STEPS[:10], tuple(STEPS[10:20]))
