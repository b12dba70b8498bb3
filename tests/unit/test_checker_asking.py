"""L1 on hand-made histories: what those who ask have to be told, and what they go on with."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import structs

from harness.checkers.bounds import ASK_AGAIN_NS, HOST_LAG_NS, Bounds, stretch
from harness.verdict import Verdict
from killswitch.core.machine import Parameters
from tests.unit.histories import PARAMETERS, SECOND, SIDECAR, Story

BOUNDS = Bounds.of(PARAMETERS)
HEALED_NS = 10 * SECOND


def asked(what: str, stage: str = "", *, forgotten: bool = False, broken: int = 0) -> Story:
    """Before the heal a person asks for a stop, or a rollout, and is told ``stage`` of it; ``broken``: so many replicas are down in the end."""
    story = Story()
    story.start_all()
    story.fault("loss", f"{SIDECAR} -> replica/1")
    story.at(HEALED_NS - SECOND)
    if what == "order":
        story.ask_stop("req")
    elif what == "resume":
        story.say("resume-requested", "operator", request="req", principal="alice", tenant="acme", scope=["tenant", "acme"])
    else:
        story.say("rollout-requested", "operator", request="req", principal="paula", stage="STABLE")
    if stage and what == "order":
        story.say("order-status", "operator", request="req", order="o1", stage=stage, copies=1, keys=0)
    elif stage == "DRAFTED":
        story.say("draft-shown", "operator", request="req", certificate="c1")
    elif stage and what == "resume":
        story.say("resume-status", "operator", request="req", certificate="", stage=stage)
    elif stage:
        story.say("rollout-status", "operator", request="req", stage=stage, seq=2)
    for number in range(broken):
        story.crash(f"replica/{number + 1}")
    if forgotten:
        story.start("operator", boot="boot-2")
    story.at(HEALED_NS).heal()
    return story


@pytest.mark.parametrize("stage", ["EXPIRED", "NEEDS_CONTEXT"])
@pytest.mark.parametrize(
    ("then", "verdict"),
    [("nothing", Verdict.INVALID), ("another draft", Verdict.VALID), ("a draft of another", Verdict.INVALID), ("accepted", Verdict.VALID),
     ("accepted before", Verdict.VALID), ("started again", Verdict.VALID), ("paused", Verdict.VALID), ("soon over", Verdict.UNKNOWN)],
)  # fmt: skip
def test_who_was_sent_back_asks_for_another_draft(stage: str, then: str, verdict: Verdict) -> None:
    story = asked("resume", "DRAFTED").at(HEALED_NS + SECOND)
    story.say("resume-submitted", "operator", request="req", certificate="c1")
    accepted: dict[str, Any] = {"request": "req", "certificate": "c1", "stage": "ACCEPTED"}
    if then == "accepted before":
        story.say("resume-status", "operator", **accepted)
    sent_back = story.say("resume-status", "operator", request="req", certificate="c1", stage=stage)
    match then:
        case "another draft" | "a draft of another":
            request = "req" if then == "another draft" else "req2"
            story.say("draft-asked", "operator", request=request, replica="replica/2")
            story.say("draft-shown", "operator", request=request, certificate="c2")
        case "accepted":
            story.say("resume-status", "operator", **accepted)
        case "started again":
            story.start("operator", boot="boot-2")
        case "paused":
            story.say("node-paused", "operator")
    finding = story.at(HEALED_NS + SECOND if then == "soon over" else 600 * SECOND).end().judged("L1")
    assert finding.verdict is verdict
    assert verdict is not Verdict.INVALID or finding.witness == (sent_back,)


AGAIN_NS = HEALED_NS - SECOND + stretch(ASK_AGAIN_NS, PARAMETERS["drift_ppm"]) + HOST_LAG_NS


@pytest.mark.parametrize(
    ("then", "verdict"),
    [("nothing", Verdict.INVALID), ("asked after", Verdict.VALID), ("effective", Verdict.VALID), ("superseded", Verdict.VALID),
     ("accepted again", Verdict.INVALID), ("told too late", Verdict.INVALID), ("soon over", Verdict.VALID)],
)  # fmt: skip
def test_who_was_told_that_a_rollout_is_accepted_asks_what_became_of_it(then: str, verdict: Verdict) -> None:
    story = asked("rollout", "ACCEPTED")
    told = next(index for index, fact in enumerate(story.facts) if fact.kind == "rollout-status")
    if then == "asked after":
        story.say("rollout-asked-after", "operator", request="req", replica="replica/1", accepted="replica/1")
    elif then not in ("nothing", "soon over", "told too late"):
        story.say("rollout-status", "operator", request="req", stage=then.upper().removesuffix(" AGAIN"), seq=2)
    if then == "told too late":
        story.at(AGAIN_NS + 1).say("rollout-status", "operator", request="req", stage="EFFECTIVE", seq=2)
    finding = story.at(AGAIN_NS + (then != "soon over")).end().judged("L1")
    assert finding.verdict is verdict
    assert verdict is Verdict.VALID or finding.witness == (told,)


ASKED_DUE_NS = HEALED_NS + BOUNDS.asking_ns(3, 3, 3)
SENT_ON_DUE_NS = HEALED_NS + BOUNDS.asking_ns(3, 3, 3, sent_on=True)


@pytest.mark.parametrize("what", ["order", "rollout"])
@pytest.mark.parametrize(
    ("stage", "end_ns", "verdict"),
    [
        ("", ASKED_DUE_NS, Verdict.INVALID),
        ("", ASKED_DUE_NS - 1, Verdict.UNKNOWN),
        ("ACCEPTED", ASKED_DUE_NS, None),
        ("EFFECTIVE", ASKED_DUE_NS, Verdict.VALID),
        ("REFUSED", ASKED_DUE_NS, Verdict.VALID),
    ],
)
def test_who_asks_is_told_the_end_of_it(what: str, stage: str, end_ns: int, verdict: Verdict | None) -> None:
    """None: of a rollout only whoever accepted it is asked what became of it."""
    verdict = verdict or (Verdict.INVALID if what == "order" else Verdict.VALID)
    story = asked(what, stage)
    if (what, stage) == ("rollout", "ACCEPTED"):
        story.say("rollout-asked-after", "operator", request="req", replica="replica/1", accepted="replica/1")
    finding = story.at(end_ns).end().judged("L1")
    assert finding.verdict is verdict
    assert finding.why.startswith("who asked for req was never told the end of it") is (verdict is not Verdict.VALID)


@pytest.mark.parametrize(
    ("fault", "stage", "late_ns", "verdict"),
    [
        ("", "", 0, Verdict.INVALID),
        ("", "", -1, Verdict.UNKNOWN),
        ("", "REFUSED", 0, Verdict.VALID),
        ("over", "", 0, Verdict.UNKNOWN),
        ("over", "", 3 * SECOND, Verdict.INVALID),
        ("on", "", 3 * SECOND, Verdict.UNKNOWN),
    ],
)
def test_who_asks_where_nothing_is_wrong_need_not_wait_for_a_heal(fault: str, stage: str, late_ns: int, verdict: Verdict) -> None:
    story = Story()
    story.start_all()
    asking = story.at(SECOND).ask_stop("req")
    if fault:
        story.at(2 * SECOND).fault("loss", f"{SIDECAR} -> replica/1")
    if fault == "over":
        story.at(4 * SECOND).say("fault-off", "world", fault="f1", what="loss")
    if stage:
        story.say("order-status", "operator", request="req", order="", stage=stage, copies=0, keys=0)
    finding = story.at(SECOND + BOUNDS.asking_ns(3, 3, 3) + late_ns).end().judged("L1")
    assert finding.verdict is verdict
    assert verdict is not Verdict.INVALID or finding.witness == (asking,)


@pytest.mark.parametrize(
    ("stage", "verdict"),
    [
        ("", Verdict.INVALID),
        ("NEEDS_CONTEXT", Verdict.INVALID),
        ("ASK_ANOTHER", Verdict.INVALID),
        ("DRAFTED", Verdict.VALID),
        ("ACCEPTED", Verdict.VALID),
        ("NOTHING_TO_COVER", Verdict.VALID),
    ],
)
def test_who_asks_for_a_resume_is_told_the_end_of_it(stage: str, verdict: Verdict) -> None:
    assert asked("resume", stage).at(ASKED_DUE_NS).end().judged("L1").verdict is verdict


def handed_in(*stages: str) -> Story:
    """A draft was shown, and approved, and is handed in; the client is told ``stages`` of it, and shown a draft where one is "DRAFTED"."""
    story = asked("resume", "DRAFTED")
    story.say("resume-submitted", "operator", request="req", certificate="c1")
    for stage in stages:
        if stage == "DRAFTED":
            story.say("draft-shown", "operator", request="req", certificate="c2")
        else:
            story.say("resume-status", "operator", request="req", certificate="c1", stage=stage)
        if stage in ("EXPIRED", "NEEDS_CONTEXT"):
            story.say("draft-asked", "operator", request="req", replica="replica/2")
    return story


@pytest.mark.parametrize(
    ("stages", "verdict"),
    [
        ((), Verdict.INVALID),
        (("ASK_ANOTHER",), Verdict.INVALID),
        (("DRAFTED",), Verdict.INVALID),  # an earlier question, answered late
        (("NEEDS_CONTEXT",), Verdict.INVALID),
        (("EXPIRED",), Verdict.INVALID),
        (("EXPIRED", "DRAFTED"), Verdict.VALID),
        (("EXPIRED", "NOTHING_TO_COVER"), Verdict.VALID),
        (("ASK_ANOTHER", "ACCEPTED"), Verdict.VALID),
        (("REFUSED",), Verdict.VALID),
    ],
)
def test_who_hands_in_what_was_approved_goes_on_until_that_comes_to_an_end(stages: tuple[str, ...], verdict: Verdict) -> None:
    finding = handed_in(*stages).at(SENT_ON_DUE_NS if "ASK_ANOTHER" in stages else ASKED_DUE_NS).end().judged("L1")
    assert finding.verdict is verdict
    asking = "asked for" if stages[:1] in (("EXPIRED",), ("NEEDS_CONTEXT",)) else "handed in what was approved for"
    assert verdict is Verdict.VALID or finding.why == f"who {asking} req was never told the end of it"


@pytest.mark.parametrize(
    ("then", "end_ns", "verdict"),
    [
        ("", SENT_ON_DUE_NS - 1, Verdict.UNKNOWN),
        ("", SENT_ON_DUE_NS, Verdict.INVALID),
        ("another draft", ASKED_DUE_NS + 10 * SECOND - 1, Verdict.UNKNOWN),
        ("another draft", ASKED_DUE_NS + 10 * SECOND, Verdict.INVALID),
        ("shown", SENT_ON_DUE_NS + 10 * SECOND, Verdict.VALID),
        ("handed in", ASKED_DUE_NS + 20 * SECOND, Verdict.INVALID),
        ("accepted", SENT_ON_DUE_NS + 20 * SECOND, Verdict.VALID),
    ],
)
def test_what_was_sent_on_may_be_drafted_anew_and_is_asked_for_from_then_on(then: str, end_ns: int, verdict: Verdict) -> None:
    story = handed_in("ASK_ANOTHER").at(HEALED_NS + 10 * SECOND)
    if then:
        story.say("draft-asked", "operator", request="req", replica="replica/2")
    if then in ("shown", "handed in", "accepted"):
        story.say("draft-shown", "operator", request="req", certificate="c2")
    if then in ("handed in", "accepted"):
        story.at(HEALED_NS + 20 * SECOND).say("resume-submitted", "operator", request="req", certificate="c2")
    if then == "accepted":
        story.say("resume-status", "operator", request="req", certificate="c2", stage="ACCEPTED")
    finding = story.at(end_ns).end().judged("L1")
    assert finding.verdict is verdict
    asked_for = "asked for" if then == "another draft" else "handed in what was approved for"
    assert verdict is Verdict.VALID or finding.why.startswith(f"who {asked_for} req")


@pytest.mark.parametrize(("loss_ppm", "seconds"), [(30_000, 68), (100_000, 113)])
def test_how_long_a_client_asks_on_a_lossy_network_with_the_defaults(loss_ppm: int, seconds: int) -> None:
    """Of three replicas one of which is gone, as docs/invariants.md says."""
    defaults = {name: value for name, value in structs.asdict(Parameters()).items() if isinstance(value, int)}
    assert round(Bounds.of({**defaults, "loss_ppm": loss_ppm}).asking_ns(3, 2, 3) / SECOND) == seconds


@pytest.mark.parametrize(("loss_ppm", "messages", "tries"), [(0, 4, 1), (1, 1, 1), (1, 2, 2), (30_000, 4, 7), (100_000, 1, 6), (100_000, 4, 13)])
def test_as_many_tries_as_loss_takes(loss_ppm: int, messages: int, tries: int) -> None:
    """The numbers are those of ceil(ln 10^-6 / ln(1 - (1 - p)^m)), by hand."""
    assert Bounds.of({**PARAMETERS, "loss_ppm": loss_ppm}).tries(messages) == tries


@pytest.mark.parametrize(("loss_ppm", "verdict"), [(0, Verdict.INVALID), (100_000, Verdict.UNKNOWN)])
def test_a_network_that_always_loses_something_gives_who_asks_more_time(loss_ppm: int, verdict: Verdict) -> None:
    story = asked("resume")
    topology = story.facts[1]
    story.facts[1] = structs.replace(topology, body={**topology.body, "parameters": {**topology.body["parameters"], "loss_ppm": loss_ppm}})
    assert story.at(ASKED_DUE_NS).end().judged("L1").verdict is verdict


def test_a_draft_that_did_not_come_to_be_shown_is_none() -> None:
    story = asked("resume")
    story.say("draft-sent", "replica/1", request="req", covers=["o1"], certificate="c1", heard=[])
    assert story.at(ASKED_DUE_NS).end().judged("L1").verdict is Verdict.INVALID


@pytest.mark.parametrize(("doubting", "verdict"), [(1, Verdict.INVALID), (2, Verdict.VALID)])
def test_a_resume_needs_replicas_that_believe_their_clocks(doubting: int, verdict: Verdict) -> None:
    story = handed_in("ASK_ANOTHER")
    for number in range(doubting):
        story.say("clock-suspected", f"replica/{number + 1}", peers=2)
    assert story.at(SENT_ON_DUE_NS).end().judged("L1").verdict is verdict


@pytest.mark.parametrize(("broken", "verdict"), [(1, Verdict.INVALID), (2, Verdict.VALID)])
def test_nobody_is_told_of_what_too_few_replicas_could_hold(broken: int, verdict: Verdict) -> None:
    assert asked("order", "ACCEPTED", broken=broken).at(ASKED_DUE_NS).end().judged("L1").verdict is verdict


@pytest.mark.parametrize(
    ("what", "broken", "verdict"),
    [("order", 1, Verdict.INVALID), ("order", 3, Verdict.VALID), ("resume", 0, Verdict.INVALID), ("resume", 1, Verdict.VALID)],
)
def test_a_draft_takes_so_many_that_no_order_is_missed(what: str, broken: int, verdict: Verdict) -> None:
    """Where one copy makes an order effective, every replica has to be heard."""
    story = one_copy_is_enough(asked(what, broken=broken))
    assert story.at(ASKED_DUE_NS + 600 * SECOND).end().judged("L1").verdict is verdict


@pytest.mark.parametrize(("stages", "verdict"), [((), Verdict.INVALID), (("ASK_ANOTHER",), Verdict.VALID), (("EXPIRED",), Verdict.VALID)])
def test_what_was_approved_takes_no_more_than_who_can_let_it_in_until_it_is_to_be_drafted_anew(stages: tuple[str, ...], verdict: Verdict) -> None:
    story = one_copy_is_enough(handed_in(*stages))
    story.crash("replica/1")
    assert story.at(SENT_ON_DUE_NS + 600 * SECOND).end().judged("L1").verdict is verdict


def one_copy_is_enough(story: Story) -> Story:
    topology = story.facts[1]
    story.facts[1] = structs.replace(topology, body={**topology.body, "kill_quorum": 1})
    return story


def test_a_client_that_starts_again_has_forgotten_what_it_asked_for() -> None:
    assert asked("order", "ACCEPTED", forgotten=True).at(ASKED_DUE_NS).end().judged("L1").verdict is Verdict.VALID
