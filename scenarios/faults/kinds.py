"""What a fault is, as the fault reference tells it: its aim, its settings with their units, defaults and limits.

Owns the form of a row and what rows share. Must not know any fault.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from scenarios.units import MILLION, MS_NS, NS_PER_UNIT, SECOND_NS, Span, byte_rate_text, duration_text, frequency_text, percent_text

MS, SECOND = MS_NS, SECOND_NS
DAY = 24 * NS_PER_UNIT["h"]
CENTURY = 36_525 * DAY
NEVER = -1
SIM = "sim"
LIVE = "live"
DRIVERS = (SIM, LIVE)


class Aim(StrEnum):
    """What a fault is pointed at: the links between nodes, the nodes themselves, or signals on their way to nodes."""

    LINKS = "links"
    NODES = "nodes"
    SIGNALS = "signals"


class Unit(StrEnum):
    """How a setting is written, and what whole number it becomes."""

    DURATION = "duration"
    SIGNED_DURATION = "signed duration"
    DURATION_OR_NONE = "duration or none"
    CHANCE = "chance"
    SIGNED_RATE = "signed rate"
    COUNT = "count"
    FREQUENCY = "frequency"
    BYTE_RATE = "bytes a second"
    CHOICE = "choice"
    FLAG = "flag"


class Shape(StrEnum):
    """Which links between sides are hit: all of them; in a ring of sides, those between sides that are no neighbours; or those towards each
    side from the sides beyond its majority, which is itself and those that follow it in the ring, so that no two sides hear the same one.
    """

    BETWEEN = "between"
    RING = "ring"
    MAJORITIES = "majorities"


def writer(unit: Unit) -> Callable[[int], str]:
    """How a number of a unit is written in a file."""
    return _WRITERS.get(unit, duration_text)


_WRITERS: dict[Unit, Callable[[int], str]] = {
    Unit.COUNT: str, Unit.FREQUENCY: frequency_text, Unit.BYTE_RATE: byte_rate_text, Unit.CHANCE: percent_text, Unit.SIGNED_RATE: percent_text,
}  # fmt: skip


@dataclass(frozen=True)
class Setting:
    """One setting: ``name`` in the file, ``key`` in `Fault.settings`, limits inclusive.

    ``default``: as it would be written in a file; None: it must be given. ``swarm``: what a swarm draws it from (None: within the promised
    drift, for a clock's rate). ``live``: the values that the live driver can play (empty: all).
    ``only``: (choice, role) where nodes of one role alone have what a choice names.
    """

    name: str
    key: str
    unit: Unit
    doc: str
    default: str | int | bool | None = None
    limits: Span = Span(0, 0)
    choices: tuple[str, ...] = ()
    swarm: Span | tuple[str, ...] | None = None
    live: tuple[int | str, ...] = ()
    only: tuple[tuple[str, str], ...] = ()


MECHANISMS: dict[str, str] = {
    "toxiproxy": "a real Toxiproxy server, in every link",
    "frame-relay": "a relay of our own behind the proxy, which knows where a signal begins and ends",
    "processes": "signals to processes of the run: SIGSTOP, SIGCONT, SIGKILL",
    "clock-port": "a page that a node's own clock is read through",
    "log-port": "a switch in front of the commits of a node's log",
    "pace-port": "a page that says how long a node takes over each input",
    "conduct-port": "a page that an agent's process looks up how to misbehave in",
    "root-keys": "people with the root keys, who come to a replica over a connection of their own",
    "wall-shim": "a small library before the C library, which sets the wall clock of a process and no other",
    "tmpfs": "a small file system in memory, mounted where a node keeps its files",
    "packet-queue": "a network namespace of one's own, and NFQUEUE in it; takes root",
    "cgroup": "a cgroup v2 child group, whose processes die in one act",
}
"""What live runs make faults with, and what else a scenario may require; `haltproof doctor` says what of it is there."""


@dataclass(frozen=True)
class Live:
    """How the live driver makes a fault, and by what measurement it is ``attested``. ``differs``: from the row's own words; empty: it is exact."""

    mechanism: str
    attested: str
    differs: str = ""

    @property
    def fidelity(self) -> str:
        return "approximate" if self.differs else "exact"


@dataclass(frozen=True)
class FaultKind:
    """One row. ``roles``: the kinds of node it can hit. ``lasting``: it is on for a time (``for``), rather than an instant.

    ``everywhere``: with no target given it hits every link. ``shape``: which links between its sides it hits. ``swarm_roles``: whom a swarm points
    it at; ``swarms``: a swarm that names no faults draws it, too. ``ends``: what its end brings.
    ``breaks_clocks``: it breaks the promised drift, which voids timed bounds (T5), so that a swarm draws it only if its name is given.
    ``live``: how live runs make it; None: only the simulator does.
    """

    name: str
    aim: Aim
    roles: tuple[str, ...]
    doc: str
    ends: str
    settings: tuple[Setting, ...] = ()
    lasting: bool = True
    everywhere: bool = False
    breaks_clocks: bool = False
    swarm_roles: tuple[str, ...] = ()
    swarms: bool = True
    shape: Shape = Shape.BETWEEN
    drivers: tuple[str, ...] = DRIVERS
    live: Live | None = None

    def setting(self, name: str) -> Setting:
        """The setting called ``name`` in a file. Raises `KeyError`."""
        return {setting.name: setting for setting in self.settings}[name]


NETWORKED = ("replica", "sidecar", "sink", "operator")
HOSTED = ("replica", "sidecar", "agent", "sink")
CLOCKED = ("replica", "sidecar", "sink")
STORING = ("replica", "sidecar", "agent", "sink")

CHANCE_LIMITS = Span(0, MILLION)
DELAY_LIMITS = Span(0, 600 * SECOND)

RESTART_AFTER = Setting(
    "restart-after", "restart_after_ns", Unit.DURATION_OR_NONE, "from death to boot; none: not before all is healed", default="1s",
    limits=Span(0, 3600 * SECOND), swarm=Span(50 * MS, 5 * SECOND),
)  # fmt: skip


def chance(doc: str) -> Setting:
    return Setting("chance", "chance_ppm", Unit.CHANCE, doc, default="20%", limits=CHANCE_LIMITS, swarm=Span(20_000, 600_000))
