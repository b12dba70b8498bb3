"""Faults of links as a whole: nothing passes, or everything passes later.

Owns partitions and delays. A stalled partition is the relay's: taking Toxiproxy's black hole away closes the connection, and all that waited is lost.
What happens to single messages is `harness.live.injections.messages`', and to the bytes of a stream `harness.live.injections.streams`'.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Iterable

from harness.live.cell import Cell, Conduit, Link, Route
from harness.live.injections.family import Attestation, CapabilityMissing, Stage, end
from harness.live.kernel import is_stopped
from harness.live.probe import Measured, Outcome
from harness.live.relay import Rule, Way
from harness.live.toxiproxy import DOWNSTREAM, UPSTREAM, Toxic
from scenarios.schedule import Entry, Fault
from scenarios.units import MS_NS, SECOND_NS

PROBE_S = 0.4
DELAY_SLACK_S = 1.0
FLAP_S = 0.2
AGAIN_S = 0.25
CLOSING = ("cut", "reset")  # shapes that end connections, and with them both ways


def routes_of(cell: Cell, fault: Fault) -> list[Route]:
    """Where the links of ``fault`` run, each once; links whose ends never speak are left out, for nothing passes them anyhow."""
    routes = {(route.conduit.name, route.stream): route for link in fault.links if (route := cell.route(link)) is not None}
    return list(routes.values())


def ways_of(stage: Stage, links: Iterable[Link]) -> dict[Link, Way]:
    """The relays' ways that messages over ``links`` pass; links whose ends never speak are left out. Raises `CapabilityMissing` without a relay."""
    ways = {}
    for link in links:
        route = stage.cell.route(link)
        if route is not None:
            relay = stage.paths.relay(route.conduit)
            if relay is None:
                raise CapabilityMissing(f"no relay stands in {route.conduit.name}")
            ways[link] = relay.ways[link[1]]
    return ways


class LinkFault:
    """A fault of directed links. ``deadline_s``: how long its probes wait; they have to be through before the fault is off.

    ``met_by_all``: the links on which it befalls whatever is sent. None, if it takes more than that: the fault then says itself what it befell.
    """

    def __init__(self, stage: Stage, entry: Entry, fault: Fault) -> None:
        self.stage = stage
        self.name = entry.id
        self.fault = fault
        self.routes = routes_of(stage.cell, fault)
        self.conduits = list({route.conduit.name: route.conduit for route in self.routes}.values())
        self.deadline_s = PROBE_S if fault.for_ns is None else min(PROBE_S, fault.for_ns / SECOND_NS / 2)
        self.met_by_all = frozenset(link for link in fault.links if stage.cell.route(link) is not None)

    async def aftermath(self) -> Attestation | None:
        return None

    async def measure_all(self, deadline_s: float) -> list[Measured]:
        return await asyncio.gather(*(self.stage.paths.measure(conduit, deadline_s) for conduit in self.conduits))

    async def read_back_all(self) -> bool:
        return all([await self.stage.paths.read_back(conduit) for conduit in self.conduits])

    async def measured_anywhere(self, measure: Callable[[], Awaitable[Attestation]]) -> Attestation:
        """What ``measure`` sees. While something else is in the way on every path it is tried again, for as long as the fault is on."""
        seen = await measure()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None if self.fault.for_ns is None else self.fault.for_ns / SECOND_NS - self.deadline_s):
                while self.conduits and not seen.measured["measured"] and not self.stage.healing.begun:
                    await self.stage.healing.within(AGAIN_S)
                    if any(map(self.is_free, self.conduits)):
                        seen = await measure()
        return seen

    def is_free(self, conduit: Conduit) -> bool:
        """Whether nothing that is known of keeps an echo from coming back, sooner or later."""
        fleet = self.stage.fleet
        answers = fleet.runs(conduit.server) and not is_stopped(fleet.pid(conduit.server))
        return answers and not self.stage.paths.is_blocked(conduit)

    async def poison(self, kind: str, value: int, pause_us: int = 0) -> None:
        """One toxic of ``kind`` in every route, named after this fault, so that others may lie beside it."""
        toxics = [(route.conduit, Toxic(f"{self.name}.{route.stream}", kind, route.stream, value, pause_us)) for route in self.routes]
        await asyncio.gather(*(self.stage.paths.poison(conduit, toxic) for conduit, toxic in toxics))

    async def cure(self) -> None:
        names = [f"{self.name}.{stream}" for stream in (UPSTREAM, DOWNSTREAM)]
        await asyncio.gather(*(self.stage.paths.cure(conduit, *names) for conduit in self.conduits))


class Partition(LinkFault):
    """Messages vanish. ``cut``: connections end and are refused, both ways of a connection or neither. ``blackhole``: either way, in silence.

    ``reset``: connections are accepted, and end by RST at the first word; those that were open, too, but with FIN, and both ways at once.
    ``stall``: either way, and what was sent waits in the streams until the heal. A node that gives its connection up takes along what waits in it.
    """

    def __init__(self, stage: Stage, entry: Entry, fault: Fault) -> None:
        super().__init__(stage, entry, fault)
        self.shape = str(fault.settings["shape"])
        links = set(fault.links)
        for route in self.routes:
            back = (route.conduit.server, route.conduit.client)
            own_way_back = back in stage.cell.conduits
            if self.shape in CLOSING and not own_way_back and not links >= {back, back[::-1]}:
                one_way = f"one way of a TCP connection cannot be {self.shape} ({route.conduit.name})"
                raise CapabilityMissing(f"{self.name}: {one_way}; use shape blackhole")
        self.ways = ways_of(stage, fault.links) if self.shape == "stall" else {}

    async def on(self) -> None:
        if self.shape == "cut":
            await asyncio.gather(*(self.stage.paths.cut(conduit, self.name) for conduit in self.conduits))
        elif self.shape == "stall":
            for way in self.ways.values():
                way.impose(self.name, Rule(stalls=True), random.Random(0))  # no chance in it
        else:
            await self.poison("reset_peer" if self.shape == "reset" else "timeout", 0)

    async def attest(self) -> Attestation | None:
        """Through a cut a probe is refused, a reset ends it, else it hears nothing. What a server that is down closes proves nothing either way."""
        wanted = [self._wanted(conduit) for conduit in self.conduits]
        down = [not self.stage.fleet.runs(conduit.server) for conduit in self.conduits]
        answers = await self.measure_all(self.deadline_s)
        seen = [answer.outcome for answer in answers]
        down = [was or not self.stage.fleet.runs(conduit.server) for was, conduit in zip(down, self.conduits, strict=True)]
        holds = await self.read_back_all() and all(
            got in want or (is_down and got in (Outcome.CLOSED, Outcome.SILENT)) for got, want, is_down in zip(seen, wanted, down, strict=True)
        )
        measured: dict[str, int | str] = {str(outcome): seen.count(outcome) for outcome in Outcome if outcome in seen}
        if self.shape == "reset":
            measured["by_rst"] = sum(answer.reset for answer in answers)
            unheard = [self.stage.paths.closes_late(conduit) for conduit in self.conduits]  # an end that comes late does not come as an RST
            holds = holds and all(late or answer.reset or answer.outcome is not Outcome.CLOSED for answer, late in zip(answers, unheard, strict=True))
        return Attestation(holds, "probe through each path; toxics read back", {"paths": len(seen), **measured})

    def _wanted(self, conduit: Conduit) -> tuple[Outcome, ...]:
        """What may become of a probe, with all faults that are on: which of two toxics comes first, the server decides."""
        paths = self.stage.paths
        if paths.is_cut(conduit):
            return (Outcome.REFUSED,)
        is_unheard = paths.is_silent(conduit) or paths.closes_late(conduit)
        return (*((Outcome.CLOSED,) if paths.is_reset(conduit) else ()), *((Outcome.SILENT,) if is_unheard else ()))

    async def off(self) -> None:
        if self.shape == "cut":
            await asyncio.gather(*(self.stage.paths.uncut(conduit, self.name) for conduit in self.conduits))
        elif self.shape == "stall":
            for way in self.ways.values():
                way.lift(self.name)
        else:
            await self.cure()


class Flapping(Partition):
    """A partition that is on in the first half of each period, and off in the second."""

    def __init__(self, stage: Stage, entry: Entry, fault: Fault) -> None:
        super().__init__(stage, entry, fault)
        self.half_s = int(fault.settings["period_ns"]) / SECOND_NS / 2
        if self.half_s < FLAP_S:
            raise CapabilityMissing(f"{self.name}: period: the live driver needs {2 * FLAP_S:.1f}s or more, to measure a cut while it is on")
        self.deadline_s = min(self.deadline_s, self.half_s / 2)
        self.flapping: asyncio.Task[None] | None = None

    async def attest(self) -> Attestation | None:
        seen = await super().attest()
        self.flapping = asyncio.create_task(self._flap())
        return seen

    async def off(self) -> None:
        try:
            if self.flapping is not None:
                await end(self.flapping)
        finally:
            await super().off()

    async def _flap(self) -> None:
        while True:
            await asyncio.sleep(self.half_s)
            await asyncio.shield(super().off())  # half done is a state that nobody asked for
            await asyncio.sleep(self.half_s)
            await asyncio.shield(super().on())


class Delay(LinkFault):
    """Every message on the links takes ``by`` longer."""

    def __init__(self, stage: Stage, entry: Entry, fault: Fault) -> None:
        super().__init__(stage, entry, fault)
        self.by_ms = int(fault.settings["by_ns"]) // MS_NS
        if not self.by_ms:
            raise CapabilityMissing(f"{self.name}: by: the live driver delays by 1ms or more")

    async def on(self) -> None:
        await self.poison("latency", self.by_ms)

    async def attest(self) -> Attestation | None:
        return await self.measured_anywhere(self._trips)

    async def _trips(self) -> Attestation:
        """An echo is at least as late as all delays on its way together. Where they are so long that a server gives the handshake up, what comes is
        no echo, and no sooner. A path that something else blocks is read back only."""
        read_back = await self.read_back_all()
        added_ms = [self.stage.paths.added_ms(conduit) for conduit in self.conduits]
        answers = await self.measure_all(max(added_ms, default=0) / 1000 + DELAY_SLACK_S)
        free = [self.is_free(conduit) for conduit in self.conduits]
        trips_ms = [max(answer.trip_ns, answer.waited_ns) // MS_NS for answer, is_free in zip(answers, free, strict=True) if is_free]
        wanted_ms = [added for added, is_free in zip(added_ms, free, strict=True) if is_free]
        holds = read_back and bool(trips_ms) and all(wanted <= trip for wanted, trip in zip(wanted_ms, trips_ms, strict=True))
        measured: dict[str, int | str] = {"paths": len(answers), "measured": len(trips_ms), "least_trip_ms": min(trips_ms, default=0)}
        return Attestation(holds, "round trip of a probe; toxics read back", measured)

    async def off(self) -> None:
        await self.cure()
