"""L2 on hand-made histories: what an earlier sidecar left running has to end as well."""

from __future__ import annotations

import pytest

from harness.checkers.bounds import Bounds
from harness.verdict import Verdict
from tests.unit.histories import AGENT, FIRST, PARAMETERS, SECOND, SECOND_START, SIDECAR, Story

BOUNDS = Bounds.of(PARAMETERS)
GRACE_NS = 8 * SECOND
HEALED_NS = 10 * SECOND
DUE_NS = HEALED_NS + BOUNDS.propagation_ns


def left_running(severity: str = "SOFT", *, known: bool = True, killed: bool = True) -> Story:
    """Its sidecar died, and the next one cannot end it."""
    story = Story()
    story.start_all()
    story.spawn()
    if known:
        story.learn(SIDECAR, "o1", severity, grace_ns=60 * SECOND)
        story.keep(SIDECAR, "o1")
    story.at(SECOND).crash(SIDECAR)
    story.at(2 * SECOND).start(SIDECAR, instance="b")
    story.recover(SIDECAR, ["o1"] if known else [])
    if killed:
        story.kill()
    return story


FOUND_BY_NS = 2 * SECOND + BOUNDS.death_ns


@pytest.mark.parametrize("severity", ["SOFT", "HARD", "QUIESCE"])
@pytest.mark.parametrize(
    ("said", "gone_ns", "verdict", "examined"),
    [
        (False, FOUND_BY_NS, Verdict.VALID, 0),
        (False, FOUND_BY_NS + 1, Verdict.INVALID, 1),
        (True, FOUND_BY_NS + 1, Verdict.VALID, 1),
        (False, None, Verdict.INVALID, 1),
        (True, None, Verdict.VALID, 1),
    ],
)
def test_of_an_orphan_that_cannot_be_ended_that_is_on_record(severity: str, said: bool, gone_ns: int | None, verdict: Verdict, examined: int) -> None:
    story = left_running(severity)
    if said:
        story.say("evidence-recorded", SIDECAR, agent=AGENT, token=FIRST, order="o1", stage="KILL_FAILED")
    if gone_ns is not None:
        story.at(gone_ns).reap()
    finding = story.at(60 * SECOND).end().judged("L2")
    assert (finding.verdict, finding.examined) == (verdict, examined)


@pytest.mark.parametrize(
    "excuse", ["nobody asked for a stop", "it may live", "lifted", "struck", "paused", "crashed", "asked for late", "a start of its own"]
)
def test_of_which_orphans_nothing_is_owed(excuse: str) -> None:
    story = left_running("ISOLATE" if excuse == "it may live" else "SOFT", known=excuse not in ("nobody asked for a stop", "asked for late"))
    if excuse == "lifted":
        story.certify(SIDECAR, "c1", "o1")
    elif excuse == "struck":
        story.fault("slow-node", SIDECAR)
    elif excuse == "paused":
        story.say("node-paused", SIDECAR)
    elif excuse == "crashed":
        story.crash(SIDECAR)
    elif excuse == "asked for late":
        story.at(10 * SECOND).learn(SIDECAR, "o1", "SOFT", grace_ns=60 * SECOND)
    elif excuse == "a start of its own":
        story.reap()
        story.certify(SIDECAR, "c1", "o1")
        story.spawn(SECOND_START)
    finding = story.at(10 * SECOND + BOUNDS.death_ns).end().judged("L2")
    assert (finding.verdict, finding.examined) == (Verdict.VALID, 0)


@pytest.mark.parametrize(
    ("how", "verdict", "examined"),
    [
        ("killed first", Verdict.VALID, 0),
        ("killed too late", Verdict.INVALID, 1),
        ("never killed", Verdict.INVALID, 1),
        ("reaped before", Verdict.VALID, 0),
        ("reaped after", Verdict.VALID, 0),
        ("never started", Verdict.VALID, 0),
        ("asked before it crashed", Verdict.VALID, 0),
        ("killed by one that crashed", Verdict.INVALID, 1),
    ],
)
def test_what_an_earlier_sidecar_left_is_killed_before_anything_is_asked_for(how: str, verdict: Verdict, examined: int) -> None:
    story = Story()
    story.start_all()
    began = story.spawn() if how != "never started" else -1
    if how == "asked before it crashed":
        story.ask()
    if how == "reaped before":
        story.reap()
    story.at(SECOND).crash(SIDECAR)
    found = story.at(2 * SECOND).start(SIDECAR, instance="b")
    if how == "killed by one that crashed":
        story.kill()
        story.crash(SIDECAR)
        found = story.start(SIDECAR, instance="c")
    elif how in ("killed first", "asked before it crashed"):
        story.kill()
    elif how == "reaped after":
        story.reap()
    asked = story.ask()
    if how == "killed too late":
        story.kill()
    story.ask("n2")
    finding = story.end().judged("L2")
    assert (finding.verdict, finding.examined) == (verdict, examined)
    assert verdict is Verdict.VALID or finding.witness == (began, found, asked)


@pytest.mark.parametrize(("gone_ns", "verdict"), [(FOUND_BY_NS, Verdict.VALID), (FOUND_BY_NS + 1, Verdict.INVALID)])
def test_an_orphan_is_there_though_nobody_kills_it(gone_ns: int, verdict: Verdict) -> None:
    story = left_running(killed=False)
    assert story.at(gone_ns).end().judged("L2").verdict is verdict


def test_an_orphan_of_which_a_stop_was_asked_for_late_is_said_to_live_in_time() -> None:
    story = left_running(known=False)
    story.at(10 * SECOND).learn(SIDECAR, "o1", "SOFT", grace_ns=60 * SECOND)
    assert story.at(10 * SECOND + BOUNDS.death_ns + 1).end().judged("L2").verdict is Verdict.INVALID
