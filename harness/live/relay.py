"""A relay in a link that knows where a signal begins and ends, for the faults that a byte proxy cannot make.

Owns one hop, behind the link's Toxiproxy proxy and before its server. Toxiproxy moves bytes; a signal that is lost, held back or delivered twice
has to be cut out of the stream first. What no rule is about passes as it is, byte for byte. While a rule is in force the relay keeps what
passed and what became of it, so that what it says it did can be held against what the receiver saw. It can look into a stream under TLS because
the harness made everybody's credentials: towards each end it passes for the other. It can look into bodies because it has their keys, too; what it
passes on is sealed as it was.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from msgspec import Struct

from harness.live.guard import LOOPBACK
from harness.live.seal import Sealed, flipped
from harness.shared.signals import carries
from killswitch.core import codec
from killswitch.core.messages import Message
from killswitch.live import frames
from killswitch.live.credentials import Credentials
from killswitch.live.frames import BrokenFrame, Kind
from killswitch.live.listener import HANDSHAKE_S, Listener
from killswitch.live.sealing import Seals, Unopened

CONNECT_S = 1.0
SIGNALS_KEPT = 64  # of each way, for replays
KIND_AT = frames.HEAD.size - 1


class Rule(Struct, frozen=True, kw_only=True):
    """What happens to each signal to one receiver that carries ``what`` (`harness.shared.signals`), with a chance of ``chance_ppm``.

    ``times``: how often it is delivered, 0 is never. ``held_ns``: the longest time that it is held back, so that later ones overtake it.
    ``stalls``: nothing passes, signal or not, until the rule is lifted; then all of it does, in order. ``spoils``: bits of it flip under its
    channel's seal. ``alters``: bits of its sealed body do, under a channel's seal that is whole; where bodies are not sealed, nothing does.
    """

    what: str = "any"
    chance_ppm: int = 1_000_000
    times: int = 1
    held_ns: int = 0
    stalls: bool = False
    spoils: bool = False
    alters: bool = False


class Passed(Struct, frozen=True):
    """A signal that a rule was about: when it came, and how often and after how long it was delivered."""

    message: Message
    at_ns: int
    times: int
    held_ns: int = 0


class Delivery(NamedTuple):
    """A frame that leaves, how long it is held back before, and what spoils its seal."""

    frame: bytes
    held_ns: int = 0
    spoiler: random.Random | None = None


class Old(Struct, frozen=True):
    """A signal that has passed, to be passed again: its frame, what it said, and when."""

    at_ns: int
    message: Message
    frame: bytes


class Envelopes:
    """The bodies of one way, from ``sender`` to ``receiver``. ``seals``: of each of them; None where bodies go as they are."""

    def __init__(self, sender: str, receiver: str, seals: tuple[Seals, Seals] | None) -> None:
        self._sender, self._receiver, self._seals = sender, receiver, seals

    def frame(self, content: bytes) -> bytes:
        """The frame in which the sender says it, whether or not it is a message at all."""
        payload = frames.message_payload(0, content)
        if self._seals is None:
            return frames.pack(Kind.MESSAGE, payload)
        return frames.pack(Kind.SEALED, self._seals[0].seal(self._receiver, payload))

    def message(self, kind: Kind, payload: bytes) -> Message | None:
        """What a frame says to the receiver; None for what is no message to it."""
        try:
            if kind is Kind.SEALED and self._seals is not None:
                payload = self._seals[1].open(self._sender, payload)
            envelope = codec.decode(frames.unpack_message(payload)[1])
        except (Unopened, BrokenFrame):
            return None
        return None if isinstance(envelope, codec.Refusal) else envelope.message


class Way:
    """One direction of the relay: what passes to one receiver. ``passed`` is kept for each rule, by its name.

    ``came``: every message that came to be passed on, or was put in here, since `note_all`: what of all that did not arrive can be counted, whatever
    is said again, word for word, when a rule is over.
    ``spoilt``: how many connections something was spoilt on; ``hung_up``: how many of those the receiver then ended. ``altered``: how many bodies.
    """

    def __init__(self, envelopes: Envelopes) -> None:
        self._envelopes = envelopes
        self.spoilt = self.hung_up = self.altered = 0
        self.passed: dict[str, list[Passed]] = {}
        self.remembers = False
        self.came: list[Message] = []
        self._notes_all = False
        self.old: deque[Old] = deque(maxlen=SIGNALS_KEPT)
        self._rules: dict[str, tuple[Rule, random.Random]] = {}
        self._open = asyncio.Event()
        self._open.set()
        self._sink: Sealed | None = None

    def impose(self, name: str, rule: Rule, dice: random.Random) -> None:
        if rule.times < 0 or rule.held_ns < 0 or not 0 <= rule.chance_ppm <= 1_000_000:
            raise ValueError(f"rule: deliveries and times from 0, a chance within 0..1,000,000 (got {rule})")
        self._rules[name] = (rule, dice)
        self.passed.setdefault(name, [])
        self._turn()

    def note_all(self) -> None:
        """From here on keep every message."""
        self._notes_all = True

    @property
    def stalls(self) -> bool:
        return not self._open.is_set()

    def lift(self, name: str) -> None:
        self._rules.pop(name, None)
        self._turn()

    async def pass_on(self, kind: Kind, payload: bytes, sink: Sealed) -> None:
        """Deliver one frame as the rules say. Raises `OSError` if the connection is gone."""
        await self._open.wait()
        frame = frames.pack(kind, payload)
        deliveries = [Delivery(frame)]
        if kind in (Kind.MESSAGE, Kind.SEALED) and (self._rules or self.remembers or self._notes_all):
            message = self._envelopes.message(kind, payload)
            if message is not None:  # what is none is not ours to judge
                deliveries = list(self._deliveries(message, frame))
        for each in deliveries:
            self.spoilt += each.spoiler is not None and not sink.spoilt
            if each.held_ns:
                asyncio.get_running_loop().call_later(each.held_ns / 1e9, sink.write, each.frame, each.spoiler)
            else:
                sink.write(each.frame, each.spoiler)
        await sink.drain()

    def join(self, sink: Sealed) -> None:
        """The latest connection of the nodes themselves: somebody has said who it is, which no probe does."""
        self._sink = sink

    @property
    def joined(self) -> bool:
        return self._sink is not None and self._sink.open

    @property
    def backlog_bytes(self) -> int:
        """What the receiver's connection has not taken yet."""
        return self._sink.backlog_bytes if self._sink is not None else 0

    def inject(self, frame: bytes) -> bool:
        """Deliver a frame that nobody has sent, or not now; whether there was a connection to do so."""
        injected = self._sink is not None and self._sink.write(frame)
        if injected and self._notes_all:
            message = self._envelopes.message(Kind(frame[KIND_AT]), frame[frames.HEAD.size :])
            if message is not None:
                self.came.append(message)
        return injected

    def say(self, content: bytes) -> bool:
        """Deliver what nobody has said, as the sender would; whether there was a connection to do so."""
        return self.inject(self._envelopes.frame(content))

    def _deliveries(self, message: Message, frame: bytes) -> Iterator[Delivery]:
        if self._notes_all:
            self.came.append(message)
        if self.remembers:
            self.old.append(Old(time.monotonic_ns(), message, frame))
        now_ns = time.monotonic_ns()
        times, held_ns, spoiler = 1, 0, None
        sealed = frame[KIND_AT] == Kind.SEALED
        for name, (rule, dice) in self._rules.items():
            if not carries(message, rule.what) or rule.stalls:
                continue
            hit = dice.randrange(1_000_000) < rule.chance_ppm and (sealed or not rule.alters)
            held = dice.randrange(rule.held_ns + 1) if hit and rule.held_ns else 0
            arrives = 0 if hit and (rule.spoils or rule.alters) else rule.times if hit else 1
            self.passed[name].append(Passed(message, now_ns, arrives, held))
            if hit:
                times = 0 if rule.times == 0 else max(times, rule.times) if times else 0
                held_ns = max(held_ns, held)
                spoiler = dice if rule.spoils else spoiler
                if rule.alters:
                    frame = flipped(frame, dice, frames.HEAD.size)
                    self.altered += 1
        yield from [Delivery(frame, held_ns, spoiler)] * times

    def _turn(self) -> None:
        if any(rule.stalls for rule, _ in self._rules.values()):
            self._open.clear()
        else:
            self._open.set()


class Relay:
    """One hop from ``port`` to ``server_port``, between the nodes ``client`` and ``server``: a way to each of them.

    ``credentials``: of the client and of the server, for each of whom it passes with the other; None where they speak without any. ``seals``: of
    both, likewise.
    """

    def __init__(
        self, port: int, server_port: int, client: str, server: str, credentials: tuple[Credentials, Credentials] | None = None,
        seals: tuple[Seals, Seals] | None = None,
    ) -> None:  # fmt: skip
        self.port = port
        self.ways = {
            client: Way(Envelopes(server, client, seals and (seals[1], seals[0]))),
            server: Way(Envelopes(client, server, seals)),
        }
        self._client, self._server, self._server_port = client, server, server_port
        self._credentials = credentials
        self._listener = Listener(self._pass)  # the handshakes are the relay's own, since seals are what it may break

    async def open(self) -> None:
        """Raises `OSError` if the port is taken."""
        await self._listener.open(self.port)

    async def close(self) -> None:
        await self._listener.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        near, far = Sealed(reader, writer), None
        try:
            if self._credentials is not None:
                async with asyncio.timeout(HANDSHAKE_S):
                    await near.seal(self._credentials[1].server(), server_side=True)
            async with asyncio.timeout(CONNECT_S):
                far = Sealed(*await asyncio.open_connection(LOOPBACK, self._server_port))
                if self._credentials is not None:
                    await far.seal(self._credentials[0].client(), server_side=False)
            await self._relay(near, far)
        except (OSError, EOFError):
            pass  # the server is down, or slow to answer: the client sees its connection end, as it would without a relay
        finally:
            if far is not None:
                far.abort()

    async def _relay(self, near: Sealed, far: Sealed) -> None:
        """Both ways, until either ends."""
        client, server = self.ways[self._client], self.ways[self._server]
        halves = [asyncio.create_task(self._pump(near, far, server, client)), asyncio.create_task(self._pump(far, near, client, server))]
        try:
            await asyncio.wait(halves, return_when=asyncio.FIRST_COMPLETED)
            client.hung_up += near.spoilt and halves[0].done()
            server.hung_up += far.spoilt and halves[1].done()
        finally:
            for half in halves:
                half.cancel()
            await asyncio.gather(*halves, return_exceptions=True)

    async def _pump(self, source: Sealed, sink: Sealed, way: Way, back: Way) -> None:
        with contextlib.suppress(BrokenFrame, EOFError, OSError):
            while True:
                kind, payload = await frames.read(source)
                if kind is Kind.HELLO:
                    way.join(sink)
                    back.join(source)
                await way.pass_on(kind, payload, sink)
