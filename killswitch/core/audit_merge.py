"""The logs of several writers as one trail (protocol 5).

Owns the merge: the union of the records by writer and hash, the references between them, and one linear view that keeps every cause before its
effect. Must not know who signs or witnesses a log (``transparency``), nor which parts of it a tenant may see (``audit_export``).

What a record refers to: the one before it in its own log, and for a cosignature the record that was the last of the log that was
cosigned. Stamps respect both (``hlc``), so sorting by (stamp, writer, seq) is a linear extension; where two logs are all there is, and no
stamps, the references alone still say what came first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec import Struct

from killswitch.core import audit
from killswitch.core.events import Record


class Stamped(Struct, frozen=True):
    """A record of ``writer``'s log, and the stamp that the driver kept beside it."""

    writer: str
    record: Record
    stamp: int

    @property
    def place(self) -> tuple[int, str, int]:
        return (self.stamp, self.writer, self.record.seq)


class Reference(Struct, frozen=True):
    """The record of ``writer`` at ``seq`` was written by somebody who had seen a head of ``origin`` over ``size`` records."""

    writer: str
    seq: int
    origin: str
    size: int


Trail = dict[tuple[str, bytes], Stamped]


def union(*copies: Iterable[Stamped]) -> Trail:
    """All records by writer and hash, however many copies of a log are at hand and however they overlap. Commutative, associative, idempotent.

    The writer is part of the key because a record does not name him: two nodes may well begin their logs alike. Of two stamps for one
    record the earlier is kept: a later one was given to a copy.
    """
    merged: Trail = {}
    for copy in copies:
        for entry in copy:
            key = (entry.writer, entry.record.hash)
            known = merged.get(key)
            if known is None or entry.stamp < known.stamp:
                merged[key] = entry
    return merged


def linear(merged: Trail) -> list[Stamped]:
    """One order for all writers: by stamp, then writer, then place in the log."""
    return sorted(merged.values(), key=lambda entry: entry.place)


def references(writer: str, records: Iterable[Record]) -> Iterator[Reference]:
    """What a log says of other logs: each cosignature refers to the last record under the head that it is for."""
    for record in records:
        if record.kind == audit.COSIG:
            for origin, size, *_ in audit.content(record)["heads"]:
                yield Reference(writer, record.seq, origin, size)
