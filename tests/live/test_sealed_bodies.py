"""Sealed bodies on real sockets: what somebody sees who stands where TLS ends, who is not understood, and how keys and versions change meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from random import Random
from typing import Any

import pytest

from harness.live.ports import free_port
from harness.live.relay import Relay, Rule
from harness.live.seal import Sealed
from killswitch.core import codec
from killswitch.core.messages import GateNotice, Message, Order, OrderPush, Query
from killswitch.live import frames
from killswitch.live.credentials import Credentials
from killswitch.live.frames import Hello, Kind
from killswitch.live.pki import Pki, sealing_file
from killswitch.live.sealing import LOOK_S, Sealing, Seals, Why
from killswitch.live.transport import Deadlines, Transport
from tests.live.scenes import play, until

pytestmark = pytest.mark.live

SIDECAR, OTHER, REPLICA = "sidecar/acme/1", "sidecar/globex/1", "replica/1"
NODES = (REPLICA, "replica/2", SIDECAR, OTHER)
QUICK = Deadlines(ping_s=0.05, silence_s=0.5)
PassOn = Callable[[Kind, bytes, Sealed], Coroutine[Any, Any, None]]
SECRET = "what-nobody-else-reads"


class End:
    """A transport with an inbox. ``required`` None: it has no keys, as one of an earlier version."""

    def __init__(self, directory: Path, pki: Pki, node: str, *, required: bool | None = True) -> None:
        self.node = node
        self.messages: list[Message] = []
        self.refused: list[str] = []
        self.seals = None if required is None else Seals(Sealing(str(sealing_file(directory, node)), required), node)
        self.credentials = Credentials(pki.files(node))
        self.transport = Transport(
            node, "", "cell", self.deliver, QUICK, credentials=self.credentials, refused=lambda why, _who: self.refused.append(why), seals=self.seals
        )

    async def deliver(self, _sender: str, message: Message) -> None:
        self.messages.append(message)


class Listening(Relay):
    """A relay that keeps all that passes it after TLS has ended there, as a proxy could."""

    def __init__(self, server_port: int, client: End, server: End) -> None:
        seals = (client.seals, server.seals) if client.seals and server.seals else None
        super().__init__(free_port(), server_port, client.node, server.node, (client.credentials, server.credentials), seals)
        self.seen: list[bytes] = []
        for way in self.ways.values():
            way.pass_on = self._listening(way.pass_on)  # type: ignore[method-assign, assignment]

    def _listening(self, pass_on: PassOn) -> PassOn:
        async def heard(kind: Kind, payload: bytes, sink: Sealed) -> None:
            self.seen.append(bytes([kind]) + payload)
            await pass_on(kind, payload, sink)

        return heard


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    made = Pki(tmp_path, "test.example")
    made.issue(NODES)
    return made


async def joined(client: End, server: End) -> Listening:
    """Both up, with somebody between them who listens."""
    port = free_port()
    await server.transport.listen(port)
    between = Listening(port, client, server)
    await between.open()
    client.transport.dial(server.node, between.port)
    await until(lambda: server.transport.counters.connected == 1)
    return between


async def parted(*closing: End | Listening) -> None:
    for each in closing:
        await (each.transport if isinstance(each, End) else each).close()


@pytest.mark.parametrize("sealed", [True, False])
def test_whoever_stands_where_tls_ends_reads_no_body(tmp_path: Path, pki: Pki, *, sealed: bool) -> None:
    async def scene() -> None:
        sidecar, replica = (End(tmp_path, pki, node, required=sealed or None) for node in (SIDECAR, REPLICA))
        between = await joined(sidecar, replica)
        push = OrderPush((Order(SECRET.encode(), REPLICA, b"signature"),), ())
        sidecar.transport.send(REPLICA, Query("acme/1", SECRET))
        await until(lambda: bool(replica.messages))
        replica.transport.send(SIDECAR, push)
        await until(lambda: bool(sidecar.messages))
        assert (replica.messages, sidecar.messages) == ([Query("acme/1", SECRET)], [push])
        said = [each for each in between.seen if each[0] in (Kind.MESSAGE, Kind.SEALED)]
        assert [each[0] == Kind.SEALED for each in said] == [sealed] * 2
        assert [SECRET.encode() in each for each in said] == [not sealed] * 2  # or this would see nothing whatever was done
        await parted(sidecar, between, replica)

    play(scene)


def test_a_body_that_was_altered_or_borrowed_or_left_plain_costs_itself_and_no_connection(tmp_path: Path, pki: Pki) -> None:
    async def scene() -> None:
        sidecar, replica = End(tmp_path, pki, SIDECAR), End(tmp_path, pki, REPLICA)
        between = await joined(sidecar, replica)
        way = between.ways[REPLICA]
        way.impose("bits", Rule(alters=True), Random(1))
        sidecar.transport.send(REPLICA, Query("acme/1", "altered"))
        await until(lambda: bool(replica.refused))
        assert replica.transport.counters.unopened[Why.SEAL] + replica.transport.counters.unopened[Why.KEY] == way.altered == 1
        way.lift("bits")
        content = codec.encode(Query("acme/1", "k"), SIDECAR, REPLICA, "")
        payload = frames.message_payload(0, content)
        stolen = Seals(Sealing(str(sealing_file(tmp_path, OTHER))), OTHER).seal(REPLICA, payload)  # with the key of another tenant
        assert way.inject(frames.pack(Kind.SEALED, stolen)) and way.inject(frames.pack(Kind.MESSAGE, payload))
        assert way.inject(frames.pack(Kind.SEALED, b"short"))
        await until(lambda: len(replica.refused) == 4)
        assert replica.refused[2].startswith("body: not sealed; `sealed-bodies: allowed`")
        assert [replica.transport.counters.unopened[why] for why in (Why.PLAIN, Why.FORM)] == [1, 1]
        assert replica.transport.counters.refused == 4 and replica.messages == []
        assert way.say(content)  # and what is forged under the right key gets as far as whoever checks signatures
        await until(lambda: replica.messages == [Query("acme/1", "k")])
        assert replica.transport.counters.connected == 1
        await parted(sidecar, between, replica)

    play(scene)


def test_keys_turn_while_nodes_speak_and_nothing_is_lost(tmp_path: Path, pki: Pki) -> None:
    async def scene() -> None:
        sidecar, replica = End(tmp_path, pki, SIDECAR), End(tmp_path, pki, REPLICA)
        between = await joined(sidecar, replica)
        number = 0
        for _ in range(3):
            pki.turn("acme", NODES)
            enough = time.monotonic() + LOOK_S + 0.3
            while time.monotonic() < enough:
                sidecar.transport.send(REPLICA, Query("acme/1", f"{number}"))
                number += 1
                await asyncio.sleep(0.02)
        await until(lambda: len(replica.messages) == number)
        keys = {each[9:17] for each in between.seen if each[0] == Kind.SEALED}
        assert len(keys) == 2 and replica.refused == [] and replica.transport.counters.connected == 1
        await parted(sidecar, between, replica)

    play(scene)


@pytest.mark.parametrize(
    ("client_keys", "server_keys", "kind"),
    [(None, False, Kind.MESSAGE), (False, None, Kind.MESSAGE), (False, False, Kind.SEALED), (False, True, Kind.SEALED), (True, False, Kind.SEALED)],
)
def test_a_cell_is_upgraded_host_by_host(tmp_path: Path, pki: Pki, client_keys: bool | None, server_keys: bool | None, kind: Kind) -> None:
    """From no keys, as an earlier version has none, to plain bodies allowed, to seals required: neighbours in that row always speak."""

    async def scene() -> None:
        client, server = End(tmp_path, pki, SIDECAR, required=client_keys), End(tmp_path, pki, REPLICA, required=server_keys)
        between = await joined(client, server)
        await asyncio.sleep(0.1)  # for the answer to who dials, who seals nothing before it where that is not required
        for number in range(3):
            client.transport.send(REPLICA, Query("acme/1", f"{number}"))
            server.transport.send(SIDECAR, GateNotice(number))
            await until(lambda number=number: len(server.messages) == len(client.messages) == number + 1)  # type: ignore[misc]
        said = [each[0] for each in between.seen if each[0] in (Kind.MESSAGE, Kind.SEALED)]
        assert said == [kind] * 6 and client.refused == server.refused == []
        await parted(client, between, server)

    play(scene)


def test_a_hello_of_an_earlier_version_is_read() -> None:
    earlier = b"\x93\xa4cell\xa9replica/1\xa9replica/2"
    assert frames.unpack_hello(earlier) == Hello("cell", "replica/1", "replica/2", seals=False)
