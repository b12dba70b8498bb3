"""L4 on hand-made histories: who has nothing left that he could finish leaves by himself."""

from __future__ import annotations

import pytest

from harness.checkers.bounds import Bounds
from harness.verdict import Verdict
from tests.unit.histories import AGENT, FIRST, PARAMETERS, SECOND, SIDECAR, Story

BOUNDS = Bounds.of(PARAMETERS)
ASKED_NS = 20 * SECOND
ONE_NS, NONE_NS = 2 * BOUNDS.answering_ns, BOUNDS.answering_ns


def asked_to_stop(severity: str = "SOFT", *, in_doubt: bool = True, ended: bool = False) -> Story:
    """In the middle of a task of which nobody can say what became."""
    story = Story()
    story.start_all()
    story.spawn()
    story.intend("k1")
    if in_doubt:
        story.work("task-in-doubt", key="k1")
    if ended:
        story.work("task-rolled-back")
    story.fault("partition", SIDECAR)
    story.learn(SIDECAR, "o1", severity, grace_ns=300 * SECOND)
    story.at(ASKED_NS).say("process-termed", SIDECAR, agent=AGENT, token=FIRST)
    return story


@pytest.mark.parametrize(
    ("in_doubt", "ended", "waited_ns", "verdict", "examined"),
    [
        (True, False, ONE_NS, Verdict.VALID, 1),
        (True, False, ONE_NS + 1, Verdict.INVALID, 1),
        (False, False, 100 * ONE_NS, Verdict.VALID, 0),
        (False, True, NONE_NS, Verdict.VALID, 1),
        (False, True, NONE_NS + 1, Verdict.INVALID, 1),
    ],
)
def test_who_could_finish_nothing_has_left_before_he_is_killed(in_doubt: bool, ended: bool, waited_ns: int, verdict: Verdict, examined: int) -> None:
    story = asked_to_stop(in_doubt=in_doubt, ended=ended)
    asked = len(story.facts) - 1
    killed = story.at(ASKED_NS + waited_ns).kill()
    story.at(story.at_ns + 100 * SECOND).kill()
    finding = story.end().judged("L4")
    assert (finding.verdict, finding.examined) == (verdict, examined)
    assert verdict is Verdict.VALID or finding.witness == (asked, killed)


@pytest.mark.parametrize("excuse", ["it saves", "its journal goes on", "a kill", "paused", "disk", "started anew", "found out"])
def test_of_whom_it_is_not_asked_to_leave(excuse: str) -> None:
    story = asked_to_stop()
    match excuse:
        case "it saves":
            story.say("checkpoint-begun", f"agent/{AGENT}", agent=AGENT, generation=1, lsn=3)
        case "its journal goes on":
            story.at(60 * SECOND).work("task-in-doubt", key="k1")
        case "started anew":
            story.spawn()
        case "a kill":
            story.learn(SIDECAR, "o2", "HARD")
        case "paused":
            story.say("node-paused", SIDECAR)
        case "disk":
            story.fault("disk-slow", f"agent/{AGENT}", fault="f2")
        case "found out":
            story.work("task-absent", key="k1")
    story.at(max(story.at_ns, 60 * SECOND)).kill()
    assert story.end().judged("L4").verdict is Verdict.VALID
