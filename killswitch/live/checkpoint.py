"""An agent's checkpoints: two slots, written so that a crash at any point leaves at least one whole (protocol 4, CK1-CK4).

Owns the files. Must not know what a checkpoint says, nor which of two surviving slots is to be believed: the agent core judges.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

SLOTS = 2
STEPS = ("written", "renamed", "synced")  # CK1 and CK2, CK3, CK4


def write_all(file: int, body: bytes) -> None:
    """A write may take less than it was given. Raises `OSError`; how much is written then, nobody knows."""
    rest = memoryview(body)
    while rest:
        rest = rest[os.write(file, rest) :]


class Checkpoints:
    """The slots ``slot0`` and ``slot1`` in ``directory``. Every method raises `OSError` if the disk does. ``reached`` is told of each of `STEPS`."""

    def __init__(self, directory: Path, reached: Callable[[str], None] = lambda _step: None) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._reached = reached

    def write(self, generation: int, body: bytes) -> None:
        """When it returns, ``body`` is durable in slot ``generation % 2``; the other slot was not touched."""
        slot = self._directory / f"slot{generation % SLOTS}"
        draft = slot.with_suffix(".tmp")
        file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            write_all(file, body)  # CK1
            os.fsync(file)  # CK2
        finally:
            os.close(file)
        self._reached("written")
        draft.rename(slot)  # CK3
        self._reached("renamed")
        sync_directory(self._directory)  # CK4: until then the rename itself can be lost
        self._reached("synced")

    def secure(self) -> tuple[bytes, ...]:
        """What the slots hold, made durable first: whoever wrote them may have died between CK3 and CK4, or lied about both."""
        for number in range(SLOTS):
            slot = self._directory / f"slot{number}"
            if slot.exists():
                handle = os.open(slot, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    os.fsync(handle)
                finally:
                    os.close(handle)
        sync_directory(self._directory)
        return self.load()

    def load(self) -> tuple[bytes, ...]:
        """What the slots hold, in the order of the slots; a slot that was never written is left out, a torn draft is ignored."""
        slots = (self._directory / f"slot{number}" for number in range(SLOTS))
        return tuple(slot.read_bytes() for slot in slots if slot.exists())


def sync_directory(directory: Path) -> None:
    """Make the names in ``directory`` durable: a file whose name was not synced can be gone after a power loss, synced or not."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
