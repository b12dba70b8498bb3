"""One end of a connection whose bytes can be spoilt after they have been sealed, which asyncio's own TLS lets nobody do.

Owns the sealing of a stream (TLS over memory) and the bits that flip in what leaves. Must not know frames, nor who is at the other end: whose
credentials are used, and whether bits flip, is for the relay to say. Bits have to flip below the seal, because above it nothing would show that
they did: a lease that reads longer than it was granted is believed, and nobody promised anything for a channel that changes what is said.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import Callable
from typing import TypeVar

CHUNK = 1 << 16
RECORD_HEAD = 5  # of a TLS record: type, version, length; bits flip behind it, or the stream would be broken rather than the seal
FLIPS_MAX = 8

Result = TypeVar("Result")


class Sealed:
    """What passes over ``reader`` and ``writer``: in the clear, until `seal` has shaken hands. ``spoilt``: bits flipped in something that left."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.spoilt = False
        self._reader, self._writer = reader, writer
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls: ssl.SSLObject | None = None
        self._clear = bytearray()

    async def seal(self, context: ssl.SSLContext, *, server_side: bool) -> None:
        """Shake hands. Raises `OSError` (TLS errors are) or `EOFError` if that fails."""
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=server_side)
        await self._through(self._tls.do_handshake)

    async def readexactly(self, size: int) -> bytes:
        """As a `StreamReader` does. Raises `EOFError` or `OSError` when the stream ends, or its seal is broken."""
        if self._tls is None:
            return await self._reader.readexactly(size)
        tls = self._tls
        while len(self._clear) < size:
            piece = await self._through(lambda: tls.read(CHUNK))
            if not piece:
                raise EOFError("the peer has said all that it will")
            self._clear += piece
        asked = bytes(self._clear[:size])
        del self._clear[:size]
        return asked

    @property
    def open(self) -> bool:
        return not self._writer.is_closing()

    @property
    def backlog_bytes(self) -> int:
        """What was written and still waits here."""
        return self._writer.transport.get_write_buffer_size()

    def write(self, clear: bytes, dice: random.Random | None = None) -> bool:
        """Send ``clear``, with a few bits flipped where ``dice`` say; whether there was still somebody to send to."""
        if not self.open:
            return False
        if self._tls is None:
            leaving = clear
        else:
            self._tls.write(clear)
            leaving = self._outgoing.read()
        if dice is not None:
            leaving = flipped(leaving, dice)
            self.spoilt = True
        self._writer.write(leaving)
        return True

    async def drain(self) -> None:
        await self._writer.drain()

    def abort(self) -> None:
        self._writer.transport.abort()

    async def _through(self, act: Callable[[], Result]) -> Result:
        """Do ``act`` as soon as enough has come in for it; what it has to say goes out."""
        while True:
            try:
                done = act()
            except ssl.SSLWantReadError:
                self._flush()
                arrived = await self._reader.read(CHUNK)
                if not arrived:
                    raise EOFError("the stream ended in the middle") from None
                self._incoming.write(arrived)
            else:
                self._flush()
                return done

    def _flush(self) -> None:
        if self._outgoing.pending:
            self._writer.write(self._outgoing.read())


def flipped(sealed: bytes, dice: random.Random, head: int = RECORD_HEAD) -> bytes:
    """``sealed`` with one to `FLIPS_MAX` bits turned over, behind its ``head``: that of a TLS record, if nothing else is said."""
    spoilt = bytearray(sealed)
    places = range(min(head, len(spoilt) - 1) * 8, len(spoilt) * 8)
    for place in dice.sample(places, min(len(places), dice.randint(1, FLIPS_MAX))):
        spoilt[place // 8] ^= 1 << place % 8
    return bytes(spoilt)
