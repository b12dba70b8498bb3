"""What a node takes in that somebody made up (S13, S14, S21), where it was paused or slow when that was handed to it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harness.checkers.bounds import HOST_LAG_NS
from harness.verdict import Verdict
from tests.unit.histories import SECOND, SIDECAR, Story

TAKER = "replica/3"
PEER = "replica/1"


def stray(story: Story, node: str) -> None:
    """A certificate that no replica drafted, nor put a decision on record about; at a sidecar, a word of another tenant."""
    if node == TAKER:
        story.certify(TAKER, "c1", "o1")
    else:
        story.say("foreign-news", SIDECAR, what="order", id="o1", tenant="beta", sender=PEER)


def hand(story: Story, node: str) -> None:
    story.say("hostile-input", node, sender=PEER, what="certificate of another tenant", read=True)


def paused(story: Story, node: str) -> Callable[[], object]:
    story.say("node-paused", node)
    return lambda: story.say("node-resumed", node)


def slow(story: Story, node: str) -> Callable[[], object]:
    story.fault("slow-node", node)
    return lambda: story.say("fault-off", "world", fault="f1", what="slow-node")


def slow_until_all_is_healed(story: Story, node: str) -> Callable[[], object]:
    story.fault("slow-node", node)
    return lambda: story.say("healed", "world")


def both_and_one_ends_sooner(story: Story, node: str) -> Callable[[], object]:
    end = slow(story, node)
    story.say("node-paused", node)
    end()
    return lambda: story.say("node-resumed", node)


HOLDS = pytest.mark.parametrize("holds", [paused, slow, slow_until_all_is_healed, both_and_one_ends_sooner])
JUDGES = pytest.mark.parametrize(("invariant", "node"), [("S13", TAKER), ("S21", TAKER), ("S14", SIDECAR)])


@JUDGES
@HOLDS
@pytest.mark.parametrize("handed_first", [True, False])
@pytest.mark.parametrize(("later_ns", "verdict"), [(0, Verdict.VALID), (HOST_LAG_NS, Verdict.VALID), (HOST_LAG_NS + 1, Verdict.INVALID)])
def test_what_was_handed_to_a_node_that_is_held_up_is_taken_in_once_that_is_over(
    invariant: str, node: str, holds: Callable[[Story, str], Callable[[], object]], handed_first: bool, later_ns: int, verdict: Verdict
) -> None:
    story = Story()
    story.start_all()
    if handed_first:
        hand(story, node)
    end = holds(story.at(SECOND), node)
    if not handed_first:
        hand(story.at(2 * SECOND), node)
    story.at(6 * SECOND)
    end()
    stray(story.at(6 * SECOND + later_ns), node)
    assert story.judged(invariant).verdict is verdict


@JUDGES
def test_a_slow_node_takes_it_in_at_any_time(invariant: str, node: str) -> None:
    story = Story()
    story.start_all()
    slow(story, node)
    hand(story, node)
    stray(story.at(30 * SECOND), node)
    assert story.judged(invariant).verdict is Verdict.VALID


@JUDGES
@HOLDS
@pytest.mark.parametrize("why", ["handed to another", "taken in long before", "lost with the process"])
def test_being_held_up_excuses_nothing_else(invariant: str, node: str, holds: Callable[[Story, str], Callable[[], object]], why: str) -> None:
    story = Story()
    story.start_all()
    if why == "taken in long before":
        hand(story, node)
    end = holds(story.at(2 * SECOND), node)
    if why != "taken in long before":
        hand(story, "replica/2" if why == "handed to another" else node)
    if why == "lost with the process":
        story.crash(node)
        story.at(4 * SECOND).start(node, boot="boot-2", instance="b")
    story.at(6 * SECOND)
    end()
    stray(story, node)
    assert story.judged(invariant).verdict is Verdict.INVALID
