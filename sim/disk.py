"""A node's disk: a log and two checkpoint slots, of which only what was synced survives a power loss.

Owns what is written, what is durable, and what a crash leaves. A process that dies leaves everything it wrote in the page cache; a host that
loses power loses an arbitrary suffix of what was not synced, and a checkpoint between rename and directory sync may be either slot.
A failed sync is final for the process that saw it: the pages are dropped, and nothing after counts as durable (protocol 3.10). What finds no
room is not written at all, so it can be tried again: it waits with its process, and is gone with it.

Records are kept as the objects that they are. Bytes come into it only where some of them are not what was written (``damaged``): then the log
is read back the way the live driver reads its own, by `audit.readable`, and is cut where that says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final, TypeVar

from killswitch.core import audit
from killswitch.core.events import CheckpointDurable, DiskFailed, DiskFreed, DiskFull, Durable, Input, Record, WriteCheckpoint
from scenarios.schedule import DiskSpec
from sim.queue import Queue
from sim.tape import BITS, Tape

# What is not there in most nodes is shared by them, and replaced where it is: an empty set of its own is 216 bytes, an empty dict 64.
NOTHING: Final[frozenset[str]] = frozenset()
EMPTY: Final[Mapping[Any, Any]] = MappingProxyType({})
CHECKPOINT_SYNCS = 3  # CK2 the file, CK4 its directory, and the rename between them takes its time too


_Key = TypeVar("_Key")
_Thing = TypeVar("_Thing")


class Loss(StrEnum):
    """How the writes that were not synced go when the power does: from the end, with the first of them torn, or any of them."""

    SUFFIX = "suffix"
    TORN = "torn"
    REORDERED = "reordered"


class Disk:
    """``give`` hands the node an input. ``slow_ns``: {fault: added to each sync}; ``failing``: faults that make every sync fail; ``lying``:
    {fault: told of each sync that was not one}. ``durable`` is what syncs have covered, ``safe`` what a power loss cannot take.
    ``full``: {fault: told of each record that finds it full}; ``reserve``: how many records find room all the same; ``refused``: those that wait.
    """

    __slots__ = (
        "_give", "_jitter", "_life", "_node", "_queue", "_said_full", "_spec", "_syncing", "_tape", "_unsafe", "_writing", "broken", "cut", "damaged",
        "durable", "failing", "full", "loss", "lying", "on_checkpoint_step", "records", "refused", "reserve", "safe", "slots", "slow_ns",
    )  # fmt: skip

    def __init__(self, node: str, queue: Queue, tape: Tape, spec: DiskSpec, give: Callable[[Input], None]) -> None:
        self._queue = queue
        self._spec = spec
        self._give = give
        self._jitter = tape.light("disk.sync", node)
        self._node, self._tape = node, tape
        self.records: list[Record] = []
        self.durable = 0
        self.slots: Mapping[int, bytes] = EMPTY
        self.slow_ns: Mapping[str, int] = EMPTY
        self.failing = NOTHING
        self.lying: Mapping[str, Callable[[str], None]] = EMPTY
        self.full: Mapping[str, Callable[[str], None]] = EMPTY
        self.reserve = 0
        self.refused: tuple[Record, ...] = ()
        self._said_full = False
        self.loss = Loss.SUFFIX
        self.safe = 0
        self.damaged: Mapping[int, bytes] = EMPTY  # lsn -> what is left of its record
        self.cut = (0, 0)  # records that were believed of a log that had more, and how many bytes that was: still there while nothing follows
        self._unsafe: Mapping[int, bytes | None] = EMPTY  # slot -> what it held before a sync of it that was none
        self._life = 0
        self._syncing = 0
        self.broken = False
        self._writing: tuple[WriteCheckpoint, int, bytes | None] | None = None
        self.on_checkpoint_step: Callable[[int], None] | None = None  # told how many of its steps are done

    def _survives(self, ways: int) -> int:
        """A draw of what a loss leaves. Few disks are ever lost, so few need the stream."""
        return self._tape.stream(f"disk.survives/{self._node}")(ways)

    # -- the log

    def append(self, record: Record) -> None:
        """Take a record into the page cache, if there is room, and see that a sync that covers it follows."""
        if self.broken:
            return
        if not self.full:
            self._write((record,))
            return
        self.refused += (record,)
        self._say_full(record)
        if audit.is_reserved(record.kind) and len(self.refused) <= self.reserve:  # with what waits before it: a log has no gaps
            self.reserve -= len(self.refused)
            self._write_refused()

    def _write(self, records: Iterable[Record]) -> None:
        self.records.extend(records)
        if not self._syncing:
            self._sync()

    def _write_refused(self) -> None:
        refused, self.refused = self.refused, ()
        self._write(refused)

    def _sync(self) -> None:
        self._syncing = len(self.records)
        self._queue.at(self._queue.now + self._sync_ns(), self._synced, (self._life, self._syncing))

    def _sync_ns(self) -> int:
        return self._spec.sync_ns + (self._jitter.draw() * (self._spec.jitter_ns + 1) >> BITS) + sum(self.slow_ns.values())

    def _synced(self, ticket: tuple[int, int]) -> None:
        life, covered = ticket
        if life != self._life or self.broken:
            return
        self._syncing = 0
        if self.failing:
            self.broken = True
            del self.records[self.durable :]
            self.refused = ()
            self._give(DiskFailed(covered))
            return
        self.durable = covered
        if not self.lied():
            self.safe = covered
        if len(self.records) > covered:
            self._sync()
        self._give(Durable(covered))

    # -- room

    def fill(self, fault: str, reserve: int, tell: Callable[[str], None]) -> None:
        """From now on there is no room but for ``reserve`` records of `audit.RESERVED`; if it was full before, for what is left of those."""
        self.reserve = min(self.reserve, reserve) if self.full else reserve
        self.full = {**self.full, fault: tell}

    def free(self, fault: str) -> None:
        """There is room again; what has waited is written, and synced after the process has heard of it."""
        self.full = without(self.full, fault)
        if self.full:
            return
        if self.refused:
            self._write_refused()
        if self._said_full:
            self._said_full = False
            self._give(DiskFreed())

    def _say_full(self, record: Record) -> None:
        for fault, tell in self.full.items():
            tell(fault)
        if not self._said_full:  # once for all that waits, and not in the middle of a step
            self._said_full = True
            self._queue.at(self._queue.now + self._sync_ns(), self._found_full, (self._life, record.seq))

    def _found_full(self, ticket: tuple[int, int]) -> None:
        life, lsn = ticket
        if life == self._life and self.full and not self.broken:
            self._give(DiskFull(lsn))

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
            self.slots = {**self.slots, effect.generation % 2: effect.body}  # renamed; durable with the directory
        if self.on_checkpoint_step is not None:
            self._writing = (effect, done, before) if done < CHECKPOINT_SYNCS else None
            self.on_checkpoint_step(done)
            if life != self._life:
                return  # the process died of it
        if done < CHECKPOINT_SYNCS:
            self._writing = (effect, done, before)
            self._queue.at(self._queue.now + self._sync_ns(), self._checkpoint_step, ticket)
            return
        self._writing = None
        if self.lied():
            slot = effect.generation % 2
            self._unsafe = {**self._unsafe, slot: self._unsafe.get(slot, before)}
        self._give(CheckpointDurable(effect.generation))

    # -- lies

    def lied(self) -> bool:
        """Whether the sync that just returned did nothing; whoever makes it lie is told."""
        for fault, tell in self.lying.items():
            tell(fault)
        return bool(self.lying)

    def tell_truth(self, fault: str) -> None:
        """The lie is over: what the disk had kept to itself reaches the platter."""
        self.lying = without(self.lying, fault)
        if not self.lying:
            self.safe = self.durable
            self._unsafe = EMPTY

    # -- crashes

    def process_died(self) -> None:
        """Whatever was written stays in the page cache, and will reach the disk, if that is honest."""
        self._life += 1
        self._syncing = 0
        self._writing = None
        self.broken = False
        self._said_full = False
        self.refused = ()
        self.durable = len(self.records)
        if not self.lying:
            self.safe = self.durable

    def power_lost(self) -> int:
        """Keep what is safe and perhaps a bit more; how many records are gone."""
        before = len(self.records)
        if self.loss is Loss.REORDERED:
            self._lose_any()
        else:
            kept = before - self._survives(before - self.safe + 1)
            if self.loss is Loss.TORN and kept < before:
                self.damaged = {**self.damaged, kept + 1: _half(audit.written(self.records[kept]))}
                kept += 1
            del self.records[kept:]
        self._lose_slots()
        self.loss = Loss.SUFFIX
        self.process_died()
        self.safe = self.durable
        return before - len(self.records) + sum(1 for lsn in self.damaged if lsn <= len(self.records))

    def _lose_any(self) -> None:
        """Sectors reach the platter in any order: of what was not synced, whichever records did not are holes before those that did."""
        arrived = [lsn for lsn in range(self.safe + 1, len(self.records) + 1) if self._survives(2) == 0]
        del self.records[max(arrived, default=self.safe) :]
        holes = (lsn for lsn in range(self.safe + 1, len(self.records) + 1) if lsn not in arrived)
        self.damaged = {**self.damaged, **dict.fromkeys(holes, b"")}

    def _lose_slots(self) -> None:
        for slot, content in self._unsafe.items():
            if self._survives(2):
                self._put_back(slot, content)
        self._unsafe = EMPTY
        if self._writing is None:
            return
        effect, done, held = self._writing
        slot = effect.generation % 2
        if self.loss is Loss.TORN and done:
            self._put_back(slot, effect.body[: len(effect.body) // 2] + (held or b"")[len(effect.body) // 2 :])
        elif done >= 2 and self._survives(2):
            self._put_back(slot, held)

    def _put_back(self, slot: int, content: bytes | None) -> None:
        self.slots = without(self.slots, slot) if content is None else {**self.slots, slot: content}

    def flip(self, *, slots: bool) -> bool:
        """Turn one bit of a durable record, or of a slot; whether there was any to turn."""
        if slots:
            if not self.slots:
                return False
            slot = sorted(self.slots)[self._survives(len(self.slots))]
            self._put_back(slot, self._flipped(self.slots[slot]))
            return True
        if not self.durable:
            return False
        lsn = 1 + self._survives(self.durable)
        self.damaged = {**self.damaged, lsn: self._flipped(self.damaged.get(lsn) or audit.written(self.records[lsn - 1]))}
        return True

    def _flipped(self, content: bytes) -> bytes:
        at = self._survives(len(content))
        return content[:at] + bytes([content[at] ^ 1 << self._survives(8)]) + content[at + 1 :]

    def copy(self, other: Disk) -> None:
        """Hold what a loss of power would leave of another disk at this instant; what that is, is this disk's own draw."""
        self.records, self.slots, self.damaged, self.cut = list(other.records), other.slots, other.damaged, other.cut
        self.safe, self._unsafe, self._writing = other.safe, other._unsafe, other._writing
        self.power_lost()

    def wipe(self) -> None:
        """A new disk, with nothing on it."""
        self.records.clear()
        self.slots = EMPTY
        self.damaged = EMPTY
        self.cut = (0, 0)
        self._unsafe = EMPTY
        self.process_died()

    # -- boot

    def recover(self) -> tuple[tuple[Record, ...], int]:
        """The records that a process can believe which starts now, and how many bytes are cut off: here in one commit with the first record after."""
        if not self.damaged:
            believed, rest = self.cut
            return tuple(self.records), rest if len(self.records) == believed else 0
        records, rest = audit.readable(
            self.damaged.get(entry.seq, b"") if entry.seq in self.damaged else audit.written(entry) for entry in self.records
        )
        self.damaged = EMPTY
        self.records[:] = records
        self.durable = self.safe = len(records)
        self.cut = (len(records), rest)
        return records, rest

    def checkpoints(self) -> tuple[bytes, ...]:
        return tuple(self.slots[slot] for slot in sorted(self.slots))


def without(things: Mapping[_Key, _Thing], key: _Key) -> Mapping[_Key, _Thing]:
    """All but one of them."""
    return {other: thing for other, thing in things.items() if other != key}


def _half(content: bytes) -> bytes:
    return content[: len(content) // 2]
