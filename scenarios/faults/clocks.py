"""Faults of nodes' own clocks."""

from __future__ import annotations

from scenarios.faults.kinds import CENTURY, CLOCKED, DAY, SECOND, Aim, FaultKind, Live, Setting, Unit
from scenarios.units import Span

_READ = Live("clock-port", "the node's own readings beside the host's clock, in its trace")
_WALL_READ = "each process's own readings of both clocks"

ROWS = (
    FaultKind(
        "clock-step", Aim.NODES, CLOCKED, "The node's own clock jumps. This breaks the promised drift: timed bounds are void there (T5).",
        "the clock runs on from where it jumped to",
        (Setting("by", "by_ns", Unit.SIGNED_DURATION, "the jump; negative is backwards", limits=Span(-DAY, DAY),
                 swarm=Span(-2 * SECOND, 2 * SECOND)),),
        lasting=False, swarm_roles=CLOCKED, breaks_clocks=True,
        live=_READ,
    ),
    FaultKind(
        "clock-drift", Aim.NODES, CLOCKED,
        "The node's own clock runs at another rate. Beyond the promised drift, timed bounds are void there (T5).",
        "the clock runs on at the rate it had",
        (Setting("rate", "rate_ppm", Unit.SIGNED_RATE, "against real time: 10% is fast, -10% is slow", limits=Span(-900_000, 900_000)),),
        swarm_roles=CLOCKED, live=_READ,
    ),
    FaultKind(
        "clock-freeze", Aim.NODES, CLOCKED,
        "The node's own clock stands still, while its process goes on. This breaks the promised drift: timed bounds are void there (T5).",
        "the clock runs on from where it stood", swarm_roles=CLOCKED, breaks_clocks=True, live=_READ,
    ),
    FaultKind(
        "clock-strobe", Aim.NODES, CLOCKED,
        "The node's own clock jumps to and fro. This breaks the promised drift: timed bounds are void there (T5).",
        "the clock runs on from where it is",
        (Setting("by", "by_ns", Unit.DURATION, "how far it jumps, forth and then back", default="2s", limits=Span(1, DAY),
                 swarm=Span(SECOND // 10, 4 * SECOND)),
         Setting("every", "every_ns", Unit.DURATION, "how long it stays on either side", default="200ms", limits=Span(SECOND // 1000, DAY),
                 swarm=Span(SECOND // 20, SECOND))),
        swarm_roles=CLOCKED, breaks_clocks=True,
        live=Live("clock-port", _READ.attested, "by 60ms or more, every 10ms or less often"),
    ),
    FaultKind(
        "wall-step", Aim.NODES, CLOCKED,
        "The host's wall clock jumps, by hours or to another year. Stamps of audit records show it; nothing else may (S24).",
        "the wall clock runs on from where it jumped to",
        (Setting("by", "by_ns", Unit.SIGNED_DURATION, "the jump; negative is backwards", limits=Span(-CENTURY, CENTURY),
                 swarm=Span(-DAY, DAY)),),
        lasting=False, swarm_roles=CLOCKED,
        live=Live("wall-shim", _WALL_READ, "beyond 75 years TLS opens no connection"),
    ),
    FaultKind(
        "wall-drift", Aim.NODES, CLOCKED,
        "The host's wall clock runs at another rate. Stamps of audit records show it; nothing else may (S24).",
        "the wall clock runs on from where it is, at the rate it had",
        (Setting("rate", "rate_ppm", Unit.SIGNED_RATE, "against real time: 10% is fast, -10% is slow", limits=Span(-900_000, 900_000)),),
        swarm_roles=CLOCKED, swarms=False, live=Live("wall-shim", f"the rate of {_WALL_READ}, while it is on and after it"),
    ),
    FaultKind(
        "wall-strobe", Aim.NODES, CLOCKED,
        "The host's wall clock jumps to and fro. Stamps of audit records show it; nothing else may (S24).",
        "the wall clock runs on from where it is",
        (Setting("by", "by_ns", Unit.DURATION, "how far it jumps, forth and then back", default="1h", limits=Span(1, CENTURY),
                 swarm=Span(SECOND // 10, DAY)),
         Setting("every", "every_ns", Unit.DURATION, "how long it stays on either side", default="200ms", limits=Span(SECOND // 1000, DAY),
                 swarm=Span(SECOND // 20, SECOND))),
        swarm_roles=CLOCKED, swarms=False,
        live=Live("wall-shim", f"jumps forth and back in {_WALL_READ}", "by 100ms or more, every 50ms or less often"),
    ),
)  # fmt: skip
