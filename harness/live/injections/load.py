"""Faults of load: more is said than anybody needs, or everybody comes back at once.

Owns the floods, and what is counted of both: what came is counted at the receivers, by their own traces, and connections by the kernel. How much a
process can take in is its own affair here: nothing holds it back, and nothing spares it.
"""

from __future__ import annotations

import asyncio

from msgspec import structs

from harness.live import guard
from harness.live.cell import Link
from harness.live.guard import LOOPBACK
from harness.live.injections.family import BOOT_S, SETTLE_S, Attestation, CapabilityMissing, Stage, becomes, end
from harness.live.injections.links import Partition, ways_of
from harness.live.kernel import connections
from harness.shared.floods import is_useless, useless
from killswitch.core import codec
from killswitch.live.trace import monotonic_ns
from scenarios.schedule import Entry, Fault
from scenarios.units import MS_NS, SECOND_NS

TICK_S = 0.01
TICKS_MADE_UP = 100  # what a busy host made the harness later with than that is not sent at all
LEAST_SHARE = 10  # of what was asked for, one part in so many has to come, or it was another fault than that
MOST_PER_S = 5_000  # on all links together: what this harness seals, and the receivers put in their traces
BACKLOG_MAX = 1 << 16  # bytes that wait at the relay for a receiver that does not keep up
EBB_LOOKS = 50  # at whether what was under way has been heard


class Overload:
    """Useless messages, put by the relays into the connections of whoever floods, at so many a second on each link."""

    def __init__(self, stage: Stage, entry: Entry, fault: Fault) -> None:
        self.stage = stage
        self.name = entry.id
        self.kind = str(fault.settings.get("message", "any"))
        self.per_s = int(fault.settings["per_s"])
        self.ways = ways_of(stage, fault.links)
        if self.per_s * len(self.ways) > MOST_PER_S:
            asked = f"{self.per_s}/s on each of {len(self.ways)}"
            raise CapabilityMissing(f"{self.name}: rate: the live driver sends {MOST_PER_S}/s on all links together (got {asked})")
        self.sent: dict[Link, int] = dict.fromkeys(self.ways, 0)
        self.heard_before: dict[str, int] = {}
        self.lives_before: dict[str, int] = {}
        self.began_ns = self.ended_ns = 0
        self.flooding: asyncio.Task[None] | None = None

    async def on(self) -> None:
        self.stage.sight.look()
        nodes = self.stage.sight.nodes
        self.heard_before = {receiver: len(nodes[receiver].received) for _, receiver in self.ways}
        self.lives_before = {receiver: len(nodes[receiver].lives) for receiver in self.heard_before if nodes[receiver].alive}
        self.began_ns = monotonic_ns()
        self.flooding = asyncio.create_task(self._flood())

    async def attest(self) -> Attestation | None:
        return None  # counted when it is over

    async def off(self) -> None:
        assert self.flooding is not None, "it is on"
        self.ended_ns = monotonic_ns()
        await end(self.flooding)

    async def aftermath(self) -> Attestation | None:
        """What the receivers heard that lived all along, and that nobody hears more of it: of what was sent to them half has to have come."""
        came, ebbed = self._came(), False
        for _ in range(EBB_LOOKS):
            await asyncio.sleep(SETTLE_S)
            before, came = came, self._came()
            ebbed = came == before
            if ebbed:
                break
        nodes = self.stage.sight.nodes
        steady = [node for node, lives in self.lives_before.items() if nodes[node].alive and len(nodes[node].lives) == lives]
        sent = sum(count for (_, receiver), count in self.sent.items() if receiver in steady)
        heard = sum(came[receiver] for receiver in steady)
        asked_per_s = self.per_s * sum(receiver in steady for _, receiver in self.ways)
        came_per_s = heard * SECOND_NS // max(1, self.ended_ns - self.began_ns)
        holds = (
            bool(steady) and ebbed and heard * 2 >= sent and came_per_s * LEAST_SHARE >= asked_per_s and all(came[receiver] for receiver in steady)
        )
        rates = {"asked_per_s": asked_per_s, "came_per_s": came_per_s}
        measured: dict[str, int | str] = {"receivers": len(steady), "sent": sent, "came": heard, **rates}
        return Attestation(holds, "what was put in, and what of it the receivers' traces show", measured, fired=any(self.sent.values()))

    async def _flood(self) -> None:
        """In each tick what has become due since the last one, on every link."""
        number, most = 0, max(1, int(self.per_s * TICK_S * TICKS_MADE_UP))
        while True:
            due = (monotonic_ns() - self.began_ns) * self.per_s // SECOND_NS
            for each in range(max(number, due - most), due):
                for (source, target), way in self.ways.items():
                    said = codec.encode(useless(source, self.kind, each), source, target, "")
                    self.sent[source, target] += way.backlog_bytes < BACKLOG_MAX and way.say(said)
            number = due
            await asyncio.sleep(TICK_S)

    def _came(self) -> dict[str, int]:
        self.stage.sight.look()
        heard = {receiver: self.stage.sight.nodes[receiver].received[before:] for receiver, before in self.heard_before.items()}
        return {receiver: sum(is_useless(event.message) for event in events) for receiver, events in heard.items()}


class ReconnectStorm(Partition):
    """Every connection of the links is cut. When they may be opened again, everybody comes at once: with handshakes, and with what was kept."""

    def __init__(self, stage: Stage, entry: Entry, fault: Fault) -> None:
        super().__init__(stage, entry, structs.replace(fault, settings={**fault.settings, "shape": "cut"}))
        self.met_by_all = frozenset()
        self.ports = {self.stage.cell.deployments[conduit.server].port for conduit in self.conduits}
        for port in self.ports:
            guard.loopback(f"{LOOPBACK}:{port}")
        self.open = {"open_before": 0, "open_meanwhile": 0, "open_after": 0}

    async def on(self) -> None:
        self.open["open_before"] = connections_to(self.ports)
        await super().on()

    async def attest(self) -> Attestation | None:
        """As of any cut; and there are fewer connections than there were, which is what it befalls."""
        seen = await super().attest()
        assert seen is not None, "a partition is always measured"
        self.open["open_meanwhile"] = connections_to(self.ports)
        fewer = self.open["open_meanwhile"] < self.open["open_before"] or not self.open["open_before"]
        how = f"{seen.how}; connections to the servers, by the kernel"
        measured = {**seen.measured, **self._counts("open_before", "open_meanwhile")}
        return structs.replace(seen, holds=seen.holds and fewer, how=how, measured=measured, fired=fewer and self.open["open_before"] > 0)

    async def aftermath(self) -> Attestation | None:
        """There are as many again, but for those of nodes that are gone; how long that took."""
        began_ns = monotonic_ns()
        await becomes(self._is_back, within_s=BOOT_S)
        measured = {**self._counts("open_before", "open_meanwhile", "open_after"), "back_ms": (monotonic_ns() - began_ns) // MS_NS}
        came_back = self.open["open_after"] > self.open["open_meanwhile"] or not self.open["open_before"]
        return Attestation(came_back, "connections to the servers, by the kernel", measured)

    def _is_back(self) -> bool:
        self.open["open_after"] = connections_to(self.ports)
        return self.open["open_after"] >= self.open["open_before"]

    def _counts(self, *names: str) -> dict[str, int | str]:
        return {name: self.open[name] for name in names}


def connections_to(ports: set[int]) -> int:
    """How many connections those who listen at ``ports`` have open, by the kernel's own table."""
    return sum(own in ports for own, _ in connections())
