"""Links of a cell: who dials whom, which way a message runs, what several faults on one link leave of it, and what a relay does to a stream."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from harness.live.cell import Cell, plan
from harness.live.paths import PathFailed, Paths
from harness.live.ports import free_port
from harness.live.probe import Outcome, probe
from harness.live.relay import Counts, Relay
from harness.live.server import Server
from harness.live.toxiproxy import DOWNSTREAM, UPSTREAM, Toxic, Toxiproxy
from killswitch.core import codec
from killswitch.core.messages import Gossip, Message, Order, OrderPush, Query
from killswitch.live import frames
from killswitch.live.frames import Hello, Kind
from killswitch.live.transport import Transport
from tests.live.ledgers import a_ledger
from tests.live.schedules import MS, REPLICAS, SECOND, SIDECAR, SINK, fault, short

pytestmark = pytest.mark.live

PUSH = OrderPush((Order(b"raw", "replica/1", b"signature"),), ())


def play(scene: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(scene(), 20))


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
    cell = cell_of(tmp_path)
    for node, deployment in cell.deployments.items():
        own = {"alice", "bob", "carol", "dave"} if node == "operator" else {node} if node.startswith(("replica", "sidecar")) else set()
        assert set(deployment.private) == own
        assert set(deployment.public) >= own


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
        assert (paths.is_cut(conduit), paths.is_holed(conduit), paths.added_ms(conduit)) == (False, False, 50)
        await paths.cure(conduit, "fourth.downstream")
        assert await paths.read_back(conduit)
        await node.close()
        assert await outcome() is Outcome.CLOSED
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


def test_a_relay_repeats_exactly_what_it_was_told_to(tmp_path: Path) -> None:
    async def scene() -> None:
        came: list[Message] = []

        async def deliver(sender: str, message: Message) -> None:
            came.append(message)

        port, relay = free_port(), Relay(free_port(), 0)
        relay = Relay(relay.port, port)
        await relay.open()
        node = Transport("replica/1", "", "cell", deliver)
        await node.listen(port)
        assert (await probe(relay.port, 1.0)).outcome is Outcome.ECHOED

        async def send(*messages: Message) -> None:
            reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
            writer.write(frames.pack_hello(Hello("cell", SIDECAR, "replica/1")))
            for message in messages:
                writer.write(frames.pack(Kind.MESSAGE, codec.encode(message, SIDECAR, "replica/1", "acme")))
            writer.write(frames.pack(Kind.PING, b"last"))
            assert await frames.read(reader) == (Kind.PONG, b"last")
            writer.transport.abort()

        other, gossip = Query("acme/1", "key"), Gossip("digest", orders=PUSH.orders)
        await send(PUSH, other)
        relay.duplicate("replica/1", "order", 3)
        relay.duplicate("replica/2", "any", 5)  # another receiver's: no matter here
        await send(PUSH, other, gossip)
        relay.leave("replica/1")
        await send(PUSH)
        assert came == [PUSH, other, *[PUSH] * 3, other, *[gossip] * 3, PUSH]
        assert relay.counts("replica/1") == Counts(signals=2, extra=4)
        await node.close()
        assert (await probe(relay.port, 1.0)).outcome is Outcome.CLOSED
        await relay.close()
        assert (await probe(relay.port, 1.0)).outcome is Outcome.REFUSED

    play(scene)
