"""S13 on histories made by hand: effects that nobody let out, changes of the keyset that were left out, and stops that nobody asked for."""

from __future__ import annotations

from typing import Any

import pytest

from harness.verdict import Verdict
from tests.unit.histories import AGENT, FIRST, SECOND_START, SIDECAR, Story


def test_s13_what_a_sink_applies_was_let_out_by_the_agents_own_sidecar() -> None:
    story = Story()
    story.start_all()
    story.spawn()
    story.admit(key="k1")
    story.apply(key="k1")
    assert story.judged("S13").verdict is Verdict.VALID
    forged = story.apply(key="k2")
    finding = story.judged("S13")
    assert (finding.verdict, finding.witness) == (Verdict.INVALID, (forged,))


def test_s13_facts_of_two_nodes_may_be_told_the_other_way_round() -> None:
    story = Story()
    story.start_all()
    story.spawn()
    story.apply(key="k1")
    story.admit(key="k1")
    assert story.judged("S13").verdict is Verdict.VALID


def test_s13_a_sidecar_that_died_may_have_let_out_what_nobody_tells() -> None:
    story = Story()
    story.start_all()
    story.spawn()
    story.apply(key="k1")
    story.crash(SIDECAR)
    assert story.judged("S13").verdict is not Verdict.INVALID


@pytest.mark.parametrize(
    ("versions", "verdict"), [((2, 3), Verdict.VALID), ((2, 2, 3), Verdict.VALID), ((3,), Verdict.INVALID), ((2, 4), Verdict.INVALID)]
)
def test_s13_no_change_of_the_keyset_is_left_out(versions: tuple[int, ...], verdict: Verdict) -> None:
    story = Story()
    story.start_all()
    for version in versions:
        story.say("keyset-installed", SIDECAR, version=version, authentic=True, revoked=[], rotated=[])
    assert story.judged("S13").verdict is verdict


@pytest.mark.parametrize("handed", ["by nobody", "by a stranger", "by a peer"])
@pytest.mark.parametrize("drafted", ["before", "told later", "never"])
def test_s13_what_is_let_in_was_drafted(drafted: str, handed: str) -> None:
    story = Story()
    story.start_all()
    if drafted == "before":
        story.say("draft-sent", "replica/2", request="r", covers=["o1"], certificate="c1", heard=[])
    if handed != "by nobody":
        sender = "replica/2" if handed == "by a peer" else "operator"
        story.say("hostile-input", "replica/1", sender=sender, what="certificate past its end", read=True)
    story.certify("replica/1", "c1", "o1")
    let_in = next(index for index, fact in enumerate(story.facts) if fact.kind == "certificate-learned")
    if drafted == "told later":
        story.say("draft-sent", "replica/2", request="r", covers=["o1"], certificate="c1", heard=[])
    finding = story.judged("S13")
    forged = drafted == "never" and handed != "by a peer"
    assert (finding.verdict, finding.witness) == ((Verdict.INVALID, (let_in,)) if forged else (Verdict.VALID, ()))


@pytest.mark.parametrize("sender", ["", "operator", "replica/2"])
@pytest.mark.parametrize("let_in", [True, False])
def test_s13_a_sidecar_takes_in_what_a_replica_let_in(let_in: bool, sender: str) -> None:
    story = Story()
    story.start_all()
    story.say("draft-sent", "replica/1", request="r", covers=["o1"], certificate="c1", heard=[])
    if sender:
        story.say("hostile-input", SIDECAR, sender=sender, what="certificate past its end", read=True)
    taken_in = story.certify(SIDECAR, "c1", "o1") - 1
    if let_in:
        story.certify("replica/1", "c1", "o1")
    finding = story.judged("S13")
    held = let_in or sender.startswith("replica/")
    assert (finding.verdict, finding.witness) == ((Verdict.VALID, ()) if held else (Verdict.INVALID, (taken_in,)))


def test_s13_what_is_allowed_was_asked_for_whenever_that_is_told() -> None:
    story = Story()
    decided = story.decide(request="r1")
    finding = story.judged("S13")
    assert (finding.verdict, finding.witness) == (Verdict.INVALID, (decided,))
    story.ask_stop("r1")
    assert story.judged("S13").verdict is Verdict.VALID


def test_s13_what_is_not_for_a_person_to_ask_for_is_refused() -> None:
    story = Story()
    story.ask_stop("r1", "erin")
    story.decide(request="r1", may=False, ruling=[False, 0, 0, 0, 1])
    assert story.judged("S13").verdict is Verdict.VALID
    decided = story.decide(request="r1", may=False)
    finding = story.judged("S13")
    assert (finding.verdict, finding.witness) == (Verdict.INVALID, (decided,))


@pytest.mark.parametrize(("request_", "verdict"), [("guard", Verdict.VALID), ("alice/r1", Verdict.VALID), ("alice/r2", Verdict.INVALID)])
def test_s13_a_rollout_was_asked_for_or_is_the_guards(request_: str, verdict: Verdict) -> None:
    story = Story()
    story.say("rollout-requested", "operator", request="r1", principal="alice", stage="SHADOW")
    policies = {"stable": "p", "canary": "c", "former": ""}
    fields: dict[str, Any] = {"record": "x", "seq": 2, "parent": "", "stage": "SHADOW", **policies, "percent": 0, "guard": 0}
    story.say("rollout-durable", "replica/1", **fields, request=request_, authentic=True)
    assert story.judged("S13").verdict is verdict


@pytest.mark.parametrize("kind", ["policy-installed", "rollout-durable"])
@pytest.mark.parametrize("authentic", [True, False])
def test_s13_a_policy_and_its_rollout_come_from_replicas(kind: str, *, authentic: bool) -> None:
    story = Story()
    fields: dict[str, Any] = {"policy": "p", "parent": "", "tests": "", "author": "alice"}
    if kind == "rollout-durable":
        fields = {
            "record": "r",
            "seq": 2,
            "parent": "",
            "stage": "SHADOW",
            "stable": "p",
            "canary": "c",
            "former": "",
            "percent": 0,
            "guard": 0,
            "request": "guard",
        }
    taken_in = story.say(kind, "replica/1", **fields, authentic=authentic)
    finding = story.judged("S13")
    assert (finding.verdict, finding.witness) == ((Verdict.VALID, ()) if authentic else (Verdict.INVALID, (taken_in,)))


@pytest.mark.parametrize(
    ("given", "verdict"),
    [
        ("", Verdict.INVALID),
        ("before", Verdict.VALID),
        ("told later", Verdict.VALID),
        ("another stage", Verdict.INVALID),
        ("another start", Verdict.INVALID),
        ("died", Verdict.VALID),
    ],
)
def test_s13_a_proof_that_is_taken_in_was_given_by_the_agents_own_sidecar(given: str, verdict: Verdict) -> None:
    story = Story()
    story.start_all()
    if given not in ("", "told later", "died"):
        story.prove("o1", "DRAINING" if given == "another stage" else "STOPPED_CLEAN", SECOND_START if given == "another start" else FIRST)
    taken = story.say("evidence-taken", "replica/1", agent=AGENT, token=FIRST, order="o1", stage="STOPPED_CLEAN")
    if given == "told later":
        story.prove("o1", "STOPPED_CLEAN", FIRST)
    elif given == "died":
        story.crash(SIDECAR)
    finding = story.judged("S13")
    assert finding.verdict is verdict
    assert verdict is Verdict.VALID or finding.witness == (taken,)
