"""L4 to L6 and L9 on hand-made histories: what is due, when it is due, and when nothing can be said."""

from __future__ import annotations

from typing import Any

import pytest

from harness.checkers.bounds import Bounds
from harness.verdict import Finding, Verdict
from tests.unit.histories import AGENT, FIRST, LEDGER, PARAMETERS, SECOND, SECOND_START, SIDECAR, Story

BOUNDS = Bounds.of(PARAMETERS)
GRACE_NS = 8 * SECOND
HEALED_NS = 10 * SECOND
DUE_NS = HEALED_NS + BOUNDS.propagation_ns


# -- L4


def drained(*, in_flight: bool = False) -> Story:
    """A soft order in peace, with or without a task that has done one step of one second and has two left."""
    story = Story()
    story.spawn()
    if in_flight:
        story.work("task-submitted", steps=3, sink="sink/acme/ledger", undo=False)
        story.intend("k1")
        story.at(SECOND).work("task-result", step=1, key="k1", status="APPLIED")
        story.intend("k2")
    story.at(60 * SECOND).learn(SIDECAR, "o1", "SOFT", grace_ns=GRACE_NS)
    return story


@pytest.mark.parametrize(("early_ns", "verdict"), [(0, Verdict.VALID), (1, Verdict.INVALID)])
def test_nobody_kills_before_the_grace_is_over(early_ns: int, verdict: Verdict) -> None:
    story = drained()
    story.at(60 * SECOND + GRACE_NS - early_ns).kill()
    assert story.judged("L4").verdict is verdict


@pytest.mark.parametrize("in_flight", [False, True])
@pytest.mark.parametrize(("stage", "verdict"), [("STOPPED_CLEAN", Verdict.VALID), ("STOPPED_FORCED", Verdict.INVALID)])
def test_what_fits_into_the_grace_is_stopped_cleanly(in_flight: bool, stage: str, verdict: Verdict) -> None:
    story = drained(in_flight=in_flight)
    proof = story.at(61 * SECOND).prove("o1", stage)
    finding = story.judged("L4")
    assert (finding.verdict, finding.examined) == (verdict, 1)
    assert verdict is Verdict.VALID or finding.witness[-1] == proof


def test_the_first_seconds_of_a_run_are_as_peaceful_as_any() -> None:
    story = Story()
    story.spawn()
    story.learn(SIDECAR, "o1", "SOFT", grace_ns=GRACE_NS)
    story.say("node-crashed", f"agent/{AGENT}", lost_records=0, power=False)  # how a process that was asked to stop ends
    story.reap()
    story.prove("o1", "STOPPED_FORCED")
    assert (story.judged("L4").verdict, story.judged("L4").examined) == (Verdict.INVALID, 1)


STOP_NS = 10 * SECOND  # the stop timeout


@pytest.mark.parametrize(
    ("step_ns", "killed_ns", "verdict", "examined"),
    [
        (SECOND, STOP_NS - 1, Verdict.INVALID, 1),  # too soon, whatever it was at
        (SECOND, STOP_NS, Verdict.INVALID, 1),  # it had time to begin to leave
        (9 * SECOND, STOP_NS, Verdict.VALID, 0),  # its step may have taken as long
        (SECOND, None, Verdict.VALID, 1),
    ],
)
def test_who_is_to_stop_at_once_leaves_by_itself(step_ns: int, killed_ns: int | None, verdict: Verdict, examined: int) -> None:
    story = Story()
    story.spawn()
    story.work("task-submitted", steps=9, sink="sink/acme/ledger", undo=False)
    story.intend("k0")
    story.at(step_ns).intend("k1")
    story.at(60 * SECOND).learn(SIDECAR, "o1", "QUIESCE")
    if killed_ns is None:
        story.at(61 * SECOND).prove("o1", "STOPPED_FORCED")
    else:
        story.at(60 * SECOND + killed_ns).kill()
    finding = story.judged("L4")
    assert (finding.verdict, finding.examined) == (verdict, examined)


def test_who_saves_when_its_time_is_over_had_to_be_killed() -> None:
    story = Story()
    story.spawn()
    story.at(60 * SECOND).learn(SIDECAR, "o1", "QUIESCE")
    story.say("checkpoint-begun", f"agent/{AGENT}", agent=AGENT, generation=1, lsn=1)
    story.at(60 * SECOND + STOP_NS).kill()
    assert story.judged("L4").verdict is Verdict.VALID


def overfull() -> Story:
    """A soft order while nine steps of a task are left, of a second each."""
    story = Story()
    story.spawn()
    story.work("task-submitted", steps=9, sink="sink/acme/ledger", undo=False)
    story.intend("k0")
    story.at(SECOND).intend("k1")
    story.at(60 * SECOND).learn(SIDECAR, "o1", "SOFT", grace_ns=GRACE_NS)
    return story


def test_what_does_not_fit_may_be_forced() -> None:
    story = overfull()
    story.at(60 * SECOND + GRACE_NS).prove("o1", "STOPPED_FORCED")
    assert (story.judged("L4").verdict, story.judged("L4").examined) == (Verdict.VALID, 0)


def test_what_was_left_when_the_drain_began_counts_though_it_was_done_by_the_end() -> None:
    """Found by clone-storm, seed 40045: the last step came late in a grace that was never long enough, and a kill before its checkpoint was kept."""
    story = overfull()
    for step in range(9):
        story.at(60 * SECOND + (step + 1) * GRACE_NS // 10).work("task-result", step=step, key=f"k{step}", status="APPLIED")
    story.at(60 * SECOND + GRACE_NS).work("task-done")
    story.prove("o1", "STOPPED_FORCED")
    assert (story.judged("L4").verdict, story.judged("L4").examined) == (Verdict.VALID, 0)


@pytest.mark.parametrize("disturbance", ["fault", "hard", "lease", "fault before"])
def test_a_disturbed_stop_proves_nothing(disturbance: str) -> None:
    story = Story()
    story.spawn()
    if disturbance == "fault before":
        story.at(52 * SECOND).fault("partition", "replica/1")
        story.say("fault-off", "world", fault="f1", what="partition")
    story.at(60 * SECOND).learn(SIDECAR, "o1", "SOFT", grace_ns=GRACE_NS)
    if disturbance == "fault":
        story.fault("partition", "replica/1")
    elif disturbance == "hard":
        story.learn(SIDECAR, "o2", "HARD")
    elif disturbance == "lease":
        story.say("lease-lost", SIDECAR, agent=AGENT, token=FIRST)
    story.kill()
    story.prove("o1", "STOPPED_FORCED")
    assert (story.judged("L4").verdict, story.judged("L4").examined) == (Verdict.VALID, 0)


# -- L5


def quiet(*, renew_ns: int = SECOND, answered: bool = True) -> Story:
    story = Story(renew_ns=renew_ns, drift_ppm=10_000)
    for number in range(4):
        story.at(number * SECOND).lease(f"n{number}")
        if answered:
            story.grant("replica/3", f"n{number}")
    story.say("lease-opened", SIDECAR, agent=AGENT, nonce="n3", token=FIRST, until_ns=8 * SECOND)
    return story


def test_in_peace_nobody_stops() -> None:
    story = quiet()
    story.gate("OPEN")
    assert (story.judged("L5").verdict, story.judged("L5").examined) == (Verdict.VALID, 1)


@pytest.mark.parametrize("stop", ["lease", "standby", "kill"])
def test_a_stop_in_peace_is_a_violation(stop: str) -> None:
    story = quiet()
    if stop == "lease":
        index = story.say("lease-lost", SIDECAR, agent=AGENT, token=FIRST)
    elif stop == "standby":
        index = story.gate("CLOSED", "STANDBY")
    else:
        index = story.kill()
    assert story.judged("L5").witness == (index,)


@pytest.mark.parametrize("excuse", ["an order", "a fault", "a lost message", "no room"])
def test_a_stop_that_has_a_reason_is_none_of_its_business(excuse: str) -> None:
    story = quiet(renew_ns=5 * SECOND if excuse == "no room" else SECOND, answered=excuse != "a lost message")
    if excuse == "an order":
        story.learn("replica/1", "o1")
    elif excuse == "a fault":
        story.fault("partition", "replica/1")
    story.say("lease-lost", SIDECAR, agent=AGENT, token=FIRST)
    assert (story.judged("L5").verdict, story.judged("L5").examined) == (Verdict.VALID, 0)


@pytest.mark.parametrize(
    ("node", "broken", "sound"),
    [
        (SIDECAR, [], False),
        (SIDECAR, ["replica/1"], False),
        (SIDECAR, ["replica/1", "replica/2"], True),
        (SIDECAR, [SIDECAR], True),
        ("replica/3", ["replica/1"], False),
        ("replica/3", ["replica/1", "replica/2"], True),
    ],
)
def test_a_doubt_of_a_clock_that_kept_its_promise(node: str, broken: list[str], sound: bool) -> None:
    story = Story()
    for each in broken:
        story.fault("clock-drift", each)
    index = story.say("clock-suspected", node, peers=["replica/1", "replica/2"])
    finding = story.judged("L5")
    assert (finding.verdict, finding.examined) == (Verdict.VALID if sound else Verdict.INVALID, 1), finding.why
    assert sound or finding.witness == (index,)


def lost_again(story: Story, *, ran: bool, lost: bool, since_ns: int) -> Story:
    """Once all was due, it ran (or not), and stands by at the end of the run, ``since_ns`` later: for a lease that was out, or for no reason."""
    story.at(BOUNDS.restart_ns + 5 * SECOND).gate("OPEN" if ran else "CLOSED", "RUNNING" if ran else "STANDBY")
    story.at(BOUNDS.restart_ns + 10 * SECOND)
    if lost:
        story.say("lease-lost", SIDECAR, agent=AGENT, token=FIRST)
    story.gate("CLOSED", "STANDBY")
    return story.at(story.at_ns + since_ns).end()


LOST_AGAIN = pytest.mark.parametrize(
    ("ran", "lost", "since_ns", "verdict"),
    [
        (True, True, 0, Verdict.VALID),
        (True, True, BOUNDS.propagation_ns - 1, Verdict.VALID),
        (True, True, BOUNDS.propagation_ns, Verdict.INVALID),
        (True, False, 0, Verdict.INVALID),
        (False, True, 0, Verdict.INVALID),
    ],
)


@LOST_AGAIN
def test_who_ran_and_lost_its_lease_has_the_time_of_any_signal_to_run_again(ran: bool, lost: bool, since_ns: int, verdict: Verdict) -> None:
    story = Story()
    story.start_all()
    story.fault("partition", "replica/1")
    story.heal()
    assert lost_again(story, ran=ran, lost=lost, since_ns=since_ns).judged("L5").verdict is verdict


# -- L6


@LOST_AGAIN
def test_so_it_has_after_a_resume(ran: bool, lost: bool, since_ns: int, verdict: Verdict) -> None:
    story = Story()
    story.start_all()
    story.effective("o1", "ISOLATE")
    story.certify("replica/1", "c1", "o1")
    story.heal()
    assert lost_again(story, ran=ran, lost=lost, since_ns=since_ns).judged("L6").verdict is verdict


def resumed(end_ns: int, *, runs: bool, covered: bool = True) -> Story:
    story = Story()
    story.start_all()
    story.effective("o1")
    story.effective("o2")
    story.gate("CLOSED", "STOPPED")
    story.certify("replica/1", "c1", "o1", *(["o2"] if covered else []))
    story.heal()
    if runs:
        story.gate("OPEN", "RUNNING", SECOND_START)
    return story.at(end_ns).end()


def test_what_is_released_runs_again() -> None:
    finding = resumed(BOUNDS.restart_ns, runs=True).judged("L6")
    assert (finding.verdict, finding.examined) == (Verdict.VALID, 1)


@pytest.mark.parametrize(("end_ns", "verdict", "examined"), [(BOUNDS.restart_ns, Verdict.INVALID, 1), (BOUNDS.restart_ns - 1, Verdict.VALID, 0)])
def test_what_is_released_and_does_not_run_is_a_violation_once_it_is_due(end_ns: int, verdict: Verdict, examined: int) -> None:
    finding = resumed(end_ns, runs=False).judged("L6")
    assert (finding.verdict, finding.examined) == (verdict, examined)


def test_one_uncovered_order_is_reason_enough_not_to_run() -> None:
    assert resumed(BOUNDS.restart_ns, runs=False, covered=False).judged("L6").examined == 0


@pytest.mark.parametrize(
    ("lasts_ns", "termed", "token", "why", "sound"),
    [
        (BOUNDS.propagation_ns + 1, False, FIRST, "REJECTED_FENCED", False),
        (BOUNDS.propagation_ns, False, FIRST, "REJECTED_FENCED", True),
        (BOUNDS.propagation_ns + 1, True, FIRST, "REJECTED_FENCED", True),
        (BOUNDS.propagation_ns + 1, False, SECOND_START, "REJECTED_FENCED", True),
        (BOUNDS.propagation_ns + 1, False, FIRST, "REJECTED_CHALLENGE", True),
    ],
)
def test_who_is_refused_by_a_fence_is_asked_to_stop(lasts_ns: int, termed: bool, token: list[Any], why: str, sound: bool) -> None:
    story = Story()
    story.start_all()
    story.effective("o1")
    story.spawn()
    story.certify("replica/1", "c1", "o1")
    story.gate("OPEN", "RUNNING")
    story.heal()
    refusal: dict[str, Any] = {"sink": LEDGER, "agent": AGENT, "token": token, "key": "k1", "why": why}
    first = story.say("effect-rejected", LEDGER, **refusal)
    if termed:
        story.say("process-termed", SIDECAR, agent=AGENT, token=FIRST)
    last = story.at(lasts_ns).say("effect-rejected", LEDGER, **refusal)
    finding = story.at(BOUNDS.restart_ns).end().judged("L6")
    assert (finding.verdict, finding.witness) == ((Verdict.VALID, ()) if sound else (Verdict.INVALID, (first, last)))


def doubtful(sink: str = LEDGER, *, gate: str = "OPEN", known: str = "", until_ns: int = 90 * SECOND) -> Finding:
    story = Story()
    story.work("task-submitted", steps=1, sink=sink, undo=False)
    story.gate(gate)
    doubt = story.work("task-in-doubt", key="k1")
    assert doubt == 4
    story.heal()
    if known:
        story.at(10 * SECOND).work(known, **({"key": "k1"} if known == "task-absent" else {}))
    return story.at(until_ns).end().judged("L9")


@pytest.mark.parametrize("known", ["task-absent", "task-rolled-back", "task-compensated", "task-done"])
def test_a_doubt_that_is_found_out_is_none(known: str) -> None:
    assert (doubtful(known=known).verdict, doubtful(known=known).examined) == (Verdict.VALID, 1)


def test_a_doubt_that_stays_although_its_sink_could_say_is_a_violation() -> None:
    assert (doubtful().verdict, doubtful().witness) == (Verdict.INVALID, (4,))
    due_ns = Bounds.of(PARAMETERS).doubt_ns
    assert doubtful(until_ns=due_ns).verdict is Verdict.VALID
    assert doubtful(until_ns=due_ns + 1).verdict is Verdict.INVALID


ANSWERED_NS = Bounds.of(PARAMETERS).answering_ns


@pytest.mark.parametrize(("latency_ns", "seconds"), [(0, 6), (3_000_000, 6), (416_666_666, 6), (SECOND, 9.5)])
def test_a_question_takes_longer_where_two_round_trips_take_longer_than_two_renewals(latency_ns: int, seconds: float) -> None:
    assert Bounds.of({**PARAMETERS, "latency_ns": latency_ns}).answering_ns == seconds * SECOND


def question(after_ns: int, status: str = "IN_DOUBT", *, between: str = "") -> Story:
    """An agent asks what became of an effect, and is answered so much later, perhaps."""
    story = Story()
    story.start_all()
    story.spawn()
    if between in ("slow-node", "partition", "wall-step", "delay"):
        story.fault(between, SIDECAR)
    story.say("question-asked", SIDECAR, agent=AGENT, sink="sink/acme/ledger", key="k1", nonce="n1")
    if between == "reaped":
        story.reap()
    elif between == "paused":
        story.say("node-paused", SIDECAR)
    elif between == "crashed":
        story.crash(SIDECAR)
    story.at(after_ns)
    if status:
        story.say("question-answered", SIDECAR, agent=AGENT, key="k1", status=status)
    return story.end()


@pytest.mark.parametrize("status", ["APPLIED", "ABSENT", "IN_DOUBT", ""])
@pytest.mark.parametrize(("after_ns", "verdict"), [(ANSWERED_NS, Verdict.VALID), (ANSWERED_NS + 1, Verdict.INVALID)])
def test_who_asks_is_answered_though_it_be_that_nobody_says(status: str, after_ns: int, verdict: Verdict) -> None:
    finding = question(after_ns, status).judged("L9")
    assert (finding.verdict, finding.examined) == (verdict, 1 if status else 0)
    assert verdict is Verdict.VALID or finding.witness == (9,)


@pytest.mark.parametrize("between", ["reaped", "paused", "crashed", "slow-node"])
def test_whose_questions_need_no_answer(between: str) -> None:
    assert question(600 * SECOND, "", between=between).judged("L9").verdict is Verdict.VALID


@pytest.mark.parametrize("between", ["partition", "wall-step"])
def test_that_links_are_cut_or_a_wall_clock_is_wrong_is_no_excuse(between: str) -> None:
    assert question(600 * SECOND, between=between).judged("L9").verdict is Verdict.INVALID


@pytest.mark.parametrize(("late_ns", "verdict"), [(0, Verdict.VALID), (1, Verdict.INVALID)])
def test_whose_links_were_slow_may_have_timed_round_trips_of_a_lease(late_ns: int, verdict: Verdict) -> None:
    after_ns = ANSWERED_NS + 2 * Bounds.of(PARAMETERS).hard_ns + late_ns
    assert question(after_ns, between="delay").judged("L9").verdict is verdict


def test_that_links_are_cut_is_no_excuse() -> None:
    assert question(600 * SECOND, between="partition").judged("L9").verdict is Verdict.INVALID


@pytest.mark.parametrize(("between", "sound"), [("", False), ("admit", True), ("spawn", True), ("term", True), ("crash", True)])
def test_what_did_not_take_place_is_in_doubt_again_only_if_it_was_let_out_again(between: str, sound: bool) -> None:
    story = Story()
    story.spawn()
    absent = story.work("task-absent", key="k1")
    if between == "admit":
        story.admit()
    elif between == "spawn":
        story.spawn(SECOND_START)
    elif between == "term":
        story.say("process-termed", SIDECAR, agent=AGENT, token=FIRST)
    elif between:
        story.crash(f"agent/{AGENT}")
    doubt = story.work("task-in-doubt", key="k1")
    finding = story.judged("L9")
    assert (finding.verdict, finding.witness) == ((Verdict.VALID, ()) if sound else (Verdict.INVALID, (absent, doubt)))


def test_who_was_asked_to_stop_may_leave_a_step_in_doubt_that_he_was_about_to_do_again() -> None:
    story = Story()
    story.spawn()
    story.say("process-termed", SIDECAR, agent=AGENT, token=FIRST)
    story.work("task-absent", key="k1")
    story.work("task-in-doubt", key="k1")
    assert story.judged("L9").verdict is Verdict.VALID


def test_behind_a_closed_gate_and_at_class_u_no_doubt_falls_due() -> None:
    assert doubtful(gate="CLOSED").verdict is Verdict.VALID
    assert doubtful("sink/acme/post").verdict is Verdict.VALID
