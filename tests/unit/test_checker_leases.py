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
