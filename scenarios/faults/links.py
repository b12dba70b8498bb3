"""Faults of the links between nodes."""

from __future__ import annotations

from scenarios.faults.kinds import DELAY_LIMITS, MS, NETWORKED, SECOND, SIM, Aim, FaultKind, Live, Setting, Unit, chance
from scenarios.units import Span

_SHAPE = Setting(
    "shape", "shape", Unit.CHOICE,
    "blackhole: messages vanish; cut: connections are closed and refused, messages vanish; stall: messages wait in TCP and arrive at the heal, late",
    default="blackhole", choices=("blackhole", "cut", "stall"), swarm=("blackhole", "cut", "stall"), live=("blackhole", "cut"),
)  # fmt: skip

ROWS = (
    FaultKind(
        "partition", Aim.LINKS, NETWORKED, "No message passes the links between the sides, both ways or only one.",
        "messages pass again; those that stalled arrive first", (_SHAPE,), swarm_roles=NETWORKED,
        live=Live("toxiproxy", "a probe through each path is refused or hears nothing; toxics read back",
                  "a connection carries both ways of a link unless both ends dial: one way of it can be a black hole, not cut"),
    ),
    FaultKind(
        "delay", Aim.LINKS, NETWORKED, "Every message on the links takes longer by a fixed time.",
        "later messages are as fast as before; those under way still arrive late",
        (Setting("by", "by_ns", Unit.DURATION, "added to each message's latency", default="200ms",
                 limits=DELAY_LIMITS, swarm=Span(20 * MS, 3 * SECOND)),),
        everywhere=True, swarm_roles=NETWORKED,
        live=Live("toxiproxy", "round trip of a probe through each path; toxics read back"),
    ),
    FaultKind(
        "loss", Aim.LINKS, NETWORKED, "Each message on the links is lost with a chance.", "messages are no longer lost",
        (chance("that a message is lost"),), everywhere=True, swarm_roles=NETWORKED, drivers=(SIM,),
    ),
    FaultKind(
        "duplicate-messages", Aim.LINKS, NETWORKED, "Each message on the links arrives twice with a chance.", "messages arrive once",
        (chance("that a message arrives twice"),), everywhere=True, swarm_roles=NETWORKED, drivers=(SIM,),
    ),
    FaultKind(
        "reorder", Aim.LINKS, NETWORKED, "Each message on the links is held back with a chance, so that later ones overtake it.",
        "later messages are no longer held back",
        (chance("that a message is held back"),
         Setting("by", "by_ns", Unit.DURATION, "the longest time that it is held back", default="200ms",
                 limits=DELAY_LIMITS, swarm=Span(20 * MS, 2 * SECOND))),
        everywhere=True, swarm_roles=NETWORKED, drivers=(SIM,),
    ),
)  # fmt: skip
