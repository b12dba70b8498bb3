"""Faults of the links between nodes."""

from __future__ import annotations

from scenarios.faults.kinds import DELAY_LIMITS, MS, NETWORKED, SECOND, Aim, FaultKind, Live, Setting, Shape, Unit, chance
from scenarios.units import Span

_SHAPE = Setting(
    "shape", "shape", Unit.CHOICE,
    "blackhole: messages vanish; cut: connections are closed and refused, messages vanish; reset: connections are accepted and reset at the first "
    "word, messages vanish; stall: messages wait in TCP and arrive at the heal, late",
    default="blackhole", choices=("blackhole", "cut", "reset", "stall"), swarm=("blackhole", "cut", "stall"),
)  # fmt: skip

_BLOCKED = Live(
    "toxiproxy", "a probe through each path is refused or hears nothing; toxics read back",
    "one way of a connection can be a black hole or stall, not cut or reset; what was open before a reset ends with FIN, at the next word; "
    "what stalled is gone if an end gave its connection up",
)  # fmt: skip
_COMPARED = Live("frame-relay", "what the relays did with each message, against what came in the receivers' traces")

ROWS = (
    FaultKind(
        "partition", Aim.LINKS, NETWORKED, "No message passes the links between the sides, both ways or only one.",
        "messages pass again; those that stalled arrive first", (_SHAPE,), swarm_roles=NETWORKED, live=_BLOCKED,
    ),
    FaultKind(
        "flapping-partition", Aim.LINKS, NETWORKED, "A partition that comes and goes: for half of each period no message passes the links.",
        "messages pass again; those that stalled arrive first",
        (Setting("period", "period_ns", Unit.DURATION, "from one cut to the next", default="1s",
                 limits=Span(10 * MS, 600 * SECOND), swarm=Span(200 * MS, 2 * SECOND)), _SHAPE),
        swarm_roles=NETWORKED,
        live=Live("toxiproxy", "a probe through each path in the first cut; toxics read back", "as of a partition, and periods from 400ms"),
    ),
    FaultKind(
        "ring-partition", Aim.LINKS, NETWORKED, "The sides stand in a ring, and each speaks with its two neighbours alone.",
        "messages pass again; those that stalled arrive first", (_SHAPE,), swarm_roles=NETWORKED, shape=Shape.RING, live=_BLOCKED,
    ),
    FaultKind(
        "majorities-ring", Aim.LINKS, NETWORKED,
        "The sides stand in a ring, and each hears itself and those that follow it, up to a majority: no two sides hear the same majority.",
        "messages pass again; those that stalled arrive first", (_SHAPE,), swarm_roles=NETWORKED, shape=Shape.MAJORITIES, live=_BLOCKED,
    ),
    FaultKind(
        "bandwidth", Aim.LINKS, NETWORKED, "The links carry only so many bytes a second, prohibitions first; what does not fit waits, up to a bound.",
        "what waits goes on its way",
        (Setting("rate", "bytes_per_s", Unit.BYTE_RATE, "of each link, each way", default="5kB/s",
                 limits=Span(1, 1_000_000_000), swarm=Span(500, 20_000)),),
        everywhere=True, swarm_roles=NETWORKED,
        live=Live("toxiproxy", "round trip of a probe that carries a second's worth; toxics read back",
                  "in whole kB/s, and prohibitions wait in one row with the rest"),
    ),
    FaultKind(
        "slice", Aim.LINKS, NETWORKED, "What is sent over the links comes in small pieces with a pause after each, so that every message is torn.",
        "messages come in one piece",
        (Setting("size", "piece_bytes", Unit.COUNT, "bytes of a piece, at most", default=64, limits=Span(1, 2000), swarm=Span(16, 400)),
         Setting("pause", "pause_ns", Unit.DURATION, "after each piece", default="2ms", limits=Span(MS, SECOND), swarm=Span(MS, 10 * MS))),
        everywhere=True, swarm_roles=NETWORKED, swarms=False,
        live=Live("toxiproxy", "round trip of a probe that carries many pieces; toxics read back",
                  "pieces may be half as large; handshakes come in pieces, too, and prohibitions wait in one row with the rest"),
    ),
    FaultKind(
        "cut-after", Aim.LINKS, NETWORKED,
        "A connection ends when it has carried so many bytes one way, in the middle of a message, which is lost; it is opened anew, for as many.",
        "connections last",
        (Setting("bytes", "cut_bytes", Unit.COUNT, "that a connection carries, each way; its handshake takes 1400 of them", default=8000,
                 limits=Span(2000, 60_000), swarm=Span(4000, 30_000)),),
        everywhere=True, swarm_roles=NETWORKED, swarms=False,
        live=Live("toxiproxy", "a probe that carries more does not come back, before and after it does; toxics read back",
                  "what TLS adds counts, too; what is under way the other way is lost with the connection"),
    ),
    FaultKind(
        "slow-close", Aim.LINKS, NETWORKED,
        "That an end of a connection has closed it, or died, reaches the other end late; what that says meanwhile is lost, though its peer is back.",
        "ends are heard of at once",
        (Setting("by", "by_ns", Unit.DURATION, "how late", default="1s", limits=Span(MS, 60 * SECOND), swarm=Span(100 * MS, 3 * SECOND)),),
        everywhere=True, swarm_roles=NETWORKED, swarms=False,
        live=Live("toxiproxy", "from a word that no server lets pass to the end of the connection; toxics read back",
                  "whoever hears nothing for 5s gives the connection up by itself"),
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
        "packet-delay", Aim.LINKS, NETWORKED, "Every packet on the links takes longer by a fixed time, those of TCP's own, too.",
        "later packets are as fast as before; those under way still arrive late",
        (Setting("by", "by_ns", Unit.DURATION, "how long each packet is held back", default="50ms",
                 limits=Span(MS, SECOND), swarm=Span(5 * MS, 200 * MS)),),
        everywhere=True, swarm_roles=NETWORKED, swarms=False,
        live=Live("packet-queue", "round trip of a probe through each path; verdicts counted",
                  "handshakes take three round trips, and a sender whose packets wait in the queue hands over few at a time"),
    ),
    FaultKind(
        "packet-loss", Aim.LINKS, NETWORKED,
        "Each packet on the links is lost with a chance, and sent again by TCP: 200ms later, then twice as long, and so on; what follows waits.",
        "packets are no longer lost; what was lost still arrives late",
        (Setting("chance", "chance_ppm", Unit.CHANCE, "that a packet is lost", default="10%", limits=Span(0, 500_000), swarm=Span(10_000, 300_000)),),
        everywhere=True, swarm_roles=NETWORKED, swarms=False,
        live=Live("packet-queue", "verdicts counted, against the segments that the kernel sent again",
                  "a message may be several packets; acknowledgements are lost, too; the kernel may send again sooner, and after 1s in a handshake"),
    ),
    FaultKind(
        "loss", Aim.LINKS, NETWORKED, "Each message on the links is lost with a chance.", "messages are no longer lost",
        (chance("that a message is lost"),), everywhere=True, swarm_roles=NETWORKED, live=_COMPARED,
    ),
    FaultKind(
        "duplicate-messages", Aim.LINKS, NETWORKED, "Each message on the links arrives twice with a chance.", "messages arrive once",
        (chance("that a message arrives twice"),), everywhere=True, swarm_roles=NETWORKED, live=_COMPARED,
    ),
    FaultKind(
        "reorder", Aim.LINKS, NETWORKED, "Each message on the links is held back with a chance, so that later ones overtake it.",
        "later messages are no longer held back",
        (chance("that a message is held back"),
         Setting("by", "by_ns", Unit.DURATION, "the longest time that it is held back", default="200ms",
                 limits=DELAY_LIMITS, swarm=Span(20 * MS, 2 * SECOND))),
        everywhere=True, swarm_roles=NETWORKED, live=_COMPARED,
    ),
)  # fmt: skip
