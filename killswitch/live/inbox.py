"""What waits to be taken by a node: what came of its own steps first, then prohibitions, then all else, and whoever sends in turn (protocol 3.7).

Owns the order of what waits, and how much of one sender may wait before its connection does. Must not know what an input causes. A node's own affairs
(its timers, its commits) are as many as what it has taken calls for, so that they keep nobody waiting for long; messages are as many as others like.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

from killswitch.core import traffic
from killswitch.core.events import Command, ProcessExited, Receive, Submit

LANE_MAX = 1024  # messages of one sender
UPSTREAM, AGENT = "upstream", "agent"  # lanes beside those of peers, by whose names no peer goes

Own = TypeVar("Own")


class Inbox(Generic[Own]):
    """``Own``: what the node puts in itself. What one sender says stays in order, but for prohibitions, which overtake."""

    def __init__(self) -> None:
        self._own: deque[Own] = deque()
        self._lanes: tuple[dict[str, deque[Own | Receive]], dict[str, deque[Own | Receive]]] = ({}, {})  # urgent and usual, as `traffic` numbers them
        self._rooms: dict[str, asyncio.Semaphore] = {}
        self._filled = asyncio.Event()

    def put(self, event: Own) -> None:
        """That the agent's process is gone comes after all that it said, and what upstream hands over waits like anybody's word."""
        if isinstance(event, ProcessExited | Submit | Command):
            lane = AGENT if isinstance(event, ProcessExited) else UPSTREAM
            self._lanes[traffic.USUAL].setdefault(lane, deque()).append(event)
        else:
            self._own.append(event)
        self._filled.set()

    async def receive(self, event: Receive) -> None:
        """Put in what a peer said, once there is room for more of that peer's."""
        sender = lane_of(event)
        await self._rooms.setdefault(sender, asyncio.Semaphore(LANE_MAX)).acquire()
        urgency, _ = traffic.lane(event.message, sender)
        self._lanes[urgency].setdefault(sender, deque()).append(event)
        self._filled.set()

    async def take(self) -> Own | Receive:
        """What is next; waits for it."""
        while True:
            if self._own:
                return self._own.popleft()
            for lanes in self._lanes:
                if lanes:
                    return self._first(lanes)
            self._filled.clear()
            await self._filled.wait()

    def _first(self, lanes: dict[str, deque[Own | Receive]]) -> Own | Receive:
        """Of the lane whose turn it is, which then is the last."""
        name = next(iter(lanes))
        lane = lanes.pop(name)
        event = lane.popleft()
        if lane:
            lanes[name] = lane
        if isinstance(event, Receive):
            self._rooms[name].release()
        return event


def lane_of(event: Receive) -> str:
    """A sidecar has one agent, whoever that is called."""
    return AGENT if event.sender.startswith("agent/") else event.sender
