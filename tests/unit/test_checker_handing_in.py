"""L6 on hand-made histories: whoever hands in an approved resume is answered, and turned away only for a reason."""

from __future__ import annotations

from typing import Any

import pytest

from harness.verdict import Verdict
from tests.unit.histories import ALLOWED, SECOND, Story

END_NS = 300 * SECOND
ASKED_NS = 10 * SECOND
UNTIL_NS = 60 * SECOND


def handed_in(story: Story, **fields: Any) -> int:
    """An approved resume of the order ``o1``, drafted under the deployed policy, is handed to the first replica."""
    usual = {
        "request": "r1", "certificate": "c1", "tenant": "acme", "scope": ["tenant", "acme"], "covers": ["o1"], "approvers": ["bob", "carol"],
        "authentic": True, "policy_seq": 1, "ends": [["replica/1", "boot-1", UNTIL_NS], ["replica/2", "boot-1", UNTIL_NS]],
    }  # fmt: skip
    return story.say("resume-handed-in", "replica/1", **{**usual, **fields})


def told(story: Story, stage: str, certificate: str = "c1") -> int:
    return story.say("resume-told", "replica/1", request="r1", certificate=certificate, stage=stage)


def begun() -> Story:
    story = Story()
    story.start_all()
    story.heal()
    story.learn("replica/1", "o1")
    return story.at(ASKED_NS)


@pytest.mark.parametrize(
    ("what", "verdict"),
    [("accepted", Verdict.VALID), ("nothing", Verdict.INVALID), ("another", Verdict.INVALID), ("crashed", Verdict.VALID), ("faulty", Verdict.VALID),
     ("soon over", Verdict.VALID), ("disk-slow before", Verdict.VALID)],
)  # fmt: skip
def test_who_hands_in_a_resume_is_answered(what: str, verdict: Verdict) -> None:
    story = begun()
    if what == "disk-slow before":
        story.fault("disk-slow", "replica/1")
    handed = handed_in(story)
    match what:
        case "accepted":
            told(story, "ACCEPTED")
        case "another":
            told(story, "ACCEPTED", "c2")
        case "crashed":
            story.crash("replica/1")
            story.start("replica/1", boot="boot-2")
        case "faulty":
            story.fault("disk-slow", "replica/1")
    finding = story.at(ASKED_NS if what == "soon over" else END_NS).end().judged("L6")
    assert finding.verdict is verdict
    assert verdict is Verdict.VALID or finding.witness == (handed,)


@pytest.mark.parametrize("stage", ["EXPIRED", "ASK_ANOTHER"])
@pytest.mark.parametrize(("holder", "verdict"), [("replica/1", Verdict.INVALID), ("replica/2", Verdict.VALID)])
def test_a_resume_that_was_let_in_is_asked_its_age_no_more(stage: str, holder: str, verdict: Verdict) -> None:
    story = begun()
    story.certify(holder, "c1")
    story.at(UNTIL_NS)
    ends = [["replica/2", "boot-1", UNTIL_NS]] if stage == "ASK_ANOTHER" else [["replica/1", "boot-1", UNTIL_NS]]
    handed = handed_in(story, ends=ends)
    answered = told(story, stage)
    finding = story.judged("L6")
    assert finding.verdict is verdict
    assert verdict is Verdict.VALID or finding.witness == (handed, answered)


@pytest.mark.parametrize(
    ("stage", "reason", "verdict"),
    [
        ("REFUSED", "none", Verdict.INVALID), ("REFUSED", "not authentic", Verdict.VALID), ("REFUSED", "forbidden", Verdict.VALID),
        ("REFUSED", "too few", Verdict.VALID), ("REFUSED", "unrecorded", Verdict.VALID), ("REFUSED", "another's ruling", Verdict.VALID),
        ("EXPIRED", "none", Verdict.INVALID), ("EXPIRED", "over", Verdict.VALID), ("EXPIRED", "nearly over", Verdict.INVALID),
        ("EXPIRED", "another boot", Verdict.VALID), ("EXPIRED", "no end", Verdict.VALID),
        ("NEEDS_CONTEXT", "none", Verdict.INVALID), ("NEEDS_CONTEXT", "unshown", Verdict.VALID), ("NEEDS_CONTEXT", "lifted", Verdict.INVALID),
        ("NEEDS_CONTEXT", "beyond", Verdict.INVALID), ("NEEDS_CONTEXT", "a rollout", Verdict.INVALID),
        ("NEEDS_CONTEXT", "two rollouts", Verdict.VALID), ("ASK_ANOTHER", "none", Verdict.INVALID), ("ASK_ANOTHER", "full", Verdict.VALID),
        ("ASK_ANOTHER", "doubt", Verdict.VALID), ("ASK_ANOTHER", "unheard", Verdict.VALID),
    ],
)  # fmt: skip
def test_a_resume_is_turned_away_only_for_a_reason(stage: str, reason: str, verdict: Verdict) -> None:
    story, fields, ruling = begun(), dict[str, Any](), ALLOWED
    match reason:
        case "not authentic":
            fields["authentic"] = False
        case "forbidden":
            ruling = [False, 0, 0, 0, 0]
        case "too few":
            ruling = [True, 0, 0, 0, 3]
        case "over" | "nearly over":
            story.at(UNTIL_NS - (reason == "nearly over"))
        case "another boot":
            story.start("replica/1", boot="boot-2")
        case "no end":
            fields["ends"] = []
        case "unshown" | "lifted" | "beyond":
            story.learn("replica/1", "o2", tenant="globex" if reason == "beyond" else "acme", scope=("tenant", "acme"))
            if reason == "lifted":
                story.certify("replica/1", "c0", "o2")
        case "a rollout" | "two rollouts":
            seq = 2 if reason == "a rollout" else 3
            story.say("rollout-changed", "replica/1", record="r", seq=seq, stage="STABLE", stable="p", canary="")
        case "full":
            story.say("disk-full", "replica/1", lsn=4)
        case "doubt":
            story.say("clock-suspected", "replica/1", peers=["replica/2"])
        case "unheard":
            fields["ends"] = [["replica/2", "boot-1", UNTIL_NS]]
    handed = handed_in(story, **fields)
    if reason != "unrecorded":
        story.decide(request="r2" if reason == "another's ruling" else "r1", action="resume", ruling=ruling)
    answered = told(story, stage)
    finding = story.at(END_NS).end().judged("L6")
    assert finding.verdict is verdict
    assert verdict is Verdict.VALID or finding.witness == (handed, answered)
