"""Planted bugs of checkpoints: spoken of before they exist, off by one, in the wrong slot, or believed when they should not be."""

from __future__ import annotations

import msgspec

from harness.planted.bug import PlantedBug
from killswitch.core import checkpoints
from killswitch.core.agent import Agent
from killswitch.core.checkpoints import Checkpoint
from killswitch.core.events import Exit, ProcessExited, WriteCheckpoint
from killswitch.core.messages import StopAck
from killswitch.core.outlet import send
from killswitch.core.sidecar import step as sidecar_step
from killswitch.core.sidecar.state import Sidecar

_how_it_ended = sidecar_step.how_it_ended


def leave_without_checkpoint(state: Agent, now_ns: int) -> None:
    """The final checkpoint is spoken of, and never waited for."""
    state.leaving = state.left = True
    send(state, state.sidecar, StopAck(state.generation + 1, tuple(sorted(state.open))))
    state.effects.append(Exit(0, 0))


def always_the_same_slot(last: int, whole_slot: int | None) -> int:
    return last + 2


def as_it_lies_there(sealed: bytes) -> Checkpoint | None:
    """Whatever can be decoded is believed: the hash in front of it is taken for decoration."""
    try:
        return msgspec.msgpack.decode(sealed[32:], type=Checkpoint)
    except (msgspec.DecodeError, ValueError):
        return None


def count_from_the_next(state: Agent, now_ns: int) -> None:
    if not state.checkpointing:
        state.checkpointing = True
        state.since_checkpoint = 0
        generation = checkpoints.next_generation(state.generation, state.whole_slot)
        body = checkpoints.seal(Checkpoint(generation, state.chain.seq + 1, state.ended, state.open))
        state.effects.append(WriteCheckpoint(generation, body))


def newest_of_all(slots: tuple[bytes, ...], journal: int) -> Checkpoint | None:
    """What is whole was written whole, so there is nothing to compare it with."""
    whole = [checkpoint for slot in slots if (checkpoint := checkpoints.unseal(slot)) is not None]
    return max(whole, key=lambda checkpoint: checkpoint.generation, default=None)


def one_more(last: int, whole_slot: int | None) -> int:
    """The slots take turns by themselves."""
    return last + 1


def a_checkpoint_is_there(state: Sidecar, event: ProcessExited) -> tuple[bool, tuple[str, ...]]:
    """It knows of the last effect of this start, so it is good enough, whoever saved it."""
    seen, state.checkpoint = state.checkpoint, state.checkpoint - 1
    ended = _how_it_ended(state, event)
    state.checkpoint = seen
    return ended


BUGS = (
    PlantedBug("B24", "a final checkpoint is spoken of before it exists", {"agent:begin_leaving": leave_without_checkpoint}, ("S12", "S10"),
               ("swarm-storm", "soft-in-peace"), "easy"),
    PlantedBug("B68", "every checkpoint goes to the same slot", {"checkpoints:next_generation": always_the_same_slot}, ("S12",),
               ("power-loss-mid-checkpoint",), "easy"),
    PlantedBug("B69", "a checkpoint is believed without its hash", {"checkpoints:unseal": as_it_lies_there}, ("S12",), ("bit-rot",), "medium"),
    PlantedBug("B104", "a checkpoint counts one record too many", {"agent:write_checkpoint": count_from_the_next}, ("S12", "S15"),
               ("agent-dies-mid-checkpoint", "swarm-storm"), "easy"),
    PlantedBug("B193", "an agent takes its newest whole checkpoint, though its journal does not reach it", {"checkpoints:choose": newest_of_all},
               ("S12",), ("checkpoint-ahead-of-its-journal",), "easy"),
    PlantedBug("B216", "after a slot went bad the next checkpoint goes over the only whole one", {"checkpoints:next_generation": one_more}, ("S12",),
               ("disk-that-lies", "bit-rot"), "medium"),
    PlantedBug("B257", "a checkpoint of an earlier start makes a stop clean", {"sidecar.step:how_it_ended": a_checkpoint_is_there}, ("S10",),
               ("leaves-before-it-has-saved",), "easy"),
)  # fmt: skip
