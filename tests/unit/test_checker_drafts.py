"""S20 on hand-made histories of resumes: what approvers are shown, by whom, and on whose word."""

from __future__ import annotations

import pytest

from harness.verdict import Verdict
from tests.unit.histories import AGENT, SECOND, Story

ANOTHER = ("replica/2", "boot-1", 2 * SECOND)


def drafted(story: Story, *covers: str, at_ns: int = 2 * SECOND, heard: tuple[str, str, int] | None = ANOTHER) -> int:
    answers = [] if heard is None else [list(heard)]
    return story.at(at_ns).say("draft-sent", "replica/3", request="r1", covers=list(covers), certificate="c1", heard=answers)


@pytest.mark.parametrize(
    ("heard", "verdict"),
    [
        (("replica/1", "boot-2", SECOND), Verdict.VALID),  # when it had been taught
        (("replica/1", "boot-2", SECOND - 1), Verdict.INVALID),
        (("replica/1", "boot-1", SECOND - 1), Verdict.VALID),  # before it lost anything
        (("replica/1", "boot-2", 9), Verdict.VALID),
        (("replica/2", "boot-2", SECOND - 1), Verdict.VALID),
    ],
)
def test_what_somebody_says_who_may_have_forgotten_counts_for_no_draft(heard: tuple[str, str, int], verdict: Verdict) -> None:
    story = Story()
    story.start_all()
    story.fault("disk-lost", "replica/1")
    forgot = story.at(10).start("replica/1", boot="boot-2")
    asked(story)
    taught = story.say("replica-joined", "replica/1", teachers=["replica/2", "replica/3"])
    told = drafted(story, heard=heard)
    finding = story.judged("S20")
    assert (finding.verdict, finding.witness) == (verdict, () if verdict is Verdict.VALID else (taught, told))
    del story.facts[taught]
    finding = story.judged("S20")
    if heard[:2] != ("replica/1", "boot-2") or heard[2] < 10:
        assert finding.verdict is Verdict.VALID
    else:
        assert finding.witness == (forgot, told - 1)


@pytest.mark.parametrize(
    ("heard", "covers", "fault", "verdict"),
    [
        (ANOTHER, ("o1",), "", Verdict.VALID),
        (None, ("o1",), "", Verdict.INVALID),
        (("replica/3", "boot-1", SECOND), ("o1",), "", Verdict.INVALID),  # itself
        (None, (), "", Verdict.VALID),  # there is nothing to hand in
        (None, ("o1",), "version", Verdict.VALID),  # it may have heard somebody who could not say how long he takes it
        (None, ("o1",), "version of the drafter", Verdict.VALID),  # it reads nobody's clock
        (None, ("o1",), "crash", Verdict.INVALID),
        (None, ("o1",), "crash of the drafter", Verdict.INVALID),
    ],
)
def test_a_draft_can_be_handed_in_to_as_many_as_have_to_be_heard(
    heard: tuple[str, str, int] | None, covers: tuple[str, ...], fault: str, verdict: Verdict
) -> None:
    story = Story()
    story.start_all()
    if fault:
        story.fault(fault.removesuffix(" of the drafter"), "replica/3" if fault.endswith("drafter") else "replica/1")
    if covers:
        story.learn("replica/3", "o1")
    asked(story)
    draft = drafted(story, *covers, heard=heard)
    finding = story.judged("S20")
    assert (finding.verdict, finding.witness) == (verdict, () if verdict is Verdict.VALID else (draft,))


def asked(story: Story, kind: str = "agent", value: str = AGENT) -> int:
    return story.at(SECOND).say("resume-requested", "operator", request="r1", principal="alice", tenant="acme", scope=[kind, value])


def test_a_draft_shows_every_order_that_was_effective_before_it_was_asked_for() -> None:
    story = Story()
    copies = story.effective("o1")
    story.at(SECOND // 2).learn("replica/1", "never effective")
    asked(story)
    story.effective("too late")
    drafted(story, "o1")
    assert (story.judged("S20").verdict, story.judged("S20").examined) == (Verdict.VALID, 1)
    silent = drafted(story, at_ns=3 * SECOND)
    assert (story.judged("S20").verdict, story.judged("S20").witness) == (Verdict.INVALID, (*copies, silent))


@pytest.mark.parametrize(
    ("ordered", "scope", "due"),
    [
        (("tenant", "acme"), ("agent", AGENT), False),
        (("tenant", "acme"), ("tenant", "acme"), True),
        (("tenant", "acme"), ("global", ""), False),
        (("tenant", "acme"), ("label", "tier=gold"), False),
        (("global", ""), ("tenant", "acme"), False),
        (("global", ""), ("global", ""), True),
    ],
)
def test_a_draft_owes_what_its_scope_speaks_of(ordered: tuple[str, str], scope: tuple[str, str], due: bool) -> None:
    story = Story()
    story.effective("o1", scope=ordered)
    asked(story, *scope)
    drafted(story)
    assert (story.judged("S20").verdict is Verdict.INVALID) is due


def test_a_draft_owes_nothing_that_a_certificate_covers() -> None:
    story = Story()
    story.effective("o1")
    story.certify("replica/2", "c1", "o1")
    asked(story)
    drafted(story)
    assert story.judged("S20").verdict is Verdict.VALID


@pytest.mark.parametrize("joined", [True, False])
@pytest.mark.parametrize("how", ["disk-lost", "log-cut"])
def test_who_may_have_forgotten_drafts_nothing_before_it_has_joined(how: str, joined: bool) -> None:
    story = Story()
    story.start_all()
    asked(story)
    if how == "disk-lost":
        story.fault(how, "replica/3")
    story.crash("replica/3", power=True)
    forgot = story.start("replica/3", boot="boot-2", instance="b")
    if how == "log-cut":
        forgot = story.say("log-cut", "replica/3", records=3, why="wrong hash")
    if joined:
        story.say("replica-joined", "replica/3", teachers=["replica/1", "replica/2"])
    draft = drafted(story)
    finding = story.judged("S20")
    assert (finding.verdict, finding.witness) == ((Verdict.VALID, ()) if joined else (Verdict.INVALID, (forgot, draft)))


@pytest.mark.parametrize(("shown", "verdict"), [(("o1",), Verdict.VALID), ((), Verdict.INVALID)])
def test_a_draft_shows_what_its_drafter_knows_though_it_is_not_effective(shown: tuple[str, ...], verdict: Verdict) -> None:
    story = Story()
    asked(story)
    story.learn("replica/2", "elsewhere")
    learned = story.learn("replica/3", "o1")
    draft = drafted(story, *shown)
    finding = story.judged("S20")
    assert (finding.verdict, finding.witness) == (verdict, () if verdict is Verdict.VALID else (learned, draft))


@pytest.mark.parametrize(("shown", "verdict"), [(("o1", "o2"), Verdict.VALID), (("o1",), Verdict.INVALID)])
def test_nobody_lets_a_certificate_in_whose_approvers_were_not_shown_an_order_that_he_knows(shown: tuple[str, ...], verdict: Verdict) -> None:
    story = Story()
    story.learn("replica/1", "o1")
    story.learn("replica/1", "o2", scope=("agent", "acme/1"))
    story.learn("replica/1", "everybody's", scope=("global", ""))
    story.decide("replica/1", action="resume", order="c1")
    story.certify("replica/1", "c1", *shown)
    assert story.judged("S20").verdict is verdict


def test_a_replica_takes_in_what_a_peer_has_let_in_whatever_it_knows_itself() -> None:
    story = Story()
    story.learn("replica/1", "o1")
    story.learn("replica/2", "o2")
    story.decide("replica/1", action="resume", order="c1")
    story.certify("replica/1", "c1", "o1")
    story.certify("replica/2", "c1", "o1")
    assert (story.judged("S20").verdict, story.judged("S20").examined) == (Verdict.VALID, 1)
