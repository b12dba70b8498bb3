"""S21 and the policy's part of L10, on histories made by hand."""

from __future__ import annotations

from typing import Any

import pytest

from harness.checkers.bounds import HOST_LAG_NS
from harness.verdict import Verdict
from tests.unit.histories import SECOND, Story

ONE, TWO, THREE = "replica/1", "replica/2", "replica/3"
HARDER = [True, 2, 2, SECOND, 1]
REFUSED = [False, 0, 0, 0, 1]


class Policies(Story):
    """A story with words for policies: rollout ``r2`` has number 2, and so on."""

    def durable(self, node: str, seq: int, *, stage: str = "STABLE", canary: str = "", guard: int = 0, parent: str = "", name: str = "",
                request: str = "alice/x", stable: str = "p", former: str = "") -> int:  # fmt: skip
        policies = {"stable": stable, "canary": canary, "former": former}
        body: dict[str, Any] = {**policies, "percent": 100, "guard": guard, "request": request, "authentic": True}
        return self.say("rollout-durable", node, record=name or f"r{seq}", seq=seq, parent=parent, stage=stage, **body)

    def changed(self, node: str, seq: int, *, stage: str = "STABLE", canary: str = "", name: str = "") -> int:
        return self.say("rollout-changed", node, record=name or f"r{seq}", seq=seq, stage=stage, stable="p", canary=canary)

    def roll(self, node: str, seq: int, *, stage: str = "STABLE", canary: str = "", guard: int = 0, parent: str = "", former: str = "",
             request: str = "alice/x") -> int:  # fmt: skip
        self.durable(node, seq, stage=stage, canary=canary, guard=guard, parent=parent, former=former, request=request)
        return self.changed(node, seq, stage=stage, canary=canary)

    def ask_resume(self, request: str = "req") -> int:
        return self.say("resume-requested", "operator", request=request, principal="alice", tenant="acme", scope=["tenant", "acme"])

    def blamed(self, why: str, *witness: int) -> None:
        finding = self.judged("S21")
        assert (finding.verdict, finding.witness) == (Verdict.INVALID, witness), finding.why
        assert why in finding.why


def test_a_life_of_policies_that_is_as_it_should_be() -> None:
    story = Policies()
    story.decide()
    story.roll(ONE, 2, stage="CANARY", canary="c", guard=1)
    story.decide(seq=2, canary="c", ruling=HARDER, raised=True, order="o1")
    story.decide(seq=2, stable=REFUSED, ruling=HARDER, canary="c", raised=True)
    story.roll(ONE, 3, stage="ROLLED_BACK", parent="r2")
    story.decide(seq=3)
    story.roll(TWO, 3, stage="ROLLED_BACK", parent="r2")
    story.ask_resume()
    story.decide(seq=3, action="resume")
    finding = story.judged("S21")
    assert (finding.verdict, finding.examined) == (Verdict.VALID, 11), finding.why


def told(story: Policies, stage: str, seq: int = 2, request: str = "x") -> int:
    return story.say("rollout-status", "operator", request=request, stage=stage, seq=seq)


def test_what_is_told_of_a_rollout_is_so() -> None:
    story = Policies()
    story.roll(ONE, 2)
    told(story, "ACCEPTED")
    story.roll(TWO, 2)
    told(story, "EFFECTIVE")
    story.durable(TWO, 2, name="other", request="alice/y")
    told(story, "SUPERSEDED")
    told(story, "REFUSED", seq=0)
    assert story.judged("S21").verdict is Verdict.VALID


@pytest.mark.parametrize(("stage", "why"), [("EFFECTIVE", "which 1 held durably, and it takes 2"), ("SUPERSEDED", "there was none")])
def test_what_is_told_of_a_rollout_is_not_so(stage: str, why: str) -> None:
    story = Policies()
    story.roll(ONE, 2)
    story.blamed(why, told(story, stage))


def says(story: Policies, stage: str, seq: int = 2, node: str = ONE, request: str = "x") -> int:
    return story.say("rollout-told", node, request=request, stage=stage, seq=seq)


def apart(*, told: str) -> Policies:
    """Two rollouts of number 2, and at replica 1, which called its own effective, the other one and its successor win."""
    story = Policies()
    story.start_all()
    story.roll(ONE, 2)
    says(story, "ACCEPTED")
    says(story, "EFFECTIVE")
    story.durable(ONE, 2, name="other", request="alice/y")
    story.durable(ONE, 3, parent="other", former="p", request="alice/z")
    story.changed(ONE, 3)
    if told:
        says(story, told)
    return story


def test_whoever_was_told_that_his_rollout_is_effective_is_told_when_one_made_apart_wins() -> None:
    assert apart(told="SUPERSEDED").judged("S21").verdict is Verdict.VALID
    story = apart(told="")
    story.blamed("did not tell who asked that another took its place", len(story.facts) - 4)


def test_a_rollout_that_is_followed_step_by_step_stays_effective() -> None:
    story = Policies()
    story.start_all()
    story.roll(ONE, 2)
    says(story, "EFFECTIVE")
    story.durable(ONE, 3, parent="r2", former="p", request="alice/y")
    story.changed(ONE, 3)
    assert story.judged("S21").verdict is Verdict.VALID


def test_a_replica_that_started_again_has_forgotten_who_asked() -> None:
    story = apart(told="")
    story.start(ONE, boot="boot-2")
    assert story.judged("S21").verdict is Verdict.VALID


def test_a_rollout_is_called_effective_by_who_has_it_in_force() -> None:
    story = Policies()
    story.roll(ONE, 2)
    story.roll(ONE, 3, parent="r2", former="p", request="alice/y")
    story.blamed("while 3 was in force there", len(story.facts) - 1, says(story, "EFFECTIVE"))


@pytest.mark.parametrize(("said", "verdict"), [("", Verdict.INVALID), ("EFFECTIVE", Verdict.VALID), ("SUPERSEDED", Verdict.VALID)])
def test_what_was_accepted_has_a_last_word_in_time(said: str, verdict: Verdict) -> None:
    story = Policies()
    story.start_all()
    story.roll(ONE, 2)
    if said:
        says(story, said)  # the other one waits for the disk
    says(story, "ACCEPTED")
    story.say("healed", "world")
    story.at(60 * SECOND).say("run-ended", "world", reason="complete")
    assert story.judged("S21").verdict is verdict


def test_what_is_durable_and_newer_is_in_force_in_the_end() -> None:
    story = Policies()
    story.start_all()
    story.roll(ONE, 2)
    story.blamed("holds rollout 3 durably, and 2 is in force there", story.durable(ONE, 3, parent="r2", former="p"))


@pytest.mark.parametrize(
    ("stage", "stable", "former", "sound"),
    [("ROLLED_BACK", "b", "a", True), ("ROLLED_BACK", "b", "", False), ("ROLLED_BACK", "a", "", False), ("CANARY", "b", "a", True),
     ("CANARY", "b", "", False), ("STABLE", "c", "b", True), ("STABLE", "c", "a", False)],
)  # fmt: skip
def test_what_a_rollout_takes_over_from_a_trial_after_a_promotion(stage: str, stable: str, former: str, sound: bool) -> None:
    story = Policies()
    story.durable(ONE, 3, stage="CANARY", stable="b", canary="c", former="a", parent="r2")
    canary = "c" if stage == "CANARY" else ""
    step = story.durable(ONE, 4, stage=stage, stable=stable, former=former, canary=canary, parent="r3")
    if sound:
        assert story.judged("S21").verdict is Verdict.VALID
    else:
        story.blamed("number 3 leads to", step)


@pytest.mark.parametrize(("stable", "sound"), [("a", True), ("b", False)])
def test_a_step_back_without_a_trial_undoes_the_promotion(stable: str, sound: bool) -> None:
    story = Policies()
    story.durable(ONE, 3, stage="STABLE", stable="b", former="a", parent="r2")
    story.durable(ONE, 4, stage="ROLLED_BACK", stable=stable, parent="r3")
    assert story.judged("S21").verdict is (Verdict.VALID if sound else Verdict.INVALID)


@pytest.mark.parametrize("asked", [ONE, TWO])
def test_what_one_replica_has_accepted_is_asked_after_there(asked: str) -> None:
    story = Policies()
    index = story.say("rollout-asked-after", "operator", request="x", replica=asked, accepted=ONE)
    if asked == ONE:
        assert (story.judged("S21").verdict, story.judged("S21").examined) == (Verdict.VALID, 1)
    else:
        story.blamed("which replica/1 had accepted", index)


@pytest.mark.parametrize(("learned", "late", "verdict"), [(3, False, Verdict.VALID), (2, False, Verdict.INVALID), (2, True, Verdict.VALID)])
def test_who_vouches_again_decides_by_what_its_teachers_held_when_it_asked(learned: int, late: bool, verdict: Verdict) -> None:
    story = Policies()
    story.start_all()
    story.roll(ONE, 2)
    story.roll(TWO, 2)
    held = 0 if late else story.roll(TWO, 3, parent="r2", former="p") - 1
    story.fault("disk-lost", ONE)
    story.crash(ONE, power=True)
    story.start(ONE, boot="boot-2", instance="b")
    if late:
        story.roll(TWO, 3, parent="r2", former="p")
    story.roll(ONE, 2)
    if learned > 2:
        story.roll(ONE, 3, parent="r2", former="p")
    joined = story.say("replica-joined", ONE, teachers=[TWO])
    if verdict is Verdict.VALID:
        assert story.judged("S21").verdict is Verdict.VALID
    else:
        story.blamed("held 3", held, joined)


def test_a_replay_that_disagrees() -> None:
    story = Policies()
    story.blamed("a replay disagrees: the ruling was wrong", story.decide(replayed=False, why="the ruling was wrong"))


@pytest.mark.parametrize("ruling", [REFUSED, [True, 0, 1, 0, 1], [True, 2, 0, 0, 1]])
def test_a_kill_that_a_canary_weakens(ruling: list[Any]) -> None:
    story = Policies()
    story.blamed("less severely than the stable policy", story.decide(ruling=ruling))


def test_a_resume_that_a_canary_eases() -> None:
    story = Policies()
    story.blamed("allowed what the stable policy does not", story.decide(action="resume", stable=REFUSED))


@pytest.mark.parametrize(
    ("fields", "sound"), [({}, True), ({"seq": 1}, False), ({"policy": "q"}, False), ({"canary": "d"}, False), ({"canary": "c"}, True)]
)
def test_a_decision_is_under_the_rollout_in_force(fields: dict[str, Any], sound: bool) -> None:
    story = Policies()
    changed = story.roll(ONE, 2, stage="CANARY", canary="c")
    decided = story.decide(**{"seq": 2, **fields})
    if sound:
        assert story.judged("S21").verdict is Verdict.VALID
    else:
        story.blamed("while 2 was in force there", changed, decided)


def test_a_decision_under_a_rollout_that_never_came_into_force() -> None:
    story = Policies()
    story.blamed("none had come into force", story.decide(seq=2))


def test_a_decision_under_less_than_is_durable() -> None:
    story = Policies()
    story.roll(ONE, 2)
    durable = story.durable(ONE, 3)
    story.blamed("though it held 3 durably", durable, story.decide(seq=2))


def test_a_number_that_falls_at_a_replica() -> None:
    story = Policies()
    story.durable(ONE, 2)
    before = story.roll(ONE, 3)
    story.crash(ONE)
    story.start(ONE, boot="boot-2", instance="b")
    story.blamed("went from rollout 3 to 2", before, story.changed(ONE, 2))


def test_a_rollout_that_does_not_step_forward() -> None:
    story = Policies()
    story.roll(ONE, 3)
    story.blamed("follows number 3, and is not above it", story.durable(ONE, 2, parent="r3", name="back"))


@pytest.mark.parametrize(("holders", "sound"), [((ONE,), True), ((ONE, TWO), False)])
def test_a_resume_is_decided_under_what_was_committed_when_it_was_asked_for(holders: tuple[str, ...], sound: bool) -> None:
    story = Policies()
    committed = [story.durable(node, 2) for node in holders][-1]
    story.ask_resume()
    decided = story.decide(THREE, action="resume")
    if sound:
        assert story.judged("S21").verdict is Verdict.VALID
    else:
        story.blamed("though 2 was committed when it was asked for", committed, decided)


def test_what_is_committed_after_the_asking_need_not_be_known() -> None:
    story = Policies()
    story.ask_resume()
    story.durable(ONE, 2)
    story.durable(TWO, 2)
    story.decide(THREE, action="resume")
    assert story.judged("S21").verdict is Verdict.VALID


@pytest.mark.parametrize(("stops", "end_s", "verdict"), [(1, 90, Verdict.VALID), (2, 90, Verdict.INVALID), (2, 3, Verdict.UNKNOWN)])
def test_a_guard_that_does_not_trip(stops: int, end_s: int, verdict: Verdict) -> None:
    story = Policies()
    story.start_all()
    changed = story.roll(ONE, 2, stage="CANARY", canary="c", guard=1)
    decided = [story.decide(seq=2, canary="c", ruling=HARDER, raised=True, order=f"o{number}") for number in range(stops)]
    story.heal()
    story.at(end_s * SECOND).end()
    finding = story.judged("S21")
    assert finding.verdict is verdict
    assert finding.witness == ((changed, *decided) if verdict is Verdict.INVALID else ())


@pytest.mark.parametrize(("last", "verdict"), [(3, Verdict.VALID), (2, Verdict.INVALID)])
def test_all_replicas_come_to_the_same_policy(last: int, verdict: Verdict) -> None:
    story = Policies()
    story.start_all()
    story.changed(ONE, 3)
    other = story.changed(TWO, last)
    story.changed(THREE, 3)
    story.heal()
    story.at(90 * SECOND).end()
    finding = story.judged("L10")
    assert finding.verdict is verdict, finding.why
    if verdict is Verdict.INVALID:
        assert finding.witness == (other - 1, other)
        assert "different policies" in finding.why


def test_a_rollout_in_force_before_it_is_durable() -> None:
    story = Policies()
    early = story.changed(ONE, 2)
    story.durable(ONE, 2)
    story.blamed("came into force at replica/1, and was not durable there", early)


@pytest.mark.parametrize("again", [True, False])
@pytest.mark.parametrize("fault", ["disk-lie", "bit-flip", "disk-lost"])
def test_what_a_bad_disk_left_comes_into_force_again_and_is_what_its_replica_vouches_by(fault: str, again: bool) -> None:
    story = Policies()
    story.roll(TWO, 2)
    story.roll(ONE, 2)
    story.fault(fault, ONE)
    story.crash(ONE)
    story.start(ONE, boot="boot-2", instance="b")
    if again:
        story.changed(ONE, 2)
    joined = story.say("replica-joined", ONE, teachers=[TWO])
    if again:
        assert story.judged("S21").verdict is Verdict.VALID
    else:
        story.blamed("vouches again under rollout 1", 2, joined)


def test_what_a_bad_disk_never_held_does_not_come_into_force() -> None:
    story = Policies()
    story.roll(ONE, 2)
    story.fault("disk-lie", ONE)
    story.crash(ONE)
    story.start(ONE, boot="boot-2", instance="b")
    early = story.changed(ONE, 3)
    story.blamed("came into force at replica/1, and was not durable there", early)


@pytest.mark.parametrize(("last", "decides", "sound"), [("back", True, True), ("on", True, False), ("on", False, False)])
def test_of_two_rollouts_of_one_number_the_one_that_goes_back_is_in_force(last: str, decides: bool, sound: bool) -> None:
    """One after the other in one step is all right (seed 2 of policy-storm): what counts is where it ends."""
    story = Policies()
    story.start_all()
    story.durable(ONE, 2, stage="ROLLED_BACK", name="back")
    story.durable(ONE, 2, name="on")
    story.changed(ONE, 2, name="on")
    changed = story.changed(ONE, 2, name=last, stage="ROLLED_BACK" if last == "back" else "STABLE")
    decided = [story.decide(seq=2)] if decides else []
    if sound:
        assert story.judged("S21").verdict is Verdict.VALID
    else:
        story.blamed("though it held one of that number that goes back", changed, *decided)


@pytest.mark.parametrize(("stops", "sound"), [(1, False), (2, True)])
def test_a_guard_that_trips_for_nothing(stops: int, sound: bool) -> None:
    story = Policies()
    story.roll(ONE, 2, stage="CANARY", canary="c", guard=1)
    decided = [story.decide(seq=2, canary="c", ruling=HARDER, raised=True, order=f"o{number}") for number in range(stops)]
    story.decide(TWO, order="o9")
    back = story.durable(ONE, 3, stage="ROLLED_BACK", parent="r2", request="guard")
    if sound:
        assert story.judged("S21").verdict is Verdict.VALID
    else:
        story.blamed("rolled canary 2 back, which by itself had made 1 stops of 1 that it may", *decided, back)


def test_a_certificate_that_nobody_decided_on() -> None:
    story = Policies()
    taken = story.certify(ONE, "c1", "o1") - 1
    story.certify(TWO, "c1", "o1")
    story.blamed("from outside, and put no decision on that on record", taken)


@pytest.mark.parametrize(
    ("ruling", "seq", "why"),
    [
        (["allowed", 0, 0, 0, 2], 2, ""),
        (["allowed", 0, 0, 0, 3], 2, "of 2 approvers, though its policy asks for 3 approvers"),
        (["", 0, 0, 0, 2], 2, "though its policy forbids it"),
        (["allowed", 0, 0, 0, 2], 3, "drafted under rollout 1, though 3 was in force there"),
    ],
)
def test_a_certificate_against_the_policy_in_force(ruling: list[Any], seq: int, why: str) -> None:
    story = Policies()
    story.roll(ONE, seq)
    rules = [bool(ruling[0]), *ruling[1:]]
    decided = story.decide(seq=seq, action="resume", order="c1", ruling=rules, stable=rules)
    taken = story.certify(ONE, "c1", "o1") - 1
    story.certify(TWO, "c1", "o1")
    if why:
        story.blamed(why, decided, taken)
    else:
        assert story.judged("S21").verdict is Verdict.VALID


@pytest.mark.parametrize(("lifted_at", "request_", "sound"), [(ONE, "req", False), (TWO, "req", True), (ONE, "another", True)])
def test_a_request_whose_order_was_lifted_makes_no_other(lifted_at: str, request_: str, sound: bool) -> None:
    story = Policies()
    story.start_all()
    story.learn(ONE, "o1", "ISOLATE")
    first = story.decide(ONE, order="o1")
    story.decide(ONE, action="resume", order="c1")
    story.certify(ONE, "c1", "o1")
    lifted = len(story.facts) - 1
    if lifted_at != ONE:
        story.learn(lifted_at, "o1", "ISOLATE")
    decider = TWO if lifted_at == TWO else ONE
    story.learn(decider, "o2", "HARD")
    again = story.decide(decider, order="o2", request=request_)
    if sound:
        assert story.judged("S21").verdict is Verdict.VALID, story.judged("S21").why
    else:
        story.blamed("of that request had been lifted there", first, lifted, again)


@pytest.mark.parametrize(
    ("requested", "other"),
    [([1, 1, SECOND], {"scope": ("tenant", "acme")}), ([1, 1, SECOND], {"reason": "other"}), ([1, 1, SECOND], {"cleanup": "compensate"}),
     ([1, 1, SECOND], {"issuer": "bob"}), ([1, 1, SECOND - 1], {}), ([1, 1, SECOND + 1], {}), ([2, 1, SECOND], {}), ([1, 2, SECOND], {})],
)  # fmt: skip
def test_one_name_for_stops_of_other_content_is_two_requests(requested: list[int], other: dict[str, Any]) -> None:
    story = Policies()
    story.start_all()
    story.learn(ONE, "o1", "ISOLATE")
    story.decide(ONE, order="o1")
    story.decide(ONE, action="resume", order="c1")
    story.certify(ONE, "c1", "o1")
    story.learn(ONE, "o2", "HARD", **other)
    story.decide(ONE, order="o2", requested=requested)
    assert story.judged("S21").verdict is Verdict.VALID


@pytest.mark.parametrize(("later_ns", "verdict"), [(0, Verdict.VALID), (HOST_LAG_NS, Verdict.VALID), (HOST_LAG_NS + 1, Verdict.INVALID)])
def test_one_that_came_with_a_message_that_somebody_made_up(later_ns: int, verdict: Verdict) -> None:
    """Live, the message is on record when it is put on the wire, and what it brings when its node gets round to it."""
    story = Policies()
    story.at(SECOND).say("hostile-input", ONE, sender="operator", what="a certificate", read=True)
    story.at(SECOND + later_ns).certify(ONE, "c1", "o1")
    assert story.judged("S21").verdict is verdict
