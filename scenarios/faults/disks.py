"""Faults of disks."""

from __future__ import annotations

from scenarios.faults.kinds import DELAY_LIMITS, MS, SECOND, SIM, STORING, Aim, FaultKind, Setting, Unit
from scenarios.units import Span

ROWS = (
    FaultKind(
        "disk-fail", Aim.NODES, STORING, "Every sync of the node's disk fails, and a failed sync is final for the process that saw it.",
        "syncs work again for processes started from then on", swarm_roles=("replica", "sidecar"), drivers=(SIM,),
    ),
    FaultKind(
        "disk-slow", Aim.NODES, STORING, "Every sync of the node's disk takes longer.", "syncs are as fast as before",
        (Setting("by", "by_ns", Unit.DURATION, "added to each sync", default="200ms", limits=DELAY_LIMITS,
                 swarm=Span(20 * MS, 2 * SECOND)),),
        swarm_roles=("replica", "sidecar", "sink"), drivers=(SIM,),
    ),
)  # fmt: skip
