"""L5 on hand-made histories: whether there was a reason to stop an agent."""

from __future__ import annotations

from typing import Any

import pytest

from harness.verdict import Verdict
from tests.unit.histories import AGENT, FIRST, SECOND, SECOND_START, SIDECAR, Story

LATER = [1, 9, "z"]


def running(token: list[Any] | None = None) -> Story:
    story = Story()
    story.start_all()
    story.say("token-opened", SIDECAR, agent=AGENT, token=token or FIRST, predecessor=[])
    story.spawn(token)
    return story


def promise_away(story: Story, *replicas: str, promised: list[Any] | None = None) -> None:
    for replica in replicas:
        story.say("promised-away", SIDECAR, agent=AGENT, token=FIRST, replica=replica, promised=promised or LATER)


def hand_unread(story: Story, severity: str) -> None:
    """What comes in a form that the sidecar does not know, under which it says that it stops its agent."""
    story.learn("replica/1", "o1", severity)
    story.say("prohibition-arrived", SIDECAR, order="o1", sender="replica/1", how="unknown major version 2")
    hold(story)


def hold(story: Story) -> None:
    story.say("floor-held", SIDECAR, agent=AGENT, reason="unread, of replica/1", gate=2, life=1, all=[2, 1])


def ask_to_stop(story: Story, kind: str = "process-termed", token: list[Any] | None = None) -> int:
    return story.at(story.at_ns + SECOND).say(kind, SIDECAR, agent=AGENT, token=token or FIRST)


@pytest.mark.parametrize(
    ("reason", "termed", "killed"),
    [
        ("none", Verdict.INVALID, Verdict.INVALID),
        ("SOFT", Verdict.VALID, Verdict.VALID),
        ("HARD", Verdict.VALID, Verdict.VALID),
        ("ISOLATE", Verdict.INVALID, Verdict.INVALID),
        ("lifted", Verdict.INVALID, Verdict.INVALID),
        ("unread stop", Verdict.VALID, Verdict.VALID),
        ("unread isolate", Verdict.INVALID, Verdict.INVALID),
        ("its own word", Verdict.INVALID, Verdict.INVALID),
        ("its own word of what was made up", Verdict.VALID, Verdict.VALID),
        ("what was made up, and means nothing", Verdict.INVALID, Verdict.INVALID),
        ("unread by an earlier sidecar", Verdict.INVALID, Verdict.INVALID),
        ("made up for an earlier sidecar", Verdict.INVALID, Verdict.INVALID),
        ("two promises", Verdict.VALID, Verdict.INVALID),
        ("one promise", Verdict.INVALID, Verdict.INVALID),
        ("one promise twice", Verdict.INVALID, Verdict.INVALID),
        ("a promise taken back", Verdict.INVALID, Verdict.INVALID),
        ("promises of another cell", Verdict.INVALID, Verdict.INVALID),
        ("fence", Verdict.VALID, Verdict.INVALID),
        ("its own fence", Verdict.INVALID, Verdict.INVALID),
    ],
)
@pytest.mark.parametrize("kind", ["process-termed", "process-killed"])
def test_whom_nothing_asks_to_stop_is_not_stopped(kind: str, reason: str, termed: Verdict, killed: Verdict) -> None:
    story = running()
    started = len(story.facts) - 1
    match reason:
        case "SOFT" | "HARD" | "ISOLATE" | "lifted":
            story.learn(SIDECAR, "o1", "SOFT" if reason == "lifted" else reason)
            if reason == "lifted":
                story.certify(SIDECAR, "c1", "o1")
        case "unread stop" | "unread isolate":
            hand_unread(story, "SOFT" if reason == "unread stop" else "ISOLATE")
        case "its own word":
            hold(story)
        case "its own word of what was made up" | "what was made up, and means nothing":
            story.say("hostile-input", SIDECAR, sender="replica/1", what="a version of its own", read=True)
            if reason == "its own word of what was made up":
                hold(story)
        case "unread by an earlier sidecar" | "made up for an earlier sidecar":
            if reason == "unread by an earlier sidecar":
                hand_unread(story, "SOFT")
            else:
                story.say("hostile-input", SIDECAR, sender="replica/1", what="a version of its own", read=True)
            story.crash(SIDECAR)
            story.start(SIDECAR, instance="b")
            hold(story)
            started = story.spawn()
        case "two promises":
            promise_away(story, "replica/1", "replica/2")
        case "one promise":
            promise_away(story, "replica/1")
        case "one promise twice":
            promise_away(story, "replica/1", "replica/1")
        case "a promise taken back":
            promise_away(story, "replica/1", "replica/2")
            promise_away(story, "replica/1", promised=FIRST)
        case "promises of another cell":
            promise_away(story, "replica/1", "replica/4")
        case "fence" | "its own fence":
            story.fence(SECOND_START if reason == "fence" else FIRST)
    stopped = ask_to_stop(story, kind)
    finding = story.end().judged("L5")
    assert (finding.verdict, finding.examined) == (termed if kind == "process-termed" else killed, 1)
    assert finding.verdict is Verdict.VALID or finding.witness == (started, stopped)


def test_who_was_asked_to_stop_for_a_reason_is_killed_for_the_same() -> None:
    story = running()
    story.learn(SIDECAR, "o1", "SOFT")
    ask_to_stop(story)
    story.certify(SIDECAR, "c1", "o1")
    ask_to_stop(story, "process-killed")
    assert story.end().judged("L5").verdict is Verdict.VALID


def test_what_an_earlier_sidecar_left_is_ended_without_asking() -> None:
    story = running()
    story.crash(SIDECAR)
    story.start(SIDECAR, instance="b")
    ask_to_stop(story, "process-killed")
    finding = story.end().judged("L5")
    assert (finding.verdict, finding.examined) == (Verdict.VALID, 0)


def test_what_was_promised_away_of_an_earlier_token_is_over_with_it() -> None:
    story = running()
    promise_away(story, "replica/1", "replica/2")
    story.reap()
    story.say("token-opened", SIDECAR, agent=AGENT, token=LATER, predecessor=FIRST)
    story.spawn(LATER)
    ask_to_stop(story, token=LATER)
    assert story.end().judged("L5").verdict is Verdict.INVALID
