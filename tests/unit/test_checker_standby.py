"""L11: good and bad histories of standby."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harness.verdict import Verdict
from tests.unit.histories import SECOND, SIDECAR, Story

LIMIT = 5 * SECOND
RUNS, ISOLATED, STOPPED = ("OPEN", "ALIVE"), ("CLOSED", "ALIVE"), ("CLOSED", "STOP")


def begun() -> Story:
    story = Story(standby_max_ns=LIMIT)
    story.start_all()
    story.gate("OPEN")
    return story


def stand(story: Story, from_ns: int, to_ns: int | None = None) -> Story:
    story.at(from_ns).gate("CLOSED", "STANDBY")
    if to_ns is not None:
        story.at(to_ns).gate("OPEN")
    return story


def own_order(story: Story, at_ns: int, order: str = "own") -> Story:
    story.at(at_ns).learn(SIDECAR, order, "QUIESCE", issuer=SIDECAR, signer=SIDECAR)
    story.gate("CLOSED", "QUIESCING")
    story.intent(SIDECAR, [order], severity=STOPPED)
    return story


def short(story: Story) -> None:
    stand(story, SECOND, 5 * SECOND)


def adds_up(story: Story) -> None:
    stand(story, SECOND, 4 * SECOND)
    stand(story, 6 * SECOND)
    own_order(story, 8 * SECOND)


def wiped_out(story: Story) -> None:
    stand(story, SECOND, 5 * SECOND)
    stand(story, 11 * SECOND, 15 * SECOND)


def isolated(story: Story) -> None:
    """By an order: a person decided that it waits."""
    story.at(SECOND).intent(SIDECAR, ["theirs"], severity=ISOLATED)
    stand(story, SECOND, 20 * SECOND)


def started_again(story: Story) -> None:
    stand(story, SECOND)
    story.at(4 * SECOND).start(SIDECAR, instance="b")
    stand(story, 5 * SECOND, 9 * SECOND)


def twice(story: Story) -> None:
    stand(story, SECOND)
    own_order(story, 6 * SECOND)
    story.at(7 * SECOND).intent(SIDECAR, ["own"], ["lifted"], severity=RUNS)
    story.gate("OPEN")
    stand(story, 8 * SECOND)
    own_order(story, 13 * SECOND, "another")


def escalated(story: Story) -> None:
    """What a replica makes of the sidecar's own order, for want of a proof, is in the sidecar's name and not of its making."""
    twice(story)
    story.at(14 * SECOND).learn(SIDECAR, "child", issuer=SIDECAR, signer="replica/1")
    story.intent(SIDECAR, ["another", "child"], severity=("CLOSED", "KILL"))


@pytest.mark.parametrize("tell", [short, adds_up, wiped_out, isolated, started_again, twice, escalated])
def test_who_stands_by_is_stopped_in_time_and_no_sooner(tell: Callable[[Story], None]) -> None:
    story = begun()
    tell(story)
    story.end()
    assert story.judged("L11").verdict is Verdict.VALID


def never(story: Story) -> None:
    stand(story, SECOND)
    story.at(12 * SECOND)


def adds_up_to_nothing(story: Story) -> None:
    stand(story, SECOND, 4 * SECOND)
    stand(story, 6 * SECOND, 9 * SECOND)
    stand(story, 10 * SECOND, 12 * SECOND)


def isolated_and_then_forgotten(story: Story) -> None:
    """The order that it waited under is lifted, and nobody vouches for it: from now on it counts."""
    story.at(SECOND).intent(SIDECAR, ["theirs"], severity=ISOLATED)
    stand(story, SECOND)
    story.at(3 * SECOND).intent(SIDECAR, ["theirs"], ["lifted"], severity=RUNS)
    story.at(14 * SECOND)


def too_soon(story: Story) -> None:
    stand(story, SECOND)
    own_order(story, 6 * SECOND - 1)


def forgotten_for_an_escalation(story: Story) -> None:
    """A child of the order of the first spell comes in the second: it ends nothing that is counted."""
    twice(story)
    story.at(14 * SECOND).intent(SIDECAR, ["own", "another"], ["lifted", "too"], severity=RUNS)
    story.gate("OPEN")
    stand(story, 15 * SECOND)
    story.at(21 * SECOND).learn(SIDECAR, "child", issuer=SIDECAR, signer="replica/1")
    story.at(25 * SECOND)


def counted_though_isolated(story: Story) -> None:
    stand(story, SECOND)
    story.at(2 * SECOND).intent(SIDECAR, ["theirs"], severity=ISOLATED)
    own_order(story, 6 * SECOND)


def once_for_all(story: Story) -> None:
    """The order of the first spell is known and lifted: it is no order for the second."""
    stand(story, SECOND)
    own_order(story, 6 * SECOND)
    story.at(7 * SECOND).intent(SIDECAR, ["own"], ["lifted"], severity=RUNS)
    story.gate("OPEN")
    stand(story, 8 * SECOND, 16 * SECOND)


@pytest.mark.parametrize(
    "tell", [never, adds_up_to_nothing, isolated_and_then_forgotten, forgotten_for_an_escalation, too_soon, counted_though_isolated, once_for_all]
)
def test_who_is_forgotten_or_stopped_too_soon_is_found(tell: Callable[[Story], None]) -> None:
    story = begun()
    tell(story)
    story.end()
    finding = story.judged("L11")
    assert finding.verdict is Verdict.INVALID and finding.witness


def test_a_pause_excuses_both_ways() -> None:
    story = stand(begun(), SECOND)
    story.say("node-paused", SIDECAR)
    story.at(20 * SECOND).say("node-resumed", SIDECAR)
    own_order(story, 20 * SECOND)
    finding = story.judged("L11")
    assert finding.verdict is Verdict.VALID and "skipped" in finding.why
