"""Queues where more is said than can pass at once: in front of a node that takes in only so much, or of a link that carries only so much.

Owns who is next. Prohibitions go first, and the lanes of one class take turns (`killswitch.core.traffic.lane`), as connections do in a real
process: none of them can fill another's queue. Must not know what is waiting, nor for what.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from killswitch.core import traffic
from killswitch.core.messages import Message
from sim.queue import Queue

LANE_MAX = 4096
SECOND_NS = 1_000_000_000


class Lanes:
    """Things that wait, by class and lane. A full lane loses its oldest: what is repeated anyway is best fresh."""

    def __init__(self) -> None:
        self._lanes: dict[int, dict[str, deque[Any]]] = {traffic.URGENT: {}, traffic.USUAL: {}}
        self.waiting = 0

    def put(self, message: Message, peer: str, thing: Any) -> None:
        urgency, name = traffic.lane(message, peer)
        lane = self._lanes[urgency].setdefault(name, deque())
        if len(lane) >= LANE_MAX:
            lane.popleft()
            self.waiting -= 1
        lane.append(thing)
        self.waiting += 1

    def take(self) -> Any:
        """What is next. Raises `LookupError` if nothing waits."""
        lanes = next(lanes for lanes in self._lanes.values() if lanes) if self.waiting else {}
        name = next(iter(lanes), None)
        if name is None:
            raise LookupError("nothing waits")
        lane = lanes.pop(name)
        thing = lane.popleft()
        if lane:
            lanes[name] = lane  # to the end: the others are served before it is again
        self.waiting -= 1
        return thing

    def clear(self) -> None:
        for lanes in self._lanes.values():
            lanes.clear()
        self.waiting = 0


class Intake:
    """What a node takes in: ``serve`` is handed what waits, at most ``per_s`` a second. ``idle`` is told when nothing is left."""

    def __init__(self, queue: Queue, per_s: int, serve: Callable[[Any], None], idle: Callable[[], None]) -> None:
        self._queue = queue
        self._each_ns = SECOND_NS // per_s
        self._serve = serve
        self._idle = idle
        self._lanes = Lanes()
        self._busy = False

    def put(self, message: Message, peer: str, thing: Any) -> bool:
        """Serve it, at once if there is time; whether it has to wait."""
        if self._busy:
            self._lanes.put(message, peer, thing)
            return True
        self._start(thing)
        return False

    def _start(self, thing: Any) -> None:
        self._busy = True
        self._queue.at(self._queue.now + self._each_ns, self._next)
        self._serve(thing)

    def _next(self, _: object) -> None:
        self._busy = False
        if self._lanes.waiting:
            self._start(self._lanes.take())
        else:
            self._idle()

    def forget(self) -> None:
        """The process is gone, and what waited for it."""
        self._lanes.clear()

    def finish(self) -> None:
        """Serve all that waits now: there is no limit any more."""
        while self._lanes.waiting:
            self._serve(self._lanes.take())
