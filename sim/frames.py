"""Messages as bytes, where it matters that they are: sealed, changed on the way, or read by another version than wrote them (protocol 3.3).

Owns the round trip of one message through the real codec. The simulator hands messages over as they are, so whatever breaks frames has to come here
with each message; links that nothing is wrong with never do.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from hashlib import blake2b
from typing import Any

import msgspec

from killswitch.core import codec
from killswitch.core.messages import Message

SEAL_BYTES = 16
PREVIOUS, CURRENT, NEXT_MINOR, NEXT_MAJOR, CRITICAL = "previous", "current", "next-minor", "next-major", "critical"
NEXT_LOG = "next-log"  # as a later version that speaks as this one does, and keeps another log
UNHEARD_OF = {"zone": "eu", "urgency": [1, {"why": None}]}  # what a later minor version might add to a body


def read(frame: bytes, sender: str, to: str) -> Message | None:
    """What a receiver makes of a frame that reached it from ``sender``: None if it is refused. A header that names others is (protocol 3.1)."""
    answer = codec.decode(frame)
    if isinstance(answer, codec.Refusal) or (answer.header.sender, answer.header.to) != (sender, to):
        return None
    return answer.message


def corrupted(message: Message, sender: str, to: str, flip: Callable[[int], int]) -> Message | None:
    """A frame in its channel's seal (TLS does that on real links) of which some bits flip. The seal is broken, and nothing arrives; that the
    codec could be given it all the same, and would raise nothing, is tried with each."""
    frame = codec.encode(message, sender, to, _tenant(sender))
    sealed = bytearray(frame + _seal(frame))
    for _ in range(1 + flip(8)):
        sealed[flip(len(sealed))] ^= 1 << flip(8)
    inside, seal = bytes(sealed[:-SEAL_BYTES]), bytes(sealed[-SEAL_BYTES:])
    found = read(inside, sender, to)
    return found if hmac.compare_digest(seal, _seal(inside)) else None


def _seal(frame: bytes) -> bytes:
    return blake2b(frame, digest_size=SEAL_BYTES, key=b"the channel's").digest()


def across(message: Message, sender: str, to: str, spoken: str, understood: str) -> Message | None:
    """``message`` as a node that understands one version reads it from a node that speaks another; None: not said, or refused."""
    name = type(message).__name__
    if PREVIOUS in (spoken, understood) and codec.TYPES_SINCE.get(name, 0) >= codec.MINOR:
        return None
    minor = codec.MINOR - 1 if PREVIOUS in (spoken, understood) else codec.MINOR + (spoken == NEXT_MINOR)
    if understood in (NEXT_MINOR, NEXT_MAJOR, CRITICAL) and spoken in (PREVIOUS, CURRENT):
        spoken = CURRENT  # what is later reads all that is earlier
    major = codec.MAJOR + (spoken == NEXT_MAJOR)
    crit = ("cell",) if spoken == CRITICAL else ()
    frame = codec.encode(message, sender, to, _tenant(sender), major=major, minor=minor, crit=crit)
    if spoken == NEXT_MINOR:
        end = codec.scan(frame)
        body: dict[str, Any] = msgspec.msgpack.decode(frame[end:])
        frame = frame[:end] + msgspec.msgpack.encode({**body, **UNHEARD_OF})
    return read(frame, sender, to)


def _tenant(node: str) -> str:
    kind, _, rest = node.partition("/")
    return "" if kind in ("replica", "operator") else rest.partition("/")[0]
