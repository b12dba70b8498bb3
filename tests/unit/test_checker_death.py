"""L2 and L3 on hand-made histories: processes that have to end, sinks that have to be fenced, and soft stops that become hard ones."""

from __future__ import annotations

from typing import Any

import pytest

from harness.checkers.bounds import Bounds, stretch
from harness.verdict import Verdict
from tests.unit.histories import AGENT, FIRST, PARAMETERS, SECOND, SECOND_START, SIDECAR, Story

BOUNDS = Bounds.of(PARAMETERS)
GRACE_NS = 8 * SECOND
HEALED_NS = 10 * SECOND
DUE_NS = HEALED_NS + BOUNDS.propagation_ns


# -- L2


def ordered(severity: str, grace_ns: int = 0) -> Story:
    story = Story()
    story.start_all()
    story.spawn()
    story.learn(SIDECAR, "o1", severity, grace_ns=grace_ns)
    return story


@pytest.mark.parametrize(("late_ns", "verdict"), [(0, Verdict.VALID), (1, Verdict.INVALID)])
def test_a_killed_process_is_gone_within_kappa(late_ns: int, verdict: Verdict) -> None:
    story = ordered("HARD")
    reaped = story.at(BOUNDS.death_ns + late_ns).reap()
    finding = story.judged("L2")
    assert (finding.verdict, finding.observed_ns, finding.bound_ns) == (verdict, BOUNDS.death_ns + late_ns, BOUNDS.death_ns)
    assert verdict is Verdict.VALID or finding.witness == (9, reaped)


def test_a_process_that_is_never_gone_is_a_violation_once_the_time_is_over() -> None:
    assert ordered("HARD").at(BOUNDS.death_ns + 1).end().judged("L2").verdict is Verdict.INVALID
    cut_short = ordered("HARD").at(BOUNDS.death_ns).end().judged("L2")
    assert (cut_short.verdict, cut_short.examined) == (Verdict.VALID, 0)


@pytest.mark.parametrize(
    ("fault", "verdict"),
    [
        ("", Verdict.INVALID),
        ("partition", Verdict.INVALID),
        ("slow-node", Verdict.VALID),
        ("slow-node until it was learned", Verdict.INVALID),
        ("slow-node until it was said", Verdict.VALID),
    ],
)
def test_that_it_cannot_be_ended_is_said_late_only_by_who_is_slowed(fault: str, verdict: Verdict) -> None:
    story = Story()
    story.start_all()
    story.spawn()
    what, _, until = fault.partition(" ")
    if what:
        story.fault(what, SIDECAR)
    story.fault("unkillable", f"agent/{AGENT}", fault="f2")
    if until == "until it was learned":
        story.say("fault-off", "world", fault="f1", what=what)
    story.learn(SIDECAR, "o1", "HARD")
    if until == "until it was said":
        story.say("fault-off", "world", fault="f1", what=what)
    story.at(BOUNDS.death_ns + 1).prove("o1", "KILL_FAILED")
    assert story.judged("L2").verdict is verdict


def test_the_time_of_a_paused_sidecar_does_not_count() -> None:
    story = ordered("HARD")
    story.say("node-paused", SIDECAR)
    story.at(60 * SECOND).say("node-resumed", SIDECAR)
    story.at(60 * SECOND + BOUNDS.death_ns).reap()
    finding = story.judged("L2")
    assert (finding.verdict, finding.observed_ns) == (Verdict.VALID, BOUNDS.death_ns)


def test_the_death_of_the_agents_node_is_the_end_of_its_process() -> None:
    story = ordered("HARD").at(BOUNDS.death_ns)
    story.crash(f"agent/{AGENT}")
    story.at(60 * SECOND).reap()
    assert (story.judged("L2").verdict, story.judged("L2").examined) == (Verdict.VALID, 1)


@pytest.mark.parametrize("excuse", ["crash", "certificate", "soft", "dead before"])
def test_what_need_not_die_by_then(excuse: str) -> None:
    story = ordered("SOFT" if excuse == "soft" else "HARD", grace_ns=300 * SECOND)
    if excuse == "crash":
        story.crash(SIDECAR)
    elif excuse == "certificate":
        story.certify(SIDECAR, "c1", "o1")
    elif excuse == "dead before":
        story = Story()
        story.learn(SIDECAR, "o1")
    story.at(60 * SECOND).end()
    assert (story.judged("L2").verdict, story.judged("L2").examined) == (Verdict.VALID, 0)


# -- L3

SOFT_DEATH_NS = stretch(GRACE_NS, PARAMETERS["drift_ppm"]) + BOUNDS.death_ns


@pytest.mark.parametrize("word", ["killed", "reaped"])
@pytest.mark.parametrize(("late_ns", "verdict"), [(0, Verdict.VALID), (1, Verdict.INVALID)])
def test_a_soft_stop_ends_by_itself_or_by_force(word: str, late_ns: int, verdict: Verdict) -> None:
    story = ordered("SOFT", GRACE_NS).at(SOFT_DEATH_NS + late_ns)
    if word == "killed":
        story.kill()
    else:
        story.reap()
    assert (story.judged("L3").verdict, story.judged("L3").observed_ns) == (verdict, SOFT_DEATH_NS + late_ns)


@pytest.mark.parametrize(("severity", "invariant"), [("HARD", "L2"), ("SOFT", "L3")])
def test_an_order_whose_certificate_came_first_ends_nothing(severity: str, invariant: str) -> None:
    story = Story()
    story.start_all()
    story.spawn()
    story.certify(SIDECAR, "c1", "o1")
    story.learn(SIDECAR, "o1", severity)
    finding = story.at(600 * SECOND).end().judged(invariant)
    assert (finding.verdict, finding.examined) == (Verdict.VALID, 0)


@pytest.mark.parametrize(("asked", "gone_ns", "verdict"), [
    (True, SOFT_DEATH_NS, Verdict.VALID), (True, SOFT_DEATH_NS + 1, Verdict.INVALID), (False, 10 * SOFT_DEATH_NS, Verdict.VALID),
])  # fmt: skip
def test_who_was_asked_to_stop_stops_though_the_order_is_lifted(asked: bool, gone_ns: int, verdict: Verdict) -> None:
    story = ordered("SOFT", GRACE_NS)
    if asked:
        story.say("process-termed", SIDECAR, agent=AGENT, token=FIRST)
    story.certify(SIDECAR, "c1", "o1")
    story.at(gone_ns).kill()
    assert story.judged("L3").verdict is verdict


NO_GRACE_NS = stretch(BOUNDS.stop_timeout_ns, BOUNDS.drift_ppm) + BOUNDS.death_ns


@pytest.mark.parametrize(("gone_ns", "paused_ns", "verdict"), [
    (NO_GRACE_NS, 0, Verdict.VALID), (NO_GRACE_NS + 1, 0, Verdict.INVALID), (NO_GRACE_NS + SECOND, SECOND, Verdict.VALID),
])  # fmt: skip
def test_who_was_asked_to_stop_by_what_nobody_could_read_has_the_stop_timeout(gone_ns: int, paused_ns: int, verdict: Verdict) -> None:
    story = Story()
    story.start_all()
    story.spawn()
    termed = story.say("process-termed", SIDECAR, agent=AGENT, token=FIRST)
    if paused_ns:
        story.say("node-paused", SIDECAR)
        story.at(paused_ns).say("node-resumed", SIDECAR)
    killed = story.at(gone_ns).kill()
    finding = story.judged("L3")
    assert finding.verdict is verdict, finding.why
    assert verdict is Verdict.VALID or finding.witness == (termed, killed)


def escalation(escalated_ns: int | None) -> Story:
    story = Story()
    story.start_all()
    story.say("token-promised", "replica/1", agent=AGENT, token=FIRST)
    story.at(1).learn("replica/1", "o1", "SOFT", grace_ns=GRACE_NS)
    if escalated_ns is not None:
        story.at(1 + escalated_ns).say("escalated", "replica/1", parent="o1", child="o2", agent=AGENT)
    return story


SLACK_NS = BOUNDS.slack_ns
ESCALATION_NS = BOUNDS.escalation_ns(GRACE_NS)


@pytest.mark.parametrize(("escalated_ns", "verdict"), [(ESCALATION_NS, Verdict.VALID), (ESCALATION_NS + 1, Verdict.INVALID), (None, Verdict.INVALID)])
def test_an_untouched_replica_escalates_in_time(escalated_ns: int | None, verdict: Verdict) -> None:
    finding = escalation(escalated_ns).at(60 * SECOND).end().judged("L3")
    assert (finding.verdict, finding.examined) == (verdict, 1 if escalated_ns is None else 2)


@pytest.mark.parametrize(("severity", "tenant", "verdict"), [
    ("HARD", "acme", Verdict.VALID), ("SOFT", "acme", Verdict.INVALID), ("HARD", "", Verdict.INVALID),
])  # fmt: skip
def test_the_child_of_a_soft_order_kills_the_agent(severity: str, tenant: str, verdict: Verdict) -> None:
    story = escalation(None).at(1 + GRACE_NS + SLACK_NS)
    learned = story.learn("replica/1", "o2", severity, tenant=tenant)
    child = story.say("escalated", "replica/1", parent="o1", child="o2", agent=AGENT)
    finding = story.judged("L3")
    assert finding.verdict is verdict
    assert verdict is Verdict.VALID or finding.witness == (learned, child)


@pytest.mark.parametrize(
    ("child", "verdict"),
    [
        ({}, Verdict.VALID),
        ({"issuer": "bob"}, Verdict.INVALID),
        ({"decided": (0, "", "")}, Verdict.INVALID),
        ({"grace_ns": 1}, Verdict.INVALID),
    ],
)
def test_a_child_has_its_issuer_and_its_ruling_of_its_parent_and_no_grace(child: dict[str, Any], verdict: Verdict) -> None:
    story = escalation(None).at(1 + GRACE_NS + SLACK_NS)
    learned = story.learn("replica/1", "o2", **child)
    made = story.say("escalated", "replica/1", parent="o1", child="o2", agent=AGENT)
    finding = story.judged("L3")
    assert finding.verdict is verdict
    assert verdict is Verdict.VALID or {learned, made} <= set(finding.witness)


@pytest.mark.parametrize(("second", "verdict"), [("o2", Verdict.VALID), ("o3", Verdict.INVALID)])
def test_whichever_replica_makes_a_child_it_is_the_same(second: str, verdict: Verdict) -> None:
    story = escalation(None)
    story.learn("replica/2", "o1", "SOFT", grace_ns=GRACE_NS)
    made = [
        story.at(1 + GRACE_NS + SLACK_NS).say("escalated", replica, parent="o1", child=child, agent=AGENT)
        for replica, child in (("replica/1", "o2"), ("replica/2", second))
    ]
    finding = story.judged("L3")
    assert finding.verdict is verdict
    assert verdict is Verdict.VALID or finding.witness == tuple(made)


@pytest.mark.parametrize(
    ("heard", "verdict"), [("", Verdict.INVALID), ("promised", Verdict.VALID), ("proposed", Verdict.VALID), ("denied", Verdict.VALID)]
)
def test_no_stop_is_escalated_for_who_never_had_a_token(heard: str, verdict: Verdict) -> None:
    story = Story()
    story.start_all()
    story.learn("replica/1", "o1", "SOFT", grace_ns=GRACE_NS)
    match heard:
        case "promised":
            story.say("token-promised", "replica/2", agent=AGENT, token=FIRST)
        case "proposed":
            story.ask()
        case "denied":
            story.say("lease-denied", "replica/1", agent=AGENT, nonce="n1", replica="replica/1", token=FIRST, why="ordered")
    made = story.at(GRACE_NS + SLACK_NS).say("escalated", "replica/1", parent="o1", child="o2", agent=AGENT)
    finding = story.judged("L3")
    assert finding.verdict is verdict
    assert verdict is Verdict.VALID or finding.witness == (made,)


@pytest.mark.parametrize(
    ("proof", "asked_for", "verdict"),
    [
        ("STOPPED_CLEAN", FIRST, Verdict.INVALID),
        ("STOPPED_CLEAN", SECOND_START, Verdict.VALID),  # something may have started since
        ("KILL_FAILED", FIRST, Verdict.VALID),
        ("", FIRST, Verdict.VALID),
    ],
)
def test_nobody_is_killed_who_is_proven_stopped(proof: str, asked_for: list[Any], verdict: Verdict) -> None:
    story = escalation(None)
    story.ask(token=asked_for)
    taken = story.say("evidence-taken", "replica/1", agent=AGENT, token=FIRST, order="o1", stage=proof) if proof else 0
    child = story.at(1 + GRACE_NS + SLACK_NS).say("escalated", "replica/1", parent="o1", child="o2", agent=AGENT)
    finding = story.judged("L3")
    assert finding.verdict is verdict, finding.why
    assert verdict is Verdict.VALID or finding.witness == (taken, child)


@pytest.mark.parametrize(("early_ns", "verdict"), [(0, Verdict.VALID), (1, Verdict.INVALID)])
@pytest.mark.parametrize("anew", ["", "node-started", "clock-trusted"])
def test_no_replica_escalates_before_the_grace_and_the_slack_are_over_by_its_own_clock(early_ns: int, verdict: Verdict, anew: str) -> None:
    story = escalation(None)
    learned, since_ns = len(story.facts) - 1, 1
    if anew:
        since_ns = story.at(3 * SECOND).at_ns
        story.crash("replica/1") if anew == "node-started" else None
        fields: dict[str, Any] = {"boot": "boot-1", "instance": "b", "records": 1} if anew == "node-started" else {}
        story.say(anew, "replica/1", **fields)
        story.recover("replica/1", ["o1"])
    child = story.at(since_ns + GRACE_NS + SLACK_NS - early_ns).say("escalated", "replica/1", parent="o1", child="o2", agent=AGENT)
    finding = story.judged("L3")
    assert finding.verdict is verdict, finding.why
    assert verdict is Verdict.VALID or finding.witness == (learned, child)


def test_a_fault_of_links_excuses_nothing_that_a_replica_does_alone() -> None:
    story = escalation(None)
    story.fault("partition", "replica/1", SIDECAR)
    assert story.at(60 * SECOND).end().judged("L3").verdict is Verdict.INVALID


@pytest.mark.parametrize(
    ("heard_ns", "crashes", "owed"), [(1, False, True), (1, True, False), (GRACE_NS + SLACK_NS, False, False), (None, False, False)]
)
def test_a_replica_escalates_for_a_start_that_it_only_heard_of(heard_ns: int | None, crashes: bool, owed: bool) -> None:
    """In time, and since it started: who has forgotten that an agent ever started owes nothing for it."""
    story = Story()
    story.start_all()
    learned = story.learn("replica/1", "o1", "SOFT", grace_ns=GRACE_NS)
    if heard_ns is not None:
        story.at(heard_ns).say("lease-denied", "replica/1", agent=AGENT, nonce="n1", replica="replica/1", token=FIRST, why="ordered")
    if crashes:
        story.keep("replica/1", "o1")
        story.crash("replica/1")
        story.start("replica/1", boot="boot-2")
        story.recover("replica/1", ["o1"])
    finding = story.at(60 * SECOND).end().judged("L3")
    assert (finding.verdict, finding.witness) == ((Verdict.INVALID, (learned,)) if owed else (Verdict.VALID, ()))


@pytest.mark.parametrize("excuse", ["stopped", "touched", "covered", "killed", "too early to say"])
def test_no_escalation_is_owed(excuse: str) -> None:
    story = escalation(None)
    if excuse == "stopped":
        story.prove("o1", "STOPPED_CLEAN")
    elif excuse == "touched":
        story.fault("slow-node", "replica/1")
    elif excuse == "covered":
        story.certify("replica/2", "c1", "o1")
    elif excuse == "killed":
        story.learn("replica/1", "o3", "HARD")
    story.at(ESCALATION_NS if excuse == "too early to say" else 60 * SECOND).end()
    assert (story.judged("L3").verdict, story.judged("L3").examined) == (Verdict.VALID, 0)


@pytest.mark.parametrize(
    ("pause_ns", "end", "verdict"),
    [
        (BOUNDS.kill_again_ns, "killed", Verdict.VALID),
        (BOUNDS.kill_again_ns + 1, "killed", Verdict.INVALID),
        (BOUNDS.kill_again_ns + 1, "reaped", Verdict.INVALID),
        (BOUNDS.kill_again_ns + 1, "nothing", Verdict.INVALID),
        (BOUNDS.kill_again_ns + 1, "faulty", Verdict.VALID),
    ],
)
def test_whoever_kills_kills_again_until_it_is_reaped(pause_ns: int, end: str, verdict: Verdict) -> None:
    story = Story()
    story.start_all()
    story.spawn()
    if end == "faulty":
        story.fault("slow-node", SIDECAR)
    story.at(SECOND).kill()
    story.at(SECOND + pause_ns)
    if end == "killed":
        story.kill()
    if end != "nothing":
        story.reap()
    assert story.end().judged("L2").verdict is verdict
