"""Links of a cell: who dials whom, which way a message runs, what several faults on one link leave of it, and what a relay does to a stream."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from harness.live.cell import Cell, plan
from harness.live.injections.messages import compare, missing
from harness.live.paths import PathFailed, Paths
from harness.live.ports import free_port
from harness.live.probe import Outcome, probe, time_to_end
from harness.live.relay import Relay, Rule, Way
from harness.live.seal import flipped
from harness.live.server import Server
from harness.live.toxiproxy import DOWNSTREAM, UPSTREAM, Toxic, Toxiproxy
from killswitch.core import codec
from killswitch.core.messages import Gossip, Message, Order, OrderPush, Query
from killswitch.live import frames
from killswitch.live.credentials import Credentials
from killswitch.live.frames import Hello, Kind
from killswitch.live.transport import Transport
from tests.live.ledgers import a_ledger
from tests.live.scenes import play
from tests.live.schedules import MS, REPLICAS, SECOND, SIDECAR, SINK, fault, short

pytestmark = pytest.mark.live

PUSH = OrderPush((Order(b"raw", "replica/1", b"signature"),), ())


def cell_of(tmp_path: Path, *duplicated: str) -> Cell:
    timeline = [fault("twice", "duplicate", 0, SECOND, targets=duplicated, message="order", times=2)] if duplicated else []
    return plan(short(*timeline), "killswitch", tmp_path, "run", 0)


def test_every_link_runs_over_one_proxy_in_one_direction(tmp_path: Path) -> None:
    cell = cell_of(tmp_path)
    up, down = cell.route((SIDECAR, "replica/1")), cell.route(("replica/1", SIDECAR))
    assert up is not None and down is not None
    assert (up.conduit, up.stream, down.stream) == (down.conduit, UPSTREAM, DOWNSTREAM)
    there, back = cell.route(("replica/1", "replica/2")), cell.route(("replica/2", "replica/1"))
    assert there is not None and back is not None
    assert there.conduit != back.conduit and there.stream == back.stream == UPSTREAM  # so that either way can be cut alone
    assert cell.route((SIDECAR, "sidecar/acme/2")) is None
    assert cell.route((SIDECAR, f"agent/{SIDECAR[8:]}")) is None  # one host: no network between them
    servers = {server for _, server in cell.conduits}
    assert servers == {*REPLICAS, SINK}
    assert len({conduit.port for conduit in cell.conduits.values()}) == len(cell.conduits) == 2 * 3 + 3 * 2 + 3 + 2 + 3


def test_nobody_holds_a_key_that_is_not_its_own(tmp_path: Path) -> None:
    cell, people = cell_of(tmp_path), {"alice", "bob", "carol", "dave", "erin", "frank"}
    for node, deployment in cell.deployments.items():
        own = people if node == "operator" else {node} if node.startswith(("replica", "sidecar")) else set()
        assert set(deployment.private) == own
        assert set(deployment.public) >= own
        assert (deployment.credentials is None) == node.startswith("agent/")  # whose only way out is its sidecar's socket


def test_nobody_is_spoken_to_without_a_certificate_of_the_run_and_a_relay_passes_for_both_its_ends(tmp_path: Path) -> None:
    async def ignore(sender: str, message: Message) -> None:
        return None

    async def scene() -> None:
        cell, other = cell_of(tmp_path / "one"), cell_of(tmp_path / "other")
        assert cell.probe is not None and other.probe is not None
        node = Transport("replica/1", "", "run", ignore, credentials=cell.credentials("replica/1"))
        port = free_port()
        await node.listen(port)
        relay = Relay(free_port(), port, SIDECAR, "replica/1", (cell.credentials(SIDECAR), cell.credentials("replica/1")))
        await relay.open()
        for door in (port, relay.port):
            outcomes = [(await probe(door, 1.0, 8, who)).outcome for who in (Credentials(cell.probe), None, Credentials(other.probe))]
            assert outcomes == [Outcome.ECHOED, Outcome.CLOSED, Outcome.CLOSED]
        await relay.close()
        await node.close()

    play(scene)


def test_a_probe_is_not_told_of_the_moment_in_which_another_fault_lets_go(tmp_path: Path, server: Server) -> None:
    async def scene() -> None:
        cell = cell_of(tmp_path)
        conduit = cell.conduits[SIDECAR, "replica/1"]
        paths = Paths(Cell(cell.deployments, {(SIDECAR, "replica/1"): conduit}), Toxiproxy(server.host, server.port), a_ledger(tmp_path))
        await paths.open()
        node = await answering(conduit.behind)
        await paths.poison(conduit, Toxic("stays.upstream", "timeout", UPSTREAM, 0))
        seen = []
        for number in range(12):
            await paths.poison(conduit, Toxic(f"goes-{number}.upstream", "timeout", UPSTREAM, 0))
            goes = asyncio.create_task(paths.cure(conduit, f"goes-{number}.upstream"))
            await asyncio.sleep(number / 1000)
            seen.append((await paths.measure(conduit, 0.05)).outcome)
            await goes
        assert set(seen) == {Outcome.SILENT}
        await node.close()

    play(scene)


def test_a_spoilt_seal_costs_the_frame_and_its_connection_and_the_next_one_is_whole(tmp_path: Path) -> None:
    heard: list[Message] = []

    async def hear(sender: str, message: Message) -> None:
        heard.append(message)

    async def scene() -> None:
        cell = cell_of(tmp_path)
        ends = (cell.credentials(SIDECAR), cell.credentials("replica/1"))
        node, peer = (Transport(name, "", "run", hear, credentials=own) for name, own in zip((SIDECAR, "replica/1"), ends, strict=True))
        port = free_port()
        await peer.listen(port)
        relay = Relay(free_port(), port, SIDECAR, "replica/1", ends)
        await relay.open()
        node.dial("replica/1", relay.port)
        way = relay.ways["replica/1"]

        async def until(condition: Callable[[], bool]) -> None:
            while not condition():  # noqa: ASYNC110  # what is counted sets no Event
                await asyncio.sleep(0.005)

        await until(lambda: peer.counters.connected == 1)
        way.impose("bits", Rule(spoils=True), Random(1))
        node.send("replica/1", Query("acme/1", "spoilt"))
        await until(lambda: peer.counters.connected == 2)
        way.lift("bits")
        node.send("replica/1", Query("acme/1", "whole"))
        await until(lambda: bool(heard))
        assert heard == [Query("acme/1", "whole")] and peer.counters.refused == 0
        assert way.spoilt == way.hung_up == 1 == len(way.passed["bits"])
        for closing in (node, relay, peer):
            await closing.close()

    play(scene)


def test_bits_flip_behind_the_head_of_a_record_and_always_some() -> None:
    sealed = bytes(range(60))
    for seed in range(200):
        spoilt = flipped(sealed, Random(seed))
        assert spoilt != sealed and spoilt[:5] == sealed[:5] and len(spoilt) == len(sealed)


def test_relays_stand_only_where_signals_are_duplicated(tmp_path: Path) -> None:
    cell = cell_of(tmp_path, SIDECAR)
    relayed = {ends for ends, conduit in cell.conduits.items() if conduit.relay_to}
    assert relayed == {ends for ends in cell.conduits if SIDECAR in ends}


async def answering(port: int) -> Transport:
    async def ignore(sender: str, message: Message) -> None:
        return None

    server = Transport("replica/1", "", "cell", ignore)
    await server.listen(port)
    return server


def test_a_link_is_whole_only_when_the_last_fault_lets_go(tmp_path: Path, server: Server) -> None:
    async def scene() -> None:
        cell = cell_of(tmp_path)
        conduit = cell.conduits[SIDECAR, "replica/1"]
        only = Cell(cell.deployments, {(SIDECAR, "replica/1"): conduit})
        paths = Paths(only, Toxiproxy(server.host, server.port), a_ledger(tmp_path))
        await paths.open()
        node = await answering(conduit.behind)
        await paths.prove()

        async def outcome() -> Outcome:
            return (await paths.measure(conduit, 0.3)).outcome

        await paths.cut(conduit, "first")
        await paths.cut(conduit, "second")
        await paths.poison(conduit, Toxic("third.upstream", "timeout", UPSTREAM, 0), Toxic("fourth.downstream", "latency", DOWNSTREAM, 50))
        await paths.uncut(conduit, "first")
        assert await outcome() is Outcome.REFUSED
        await paths.uncut(conduit, "second")
        assert await outcome() is Outcome.SILENT
        await paths.cure(conduit, "third.upstream")
        late = await paths.measure(conduit, 1.0)
        assert late.outcome is Outcome.ECHOED and late.trip_ns >= 50 * MS
        assert (paths.is_cut(conduit), paths.is_silent(conduit), paths.added_ms(conduit)) == (False, False, 50)
        await paths.cure(conduit, "fourth.downstream")
        assert await paths.read_back(conduit)
        await node.close()
        assert await outcome() is Outcome.CLOSED
        await paths.close()

    play(scene)


def test_what_toxics_make_of_a_stream_is_seen_by_a_probe_and_gone_with_them(tmp_path: Path, server: Server) -> None:
    async def scene() -> None:
        conduit = cell_of(tmp_path).conduits[SIDECAR, "replica/1"]
        paths = Paths(Cell({}, {(SIDECAR, "replica/1"): conduit}), Toxiproxy(server.host, server.port), a_ledger(tmp_path))
        await paths.open()
        node = await answering(conduit.behind)

        await paths.poison(conduit, Toxic("pieces", "slicer", UPSTREAM, 50, 3000))
        torn = await paths.measure(conduit, 2.0, 1000)
        assert torn.outcome is Outcome.ECHOED and torn.trip_ns >= 60 * MS  # 20 pieces or more
        await paths.cure(conduit, "pieces")
        await paths.poison(conduit, Toxic("ends", "limit_data", DOWNSTREAM, 1000))
        assert [(await paths.measure(conduit, 1.0, size)).outcome for size in (900, 1000)] == [Outcome.ECHOED, Outcome.CLOSED]
        await paths.cure(conduit, "ends")
        await paths.poison(conduit, Toxic("late", "slow_close", DOWNSTREAM, 300))
        end_ns = await time_to_end(conduit.port, 2.0)
        assert end_ns is not None and end_ns >= 300 * MS and await time_to_end(conduit.port, 0.1) is None
        await paths.cure(conduit, "late")
        assert (await time_to_end(conduit.port, 2.0) or end_ns) < end_ns
        await paths.poison(conduit, Toxic("reset", "reset_peer", UPSTREAM, 0))
        closed = await paths.measure(conduit, 1.0)
        assert (closed.outcome, closed.reset) == (Outcome.CLOSED, True) and closed.waited_ns and paths.is_blocked(conduit)
        await paths.cure(conduit, "reset")
        assert (await paths.measure(conduit, 1.0, 60_000)).outcome is Outcome.ECHOED and not paths.is_blocked(conduit)
        await node.close()
        await paths.close()

    play(scene)


def test_paths_that_never_worked_are_no_ground_for_an_experiment(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        monkeypatch.setattr("harness.live.paths.BASELINE_S", 0.2)
        paths = Paths(cell_of(tmp_path), Toxiproxy(server.host, server.port), a_ledger(tmp_path))
        await paths.open()
        with pytest.raises(PathFailed, match="no echo before any fault"):
            await paths.prove()

    play(scene)


class Far:
    """A node behind a relay, and somebody who sends to it through that."""

    def __init__(self) -> None:
        port = free_port()
        self.relay = Relay(free_port(), port, SIDECAR, "replica/1")
        self.way: Way = self.relay.ways["replica/1"]
        self.came: list[Message] = []
        self._port = port
        self._node = Transport("replica/1", "", "cell", self._deliver)

    async def open(self) -> None:
        await self.relay.open()
        await self._node.listen(self._port)

    async def close(self) -> None:
        await self._node.close()
        assert (await probe(self.relay.port, 1.0)).outcome is Outcome.CLOSED
        await self.relay.close()
        assert (await probe(self.relay.port, 1.0)).outcome is Outcome.REFUSED

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.relay.port)
        writer.write(frames.pack_hello(Hello("cell", SIDECAR, "replica/1")))
        return reader, writer

    async def send(self, *messages: Message, held_s: float = 0) -> None:
        """One connection, that ends when everything has arrived."""
        reader, writer = await self.connect()
        for message in messages:
            writer.write(frames.pack_message(0, codec.encode(message, SIDECAR, "replica/1", "acme")))
        await asyncio.sleep(held_s)
        writer.write(frames.pack(Kind.PING, b"last"))
        assert await frames.read(reader) == (Kind.PONG, b"last")
        writer.transport.abort()

    async def _deliver(self, sender: str, message: Message) -> None:
        self.came.append(message)


def test_a_relay_repeats_exactly_what_it_was_told_to(tmp_path: Path) -> None:
    async def scene() -> None:
        far = Far()
        await far.open()
        assert (await probe(far.relay.port, 1.0)).outcome is Outcome.ECHOED
        other, gossip = Query("acme/1", "key"), Gossip("digest", orders=PUSH.orders)
        await far.send(PUSH, other)
        far.way.impose("thrice", Rule(what="order", times=3), Random(1))
        far.relay.ways[SIDECAR].impose("other way", Rule(times=5), Random(1))  # no matter here
        await far.send(PUSH, other, gossip)
        far.way.lift("thrice")
        await far.send(PUSH)
        assert far.came == [PUSH, other, *[PUSH] * 3, other, *[gossip] * 3, PUSH]
        assert [(each.message, each.times) for each in far.way.passed["thrice"]] == [(PUSH, 3), (gossip, 3)]
        await far.close()

    play(scene)


def test_a_relay_loses_doubles_and_holds_back_as_its_dice_say(tmp_path: Path) -> None:
    numbered = [Query("acme/1", str(number)) for number in range(60)]

    async def scene() -> None:
        far = Far()
        await far.open()
        far.way.note_all()
        far.way.impose("loss", Rule(chance_ppm=500_000, times=0), Random(7))
        await far.send(*numbered)
        lost = [each.message for each in far.way.passed["loss"] if not each.times]
        assert 10 < len(lost) < 50 and far.came == [message for message in numbered if message not in lost]
        assert compare(far.way.passed["loss"], far.came) == {
            "passed": 60, "lost": len(lost), "sent_again": 0, "came_again": 0, "held": 0, "overtaken": 0, "out_of_order": 0,
        }  # fmt: skip
        far.way.lift("loss")
        await far.send(*lost)  # said again, word for word: what was lost is missing all the same
        assert missing(far.way.came, far.came) == len(lost)
        far.came.clear()
        far.way.impose("late", Rule(chance_ppm=300_000, held_ns=80 * MS), Random(7))
        await far.send(*numbered, held_s=0.1)
        assert far.came != numbered and {str(each) for each in far.came} == {str(each) for each in numbered}
        seen = compare(far.way.passed["late"], far.came)
        assert seen["held"] > 5 and seen["overtaken"] > 0 and seen["out_of_order"] > 0 and missing(numbered, far.came) == 0
        await far.close()

    play(scene)


def test_what_stalls_waits_and_arrives_when_the_relay_lets_it(tmp_path: Path) -> None:
    async def scene() -> None:
        far = Far()
        await far.open()
        far.way.impose("stall", Rule(stalls=True), Random(1))
        assert far.way.stalls and (await probe(far.relay.port, 0.2)).outcome is Outcome.SILENT
        sending = asyncio.create_task(far.send(PUSH, PUSH))
        await asyncio.sleep(0.2)
        assert far.came == [] and not sending.done()
        far.way.lift("stall")
        await sending
        assert far.came == [PUSH, PUSH]
        await far.close()

    play(scene)


def test_a_relay_that_remembers_delivers_old_signals_again(tmp_path: Path) -> None:
    async def scene() -> None:
        far = Far()
        far.way.remembers = True
        await far.open()
        await far.send(PUSH)
        (old,) = far.way.old
        await asyncio.sleep(0.1)
        assert old.message == PUSH and not far.way.inject(old.frame)  # nobody is connected any more
        reader, writer = await far.connect()
        writer.write(frames.pack_message(0, codec.encode(Query("acme/1", "key"), SIDECAR, "replica/1", "acme")))
        writer.write(frames.pack(Kind.PING, b"one"))
        await frames.read(reader)
        assert far.way.inject(old.frame)
        writer.write(frames.pack(Kind.PING, b"two"))
        await frames.read(reader)
        assert far.came == [PUSH, Query("acme/1", "key"), PUSH]
        writer.transport.abort()
        await far.close()

    play(scene)
