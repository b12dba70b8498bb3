"""The hash-chained log that is both write-ahead journal and audit trail (protocol 5, D8).

Owns how a record is sealed, how a chain grows and how it is verified. Must not know what the kinds of record mean, nor where
records are kept: the driver appends them and tells what is durable.

Each record carries the hash of the one before it, so that whoever knows a later hash can tell a change, a gap, a swap or an
insertion anywhere before it. A cut at the very end is the one thing that a chain alone cannot show: that takes a signed head that
somebody else keeps.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b, sha256
from typing import Any, Final

import msgspec
from msgspec import Struct

from killswitch.core.events import Append, Record

GENESIS: Final = bytes(32)  # the hash "before" the first record

Body = Struct | Mapping[str, object]

# "sorted" orders struct fields too, so that a body has one encoding whether it was written from a struct or from a dict (S16, B35).
_ENCODER: Final = msgspec.msgpack.Encoder(order="sorted")
COSIG: Final = "COSIG"  # the one kind of record that calls for no head of its own: it only notes heads of others
# What may use the last room on a disk: records of prohibitions, of what came of them, and of what takes trust away (protocol 3.6).
RESERVED: Final = frozenset({
    "ORDER_ACCEPTED", "ORDER_EFFECTIVE", "ORDER_LEARNED", "DECISION", "ESCALATED", "DECLARED", "GATE_CHANGE", "PROC_TERM", "PROC_KILL", "PROC_REAPED",
    "EVIDENCE", "FENCE", "FENCE_ACKED", "FORK_PROOF", "KEYSET", "ATTEMPT", "ATTEMPT_OVER", "QUARANTINE", "CLOCK_SUSPECT",
})  # fmt: skip
_DECODER: Final = msgspec.msgpack.Decoder()
_RECORD_ENCODER: Final = msgspec.msgpack.Encoder()
_RECORD_DECODER: Final = msgspec.msgpack.Decoder(Record)


def is_reserved(kind: str) -> bool:
    """Whether records of the kind may use the reserve of a disk that is full otherwise."""
    return kind in RESERVED


class Problem(Struct, frozen=True):
    """What is wrong with the first bad record of a log: its index (from 0) and ``why``: ``sequence gap``, ``broken link``,
    ``wrong hash`` or ``undecodable body``."""

    index: int
    why: str


def canonical(body: Body) -> bytes:
    """The one encoding of ``body``: MessagePack, keys sorted. Bodies hold integers, strings, bytes, booleans, None and containers of them."""
    return _ENCODER.encode(body)


def record_hash(previous: bytes, seq: int, kind: str, clock_ns: int, boot: str, body: bytes) -> bytes:
    """SHA-256 over ``previous`` and the MessagePack array (seq, kind, clock_ns, boot, body): the length of ``previous`` is fixed and
    an array frames its parts, so two different records never hash the same bytes."""
    return sha256(previous + _ENCODER.encode((seq, kind, clock_ns, boot, body))).digest()


def seal(previous: Record | None, kind: str, clock_ns: int, boot: str, body: Body) -> Record:
    """The record that follows ``previous`` (None: the first of a log), at ``clock_ns`` on the writer's own clock in ``boot``."""
    seq, head = (1, GENESIS) if previous is None else (previous.seq + 1, previous.hash)
    encoded = canonical(body)
    return Record(seq, head, kind, clock_ns, boot, encoded, record_hash(head, seq, kind, clock_ns, boot, encoded))


def content(record: Record) -> dict[str, Any]:
    """The body of a verified record, as a dict."""
    body: dict[str, Any] = _DECODER.decode(record.body)
    return body


def fault_of(record: Record, previous: Record | None) -> str:
    """Why ``record`` cannot follow ``previous``; empty if it can."""
    seq, head = (1, GENESIS) if previous is None else (previous.seq + 1, previous.hash)
    if record.seq != seq:
        return "sequence gap"
    if record.previous != head:
        return "broken link"
    if record.hash != record_hash(head, seq, record.kind, record.clock_ns, record.boot, record.body):
        return "wrong hash"
    return "" if is_canonical(record.body) else "undecodable body"


def is_canonical(body: bytes) -> bool:
    """Whether ``body`` is a map in its one canonical encoding. Total."""
    try:
        decoded = _DECODER.decode(body)
        return isinstance(decoded, dict) and _ENCODER.encode(decoded) == body
    except (msgspec.DecodeError, TypeError, ValueError, RecursionError):
        return False


def verify(records: Iterable[Record]) -> int | Problem:
    """The number of records if the whole chain holds, else the first `Problem`. Linear, total."""
    count = 0
    previous: Record | None = None
    for record in records:
        why = fault_of(record, previous)
        if why:
            return Problem(count, why)
        previous = record
        count += 1
    return count


def digest_of(parts: Iterable[str]) -> str:
    """A short digest of a state given as words in a fixed order, to compare a live state with the fold of its log (S15)."""
    return blake2b(" ".join(parts).encode(), digest_size=16).hexdigest()


def written(record: Record) -> bytes:
    """A record as it lies on a disk."""
    return _RECORD_ENCODER.encode(record)


def readable(rows: Iterable[bytes]) -> tuple[tuple[Record, ...], int]:
    """The longest prefix of a log on disk that can be read and verifies, and how many bytes come after it: what every driver does before Boot.

    Nothing after the first bad row is believed, whole or not: the chain to it is broken. Linear, total.
    """
    believed: list[Record] = []
    rest = 0
    for row in rows:
        entry = None if rest else read(row)
        if entry is None or fault_of(entry, believed[-1] if believed else None):
            rest += max(len(row), 1)
        else:
            believed.append(entry)
    return tuple(believed), rest


def read(row: bytes) -> Record | None:
    """The record that ``row`` is, if it is whole. Total."""
    try:
        return _RECORD_DECODER.decode(row)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None


class Chain:
    """The growing end of one writer's log: its last record, and up to where the driver has said that it is durable.

    ``news``: lsn of the last record that is more than a note of witnessing. A chain that is to be witnessed keeps the hashes of its records
    until they are handed over; any other keeps none.
    """

    __slots__ = ("_hashes", "boot", "durable", "last", "news")

    def __init__(self, boot: str, last: Record | None = None) -> None:
        """``last``: the last record that survived; what a log is resumed from is durable by definition."""
        self.boot = boot
        self.last = last
        self.durable = self.news = self.seq
        self._hashes: list[bytes] | None = None

    @property
    def seq(self) -> int:
        """The lsn of the last record; 0 if there is none."""
        return 0 if self.last is None else self.last.seq

    @property
    def head(self) -> bytes:
        return GENESIS if self.last is None else self.last.hash

    @property
    def pending(self) -> int:
        """How many records are appended and not known to be durable."""
        return self.seq - self.durable

    def append(self, kind: str, body: Body, clock_ns: int) -> Append:
        """Seal ``body`` onto the end. The effect must be carried out: the chain counts on it."""
        self.last = seal(self.last, kind, clock_ns, self.boot, body)
        if self._hashes is not None:
            self._hashes.append(self.last.hash)
        if kind != COSIG:
            self.news = self.last.seq
        return Append(self.last)

    def keep_hashes(self, records: Iterable[Record]) -> None:
        """From now on keep what `hand_over` gives. ``records``: those that the chain resumes from."""
        self._hashes = [record.hash for record in records]

    def hand_over(self, count: int) -> list[bytes]:
        """The hashes of the next ``count`` records, or of as many as are kept, in order; each is given once."""
        kept = self._hashes or []
        taken = kept[: max(count, 0)]
        del kept[: len(taken)]
        return taken

    def made_durable(self, lsn: int) -> None:
        """The driver said ``Durable(lsn)``. Late or repeated news changes nothing."""
        self.durable = max(self.durable, min(lsn, self.seq))


class Recovery(Struct, frozen=True):
    """What Boot makes of surviving records: the chain to go on with, the records that verify, and what was wrong with the rest."""

    chain: Chain
    records: tuple[Record, ...]
    problem: Problem | None


def recover(records: Sequence[Record], boot: str) -> Recovery:
    """Take the longest prefix of ``records`` that verifies. A ``problem`` says that more was there than could be believed: the
    writer has to put that on record itself before anything else, never go on in silence (S16, B34)."""
    result = verify(records)
    problem = result if isinstance(result, Problem) else None
    intact = tuple(records if problem is None else records[: problem.index])
    return Recovery(Chain(boot, intact[-1] if intact else None), intact, problem)
