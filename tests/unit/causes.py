"""The order of causes, read off a merged trail itself: what the view of `audit_merge` has to bear out, whatever it was sorted by."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from killswitch.core.audit_merge import Stamped, references


class Disorder(Struct, frozen=True):
    """A cause that the view shows after, or not before, its effect."""

    writer: str
    seq: int
    why: str


def first_disorder(view: Sequence[Stamped]) -> Disorder | None:
    """The first record of the view that stands before something that it refers to, or whose stamp is not greater; None if there is none.

    A reference to a record that is not in the view is not held against it: logs may be at hand in part.
    """
    stamps = {(entry.writer, entry.record.seq): entry.stamp for entry in view}
    shown: set[tuple[str, bytes]] = set()
    at_hand = {(entry.writer, entry.record.hash) for entry in view}
    for entry in view:
        record = entry.record
        predecessor = (entry.writer, record.previous)
        if predecessor in at_hand and predecessor not in shown:
            return Disorder(entry.writer, record.seq, "stands before its predecessor")
        before = stamps.get((entry.writer, record.seq - 1))
        if before is not None and before >= entry.stamp:
            return Disorder(entry.writer, record.seq, "its stamp is not greater than its predecessor's")
        for reference in references(entry.writer, (record,)):
            cause = stamps.get((reference.origin, reference.size))
            if cause is not None and cause >= entry.stamp:
                why = f"its stamp is not greater than that of what it refers to, {reference.origin} {reference.size}"
                return Disorder(entry.writer, record.seq, why)
        shown.add((entry.writer, record.hash))
    return None
