"""What an agent's checkpoint is: its content, its seal, and which of two slots to believe (protocol 4, CK1 to CK4).

Owns the form and the choice. Must not know when a checkpoint is written or what is done with what it holds (``agent``), nor how a slot is
written (the driver).
"""

from __future__ import annotations

import hashlib

import msgspec
from msgspec import Struct

from killswitch.core.messages import Task


class OpenTask(Struct, array_like=True):
    """A task that was begun: steps with a result, and the key of an intent without one (empty: none). ``in_doubt``: nobody can say.
    ``undoing``: its steps are being undone, the last first; ``done`` counts what is left of them."""

    task: Task
    done: int = 0
    key: str = ""
    in_doubt: bool = False
    undoing: bool = False


class Checkpoint(Struct, array_like=True):
    """What a checkpoint holds: the journal up to ``lsn``, folded."""

    generation: int
    lsn: int
    ended: dict[str, str]
    open: dict[str, OpenTask]


def next_generation(last: int, whole_slot: int | None) -> int:
    """A greater number than any before, and not that of the slot which holds the only checkpoint that is whole."""
    return last + 2 if (last + 1) % 2 == whole_slot else last + 1


def seal(checkpoint: Checkpoint) -> bytes:
    """Canonical bytes behind their SHA-256."""
    body = msgspec.msgpack.encode(checkpoint, order="deterministic")
    return hashlib.sha256(body).digest() + body


def unseal(sealed: bytes) -> Checkpoint | None:
    """The checkpoint, if it is whole."""
    if hashlib.sha256(sealed[32:]).digest() != sealed[:32]:
        return None
    try:
        return msgspec.msgpack.decode(sealed[32:], type=Checkpoint)
    except (msgspec.DecodeError, ValueError):
        return None


def choose(slots: tuple[bytes, ...], journal: int) -> Checkpoint | None:
    """The newest slot that is whole and no newer than the journal."""
    intact = [checkpoint for slot in slots if (checkpoint := unseal(slot)) is not None and checkpoint.lsn <= journal]
    return max(intact, key=lambda checkpoint: checkpoint.generation, default=None)
