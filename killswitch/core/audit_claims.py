"""What the logs of a trail prove of each other: the records that could only be written because another log held something (protocol 5).

Owns these claims, and which of them a log does not bear out. Must not know what an export is, nor who may see which record. A chain of hashes
cannot show that its own end was cut off; what others wrote down because of that end can.

|A record of|which says|proves that|
|---|---|---|
|a witness, COSIG|it cosigned a head of so many records|the log had so many, with that root; its writer's own signature says so|
|a replica, EVIDENCE|what an agent's sidecar has proved|the sidecar's log held that EVIDENCE: it leaves once it is durable|
|a replica, ORDER_EFFECTIVE|who holds the order durably|each holder's log had its ORDER_ACCEPTED|
|a replica, FENCE_ACKED|that a sink's fence holds|the sink's log had that FENCE|
|a sink, APPLIED|an effect of an agent|the agent's log had its INTENT or UNDO (J1)|
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct

from killswitch.core import audit, intent, transparency
from killswitch.core.events import Record
from killswitch.core.heads import Cosignature, Sth
from killswitch.core.keys import Signer


class Claim(Struct, frozen=True):
    """Record ``seq`` of ``writer``, of that ``kind``, proves that the log of ``about`` had ``size`` records under ``root``, or a record of which
    ``mark`` is the name. ``witness``: who cosigned that root; whether he may is another question."""

    writer: str
    seq: int
    kind: str
    about: str
    size: int = 0
    root: bytes = b""
    mark: str = ""
    witness: str = ""

    @property
    def source(self) -> str:
        return f"record {self.seq} of {self.writer} ({self.kind})"


def claims(writer: str, records: Sequence[Record], signer: Signer) -> Iterator[Claim]:
    """What the records of one log, each of which verifies, prove of others. A body that no node of ours writes proves nothing."""
    for record in records:
        try:
            yield from _claims(writer, record, audit.content(record), signer)
        except (KeyError, TypeError, ValueError, AttributeError):
            continue


def _claims(writer: str, record: Record, body: Mapping[str, Any], signer: Signer) -> Iterator[Claim]:
    match writer.partition("/")[0], record.kind:
        case _, audit.COSIG:
            for *head, signature in body["heads"]:
                if transparency.believes_cosignature(signer, Cosignature(Sth(*head), body["witness"], signature)):
                    yield Claim(writer, record.seq, record.kind, head[0], size=head[1], root=head[2], witness=body["witness"])
        case "replica", "EVIDENCE":
            mark = _name("EVIDENCE", body["order"], body["stage"], body["token"])
            yield Claim(writer, record.seq, record.kind, f"sidecar/{body['agent']}", mark=mark)
        case "replica", "ORDER_EFFECTIVE":
            for holder in body["holders"]:
                yield Claim(writer, record.seq, record.kind, str(holder), mark=_name("ORDER_ACCEPTED", body["order"]))
        case "replica", "FENCE_ACKED":
            yield Claim(writer, record.seq, record.kind, str(body["sink"]), mark=_name("FENCE", body["agent"], body["token"]))
        case "sink", "APPLIED":
            yield Claim(writer, record.seq, record.kind, f"agent/{body['agent']}", mark=_name("INTENT", body["key"]))


def marks(records: Sequence[Record]) -> frozenset[str]:
    """The names of those records of a log that others may refer to."""
    return frozenset(mark for record in records if (mark := _mark(record.kind, audit.content(record))))


def _mark(kind: str, body: Mapping[str, Any]) -> str:
    match kind, body:
        case "EVIDENCE", {"order": order, "stage": stage, "token": token}:
            return _name(kind, order, stage, token)
        case "ORDER_ACCEPTED", {"raw": bytes() as raw}:
            return _name(kind, intent.content_id(raw))
        case "FENCE", {"agent": agent, "token": token}:
            return _name(kind, agent, token)
        case (("INTENT" | "UNDO"), {"key": key}):
            return _name("INTENT", key)
    return ""


def _name(kind: str, *parts: object) -> str:
    """One text for one record, whatever stands in it: total, and nothing in it has to be hashable."""
    return " ".join((kind, *map(repr, parts)))
