"""Deliveries a second: how near the simulator's hot path comes to the fastest loop that CPython can do at all.

Owns three worlds of the same ping-pong: 100 nodes in pairs, 100 messages in flight, every message answered at once, each after a latency of its
own (a heap into which everything goes at the end has nothing to do).

    limit    a heap, bound handlers, and a send: nothing delivers messages one by one in order of time with less
    simpy    SimPy as its tutorial has it: a timeout with a callback for each message
    ours     what each delivery of a run pays for: ties and jitter drawn from the tape, order kept on each link, partitions looked up on sending and
             on arrival, one link in ten impaired (delay, duplication, reordering), the odd partition that comes and goes, a trace entry, and
             the digest of the whole trace

The nodes are trivial in all three: what the protocol itself takes is another question, which ``library`` answers.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from typing import Any

import simpy

from killswitch.core.events import Receive
from killswitch.core.messages import StopAck
from scenarios.schedule import LinkSpec
from scenarios.schedule import Tape as TapeSpec
from sim.network import Delivery, Impairment, Network
from sim.queue import TIE_BITS, Queue
from sim.tape import Tape
from sim.trace import PIECE, Trace

NODES = 100
DELIVERIES = 10_000  # a world, about as many as a long run of the library
WORLDS = 10
LATENCY_NS = 2_000_000
JITTER_NS = 1_000_000
RUN_NS = (LATENCY_NS + JITTER_NS // 2) * DELIVERIES // NODES
PARTITION_EVERY_NS = 10 * LATENCY_NS
BALL = StopAck(1, ())

Send = Callable[[str, str, StopAck], None]


class Player:
    """Answers every ball with the next one."""

    __slots__ = ("name", "played", "send")

    def __init__(self, name: str, send: Send) -> None:
        self.name = name
        self.send = send
        self.played = 0

    def receive(self, source: str, ball: StopAck) -> None:
        self.played += 1
        self.send(self.name, source, StopAck(ball.checkpoint + 1, ball.in_doubt))


class Limit:
    """A heap, a clock, and who is behind each name."""

    def __init__(self) -> None:
        self.now = 0
        self.heap: list[tuple[int, int, Callable[[str, StopAck], None], str, StopAck]] = []
        self.number = count()
        self.players = {name: Player(name, self.send) for name in names()}
        self.receivers = {name: player.receive for name, player in self.players.items()}

    def send(self, source: str, target: str, ball: StopAck) -> None:
        number = next(self.number)
        heappush(self.heap, (self.now + latency_ns(number), number, self.receivers[target], source, ball))

    def play(self) -> int:
        serve(self.send)
        heap = self.heap
        for _ in range(DELIVERIES):
            self.now, _, receive, source, ball = heappop(heap)
            receive(source, ball)
        return DELIVERIES


class Textbook:
    """SimPy, a timeout and a callback a message."""

    def __init__(self) -> None:
        self.env = simpy.Environment()
        self.number = count()
        self.players = {name: Player(name, self.send) for name in names()}

    def send(self, source: str, target: str, ball: StopAck) -> None:
        timeout = self.env.timeout(latency_ns(next(self.number)), (source, target, ball))
        timeout.callbacks.append(self.deliver)

    def deliver(self, event: simpy.Event) -> None:
        source, target, ball = event.value  # type: ignore[misc]  # the value of the timeout above
        self.players[target].receive(source, ball)

    def play(self) -> int:
        serve(self.send)
        self.env.run(until=RUN_NS)
        return played(self.players)


class Ours:
    """The simulator's queue, tape and network, with faults on."""

    def __init__(self) -> None:
        tape = Tape(TapeSpec(seed="benchmark"))
        self.queue = Queue(tape.bits("ties", TIE_BITS))
        self.fired: dict[str, int] = {}
        self.network = Network(self.queue, tape, LinkSpec(latency_ns=LATENCY_NS, jitter_ns=JITTER_NS), self.deliver, self.fault_fired)
        self.players = {name: Player(name, self.network.send) for name in names()}
        self.trace = Trace(keep=False)
        for left, right in pairs()[::10]:
            self.network.impair(left, right, Impairment("rough", delay_ns=100_000, duplicate_ppm=100, reorder_ppm=100_000, reorder_ns=1_000_000))
        self.queue.at(PARTITION_EVERY_NS, self.partition, True)

    def fault_fired(self, fault: str) -> None:
        self.fired[fault] = self.fired.get(fault, 0) + 1

    def partition(self, begins: bool) -> None:
        """A partition that stalls the second pair half of the time."""
        left, right = pairs()[1]
        if begins:
            self.network.block(left, right, "cut", "stall")
        else:
            self.network.unblock(left, right, "cut")
        self.queue.at(self.queue.now + PARTITION_EVERY_NS, self.partition, not begins)

    def deliver(self, delivery: Delivery) -> None:
        link = delivery.link
        source, target = link.source, link.target
        ball: Any = delivery.message  # a `StopAck`, as all of them here
        trace = self.trace
        trace.append((self.queue.now, target, Receive(source, ball)))
        if len(trace) == PIECE:
            trace.fold()
        self.players[target].receive(source, ball)

    def play(self) -> int:
        serve(self.network.send)
        self.queue.play(RUN_NS)
        if not self.trace.digest(()) or not self.fired.get("cut") or not self.fired.get("rough"):
            raise RuntimeError("no fault fired: this would measure something else")
        return played(self.players)


def latency_ns(number: int) -> int:
    """As spread out as a drawn one, for a fraction of its price."""
    return LATENCY_NS + number * 7919 % JITTER_NS


def names() -> list[str]:
    return [f"node/{number}" for number in range(NODES)]


def pairs() -> list[tuple[str, str]]:
    everybody = names()
    return list(zip(everybody[::2], everybody[1::2], strict=True))


def serve(send: Send) -> None:
    """A ball in each direction of each pair: as many in flight as there are nodes."""
    for left, right in pairs():
        send(left, right, BALL)
        send(right, left, BALL)


def played(players: dict[str, Player]) -> int:
    return sum(player.played for player in players.values())


ROWS: dict[str, Callable[[], int]] = {
    "limit": lambda: sum(Limit().play() for _ in range(WORLDS)),
    "simpy": lambda: sum(Textbook().play() for _ in range(WORLDS)),
    "ours": lambda: sum(Ours().play() for _ in range(WORLDS)),
}
