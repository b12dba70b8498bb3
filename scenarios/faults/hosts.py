"""Faults of processes and the hosts that they run on."""

from __future__ import annotations

from scenarios.faults.kinds import HOSTED, MS, RESTART_AFTER, Aim, FaultKind, Live, Setting, Unit
from scenarios.units import Span

ROWS = (
    FaultKind(
        "crash", Aim.NODES, HOSTED, "The node's process dies at once, and is started again after a time.",
        "the node boots with what survived",
        (Setting("power", "power", Unit.FLAG, "the host loses power: its clock restarts, and what was not synced is gone", default=False,
                 swarm=("true", "false")),
         RESTART_AFTER),
        lasting=False, swarm_roles=("replica", "sidecar", "sink"),
        live=Live("processes", "the status that the kernel gave, then a new pid; with `power` another boot and a clock that began anew, in the trace",
                  "with `power` the processes die, and clock and boot of their host are new to them, but what was not synced may be there"),
    ),
    FaultKind(
        "suspend", Aim.NODES, ("replica", "sidecar", "sink"),
        "The node's whole host sleeps. CLOCK_BOOTTIME counts that, as A1 asks; an implementation that runs on CLOCK_MONOTONIC does not notice (B42).",
        "the host wakes up; what was sent to it meanwhile is gone", swarm_roles=("replica", "sidecar", "sink"),
        live=Live("processes", "state T in /proc/PID/stat; a probe through each path hears nothing",
                  "its processes are stopped and nothing reaches them, on a host that is awake: no clock that stands still in a sleep does"),
    ),
    FaultKind(
        "pause", Aim.NODES, HOSTED, "The node's process stands still (SIGSTOP, a long collection, a frozen host); its clock runs on.",
        "the process goes on where it stood, with everything that has arrived since", swarm_roles=("replica", "sidecar", "agent", "sink"),
        live=Live("processes", "state T in /proc/PID/stat"),
    ),
    FaultKind(
        "clone", Aim.NODES, ("sidecar",),
        "A copy of the sidecar's host, its agent included, boots from a snapshot of its disk beside it: same keys, name, log and token, a new "
        "start. It has links of its own, which no other fault hits; whoever both speak to answers the one that spoke last. One host in a run: a "
        "second such fault does nothing.",
        "one of the two is ended for good",
        (Setting("survivor", "survivor", Unit.CHOICE, "which of the two goes on", default="original", choices=("original", "clone"),
                 swarm=("original", "clone")),),
        swarm_roles=("sidecar",), swarms=False,
        live=Live("processes", "two living processes that are told to be one node, each with a boot of its own, and heard, in its trace; then one",
                  "a server answers over the newest connection of a name, and not to the one that spoke last; after its end no fault hits the copy"),
    ),
    FaultKind(
        "slow-node", Aim.NODES, HOSTED, "The node takes its inputs one after another, each after a time; those that come meanwhile wait.",
        "what waits is taken at once",
        (Setting("by", "by_ns", Unit.DURATION, "how long each input takes", default="10ms", limits=Span(0, 1000 * MS), swarm=Span(MS, 15 * MS)),),
        swarm_roles=("replica", "sidecar", "sink"), swarms=False, live=Live("pace-port", "from step to step, in the nodes' traces"),
    ),
)  # fmt: skip
