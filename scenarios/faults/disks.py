"""Faults of disks."""

from __future__ import annotations

from scenarios.faults.kinds import DELAY_LIMITS, MS, RESTART_AFTER, SECOND, SIM, STORING, Aim, FaultKind, Live, Setting, Unit
from scenarios.units import Span

ROWS = (
    FaultKind(
        "disk-fail", Aim.NODES, STORING, "Every sync of the node's disk fails, and a failed sync is final for the process that saw it.",
        "syncs work again for processes started from then on", swarm_roles=("replica", "sidecar"),
        live=Live("log-port", "failures that the node's trace shows", "commits of the log fail, by a switch before them; checkpoints do not"),
    ),
    FaultKind(
        "disk-read-only", Aim.NODES, ("replica", "sidecar", "sink"),
        "Nothing can be written to the node's disk any more; what is there can be read, by whoever boots, too. A write that failed is final for the "
        "process that saw it.",
        "writes work again for processes started from then on", swarm_roles=("replica", "sidecar"), swarms=False,
        live=Live("log-port", "the log's file, read from outside, has no record more; failures that the node's trace shows",
                  "SQLite is told to write nothing, and fails as it does on such a file system; checkpoints can be written"),
    ),
    FaultKind(
        "disk-slow", Aim.NODES, STORING, "Every sync of the node's disk takes longer.", "syncs are as fast as before",
        (Setting("by", "by_ns", Unit.DURATION, "added to each sync", default="200ms", limits=DELAY_LIMITS,
                 swarm=Span(20 * MS, 2 * SECOND)),),
        swarm_roles=("replica", "sidecar", "sink"),
        live=Live("log-port", "from append to durable, in the node's trace",
                  "commits of the log take longer, by a switch before them; checkpoints do not"),
    ),
    FaultKind(
        "disk-full", Aim.NODES, ("replica", "sidecar", "sink"),
        "Nothing more fits on the node's disk but a reserve, which only records of prohibitions may use, with what waits before them. Without a "
        "reserve every sync fails, and a failed sync is final for the process that saw it.",
        "there is room again: what has waited is written; without a reserve, for processes started from then on",
        (Setting("reserve", "reserve", Unit.COUNT, "records that fit all the same; 0: the node keeps no reserve", default=0, limits=Span(0, 10_000),
                 swarm=Span(0, 64)),),
        swarm_roles=("replica", "sidecar"), swarms=False,
        live=Live("tmpfs", "no block free by statvfs but what the node gave back of its reserve; what it heard, in its trace",
                  "a record of the reserve is 16kB, of which small ones use less, and 256 are the most"),
    ),
    FaultKind(
        "disk-torn", Aim.NODES, STORING,
        "The host loses power in the middle of a write: the first record that was not synced is half there, a checkpoint slot half old and half new.",
        "the node boots with what it can believe", (RESTART_AFTER,), lasting=False, swarm_roles=("replica", "sidecar", "sink"),
        drivers=(SIM,),
    ),
    FaultKind(
        "disk-reorder", Aim.NODES, STORING,
        "The host loses power, and of the writes that were not synced any may have reached the disk, in any order.",
        "the node boots with what it can believe", (RESTART_AFTER,), lasting=False, swarm_roles=("replica", "sidecar", "sink"),
        drivers=(SIM,),
    ),
    FaultKind(
        "disk-lie", Aim.NODES, STORING,
        "Every sync returns and does nothing, so that a power loss takes what was called durable. This breaks A2: what rests on that disk is void.",
        "what the disk had kept to itself is synced", swarm_roles=("replica", "sidecar"), swarms=False, drivers=(SIM,),
    ),
    FaultKind(
        "bit-flip", Aim.NODES, STORING,
        "One bit of what the node holds durably turns, and is found when it next boots. This breaks A2 for that node: what lies behind is lost.",
        "nothing: the bit stays as it is",
        (Setting("in", "slots", Unit.CHOICE, "log: a record; slots: a checkpoint (agents only)", default="log", choices=("log", "slots"),
                 swarm=("log",), only=(("slots", "agent"),)),),
        lasting=False, swarm_roles=("replica", "sidecar"), swarms=False,
        live=Live("processes", "what is on the disk, read before and after, differs in one bit",
                  "in the body of a record, by a second hand on its database, or in the file of a slot"),
    ),
    FaultKind(
        "disk-lost", Aim.NODES, ("replica", "sidecar"),
        "The host loses power and its disk: the node comes back with nothing, a replica as one that joins. This breaks A2 for that node.",
        "the node boots with an empty disk", (RESTART_AFTER,), lasting=False, swarm_roles=("replica", "sidecar"),
        swarms=False,
        live=Live("processes", "the status that the kernel gave; no record at the next boot, in its trace",
                  "replicas only; the process dies and its directory is emptied, the host's clock goes on"),
    ),
)  # fmt: skip
