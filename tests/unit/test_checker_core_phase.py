"""Two phases of recovery: what is owed among those who are healed first is owed before all are."""

from __future__ import annotations

import pytest
from msgspec import structs

from harness.checkers.bounds import Bounds
from harness.checkers.core_phase import joined
from harness.checkers.delivery import Delivery
from harness.verdict import Finding, Verdict
from tests.unit.histories import AGENT, PARAMETERS, SECOND, SIDECAR, Story

CORE = ("replica/1", "replica/2", SIDECAR, f"agent/{AGENT}", "sink/acme/ledger", "sink/acme/bank", "operator")
HEALED_NS = 10 * SECOND
DUE_NS = HEALED_NS + Bounds.of(PARAMETERS).propagation_ns


def healed_in_two(learned_ns: int | None, *, holders: tuple[str, ...] = ("replica/1", "replica/2"), over_ns: int = DUE_NS + SECOND) -> Story:
    """An order is durable at ``holders``; the core is healed, then everybody, and the sidecar hears of it then or before."""
    story = Story()
    topology = story.facts[-1]
    story.facts[-1] = structs.replace(topology, body={**topology.body, "core": list(CORE)})
    story.start_all()
    for replica in holders:
        story.learn(replica, "o1")
        story.keep(replica, "o1")
    story.at(HEALED_NS).say("core-healed", "world", members=list(CORE))
    if learned_ns is not None:
        story.at(learned_ns).learn(SIDECAR, "o1")
    story.at(over_ns).heal()
    if learned_ns is None:
        story.at(over_ns + 1).learn(SIDECAR, "o1")
    return story.at(over_ns + 600 * SECOND).end()


@pytest.mark.parametrize(("learned_ns", "verdict"), [(DUE_NS, Verdict.VALID), (DUE_NS + 1, Verdict.INVALID), (None, Verdict.INVALID)])
def test_delivery_is_due_in_the_core_while_the_rest_is_broken(learned_ns: int | None, verdict: Verdict) -> None:
    finding = healed_in_two(learned_ns).judged("L1")
    assert finding.verdict is verdict
    assert finding.why.startswith("in the healed core: ") is (verdict is Verdict.INVALID)
    assert finding.examined == 2


def test_what_only_the_rest_knows_is_not_owed_in_the_core() -> None:
    assert healed_in_two(None, holders=("replica/3",)).judged("L1").verdict is Verdict.VALID


def test_a_phase_that_is_too_short_leaves_it_undecided_and_one_that_never_ended_says_nothing() -> None:
    short = healed_in_two(None, over_ns=DUE_NS - SECOND).judged("L1")
    assert short.verdict is Verdict.UNKNOWN
    story = healed_in_two(DUE_NS)
    story.facts = [fact for fact in story.facts if fact.kind != "healed"]
    assert "in the healed core" not in story.judged("L1").why


def working_again(mode: str, *, ordered: bool = False, hostile: bool = False) -> Story:
    """An agent of the core, whose sidecar is in that mode long after the core was healed."""
    story = Story()
    topology = story.facts[-1]
    story.facts[-1] = structs.replace(topology, body={**topology.body, "core": list(CORE)})
    story.start_all()
    story.gate("CLOSED", "STANDBY")
    if ordered:
        story.effective("o1", "ISOLATE")
    if hostile:
        story.say("hostile-input", SIDECAR, sender="replica/1", what="forged", read=True)
    story.at(HEALED_NS).say("core-healed", "world", members=list(CORE))
    story.at(HEALED_NS + SECOND).gate("OPEN" if mode == "RUNNING" else "CLOSED", mode)
    story.at(HEALED_NS + Bounds.of(PARAMETERS).restart_ns + SECOND).heal()
    story.gate("OPEN", "RUNNING")
    return story.at(600 * SECOND).end()


def test_whom_no_order_concerns_runs_with_the_core_alone() -> None:
    assert working_again("RUNNING").judged("L5").verdict is Verdict.VALID
    assert working_again("RUNNING").judged("L5").examined == 2
    stuck = working_again("STANDBY").judged("L5")
    assert stuck.verdict is Verdict.INVALID
    assert stuck.why.startswith("in the healed core: ")


def test_who_is_ordered_to_wait_or_may_have_read_that_he_is_owes_nothing() -> None:
    assert working_again("STANDBY", ordered=True).judged("L5").verdict is Verdict.VALID
    assert working_again("STANDBY", hostile=True).judged("L5").verdict is Verdict.VALID


def escalating(after_ns: int | None, *, healed: bool = True) -> Story:
    """A replica whose disk a fault struck knows of a soft stop, is healed with the core, and escalates so much later, if at all."""
    story = Story()
    story.start_all()
    story.say("token-promised", "replica/1", agent=AGENT, token=[1, 1, "a"])
    story.at(SECOND).fault("disk-slow", "replica/1")
    story.learn("replica/1", "o1", "SOFT", grace_ns=SECOND)
    story.at(HEALED_NS)
    if healed:
        story.say("core-healed", "world", members=list(CORE))
    if after_ns is not None:
        story.at(HEALED_NS + after_ns).say("escalated", "replica/1", parent="o1", child="o2", agent=AGENT)
    return story.at(600 * SECOND).end()


def test_a_replica_of_the_core_escalates_alone() -> None:
    due_ns = Bounds.of(PARAMETERS).escalation_ns(SECOND)
    assert escalating(due_ns).judged("L3").verdict is Verdict.VALID
    assert escalating(due_ns + 1).judged("L3").verdict is Verdict.INVALID
    assert escalating(None).judged("L3").verdict is Verdict.INVALID
    assert escalating(None, healed=False).judged("L3").verdict is Verdict.VALID


def test_a_violation_in_either_phase_is_one() -> None:
    good, bad = (Finding(invariant="L1", verdict=verdict, why=verdict.value, examined=1) for verdict in (Verdict.VALID, Verdict.INVALID))
    unknown = Finding(invariant="L1", verdict=Verdict.UNKNOWN)
    assert joined(good, None, "in the healed core") is good
    assert (joined(good, good, "in the healed core").verdict, joined(good, good, "in the healed core").examined) == (Verdict.VALID, 2)
    assert joined(good, bad, "in the healed core").why == "in the healed core: invalid"
    assert joined(bad, good, "in the healed core").why == joined(bad, bad, "in the healed core").why == "invalid"
    assert joined(good, unknown, "in the healed core").verdict is Verdict.UNKNOWN
    assert joined(bad, unknown, "in the healed core").verdict is Verdict.INVALID


@pytest.mark.parametrize("part", ["see", "finish"])
def test_a_checker_that_fails_in_the_core_silences_nobody_else(monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Delivery, part, fail)
    story = healed_in_two(DUE_NS)
    assert story.judged("L1").verdict is Verdict.UNKNOWN
    assert story.judged("L10").verdict is not Verdict.UNKNOWN


@pytest.mark.parametrize(("lifted", "verdict"), [("by the rest", Verdict.VALID), ("in the core", Verdict.INVALID), ("nowhere", Verdict.INVALID)])
def test_a_certificate_of_the_rest_is_not_owed_in_the_core(lifted: str, verdict: Verdict) -> None:
    """The sidecar holds no order in force: it has a certificate of a replica outside, or of all, or knows nothing."""
    story = Story()
    topology = story.facts[-1]
    story.facts[-1] = structs.replace(topology, body={**topology.body, "core": list(CORE)})
    story.start_all()
    for node in CORE[:2] if lifted == "nowhere" else CORE[:3]:
        story.learn(node, "o1", "ISOLATE")
        story.intent(node, ["o1"])
    if lifted == "by the rest":
        story.certify("replica/3", "c1", "o1")
        story.certify(SIDECAR, "c1", "o1")
        story.intent(SIDECAR, ["o1"], ["c1"])
    elif lifted == "in the core":
        for replica in CORE[:2]:
            story.certify(replica, "c1", "o1")
            story.intent(replica, ["o1"], ["c1"])
    story.at(HEALED_NS).say("core-healed", "world", members=list(CORE))
    story.at(DUE_NS + SECOND).heal()
    for node in ("replica/1", "replica/2", "replica/3", SIDECAR):
        story.learn(node, "o1", "ISOLATE")
        story.certify(node, "c1", "o1")
        story.intent(node, ["o1"], ["c1"])
    finding = story.at(600 * SECOND).end().judged("L10")
    assert finding.verdict is verdict
    assert finding.why.startswith("in the healed core: ") is (verdict is Verdict.INVALID)
