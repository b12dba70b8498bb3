"""S18, S19 and S23 on hand-made histories."""

from __future__ import annotations

import pytest

from harness.verdict import Verdict
from tests.unit.histories import AGENT, FIRST, SECOND, SECOND_START, SIDECAR, Story

LEASE_NS = 5 * SECOND
GRACE_NS = 8 * SECOND


# -- S19


@pytest.mark.parametrize(("late_ns", "verdict"), [(0, Verdict.VALID), (1, Verdict.INVALID)])
def test_a_lease_counts_from_the_send_of_its_request_on_the_sidecars_clock(late_ns: int, verdict: Verdict) -> None:
    story = Story()
    asked = story.ask(clock_ns=700)
    story.at(3 * SECOND)
    grants = (story.grant("replica/1"), story.grant("replica/3"))
    admission = story.admit(clock_ns=700 + LEASE_NS + late_ns)
    finding = story.judged("S19")
    assert (finding.verdict, finding.observed_ns, finding.bound_ns) == (verdict, LEASE_NS + late_ns, LEASE_NS)
    assert verdict is Verdict.VALID or finding.witness == (asked, *grants, admission)


def test_the_shortest_of_the_best_quorum_of_grants_counts() -> None:
    story = Story()
    story.ask()
    story.grant("replica/1", len_ns=LEASE_NS)
    story.grant("replica/2", len_ns=SECOND)
    good, bad = Story(), Story()
    good.facts, bad.facts = list(story.facts), list(story.facts)
    bad.admit(clock_ns=SECOND + 1)
    good.grant("replica/3", len_ns=2 * SECOND)
    good.admit(clock_ns=2 * SECOND)
    assert bad.judged("S19").verdict is Verdict.INVALID
    assert good.judged("S19").verdict is Verdict.VALID


def test_duplicates_mixed_rounds_and_other_tokens_make_no_quorum() -> None:
    duplicated, mixed, foreign = Story(), Story(), Story()
    duplicated.ask()
    duplicated.grant("replica/1")
    duplicated.grant("replica/1")
    mixed.ask("n1")
    mixed.ask("n2")
    mixed.grant("replica/1", "n1")
    mixed.grant("replica/2", "n2")
    foreign.ask()
    foreign.grant("replica/1")
    foreign.grant("replica/2", token=SECOND_START)
    for story in (duplicated, mixed, foreign):
        story.admit()
        assert story.judged("S19").verdict is Verdict.INVALID


def test_asking_again_within_a_round_does_not_lengthen_the_lease() -> None:
    story = Story()
    story.ask(clock_ns=0)
    story.ask(clock_ns=SECOND)
    story.grant("replica/1")
    story.grant("replica/2")
    story.admit(clock_ns=LEASE_NS + 1)
    assert story.judged("S19").verdict is Verdict.INVALID


def test_an_older_longer_lease_still_counts() -> None:
    story = Story()
    story.lease("n1")
    story.at(SECOND).lease("n2", len_ns=1)
    story.at(LEASE_NS).admit()
    assert story.judged("S19").verdict is Verdict.VALID


@pytest.mark.parametrize(("until_ns", "verdict"), [(LEASE_NS, Verdict.VALID), (LEASE_NS + 1, Verdict.INVALID)])
def test_what_a_sidecar_believes_of_its_lease_is_held_against_the_grants(until_ns: int, verdict: Verdict) -> None:
    story = Story()
    lease = story.lease()
    opened = story.say("lease-opened", SIDECAR, agent=AGENT, nonce="n1", token=FIRST, until_ns=until_ns)
    finding = story.judged("S19")
    assert finding.verdict is verdict
    assert verdict is Verdict.VALID or finding.witness == (*lease, opened)


# -- S23


def test_a_quorum_lease_of_this_start_opens_the_way() -> None:
    story = Story()
    story.start(SIDECAR)
    story.lease()
    story.admit()
    assert (story.judged("S23").verdict, story.judged("S23").examined) == (Verdict.VALID, 1)


def test_no_lease_survives_a_restart() -> None:
    story = Story()
    story.start(SIDECAR)
    story.lease()
    story.crash(SIDECAR)
    restarted = story.start(SIDECAR)
    admission = story.admit()
    assert story.judged("S23").witness == (restarted, admission)
    assert story.judged("S19").verdict is Verdict.INVALID


def test_a_lease_of_one_instance_is_none_for_another() -> None:
    story = Story()
    story.start(SIDECAR)
    story.lease(token=FIRST)
    story.admit(token=SECOND_START)
    assert story.judged("S23").verdict is Verdict.INVALID


def test_a_dead_sidecar_sends_nothing() -> None:
    story = Story()
    started = story.start(SIDECAR)
    story.lease()
    story.crash(SIDECAR)
    admission = story.admit()
    assert story.judged("S23").witness == (started, admission)


# -- S18


def deadline(story: Story, deadline_ns: int, boot: str = "boot-1", clock_ns: int | None = None) -> int:
    return story.say("drain-deadline", SIDECAR, clock_ns=clock_ns, agent=AGENT, order="o1", deadline_ns=deadline_ns, boot=boot)


@pytest.mark.parametrize(("over_ns", "verdict"), [(0, Verdict.VALID), (1, Verdict.INVALID)])
def test_the_first_deadline_is_the_grace_from_the_first_learning(over_ns: int, verdict: Verdict) -> None:
    story = Story()
    story.start(SIDECAR)
    given = deadline(story, 100 + GRACE_NS + over_ns, clock_ns=100)
    learned = story.learn(SIDECAR, "o1", "SOFT", grace_ns=GRACE_NS, clock_ns=100)
    finding = story.judged("S18")
    assert finding.verdict is verdict
    assert verdict is Verdict.VALID or finding.witness == (given, learned)


@pytest.mark.parametrize(("again_ns", "verdict"), [(GRACE_NS - 5, Verdict.VALID), (GRACE_NS - 4, Verdict.INVALID)])
def test_a_deadline_never_moves_to_later(again_ns: int, verdict: Verdict) -> None:
    story = Story()
    story.start(SIDECAR)
    story.learn(SIDECAR, "o1", "SOFT", grace_ns=GRACE_NS)
    first = deadline(story, GRACE_NS - 5)
    story.keep(SIDECAR, "o1")
    story.crash(SIDECAR)
    story.start(SIDECAR)
    second = deadline(story, again_ns)
    finding = story.judged("S18")
    assert (finding.verdict, finding.examined) == (verdict, 2)
    assert verdict is Verdict.VALID or finding.witness == (first, second)


@pytest.mark.parametrize(("deadline_ns", "verdict"), [(3, Verdict.VALID), (4, Verdict.INVALID)])
def test_after_a_reboot_the_deadline_has_passed(deadline_ns: int, verdict: Verdict) -> None:
    story = Story()
    story.start(SIDECAR)
    story.learn(SIDECAR, "o1", "SOFT", grace_ns=GRACE_NS)
    story.keep(SIDECAR, "o1")
    deadline(story, GRACE_NS)
    story.crash(SIDECAR, power=True)
    story.start(SIDECAR, boot="boot-2")
    deadline(story, deadline_ns, boot="boot-2", clock_ns=3)
    assert story.judged("S18").verdict is verdict


def test_grace_starts_anew_for_an_order_that_a_crash_forgot() -> None:
    story = Story()
    story.start(SIDECAR)
    deadline(story, GRACE_NS)
    story.learn(SIDECAR, "o1", "SOFT", grace_ns=GRACE_NS)
    story.crash(SIDECAR)
    story.at(SECOND).start(SIDECAR)
    deadline(story, SECOND + GRACE_NS)
    story.learn(SIDECAR, "o1", "SOFT", grace_ns=GRACE_NS)
    assert story.judged("S18").verdict is Verdict.VALID


# -- S19: what a replica may grant


ONE = "replica/1"


def under(story: Story, severity: str = "SOFT") -> int:
    story.start_all()
    return story.at(SECOND).learn(ONE, "o1", severity, grace_ns=GRACE_NS)


@pytest.mark.parametrize(("more_ns", "verdict"), [(0, Verdict.VALID), (1, Verdict.INVALID)])
def test_under_a_soft_order_a_replica_grants_what_is_left_of_its_grace(more_ns: int, verdict: Verdict) -> None:
    story = Story()
    learned = under(story)
    story.at(5 * SECOND)
    granted = story.grant(ONE, len_ns=GRACE_NS - 4 * SECOND + more_ns)
    finding = story.judged("S19")
    assert (finding.verdict, finding.examined) == (verdict, 1)
    assert verdict is Verdict.VALID or finding.witness == (learned, granted)


@pytest.mark.parametrize("severity", ["ISOLATE", "QUIESCE", "HARD"])
def test_against_an_order_that_closes_the_gate_a_replica_grants_nothing(severity: str) -> None:
    story = Story()
    learned = under(story, severity)
    assert story.grant("replica/2"), "who has not heard of it may"
    granted = story.grant(ONE, len_ns=1)
    assert story.judged("S19").witness == (learned, granted)


@pytest.mark.parametrize("breaks", ["restart", "clock-trusted"])
def test_what_passed_of_a_grace_before_a_start_or_a_doubt_nobody_knows(breaks: str) -> None:
    story = Story()
    learned = under(story)
    story.keep(ONE, "o1")
    if breaks == "restart":
        story.crash(ONE)
        story.start(ONE, instance="b")
    else:
        story.say(breaks, ONE)
    granted = story.grant(ONE, len_ns=1)
    assert story.judged("S19").witness == (learned, granted)


def test_a_lifted_order_keeps_nobody_from_granting() -> None:
    story = Story()
    under(story, "HARD")
    story.certify(ONE, "c1", "o1")
    story.grant(ONE)
    assert story.judged("S19").verdict is Verdict.VALID


def test_grants_that_lack_the_same_order_are_no_quorum_however_many_they_are() -> None:
    story = Story()
    under(story)
    story.learn("replica/2", "o1", "SOFT", grace_ns=GRACE_NS)
    story.ask()
    story.grant(ONE, len_ns=GRACE_NS)
    story.grant("replica/2", len_ns=GRACE_NS)
    story.say("lease-opened", SIDECAR, agent=AGENT, nonce="n1", token=FIRST, until_ns=6 * SECOND)
    assert story.judged("S19").verdict is Verdict.INVALID


@pytest.mark.parametrize(("learned", "whole", "verdict"), [
    (False, False, Verdict.INVALID), (True, False, Verdict.VALID), (False, True, Verdict.VALID),
])  # fmt: skip
def test_a_lease_counts_only_grants_whose_orders_the_sidecar_has_learned(learned: bool, whole: bool, verdict: Verdict) -> None:
    story = Story()
    first = under(story)
    story.ask()
    granted = story.grant(ONE, len_ns=GRACE_NS)
    for replica in ("replica/2", "replica/3")[: 2 if whole else 1]:
        story.grant(replica, len_ns=GRACE_NS)
    if learned:
        story.learn(SIDECAR, "o1", "SOFT", grace_ns=GRACE_NS)
    opened = story.say("lease-opened", SIDECAR, agent=AGENT, nonce="n1", token=FIRST, until_ns=6 * SECOND)
    finding = story.judged("S19")
    assert finding.verdict is verdict, finding.why
    assert verdict is Verdict.VALID or finding.witness == (first, granted, opened)


@pytest.mark.parametrize("who", [ONE, SIDECAR])
@pytest.mark.parametrize("over", [False, True])
def test_nobody_measures_by_a_clock_that_he_doubts(who: str, over: bool) -> None:
    story = Story()
    story.start_all()
    story.lease()
    doubted = story.say("clock-suspected", who, peers=["replica/2", "replica/3"])
    if over:
        story.say("clock-trusted", who)
    acted = story.grant(ONE) if who == ONE else story.admit()
    finding = story.judged("S19")
    assert finding.verdict is (Verdict.VALID if over else Verdict.INVALID)
    assert over or finding.witness == (doubted, acted)
