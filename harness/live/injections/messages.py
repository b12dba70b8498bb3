"""Faults of single messages, by the relays in their links: lost, doubled, overtaken, replayed.

Owns what rules the relays are given, and the comparison that attests them: what the relays say they did with each message, against the messages
that the receivers' own traces show to have come.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import msgspec

from harness.live import refold
from harness.live.cell import Link
from harness.live.injections.family import SETTLE_S, Attestation, Stage
from harness.live.injections.links import ways_of
from harness.live.relay import Passed, Rule, Way
from harness.shared.signals import carries
from killswitch.core import audit
from killswitch.core.messages import Message
from killswitch.live.sealing import Unopened, Why
from scenarios.schedule import Entry, Fault
from scenarios.units import SECOND_NS

REPLAY_GAP_S = 0.001
COMPARED = "what the relays did with each message; what the receivers' traces show to have come"


def links_to(stage: Stage, targets: Sequence[str]) -> list[Link]:
    """Every link over which something comes to one of ``targets``."""
    ends = {link for conduit in stage.cell.conduits for link in (conduit, conduit[::-1]) if link[1] in targets}
    return sorted(link for link in ends if (route := stage.cell.route(link)) is not None and stage.paths.relay(route.conduit) is not None)


class Ruled:
    """A fault that is one rule on some ways of the relays."""

    def __init__(self, stage: Stage, entry: Entry, ways: Mapping[Link, Way], rule: Rule) -> None:
        self.stage = stage
        self.name = entry.id
        self.rule = rule
        self.ways = ways
        self.received_before: dict[str, int] = {}
        for way in ways.values():
            way.note_all()

    async def on(self) -> None:
        self.stage.sight.look()
        self.received_before = {receiver: len(self.stage.sight.nodes[receiver].received) for _, receiver in self.ways}
        for (sender, receiver), way in self.ways.items():
            way.impose(self.name, self.rule, random.Random(f"{self.stage.seed}/{self.name}/{sender}/{receiver}"))

    async def attest(self) -> Attestation | None:
        return None  # there is nothing to compare before it is over

    async def off(self) -> None:
        for way in self.ways.values():
            way.lift(self.name)

    async def aftermath(self) -> Attestation | None:
        await asyncio.sleep(SETTLE_S + self.rule.held_ns / SECOND_NS)
        self.stage.sight.look()
        total: Counter[str] = Counter()
        for link, way in self.ways.items():
            done = compare(way.passed[self.name], self._came(link))
            total.update({**done, "missing": missing([each for each in way.came if carries(each, self.rule.what)], self._came(link, 0))})
        holds = all(
            total[seen] or not total[done] for done, seen in (("lost", "missing"), ("sent_again", "came_again"), ("overtaken", "out_of_order"))
        )
        return Attestation(holds, COMPARED, dict(total), fired=any(total[done] for done in ("lost", "sent_again", "held")))

    def _came(self, link: Link, since: int | None = None) -> list[Message]:
        sender, receiver = link
        events = self.stage.sight.nodes[receiver].received[self.received_before[receiver] if since is None else since :]
        return [event.message for event in events if event.sender == sender and carries(event.message, self.rule.what)]


class Corrupt(Ruled):
    """Bits of messages flip under their seal. TLS ends a connection whose seal is broken, and the receiver has to: the relay sees it hang up. Where
    it is the body's seal alone that breaks the connection stays, and the receiver puts on record what it did not take in."""

    def __init__(self, stage: Stage, entry: Entry, fault: Fault) -> None:
        bodies = fault.settings.get("seal", "channel") == "body"
        rule = Rule(chance_ppm=int(fault.settings["chance_ppm"]), spoils=not bodies, alters=bodies)
        super().__init__(stage, entry, ways_of(stage, fault.links), rule)

    async def aftermath(self) -> Attestation | None:
        compared = await super().aftermath()
        assert compared is not None, "messages are always compared"
        if self.rule.alters:
            altered, on_record = sum(way.altered for way in self.ways.values()), sum(map(self._on_record, {receiver for _, receiver in self.ways}))
            found = {**compared.measured, "altered_bodies": altered, "on_record": on_record}
            return Attestation(compared.holds and bool(on_record or not altered), f"{COMPARED}; their access logs", found, fired=compared.fired)
        spoilt, hung_up = sum(way.spoilt for way in self.ways.values()), sum(way.hung_up for way in self.ways.values())
        holds = compared.holds and bool(hung_up or not spoilt)
        measured = {**compared.measured, "spoilt_connections": spoilt, "hung_up": hung_up}
        return Attestation(holds, f"{COMPARED}; the receivers hung up", measured, fired=compared.fired)

    def _on_record(self, receiver: str) -> int:
        """How many bodies with a broken seal the receiver's access log tells of: fewer than there were, since it is limited in rate."""
        log = Path(self.stage.cell.deployments[receiver].directory) / "access.db"
        records = refold.on_disk(log) if log.exists() else ()
        return sum(record.kind == "REFUSED" and audit.content(record)["why"] == str(Unopened(Why.SEAL)) for record in records)


def compare(passed: Sequence[Passed], came: Sequence[Message]) -> dict[str, int]:
    """What was done with messages of one way, and what was seen of it: each kind of deed has its counterpart in what came."""
    entered = Counter(map(content, (each.message for each in passed)))
    arrived = Counter(map(content, came))
    again = {name: arrived[name] - count for name, count in entered.items() if arrived[name] > count}
    first = {name: place for place, name in reversed(list(enumerate(map(content, (each.message for each in passed)))))}
    places = [first[name] for name in map(content, came) if name in first]
    leaves_ns = [each.at_ns + each.held_ns for each in passed if each.times]
    return {
        "passed": len(passed),
        "lost": sum(each.times == 0 for each in passed),
        "sent_again": sum(max(0, each.times - 1) for each in passed),
        "came_again": sum(again.values()),
        "held": sum(each.held_ns > 0 for each in passed),
        "overtaken": sum(later < earlier for earlier, later in pairwise(leaves_ns)),
        "out_of_order": sum(later < earlier for earlier, later in pairwise(places)),
    }


def missing(entered: Sequence[Message], came: Sequence[Message]) -> int:
    """How many messages of a whole run went into a way and did not come out of it. With less than the whole of it a message that is said again, word
    for word, would stand for the one that was lost."""
    return sum((Counter(map(content, entered)) - Counter(map(content, came))).values())


def content(message: Message) -> bytes:
    """What a message is known by, when what was sent is held against what came."""
    return msgspec.msgpack.encode(message)


def loss(stage: Stage, entry: Entry, fault: Fault) -> Ruled:
    return Ruled(stage, entry, ways_of(stage, fault.links), Rule(chance_ppm=int(fault.settings["chance_ppm"]), times=0))


def duplicate_messages(stage: Stage, entry: Entry, fault: Fault) -> Ruled:
    return Ruled(stage, entry, ways_of(stage, fault.links), Rule(chance_ppm=int(fault.settings["chance_ppm"]), times=2))


def reorder(stage: Stage, entry: Entry, fault: Fault) -> Ruled:
    rule = Rule(chance_ppm=int(fault.settings["chance_ppm"]), held_ns=int(fault.settings["by_ns"]))
    return Ruled(stage, entry, ways_of(stage, fault.links), rule)


def duplicate(stage: Stage, entry: Entry, fault: Fault) -> Ruled:
    rule = Rule(what=str(fault.settings["message"]), times=int(fault.settings["times"]))
    return Ruled(stage, entry, ways_of(stage, links_to(stage, fault.targets)), rule)


class Replay:
    """Signals that a node received earlier are delivered to it once more, the latest first, by the relays that they came through."""

    def __init__(self, stage: Stage, _entry: Entry, fault: Fault) -> None:
        self.stage = stage
        self.what = str(fault.settings["message"])
        self.times = int(fault.settings["times"])
        self.ways = {target: list(ways_of(stage, links_to(stage, (target,))).values()) for target in fault.targets}
        self.sent: dict[str, list[Message]] = {}
        self.received_before: dict[str, int] = {}
        for way in (way for ways in self.ways.values() for way in ways):
            way.remembers = True

    async def on(self) -> None:
        self.stage.sight.look()
        for target, ways in self.ways.items():
            self.received_before[target] = len(self.stage.sight.nodes[target].received)
            old = sorted(((each, way) for way in ways for each in way.old if carries(each.message, self.what)), key=lambda each: each[0].at_ns)
            self.sent[target] = []
            for each, way in reversed(old[-self.times :]):
                if way.inject(each.frame):
                    self.sent[target].append(each.message)
                await asyncio.sleep(REPLAY_GAP_S)

    async def attest(self) -> Attestation | None:
        await asyncio.sleep(SETTLE_S)
        self.stage.sight.look()
        sent = sum(map(len, self.sent.values()))
        came = sum(self._came(target) for target in self.sent)
        return Attestation(bool(came or not sent), COMPARED, {"sent_again": sent, "came_again": came}, fired=came > 0)

    def _came(self, target: str) -> int:
        """How many of the old signals came to ``target`` since."""
        events = self.stage.sight.nodes[target].received[self.received_before[target] :]
        return sum((Counter(map(content, self.sent[target])) & Counter(content(event.message) for event in events)).values())

    async def off(self) -> None:
        """Nothing is left of it."""

    async def aftermath(self) -> Attestation | None:
        return None
