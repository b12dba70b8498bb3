"""The fault reference: every fault there is, in one table that validation, drawing, both drivers, the schema and the docs read.

Owns what a fault is called, what it may hit, its settings with their units, defaults and limits, what happens when it heals, and which
driver can inject it. Must not know how a driver does so. A new fault is a new row in its family's module, and an injector in a driver.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scenarios.faults import agents, clocks, disks, hostile, hosts, keys, links, load, signals
from scenarios.faults.kinds import CENTURY, DAY, DRIVERS, LIVE, MECHANISMS, NEVER, SIM, Aim, FaultKind, Live, Setting, Shape, Unit, writer

if TYPE_CHECKING:
    from scenarios.schedule import Fault

__all__ = [
    "CENTURY",
    "DAY",
    "DRIVERS",
    "FAULTS",
    "LIVE",
    "MECHANISMS",
    "NEVER",
    "SIM",
    "Aim",
    "FaultKind",
    "Live",
    "Setting",
    "Shape",
    "Unit",
    "playable",
    "writer",
]

_FAMILIES = (links, load, signals, clocks, hosts, disks, keys, hostile, agents)

FAULTS: dict[str, FaultKind] = {kind.name: kind for family in _FAMILIES for kind in family.ROWS}


def playable(fault: Fault) -> tuple[str, ...]:
    """The drivers that can play a concrete fault, with its very settings. Raises `KeyError` for a fault that is not in the reference."""
    kind = FAULTS[fault.what]
    # What a hand-made schedule leaves out is 0, to the injectors as well.
    beyond_live = any(setting.live and fault.settings.get(setting.key, 0) not in setting.live for setting in kind.settings)
    return tuple(driver for driver in kind.drivers if not (driver == LIVE and beyond_live))
