"""What a run is about: its cells, nodes, processes and orders, as far as the history has told of them.

Owns these as data, with what follows from one of them alone. Must not know facts (``run`` reads them) or checkers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.checkers.bounds import Bounds
from harness.checkers.words import DRAIN, STOP, Token
from harness.shared.history import severity_name


@dataclass(frozen=True, slots=True)
class Learned:
    """Where and when a node took an order in; ``boot`` names the boot for which ``clock_ns`` has a meaning."""

    index: int
    at_ns: int
    clock_ns: int
    boot: str


@dataclass(frozen=True, slots=True)
class Covered:
    """The first time that an authentic certificate covering an order became durable anywhere."""

    index: int
    at_ns: int


@dataclass(slots=True)
class Order:
    """An order, and how far the run took it. ``holders``: {replica: index of its order-durable}; a cell's k-th makes it effective there.

    ``cells``: those that it concerns, by index: an agent's home, or for anything wider all. ``effective``: {cell: (when, index of the fact)}.
    """

    order: str
    tenant: str
    scope: tuple[str, str]
    gate: int
    life: int
    grace_ns: int
    agents: frozenset[str]
    first_index: int
    first_ns: int
    undoes: bool = False  # what is begun, where it can be
    issuer: str = ""
    reason: str = ""
    cleanup: str = ""
    decided: tuple[Any, ...] = ()  # what ruling it rests on, where that is told
    holders: dict[str, int] = field(default_factory=dict)
    cells: tuple[int, ...] = (0,)
    effective: dict[int, tuple[int, int]] = field(default_factory=dict)

    @property
    def severity(self) -> str:
        return severity_name(self.gate, self.life)

    def time_to_stop_ns(self, bounds: Bounds) -> int:
        """How long a process may take to stop by itself: its grace, or with the gate shut the stop timeout, if that is longer."""
        return self.grace_ns if self.gate == DRAIN else max(self.grace_ns, bounds.stop_timeout_ns)

    @property
    def drains(self) -> bool:
        """Whether this is a soft order, that is one with a drain deadline."""
        return self.gate == DRAIN and self.life >= STOP

    def within(self, tenant: str, scope: tuple[str, str]) -> bool:
        """Whether a resume of ``scope`` may speak of it: it is the same or holds its own; a global one, global orders alone."""
        if "global" in (scope[0], self.scope[0]):
            return scope[0] == self.scope[0]
        return self.tenant == tenant and scope in (("tenant", scope[1]), self.scope)

    @property
    def effective_ns(self) -> int | None:
        """When it first was effective in a cell that it concerns."""
        return min((self.effective[cell][0] for cell in self.cells if cell in self.effective), default=None)

    def effective_in(self, cell: int) -> int | None:
        """t0 for the agents whose home is that cell."""
        return self.effective[cell][0] if cell in self.effective else None

    def became_effective(self, index: int) -> int | None:
        """The cell in which this very fact made it effective, if any."""
        return next((cell for cell, (_, made) in self.effective.items() if made == index), None)

    def proof(self) -> tuple[int, ...]:
        """The facts that make it effective: the durable copies up to the last that did, in whichever cell."""
        last = max((index for _, index in self.effective.values()), default=None)
        return (self.first_index,) if last is None else tuple(index for index in self.holders.values() if index <= last)


@dataclass(frozen=True, slots=True)
class Cell:
    """A group of replicas with quorums of its own, and the agents whose home it is."""

    replicas: tuple[str, ...]
    quorum: int
    kill_quorum: int
    agents: tuple[str, ...]


@dataclass(slots=True)
class Node:
    """What is known of one node. ``covered`` and ``lifted``: {order: index} by certificates durable, and merely learned, here.

    ``lives``: (start, end) of its processes that have ended; ``started_ns``: when it last started; ``since_ns``: since when it has run without
    a break, that is since a start or the end of a pause. ``doubts``: it does not believe its own clock. ``unread``: its own log
    holds orders in a form that it does not know. ``measures_from``: the fact, and what its
    clock read then, from which on that clock measures: what came before its start, or before a doubt began or ended, was measured on none (T5).
    """

    node: str
    up: bool = True
    paused: bool = False
    boot: str = ""
    instance: str = ""
    started_index: int | None = None
    started_ns: int = 0
    since_ns: int = 0
    disk_failed: bool = False
    disk_full: bool = False
    doubts: bool = False
    unread: bool = False
    measures_from: tuple[int, int] = (-1, 0)
    known: dict[str, Learned] = field(default_factory=dict)
    uncertain: dict[str, Learned] = field(default_factory=dict)
    durable: dict[str, int] = field(default_factory=dict)
    certificates: dict[str, int] = field(default_factory=dict)
    covered: dict[str, int] = field(default_factory=dict)
    lifted: dict[str, int] = field(default_factory=dict)
    revision: int = 0
    lives: list[tuple[int, int]] = field(default_factory=list)

    def measured_ns(self, learned: Learned, now_ns: int) -> int:
        """For how long, at most, it has known an order by a clock that counts."""
        index, since_ns = self.measures_from
        return now_ns - (learned.clock_ns if learned.index > index else since_ns)

    @property
    def works(self) -> bool:
        """Up, running, started by the driver, with a log that it can read and a disk that syncs. One that is full keeps nobody from stopping, so it
        is none to excuse."""
        return self.up and not self.paused and not self.disk_failed and not self.unread and self.started_index is not None


@dataclass(slots=True)
class Process:
    """The agent's process tree under its sidecar; ``alive`` is given up when its fate is no longer certain."""

    token: Token
    started_index: int
    started_ns: int
    alive: bool = True


def replica_nodes(replicas: Any) -> tuple[str, ...]:
    """The replicas' node ids, from their list or their count."""
    if isinstance(replicas, int):
        return tuple(f"replica/{number}" for number in range(1, replicas + 1))
    return tuple(replicas)


def cells_of(body: Mapping[str, Any]) -> tuple[Cell, ...]:
    """The cells of a topology: one of everybody, where it does not name several."""
    told = body.get("cells") or [{**body, "replicas": replica_nodes(body["replicas"])}]
    return tuple(Cell(tuple(cell["replicas"]), int(cell["quorum"]), int(cell["kill_quorum"]), tuple(cell["agents"])) for cell in told)
