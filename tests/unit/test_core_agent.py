"""The agent: a stop in every phase of its work, and the order of things (protocol 4)."""

from __future__ import annotations

import pytest

from killswitch.core import agent as work
from killswitch.core import checkpoints, journal
from killswitch.core.events import AcknowledgeTask, CheckpointDurable, DiskFailed, Exit, Input, Receive, Send, Submit, WriteCheckpoint
from killswitch.core.messages import EffectRequest, EffectResult, GateNotice, ResolveRequest, ResolveResult, StopAck, StopRequest, Task
from tests.unit.pair import AGENT_NODE, BANK, LEDGER, SECOND, SIDECAR, Link, cell

# -- a stop in every phase -----------------------------------------------------------------------------------------------------------------


def alone() -> Link:
    """An agent whose sidecar is played by the test."""
    link = Link(AGENT_NODE)
    link.boot(AGENT_NODE)
    return link


def idle() -> Link:
    return alone()


def thinking() -> Link:
    link = alone()
    link.hand_over(Task("t", LEDGER, 2, 1_000))
    return link


def intending() -> Link:
    link = thinking()
    link[AGENT_NODE].disk = "stuck"
    link.run(1_000)
    return link


def asking() -> Link:
    link = thinking()
    link.run(1_000)
    return link


def denied() -> Link:
    link = asking()
    answer(link, "DENIED")
    return link


def asking_the_second_step() -> Link:
    link = asking()
    answer(link, "APPLIED")
    link.run(1_000)
    return link


def thinking_of_the_second_step() -> Link:
    link = asking()
    answer(link, "APPLIED")
    return link


def finishing() -> Link:
    link = asking_the_second_step()
    link[AGENT_NODE].disk = "stuck"
    answer(link, "APPLIED")
    return link


def resolving() -> Link:
    link = asking_the_second_step()
    link.boot(AGENT_NODE)
    return link


def checkpointing() -> Link:
    link = alone()
    link.hand_over(*(Task(f"t{number}", LEDGER, 1, 0) for number in range(work.CHECKPOINT_EVERY)))
    for number in range(work.CHECKPOINT_EVERY):
        link.run(1)
        if number == work.CHECKPOINT_EVERY - 1:
            link[AGENT_NODE].disk = "stuck"
        answer(link, "APPLIED")
    link.sync(AGENT_NODE)
    return link


PHASES = {
    "idle": idle, "thinking": thinking, "thinking of the second step": thinking_of_the_second_step, "intending": intending, "asking": asking,
    "denied": denied, "asking the second step": asking_the_second_step, "finishing": finishing, "resolving": resolving,
    "checkpointing": checkpointing,
}  # fmt: skip


def answer(link: Link, status: str) -> None:
    """Play the sidecar: answer whatever is being asked."""
    state = link[AGENT_NODE].state
    if state.phase == "asking" and state.current is not None:
        link.tell(AGENT_NODE, EffectResult(state.current.key, status, "r"), SIDECAR)
    elif state.phase == "resolving":
        key = state.open[state.unresolved[0]].key
        link.tell(AGENT_NODE, ResolveResult(key, {"DENIED": "ABSENT"}.get(status, status), "r"), SIDECAR)


def the_disk_recovers(link: Link) -> None:
    """What the stuck disk held back happens now."""
    seat = link[AGENT_NODE]
    if seat.disk == "stuck":
        seat.disk = "prompt"
        writes = [effect for effect in seat.effects if isinstance(effect, WriteCheckpoint)]
        if writes and writes[-1].generation % 2 not in seat.slots and seat.machine is not None:
            seat.slots[writes[-1].generation % 2] = writes[-1].body
            link.give(AGENT_NODE, CheckpointDurable(writes[-1].generation))
        link.settle()


def test_the_phases_are_what_they_are_called() -> None:
    phases = {name: story()[AGENT_NODE].state.phase for name, story in PHASES.items()}
    assert phases["checkpointing"] == "idle"
    assert checkpointing()[AGENT_NODE].state.checkpointing
    expected = {name: {"denied": "asking"}.get(name, name.split()[0]) for name in PHASES if name != "checkpointing"}
    assert {name: phase for name, phase in phases.items() if name != "checkpointing"} == expected


@pytest.mark.parametrize("status", ["APPLIED", "DENIED", "IN_DOUBT"])
@pytest.mark.parametrize("drain", [True, False])
@pytest.mark.parametrize("phase", PHASES)
def test_whatever_it_is_doing_an_agent_that_is_asked_to_stop_leaves(phase: str, drain: bool, status: str) -> None:
    link = PHASES[phase]()
    seat = link[AGENT_NODE]
    earlier = [effect for effect in seat.effects if isinstance(effect, WriteCheckpoint)]
    link.tell(AGENT_NODE, StopRequest(drain), SIDECAR)
    the_disk_recovers(link)
    for _ in range(8):
        if seat.machine is not None:
            answer(link, status)
            link.run(1_000)
    assert seat.machine is None, "it is gone"
    (farewell,) = seat.sent(StopAck)
    exits = [effect for effect in seat.effects if isinstance(effect, Exit)]
    assert exits == [Exit(0, 0)]
    order = [
        effect
        for effect in seat.effects
        if isinstance(effect, Exit | WriteCheckpoint) or (isinstance(effect, Send) and isinstance(effect.message, StopAck))
    ]
    assert isinstance(order[-3], WriteCheckpoint), "the last checkpoint, then the word, then the end"
    assert farewell.checkpoint == order[-3].generation
    assert order[-3] not in earlier, "one that was under way does not hold what has come since"
    assert seat.kinds()[seat.durable - 1] == "CKPT"
    left = checkpoints.unseal(order[-3].body)
    assert left is not None
    assert farewell.in_doubt == tuple(sorted(left.open)), "it says what it leaves open"


@pytest.mark.parametrize("phase", ["asking", "asking the second step", "resolving"])
def test_with_the_gate_shut_nobody_waits_for_an_answer(phase: str) -> None:
    link = PHASES[phase]()
    link.tell(AGENT_NODE, StopRequest(drain=False), SIDECAR)
    assert link[AGENT_NODE].machine is None
    assert link[AGENT_NODE].sent(StopAck)[0].in_doubt == ("t",)


@pytest.mark.parametrize("phase", ["asking", "asking the second step", "thinking of the second step"])
def test_a_drain_that_is_cut_short_still_ends(phase: str) -> None:
    link = PHASES[phase]()
    for drain in (True, True, False):
        link.tell(AGENT_NODE, StopRequest(drain), SIDECAR)
    link.run(1_000)
    assert link[AGENT_NODE].machine is None


def test_a_drain_that_is_over_does_not_come_back() -> None:
    """A request that was overtaken, while the agent waits for a checkpoint: the gate has been shut since."""
    link = asking_the_second_step()
    seat = link[AGENT_NODE]
    seat.disk = "stuck"
    work.write_checkpoint(seat.state, link.now)
    answered = len(seat.sent(EffectRequest))
    for drain in (False, True):
        link.tell(AGENT_NODE, StopRequest(drain), SIDECAR)
    link.run(1_000)
    assert not seat.state.drain
    assert len(seat.sent(EffectRequest)) == answered, "nothing more is asked for"


def test_a_drain_finishes_what_is_begun_and_begins_nothing() -> None:
    link = asking_the_second_step()
    link.hand_over(Task("later", LEDGER, 1, 1_000))
    link.tell(AGENT_NODE, StopRequest(drain=True), SIDECAR)
    answer(link, "APPLIED")
    link.run(1_000)
    assert link.acknowledged == [("t", "COMPLETED")]
    assert link[AGENT_NODE].sent(StopAck)[0].in_doubt == ()


def test_a_first_step_that_is_denied_in_a_drain_is_rolled_back() -> None:
    link = asking()
    link.tell(AGENT_NODE, StopRequest(drain=True), SIDECAR)
    answer(link, "DENIED")
    assert link.acknowledged == [("t", "ROLLED_BACK")]
    assert link[AGENT_NODE].machine is None


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("fails_first", [True, False])
def test_a_failed_disk_does_not_keep_an_agent_from_leaving(phase: str, fails_first: bool) -> None:
    link = PHASES[phase]()
    seat = link[AGENT_NODE]
    seat.disk = "broken"
    inputs: list[Input] = [DiskFailed(len(seat.records)), Receive(SIDECAR, StopRequest(drain=False))]
    for event in inputs if fails_first else inputs[::-1]:
        link.give(AGENT_NODE, event)
    assert seat.machine is None
    assert [effect.code for effect in seat.effects if isinstance(effect, Exit)] == [1]
    assert len(seat.sent(StopAck)) == 1


def test_after_a_failed_disk_nothing_is_begun_and_nothing_acknowledged() -> None:
    link = finishing()
    link.give(AGENT_NODE, DiskFailed(link[AGENT_NODE].records[-1].seq))
    asked = len(link[AGENT_NODE].sent(EffectRequest))
    link.hand_over(Task("later", LEDGER, 1, 1))
    link.run(5 * SECOND)
    assert link.acknowledged == []
    assert len(link[AGENT_NODE].sent(EffectRequest)) == asked


# -- the order of things -------------------------------------------------------------------------------------------------------------------


def test_nothing_is_asked_for_before_it_is_written_down() -> None:
    link = intending()
    assert not link[AGENT_NODE].sent(EffectRequest)
    link.sync(AGENT_NODE)
    assert len(link[AGENT_NODE].sent(EffectRequest)) == 1


def test_nothing_is_acknowledged_before_it_is_durable() -> None:
    link = finishing()
    assert link[AGENT_NODE].kinds()[-1] == "DONE"
    assert link.acknowledged == []
    link.sync(AGENT_NODE)
    assert link.acknowledged == [("t", "COMPLETED")]


def test_a_task_handed_over_twice_is_done_once_and_acknowledged_again() -> None:
    link = asking()
    link.hand_over()
    answer(link, "APPLIED")
    link.run(1_000)
    answer(link, "APPLIED")
    effects = link.give(AGENT_NODE, Submit(Task("t", LEDGER, 2, 1_000)))
    assert effects == [AcknowledgeTask("t", 0, "COMPLETED")]
    assert link[AGENT_NODE].kinds().count("INTENT") == 2


def test_a_denied_step_is_asked_for_again_in_time_or_when_the_gate_opens() -> None:
    link = denied()
    before = len(link[AGENT_NODE].sent(EffectRequest))
    link.tell(AGENT_NODE, GateNotice(0), SIDECAR)
    link.run(work.RETRY_NS)
    assert len(link[AGENT_NODE].sent(EffectRequest)) == before + 2


@pytest.mark.parametrize(
    ("story", "message"),
    [
        (asking, EffectResult("another key", "APPLIED")),
        (idle, EffectResult("t", "APPLIED")),
        (asking, ResolveResult("t", "APPLIED")),
        (resolving, ResolveResult("another key", "ABSENT")),
        (resolving, EffectResult("t", "APPLIED")),
    ],
)
def test_answers_to_other_questions_are_no_answers(story: object, message: EffectResult | ResolveResult) -> None:
    assert callable(story)
    link = story()
    before = (link[AGENT_NODE].state.phase, len(link[AGENT_NODE].records))
    link.tell(AGENT_NODE, message, SIDECAR)
    assert (link[AGENT_NODE].state.phase, len(link[AGENT_NODE].records)) == before


@pytest.mark.parametrize("stranger", ["replica/1", LEDGER, "sidecar/acme/2", "agent/acme/1"])
def test_an_agent_listens_to_its_own_sidecar_alone(stranger: str) -> None:
    link = asking()
    link.tell(AGENT_NODE, StopRequest(drain=False), stranger)
    link.tell(AGENT_NODE, EffectResult(journal.key_of("t", 0), "APPLIED"), stranger)
    assert link[AGENT_NODE].state.phase == "asking"
    assert link[AGENT_NODE].machine is not None


def test_what_nobody_can_say_stays_in_doubt_and_is_asked_again_in_time() -> None:
    link = cell()
    link.cut = lambda sender, to, message: type(message).__name__ in ("ApplyResult", "QueryResult")
    link.hand_over(Task("t", BANK, 1, 1_000))
    link.run(3 * SECOND)
    assert link[AGENT_NODE].kinds().count("IN_DOUBT") == 1
    assert link.acknowledged == []
    assert link[AGENT_NODE].kinds()[-1] == "IN_DOUBT"
    link.cut = lambda sender, to, message: False
    link.run(20 * SECOND)
    assert link.acknowledged == [("t", "COMPLETED")], "the bank remembers the key, and is asked again without any start"
    assert len(link[AGENT_NODE].sent(ResolveRequest)) >= 1
