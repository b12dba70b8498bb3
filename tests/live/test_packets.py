"""Single packets in a network namespace of one's own: queued by rules, lost or late by verdict, and nothing of it beyond the namespace."""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path

import pytest

from harness.live import ledger, netfilter, own_network
from harness.live.driver import play
from harness.live.guard import LOOPBACK, OutOfBounds, own_namespace
from harness.live.injections import CapabilityMissing
from harness.live.ledger import Diverted, Ledger, Opened
from harness.live.netfilter import Match, Queued
from harness.live.packet_queue import Filter, PacketQueue
from killswitch.live.process import identify
from tests.live import needs
from tests.live.runs import assert_sound, attestations
from tests.live.schedules import MS, REPLICAS, SECOND, SIDECAR, both_ways, fault, order, short

pytestmark = pytest.mark.live


def a_ledger(directory: Path) -> Ledger:
    owner = identify(os.getpid())
    assert owner is not None
    return Ledger(directory / "ledger.jsonl", Opened("r1", owner, str(directory.resolve())))


async def answered_s(port: int) -> float:
    """How long a connection and an echo through it take."""
    began = asyncio.get_running_loop().time()
    reader, writer = await asyncio.wait_for(asyncio.open_connection(LOOPBACK, port), 30)
    writer.write(b"!")
    await asyncio.wait_for(reader.readexactly(1), 30)
    took = asyncio.get_running_loop().time() - began
    writer.close()
    await writer.wait_closed()
    return took


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while got := await reader.read(1):
        writer.write(got)
    writer.close()


@needs.packets
def test_packets_of_a_port_are_late_or_lost_as_long_as_a_filter_is_there(tmp_path: Path) -> None:
    async def scene(network: int) -> None:
        written = a_ledger(tmp_path)
        queue = PacketQueue("r1", network, written)
        server = await asyncio.start_server(echo, LOOPBACK, 0)
        port = server.sockets[0].getsockname()[1]
        free_s = await answered_s(port)
        slow = Filter([Match(port, answers=False)], random.Random(1), by_s=0.05)
        slower = Filter([Match(port, answers=True)], random.Random(1), by_s=0.1)
        queue.impose("slow", [slow])
        queue.impose("slower", [slower])
        assert sorted(written.story.open.values(), key=str) == [Diverted(network, "haltproof-r1")] * 2
        assert await answered_s(port) >= 0.3  # SYN and its answer, a byte and its echo
        assert slow.held == slow.seen >= 3 and slower.held == slower.seen >= 2
        queue.lift("slow")
        seen = slow.seen
        assert await answered_s(port) >= 0.2 and slow.seen == seen
        queue.lift("slower")
        before, lossy = own_network.resent_segments(), Filter([Match(port, answers=False)], random.Random(3), chance=0.5)
        queue.impose("lossy", [lossy])
        async with asyncio.timeout(60):
            while not (lossy.dropped and own_network.resent_segments() > before):
                await answered_s(port)
        assert 0 < lossy.dropped < lossy.seen
        queue.close()
        assert written.story.open == {}
        assert await answered_s(port) < max(0.1, 10 * free_s)
        server.close()
        written.close()
        while len(asyncio.all_tasks()) > 1:  # noqa: ASYNC110  # connections that still end
            await asyncio.sleep(0.01)

    outside = own_network.here()
    with own_network.entered() as network:
        assert network == own_network.here() != outside
        asyncio.run(scene(network))
    assert own_network.here() == outside


@needs.packets
def test_no_packet_is_touched_outside_and_what_is_undone_twice_is_undone() -> None:
    with own_network.entered() as network:
        assert own_namespace(network) == network
        netfilter.divert("haltproof-r1", [Match(1, answers=False)])
        for _ in range(2):
            Diverted(network, "haltproof-r1").undo()
    with pytest.raises(OutOfBounds, match="own alone"):
        own_namespace(network)
    Diverted(own_network.here(), "haltproof-r1").undo()  # not ours: not even asked
    with pytest.raises(OutOfBounds, match="own alone"):
        own_namespace(own_network.here())


def test_what_is_no_packet_of_tcp_has_no_ports() -> None:
    def received(payload: bytes) -> bytes:
        header = b"\x0b\x00\x01\x00" + (7).to_bytes(4, "big") + b"\x08\x00\x03\x00"
        data = (len(payload) + 4).to_bytes(2, "little") + b"\x0a\x00" + payload
        body = bytes(4) + header + data
        return netfilter.HEADER.pack(16 + len(body), netfilter.PACKET, 0, 0, 0) + body

    tcp = bytes([0x45, *bytes(8), 6, *bytes(10)]) + (1000).to_bytes(2, "big") + (2000).to_bytes(2, "big")
    assert list(netfilter.packets(received(tcp))) == [Queued(7, 1000, 2000)]
    udp = tcp[:9] + bytes([17]) + tcp[10:]
    for other in (udp, tcp[:21], b""):
        assert list(netfilter.packets(received(other))) == [Queued(7, 0, 0)]
    assert list(netfilter.packets(netfilter.HEADER.pack(16, netfilter.ERROR, 0, 0, 0))) == []


@needs.packets
@pytest.mark.slow
def test_packets_are_lost_and_held_back_in_a_network_of_the_run_alone(tmp_path: Path, mark: str, toxiproxy_binary: Path) -> None:
    outside = own_network.here()
    schedule = short(
        fault("lossy", "packet-loss", 300 * MS, 2000 * MS, links=both_ways(SIDECAR, *REPLICAS), chance_ppm=250_000),
        fault("slow", "packet-delay", 300 * MS, 1500 * MS, links=both_ways("sidecar/acme/2", "replica/1"), by_ns=30 * MS),
        fault("one-way", "packet-delay", 300 * MS, 1500 * MS, links=(("sidecar/acme/2", "replica/2"),), by_ns=50 * MS),
        fault("late", "delay", 1000 * MS, 1000 * MS, links=both_ways(SIDECAR, "replica/1"), by_ns=20 * MS),
        order("isolate", SECOND),
    )
    played = play(schedule, "killswitch", tmp_path)
    assert_sound(played)
    seen = {name: [fact.body["measured"] for fact in facts] for name, facts in attestations(played.history).items()}
    assert seen["slow"][0]["least_trip_ms"] >= 60 and seen["one-way"][0]["least_trip_ms"] >= 50
    lost = seen["lossy"][1]
    assert 0 < lost["dropped"] < lost["seen"] // 2 and lost["resent"] > 0 and lost["seen_after"] == 0
    assert all(seen[name][1]["held"] == seen[name][1]["seen"] > 0 == seen[name][1]["seen_after"] for name in ("slow", "one-way"))
    assert own_network.here() == outside


@pytest.mark.slow
def test_a_host_that_gives_nobody_a_network_is_refused(tmp_path: Path, mark: str, toxiproxy_binary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_network, "NEW_NETWORK", 1)  # which the kernel takes for nothing that it knows
    with pytest.raises(CapabilityMissing, match="packet-queue: no network namespace of one's own: Invalid argument"):
        play(short(fault("x", "packet-loss", 0, links=both_ways(SIDECAR, "replica/1"), chance_ppm=1000)), "killswitch", tmp_path)
    assert not (tmp_path / ledger.FILE).exists()
