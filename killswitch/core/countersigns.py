"""Stops that more than one key asks for, as data (protocol 3.9).

Owns the message. Must not know who may countersign (``trust``) or what a policy makes of it (``replica.orders``). What was asked for travels as the
bytes that the first person signed, and everybody else signs exactly those, in a domain of its own: an approval of a resume is none.
"""

from __future__ import annotations

from msgspec import Struct

COUNTERSIGNATURES_MAX = 16  # that are looked at: verifying is what costs


class Countersignature(Struct, frozen=True, array_like=True):
    """One more person's signature over exactly the bytes of a request."""

    countersigner: str
    signature: bytes


class CountersignedRequest(Struct, frozen=True, tag=True):
    """A request for a stop, once more, with further keys. ``raw``: the canonical encoding of the `OrderRequest` without its ``signature``."""

    request: str
    raw: bytes
    signature: bytes
    countersignatures: tuple[Countersignature, ...]
