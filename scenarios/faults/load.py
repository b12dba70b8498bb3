"""Faults of load: more is said than can be heard."""

from __future__ import annotations

from scenarios.faults.kinds import Aim, FaultKind, Live, Setting, Unit
from scenarios.units import Span

_FREQUENCIES = Span(1, 100_000)


def _capacity(default: str) -> Setting:
    doc = "messages that each receiver can take in; prohibitions first, and senders in turn"
    return Setting("capacity", "capacity_per_s", Unit.FREQUENCY, doc, default=default, limits=_FREQUENCIES, swarm=Span(100, 400))


ROWS = (
    FaultKind(
        "overload", Aim.LINKS, ("replica", "sidecar", "operator"),
        "Senders flood the links with well-formed messages of no use, and receivers can take in only so many.",
        "whoever was flooded catches up at once",
        (Setting("what", "message", Unit.CHOICE, "requests: for leases; telemetry: proofs, cosignatures; orders: refused ones; any: all in turn",
                 default="any", choices=("requests", "telemetry", "orders", "any"),
                 swarm=("requests", "telemetry", "orders", "any")),
         Setting("rate", "per_s", Unit.FREQUENCY, "messages on each link", default="200/s", limits=_FREQUENCIES, swarm=Span(50, 200)),
         _capacity("300/s")),
        swarm_roles=("replica", "sidecar"), swarms=False,
        live=Live("frame-relay", "what was put in, against what came in the receivers' traces",
                  "receivers take in what their processes can, whatever `capacity` says; 5000/s on all links together are the most"),
    ),
    FaultKind(
        "reconnect-storm", Aim.LINKS, ("replica", "sidecar"),
        "No message passes the links; then all come back at one instant, and with them everything that was waiting.",
        "messages pass again, and receivers take in what had piled up, only so many a second", (_capacity("500/s"),),
        swarm_roles=("replica", "sidecar"), swarms=False,
        live=Live("toxiproxy", "as of a partition that cuts; connections to the servers, by the kernel, before, while and after it",
                  "connections are cut, and opened anew within the backoff of whoever dials, 400ms; what was kept for longer than 1s is not sent; "
                  "receivers take in what their processes can, whatever `capacity` says"),
    ),
)  # fmt: skip
