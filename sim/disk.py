"""A node's disk: a log and two checkpoint slots, of which only what was synced survives a power loss.

Owns what is written, what is durable, and what a crash leaves. A process that dies leaves everything it wrote in the page cache; a host that
loses power loses an arbitrary suffix of what was not synced, and a checkpoint between rename and directory sync may be either slot.
A failed sync is final for the process that saw it: the pages are dropped, and nothing after counts as durable (protocol 3.10).
"""

from __future__ import annotations

from collections.abc import Callable

from killswitch.core.events import CheckpointDurable, DiskFailed, Durable, Input, Record, WriteCheckpoint
from scenarios.schedule import DiskSpec
from sim.queue import Queue
from sim.tape import Tape

CHECKPOINT_SYNCS = 3  # CK2 the file, CK4 its directory, and the rename between them takes its time too


class Disk:
    """``give`` hands the node an input. ``slow_ns``: {fault: added to each sync}; ``failing``: faults that make every sync fail."""

    def __init__(self, node: str, queue: Queue, tape: Tape, spec: DiskSpec, give: Callable[[Input], None]) -> None:
        self._queue = queue
        self._spec = spec
        self._give = give
        self._jitter = tape.stream(f"disk.sync/{node}")
        self._survives = tape.stream(f"disk.survives/{node}")
        self.records: list[Record] = []
        self.durable = 0
        self.slots: dict[int, bytes] = {}
        self.slow_ns: dict[str, int] = {}
        self.failing: set[str] = set()
        self._life = 0
        self._syncing = 0
        self.broken = False
        self._writing: tuple[WriteCheckpoint, int, bytes | None] | None = None

    # -- the log

    def append(self, record: Record) -> None:
        """Take a record into the page cache and see that a sync that covers it follows."""
        if self.broken:
            return
        self.records.append(record)
        if not self._syncing:
            self._sync()

    def _sync(self) -> None:
        self._syncing = len(self.records)
        self._queue.at(self._queue.now + self._sync_ns(), self._synced, (self._life, self._syncing))

    def _sync_ns(self) -> int:
        return self._spec.sync_ns + self._jitter(self._spec.jitter_ns + 1) + sum(self.slow_ns.values())

    def _synced(self, ticket: tuple[int, int]) -> None:
        life, covered = ticket
        if life != self._life or self.broken:
            return
        self._syncing = 0
        if self.failing:
            self.broken = True
            del self.records[self.durable :]
            self._give(DiskFailed(covered))
            return
        self.durable = covered
        if len(self.records) > covered:
            self._sync()
        self._give(Durable(covered))

    # -- checkpoints: the steps CK1 to CK4

    def write_checkpoint(self, effect: WriteCheckpoint) -> None:
        if not self.broken:
            self._writing = (effect, 0, self.slots.get(effect.generation % 2))
            self._queue.at(self._queue.now + self._sync_ns(), self._checkpoint_step, (self._life, effect))

    def _checkpoint_step(self, ticket: tuple[int, WriteCheckpoint]) -> None:
        life, effect = ticket
        if life != self._life or self._writing is None or self._writing[0] is not effect:
            return
        if self.failing:
            self._writing = None
            self.broken = True
            self._give(DiskFailed(len(self.records)))
            return
        _, done, before = self._writing
        done += 1
        if done == 2:
            self.slots[effect.generation % 2] = effect.body  # renamed; durable with the directory
        if done < CHECKPOINT_SYNCS:
            self._writing = (effect, done, before)
            self._queue.at(self._queue.now + self._sync_ns(), self._checkpoint_step, ticket)
            return
        self._writing = None
        self._give(CheckpointDurable(effect.generation))

    # -- crashes

    def process_died(self) -> None:
        """Whatever was written stays in the page cache, and will reach the disk."""
        self._life += 1
        self._syncing = 0
        self._writing = None
        self.broken = False
        self.durable = len(self.records)

    def power_lost(self) -> int:
        """Keep what was synced and perhaps a bit more; how many records are gone."""
        unsynced = len(self.records) - self.durable
        lost = self._survives(unsynced + 1)
        if lost:
            del self.records[len(self.records) - lost :]
        if self._writing is not None and self._writing[1] >= 2 and self._survives(2):
            effect, _, before = self._writing
            if before is None:
                self.slots.pop(effect.generation % 2, None)
            else:
                self.slots[effect.generation % 2] = before
        self.process_died()
        return lost

    def checkpoints(self) -> tuple[bytes, ...]:
        return tuple(self.slots[slot] for slot in sorted(self.slots))
