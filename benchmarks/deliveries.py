"""Deliveries a second: how near the simulator's hot path comes to the fastest loop that CPython can do at all.

Owns three worlds of the same ping-pong: 100 nodes in 50 pairs, 100 messages in flight, every message answered at once.

    limit    a heap, bound handlers, and a send: no less can deliver a message at a time
    simpy    SimPy as its tutorial would have it: a timeout with a callback for each message
    ours     what every delivery of a run pays for: ties drawn from the tape, jitter drawn from the tape, order kept on each link, partitions
             looked up on sending and on arrival, one link in ten delayed, duplicating and reordering, one in fifty cut, the trace kept, and
             the digest of all of it at the end

The node is trivial in each: what the protocol core takes is another question, which ``library`` answers.
"""

from __future__ import annotations

import hashlib
from heapq import heappop, heappush
from itertools import count
from typing import Any

import msgspec
import simpy

from killswitch.core.events import Receive
from killswitch.core.messages import Message, StopAck
from scenarios.schedule import LinkSpec
from scenarios.schedule import Tape as TapeSpec
from sim.network import Impairment, Network
from sim.queue import Queue
from sim.tape import Tape

NODES = 100
DELIVERIES = 100_000
LATENCY_NS = 2_000_000
BALL = StopAck(1, ())


def name_of(number: int) -> str:
    return f"sidecar/acme/{number}"


class Limit:
    """The least that delivers messages in order of time."""

    def __init__(self) -> None:
        self.heap: list[tuple[int, int, Any, str, Message]] = []
        self.number = count()
        self.now = 0
        self.handlers: dict[str, Any] = {}

    def send(self, source: str, target: str, message: Message) -> None:
        heappush(self.heap, (self.now + LATENCY_NS, next(self.number), self.handlers[target], source, message))

    def run(self, deliveries: int) -> None:
        heap = self.heap
        for _ in range(deliveries):
            self.now, _, handle, source, message = heappop(heap)
            handle(source, message)


class Player:
    """A node that plays the ball back."""

    __slots__ = ("send", "name")

    def __init__(self, name: str, send: Any) -> None:
        self.name = name
        self.send = send

    def handle(self, source: str, message: Message) -> None:
        self.send(self.name, source, message)
