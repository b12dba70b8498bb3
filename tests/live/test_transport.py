"""The transport on real sockets: right peer, right message, our own deadlines, and nothing kept too long."""

from __future__ import annotations

import asyncio
import random
import socket
import time

import pytest

from harness.live.ports import free_port
from killswitch.core import codec
from killswitch.core.countersigns import CountersignedRequest
from killswitch.core.messages import (
    NO_TOKEN,
    GateNotice,
    LeaseReply,
    Message,
    Order,
    OrderPush,
    Query,
    StopRequest,
    UnknownProhibition,
)  # fmt: skip
from killswitch.core.traffic import is_prohibition
from killswitch.live import frames
from killswitch.live.frames import Hello, Kind
from killswitch.live.transport import Counters, Deadlines, Outbox, Transport
from tests.live.scenes import play, until

pytestmark = pytest.mark.live

QUICK = Deadlines(ping_s=0.05, silence_s=0.25)


class Inbox:
    """Collects what a transport delivers."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, Message]] = []

    async def deliver(self, sender: str, message: Message) -> None:
        self.messages.append((sender, message))


def test_messages_go_both_ways_and_survive_a_server_that_restarts() -> None:
    async def scene() -> None:
        port, at_replica, at_sidecar = free_port(), Inbox(), Inbox()
        sidecar = Transport("sidecar/acme/1", "acme", "cell", at_sidecar.deliver, QUICK)
        sidecar.dial("replica/1", port)

        async def life(number: int) -> None:
            replica = Transport("replica/1", "", "cell", at_replica.deliver, QUICK)
            await replica.listen(port)
            await until(lambda: "sidecar/acme/1" in replica._accepted)
            sidecar.send("replica/1", Query("acme/1", f"life {number}"))
            replica.send("sidecar/acme/1", GateNotice(number))
            await until(lambda: ("sidecar/acme/1", Query("acme/1", f"life {number}")) in at_replica.messages)
            await until(lambda: ("replica/1", GateNotice(number)) in at_sidecar.messages)
            await replica.close()

        sidecar.send("replica/1", Query("acme/1", "early"))  # the connection is not up yet: kept for a moment
        for number in range(3):
            await life(number)
        assert ("sidecar/acme/1", Query("acme/1", "early")) in at_replica.messages
        await sidecar.close()

    play(scene)


def test_of_two_connections_under_one_name_the_newest_is_answered_over_and_then_the_one_that_is_left() -> None:
    async def scene() -> None:
        port, at_original, at_copy = free_port(), Inbox(), Inbox()
        replica = Transport("replica/1", "", "cell", Inbox().deliver, QUICK)
        await replica.listen(port)
        original, copy = (Transport("sidecar/acme/1", "acme", "cell", inbox.deliver, QUICK) for inbox in (at_original, at_copy))
        original.dial("replica/1", port)
        await until(lambda: len(replica._accepted.get("sidecar/acme/1", ())) == 1)
        copy.dial("replica/1", port)
        await until(lambda: len(replica._accepted["sidecar/acme/1"]) == 2)
        replica.send("sidecar/acme/1", GateNotice(1))
        await until(lambda: len(at_copy.messages) == 1)
        await copy.close()
        await until(lambda: len(replica._accepted["sidecar/acme/1"]) == 1)
        replica.send("sidecar/acme/1", GateNotice(2))
        await until(lambda: len(at_original.messages) == 1)
        assert (at_copy.messages, at_original.messages) == ([("replica/1", GateNotice(1))], [("replica/1", GateNotice(2))])
        assert original.counters.connected == 1, "it did not have to come again"
        await original.close()
        await replica.close()

    play(scene)


def test_a_silent_peer_is_noticed_by_our_own_deadline() -> None:
    async def scene() -> None:
        connections = []
        with socket.create_server(("127.0.0.1", 0)) as listener:  # accepts by its backlog, and never says a word
            client = Transport("sidecar/acme/1", "acme", "cell", Inbox().deliver, QUICK)
            client.dial("replica/1", listener.getsockname()[1])
            began = time.monotonic()
            await until(lambda: client.counters.connected == 2)
            connections.append(time.monotonic() - began)
            await client.close()
        assert QUICK.silence_s <= connections[0] < QUICK.silence_s + 1.0

    play(scene)


def test_what_is_older_than_it_may_be_is_not_delivered() -> None:
    async def scene() -> None:
        port, at_replica = free_port(), Inbox()
        sidecar = Transport("sidecar/acme/1", "acme", "cell", at_replica.deliver, Deadlines(keep_s=0.2))
        sidecar.dial("replica/1", port)
        sidecar.send("replica/1", Query("acme/1", "stale"))
        await asyncio.sleep(0.4)
        replica = Transport("replica/1", "", "cell", at_replica.deliver)
        await replica.listen(port)
        await until(lambda: "sidecar/acme/1" in replica._accepted)
        sidecar.send("replica/1", Query("acme/1", "fresh"))
        await until(lambda: len(at_replica.messages) == 1)
        assert at_replica.messages == [("sidecar/acme/1", Query("acme/1", "fresh"))]
        assert sidecar.counters.dropped == 1
        await sidecar.close()
        await replica.close()

    play(scene)


async def converse(port: int, *sent: bytes) -> list[tuple[Kind, bytes]]:
    """Send ``sent`` on a raw connection and read until the other side ends it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"".join(sent))
    heard = []
    try:
        while True:
            heard.append(await asyncio.wait_for(frames.read(reader), 1))
    except (asyncio.IncompleteReadError, OSError, TimeoutError):
        writer.transport.abort()
        return heard


def test_probes_are_answered_and_strangers_are_not() -> None:
    async def scene() -> None:
        port, at_replica = free_port(), Inbox()
        replica = Transport("replica/1", "", "cell", at_replica.deliver)
        await replica.listen(port)
        stop = frames.pack_message(0, codec.encode(StopRequest(False), "sidecar/acme/1", "replica/1", "acme"))

        assert await converse(port, frames.pack(Kind.PING, b"probe")) == [(Kind.PONG, b"probe")]
        assert await converse(port, stop) == []  # before any hello
        for wrong in (Hello("other cell", "sidecar/acme/1", "replica/1"), Hello("cell", "sidecar/acme/1", "replica/2")):
            assert await converse(port, frames.pack_hello(wrong), stop) == []
        impostor = frames.pack_hello(Hello("cell", "sidecar/acme/2", "replica/1"))
        assert await converse(port, impostor, stop) == []  # says it is 2, sends in the name of 1
        assert at_replica.messages == []

        chance = random.Random("garbage")
        for _ in range(30):
            await converse(port, chance.randbytes(chance.randrange(64)) + b"\xff" * 5)
        honest = frames.pack_hello(Hello("cell", "sidecar/acme/1", "replica/1"))
        await converse(port, honest, frames.pack_message(0, b"nonsense"), stop)
        assert at_replica.messages == [("sidecar/acme/1", StopRequest(False))]  # the bad message changed only its own outcome
        await replica.close()

    play(scene)


def test_a_frame_that_breaks_after_the_greeting_ends_the_connection_and_is_counted() -> None:
    async def scene() -> None:
        port, refused = free_port(), list[tuple[str, str]]()
        replica = Transport("replica/1", "", "cell", Inbox().deliver, refused=lambda why, who: refused.append((why, who)))
        await replica.listen(port)
        honest = frames.pack_hello(Hello("cell", "sidecar/acme/1", "replica/1"))
        await converse(port, honest, b"\xff" * 64)
        await until(lambda: bool(refused))
        assert [who for _, who in refused] == ["sidecar/acme/1"] and replica.counters.refused == 1
        await replica.close()

    play(scene)


def test_a_peer_that_turns_to_an_earlier_version_is_refused_but_for_its_prohibitions() -> None:
    async def scene() -> None:
        port, at_sidecar = free_port(), Inbox()
        sidecar = Transport("sidecar/acme/1", "acme", "cell", at_sidecar.deliver)
        await sidecar.listen(port)
        hello = frames.pack_hello(Hello("cell", "replica/1", "sidecar/acme/1"))

        def frame(message: Message, minor: int) -> bytes:
            return frames.pack_message(0, codec.encode(message, "replica/1", "sidecar/acme/1", "", minor=minor))

        await converse(port, hello, frame(GateNotice(0), 1), frame(GateNotice(1), 0), frame(OrderPush((ORDER,), ()), 0))
        assert [type(message) for _, message in at_sidecar.messages] == [GateNotice, OrderPush]
        assert at_sidecar.messages[0] == ("replica/1", GateNotice(0))
        assert sidecar.counters.refused == 1
        await converse(port, hello, frame(GateNotice(2), 0), frame(GateNotice(3), 2))  # remembered over connections
        assert at_sidecar.messages[-1] == ("replica/1", GateNotice(3))
        await sidecar.close()

    play(scene)


ORDER = Order(b"raw", "replica/1", b"signature")


def test_prohibitions_leave_first_and_are_dropped_last() -> None:
    async def scene() -> None:
        counters = Counters()
        outbox = Outbox(3, counters)
        for frame, urgent in ((b"u1", False), (b"kill", True), (b"u2", False), (b"u3", False), (b"kill again", True)):
            outbox.put(frame, 0.0, urgent=urgent)
        assert [(await outbox.take())[1] for _ in range(len(outbox))] == [b"kill", b"kill again", b"u3"]
        assert counters.dropped == 2

    play(scene)


@pytest.mark.parametrize(
    ("message", "urgent"),
    [
        (ORDER, True),
        (CountersignedRequest("r", b"raw", b"signature", ()), True),
        (UnknownProhibition(2, 2, "replica/1", "minor 9"), True),
        (OrderPush((ORDER,), ()), True),
        (OrderPush((), ()), False),
        (LeaseReply("a/1", "n", NO_TOKEN, "replica/1", 0, "", "", NO_TOKEN, 0, orders=(ORDER,)), True),
        (LeaseReply("a/1", "n", NO_TOKEN, "replica/1", 5, "", "", NO_TOKEN, 0), False),
        (Query("a/1", "k"), False),
    ],
)
def test_which_messages_can_stop_somebody(message: Message, urgent: bool) -> None:
    assert is_prohibition(message) is urgent


def test_a_socket_that_was_handed_over_names_its_peer_and_ends_with_it() -> None:
    async def scene() -> None:
        here, there = socket.socketpair()
        at_sidecar, at_agent = Inbox(), Inbox()
        sidecar = Transport("sidecar/acme/1", "acme", "cell", at_sidecar.deliver)
        agent = Transport("agent/acme/1", "acme", "cell", at_agent.deliver)
        sidecar.adopt("agent/acme/1", here)
        ended = agent.adopt("sidecar/acme/1", there)
        sidecar.send("agent/acme/1", StopRequest(True))  # at once: what an agent asks as it boots is asked once
        agent.send("sidecar/acme/1", Query("acme/1", "k"))
        await until(lambda: bool(at_agent.messages and at_sidecar.messages))
        await sidecar.close()
        await asyncio.wait_for(ended, 1)
        await agent.close()

    play(scene)
