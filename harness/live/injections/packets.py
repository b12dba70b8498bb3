"""Faults of single packets: lost or held back by the kernel's verdict on each, so that TCP itself has to cope.

Owns how links become the ports whose packets are queued, and what counters and probes say of it. Only between a client and the proxy before its
server: what a proxy hands on goes unharmed. The queue is `harness.live.packet_queue`'s.
"""

from __future__ import annotations

import asyncio
import random

from harness.live import own_network
from harness.live.injections.family import Attestation, CapabilityMissing, Stage
from harness.live.injections.links import DELAY_SLACK_S, LinkFault
from harness.live.netfilter import Match
from harness.live.packet_queue import Filter
from harness.live.probe import Outcome
from harness.live.toxiproxy import DOWNSTREAM
from scenarios.schedule import Entry, Fault
from scenarios.units import MILLION, MS_NS, SECOND_NS

LOSS_S = 4.0  # what TCP may need to bring a probe through: two handshakes' packets lost, and some more
ROUNDS_MAX = 40
HANDSHAKE_TRIPS = 4


class PacketFault(LinkFault):
    """A fault with a filter for each way of a conduit. ``longer_s``: how much longer a probe may take for it."""

    def __init__(self, stage: Stage, entry: Entry, fault: Fault, longer_s: float) -> None:
        super().__init__(stage, entry, fault)
        if stage.packets is None:
            raise CapabilityMissing(f"{self.name}: packet-queue: the run has no network namespace of its own")
        self.queue = stage.packets
        self.longer_s = longer_s
        chance, by_s = int(fault.settings.get("chance_ppm", 0)) / MILLION, int(fault.settings.get("by_ns", 0)) / SECOND_NS
        self.filters = [
            Filter(
                [Match(route.conduit.port, answers=route.stream == DOWNSTREAM)],
                random.Random(f"{stage.seed}/{self.name}/{route.conduit.name}/{route.stream}"),
                chance=chance, by_s=by_s,
            )
            for route in self.routes
        ]  # fmt: skip
        self.seen_in_force = 0

    async def on(self) -> None:
        for conduit in self.conduits:
            self.stage.paths.hold(conduit, self.longer_s)
        self.queue.impose(self.name, self.filters)

    async def off(self) -> None:
        self.queue.lift(self.name)
        for conduit in self.conduits:
            self.stage.paths.hold(conduit, -self.longer_s)
        self.seen_in_force = self.seen

    @property
    def seen(self) -> int:
        return sum(each.seen for each in self.filters)

    @property
    def dropped(self) -> int:
        return sum(each.dropped for each in self.filters)

    @property
    def held(self) -> int:
        return sum(each.held for each in self.filters)


class PacketDelay(PacketFault):
    """Every packet of the links is ``by`` late."""

    def __init__(self, stage: Stage, entry: Entry, fault: Fault) -> None:
        by_s = int(fault.settings["by_ns"]) / SECOND_NS
        super().__init__(stage, entry, fault, 2 * HANDSHAKE_TRIPS * by_s)
        self.by_ms = int(fault.settings["by_ns"]) // MS_NS

    async def attest(self) -> Attestation | None:
        """An echo takes as long as its packets were held, each way that they are. A path whose echo something else keeps is counted only."""
        answers = await self.measure_all(DELAY_SLACK_S)
        ways = [sum(route.conduit.name == conduit.name for route in self.routes) for conduit in self.conduits]
        trips = [(answer.trip_ns // MS_NS, way * self.by_ms) for answer, way in zip(answers, ways, strict=True) if answer.outcome is Outcome.ECHOED]
        holds = self.held > 0 and all(trip_ms >= least_ms for trip_ms, least_ms in trips)
        least_ms = min((trip_ms for trip_ms, _ in trips), default=0)
        measured: dict[str, int | str] = {"paths": len(answers), "measured": len(trips), "least_trip_ms": least_ms, "held": self.held}
        return Attestation(holds, "round trip of a probe; verdicts counted", measured)

    async def aftermath(self) -> Attestation | None:
        """Packets pass by themselves again."""
        await self.measure_all(DELAY_SLACK_S)
        measured: dict[str, int | str] = {"seen": self.seen_in_force, "held": self.held, "seen_after": self.seen - self.seen_in_force}
        return Attestation(self.seen == self.seen_in_force, "verdicts counted, once it is off", measured)


class PacketLoss(PacketFault):
    """Each packet of the links is lost with a chance, and it is TCP's to send it again."""

    def __init__(self, stage: Stage, entry: Entry, fault: Fault) -> None:
        super().__init__(stage, entry, fault, LOSS_S)
        self.chance_ppm = int(fault.settings["chance_ppm"])
        self.resent_before = 0
        self.met_by_all = frozenset()

    async def on(self) -> None:
        self.resent_before = own_network.resent_segments()
        await super().on()

    async def attest(self) -> Attestation | None:
        """Probes go until one packet or more were lost and one or more segments came again: what the queue says, and what TCP says."""
        for_s = LOSS_S if self.fault.for_ns is None else self.fault.for_ns / SECOND_NS / 2
        try:
            async with asyncio.timeout(for_s):
                for _ in range(ROUNDS_MAX):
                    await self.measure_all(DELAY_SLACK_S)
                    if not self.chance_ppm or (self.dropped and self._resent()):
                        break
        except TimeoutError:
            pass  # what has been counted by now is what there is
        return self._counted("verdicts counted; segments that the kernel sent again")

    async def aftermath(self) -> Attestation | None:
        """All of it: packets were lost while it was on, and are not any more."""
        await self.measure_all(LOSS_S)
        return self._counted("verdicts counted, once it is off; segments that the kernel sent again", self.seen - self.seen_in_force)

    def _counted(self, how: str, seen_after: int = 0) -> Attestation:
        resent = self._resent()
        holds = self.seen > 0 and not seen_after and (not self.chance_ppm or (self.dropped > 0 and resent > 0))
        measured: dict[str, int | str] = {"seen": self.seen, "dropped": self.dropped, "resent": resent, "seen_after": seen_after}
        return Attestation(holds, how, measured, fired=self.dropped > 0)

    def _resent(self) -> int:
        return own_network.resent_segments() - self.resent_before
