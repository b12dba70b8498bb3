"""Signals that somebody made up, borrowed or broke, put into the connections of peers that the nodes know.

Owns from whom such a signal comes and the putting in; how it is made is `harness.shared.forgery`'s, as in simulation. It comes under both seals (of
the connection, of the body) and in the name of a real peer, since whoever is nobody does not get as far as to say anything: a stranger to the matter
(a sidecar of another tenant, the operator, a sink), or a replica gone wrong. What of it can be read has to show in the target's trace.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections import Counter
from collections.abc import Callable, Iterator

import msgspec

from harness.live.cell import Link
from harness.live.injections.family import SETTLE_S, Attestation, CapabilityMissing, Stage
from harness.live.injections.links import ways_of
from harness.live.injections.messages import REPLAY_GAP_S, content, links_to
from harness.live.relay import Way
from harness.shared.forgery import Aim, aim_at, broken_frame, foreign_certificate, forged
from killswitch.core import codec
from killswitch.core.events import Append
from killswitch.core.keys import Ed25519, Signer
from killswitch.core.messages import Message, OrderBody
from scenarios.schedule import Entry, Fault

RETURN_S = 2.0  # for a peer to open its connection anew
LOOK_S = 0.002

Made = tuple[str, str, bytes]  # who sends it, what it is, the payload of its frame
Recipe = Callable[["Hostile", Aim, random.Random], Iterator[Made]]


class Hostile:
    """Signals made by ``recipe`` for each target."""

    def __init__(self, stage: Stage, entry: Entry, fault: Fault, recipe: Recipe) -> None:
        self.stage = stage
        self.name = entry.id
        self.fault = fault
        self.recipe = recipe
        self.ways = {target: ways_of(stage, links_to(stage, (target,))) for target in fault.targets}
        if lonely := [target for target, ways in self.ways.items() if not ways]:
            raise CapabilityMissing(f"{entry.id}: nobody is connected with {', '.join(lonely)}")
        self.said: dict[str, int] = dict.fromkeys(fault.targets, 0)
        self.read: dict[str, list[tuple[str, Message]]] = {target: [] for target in fault.targets}
        self.received_before: dict[str, int] = {}

    async def on(self) -> None:
        self.stage.sight.look()
        for target in self.fault.targets:
            self.received_before[target] = len(self.stage.sight.nodes[target].received)
        await asyncio.gather(*map(self._assail, self.fault.targets))

    async def attest(self) -> Attestation | None:
        """Of what could be read something came; that no target ended over any of it is watched all along."""
        await asyncio.sleep(SETTLE_S)
        self.stage.sight.look()
        came = {target: self._came(target) for target in self.fault.targets}
        readable = {target: len(self.read[target]) for target in self.fault.targets}
        measured: dict[str, int | str] = {"said": sum(self.said.values()), "readable": sum(readable.values()), "came": sum(came.values())}
        holds = all(self.said.values()) and all(came[target] or not readable[target] for target in self.fault.targets)
        return Attestation(holds, "what was put in, and what of it the targets' traces show", measured, fired=any(self.said.values()))

    async def off(self) -> None:
        """Nothing is left of it."""

    async def aftermath(self) -> Attestation | None:
        return None

    def strangers(self, aim: Aim) -> list[str]:
        """Peers of the target with nothing to say about the agent; the likeliest first."""
        senders = sorted(sender for sender, _ in self.ways[aim.node])
        preferred = (f"sidecar/{aim.other}/", "operator", "sink/", "sidecar/", "replica/")
        return [sender for prefix in preferred for sender in senders if sender.startswith(prefix)]

    def replicas(self, aim: Aim) -> list[str]:
        return sorted(sender for sender, _ in self.ways[aim.node] if sender.startswith("replica/"))

    def source(self, aim: Aim, dice: random.Random) -> str:
        return dice.choice(self.replicas(aim)) if self.fault.settings.get("source") == "replica" else self.strangers(aim)[0]

    def ring(self, aim: Aim) -> Signer:
        """Everybody's keys, and one for each who has none, which nobody knows."""
        private = self.stage.cell.keys
        unknown, _ = Ed25519.generate({"mallory", "bob#2", f"sidecar/{aim.other}/1"} - private.keys())
        return Ed25519({**private, **unknown}, {})

    async def _assail(self, target: str) -> None:
        dice = random.Random(f"{self.stage.seed}/{self.name}/{target}")
        config = self.stage.cell.deployments[target].config
        aim = aim_at(config, dice.randrange(1 << 16), self._known)
        for sender, what, payload in self.recipe(self, aim, dice):
            way = self.ways[target][sender, target]
            if await _joined(way) and self.stage.fleet.runs(target):
                self._say((sender, target), way, what, payload)
            await asyncio.sleep(REPLAY_GAP_S)

    def _say(self, link: Link, way: Way, what: str, payload: bytes) -> None:
        sender, target = link
        found = codec.decode(payload)
        readable = isinstance(found, codec.Envelope) and (found.header.sender, found.header.to) == link
        if way.joined:
            # On record before it is said: on a busy host the target takes it in before this process gets round to writing that down.
            self.stage.sight.note("hostile-input", target, {"sender": sender, "what": what, "read": readable})
            way.say(payload)
            self.said[target] += 1
            if readable and isinstance(found, codec.Envelope):
                self.read[target].append((sender, found.message))

    def _known(self, tenant: str) -> Iterator[str]:
        """The orders of ``tenant`` that anybody has learned."""
        self.stage.sight.look()
        for sight in self.stage.sight.nodes.values():
            for effect in (effect for life in sight.lives for step in life for effect in step.effects):
                if isinstance(effect, Append) and effect.record.kind in ("ORDER_LEARNED", "ORDER_ACCEPTED"):
                    raw = msgspec.msgpack.decode(effect.record.body)["raw"]
                    body = codec.unpack(raw, OrderBody)
                    if body is not None and body.tenant == tenant:
                        yield hashlib.sha256(raw).hexdigest()

    def _came(self, target: str) -> int:
        events = self.stage.sight.nodes[target].received[self.received_before[target] :]
        came = Counter((event.sender, content(event.message)) for event in events)
        return sum((came & Counter((sender, content(message)) for sender, message in self.read[target])).values())


async def _joined(way: Way) -> bool:
    """Whether, within `RETURN_S`, there is a connection."""
    deadline = asyncio.get_running_loop().time() + RETURN_S
    while not way.joined and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110  # a socket that closes sets no Event
        await asyncio.sleep(LOOK_S)
    return way.joined


def _forged(hostile: Hostile, aim: Aim, dice: random.Random) -> Iterator[Made]:
    ring, sender = hostile.ring(aim), hostile.source(aim, dice)
    for _ in range(int(hostile.fault.settings["times"])):
        what, message = forged(ring, aim, dice.randrange(1 << 30), dice.randrange, sender)
        yield sender, what, codec.encode(message, sender, aim.node, "")


def _crossed(hostile: Hostile, aim: Aim, dice: random.Random) -> Iterator[Made]:
    sender = hostile.source(aim, dice)
    message = foreign_certificate(hostile.ring(aim), aim, dice.randrange(1 << 30))
    yield sender, "certificate of another tenant", codec.encode(message, sender, aim.node, "")


def _malformed(hostile: Hostile, aim: Aim, dice: random.Random) -> Iterator[Made]:
    ring = hostile.ring(aim)
    sender = hostile.source(aim, dice)
    for number in range(int(hostile.fault.settings["times"])):
        what, payload = broken_frame(ring, aim, sender, number, dice.randrange)
        yield sender, what, payload


def forge(stage: Stage, entry: Entry, fault: Fault) -> Hostile:
    return Hostile(stage, entry, fault, _forged)


def cross_tenant(stage: Stage, entry: Entry, fault: Fault) -> Hostile:
    return Hostile(stage, entry, fault, _crossed)


def malformed(stage: Stage, entry: Entry, fault: Fault) -> Hostile:
    return Hostile(stage, entry, fault, _malformed)
