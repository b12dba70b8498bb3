"""Time and what is to come: SimPy's environment, with events as slim as it will take.

Owns the queue. An event is a struct with a tuple of one callback that all its kind share; what happens at the same instant is ordered by a
draw from the tape, not by who came first: a tie is a choice that a schedule can make. Whatever is alone at its instant draws nothing.

Entries are SimPy's, ``(time, priority, number, event)`` with ``event.callbacks`` and ``event._ok``. Their priority is 0, or the lot they drew.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from heapq import heappop, heappush
from typing import Any, ClassVar, Protocol

import simpy
from msgspec import Struct

from sim.tape import Draw

TIE_BITS = 16
EVENTS_MAX = 5_000_000  # a fact takes about three: who needs more has recorded more facts than a run may
SLOT_NS = 1_000_000_000
FIRST = -1  # before all that comes at an instant, and whatever it draws
CROWD_MAX = 1_000_000  # events that are put on at the very instant at which they are to play


class TooMuch(Exception):
    """The run recorded more, or went on for longer, than a run may: it may be one that never ends."""


def too_many() -> TooMuch:
    """What ends a run that has had all the events that a run may have."""
    return TooMuch(f"more than {EVENTS_MAX} events")


class _Reached(Exception):
    """What was to be played is."""


class Event(Struct):
    """What the queue takes: whatever has ``callbacks``, which are called with the event when its time comes."""

    callbacks: Any
    _ok: ClassVar[bool] = True


class Act(Event):
    """Something to do: ``act(argument)``."""

    act: Callable[[Any], None]
    argument: Any

    @classmethod
    def of(cls, act: Callable[[Any], None], argument: Any = None) -> Act:
        return cls(_ACTS, act, argument)


def _carry_out(event: Act) -> None:
    event.act(event.argument)


_ACTS = (_carry_out,)


Entry = tuple[int, int, int, Event]  # (time, lot, number, event)


class Lane(Protocol):
    """Something that keeps order, such as a connection: of what goes through it nothing arrives before, or with, what went before."""

    last_at: int


class Queue(simpy.Environment):
    """The world's clock and agenda, in whole nanoseconds from 0. ``tie`` draws `TIE_BITS` bits.

    The heap holds what comes within the present slot of time; the rest lies in a list for each slot, and is sorted when that begins. One heap of a
    large fleet's whole agenda would be as deep as the fleet is large, and every level of it out of the cache. ``slot_ns`` changes no order.

    ``heap``, ``slot_end``, ``number`` and `lay_aside` are for `push`, and for the network, which does the same without its call.
    """

    __slots__ = ("_now",)
    now: int

    def __init__(self, tie: Draw, slot_ns: int = SLOT_NS) -> None:
        super().__init__(initial_time=0)
        self.heap: list[Any] = self._queue  # slim events, not SimPy's own: hence Any
        self._slot_ns = self.slot_end = slot_ns
        self._later: dict[int, list[Any]] = {}  # number of a slot -> what it will bring
        self._slots: list[int] = []  # a heap of those numbers
        self._slot_ends = Act(_ACTS, self._begin_slot, None)
        self._mark_slot()
        self._plays = 0
        self._tie = tie
        self.number = iter(range(EVENTS_MAX)).__next__
        self._instant, self._crowd = -1, 0

    def at(self, time: int, act: Callable[[Any], None], argument: Any = None) -> None:
        """Do ``act(argument)`` at ``time``, which is not before now. Raises `TooMuch`."""
        self.push(time, Act(_ACTS, act, argument))

    def push(self, time: int, event: Event) -> None:
        """Play ``event`` at ``time``, which is not before now. Raises `TooMuch`."""
        if time <= self.now:
            self._count_crowd()
        try:
            entry = (time, 0, self.number(), event)
        except StopIteration:
            raise too_many() from None
        if time < self.slot_end:
            heappush(self.heap, entry)
        else:
            self.lay_aside(entry)

    def follow(self, lane: Lane, after_ns: int, event: Event) -> None:
        """Play ``event`` in ``after_ns`` from now, or right after what goes before it on its lane. Raises `TooMuch`."""
        time: int = self.now + after_ns
        if time <= lane.last_at:
            time = lane.last_at + 1
        lane.last_at = time
        self.push(time, event)

    def lay_aside(self, entry: Entry) -> None:
        """For when its slot begins."""
        slot = entry[0] // self._slot_ns
        laid = self._later.get(slot)
        if laid is None:
            laid = self._later[slot] = []
            heappush(self._slots, slot)
        laid.append(entry)

    def _begin_slot(self, _: None) -> None:
        """Go on to the next slot that brings something: the end of what is played is one, if nothing else. Nothing is left of the present one."""
        slot = heappop(self._slots)
        self.slot_end = (slot + 1) * self._slot_ns
        self.heap += sorted(self._later.pop(slot))  # which is a heap
        self._mark_slot()

    def _mark_slot(self) -> None:
        """The end of the present slot comes after all that is in it: the heap is still one."""
        self.heap.append((self.slot_end, FIRST, 0, self._slot_ends))

    def _by_lot(self, entry: Entry) -> Event:
        """Which of all that come at this instant comes first: each that has drawn no lot yet draws one, in the order in which they were put on."""
        heap = self.heap
        while not entry[1]:
            heappush(heap, (entry[0], 1 + self._tie(), *entry[2:]))
            entry = heappop(heap)
        return entry[3]

    def _count_crowd(self) -> None:
        """Time does not go on while everything that is done brings more to do at once."""
        if self._instant != self.now:
            self._instant, self._crowd = self.now, 0
        self._crowd += 1
        if self._crowd > CROWD_MAX:
            raise TooMuch(f"more than {CROWD_MAX} events at one instant, {self.now} ns")

    def play(self, until: int) -> None:
        """Play everything before ``until``. Raises whatever an act raises. What SimPy's `run` does, but for a call and a `try` for each event."""
        if until <= self.now:
            return
        self._plays += 1
        heap = self.heap
        end = (until, FIRST, self._plays, Act(_ACTS, self._reach, self._plays))
        if until < self.slot_end:
            heappush(heap, end)
        else:
            self.lay_aside(end)
        with suppress(_Reached):
            while True:  # the heap is never empty: the end is to come, and that of the slot
                entry = heappop(heap)
                now, lot, _, event = entry
                if not lot and heap[0][0] == now:
                    event = self._by_lot(entry)
                self.now = now
                event.callbacks[0](event)

    def _reach(self, play: int) -> None:
        """The end of what is played, unless something raised and it is played anew since."""
        if play == self._plays:
            raise _Reached


# SimPy keeps the time in `_now` and serves it by a property. Several reads an event make that a twentieth of a run; a slot is had for a quarter.
Queue.now = Queue.__dict__["_now"]


@contextmanager
def collector_at_rest() -> Iterator[None]:
    """No garbage is collected inside, but by `sweep`. A run keeps what it makes, so that looking through it over and over costs a fifth of its time
    for nothing. Around many runs it spares looking through the last thing that was made of each, too.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def sweep() -> None:
    """Collect what an earlier run left: its nodes and its world know each other, and nobody else does. Whatever was made before is not looked at."""
    gc.collect(0)
