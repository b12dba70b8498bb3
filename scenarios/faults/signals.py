"""Faults of single signals on their way to nodes."""

from __future__ import annotations

from scenarios.faults.kinds import NETWORKED, Aim, FaultKind, Live, Setting, Unit
from scenarios.units import Span

_MESSAGES = ("order", "grant", "certificate", "any")


def _what() -> Setting:
    doc = "order: whatever carries a kill order; grant: lease grants; certificate: whatever carries a resume certificate; any"
    return Setting("what", "message", Unit.CHOICE, doc, default="any", choices=_MESSAGES, swarm=_MESSAGES)


ROWS = (
    FaultKind(
        "duplicate", Aim.SIGNALS, NETWORKED, "While it is on, every such signal to the nodes is delivered several times.",
        "signals arrive once",
        (_what(),
         Setting("times", "times", Unit.COUNT, "deliveries of each signal, the original included", default=2, limits=Span(2, 20),
                 swarm=Span(2, 4))),
        swarm_roles=("replica", "sidecar"),
        live=Live("frame-relay", "what the relays did with each signal, against what came in the receivers' traces"),
    ),
    FaultKind(
        "replay", Aim.SIGNALS, NETWORKED, "Signals that such a node received earlier are delivered to it once more, as old as they are.",
        "nothing is left of it",
        (_what(), Setting("times", "times", Unit.COUNT, "how many old signals, the latest first", default=1, limits=Span(1, 20),
                          swarm=Span(1, 5))),
        lasting=False, swarm_roles=("replica", "sidecar"),
        live=Live("frame-relay", "what the relays sent again, against what came in the receivers' traces"),
    ),
)  # fmt: skip
