"""Faults of what arrives: frames that are broken, forged or of another version, and orders that kill whoever reads them."""

from __future__ import annotations

from scenarios.faults.kinds import MS, NETWORKED, SECOND, SIM, Aim, FaultKind, Live, Setting, Unit, chance
from scenarios.units import Span

_TIMES = Setting("times", "times", Unit.COUNT, "how many", default=5, limits=Span(1, 1000), swarm=Span(1, 10))


def _source(*swarm: str) -> Setting:
    doc = "stranger: some peer with nothing to say to the node; replica: one of its own, gone wrong"
    return Setting("source", "source", Unit.CHOICE, doc, default="stranger", choices=("stranger", "replica"), swarm=swarm)


_PUT_IN = Live(
    "frame-relay", "what the relays put into connections of known peers, against what came in the targets' traces",
    "it comes in the name of a peer that is connected: to a sidecar, no stranger is but its sinks",
)  # fmt: skip

_SEAL = Setting(
    "seal", "seal", Unit.CHOICE, "channel: as bits of a line flip; body: within the channel's seal, as by whoever stands where TLS ends",
    default="channel", choices=("channel", "body"), swarm=("channel", "body"),
)  # fmt: skip

ROWS = (
    FaultKind(
        "corrupt", Aim.LINKS, NETWORKED, "Bits of each frame on the links flip with a chance; the broken seal shows it, and the frame is gone.",
        "frames arrive as they were sent", (chance("that bits of a frame flip"), _SEAL), everywhere=True, swarm_roles=NETWORKED,
        live=Live("frame-relay", "frames spoilt by the relays that are missing in the receivers' traces; the receivers hung up, or put on "
                  "record that a body's seal was broken", "under the channel's seal, TLS ends the connection with the frame, and it is opened anew"),
    ),
    FaultKind(
        "forge", Aim.SIGNALS, ("replica", "sidecar"),
        "The nodes are sent signals that somebody made up: orders, certificates, proofs and keysets with no valid signature, with one that was made "
        "for something else, by a key that may not say so, by one key twice, by fewer than it says itself, by whoever asked for it, or "
        "for new root keys that did not sign; and by strangers certificates past their end.",
        "nothing is left of it", (_TIMES, _source("stranger")), lasting=False, swarm_roles=("replica", "sidecar"), live=_PUT_IN,
    ),
    FaultKind(
        "cross-tenant", Aim.SIGNALS, ("replica", "sidecar"),
        "The nodes are sent certificates that approvers of another tenant really signed, and that list orders which are none of their business.",
        "nothing is left of it", (_source("stranger"),), lasting=False, swarm_roles=("replica", "sidecar"), live=_PUT_IN,
    ),
    FaultKind(
        "malformed", Aim.SIGNALS, ("replica", "sidecar"),
        "The nodes are sent frames that are no frames: cut short, too large, too deep, with keys twice, or just bytes.", "nothing is left of it",
        (_TIMES, _source("stranger", "replica")), lasting=False, swarm_roles=("replica", "sidecar"), live=_PUT_IN,
    ),
    FaultKind(
        "impersonate", Aim.SIGNALS, ("sink",),
        "The sinks are sent effects of an agent, under a token that beats any fence, by sidecars that are not its: another of its tenant, and one "
        "of another tenant; and effects of that other tenant's agent by its own sidecar.", "nothing is left of it", lasting=False,
        swarm_roles=("sink",), swarms=False, drivers=(SIM,),
    ),
    FaultKind(
        "answer-for", Aim.SIGNALS, ("replica", "sidecar"),
        "The nodes are answered what they asked last by one whom they asked, in the name of the others: a sidecar is granted a lease, and promised "
        "the token of its start; and of each fence, that it holds, by another sink of the tenant.", "nothing is left of it",
        lasting=False, swarm_roles=("replica", "sidecar"), swarms=False, drivers=(SIM,),
    ),
    FaultKind(
        "poison", Aim.NODES, ("sidecar",),
        "The first order that such a node reads from now on kills its process whenever it is read there, as a crash inside a library would.",
        "the order can be read", (Setting("restart-after", "restart_after_ns", Unit.DURATION, "from death to boot", default="300ms",
                                          limits=Span(1 * MS, 60 * SECOND), swarm=Span(50 * MS, SECOND)),),
        swarm_roles=("sidecar",), drivers=(SIM,),
    ),
    FaultKind(
        "version", Aim.NODES, ("replica", "sidecar"),
        "The nodes are restarted under another version, which reads and writes frames as that version does.",
        "the nodes are restarted under the version that they had",
        (Setting("to", "to", Unit.CHOICE,
                 "previous: lacks what the last minor version added; next-minor: sends fields nobody knows; next-major: nobody else can read what it "
                 "sends; critical: its frames need something that nobody else knows; next-log: it speaks as ever, and the last order that it puts on "
                 "record is in a form that nobody else can read",
                 default="next-minor", choices=("previous", "next-minor", "next-major", "critical", "next-log"),
                 swarm=("previous", "next-minor", "next-major", "critical")),),
        swarm_roles=("replica", "sidecar"), drivers=(SIM,),
    ),
)  # fmt: skip
