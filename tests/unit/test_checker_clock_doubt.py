"""L12 on hand-made histories: a clock that runs away is doubted by the node that it belongs to."""

from __future__ import annotations

import pytest

from harness.checkers.bounds import stretch
from harness.verdict import Verdict
from tests.unit.histories import SECOND, SIDECAR, Story

DUE_NS = 4 * stretch(5 * SECOND, 200_000)
FAR_SLOW, NEAR_SLOW = 30, 45  # per cent of real time; with rho = 20 %, 0.8^2 / 1.2 is 53 %, and a quarter less is 42 %
FAR_FAST, NEAR_FAST = 240, 220  # 1.2^2 / 0.8 is 180 %, and a quarter more 225 %


def drifting(node: str = SIDECAR, *also: str) -> Story:
    story = Story()
    story.start_all()
    story.fault("clock-drift", node, *also)
    return story


def run_away(story: Story, percent: int, *, lasts_ns: int = DUE_NS, doubts: bool = False) -> tuple[int, int]:
    """The sidecar's rounds while its clock runs at that rate; the first and the last."""
    first = story.ask("n1", clock_ns=0)
    if doubts:
        story.say("clock-suspected", SIDECAR, clock_ns=1, peers=["replica/1", "replica/2"])
    return first, story.at(story.at_ns + lasts_ns).ask("n2", clock_ns=lasts_ns * percent // 100)


@pytest.mark.parametrize(
    ("percent", "verdict"),
    [(FAR_SLOW, Verdict.INVALID), (NEAR_SLOW, Verdict.VALID), (100, Verdict.VALID), (NEAR_FAST, Verdict.VALID), (FAR_FAST, Verdict.INVALID)],
)
def test_a_rate_that_is_clearly_beyond_the_promise_is_noticed(percent: int, verdict: Verdict) -> None:
    story = drifting()
    first, last = run_away(story, percent, lasts_ns=2 * DUE_NS)
    finding = story.judged("L12")
    assert finding.verdict is verdict, finding.why
    assert verdict is Verdict.VALID or finding.witness == (first, last)


def test_who_doubts_it_has_noticed() -> None:
    story = drifting()
    run_away(story, FAR_FAST, doubts=True)
    assert story.judged("L12").verdict is Verdict.VALID


def test_it_takes_a_while_to_notice() -> None:
    story = drifting()
    run_away(story, FAR_FAST, lasts_ns=DUE_NS - 1)
    assert (story.judged("L12").verdict, story.judged("L12").examined) == (Verdict.VALID, 0)


@pytest.mark.parametrize("breaks", ["partition", "pause", "jump"])
def test_what_else_is_broken_excuses_it(breaks: str) -> None:
    story = drifting()
    if breaks == "partition":
        story.fault("partition", "replica/1", fault="f2")
    elif breaks == "jump":
        story.fault("clock-step", SIDECAR, fault="f2")
    story.ask("n1", clock_ns=0)
    if breaks == "pause":
        story.at(DUE_NS // 2).say("node-paused", SIDECAR)
    story.at(DUE_NS).ask("n2", clock_ns=3 * DUE_NS)
    assert story.judged("L12").verdict is Verdict.VALID


@pytest.mark.parametrize(("broken", "verdict"), [(("replica/1",), Verdict.INVALID), (("replica/1", "replica/2"), Verdict.VALID)])
def test_it_takes_more_true_clocks_than_may_be_wrong_at_once(broken: tuple[str, ...], verdict: Verdict) -> None:
    story = drifting(SIDECAR, *broken)
    run_away(story, FAR_FAST)
    assert story.judged("L12").verdict is verdict


def test_a_replica_is_given_the_time_that_gossip_takes() -> None:
    story = drifting("replica/1")
    story.grant("replica/1", clock_ns=0)
    story.at(DUE_NS).grant("replica/1", clock_ns=DUE_NS * 3)
    assert story.judged("L12").verdict is Verdict.VALID
    story.at(3 * DUE_NS).grant("replica/1", clock_ns=DUE_NS * 9)
    assert story.judged("L12").verdict is Verdict.INVALID


@pytest.mark.parametrize(("lasts_ns", "verdict"), [(5 * SECOND, Verdict.VALID), (5 * SECOND - 1, Verdict.INVALID)])
@pytest.mark.parametrize("node", [SIDECAR, "replica/2"])
def test_a_doubt_lasts_a_lease_on_the_clock_that_is_doubted(node: str, lasts_ns: int, verdict: Verdict) -> None:
    story = Story()
    began = story.say("clock-suspected", node, clock_ns=77, peers=["replica/1", "replica/3"])
    ended = story.at(20 * SECOND).say("clock-trusted", node, clock_ns=77 + lasts_ns)
    finding = story.judged("L12")
    assert (finding.verdict, finding.examined) == (verdict, 1)
    assert verdict is Verdict.VALID or finding.witness == (began, ended)


def test_a_restart_ends_a_doubt_that_nobody_has_to_remember() -> None:
    story = Story()
    story.say("clock-suspected", SIDECAR, peers=["replica/1", "replica/3"])
    story.start(SIDECAR, boot="boot-2")
    story.at(SECOND).say("clock-trusted", SIDECAR)
    assert story.judged("L12").verdict is Verdict.VALID


def test_a_clock_that_leapt_measures_no_doubt() -> None:
    """Found by kill-while-clocks-are-off, seed 40021: the last disagreement was while the strobe was dark, and the next flash was past its end."""
    story = Story()
    story.fault("clock-strobe", SIDECAR)
    story.say("clock-suspected", SIDECAR, peers=["replica/1", "replica/3"])
    story.at(SECOND).say("clock-trusted", SIDECAR)
    assert (story.judged("L12").verdict, story.judged("L12").examined) == (Verdict.VALID, 0)
