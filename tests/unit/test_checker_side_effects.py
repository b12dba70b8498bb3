"""S28, and S10 where work is undone, on hand-made histories."""

from __future__ import annotations

import pytest

from harness.verdict import Verdict
from tests.unit.histories import AGENT, BANK, FIRST, LEDGER, SECOND_START, SIDECAR, Story


def signal(story: Story, kind: str) -> int:
    return story.say(kind, SIDECAR, agent=AGENT, token=FIRST)


def test_a_process_is_asked_to_stop_once_under_a_token() -> None:
    story = Story()
    first = signal(story, "process-termed")
    assert (story.judged("S28").verdict, story.judged("S28").examined) == (Verdict.VALID, 1)
    second = signal(story, "process-termed")
    assert story.judged("S28").witness == (first, second)


def test_a_process_that_stands_still_is_made_to_go_on() -> None:
    woken, asleep = Story(), Story()
    for story in (woken, asleep):
        story.say("node-paused", f"agent/{AGENT}")
    signal(woken, "process-continued")
    signal(woken, "process-termed")
    termed = signal(asleep, "process-termed")
    assert woken.judged("S28").verdict is Verdict.VALID
    assert asleep.judged("S28").witness == (termed,)


def test_a_fence_is_taken_up_once() -> None:
    story = Story()
    first = story.fence(FIRST)
    story.fence(SECOND_START)
    assert story.judged("S28").verdict is Verdict.VALID
    second = story.fence(FIRST)
    assert story.judged("S28").witness == (first, second)


def step(story: Story, number: int, *, undo: bool = False, key: str = "", sink: str = LEDGER) -> int:
    key = key or (f"undo/k{number}" if undo else f"k{number}")
    story.work("task-intent", step=number, key=key)
    return story.apply(sink, key, cls="undo" if undo else "inflight", result=key)


@pytest.mark.parametrize("sink", [LEDGER, BANK])
def test_a_step_is_undone_once(sink: str) -> None:
    story = Story()
    step(story, 0, sink=sink)
    first = step(story, 0, undo=True, sink=sink)
    assert story.judged("S28").verdict is Verdict.VALID
    second = step(story, 0, undo=True, key="undo/another", sink=sink)
    assert story.judged("S28").witness == (first, second)


def test_what_is_undone_the_last_first_may_be_called_compensated() -> None:
    story = Story()
    for number in (0, 1, 2):
        step(story, number)
    for number in (2, 1, 0):
        step(story, number, undo=True)
    story.work("task-compensated")
    assert [story.judged(invariant).verdict for invariant in ("S9", "S10", "S28")] == [Verdict.VALID] * 3


def test_steps_undone_forwards_or_left_standing_are_violations() -> None:
    forwards, half = Story(), Story()
    marks = [step(forwards, number) for number in (0, 1)]
    assert marks == [step(half, number) for number in (0, 1)]
    undone = step(forwards, 0, undo=True)
    assert forwards.judged("S10").witness == (marks[1], undone)
    step(half, 1, undo=True)
    ended = half.work("task-compensated")
    assert half.judged("S10").witness == (marks[0], ended)
