"""L2 on hand-made histories: sinks that have to be told of a kill, or of what nobody can end, and to hold its fence."""

from __future__ import annotations

from typing import Any

import pytest

from harness.checkers.bounds import Bounds
from harness.verdict import Verdict
from tests.unit.histories import AGENT, BANK, FIRST, LEDGER, PARAMETERS, SECOND, SECOND_START, SIDECAR, Story

BOUNDS = Bounds.of(PARAMETERS)
HEALED_NS = 10 * SECOND
DUE_NS = HEALED_NS + BOUNDS.propagation_ns
FENCED_BY_NS = DUE_NS + 2 * SECOND


def tell(story: Story, token: list[Any], *, node: str = "replica/1", after_ns: int = 0, sink: str = LEDGER) -> None:
    story.at(story.at_ns + after_ns).say("fence-sent", node, sink=sink, agent=AGENT, min_token=token, order="o1")


def killed_while_its_sink_was_away() -> Story:
    story = Story()
    story.start_all()
    story.say("token-promised", "replica/1", agent=AGENT, token=FIRST)
    story.effective("o1")
    tell(story, SECOND_START)
    return story.at(HEALED_NS)


@pytest.mark.parametrize(("fence", "verdict"), [(None, Verdict.INVALID), (FIRST, Verdict.INVALID), (SECOND_START, Verdict.VALID)])
def test_a_kill_is_fenced_for_above_what_was_promised_before_it(fence: list[Any] | None, verdict: Verdict) -> None:
    story = killed_while_its_sink_was_away()
    story.heal()
    if fence is not None:
        story.fence(fence)
    finding = story.at(FENCED_BY_NS).end().judged("L2")
    assert (finding.verdict, finding.examined) == (verdict, 2)


@pytest.mark.parametrize("excuse", ["lifted", "down", "sink down", "too early to say", "promised later", "not healed"])
def test_no_fence_is_owed(excuse: str) -> None:
    story = killed_while_its_sink_was_away()
    if excuse == "promised later":
        story = Story()
        story.start_all()
        story.effective("o1")
        tell(story, SECOND_START)
        story.at(HEALED_NS).say("token-promised", "replica/1", agent=AGENT, token=FIRST)
    elif excuse == "lifted":
        story.certify("replica/2", "c1", "o1")
    elif excuse in ("down", "sink down"):
        story.crash("replica/1" if excuse == "down" else LEDGER)
    if excuse != "not healed":
        story.heal()
    story.at(FENCED_BY_NS - (excuse == "too early to say")).end()
    assert story.judged("L2").verdict is Verdict.VALID


ARCHIVE = "sink/acme/archive"


def killed(severity: str = "HARD", *, promised: bool = True, sinks: dict[str, str] | None = None) -> Story:
    """A replica learns an order against what it has promised a token."""
    story = Story(sinks=sinks or {ARCHIVE: "F", LEDGER: "F"})
    story.start("replica/1", "replica/2", SIDECAR, *story.sinks)
    if promised:
        story.say("token-promised", "replica/1", agent=AGENT, token=FIRST)
    story.at(SECOND).learn("replica/1", "o1", severity)
    return story


@pytest.mark.parametrize(
    ("told", "after_ns", "verdict"),
    [
        ([LEDGER, ARCHIVE], BOUNDS.fencing_ns, Verdict.VALID), ([LEDGER, ARCHIVE], BOUNDS.fencing_ns + 1, Verdict.INVALID),
        ([LEDGER], 0, Verdict.INVALID), ([], 0, Verdict.INVALID),
    ],
)  # fmt: skip
def test_whoever_learns_of_a_kill_tells_every_sink_within_a_round(told: list[str], after_ns: int, verdict: Verdict) -> None:
    story = killed().at(SECOND + after_ns)
    for sink in told:
        tell(story, SECOND_START, sink=sink)
    finding = story.at(60 * SECOND).end().judged("L2")
    assert (finding.verdict, finding.examined) == (verdict, 1)
    assert verdict is Verdict.VALID or finding.witness == (8,)


def test_a_kill_that_is_lifted_in_the_end_was_to_be_told_of_all_the_same() -> None:
    story = killed().at(SECOND + BOUNDS.fencing_ns + 1)
    story.certify("replica/1", "c1", "o1")
    assert story.at(60 * SECOND).end().judged("L2").verdict is Verdict.INVALID


@pytest.mark.parametrize(
    "excuse", ["lifted", "crashed", "paused", "soft", "nothing promised", "no such sink", "its disk was lost", "too early to say"]
)
def test_of_which_kills_nobody_tells_the_sinks(excuse: str) -> None:
    story = killed(
        "SOFT" if excuse == "soft" else "HARD", promised=excuse != "nothing promised", sinks={BANK: "C"} if excuse == "no such sink" else None
    )
    if excuse == "lifted":
        story.certify("replica/1", "c1", "o1")
    elif excuse == "crashed":
        story.crash("replica/1")
    elif excuse == "paused":
        story.say("node-paused", "replica/1")
    elif excuse == "its disk was lost":
        story.facts.pop()
        story.fault("disk-lost", "replica/1")
        story.learn("replica/1", "o1")
    finding = story.at(SECOND + BOUNDS.fencing_ns if excuse == "too early to say" else 60 * SECOND).end().judged("L2")
    assert (finding.verdict, finding.examined) == (Verdict.VALID, 0)


@pytest.mark.parametrize(("told", "fenced", "verdict", "examined"), [
    (False, False, Verdict.INVALID, 2), (True, False, Verdict.VALID, 2), (False, True, Verdict.VALID, 1),
])  # fmt: skip
def test_who_starts_anew_under_a_kill_tells_the_sinks_that_do_not_hold_its_fence(
    told: bool, fenced: bool, verdict: Verdict, examined: int
) -> None:  # fmt: skip
    story = killed(sinks={LEDGER: "F"})
    story.keep("replica/1", "o1")
    tell(story, SECOND_START)
    if fenced:
        story.fence(SECOND_START)
    story.crash("replica/1")
    story.at(5 * SECOND).start("replica/1", boot="boot-2", instance="b")
    story.recover("replica/1", ["o1"])
    if told:
        tell(story, SECOND_START)
    finding = story.at(60 * SECOND).end().judged("L2")
    assert (finding.verdict, finding.examined) == (verdict, examined)


def unkillable(*, fault: bool = True, fenced: bool = True) -> Story:
    story = Story()
    story.start_all()
    story.spawn()
    story.learn(SIDECAR, "o1", "HARD")
    if fault:
        story.fault("unkillable", f"agent/{AGENT}")
    story.at(story.at_ns + SECOND).prove("o1", "KILL_FAILED")
    if fenced:
        story.fence(SECOND_START)
    story.heal()
    return story.at(60 * SECOND).end()


def test_a_kill_that_failed_for_a_reason_is_said_and_its_sinks_are_fenced() -> None:
    assert (unkillable().judged("L2").verdict, unkillable().judged("L2").examined) == (Verdict.VALID, 2)
    assert unkillable(fault=False).judged("L2").verdict is Verdict.INVALID, "no excuse without a reason"
    assert unkillable(fenced=False).judged("L2").verdict is Verdict.INVALID, "who lives on is shut out"


def takes_in(stage: str = "KILL_FAILED", *, known: bool = True) -> Story:
    """A replica is given the proof that a soft stop of what runs as `FIRST` came to nothing."""
    story = Story()
    story.start_all()
    if known:
        story.learn("replica/1", "o1", "QUIESCE")
    story.at(SECOND).say("evidence-taken", "replica/1", agent=AGENT, token=FIRST, order="o1", stage=stage)
    return story


@pytest.mark.parametrize(
    ("token", "after_ns", "verdict"),
    [(SECOND_START, BOUNDS.fencing_ns, Verdict.VALID), (SECOND_START, BOUNDS.fencing_ns + 1, Verdict.INVALID), (FIRST, 0, Verdict.INVALID)],
)
def test_whoever_learns_that_a_stop_failed_tells_the_sinks_within_a_round(token: list[Any], after_ns: int, verdict: Verdict) -> None:
    story = takes_in()
    tell(story, token, after_ns=after_ns)
    finding = story.at(60 * SECOND).end().judged("L2")
    assert (finding.verdict, finding.examined) == (verdict, 1)


def test_each_replica_tells_the_sinks_itself_and_a_fence_of_before_counts() -> None:
    others = takes_in()
    tell(others, SECOND_START, node="replica/2")
    assert others.at(60 * SECOND).end().judged("L2").verdict is Verdict.INVALID
    before = Story()
    before.start_all()
    before.learn("replica/1", "o1", "QUIESCE")
    tell(before, SECOND_START)
    before.at(SECOND).say("evidence-taken", "replica/1", agent=AGENT, token=FIRST, order="o1", stage="KILL_FAILED")
    finding = before.at(60 * SECOND).end().judged("L2")
    assert (finding.verdict, finding.examined) == (Verdict.VALID, 1)


def test_a_certificate_that_comes_too_late_excuses_nobody() -> None:
    story = takes_in().at(SECOND + BOUNDS.fencing_ns + 1)
    story.certify("replica/1", "c1", "o1")
    assert story.at(60 * SECOND).end().judged("L2").verdict is Verdict.INVALID


@pytest.mark.parametrize(("after_ns", "verdict"), [(BOUNDS.fencing_ns, Verdict.VALID), (BOUNDS.fencing_ns + 1, Verdict.INVALID)])
def test_an_order_that_comes_after_the_proof_is_fenced_for_within_a_round_of_coming(after_ns: int, verdict: Verdict) -> None:
    story = takes_in(known=False)
    story.at(20 * SECOND).learn("replica/1", "o1", "QUIESCE")
    tell(story, SECOND_START, after_ns=after_ns)
    finding = story.at(60 * SECOND).end().judged("L2")
    assert (finding.verdict, finding.examined) == (verdict, 1)


@pytest.mark.parametrize("excuse", ["lifted", "crashed", "crashed before", "paused", "unknown", "stopped", "too early to say"])
def test_nobody_owes_the_sinks_a_word(excuse: str) -> None:
    story = takes_in("STOPPED_FORCED" if excuse == "stopped" else "KILL_FAILED", known=excuse not in ("unknown", "crashed before"))
    if excuse == "lifted":
        story.certify("replica/1", "c1", "o1")
    elif excuse in ("crashed", "crashed before"):
        story.crash("replica/1")
        story.learn("replica/1", "o1", "QUIESCE")
    elif excuse == "paused":
        story.say("node-paused", "replica/1")
    finding = story.at(SECOND + BOUNDS.fencing_ns if excuse == "too early to say" else 60 * SECOND).end().judged("L2")
    assert (finding.verdict, finding.examined) == (Verdict.VALID, 0)
