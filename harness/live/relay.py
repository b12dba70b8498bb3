"""A relay in a link that knows where a signal begins and ends, for the faults that a byte proxy cannot make.

Owns one hop, behind the link's Toxiproxy proxy and before its server. Toxiproxy moves bytes; a signal delivered twice has to be
cut out of the stream first. What passes is otherwise left as it is, byte for byte, and counted, so that what the relay says it did
can be held against what the receiver saw.
"""

from __future__ import annotations

import asyncio
import contextlib

from msgspec import Struct

from harness.live.guard import LOOPBACK
from harness.signals import carries
from killswitch.core import codec
from killswitch.live import frames
from killswitch.live.frames import BrokenFrame, Kind
from killswitch.live.listener import Listener

CONNECT_S = 1.0


class Counts(Struct):
    """Since the relay was opened: signals of the kind asked for that passed, and how many more deliveries were made of them."""

    signals: int = 0
    extra: int = 0


class Relay:
    """One hop from ``port`` to ``server_port``. Signals are duplicated by receiver: a link has one at each end."""

    def __init__(self, port: int, server_port: int) -> None:
        self.port = port
        self._server_port = server_port
        self._orders: dict[str, tuple[str, int]] = {}
        self._counts: dict[str, Counts] = {}
        self._listener = Listener(self._pass)

    async def open(self) -> None:
        """Raises `OSError` if the port is taken."""
        await self._listener.open(self.port)

    def duplicate(self, receiver: str, what: str, times: int) -> None:
        """From now on deliver every signal to ``receiver`` that carries ``what`` (`harness.signals`) ``times`` times in all."""
        if times < 1:
            raise ValueError(f"times: at least 1 (got {times})")
        self._orders[receiver] = (what, times)

    def leave(self, receiver: str) -> None:
        """From now on deliver everything to ``receiver`` once."""
        self._orders.pop(receiver, None)

    def counts(self, receiver: str) -> Counts:
        return self._counts.setdefault(receiver, Counts())

    async def close(self) -> None:
        await self._listener.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream: asyncio.StreamWriter | None = None
        try:
            async with asyncio.timeout(CONNECT_S):
                answers, upstream = await asyncio.open_connection(LOOPBACK, self._server_port)
            halves = [asyncio.create_task(self._pump(reader, upstream)), asyncio.create_task(self._pump(answers, writer))]
            try:
                await asyncio.wait(halves, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for half in halves:
                    half.cancel()
                await asyncio.gather(*halves, return_exceptions=True)
        except OSError:
            pass  # the server is down, or slow to answer: the client sees its connection end, as it would without a relay
        finally:
            if upstream is not None:
                upstream.transport.abort()

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(BrokenFrame, EOFError, OSError):
            while True:
                kind, payload = await frames.read(source)
                frame = frames.pack(kind, payload)
                sink.write(frame * (self._deliveries(payload) if kind is Kind.MESSAGE else 1))
                await sink.drain()

    def _deliveries(self, payload: bytes) -> int:
        envelope = codec.decode(payload)
        if isinstance(envelope, codec.Refusal) or envelope.header.to not in self._orders:
            return 1
        what, times = self._orders[envelope.header.to]
        if not carries(envelope.message, what):
            return 1
        counts = self.counts(envelope.header.to)
        counts.signals += 1
        counts.extra += times - 1
        return times
