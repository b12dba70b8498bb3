"""S4 to S7, S11 and S13 on hand-made histories."""

from __future__ import annotations

import pytest

from harness.verdict import Verdict
from tests.unit.histories import AGENT, FIRST, SECOND, SIDECAR, Story

CLOSED_KILL = ("CLOSED", "KILL")
GRACE_NS = 8 * SECOND


# -- S4


def test_intent_may_grow_and_drop_what_is_covered() -> None:
    story = Story()
    story.learn("replica/1", "o1")
    story.certify("replica/1", "c1", "o1")
    story.intent("replica/1", ["o1"])
    story.intent("replica/1", ["o1", "o2"], ["c1"])
    story.intent("replica/1", ["o2"], ["c1"])
    assert (story.judged("S4").verdict, story.judged("S4").examined) == (Verdict.VALID, 2)


@pytest.mark.parametrize(("orders", "certificates"), [(["o2"], ["c1"]), (["o1", "o2"], [])])
def test_intent_that_shrinks_is_a_violation(orders: list[str], certificates: list[str]) -> None:
    story = Story()
    story.certify("replica/1", "c1", "o9")
    before = story.intent("replica/1", ["o1", "o2"], ["c1"])
    after = story.intent("replica/1", orders, certificates)
    finding = story.judged("S4")
    assert (finding.verdict, finding.witness) == (Verdict.INVALID, (before, after))


def test_what_was_durable_is_recovered() -> None:
    story = Story()
    story.learn("replica/1", "o1")
    durable = story.keep("replica/1", "o1")
    story.learn("replica/1", "o2")
    story.crash("replica/1")
    lost, good = Story(), Story()
    lost.facts, good.facts = list(story.facts), list(story.facts)
    recovered = lost.recover("replica/1", ["o2"])
    good.recover("replica/1", ["o1"])
    assert (lost.judged("S4").verdict, lost.judged("S4").witness) == (Verdict.INVALID, (durable, recovered))
    assert good.judged("S4").verdict is Verdict.VALID


# -- S5


def test_equal_sets_give_equal_digests_and_severity() -> None:
    story = Story()
    story.intent("replica/1", ["o1"])
    story.intent("replica/2", ["o1"])
    story.intent(SIDECAR, ["o1"], severity=CLOSED_KILL)
    assert (story.judged("S5").verdict, story.judged("S5").examined) == (Verdict.VALID, 2)


def test_another_digest_for_the_same_set_is_a_violation() -> None:
    story = Story()
    first = story.intent("replica/1", ["o1"])
    second = story.intent("replica/2", ["o1"], digest="other")
    assert story.judged("S5").witness == (first, second)


def test_another_severity_for_the_same_set_and_agent_is_a_violation() -> None:
    story = Story()
    first = story.intent(SIDECAR, ["o1", "o2"], severity=CLOSED_KILL)
    second = story.intent(SIDECAR, ["o1", "o2"], severity=("DRAIN", "STOP"))
    assert story.judged("S5").witness == (first, second)


# -- S6


def test_a_gate_opens_after_a_certificate_durable_at_the_sidecar() -> None:
    story = Story()
    story.learn(SIDECAR, "o1")
    story.certify(SIDECAR, "c1", "o1")
    story.lease()
    story.gate("OPEN")
    assert (story.judged("S6").verdict, story.judged("S6").examined) == (Verdict.VALID, 1)


def test_a_gate_that_opens_against_a_known_order_is_a_violation() -> None:
    story = Story()
    learned = story.learn(SIDECAR, "o1", "SOFT", grace_ns=GRACE_NS)
    story.lease()
    draining = story.gate("DRAIN", "DRAINING")
    opened = story.gate("OPEN")
    assert draining < opened
    assert story.judged("S6").witness == (learned, opened)


@pytest.mark.parametrize(("third", "verdict"), [(True, Verdict.VALID), (False, Verdict.INVALID)])
def test_a_gate_opens_only_on_a_quorum_that_knows_nothing_against_it(third: bool, verdict: Verdict) -> None:
    story = Story()
    story.learn("replica/1", "o1", "SOFT", grace_ns=GRACE_NS)
    story.lease()
    if third:
        story.grant("replica/3")
    story.gate("OPEN")
    assert story.judged("S6").verdict is verdict


@pytest.mark.parametrize(("then", "gate", "verdict"), [
    ("lifted", "OPEN", Verdict.INVALID), ("lifted", "DRAIN", Verdict.VALID), ("reaped", "OPEN", Verdict.VALID), ("restarted", "OPEN", Verdict.VALID),
])  # fmt: skip
def test_no_gate_opens_for_a_process_that_was_asked_to_stop(then: str, gate: str, verdict: Verdict) -> None:
    story = Story()
    story.start_all()
    story.learn(SIDECAR, "o1", "SOFT", grace_ns=GRACE_NS)
    termed = story.say("process-termed", SIDECAR, agent=AGENT, token=FIRST)
    story.certify(SIDECAR, "c1", "o1")
    if then == "reaped":
        story.reap()
    elif then == "restarted":
        story.crash(SIDECAR)
        story.start(SIDECAR, instance="b")
    story.lease()
    opened = story.gate(gate)
    finding = story.judged("S6")
    assert (finding.verdict, finding.witness) == (verdict, () if verdict is Verdict.VALID else (termed, opened))


@pytest.mark.parametrize(("cls", "verdict"), [("new", Verdict.INVALID), ("inflight", Verdict.VALID), ("undo", Verdict.VALID)])
def test_who_was_asked_to_stop_is_let_out_nothing_new(cls: str, verdict: Verdict) -> None:
    story = Story()
    story.start_all()
    story.lease()
    story.admit("new", "k0")
    termed = story.say("process-termed", SIDECAR, agent=AGENT, token=FIRST)
    admitted = story.admit(cls)
    finding = story.judged("S6")
    assert (finding.verdict, finding.witness) == (verdict, () if verdict is Verdict.VALID else (termed, admitted))


def test_a_granters_order_that_is_covered_anywhere_is_not_against_it() -> None:
    story = Story()
    story.learn("replica/1", "o1", "SOFT", grace_ns=GRACE_NS)
    story.lease()
    story.certify("replica/3", "c1", "o1")
    story.gate("OPEN")
    assert story.judged("S6").verdict is Verdict.VALID


def test_no_process_starts_against_a_known_order_that_ends_it() -> None:
    story = Story()
    learned = story.learn(SIDECAR, "o1", "QUIESCE")
    started = story.spawn()
    isolated = Story()
    isolated.learn(SIDECAR, "o1", "ISOLATE")
    isolated.spawn()
    assert story.judged("S6").witness == (learned, started)
    assert isolated.judged("S6").verdict is Verdict.VALID


@pytest.mark.parametrize(
    ("before", "verdict"),
    [
        ("durable", Verdict.INVALID),
        ("learned", Verdict.VALID),  # its record may lie behind that of the promise
        ("covered", Verdict.VALID),
        ("covered elsewhere", Verdict.INVALID),
        ("taught", Verdict.VALID),
    ],
)
def test_no_replica_promises_a_token_against_an_order_on_its_log(before: str, verdict: Verdict) -> None:
    story = Story()
    if before == "taught":
        story.say("log-cut", "replica/1", records=1, why="unreadable")
    story.learn("replica/1", "o1", "ISOLATE")
    kept = story.keep("replica/1", "o1") if before != "learned" else 0
    if before.startswith("covered"):
        story.certify("replica/1" if before == "covered" else "replica/2", "c1", "o1")
    promised = story.say("token-promised", "replica/1", agent=AGENT, token=FIRST)
    finding = story.judged("S6")
    assert (finding.verdict, finding.examined) == (verdict, 0 if before == "taught" else 1)
    assert verdict is Verdict.VALID or finding.witness == (kept, promised)


# -- S7


def test_a_sidecar_counts_every_order_that_no_certificate_lists() -> None:
    story = Story()
    story.learn(SIDECAR, "o1", "ISOLATE")
    story.learn(SIDECAR, "o2", "SOFT", grace_ns=GRACE_NS)
    story.certify(SIDECAR, "c1", "o1")
    story.intent(SIDECAR, ["o1", "o2"], severity=("CLOSED", "STOP"))
    story.intent(SIDECAR, ["o1", "o2"], ["c1"], severity=("DRAIN", "STOP"))
    assert (story.judged("S7").verdict, story.judged("S7").examined) == (Verdict.VALID, 2)


def test_an_order_outside_the_certificate_that_is_dropped_is_a_violation() -> None:
    story = Story()
    story.learn(SIDECAR, "o1")
    second = story.learn(SIDECAR, "o2")
    story.certify(SIDECAR, "c1", "o1")
    shown = story.intent(SIDECAR, ["o1", "o2"], ["c1"])
    finding = story.judged("S7")
    assert (finding.verdict, finding.witness) == (Verdict.INVALID, (second, shown))


def test_an_order_that_vanished_from_the_set_after_it_was_durable_is_still_counted() -> None:
    story = Story()
    story.learn(SIDECAR, "o1")
    durable = story.keep(SIDECAR, "o1")
    shown = story.intent(SIDECAR, [])
    assert story.judged("S7").witness == (durable, shown)


def test_a_replica_shows_global_orders_and_only_those() -> None:
    story = Story()
    story.learn("replica/1", "o1")
    story.intent("replica/1", ["o1"])
    assert story.judged("S7").verdict is Verdict.VALID
    story.learn("replica/1", "o2", scope=("global", ""))
    story.intent("replica/1", ["o1", "o2"])
    assert story.judged("S7").verdict is Verdict.INVALID


def test_a_replica_that_knows_a_hard_order_grants_nothing() -> None:
    story = Story()
    learned = story.learn("replica/1", "o1")
    story.ask()
    story.grant("replica/2")
    granted = story.grant("replica/1", len_ns=1)
    assert story.judged("S7").witness == (learned, granted)


@pytest.mark.parametrize(("len_ns", "verdict"), [(3 * SECOND, Verdict.VALID), (3 * SECOND + 1, Verdict.INVALID)])
def test_a_drain_is_leased_no_longer_than_grace_is_left_on_the_replicas_clock(len_ns: int, verdict: Verdict) -> None:
    story = Story()
    story.learn("replica/1", "o1", "SOFT", grace_ns=GRACE_NS, clock_ns=100)
    story.grant("replica/1", len_ns=len_ns, clock_ns=100 + 5 * SECOND)
    assert story.judged("S7").verdict is verdict


def test_no_grant_is_longer_than_a_lease() -> None:
    story = Story()
    granted = story.grant("replica/1", len_ns=5 * SECOND + 1)
    assert story.judged("S7").witness == (granted,)


def test_after_a_reboot_nothing_is_left_of_a_drain() -> None:
    story = Story()
    story.start("replica/1", boot="boot-1")
    story.learn("replica/1", "o1", "SOFT", grace_ns=GRACE_NS)
    story.keep("replica/1", "o1")
    story.crash("replica/1", power=True)
    story.start("replica/1", boot="boot-2")
    story.grant("replica/1", len_ns=1)
    assert story.judged("S7").verdict is Verdict.INVALID


# -- S11


def test_an_order_that_evidence_spoke_of_is_held_after_a_crash() -> None:
    lost, good = Story(), Story()
    story = lost
    evidence = story.prove("o1", "GATE_CLOSED")
    story.crash(SIDECAR)
    good.facts = list(lost.facts)
    recovered = lost.recover(SIDECAR)
    good.recover(SIDECAR, ["o1"])
    assert (lost.judged("S11").verdict, lost.judged("S11").witness) == (Verdict.INVALID, (evidence, recovered))
    assert (good.judged("S11").verdict, good.judged("S11").examined) == (Verdict.VALID, 1)


@pytest.mark.parametrize(("learners", "verdict"), [(3, Verdict.VALID), (2, Verdict.INVALID)])
def test_copies_that_were_told_are_not_lost(learners: int, verdict: Verdict) -> None:
    """With two copies told and three who knew, one may come back without it: it need not have been one of the two."""
    story = Story()
    for number in range(1, learners + 1):
        story.learn(f"replica/{number}", "o1")
    told = story.say("order-status", "operator", request="r1", order="o1", stage="EFFECTIVE", copies=2, keys=0)
    story.crash("replica/2")
    recovered = story.recover("replica/2")
    finding = story.judged("S11")
    assert finding.verdict is verdict
    assert verdict is Verdict.VALID or finding.witness == (told, recovered)


# -- S13


@pytest.mark.parametrize("authentic", [True, False])
def test_only_authentic_orders_and_certificates_are_taken_in(authentic: bool) -> None:
    orders, certificates = Story(), Story()
    orders.learn("replica/1", "o1", scope=("agent", AGENT), authentic=authentic)
    certificates.say("draft-sent", "replica/1", request="r", covers=["o1"], certificate="c1", heard=[])
    certificates.certify("replica/1", "c1", "o1", authentic=authentic)
    for story, taken_in in ((orders, 2), (certificates, 3)):
        finding = story.judged("S13")
        assert finding.verdict is (Verdict.VALID if authentic else Verdict.INVALID)
        assert (finding.examined, finding.witness) == (1, () if authentic else (taken_in,))


VALID_NS = 60 * SECOND


@pytest.mark.parametrize(("after_ns", "verdict"), [(VALID_NS, Verdict.VALID), (VALID_NS + 1, Verdict.INVALID)])
def test_a_certificate_is_let_in_before_its_end_and_spreads_for_ever(after_ns: int, verdict: Verdict) -> None:
    story = Story(approval_ns=VALID_NS)
    drafted = story.at(SECOND).say("draft-sent", "replica/1", request="r", covers=["o1"], certificate="c1", heard=[])
    story.at(SECOND + after_ns).certify("replica/1", "c1", "o1")
    learned = drafted + 1
    story.at(9 * VALID_NS).certify("replica/2", "c1", "o1")
    story.certify(SIDECAR, "c1", "o1")
    finding = story.judged("S13")
    assert (finding.verdict, finding.witness) == (verdict, () if verdict is Verdict.VALID else (drafted, learned))


def test_the_end_of_a_certificate_is_not_judged_by_a_clock_that_was_broken() -> None:
    story = Story(approval_ns=VALID_NS)
    story.fault("clock-drift", "replica/1")
    story.say("draft-sent", "replica/1", request="r", covers=["o1"], certificate="c1", heard=[])
    story.at(2 * VALID_NS).certify("replica/1", "c1", "o1")
    assert story.judged("S13").verdict is Verdict.VALID


ISOLATED, KILLED = [True, 2, 0, 0, 2], [True, 2, 2, 0, 2]


@pytest.mark.parametrize(("ruling", "asking", "askers", "canary", "verdict"), [
    (ISOLATED, 1, [], "", Verdict.VALID),
    (KILLED, 2, ["alice", "bob"], "", Verdict.VALID),
    (KILLED, 2, ["alice"], "", Verdict.INVALID),
    (KILLED, 1, [], "", Verdict.INVALID),
    (KILLED, 1, [], "c", Verdict.VALID),
    (ISOLATED, 3, ["alice", "bob"], "", Verdict.INVALID),
])  # fmt: skip
def test_a_stop_that_takes_several_keys_has_as_many_people(ruling: list[int], asking: int, askers: list[str], canary: str, verdict: Verdict) -> None:
    story = Story()
    story.ask_stop()
    decided = story.decide(order="o1", ruling=ruling, asking=asking, askers=askers, canary=canary)
    finding = story.judged("S13")
    assert (finding.verdict, finding.examined) == (verdict, 1)
    assert finding.witness == (() if verdict is Verdict.VALID else (decided,))


# -- S25


def test_whatever_was_learned_is_listed_until_a_certificate_covers_it() -> None:
    story = Story()
    story.learn("replica/1", "o1")
    story.learn("replica/1", "o2")
    story.intent("replica/1", ["o1", "o2"])
    story.certify("replica/1", "c1", "o1")
    story.intent("replica/1", ["o2"], ["c1"])
    assert (story.judged("S25").verdict, story.judged("S25").examined) == (Verdict.VALID, 4)


def test_an_order_that_was_heard_and_is_not_listed_has_expired() -> None:
    story = Story()
    learned = story.learn("replica/1", "o1")
    story.learn("replica/1", "o2")
    dropped = story.intent("replica/1", ["o2"])
    finding = story.judged("S25")
    assert (finding.verdict, finding.witness) == (Verdict.INVALID, (learned, dropped))


def test_what_a_crash_took_before_it_was_durable_has_not_expired() -> None:
    story = Story()
    story.learn("replica/1", "o1")
    story.crash("replica/1")
    story.recover("replica/1", [])
    story.intent("replica/1", [])
    assert story.judged("S25").verdict is Verdict.VALID


@pytest.mark.parametrize(("since", "sound"), [("clock-suspected", False), ("clock-trusted", True), ("restart", True)])
def test_s13_nothing_is_let_in_by_a_clock_that_is_doubted(since: str, sound: bool) -> None:
    story = Story(approval_ns=VALID_NS)
    story.start_all()
    story.fault("clock-drift", "replica/1")
    story.say("draft-sent", "replica/1", request="r", covers=["o1"], certificate="c1", heard=[])
    doubted = story.say("clock-suspected", "replica/1", peers=["replica/2", "replica/3"])
    if since == "clock-trusted":
        story.say("clock-trusted", "replica/1")
    elif since == "restart":
        story.crash("replica/1")
        story.start("replica/1", instance="b")
    taken = story.certify("replica/1", "c1", "o1") - 1
    finding = story.judged("S13")
    assert finding.verdict is (Verdict.VALID if sound else Verdict.INVALID), finding.why
    assert sound or finding.witness == (doubted, taken)


def test_s13_what_a_peer_had_let_in_may_be_taken_in_by_whoever_doubts_his_clock() -> None:
    story = Story(approval_ns=VALID_NS)
    story.start_all()
    story.say("clock-suspected", "replica/1", peers=["replica/2", "replica/3"])
    story.say("draft-sent", "replica/2", request="r", covers=["o1"], certificate="c1", heard=[])
    story.certify("replica/2", "c1", "o1")
    story.certify("replica/1", "c1", "o1")
    assert story.judged("S13").verdict is Verdict.VALID
