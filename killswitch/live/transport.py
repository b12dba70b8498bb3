"""Messages between live nodes: framed TCP streams that reconnect by themselves, with deadlines that are all our own.

Owns connections, their queues and their deadlines. Must not know what a message means; the core repeats whatever matters, so the
transport may lose anything and promises only this: a message arrives whole, from the peer that it names, soon, or not at all.

- Who a peer is, its verified certificate says: mutual TLS 1.3 with SPIFFE ids. The first frame only repeats it, says to whom it
  believes to speak, and of which cell. Without credentials, which is for experiments on the loopback interface, that frame is all there is.
- What is said over a connection between hosts is sealed for the circle of those whom it concerns (`killswitch.live.sealing`), where there are keys
  for that. It is sealed as it leaves, and opened before it is decoded; what cannot be opened changes nothing but a count and a line on record.
- Who dials whom is fixed by the deployment. What goes to a peer that is dialled goes over the dialled connection and no other, so that
  each direction between two replicas is a link of its own; anything else goes over the newest connection which that peer opened and
  has not closed: a host that was cloned has two of them, and when its copy is gone the other is answered again.
- A dead link is noticed by silence, not by TCP, which can take minutes: the dialling side pings, and aborts when nothing came back.
- Nothing is kept for long: frames older than ``keep_s`` are dropped, because a lease request of yesterday only delays today's order.
"""

from __future__ import annotations

import asyncio
import random
import socket
import ssl
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import msgspec
from msgspec import Struct

from killswitch.core import codec, traffic
from killswitch.core.messages import Message
from killswitch.live import frames
from killswitch.live.credentials import Credentials, Stranger
from killswitch.live.frames import BrokenFrame, Hello, Kind
from killswitch.live.listener import LOOPBACK, Listener
from killswitch.live.sealing import Seals, Unopened, Unsealable, Why
from killswitch.live.stamps import Stamps

Deliver = Callable[[str, Message], Awaitable[None]]


class Deadlines(Struct, frozen=True, kw_only=True):
    """Every wait of the transport, in seconds, and its queue's bound, in frames.

    ``silence_s`` has to exceed a round trip over the slowest link that is still of use, or a slow link becomes one that never holds; ``idle_s`` and
    ``hello_s``, at the other end, exceed that. None of them bounds how fast anybody stops: leases do.
    """

    connect_s: float = 1.0
    hello_s: float = 10.0
    ping_s: float = 0.5
    silence_s: float = 5.0
    idle_s: float = 15.0
    backoff_s: float = 0.02
    backoff_cap_s: float = 0.4
    keep_s: float = 1.0
    queue: int = 1024


class Counters(Struct):
    """What became of frames. ``refused``: did not decode, or did not name the peer that sent it. ``unopened``: of those, how many bodies were not
    taken in because of their seal, by reason."""

    sent: int = 0
    received: int = 0
    dropped: int = 0
    refused: int = 0
    connected: int = 0
    unopened: dict[Why, int] = msgspec.field(default_factory=lambda: dict.fromkeys(Why, 0))


class Outbox:
    """The bounded queue towards one peer, in two lanes: prohibitions leave first, and are dropped only for newer prohibitions."""

    def __init__(self, bound: int, counters: Counters) -> None:
        self._bound = bound
        self._counters = counters
        self._urgent: deque[tuple[float, bytes]] = deque()
        self._usual: deque[tuple[float, bytes]] = deque()
        self._filled = asyncio.Event()

    def __len__(self) -> int:
        return len(self._urgent) + len(self._usual)

    def put(self, payload: bytes, now_s: float, *, urgent: bool) -> None:
        (self._urgent if urgent else self._usual).append((now_s, payload))
        if len(self) > self._bound:
            (self._usual or self._urgent).popleft()
            self._counters.dropped += 1
        self._filled.set()

    async def take(self) -> tuple[float, bytes]:
        """The next payload and when it was put; waits for one."""
        while not len(self):
            self._filled.clear()
            await self._filled.wait()
        return (self._urgent or self._usual).popleft()


class Transport:
    """All connections of one node. ``deliver(sender, message)`` may wait, which holds back that one connection.

    ``credentials``: without them it speaks on the loopback interface only. ``refused(why, who)`` is told of everybody who was turned away.
    ``stamps`` go along with messages, and hear of those that come. ``seals``: without them bodies go and come as they are.
    """

    def __init__(
        self, node: str, tenant: str, cell: str, deliver: Deliver, deadlines: Deadlines | None = None, *,
        credentials: Credentials | None = None, refused: Callable[[str, str], None] = lambda _why, _who: None, stamps: Stamps | None = None,
        seals: Seals | None = None,
    ) -> None:  # fmt: skip
        self.counters = Counters()
        self._seals = seals
        self._stamps = stamps or Stamps()
        self._node = node
        self._tenant = tenant
        self._cell = cell
        self._deliver = deliver
        self._deadlines = deadlines or Deadlines()
        self._versions = codec.PeerVersions()
        self._dialled: dict[str, Outbox] = {}
        self._accepted: dict[str, list[Outbox]] = {}  # the newest connection of a peer comes last
        self._tasks: set[asyncio.Task[None]] = set()
        self._credentials = credentials
        self._refused = refused
        self._listener = Listener(self._accept, credentials, self._refuse)

    # -- Opening ---------------------------------------------------------------------------------------------------------------------

    async def listen(self, port: int, host: str = LOOPBACK) -> None:
        """Accept peers. Raises `OSError` if the port is taken, `ValueError` for an address that takes credentials."""
        self._only_loopback(host)
        await self._listener.open(port, host)

    def dial(self, peer: str, port: int, host: str = LOOPBACK) -> None:
        """Keep a connection to ``peer`` open from now on, whatever happens to it. Raises `ValueError` for an address that takes credentials."""
        self._only_loopback(host)
        self._dialled[peer] = self._new_outbox()
        self._start(self._keep_dialling(peer, host, port))

    def adopt(self, peer: str, connected: socket.socket) -> asyncio.Task[None]:
        """Speak with ``peer`` over a socket that was handed over, which is proof of who it is. The task ends when the stream does.

        There is a way to ``peer`` as soon as this returns: what is sent at once waits for the stream.
        """
        outbox = self._accept_from(peer)
        return self._start(self._adopted(peer, connected, outbox))

    # -- Sending ---------------------------------------------------------------------------------------------------------------------

    def send(self, to: str, message: Message) -> None:
        """Queue ``message``; without a way to ``to`` it is dropped."""
        outbox = self._dialled[to] if to in self._dialled else next(reversed(self._accepted.get(to, ())), None)
        if outbox is None:
            self.counters.dropped += 1
            return
        try:
            payload = frames.message_payload(self._stamps.last, codec.encode(message, self._node, to, self._tenant))
        except ValueError:  # over the limits: nobody could read it, and one message is not worth the node
            self.counters.dropped += 1
            return
        outbox.put(payload, asyncio.get_running_loop().time(), urgent=traffic.is_prohibition(message))

    async def flush(self, within_s: float) -> None:
        """Give the queues up to ``within_s`` to empty, before an orderly exit."""
        deadline = asyncio.get_running_loop().time() + within_s
        boxes = (*self._dialled.values(), *(outbox for outboxes in self._accepted.values() for outbox in outboxes))
        while any(len(box) for box in boxes) and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110  # many queues, one short wait
            await asyncio.sleep(0.002)
        await asyncio.sleep(0.002)  # the last frame has left its queue: let its write reach the socket

    async def close(self) -> None:
        """End every connection at once. Never waits on a peer."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._listener.close()

    # -- Connections -----------------------------------------------------------------------------------------------------------------

    async def _keep_dialling(self, peer: str, host: str, port: int) -> None:
        deadlines, attempt = self._deadlines, 0
        hello = frames.pack_hello(Hello(self._cell, self._node, peer, seals=self._seals is not None))
        while True:
            try:
                reader, writer = await self._connect(peer, host, port)
            except (OSError, EOFError, TimeoutError):
                attempt += 1
            except Stranger as stranger:
                attempt += 1
                self._refuse(str(stranger), f"{peer} at {host}:{port}")
            else:
                writer.write(hello)
                stream = _Stream(reader, writer, deadlines.silence_s, self._seals)
                heard = await self._converse(stream, peer, self._dialled[peer], self._ping(stream))
                # Through a proxy every connect succeeds: only a peer that was heard makes the next attempt an early one.
                attempt = 0 if heard else attempt + 1
            # Full jitter: a whole fleet that lost the same peer must not come back in step.
            await asyncio.sleep(random.random() * min(deadlines.backoff_cap_s, deadlines.backoff_s * 2 ** min(attempt, 16)))

    async def _connect(self, peer: str, host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Raises `OSError`, `EOFError` or `TimeoutError` if there is no way, `Stranger` if somebody else than ``peer`` is at its end."""
        if self._credentials is None:
            async with asyncio.timeout(self._deadlines.connect_s):
                return await asyncio.open_connection(host, port)
        async with asyncio.timeout(self._deadlines.silence_s):  # a handshake is a round trip, and as slow as any
            try:
                reader, writer = await asyncio.open_connection(host, port, ssl=self._credentials.client())
            except ssl.SSLCertVerificationError as error:
                raise Stranger(f"certificate: {error.verify_message}") from error
        try:
            self._credentials.expect(peer, writer.get_extra_info("ssl_object"))
        except Stranger:
            writer.transport.abort()
            raise
        return reader, writer

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        who = "{}:{}".format(*writer.get_extra_info("peername", ("?", "?"))[:2])
        try:
            if self._credentials is not None:
                who = f"{self._credentials.peer(writer.get_extra_info('ssl_object'))} at {who}"
            hello = await self._greeting(reader, writer)
            if self._credentials is not None:
                self._credentials.expect(hello.node, writer.get_extra_info("ssl_object"))
            outbox = self._accept_from(hello.node)
            try:
                stream = _Stream(reader, writer, self._deadlines.idle_s, self._seals)
                if self._seals is not None and hello.seals:  # it is told so, too: where plain bodies are allowed it waits for that
                    stream.seals_out = True
                    writer.write(frames.pack_hello(Hello(self._cell, self._node, hello.node, seals=True)))
                await self._converse(stream, hello.node, outbox)
            finally:
                self._part_from(hello.node, outbox)
        except (BrokenFrame, Stranger) as wrong:
            self._refuse(str(wrong), who)
        except (OSError, EOFError, TimeoutError):
            self.counters.refused += 1  # it left, or never said a word

    def _refuse(self, why: str, who: str) -> None:
        self.counters.refused += 1
        self._refused(why, who)

    def _only_loopback(self, host: str) -> None:
        if self._credentials is None and host != LOOPBACK:
            raise ValueError(f"{host}: without credentials only {LOOPBACK} is spoken to; `killswitch pki` makes some")

    async def _greeting(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Hello:
        """Who connects; until then only probes are answered. Raises `BrokenFrame`, `OSError`, `EOFError` or `TimeoutError`."""
        async with asyncio.timeout(self._deadlines.hello_s):
            while True:
                kind, payload = await frames.read(reader)
                if kind is Kind.PING:
                    writer.write(frames.pack(Kind.PONG, payload))
                    continue
                if kind is not Kind.HELLO:
                    raise BrokenFrame(f"{kind.name} before HELLO")
                hello = frames.unpack_hello(payload)
                if (hello.cell, hello.to) != (self._cell, self._node):
                    raise BrokenFrame(f"for {hello.to} of {hello.cell}, but this is {self._node} of {self._cell}")
                return hello

    async def _adopted(self, peer: str, connected: socket.socket, outbox: Outbox) -> None:
        connected.setblocking(False)
        try:
            reader, writer = await asyncio.open_unix_connection(sock=connected)
            await self._converse(_Stream(reader, writer, None), peer, outbox, to_the_end=True)
        finally:
            self._part_from(peer, outbox)

    async def _converse(
        self, stream: _Stream, peer: str, outbox: Outbox, *beside: Coroutine[Any, Any, None], to_the_end: bool = False
    ) -> bool:  # fmt: skip
        """Read and write until either ends, or ``to_the_end`` of what the peer wrote; whether anything was heard from it."""
        self.counters.connected += 1
        halves = [asyncio.create_task(half) for half in (self._read(stream, peer), self._write(stream, peer, outbox), *beside)]
        try:
            await asyncio.wait(halves[:1] if to_the_end else halves, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for half in halves:
                half.cancel()
            ends = await asyncio.gather(*halves, return_exceptions=True)
            stream.writer.transport.abort()  # never wait_closed(): that waits on the peer
            for end in ends:
                self._take_note(end, peer)
        return stream.heard

    def _take_note(self, end: BaseException | None, peer: str) -> None:
        """How half a conversation ended. A fault of ours is told loudly, and ends this connection alone: a kill may come over the next."""
        match end:
            case BrokenFrame():
                self._refuse(str(end), peer)
            case None | OSError() | EOFError() | TimeoutError() | asyncio.CancelledError():
                pass
            case _:
                asyncio.get_running_loop().call_exception_handler({"message": f"conversation with {peer}", "exception": end})

    async def _read(self, stream: _Stream, peer: str) -> None:
        while True:
            async with asyncio.timeout(stream.silence_s):
                kind, payload = await frames.read(stream.reader)
            stream.heard = True
            if kind is Kind.PING:
                stream.writer.write(frames.pack(Kind.PONG, payload))
            elif kind is Kind.HELLO:
                stream.seals_out = stream.seals is not None and (stream.seals_out or frames.unpack_hello(payload).seals)
            elif kind in (Kind.MESSAGE, Kind.SEALED):
                try:
                    stamp, content = frames.unpack_message(self._opened(stream, peer, kind, payload))
                except Unopened as unopened:
                    self.counters.unopened[unopened.why] += 1
                    self._refuse(str(unopened), peer)
                    continue
                envelope = codec.decode(content)
                if isinstance(envelope, codec.Refusal) or not self._admits(peer, envelope.header):
                    self.counters.refused += 1  # one bad message changes only its own outcome (S26)
                    continue
                self.counters.received += 1
                self._stamps.hear(stamp)
                await self._deliver(peer, envelope.message)

    def _opened(self, stream: _Stream, peer: str, kind: Kind, payload: bytes) -> bytes:
        """The payload of a message as it was before it was sealed. Raises `Unopened`."""
        if kind is Kind.MESSAGE:
            if stream.seals is not None and stream.seals.required:
                raise Unopened(Why.PLAIN, "`sealed-bodies: allowed` in the cell's file lets peers of an earlier version in")
            return payload
        if stream.seals is None:
            raise Unopened(Why.KEY, f"{self._node} has none on this connection")
        return stream.seals.open(peer, payload)

    def keyset_turned(self) -> None:
        """A later keyset is in force, by which a fleet that was rolled back starts afresh (V5)."""
        self._versions.turn()

    def _admits(self, peer: str, header: codec.Header) -> bool:
        """Only what a peer says itself, to us, in no earlier version than it has spoken before (V5)."""
        return (header.sender, header.to) == (peer, self._node) and self._versions.admits(peer, header)

    async def _write(self, stream: _Stream, peer: str, outbox: Outbox) -> None:
        loop = asyncio.get_running_loop()
        while True:
            put_s, payload = await outbox.take()
            if loop.time() - put_s > self._deadlines.keep_s:
                self.counters.dropped += 1
                continue
            try:
                stream.writer.write(stream.packed(peer, payload))
            except Unsealable as why:
                self.counters.dropped += 1
                self._refuse(str(why), peer)
                continue
            self.counters.sent += 1
            await stream.writer.drain()

    async def _ping(self, stream: _Stream) -> None:
        ping = frames.pack(Kind.PING, b"")
        while True:
            stream.writer.write(ping)
            await asyncio.sleep(self._deadlines.ping_s)

    def _accept_from(self, peer: str) -> Outbox:
        outbox = self._new_outbox()
        self._accepted.setdefault(peer, []).append(outbox)
        return outbox

    def _part_from(self, peer: str, outbox: Outbox) -> None:
        """That connection has ended; others of the same peer stay."""
        self._accepted[peer] = [other for other in self._accepted[peer] if other is not outbox]
        if not self._accepted[peer]:
            del self._accepted[peer]

    def _new_outbox(self) -> Outbox:
        return Outbox(self._deadlines.queue, self.counters)

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


class _Stream:
    """One open connection; ``silence_s`` without a frame ends it (None: never).

    ``seals``: None where bodies are as they are, such as between a sidecar and its own agent: that stays on one host, and no agent has a key.
    ``seals_out``: whether what leaves is sealed; if that is not required, not before the peer is known to read it.
    """

    __slots__ = ("heard", "reader", "seals", "seals_out", "silence_s", "writer")

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, silence_s: float | None, seals: Seals | None = None
    ) -> None:  # fmt: skip
        self.reader = reader
        self.writer = writer
        self.silence_s = silence_s
        self.heard = False
        self.seals = seals
        self.seals_out = seals is not None and seals.required

    def packed(self, peer: str, payload: bytes) -> bytes:
        """The frame of a message's payload. Raises `Unsealable`."""
        if self.seals is None or not self.seals_out:
            return frames.pack(Kind.MESSAGE, payload)
        return frames.pack(Kind.SEALED, self.seals.seal(peer, payload))
