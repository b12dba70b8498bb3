"""S2 and S9 on hand-made histories."""

from __future__ import annotations

import pytest

from harness.checkers.bounds import FENCE_ARRIVES_NS, HOST_LAG_NS
from harness.checkers.words import LINK_FAULTS
from harness.verdict import Verdict
from scenarios.faults import FAULTS, Aim
from tests.unit.histories import AGENT, BANK, FIRST, HARD_NS, LEDGER, SECOND, SECOND_START, SIDECAR, Story

CHALLENGE_NS = 500_000_000
CHALLENGED_NS = HARD_NS + 625_000_000 + HOST_LAG_NS  # T1 + P / (1 - rho), and the sink's second


def test_faults_of_links_are_known_as_such() -> None:
    """A flood or a storm of connections is work for the nodes at its ends; forged signals are told to nodes."""
    between = {name for name, kind in FAULTS.items() if kind.aim in (Aim.LINKS, Aim.SIGNALS)}
    assert between - {"overload", "reconnect-storm", "forge", "cross-tenant", "malformed", "impersonate", "answer-for"} == LINK_FAULTS


def test_a_fenced_sink_applies_nothing_below_its_fence() -> None:
    story = Story()
    fence = story.fence(SECOND_START)
    applied = story.apply(token=FIRST)
    finding = story.judged("S2")
    assert (finding.verdict, finding.witness, finding.examined) == (Verdict.INVALID, (fence, applied), 1)


def test_at_the_fence_before_the_fence_and_a_repeated_answer_are_in_order() -> None:
    story = Story()
    story.apply(token=FIRST)
    story.fence(SECOND_START)
    story.apply(token=SECOND_START, key="k2")
    story.apply(token=FIRST, again=True)
    assert story.judged("S2").verdict is Verdict.VALID


def test_a_lower_fence_after_a_higher_one_lowers_nothing() -> None:
    story = Story()
    high = story.fence([1, 3, "c"])
    story.fence(SECOND_START)
    applied = story.apply(token=SECOND_START)
    assert story.judged("S2").witness == (high, applied)


@pytest.mark.parametrize(("late_ns", "verdict"), [(CHALLENGED_NS, Verdict.VALID), (CHALLENGED_NS + 1, Verdict.INVALID)])
def test_a_challenging_sink_is_bounded_by_the_challenge_on_top_of_t1(late_ns: int, verdict: Verdict) -> None:
    story = Story()
    copies = story.effective("o1")
    applied = story.at(late_ns).apply(BANK)
    finding = story.judged("S2")
    assert (finding.verdict, finding.bound_ns) == (verdict, CHALLENGED_NS)
    assert verdict is Verdict.VALID or finding.witness == (*copies, applied)


@pytest.mark.parametrize(("late_ns", "verdict"), [(HOST_LAG_NS, Verdict.VALID), (HOST_LAG_NS + 1, Verdict.INVALID)])
def test_an_answer_to_an_old_challenge_is_refused_though_nothing_is_ordered(late_ns: int, verdict: Verdict) -> None:
    story = Story()
    story.say("challenge-issued", BANK, sink=BANK, key="k1", nonce="1/1")
    again = story.at(SECOND).say("challenge-issued", BANK, sink=BANK, key="k1", nonce="1/2")
    applied = story.at(SECOND + CHALLENGE_NS + late_ns).apply(BANK, key="k1")
    finding = story.judged("S2")
    assert (finding.verdict, finding.examined) == (verdict, 1)
    assert verdict is Verdict.VALID or finding.witness == (again, applied)


@pytest.mark.parametrize(("fault", "verdict"), [("wall-step", Verdict.INVALID), ("slow-node", Verdict.VALID), ("clock-step", Verdict.VALID)])
def test_a_wall_clock_excuses_no_sink(fault: str, verdict: Verdict) -> None:
    story = Story()
    story.fault(fault, BANK)
    issued = story.say("challenge-issued", BANK, sink=BANK, key="k1", nonce="1/1")
    applied = story.at(CHALLENGE_NS + HOST_LAG_NS + 1).apply(BANK, key="k1")
    finding = story.judged("S2")
    assert (finding.verdict, finding.witness) == (verdict, (issued, applied) if verdict is Verdict.INVALID else ())


def test_an_unbounded_sink_has_no_bound_to_break() -> None:
    story = Story(sinks={"sink/acme/mail": "U"})
    story.effective("o1")
    story.at(600 * SECOND).apply("sink/acme/mail")
    assert (story.judged("S2").verdict, story.judged("S2").examined) == (Verdict.VALID, 0)


def test_a_key_is_applied_once_and_answered_alike() -> None:
    story = Story()
    story.apply(result="r1")
    story.apply(result="r1", again=True)
    assert (story.judged("S9").verdict, story.judged("S9").examined) == (Verdict.VALID, 1)


@pytest.mark.parametrize(("result", "again"), [("r1", False), ("r2", True)])
def test_applied_twice_or_answered_otherwise_is_a_violation(result: str, again: bool) -> None:
    story = Story()
    first = story.apply(result="r1")
    second = story.apply(result=result, again=again)
    finding = story.judged("S9")
    assert (finding.verdict, finding.witness) == (Verdict.INVALID, (first, second))


def test_only_fenced_sinks_owe_exactly_once() -> None:
    story = Story()
    story.apply(BANK)
    story.apply(BANK)
    story.apply(LEDGER, key="k2")
    assert story.judged("S9").verdict is Verdict.VALID


FENCED_NS = HARD_NS + 2_500_000_000 + FENCE_ARRIVES_NS  # T1, and four gossip periods of 500 ms at a drift of 20 %


def killed_while_on_its_way(*, severity: str = "HARD", promised: bool = True) -> Story:
    story = Story()
    story.start_all()
    if promised:
        story.say("token-promised", "replica/1", agent=AGENT, token=FIRST)
    story.effective("o1", severity)
    return story


@pytest.mark.parametrize(("late_ns", "verdict"), [(FENCED_NS, Verdict.VALID), (FENCED_NS + 1, Verdict.INVALID)])
def test_a_fence_is_due_after_a_kill(late_ns: int, verdict: Verdict) -> None:
    story = killed_while_on_its_way()
    applied = story.at(late_ns).apply()
    finding = story.judged("S2")
    assert (finding.verdict, finding.examined) == (verdict, 1)
    assert verdict is Verdict.VALID or applied in finding.witness


def test_a_fault_between_sidecar_and_sink_does_not_excuse_a_missing_fence() -> None:
    story = killed_while_on_its_way()
    story.fault("delay", SIDECAR, LEDGER)
    story.at(FENCED_NS + 1).apply()
    assert story.judged("S2").verdict is Verdict.INVALID


@pytest.mark.parametrize("excuse", [("delay", "replica/1", LEDGER), ("disk-slow", LEDGER), ("partition", "replica/1", "replica/2")])
def test_a_fault_on_the_way_of_the_fence_excuses_it(excuse: tuple[str, ...]) -> None:
    story = killed_while_on_its_way()
    story.fault(excuse[0], *excuse[1:])
    story.at(FENCED_NS + 1).apply()
    assert (story.judged("S2").verdict, story.judged("S2").examined) == (Verdict.VALID, 0)


@pytest.mark.parametrize(("severity", "promised"), [("ISOLATE", True), ("QUIESCE", True), ("HARD", False)])
def test_no_fence_is_due_without_a_kill_or_for_a_token_that_nobody_knew(severity: str, promised: bool) -> None:
    story = killed_while_on_its_way(severity=severity, promised=promised)
    story.at(FENCED_NS + 1).apply()
    assert (story.judged("S2").verdict, story.judged("S2").examined) == (Verdict.VALID, 0)


def test_no_fence_is_due_for_an_order_that_was_lifted() -> None:
    story = killed_while_on_its_way()
    story.certify("replica/1", "c1", "o1")
    story.at(FENCED_NS + 1).apply()
    assert story.judged("S2").verdict is Verdict.VALID


@pytest.mark.parametrize("sink", [LEDGER, BANK])
def test_a_result_stands_on_a_durable_effect(sink: str) -> None:
    story = Story()
    story.apply(sink)
    story.work("task-result", step=1, key="k1", status="APPLIED")
    assert story.judged("S9").verdict is Verdict.VALID


def test_a_result_without_a_durable_effect_is_a_violation() -> None:
    story = Story()
    story.apply(key="k0")
    told = story.work("task-result", step=1, key="k1", status="APPLIED")
    story.apply(key="k1")
    assert (story.judged("S9").verdict, story.judged("S9").witness) == (Verdict.INVALID, (told,))


def test_a_step_takes_place_once_under_whatever_key() -> None:
    story = Story()
    story.intend("k1")
    first = story.apply(key="k1")
    story.apply(key="k1", again=True)
    assert story.judged("S9").verdict is Verdict.VALID
    story.intend("k2")
    second = story.apply(key="k2")
    assert story.judged("S9").witness == (first, second)


@pytest.mark.parametrize(("nonce", "verdict"), [("2/1", Verdict.VALID), ("1/1", Verdict.INVALID)])
def test_s2_no_challenge_is_issued_twice(nonce: str, verdict: Verdict) -> None:
    story = Story()
    first = story.say("challenge-issued", BANK, sink=BANK, key="k1", nonce="1/1")
    again = story.at(SECOND).say("challenge-issued", BANK, sink=BANK, key="k2", nonce=nonce)
    finding = story.judged("S2")
    assert finding.verdict is verdict
    assert verdict is Verdict.VALID or finding.witness == (first, again)
