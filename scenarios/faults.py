"""The fault reference: every fault there is, in one table that validation, drawing, both drivers, the schema and the docs read.

Owns what a fault is called, what it may hit, its settings with their units, defaults and limits, what happens when it heals, and which
driver can inject it. Must not know how a driver does so. A new fault is a new row here and an injector in a driver.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from scenarios.units import MILLION, NS_PER_UNIT, Span

if TYPE_CHECKING:
    from scenarios.schedule import Fault

MS = NS_PER_UNIT["ms"]
SECOND = NS_PER_UNIT["s"]
DAY = 24 * NS_PER_UNIT["h"]
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
    CHOICE = "choice"
    FLAG = "flag"


@dataclass(frozen=True)
class Setting:
    """One setting: ``name`` in the file, ``key`` in `Fault.settings`, limits inclusive.

    ``default``: as it would be written in a file; None: it must be given. ``swarm``: what a swarm draws it from (None: within the promised
    drift, for a clock's rate). ``live``: the values that the live driver can play (empty: all).
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


@dataclass(frozen=True)
class FaultKind:
    """One row. ``roles``: the kinds of node it can hit. ``lasting``: it is on for a time (``for``), rather than an instant.

    ``everywhere``: with no target given it hits every link. ``swarm_roles``: whom a swarm points it at. ``ends``: what its end brings.
    """

    name: str
    aim: Aim
    roles: tuple[str, ...]
    doc: str
    ends: str
    settings: tuple[Setting, ...] = ()
    lasting: bool = True
    everywhere: bool = False
    swarm_roles: tuple[str, ...] = ()
    drivers: tuple[str, ...] = DRIVERS

    def setting(self, name: str) -> Setting:
        """The setting called ``name`` in a file. Raises `KeyError`."""
        return {setting.name: setting for setting in self.settings}[name]


NETWORKED = ("replica", "sidecar", "sink", "operator")
HOSTED = ("replica", "sidecar", "agent", "sink")
CLOCKED = ("replica", "sidecar", "sink")
STORING = ("replica", "sidecar", "agent", "sink")

_CHANCE_LIMITS = Span(0, MILLION)
_DELAY_LIMITS = Span(0, 600 * SECOND)
_SHAPE = Setting(
    "shape", "shape", Unit.CHOICE,
    "blackhole: messages vanish; cut: connections are closed and refused, messages vanish; stall: messages wait in TCP and arrive at the heal, late",
    default="blackhole", choices=("blackhole", "cut", "stall"), swarm=("blackhole", "cut", "stall"), live=("blackhole", "cut"),
)  # fmt: skip
_MESSAGES = ("order", "grant", "certificate", "any")


def _what(live: tuple[int | str, ...] = ()) -> Setting:
    doc = "order: whatever carries a kill order; grant: lease grants; certificate: whatever carries a resume certificate; any"
    return Setting("what", "message", Unit.CHOICE, doc, default="any", choices=_MESSAGES, swarm=_MESSAGES, live=live)


def _chance(doc: str) -> Setting:
    return Setting("chance", "chance_ppm", Unit.CHANCE, doc, default="20%", limits=_CHANCE_LIMITS, swarm=Span(20_000, 600_000))


FAULTS: dict[str, FaultKind] = {
    kind.name: kind
    for kind in (
        FaultKind(
            "partition", Aim.LINKS, NETWORKED, "No message passes the links between the sides, both ways or only one.",
            "messages pass again; those that stalled arrive first", (_SHAPE,), swarm_roles=NETWORKED,
        ),
        FaultKind(
            "delay", Aim.LINKS, NETWORKED, "Every message on the links takes longer by a fixed time.",
            "later messages are as fast as before; those under way still arrive late",
            (Setting("by", "by_ns", Unit.DURATION, "added to each message's latency", default="200ms",
                     limits=_DELAY_LIMITS, swarm=Span(20 * MS, 3 * SECOND)),),
            everywhere=True, swarm_roles=NETWORKED,
        ),
        FaultKind(
            "loss", Aim.LINKS, NETWORKED, "Each message on the links is lost with a chance.", "messages are no longer lost",
            (_chance("that a message is lost"),), everywhere=True, swarm_roles=NETWORKED, drivers=(SIM,),
        ),
        FaultKind(
            "duplicate-messages", Aim.LINKS, NETWORKED, "Each message on the links arrives twice with a chance.", "messages arrive once",
            (_chance("that a message arrives twice"),), everywhere=True, swarm_roles=NETWORKED, drivers=(SIM,),
        ),
        FaultKind(
            "reorder", Aim.LINKS, NETWORKED, "Each message on the links is held back with a chance, so that later ones overtake it.",
            "later messages are no longer held back",
            (_chance("that a message is held back"),
             Setting("by", "by_ns", Unit.DURATION, "the longest time that it is held back", default="200ms",
                     limits=_DELAY_LIMITS, swarm=Span(20 * MS, 2 * SECOND))),
            everywhere=True, swarm_roles=NETWORKED, drivers=(SIM,),
        ),
        FaultKind(
            "duplicate", Aim.SIGNALS, NETWORKED, "While it is on, every such signal to the nodes is delivered several times.",
            "signals arrive once",
            (_what(live=("order",)),
             Setting("times", "times", Unit.COUNT, "deliveries of each signal, the original included", default=2, limits=Span(2, 20),
                     swarm=Span(2, 4))),
            swarm_roles=("replica", "sidecar"),
        ),
        FaultKind(
            "replay", Aim.SIGNALS, NETWORKED, "Signals that such a node received earlier are delivered to it once more, as old as they are.",
            "nothing is left of it",
            (_what(), Setting("times", "times", Unit.COUNT, "how many old signals, the latest first", default=1, limits=Span(1, 20),
                              swarm=Span(1, 5))),
            lasting=False, swarm_roles=("replica", "sidecar"), drivers=(SIM,),
        ),
        FaultKind(
            "clock-step", Aim.NODES, CLOCKED, "The node's own clock jumps. This breaks the promised drift: timed bounds are void there (T5).",
            "the clock runs on from where it jumped to",
            (Setting("by", "by_ns", Unit.SIGNED_DURATION, "the jump; negative is backwards", limits=Span(-DAY, DAY),
                     swarm=Span(-2 * SECOND, 2 * SECOND)),),
            lasting=False, swarm_roles=CLOCKED, drivers=(SIM,),
        ),
        FaultKind(
            "clock-drift", Aim.NODES, CLOCKED,
            "The node's own clock runs at another rate. Beyond the promised drift, timed bounds are void there (T5).",
            "the clock runs on at the rate it had",
            (Setting("rate", "rate_ppm", Unit.SIGNED_RATE, "against real time: 10% is fast, -10% is slow", limits=Span(-900_000, 900_000)),),
            swarm_roles=CLOCKED, drivers=(SIM,),
        ),
        FaultKind(
            "crash", Aim.NODES, HOSTED, "The node's process dies at once, and is started again after a time.",
            "the node boots with what survived",
            (Setting("power", "power", Unit.FLAG, "the host loses power: its clock restarts, and what was not synced is gone", default=False,
                     swarm=("true", "false"), live=(0,)),
             Setting("restart-after", "restart_after_ns", Unit.DURATION_OR_NONE, "from death to boot; none: not before all is healed",
                     default="1s", limits=Span(0, 3600 * SECOND), swarm=Span(50 * MS, 5 * SECOND))),
            lasting=False, swarm_roles=("replica", "sidecar", "sink"),
        ),
        FaultKind(
            "pause", Aim.NODES, HOSTED, "The node's process stands still (SIGSTOP, a long collection, a frozen host); its clock runs on.",
            "the process goes on where it stood, with everything that has arrived since", swarm_roles=("replica", "sidecar", "agent", "sink"),
        ),
        FaultKind(
            "disk-fail", Aim.NODES, STORING, "Every sync of the node's disk fails, and a failed sync is final for the process that saw it.",
            "syncs work again for processes started from then on", swarm_roles=("replica", "sidecar"), drivers=(SIM,),
        ),
        FaultKind(
            "disk-slow", Aim.NODES, STORING, "Every sync of the node's disk takes longer.", "syncs are as fast as before",
            (Setting("by", "by_ns", Unit.DURATION, "added to each sync", default="200ms", limits=_DELAY_LIMITS,
                     swarm=Span(20 * MS, 2 * SECOND)),),
            swarm_roles=("replica", "sidecar", "sink"), drivers=(SIM,),
        ),
    )
}  # fmt: skip


def playable(fault: Fault) -> tuple[str, ...]:
    """The drivers that can play a concrete fault, with its very settings. Raises `KeyError` for a fault that is not in the reference."""
    kind = FAULTS[fault.what]
    beyond_live = any(setting.live and fault.settings.get(setting.key) not in setting.live for setting in kind.settings)
    return tuple(driver for driver in kind.drivers if not (driver == LIVE and beyond_live))
