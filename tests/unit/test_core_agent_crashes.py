"""The agent: a crash at every record, and torn checkpoints (protocol 4)."""

from __future__ import annotations

from collections import Counter
from hashlib import sha256

import pytest

from killswitch.core import audit, checkpoints, journal
from killswitch.core.events import WriteCheckpoint
from killswitch.core.messages import EffectRequest, EffectResult, StopRequest, Task
from tests.unit.pair import AGENT_NODE, LEDGER, SECOND, SIDECAR, Link, cell

STEPS = {"one": 1, "two": 2, "three": 3}
TASKS = tuple(Task(task, LEDGER, steps, 1_000) for task, steps in STEPS.items())
ROUNDS = 9  # enough tasks for a checkpoint of the usual kind
MANY = tuple(Task(f"{task}-{number}", LEDGER, steps, 1_000) for number in range(ROUNDS) for task, steps in (("x", 1), ("y", 2)))


# -- a crash at every record ---------------------------------------------------------------------------------------------------------------


def applied(link: Link) -> Counter[str]:
    """How often each key really took place at the ledger."""
    bodies = [audit.content(record) for record in link[LEDGER].records if record.kind == "APPLIED"]
    return Counter(body["key"] for body in bodies if not body["again"])


def assert_each_task_ended_once(link: Link, tasks: tuple[Task, ...]) -> None:
    """One end for each task; what was completed took place step by step and once, what was rolled back not at all."""
    outcomes: dict[str, set[str]] = {}
    for task, outcome in link.acknowledged:
        outcomes.setdefault(task, set()).add(outcome)
    assert {task: len(ends) for task, ends in outcomes.items()} == {task.task: 1 for task in tasks}
    took_place = applied(link)
    assert set(took_place.values()) <= {1}
    for each in tasks:
        keys = {journal.key_of(each.task, step) for step in range(each.steps)}
        assert keys & took_place.keys() == (keys if outcomes[each.task] == {"COMPLETED"} else set())


def log_length() -> int:
    link = cell()
    link.hand_over(*TASKS)
    link.run(3 * SECOND)
    assert_each_task_ended_once(link, TASKS)
    return len(link[AGENT_NODE].records)


LENGTH = log_length()


@pytest.mark.parametrize("written_survives", [False, True])
@pytest.mark.parametrize("lsn", range(1, LENGTH + 1))
def test_a_crash_at_every_record(lsn: int, written_survives: bool) -> None:
    """The process dies while record ``lsn`` is on its way to the disk: it is lost, or it has just made it."""
    link = cell()
    link[AGENT_NODE].room = lsn - 1
    link.hand_over(*TASKS)
    link.run(3 * SECOND)
    link.crash_agent(keep=lsn if written_survives else lsn - 1)
    link.run(20 * SECOND)
    assert_each_task_ended_once(link, TASKS)


@pytest.mark.parametrize("lsn", range(2, LENGTH + 1, 3))
@pytest.mark.parametrize("again", range(1, 6))
def test_a_second_crash_during_recovery(lsn: int, again: int) -> None:
    link = cell()
    link[AGENT_NODE].room = lsn - 1
    link.hand_over(*TASKS)
    link.run(3 * SECOND)
    link.crash_agent()
    link[AGENT_NODE].room = lsn - 1 + again
    link.run(20 * SECOND)
    link.crash_agent()
    link.run(20 * SECOND)
    assert_each_task_ended_once(link, TASKS)


@pytest.mark.parametrize("lost", [EffectRequest, EffectResult, "Apply", "ApplyResult"])
@pytest.mark.parametrize("step", range(6))
def test_a_crash_between_an_effect_and_its_result(step: int, lost: type | str) -> None:
    """Somewhere on the way of the n-th effect, and back, the message is lost with the process."""
    name = lost if isinstance(lost, str) else lost.__name__
    link = cell()
    passed = 0

    def cut(sender: str, to: str, message: object) -> bool:
        nonlocal passed
        if type(message).__name__ == name:
            passed += 1
            return passed > step
        return False

    link.cut = cut
    link.hand_over(*TASKS)
    link.run(SECOND // 2)
    link.crash_agent()
    link.cut = lambda sender, to, message: False
    link.run(20 * SECOND)
    assert_each_task_ended_once(link, TASKS)


def test_a_late_effect_of_an_earlier_start_does_not_land() -> None:
    """The zombie: recovery has asked and been told ABSENT, so what is still under way must never arrive (D9)."""
    link = cell()
    link.keep = lambda sender, to, message: type(message).__name__ == "Apply"
    link.hand_over(*TASKS)
    link.run(SECOND // 2)
    assert len(link.kept) == 1
    late = link.kept.pop()
    link.keep = lambda sender, to, message: False
    link.crash_agent()
    link.run(10 * SECOND)
    link.queue.append(late)
    link.settle()
    assert_each_task_ended_once(link, TASKS)
    assert ("one", "ROLLED_BACK") in link.acknowledged


# -- checkpoints ---------------------------------------------------------------------------------------------------------------------------


def with_checkpoints() -> Link:
    link = cell()
    link.hand_over(*MANY)
    link.run(5 * SECOND)
    assert_each_task_ended_once(link, MANY)
    assert set(link[AGENT_NODE].slots) == {0, 1}
    return link


@pytest.mark.parametrize("slot", [0, 1])
@pytest.mark.parametrize("damage", [b"", b"torn", None, "tail"])
def test_a_torn_slot_leaves_the_other(slot: int, damage: bytes | str | None) -> None:
    link = with_checkpoints()
    seat = link[AGENT_NODE]
    digest, generation = seat.machine.digest(), seat.state.generation
    if damage is None:
        del seat.slots[slot]
    else:
        seat.slots[slot] = seat.slots[slot][:-1] if isinstance(damage, str) else damage
    seat.boot(link.now)
    recovered = seat.observed("checkpoint-recovered")[-1]
    assert recovered["generation"] == (generation if generation % 2 != slot else generation - 1), "it says which one it really used"
    assert seat.machine.digest() == digest, "the journal makes up for what the newer slot held"
    link.tell(AGENT_NODE, StopRequest(drain=False), SIDECAR)
    written = [effect.generation for effect in seat.effects if isinstance(effect, WriteCheckpoint)][-1]
    assert written > generation
    assert written % 2 == (slot if slot == generation % 2 else 1 - generation % 2), "never onto the newest slot that is whole"


def test_without_any_slot_the_whole_journal_is_replayed() -> None:
    link = with_checkpoints()
    digest = link[AGENT_NODE].machine.digest()
    link[AGENT_NODE].slots.clear()
    link[AGENT_NODE].boot(link.now)
    assert link[AGENT_NODE].machine.digest() == digest


def test_a_checkpoint_newer_than_its_journal_is_not_believed() -> None:
    link = with_checkpoints()
    seat = link[AGENT_NODE]
    newest = max((checkpoints.unseal(slot) for slot in seat.slots.values()), key=lambda checkpoint: checkpoint.generation if checkpoint else 0)
    assert newest is not None
    seat.boot(link.now, records=seat.records[: newest.lsn - 1])
    assert seat.observed("checkpoint-recovered")[-1]["generation"] == newest.generation - 1


def test_a_checkpoint_round_trips_and_shows_every_change_of_a_byte() -> None:
    checkpoint = checkpoints.Checkpoint(3, 17, {"a": "COMPLETED"}, {"b": checkpoints.OpenTask(TASKS[0], 1, "key", in_doubt=True)})
    sealed = checkpoints.seal(checkpoint)
    opened = checkpoints.unseal(sealed)
    assert opened is not None
    assert (opened.generation, opened.lsn, opened.ended, opened.open["b"].in_doubt) == (3, 17, {"a": "COMPLETED"}, True)
    for index in range(len(sealed)):
        assert checkpoints.unseal(sealed[:index] + bytes([sealed[index] ^ 1]) + sealed[index + 1 :]) is None
    assert checkpoints.unseal(b"") is None


def test_whatever_has_the_right_hash_and_is_no_checkpoint_is_none() -> None:
    for body in (b"", b"\xc1", b"\x90", b"\x94\x01\x02\x03\x04"):
        assert checkpoints.unseal(sha256(body).digest() + body) is None
