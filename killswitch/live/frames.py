"""How bytes on a stream become frames: four bytes of length, one byte of kind, and the rest.

Owns framing and its limits. Must not know messages: the payload of a `Kind.MESSAGE` is a stamp, which is its sender's (`killswitch.live.stamps`),
and what the codec made. Shared by the transport, by the relay that sits in a link, and by the probe that measures one, so that all three agree
on where a frame ends.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Protocol

import msgspec
from msgspec import Struct

HEAD = struct.Struct(">IB")  # the length counts what follows it: the kind and the payload
LIMIT = (1 << 20) + (1 << 10)  # the codec's limit of a message, and room for the kind, the stamp and a seal
STAMP = struct.Struct(">Q")


class Kind(IntEnum):
    """HELLO says who connects and to whom, and is answered by one if both seal bodies; a PING is answered by a PONG of the same payload, before and
    after any HELLO. A SEALED is a MESSAGE whose body is sealed (`killswitch.live.sealing`)."""

    HELLO = 1
    MESSAGE = 2
    PING = 3
    PONG = 4
    SEALED = 5


class Hello(Struct, frozen=True, array_like=True):
    """``cell`` keeps two deployments on one host apart should a port change hands between them. ``seals``: whether sealed bodies can be read here;
    earlier versions neither say so nor can."""

    cell: str
    node: str
    to: str
    seals: bool = False


class Source(Protocol):
    """Where bytes come from: a `StreamReader`, or whatever else reads as one."""

    async def readexactly(self, size: int, /) -> bytes: ...


class BrokenFrame(Exception):
    """The peer sent what is no frame: the connection is of no further use."""


def pack(kind: Kind, payload: bytes) -> bytes:
    return HEAD.pack(len(payload) + 1, kind) + payload


async def read(reader: Source) -> tuple[Kind, bytes]:
    """The next frame. Raises `BrokenFrame` for nonsense, `EOFError` or `OSError` when the stream ends."""
    length, kind = HEAD.unpack(await reader.readexactly(HEAD.size))
    if not 1 <= length <= LIMIT:
        raise BrokenFrame(f"length out of 1..{LIMIT} (got {length})")
    try:
        known = Kind(kind)
    except ValueError:
        raise BrokenFrame(f"unknown kind (got {kind})") from None
    return known, await reader.readexactly(length - 1)


def message_payload(stamp: int, content: bytes) -> bytes:
    """The payload of a MESSAGE. ``content``: what the codec made of a message."""
    return STAMP.pack(stamp) + content


def pack_message(stamp: int, content: bytes) -> bytes:
    """``content``: what the codec made of a message."""
    return pack(Kind.MESSAGE, message_payload(stamp, content))


def unpack_message(payload: bytes) -> tuple[int, bytes]:
    """The stamp and what the codec reads. Raises `BrokenFrame`."""
    if len(payload) < STAMP.size:
        raise BrokenFrame(f"message: too short for its stamp (got {len(payload)} bytes)")
    return STAMP.unpack_from(payload)[0], payload[STAMP.size :]


def pack_hello(hello: Hello) -> bytes:
    return pack(Kind.HELLO, msgspec.msgpack.encode(hello))


def unpack_hello(payload: bytes) -> Hello:
    """Raises `BrokenFrame`."""
    try:
        return msgspec.msgpack.decode(payload, type=Hello)
    except msgspec.DecodeError as error:
        raise BrokenFrame(f"hello: {error}") from error
