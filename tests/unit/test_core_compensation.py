"""Compensation: what a soft stop wants undone is undone in reverse, once, under keys of its own, and goes on after whatever interrupts it."""

from __future__ import annotations

import pytest

from killswitch.core import audit, checkpoints, journal
from killswitch.core.events import WriteCheckpoint
from killswitch.core.messages import EffectRequest, EffectResult, ResolveRequest, ResolveResult, StopAck, StopRequest, Task
from tests.unit.pair import AGENT_NODE, LEDGER, SIDECAR, Link

STEPS = 4
COMPENSATE = StopRequest(drain=True, compensate=True)


def at_step(done: int, *, undo: bool = True) -> Link:
    """An agent that is asking for step ``done`` of its task; its sidecar is played by the test."""
    link = Link(AGENT_NODE)
    link.boot(AGENT_NODE)
    link.hand_over(Task("t", LEDGER, STEPS, 1_000, undo))
    link.run(1_000)
    for _ in range(done):
        answer(link)
    return link


def answer(link: Link, status: str = "APPLIED") -> None:
    link.tell(AGENT_NODE, EffectResult(link[AGENT_NODE].state.current.key, status, "r"), SIDECAR)
    link.run(1_000)


def asked(link: Link) -> list[tuple[int, str, str]]:
    return [(request.step, str(request.cls), request.key) for request in link[AGENT_NODE].sent(EffectRequest)]


def undone(step: int) -> tuple[int, str, str]:
    return (step, "undo", journal.undo_key(journal.key_of("t", step)))


@pytest.mark.parametrize("done", range(1, STEPS - 1))
def test_what_took_place_is_undone_the_last_first_and_upstream_is_told(done: int) -> None:
    link = at_step(done)
    link.tell(AGENT_NODE, COMPENSATE, SIDECAR)
    while link[AGENT_NODE].machine is not None:
        answer(link)
    # The step that was on its way took place, too.
    assert asked(link)[-done - 1 :] == [undone(step) for step in range(done, -1, -1)]
    assert link.acknowledged == [("t", "COMPENSATED")]
    assert link[AGENT_NODE].sent(StopAck)[0].in_doubt == ()


def test_what_cannot_be_undone_or_is_done_is_completed() -> None:
    fixed, last = at_step(2, undo=False), at_step(STEPS - 1)
    for link in (fixed, last):
        link.tell(AGENT_NODE, COMPENSATE, SIDECAR)
        while link[AGENT_NODE].machine is not None:
            answer(link)
        assert link.acknowledged == [("t", "COMPLETED")]


def test_a_drain_without_the_wish_completes() -> None:
    link = at_step(1)
    link.tell(AGENT_NODE, StopRequest(drain=True), SIDECAR)
    while link[AGENT_NODE].machine is not None:
        answer(link)
    assert link.acknowledged == [("t", "COMPLETED")]


@pytest.mark.parametrize("answers", range(STEPS))
@pytest.mark.parametrize("how", ["gate shut", "killed", "killed and slots lost"])
def test_an_undoing_that_was_interrupted_goes_on_at_the_next_start(how: str, answers: int) -> None:
    link = at_step(STEPS - 2)
    seat = link[AGENT_NODE]
    link.tell(AGENT_NODE, COMPENSATE, SIDECAR)
    for _ in range(answers):
        answer(link)
    ended = bool(link.acknowledged)
    if how == "gate shut" and not ended:
        link.tell(AGENT_NODE, StopRequest(drain=False), SIDECAR)
        assert seat.machine is None
        assert seat.sent(StopAck)[0].in_doubt == ("t",)
        body = [effect.body for effect in seat.effects if isinstance(effect, WriteCheckpoint)][-1]
        kept = checkpoints.unseal(body)
        assert kept is not None and kept.open["t"].undoing is (answers > 0)
    if how == "killed and slots lost":
        seat.slots.clear()
    link.boot(AGENT_NODE)
    link.hand_over()
    for _ in range(2 * STEPS):
        for resolve in seat.sent(ResolveRequest)[-1:]:
            link.tell(AGENT_NODE, ResolveResult(resolve.key, "ABSENT"), SIDECAR)
        link.run(1_000)
        if seat.state.phase == "asking":
            answer(link)
    outcome = "COMPENSATED" if answers > 0 else "COMPLETED"
    assert {end for _, end in link.acknowledged} == {outcome}, "a task that had begun to be undone is not completed after all"
    results = [audit.content(record)["key"] for record in seat.records if record.kind == "RESULT"]
    assert len(results) == len(set(results)), "each step took place once, and was undone once"


def test_an_undoing_whose_answer_is_lost_is_asked_about_and_never_guessed() -> None:
    link = at_step(1)
    link.tell(AGENT_NODE, COMPENSATE, SIDECAR)
    answer(link)
    answer(link, "IN_DOUBT")
    assert link.acknowledged == []
    assert link[AGENT_NODE].sent(StopAck)[0].in_doubt == ("t",)
    link.boot(AGENT_NODE)
    key = link[AGENT_NODE].sent(ResolveRequest)[-1].key
    assert key == undone(1)[2]
    link.tell(AGENT_NODE, ResolveResult(key, "APPLIED", "r"), SIDECAR)
    link.run(1_000)
    answer(link)
    assert asked(link)[-1] == undone(0)
    assert link.acknowledged == [("t", "COMPENSATED")]
