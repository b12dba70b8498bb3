"""L13 on hand-made histories: what is true of an agent under an order is put on record within a second, or by nobody who owes it."""

from __future__ import annotations

import pytest

from harness.checkers.bounds import HOST_LAG_NS
from harness.verdict import Verdict
from tests.unit.histories import AGENT, FIRST, SECOND, SECOND_START, SIDECAR, Story

TRUE_NS = 5 * SECOND
EARLIER = [1, 0, "z"]


def told(state: str, severity: str) -> Story:
    """From ``TRUE_NS`` on an agent is drained, shut off or reaped under an order of that severity."""
    story = Story()
    story.start_all()
    story.spawn()
    story.gate("OPEN")
    story.learn(SIDECAR, "o1", severity)
    story.at(TRUE_NS)
    if state == "reaped":
        story.reap()
    else:
        story.gate(state)
    return story


def record(story: Story, stage: str, order: str = "o1", token: list[object] | None = None) -> None:
    story.say("evidence-recorded", SIDECAR, agent=AGENT, token=token or FIRST, order=order, stage=stage)


@pytest.mark.parametrize(
    ("state", "severity", "stage"),
    [
        ("DRAIN", "SOFT", "DRAINING"),
        ("CLOSED", "SOFT", "DRAINING"),
        ("CLOSED", "ISOLATE", "GATE_CLOSED"),
        ("reaped", "ISOLATE", "GATE_CLOSED"),
        ("reaped", "SOFT", "STOPPED_CLEAN"),
        ("reaped", "HARD", "STOPPED_FORCED"),
    ],
)
@pytest.mark.parametrize(("late_ns", "verdict"), [(HOST_LAG_NS, Verdict.VALID), (HOST_LAG_NS + 1, Verdict.INVALID), (None, Verdict.INVALID)])
def test_what_is_true_is_put_on_record_within_a_second(state: str, severity: str, stage: str, late_ns: int | None, verdict: Verdict) -> None:
    story = told(state, severity)
    if late_ns is not None:
        record(story.at(TRUE_NS + late_ns), stage)
    finding = story.at(TRUE_NS + 10 * SECOND).end().judged("L13")
    assert (finding.verdict, finding.examined) == (verdict, 1)


@pytest.mark.parametrize(("stage", "order", "token"), [("DRAINING", "o1", FIRST), ("STOPPED_CLEAN", "o2", FIRST), ("STOPPED_CLEAN", "o1", EARLIER)])
def test_no_proof_stands_for_another(stage: str, order: str, token: list[object]) -> None:
    story = told("reaped", "SOFT")
    record(story, stage, order, token)
    assert story.at(TRUE_NS + 10 * SECOND).end().judged("L13").verdict is Verdict.INVALID


def test_a_later_start_that_came_to_nothing_may_stand_in_the_proof() -> None:
    story = told("reaped", "SOFT")
    record(story, "STOPPED_FORCED", "o1", SECOND_START)
    assert story.at(TRUE_NS + 10 * SECOND).end().judged("L13").verdict is Verdict.VALID


def test_that_it_would_not_die_says_more_than_that_it_is_shut_off() -> None:
    story = told("CLOSED", "ISOLATE")
    record(story, "KILL_FAILED")
    assert story.at(TRUE_NS + 10 * SECOND).end().judged("L13").verdict is Verdict.VALID


@pytest.mark.parametrize("excuse", ["short", "lifted", "killed", "faulty", "started again", "paused"])
def test_nothing_is_owed_of_what_does_not_last_nor_by_who_was_disturbed(excuse: str) -> None:
    story = told("CLOSED", "ISOLATE")
    story.at(TRUE_NS + SECOND // 2)
    match excuse:
        case "short":
            story.gate("DRAIN")
        case "lifted":
            story.certify(SIDECAR, "c1", "o1")
        case "killed":
            story.learn(SIDECAR, "o2", "HARD")
        case "faulty":
            story.fault("slow-node", SIDECAR)
        case "started again":
            story.start(SIDECAR, boot="boot-2")
        case "paused":
            story.say("node-paused", SIDECAR)
    assert story.at(TRUE_NS + 10 * SECOND).end().judged("L13").verdict is Verdict.VALID


def test_an_agent_that_never_ran_proves_nothing() -> None:
    story = Story()
    story.start_all()
    story.learn(SIDECAR, "o1", "SOFT")
    finding = story.at(60 * SECOND).end().judged("L13")
    assert (finding.verdict, finding.examined) == (Verdict.VALID, 0)
