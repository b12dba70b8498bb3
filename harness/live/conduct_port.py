"""The port through which a run makes an agent misbehave: a page that says how, asked by the agent's process wherever it hears, acts or saves.

Owns the page and both its ends. What is done about it is `harness.live.wayward`'s. The page begins with what the agent's children read
(`harness.live.forked`), which know nothing of the rest.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import NamedTuple

from harness.live import pages
from harness.live.forked import CHILDREN, DEEDS, DEEDS_AT, FRAME_AT, FRAME_MAX, LENGTH, PORTS, PORTS_AT, WANTED
from harness.live.forked import SIZE as CHILDREN_SIZE
from killswitch.live.checkpoint import STEPS

FOLDER = "conduct"
HEARS, IGNORES, LIES_AND_LEAVES, LIES_AND_STAYS = range(4)
ORDERS = struct.Struct("<qqq")  # what it does when asked to stop, how late its timers are in ns, the step of a checkpoint that is its last (0: none)
COUNTS = struct.Struct("<qq")  # of the agent: how often it did not hear, how often it died
ORDERS_AT = CHILDREN_SIZE
COUNTS_AT = ORDERS_AT + ORDERS.size
SIZE = COUNTS_AT + COUNTS.size
DIES_AT = ORDERS_AT + 16


class Deeds(NamedTuple):
    """What a child says of itself."""

    pid: int
    asked: int
    knocked: int


class Conduct:
    """How the agent of the page at ``path`` behaves, as its process reads it. Raises `OSError` if there is no page."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._page = pages.mapped(path)

    @property
    def when_asked_to_stop(self) -> int:
        return int(ORDERS.unpack_from(self._page, ORDERS_AT)[0])

    @property
    def late_ns(self) -> int:
        return int(ORDERS.unpack_from(self._page, ORDERS_AT)[1])

    @property
    def forks(self) -> bool:
        return WANTED.unpack_from(self._page) == (1,)

    def count_unheard(self) -> None:
        unheard, died = COUNTS.unpack_from(self._page, COUNTS_AT)
        COUNTS.pack_into(self._page, COUNTS_AT, unheard + 1, died)

    def is_last(self, step: str) -> bool:
        """Whether the process is to die here; said once, and counted."""
        if STEPS.index(step) + 1 != ORDERS.unpack_from(self._page, ORDERS_AT)[2]:
            return False
        struct.pack_into("<q", self._page, DIES_AT, 0)
        unheard, died = COUNTS.unpack_from(self._page, COUNTS_AT)
        COUNTS.pack_into(self._page, COUNTS_AT, unheard, died + 1)
        return True

    def show(self, frame: bytes) -> None:
        """What the children are to say again."""
        if len(frame) <= FRAME_MAX:
            LENGTH.pack_into(self._page, FRAME_AT, 0)
            self._page[FRAME_AT + LENGTH.size : FRAME_AT + LENGTH.size + len(frame)] = frame
            LENGTH.pack_into(self._page, FRAME_AT, len(frame))


class ConductSwitch(Conduct):
    """The harness's end. Makes the page; until a fault is on, the agent behaves. Of several stops that are not heard the latest counts; lateness
    adds up."""

    def __init__(self, path: Path, sinks: tuple[int, ...]) -> None:
        pages.made(path, bytes(SIZE))
        super().__init__(path)
        PORTS.pack_into(self._page, PORTS_AT, *(*sinks, *[0] * 8)[:8])
        self._stops: dict[str, int] = {}
        self._late_ns: dict[str, int] = {}
        self._dies: dict[str, str] = {}
        self._forks: set[str] = set()

    def misunderstand(self, fault: str, how: int) -> None:
        """Asked to stop, let it do something else."""
        self._stops[fault] = how
        self._order()

    def slow(self, fault: str, by_ns: int) -> None:
        self._late_ns[fault] = by_ns
        self._order()

    def die_after(self, fault: str, step: str) -> None:
        self._dies[fault] = step
        self._order()

    def fork(self, fault: str) -> None:
        self._forks.add(fault)
        self._order()

    def let_be(self, fault: str) -> None:
        for orders in (self._stops, self._late_ns, self._dies):
            orders.pop(fault, None)
        self._forks.discard(fault)
        self._order()

    def counts(self) -> tuple[int, int]:
        """How often it did not hear that it is to stop, and how often it died of a checkpoint, by its own count."""
        unheard, died = COUNTS.unpack_from(self._page, COUNTS_AT)
        return unheard, died

    def children(self) -> tuple[Deeds, ...]:
        return tuple(Deeds(*DEEDS.unpack_from(self._page, DEEDS_AT + number * DEEDS.size)) for number in range(CHILDREN))

    def _order(self) -> None:
        stops = next(reversed(self._stops.values()), HEARS)
        dies = STEPS.index(next(reversed(self._dies.values()))) + 1 if self._dies else 0
        ORDERS.pack_into(self._page, ORDERS_AT, stops, sum(self._late_ns.values()), dies)
        WANTED.pack_into(self._page, 0, int(bool(self._forks)))


def page_of(node: str, directory: Path) -> Path:
    """Where the page of ``node`` is, in the run's directory."""
    return pages.place(FOLDER, node, directory)
