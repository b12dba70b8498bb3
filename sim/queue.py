"""Time and what is to come: SimPy's environment, with events as slim as it will take.

Owns the queue. An event is an object with two slots and a class-level list of one callback; what happens at the same instant is ordered by a
draw from the tape, not by who came first: a tie is a choice that a schedule can make.

SimPy pops ``(time, priority, number, event)`` and calls ``event.callbacks``; it needs ``_ok`` to be true.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappush
from typing import Any

import simpy

from sim.tape import Choose

TIE_WAYS = 1 << 16


class Event:
    """Something to do at a time: ``act(argument)``."""

    __slots__ = ("act", "argument", "callbacks")
    _ok = True

    def __init__(self, act: Callable[[Any], None], argument: Any) -> None:
        self.act = act
        self.argument = argument
        self.callbacks: Any = _CALLBACKS


def _fire(event: Event) -> None:
    event.act(event.argument)


_CALLBACKS = (_fire,)


class Queue:
    """The world's clock and agenda, in whole nanoseconds from 0."""

    def __init__(self, tie: Choose) -> None:
        self.env = simpy.Environment(initial_time=0)
        self._heap: list[Any] = self.env._queue  # slim events, not SimPy's own: hence Any
        self._tie = tie
        self._number = self.env._eid

    @property
    def now(self) -> int:
        now: int = self.env._now  # type: ignore[assignment]  # SimPy allows floats; here all times are whole
        return now

    def at(self, time: int, act: Callable[[Any], None], argument: Any = None) -> None:
        """Do ``act(argument)`` at ``time``, which is not before now."""
        heappush(self._heap, (time, self._tie(TIE_WAYS), next(self._number), Event(act, argument)))

    def run(self, until: int) -> None:
        """Play everything before ``until``. Raises whatever an act raises."""
        if until > self.now:
            self.env.run(until=until)

    def stop(self) -> None:
        """End the run at this instant: nothing further is played."""
        self._heap.clear()


def is_over(error: Exception) -> bool:
    """Whether an error of `Queue.run` only says that there was nothing left to do."""
    return isinstance(error, RuntimeError) and "No scheduled events left" in str(error)
