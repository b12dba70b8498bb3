"""L14 on hand-made histories: who may work gets on with it, and nothing is due of who may not, or cannot."""

from __future__ import annotations

import pytest

from harness.checkers.bounds import Bounds
from harness.verdict import Finding, Verdict
from tests.unit.histories import AGENT, LEDGER, PARAMETERS, SECOND, SIDECAR, Story

MAIL = "sink/acme/mail"
HEALED_NS = 10 * SECOND
STEP_NS = 2 * SECOND
BOUNDS = Bounds.of({**PARAMETERS, "longest_step_ns": STEP_NS})
DUE_NS = HEALED_NS + BOUNDS.progress_ns(in_doubt=False)


def at_work(sink: str = LEDGER) -> Story:
    """An agent with its gate open was handed a task before the heal."""
    story = Story(sinks={LEDGER: "F", MAIL: "U"}, longest_step_ns=STEP_NS)
    story.start_all()
    story.start(f"agent/{AGENT}", MAIL)
    story.spawn()
    story.gate("OPEN")
    story.at(HEALED_NS - SECOND).work("task-submitted", steps=1, sink=sink, undo=False)
    story.intend()
    return story.at(HEALED_NS)


def judged(story: Story, end_ns: int = DUE_NS + 1) -> Finding:
    return story.at(end_ns).end().judged("L14")


@pytest.mark.parametrize(("end_ns", "verdict"), [(DUE_NS, Verdict.VALID), (DUE_NS + 1, Verdict.INVALID)])
def test_what_is_asked_for_is_answered_in_time(end_ns: int, verdict: Verdict) -> None:
    story = at_work()
    story.heal()
    finding = judged(story, end_ns)
    assert (finding.verdict, finding.examined, finding.observed_ns) == (verdict, 1, end_ns - HEALED_NS)


def test_nothing_is_due_without_a_heal() -> None:
    assert judged(at_work()).examined == 0


@pytest.mark.parametrize("kind", ["task-done", "task-rolled-back", "task-compensated"])
def test_a_task_that_is_over_is_left_alone(kind: str) -> None:
    story = at_work()
    story.heal()
    story.work(kind)
    assert (judged(story).verdict, judged(story).examined) == (Verdict.VALID, 1)


@pytest.mark.parametrize(
    ("told", "sink", "verdict"),
    [
        ("task-acknowledged", LEDGER, Verdict.VALID),
        ("task-returned", LEDGER, Verdict.VALID),
        ("task-done", LEDGER, Verdict.INVALID),
        ("", LEDGER, Verdict.INVALID),
        ("", MAIL, Verdict.VALID),  # of which nobody can ever say
    ],
)
def test_a_task_that_is_handed_over_again_is_over_when_upstream_is_told_again(told: str, sink: str, verdict: Verdict) -> None:
    story = at_work(sink)
    if sink == MAIL:
        story.work("task-in-doubt", key="k1")
    else:
        story.work("task-done")
        story.work("task-acknowledged")
    story.heal()
    story.work("task-handed-over-again", sink=sink)
    if told:
        story.work(told)
    assert judged(story).verdict is verdict


def test_a_task_that_is_handed_over_again_while_it_is_under_way_ends_once() -> None:
    story = at_work()
    story.work("task-handed-over-again", sink=LEDGER)
    story.heal()
    story.work("task-done")
    story.work("task-acknowledged")
    assert (judged(story).verdict, judged(story).examined) == (Verdict.VALID, 1)


@pytest.mark.parametrize("what", ["opened later", "word of its journal"])
def test_the_wait_begins_anew_with_the_gate_and_with_every_word_of_the_journal(what: str) -> None:
    story = at_work()
    story.heal()
    story.at(HEALED_NS + SECOND)
    if what == "opened later":
        story.gate("CLOSED", "STANDBY")
        story.gate("OPEN")
    else:
        story.work("task-absent", key="k1")
    assert judged(story, DUE_NS + SECOND).verdict is Verdict.VALID


@pytest.mark.parametrize("excuse", ["closed", "gone", "disk", "sink"])
def test_nothing_is_due_of_who_may_not_or_cannot(excuse: str) -> None:
    story = at_work()
    story.heal()
    match excuse:
        case "closed":
            story.gate("CLOSED", "STANDBY")
        case "gone":
            story.crash(f"agent/{AGENT}")
        case "disk":
            story.say("disk-failed", SIDECAR, lsn=3)
        case "sink":
            story.crash(LEDGER)
    assert judged(story).examined == 0


@pytest.mark.parametrize(("busy", "verdict"), [(True, Verdict.INVALID), (False, Verdict.VALID)])
def test_what_is_handed_over_keeps_no_other_task_from_falling_due(busy: bool, verdict: Verdict) -> None:
    story = at_work()
    if not busy:
        story.work("task-done")
    story.heal()
    story.at(HEALED_NS + SECOND).work("task-submitted", "t2", steps=1, sink=LEDGER, undo=False)
    assert judged(story).verdict is verdict


@pytest.mark.parametrize(("late_ns", "verdict"), [(0, Verdict.VALID), (1, Verdict.INVALID)])
def test_what_is_in_doubt_takes_longer(late_ns: int, verdict: Verdict) -> None:
    story = at_work()
    story.heal()
    story.work("task-in-doubt", key="k1")
    assert judged(story, HEALED_NS + BOUNDS.progress_ns(in_doubt=True) + late_ns).verdict is verdict


def test_nothing_is_due_of_steps_that_may_take_for_ever() -> None:
    """As in a history of an earlier version."""
    story = Story()
    story.start_all()
    story.start(f"agent/{AGENT}")
    story.gate("OPEN")
    story.work("task-submitted", steps=1, sink=LEDGER, undo=False)
    story.at(HEALED_NS).heal()
    assert judged(story, 600 * SECOND).verdict is Verdict.VALID


@pytest.mark.parametrize(("sink", "verdict"), [(MAIL, Verdict.VALID), (LEDGER, Verdict.INVALID)])
def test_nobody_can_ever_say_what_became_of_an_effect_at_a_sink_without_keys(sink: str, verdict: Verdict) -> None:
    story = at_work(sink)
    story.heal()
    story.work("task-in-doubt", key="k1")
    assert judged(story, HEALED_NS + BOUNDS.progress_ns(in_doubt=True) + 1).verdict is verdict


@pytest.mark.parametrize("ended", [True, False])
def test_what_another_host_of_the_name_has_ended_is_over(ended: bool) -> None:
    """Seed 1 of promised-before-a-doubt: upstream handed the copy what the original had been handed before, and was told that it is done."""
    story = at_work()
    story.say("node-cloned", SIDECAR, copy=f"{SIDECAR}~2", records=7)
    if ended:
        story.say("task-done", f"agent/{AGENT}~2", agent=AGENT, task="t1")
    story.heal()
    assert judged(story).verdict is (Verdict.VALID if ended else Verdict.INVALID)
