"""S8 and S20 on hand-made histories."""

from __future__ import annotations

from typing import Any

import pytest

from harness.verdict import Verdict
from tests.unit.histories import AGENT, BANK, FIRST, HARD_NS, LEDGER, SECOND, SECOND_START, SIDECAR, Story

# L / (1 - rho), and P / (1 + rho) for the class C sink.
WAIT_NS = HARD_NS + 416_666_666


def told(story: Story, stage: str, token: list[Any] | None = None, order: str = "o1") -> int:
    return story.say("agent-status", "operator", order=order, agent=AGENT, token=token or FIRST, stage=stage)


def order_told(story: Story, stage: str, copies: int) -> int:
    return story.say("order-status", "operator", request="r1", order="o1", stage=stage, copies=copies, keys=0)


# -- S20: orders


def test_effective_means_k_durable_copies() -> None:
    story = Story()
    story.effective("o1")
    order_told(story, "EFFECTIVE", 2)
    assert (story.judged("S20").verdict, story.judged("S20").examined) == (Verdict.VALID, 1)


@pytest.mark.parametrize(("stage", "copies"), [("EFFECTIVE", 1), ("ACCEPTED", 2), ("ACCEPTED", 3)])
def test_more_copies_told_than_made_is_a_violation(stage: str, copies: int) -> None:
    story = Story()
    story.learn("replica/1", "o1")
    durable = story.keep("replica/1", "o1")
    shown = order_told(story, stage, copies)
    assert story.judged("S20").witness == (durable, shown)


@pytest.mark.parametrize(("covered", "verdict"), [("o1", Verdict.VALID), ("o2", Verdict.INVALID)])
def test_an_order_is_said_to_be_lifted_only_when_a_certificate_covers_it(covered: str, verdict: Verdict) -> None:
    story = Story()
    learned = story.learn("replica/1", "o1")
    story.learn("replica/1", "o2")
    story.certify("replica/2", "c1", covered)
    said = order_told(story, "ALREADY_COVERED", 0)
    finding = story.judged("S20")
    assert finding.verdict is verdict
    assert verdict is Verdict.VALID or finding.witness == (learned, said)


def test_a_refusal_is_a_status_of_no_order() -> None:
    story = Story()
    story.say("order-status", "operator", request="r1", order="", stage="REFUSED", copies=0, keys=0)
    assert (story.judged("S20").verdict, story.judged("S20").examined) == (Verdict.VALID, 0)


# -- S20: agents


def test_a_stage_stands_on_evidence_for_that_token() -> None:
    story = Story()
    story.learn(SIDECAR, "o1")
    story.prove("o1", "GATE_CLOSED", FIRST)
    told(story, "GATE_CLOSED", FIRST)
    assert story.judged("S20").verdict is Verdict.VALID
    shown = told(story, "GATE_CLOSED", SECOND_START)
    assert story.judged("S20").witness == (shown,)


def test_stopped_is_proven_only_when_the_process_is_gone() -> None:
    story = Story()
    started = story.spawn()
    early = Story()
    early.facts = list(story.facts)
    proof = early.prove("o1", "STOPPED_FORCED")
    assert early.judged("S20").witness == (started, proof)
    story.reap()
    story.prove("o1", "STOPPED_FORCED")
    assert story.judged("S20").verdict is Verdict.VALID


@pytest.mark.parametrize(("other", "verdict"), [("ISOLATE", Verdict.INVALID), ("SOFT", Verdict.VALID)])
def test_an_isolated_agent_is_never_shown_as_stopped(other: str, verdict: Verdict) -> None:
    story = Story()
    story.learn(SIDECAR, "o1", "ISOLATE")
    story.learn(SIDECAR, "o2", other)
    story.prove("o1", "STOPPED_CLEAN")
    told(story, "STOPPED_CLEAN")
    assert story.judged("S20").verdict is verdict


def test_fenced_means_every_fenced_sink() -> None:
    partly, wholly = Story(sinks={LEDGER: "F", "sink/acme/vault": "F"}), Story()
    partly.fence(SECOND_START, LEDGER)
    shown = told(partly, "FENCED")
    wholly.fence(SECOND_START, LEDGER)
    told(wholly, "FENCED")
    assert partly.judged("S20").witness == (shown,)
    assert wholly.judged("S20").verdict is Verdict.VALID


@pytest.mark.parametrize(("known_first", "fence", "verdict"), [
    (False, SECOND_START, Verdict.INVALID), (False, [1, 3, ""], Verdict.VALID), (True, SECOND_START, Verdict.VALID),
])  # fmt: skip
def test_fenced_shuts_out_the_start_that_ran_when_the_order_came(known_first: bool, fence: list[Any], verdict: Verdict) -> None:
    story = Story()
    story.fence(SECOND_START)
    if known_first:
        story.learn("replica/1", "o1")
    started = story.spawn(SECOND_START)
    if not known_first:
        story.learn("replica/1", "o1")
    story.fence(fence)
    shown = told(story, "FENCED", fence)
    finding = story.judged("S20")
    assert finding.verdict is verdict
    assert verdict is Verdict.VALID or finding.witness == (started, shown)


# -- S20: declarations


def declare(story: Story, order: str = "o1") -> int:
    return story.say("declared", "replica/1", order=order, agent=AGENT, token=FIRST)


@pytest.mark.parametrize(("waited_ns", "verdict"), [(WAIT_NS, Verdict.VALID), (WAIT_NS - 1, Verdict.INVALID)])
def test_a_declaration_waits_out_every_lease_and_challenge(waited_ns: int, verdict: Verdict) -> None:
    story = Story()
    story.effective("o1")
    declared = declare(story.at(waited_ns))
    finding = story.judged("S20")
    assert finding.verdict is verdict
    assert verdict is Verdict.VALID or finding.witness == (2, 4, declared)


@pytest.mark.parametrize(("replica", "verdict"), [("replica/1", Verdict.INVALID), ("replica/2", Verdict.VALID)])
def test_a_declaration_speaks_of_what_its_replica_promised(replica: str, verdict: Verdict) -> None:
    story = Story()
    promised = story.say("token-promised", replica, agent=AGENT, token=SECOND_START)
    story.effective("o1")
    declared = declare(story.at(WAIT_NS))
    finding = story.judged("S20")
    assert finding.verdict is verdict
    assert verdict is Verdict.VALID or finding.witness == (promised, declared)


def test_a_restarted_replica_waits_anew_and_a_paused_one_does_not() -> None:
    restarted, paused = Story(), Story()
    restarted.effective("o1")
    paused.effective("o1")
    restarted.at(SECOND).crash("replica/2")
    restarted.start("replica/2")
    paused.at(SECOND).say("node-paused", "replica/2")
    paused.say("node-resumed", "replica/2")
    for story in (restarted, paused):
        story.at(WAIT_NS)
        declare(story)
    assert restarted.judged("S20").verdict is Verdict.INVALID
    assert paused.judged("S20").verdict is Verdict.VALID


def test_after_a_declaration_that_token_admits_nothing_and_a_later_one_may() -> None:
    story = Story()
    story.effective("o1")
    story.at(WAIT_NS)
    declared = declare(story)
    story.admit(token=SECOND_START)
    assert story.judged("S20").verdict is Verdict.VALID
    admission = story.admit(token=FIRST)
    assert story.judged("S20").witness == (declared, admission)


def test_presumed_stopped_stands_on_a_declaration() -> None:
    story = Story()
    story.effective("o1")
    shown = told(story, "PRESUMED_STOPPED")
    assert story.judged("S20").witness == (shown,)
    good = Story()
    good.effective("o1")
    good.at(WAIT_NS)
    declare(good)
    told(good, "PRESUMED_STOPPED")
    assert good.judged("S20").verdict is Verdict.VALID


@pytest.mark.parametrize(("waited_ns", "verdict"), [(WAIT_NS, Verdict.VALID), (WAIT_NS - 1, Verdict.INVALID)])
def test_a_wait_that_was_over_before_a_restart_was_one(waited_ns: int, verdict: Verdict) -> None:
    story = Story()
    story.start_all()
    story.effective("o1")
    story.at(waited_ns)
    for replica in ("replica/1", "replica/2", "replica/3"):
        story.crash(replica)
        story.start(replica, boot="boot-2", instance="b")
        story.recover(replica, ["o1"])
    declare(story)
    assert story.judged("S20").verdict is verdict


def test_a_broken_replica_clock_takes_the_declaration_out() -> None:
    story = Story()
    story.effective("o1")
    story.fault("clock-drift", "replica/2")
    declare(story)
    assert (story.judged("S20").verdict, story.judged("S20").why[:9]) == (Verdict.VALID, "1 skipped")


# -- S8


def test_applied_tokens_never_decrease_at_a_fenced_sink() -> None:
    story = Story()
    story.apply(token=FIRST)
    second = story.apply(token=SECOND_START, key="k2")
    story.apply(BANK, token=FIRST, key="k3")
    assert (story.judged("S8").verdict, story.judged("S8").examined) == (Verdict.VALID, 2)
    third = story.apply(token=FIRST, key="k4")
    assert story.judged("S8").witness == (second, third)


def test_nothing_is_admitted_under_a_token_after_a_higher_one_was_opened() -> None:
    story = Story()
    for replica in ("replica/1", "replica/2"):
        story.say("start-readied", replica, agent=AGENT, token=SECOND_START)
    opened = story.say("token-opened", SIDECAR, agent=AGENT, token=SECOND_START, predecessor=FIRST)
    admission = story.admit(token=FIRST)
    assert story.judged("S8").witness == (opened, admission)


def fenced_start(story: Story, token: list[Any]) -> int:
    story.fence(token)
    return story.spawn(token)


def started_again(story: Story, at_ns: int) -> int:
    return fenced_start(story.at(at_ns), SECOND_START)


@pytest.mark.parametrize(("fenced", "verdict"), [(SECOND_START, Verdict.VALID), (FIRST, Verdict.INVALID)])
def test_a_process_starts_when_every_sink_is_fenced_at_its_token(fenced: list[Any], verdict: Verdict) -> None:
    story = Story(sinks={LEDGER: "F", "sink/acme/archive": "F"})
    story.fence(SECOND_START)
    story.fence(fenced, "sink/acme/archive")
    started = story.spawn(SECOND_START)
    finding = story.judged("S8")
    assert finding.verdict is verdict
    assert verdict is Verdict.VALID or finding.witness == (started,)


@pytest.mark.parametrize(("waited_ns", "verdict"), [(WAIT_NS, Verdict.VALID), (WAIT_NS - 1, Verdict.INVALID)])
def test_a_successor_waits_for_the_last_lease_of_its_predecessor(waited_ns: int, verdict: Verdict) -> None:
    story = Story()
    asked, _, _ = story.lease()
    first = fenced_start(story, FIRST)
    second = started_again(story, waited_ns)
    finding = story.judged("S8")
    assert finding.verdict is verdict
    assert verdict is Verdict.VALID or finding.witness == (asked, first, second)


@pytest.mark.parametrize(("token", "verdict"), [(SECOND_START, Verdict.INVALID), ([1, 3, "c"], Verdict.VALID)])
@pytest.mark.parametrize("over", ["reaped", "proven"])
def test_no_process_starts_under_a_token_that_is_over(over: str, token: list[Any], verdict: Verdict) -> None:
    story = Story(sinks={LEDGER: "F"})
    fenced_start(story, FIRST)
    said = story.reap(SECOND_START) if over == "reaped" else story.prove("o1", "STOPPED_FORCED", SECOND_START)
    started = fenced_start(story, token)
    finding = story.judged("S8")
    assert finding.verdict is verdict
    assert verdict is Verdict.VALID or finding.witness == (said, started)


@pytest.mark.parametrize("proof", ["reaped", "evidence", "fenced"])
def test_proof_or_fences_spare_the_wait(proof: str) -> None:
    story = Story(sinks={LEDGER: "F", BANK: "U"} if proof != "fenced" else {LEDGER: "F"})
    story.lease()
    fenced_start(story, FIRST)
    if proof == "reaped":
        story.reap(FIRST)
    elif proof == "evidence":
        story.prove("o1", "STOPPED_CLEAN", FIRST)
    else:
        story.fence(SECOND_START)
    started_again(story, SECOND)
    assert story.judged("S8").verdict is Verdict.VALID


def test_a_fence_does_not_spare_the_wait_where_a_sink_cannot_be_fenced() -> None:
    story = Story()
    story.lease()
    story.spawn(FIRST)
    story.fence(SECOND_START)
    started_again(story, SECOND)
    assert story.judged("S8").verdict is Verdict.INVALID


# -- promises


@pytest.mark.parametrize("breach", ["promise-sent", "grant"])
def test_a_replica_keeps_its_promises_through_every_crash(breach: str) -> None:
    story = Story()
    story.start_all()
    story.grant("replica/1", token=FIRST)
    promised = story.say("promise-sent", "replica/1", agent=AGENT, token=SECOND_START)
    story.grant("replica/2", token=FIRST)
    story.say("promise-sent", "replica/2", agent=AGENT, token=FIRST)
    story.crash("replica/1", power=True)
    story.start("replica/1", boot="boot-2", instance="b")
    assert story.judged("S8").verdict is Verdict.VALID
    broken = story.grant("replica/1", token=FIRST) if breach == "grant" else story.say("promise-sent", "replica/1", agent=AGENT, token=FIRST)
    assert (story.judged("S8").verdict, story.judged("S8").witness) == (Verdict.INVALID, (promised, broken))


def test_a_proof_of_an_earlier_start_proves_nothing_of_this_one() -> None:
    story = Story()
    story.effective("o1", "ISOLATE")
    story.spawn(FIRST)
    story.reap(FIRST)
    started = story.spawn(SECOND_START)
    story.prove("o1", "GATE_CLOSED", SECOND_START)
    assert story.judged("S20").verdict is Verdict.VALID
    proof = story.prove("o1", "GATE_CLOSED", FIRST)
    assert story.judged("S20").witness == (started, proof)


# -- a wait, by the clock of who waits

OWN_NS = 5 * SECOND * 12 // 8 + SECOND // 2  # L (1 + rho) / (1 - rho) with rho = 20 %, and P


def waiting(story: Story) -> int:
    story.start_all()
    learned = story.at(SECOND).learn("replica/1", "o1", "HARD", clock_ns=77)
    story.keep("replica/1", "o1")
    return learned


def outwaited(story: Story, clock_ns: int) -> int:
    return story.say("vouched", "replica/1", clock_ns=clock_ns, what="wait", about="o1")


@pytest.mark.parametrize(("early_ns", "verdict"), [(0, Verdict.VALID), (1, Verdict.INVALID)])
def test_a_wait_is_over_by_ones_own_clock_whatever_was_broken(early_ns: int, verdict: Verdict) -> None:
    story = Story()
    story.fault("clock-step", "replica/1")
    learned = waiting(story)
    said = outwaited(story, 77 + OWN_NS - early_ns)
    finding = story.judged("S20")
    assert finding.verdict is verdict
    assert verdict is Verdict.VALID or finding.witness == (learned, said)


@pytest.mark.parametrize(("before_ns", "after_ns", "verdict"), [
    (OWN_NS, 0, Verdict.VALID), (OWN_NS - 1, OWN_NS, Verdict.VALID), (OWN_NS - 1, OWN_NS - 1, Verdict.INVALID),
])  # fmt: skip
def test_a_wait_is_measured_at_a_stretch_without_a_doubt(before_ns: int, after_ns: int, verdict: Verdict) -> None:
    story = Story()
    learned = waiting(story)
    story.say("clock-suspected", "replica/1", clock_ns=77 + before_ns, peers=["replica/2", "replica/3"])
    story.say("clock-trusted", "replica/1", clock_ns=77 + before_ns + 9 * SECOND)
    said = outwaited(story, 77 + before_ns + 9 * SECOND + after_ns)
    finding = story.judged("S20")
    assert finding.verdict is verdict, finding.why
    assert verdict is Verdict.VALID or finding.witness == (learned, said)


@pytest.mark.parametrize(("after_ns", "verdict"), [(OWN_NS, Verdict.VALID), (OWN_NS - 1, Verdict.INVALID)])
def test_a_restarted_replica_measures_its_wait_anew(after_ns: int, verdict: Verdict) -> None:
    story = Story()
    waiting(story)
    story.at(60 * SECOND).crash("replica/1")
    started = story.say("node-started", "replica/1", clock_ns=500 * SECOND, boot="boot-1", instance="b", records=1)
    story.recover("replica/1", ["o1"])
    outwaited(story, 500 * SECOND + after_ns)
    assert started and story.judged("S20").verdict is verdict


@pytest.mark.parametrize(
    ("then", "restarts", "verdict"),
    [
        ((FIRST, "STOPPED_CLEAN"), False, Verdict.VALID),
        ((FIRST, "DRAINING"), False, Verdict.INVALID),
        ((FIRST, "DRAINING"), True, Verdict.VALID),  # which knows nothing of what it had taken in
        (([1, 2, "i2"], "GATE_CLOSED"), False, Verdict.VALID),
    ],
)
def test_s20_a_replica_gives_up_no_proof_for_one_that_says_less(then: tuple[list[Any], str], restarts: bool, verdict: Verdict) -> None:
    story = Story()
    story.start_all()
    first = story.say("evidence-taken", "replica/1", agent=AGENT, token=FIRST, order="o1", stage="STOPPED_CLEAN")
    if restarts:
        story.start("replica/1")
    second = story.say("evidence-taken", "replica/1", agent=AGENT, token=then[0], order="o1", stage=then[1])
    finding = story.judged("S20")
    assert finding.verdict is verdict
    assert verdict is Verdict.VALID or finding.witness == (first, second)


@pytest.mark.parametrize(
    ("what", "verdict"),
    [("told", Verdict.VALID), ("untold", Verdict.INVALID), ("ended before", Verdict.VALID), ("asked of another", Verdict.VALID),
     ("struck", Verdict.VALID), ("restarted", Verdict.VALID)],
)  # fmt: skip
def test_s20_who_ordered_is_told_of_every_proof_that_the_replica_which_let_it_in_takes(what: str, verdict: Verdict) -> None:
    story = Story()
    story.start_all()
    story.decide("replica/2" if what == "asked of another" else "replica/1", order="o1")
    if what == "struck":
        story.fault("partition", "operator", "replica/1")
    story.say("evidence-sent", SIDECAR, agent=AGENT, token=FIRST, order="o1", stage="DRAINING")
    taken = story.say("evidence-taken", "replica/1", agent=AGENT, token=FIRST, order="o1", stage="DRAINING")
    if what == "told":
        told(story, "DRAINING")
    if what == "restarted":
        story.start("replica/1", boot="boot-2")
    story.at(1 * SECOND if what == "ended before" else 600 * SECOND).say("intent", SIDECAR, digest="", orders=[], certificates=[], gate=0, life=0)
    finding = story.judged("S20")
    assert finding.verdict is verdict
    assert verdict is Verdict.VALID or finding.witness == (taken,)


@pytest.mark.parametrize(("then", "named", "verdict"), [
    ("", ["t1"], Verdict.VALID), ("", [], Verdict.INVALID), ("", ["t1", "t2"], Verdict.INVALID), ("reaped anew", [], Verdict.VALID),
    ("disk lost", [], Verdict.VALID),
])  # fmt: skip
def test_s20_every_proof_of_a_stop_names_what_the_stop_left_in_doubt(then: str, named: list[str], verdict: Verdict) -> None:
    story = Story()
    reaped = story.say("doubts-named", SIDECAR, agent=AGENT, token=FIRST, what="REAPED", in_doubt=["t1"])
    story.say("doubts-named", SIDECAR, agent=AGENT, token=FIRST, what="STOPPED_FORCED", in_doubt=["t1"])
    if then == "reaped anew":
        story.say("doubts-named", SIDECAR, agent=AGENT, token=FIRST, what="REAPED", in_doubt=[])
    elif then == "disk lost":
        story.fault("disk-lost", SIDECAR)
    story.start(SIDECAR, boot="boot-2")
    proof = story.say("doubts-named", SIDECAR, agent=AGENT, token=FIRST, what="STOPPED_FORCED", in_doubt=named)
    finding = story.judged("S20")
    assert finding.verdict is verdict, finding.why
    assert verdict is Verdict.VALID or finding.witness == (reaped, proof)
