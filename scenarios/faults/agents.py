"""Faults of agents: programs that do not stop when they are asked to, stop badly, or do not tell the truth about it."""

from __future__ import annotations

from scenarios.faults.kinds import DELAY_LIMITS, MS, SECOND, SIM, Aim, FaultKind, Live, Setting, Unit
from scenarios.units import Span

_AGENTS = ("agent",)

ROWS = (
    FaultKind(
        "ignore-stop", Aim.NODES, _AGENTS, "The agent does not listen when it is asked to stop, and works on.", "it listens again",
        swarm_roles=_AGENTS,
        live=Live("conduct-port", "SIGTERM is ignored, by /proc/PID/status; stops that its sidecar's trace has and its own has not"),
    ),
    FaultKind(
        "drain-slowly", Aim.NODES, _AGENTS, "Whatever the agent does takes it longer.", "it is as fast as before",
        (Setting("by", "by_ns", Unit.DURATION, "added to every pause for thought", default="500ms", limits=DELAY_LIMITS,
                 swarm=Span(20 * MS, 3 * SECOND)),),
        swarm_roles=_AGENTS,
        live=Live("conduct-port", "from step to timer, in the agent's trace", "it hears nothing while it dawdles; what comes meanwhile waits"),
    ),
    FaultKind(
        "fork", Aim.NODES, _AGENTS,
        "The agent has forked: its children hold its way to the sidecar, ask again for what it asked for, and outlive it until the tree is killed.",
        "it has no children any more",
        (Setting("for-longer", "linger_ns", Unit.DURATION, "how long it takes to end them once the agent is gone", default="100ms",
                 limits=Span(0, SECOND // 2), swarm=Span(1 * MS, 300 * MS)),),
        swarm_roles=_AGENTS,
        live=Live("conduct-port", "children and their sessions, by /proc; what came again, in the sidecar's trace; the sinks' access logs",
                  "two real children, one in a session of its own, that knock at the sinks too; they live as long as it takes to kill them, "
                  "whatever `for-longer` says"),
    ),
    FaultKind(
        "die-mid-checkpoint", Aim.NODES, _AGENTS, "The agent dies in the middle of the next checkpoint that it writes.",
        "checkpoints are written whole",
        (Setting("after", "after", Unit.CHOICE, "the last step that was done: written (CK1, CK2), renamed (CK3) or synced (CK4, and nobody was told)",
                 default="written", choices=("written", "renamed", "synced"), swarm=("written", "renamed", "synced")),
         Setting("power", "power", Unit.FLAG, "its host loses power with it, and comes back a second later", default=False, swarm=("true", "false"),
                 live=(0,))),
        swarm_roles=_AGENTS,
        live=Live("conduct-port", "its slots on the disk; its last step, in its trace; the status that the kernel gave, in its sidecar's"),
    ),
    FaultKind(
        "lie", Aim.NODES, _AGENTS, "Asked to stop, the agent says at once that all is done and saved, and nothing is.", "it tells the truth",
        (Setting("how", "how", Unit.CHOICE, "leaves: it exits as if it were so; stays: it goes on working",
                 default="leaves", choices=("leaves", "stays"), swarm=("leaves", "stays")),),
        swarm_roles=_AGENTS,
        live=Live("conduct-port", "what its sidecar's trace heard it say and its own never said"),
    ),
    FaultKind(
        "hand-over-again", Aim.NODES, _AGENTS,
        "Upstream hands every task of the agent over again, to the process that has it: those that are waiting or under way, and those of whose "
        "end it was told.", "nothing is left of it", lasting=False, swarm_roles=_AGENTS, swarms=False, drivers=(SIM,),
    ),
    FaultKind(
        "unkillable", Aim.NODES, _AGENTS, "The agent's process hangs in the kernel: it does nothing, and no kill takes it (state D).",
        "what was sent to it takes effect, the kill first", swarm_roles=_AGENTS, drivers=(SIM,),
    ),
)  # fmt: skip
