"""S11 on hand-made histories: what a node vouches for when its disk has failed, or is full."""

from __future__ import annotations

from typing import Any

import pytest

from harness.verdict import Verdict
from tests.unit.histories import AGENT, BANK, FIRST, LEDGER, SECOND, SECOND_START, SIDECAR, Story


def promise(story: Story, kind: str, token: list[Any], node: str = "replica/1") -> int:
    return story.say(kind, node, agent=AGENT, token=token)


def vouching() -> Story:
    """A cell whose replicas have all promised the first token durably."""
    story = Story()
    story.start_all()
    for number in (1, 2, 3):
        promise(story, "token-promised", FIRST, f"replica/{number}")
    return story


def test_a_lease_is_granted_under_what_is_durably_promised_there() -> None:
    story = vouching()
    story.grant("replica/1")
    granted = story.grant("replica/2", token=SECOND_START)
    assert (story.judged("S11").verdict, story.judged("S11").witness) == (Verdict.INVALID, (granted,))


def test_a_promise_leaves_only_when_it_is_durable() -> None:
    story = Story()
    story.start_all()
    promise(story, "token-promised", FIRST, "replica/2")
    promise(story, "token-promised", SECOND_START)
    sent = promise(story, "promise-sent", FIRST)
    promise(story, "token-promised", FIRST)
    assert (story.judged("S11").verdict, story.judged("S11").witness) == (Verdict.INVALID, (sent,))


def test_a_promise_that_is_durable_may_be_told_again_after_a_restart() -> None:
    story = Story()
    story.start_all()
    promise(story, "token-promised", FIRST)
    promise(story, "promise-sent", FIRST)
    story.crash("replica/1")
    story.start("replica/1", instance="b")
    promise(story, "promise-sent", FIRST)
    assert (story.judged("S11").verdict, story.judged("S11").examined) == (Verdict.VALID, 2)


@pytest.mark.parametrize("node", ["replica/1", SIDECAR])
def test_a_failed_disk_vouches_for_nothing(node: str) -> None:
    story = vouching()
    story.lease()
    story.admit()
    failed = story.say("disk-failed", node, lsn=4)
    vouched = story.grant("replica/1") if node == "replica/1" else story.admit(key="k2")
    assert (story.judged("S11").verdict, story.judged("S11").witness) == (Verdict.INVALID, (failed, vouched))


@pytest.mark.parametrize(("freed", "verdict"), [(False, Verdict.INVALID), (True, Verdict.VALID)])
@pytest.mark.parametrize("node", ["replica/1", SIDECAR])
def test_a_full_disk_vouches_for_nothing_before_there_is_room(node: str, freed: bool, verdict: Verdict) -> None:
    story = vouching()
    story.lease()
    story.say("disk-full", node, lsn=4)
    if freed:
        story.say("disk-freed", node)
    if node == "replica/1":
        story.grant("replica/1")
    else:
        story.admit()
    assert story.judged("S11").verdict is verdict


def test_others_go_on_when_a_disk_fails() -> None:
    story = vouching()
    story.say("disk-failed", "replica/1", lsn=4)
    story.grant("replica/2")
    story.admit()
    assert (story.judged("S11").verdict, story.judged("S11").examined) == (Verdict.VALID, 1)


def test_a_new_start_begins_with_a_disk_that_syncs() -> None:
    story = vouching()
    story.say("disk-failed", "replica/1", lsn=4)
    story.crash("replica/1")
    story.start("replica/1", instance="b")
    story.grant("replica/1")
    assert story.judged("S11").verdict is Verdict.VALID


def failing(story: Story, gate: str) -> int:
    story.start(SIDECAR)
    story.gate(gate)
    story.at(SECOND)
    return story.say("disk-failed", SIDECAR, lsn=4)


def test_a_gate_is_closed_in_the_step_that_carries_the_failed_sync() -> None:
    shut, never_open = Story(), Story()
    failing(shut, "OPEN")
    shut.gate("CLOSED", "STANDBY")
    failing(never_open, "CLOSED")
    assert [story.at(9 * SECOND).end().judged("S11").verdict for story in (shut, never_open)] == [Verdict.VALID] * 2


def test_a_gate_that_stays_open_or_opens_over_a_failed_disk_is_a_violation() -> None:
    ajar, late, reopened = Story(), Story(), Story()
    failed = failing(ajar, "DRAIN")
    assert ajar.at(9 * SECOND).end().judged("S11").witness == (failed,)
    failed = failing(late, "OPEN")
    late.at(SECOND + 1).gate("CLOSED", "STANDBY")
    assert late.judged("S11").witness == (failed,)
    failed = failing(reopened, "OPEN")
    reopened.gate("CLOSED", "STANDBY")
    opened = reopened.gate("OPEN")
    assert reopened.judged("S11").witness == (failed, opened)


DURABLE: dict[str, dict[str, Any]] = {
    "copy": {"order": "o1"},
    "wait": {"order": "o1"},
    "accepted": {"order": "o1"},
    "own order": {"order": "o1"},
    "certificate": {"certificate": "o1", "covers": []},
    "rollout": {"record": "o1", "seq": 2},
    "request": {"record": "r2", "seq": 2, "request": "alice/trial"},
    "promise": {"agent": AGENT, "token": FIRST},
    "proof": {"agent": AGENT, "token": FIRST, "order": "o1", "stage": "GATE_CLOSED"},
    "effect": {"sink": "s", "agent": AGENT, "token": FIRST, "key": "o1", "cls": "new", "result": "r", "again": False},
    "fence": {"sink": "s", "agent": AGENT, "min_token": FIRST, "order": ""},
}
KINDS = {"certificate": "certificate-durable", "promise": "token-promised", "proof": "evidence-durable", "effect": "effect-applied",
         "fence": "fence-durable"}  # fmt: skip
ABOUT = {"request": "2/trial", "promise": f"{AGENT} 1.1.a", "fence": f"{AGENT} 1.1.a", "proof": "o1 GATE_CLOSED 1"}


def settle(story: Story, what: str, node: str = "replica/1") -> None:
    """What a word of that kind rests on becomes durable."""
    if what in ("copy", "wait", "accepted", "own order"):
        story.learn(node, "o1")
        story.keep(node, "o1")
        return
    usual: dict[str, Any] = {"parent": "", "stage": "SHADOW", "stable": "p", "canary": "c", "former": "", "percent": 0, "guard": 3}
    usual |= {"request": "alice/other", "authentic": True}
    story.say(KINDS.get(what, "rollout-durable"), node, **({} if what in KINDS else usual) | DURABLE[what])


@pytest.mark.parametrize("what", DURABLE)
@pytest.mark.parametrize("early", [False, True])
def test_no_word_leaves_before_what_it_rests_on_is_durable_there(what: str, early: bool) -> None:
    story = Story()
    story.start_all()
    settle(story, what, "replica/2")
    if not early:
        settle(story, what)
    said = story.say("vouched", "replica/1", what=what, about=ABOUT.get(what, "o1"))
    settle(story, what)
    finding = story.judged("S11")
    assert (finding.verdict, finding.examined) == (Verdict.INVALID if early else Verdict.VALID, 1)
    assert finding.witness == ((said,) if early else ())


def test_what_was_durable_before_a_restart_may_be_said_after_it() -> None:
    story = Story()
    story.start_all()
    settle(story, "copy")
    story.crash("replica/1")
    story.start("replica/1", instance="b")
    story.say("vouched", "replica/1", what="copy", about="o1")
    assert story.judged("S11").verdict is Verdict.VALID


@pytest.mark.parametrize(
    ("fence", "then", "verdict"),
    [
        (SECOND_START, "", Verdict.VALID),
        (FIRST, "", Verdict.INVALID),  # which lets it in
        (None, "", Verdict.INVALID),
        (None, "disk lost", Verdict.VALID),
        (None, "elsewhere", Verdict.INVALID),
    ],
)
def test_a_sink_refuses_by_a_fence_that_is_durable(fence: list[Any] | None, then: str, verdict: Verdict) -> None:
    story = Story()
    story.start_all()
    if then == "disk lost":
        story.fault("disk-lost", LEDGER)
    if fence is not None:
        story.fence(fence)
    elif then == "elsewhere":
        story.fence(SECOND_START, BANK)
    story.say("effect-rejected", LEDGER, sink=LEDGER, agent=AGENT, token=FIRST, key="k1", why="REJECTED_FENCED")
    said = story.say("vouched", LEDGER, what="refusal", about="k1")
    finding = story.judged("S11")
    assert finding.verdict is verdict
    assert verdict is Verdict.VALID or finding.witness == (said,)
