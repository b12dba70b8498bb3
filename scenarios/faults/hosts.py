"""Faults of processes and the hosts that they run on."""

from __future__ import annotations

from scenarios.faults.kinds import HOSTED, MS, SECOND, Aim, FaultKind, Live, Setting, Unit
from scenarios.units import Span

ROWS = (
    FaultKind(
        "crash", Aim.NODES, HOSTED, "The node's process dies at once, and is started again after a time.",
        "the node boots with what survived",
        (Setting("power", "power", Unit.FLAG, "the host loses power: its clock restarts, and what was not synced is gone", default=False,
                 swarm=("true", "false"), live=(0,)),
         Setting("restart-after", "restart_after_ns", Unit.DURATION_OR_NONE, "from death to boot; none: not before all is healed",
                 default="1s", limits=Span(0, 3600 * SECOND), swarm=Span(50 * MS, 5 * SECOND))),
        lasting=False, swarm_roles=("replica", "sidecar", "sink"),
        live=Live("processes", "the status that the kernel gave, then a new pid", "a process can be killed, a host's power cannot be taken away"),
    ),
    FaultKind(
        "pause", Aim.NODES, HOSTED, "The node's process stands still (SIGSTOP, a long collection, a frozen host); its clock runs on.",
        "the process goes on where it stood, with everything that has arrived since", swarm_roles=("replica", "sidecar", "agent", "sink"),
        live=Live("processes", "state T in /proc/PID/stat"),
    ),
)  # fmt: skip
