"""Faults of links as the streams of bytes that they are: narrow, in small pieces, ended after so many bytes, or with ends that are heard of late.

Owns how they are made with toxics, and what probes measure of them. Toxiproxy counts bytes and not messages: frames are torn wherever it happens,
and under TLS the handshake counts like anything else.
"""

from __future__ import annotations

import asyncio

from harness.live.cell import Conduit
from harness.live.injections.family import Attestation, CapabilityMissing, Stage
from harness.live.injections.links import DELAY_SLACK_S, LinkFault
from harness.live.kernel import connections
from harness.live.probe import Measured, Outcome, time_to_end
from harness.live.toxiproxy import DOWNSTREAM
from scenarios.schedule import Entry, Fault
from scenarios.units import MILLION, MS_NS, SECOND_NS

LOAD_MAX = 64_000
LOADS_A_S = 4
PIECES = 32
PROBES = 4
READ_S = 1.0
ECHO_S = 2.0
FELT_NS = 5_000_000  # that a load has to take longer on a link for anybody to tell it from a free one, on a busy host
PROMPT_NS = 50_000_000  # in which the end of a connection is heard of, if nothing holds it back


class Loaded(LinkFault):
    """A fault by which ``load_bytes`` take ``least_ns`` or more, each way that it is on."""

    def __init__(self, stage: Stage, entry: Entry, fault: Fault) -> None:
        super().__init__(stage, entry, fault)
        self.load_bytes = 0
        self.least_ns = 0

    async def attest(self) -> Attestation | None:
        return await self.measured_anywhere(self._trips)

    async def _trips(self) -> Attestation:
        """A probe with a load takes as long as its bytes do. A path that something else blocks is read back only."""
        read_back = await self.read_back_all()
        free = [conduit for conduit in self.conduits if self.is_free(conduit)]
        answers = [answer for answer in await asyncio.gather(*map(self._loaded, free)) if answer is not None]
        late = [answer.outcome is Outcome.SILENT or answer.trip_ns >= self.least_ns for answer in answers]
        least_ms = min((answer.trip_ns // MS_NS for answer in answers if answer.outcome is Outcome.ECHOED), default=0)
        measured: dict[str, int | str] = {"paths": len(self.conduits), "measured": len(late), "least_trip_ms": least_ms}
        return Attestation(read_back and bool(late) and all(late), "round trip of a loaded probe; toxics read back", measured)

    async def _loaded(self, conduit: Conduit) -> Measured | None:
        """What became of a loaded probe; None if something else kept or ended it, as does a partition that comes and goes."""
        for _ in range(PROBES):
            answer = await self.stage.paths.measure(conduit, 2 * self.least_ns / SECOND_NS + DELAY_SLACK_S, self.load_bytes)
            if answer.outcome is Outcome.ECHOED:
                return answer
            if not self.is_free(conduit):
                return None
            if answer.outcome is Outcome.SILENT:
                return answer
            await asyncio.sleep(1 / LOADS_A_S)
        return None

    async def off(self) -> None:
        await self.cure()


class Bandwidth(Loaded):
    """The links carry so many bytes a second, each way."""

    def __init__(self, stage: Stage, entry: Entry, fault: Fault) -> None:
        super().__init__(stage, entry, fault)
        self.rate = int(fault.settings["bytes_per_s"]) // 1000
        if not self.rate:
            raise CapabilityMissing(f"{self.name}: rate: the live driver carries 1kB/s or more")
        self.load_bytes = min(self.rate * 1000 // LOADS_A_S, LOAD_MAX)
        self.least_ns = self.load_bytes * SECOND_NS // (self.rate * 1000) * 9 // 10
        if self.least_ns < FELT_NS:
            widest = LOAD_MAX * 9 // 10 * SECOND_NS // FELT_NS // MILLION
            raise CapabilityMissing(f"{self.name}: rate: the live driver cannot tell links of more than {widest}MB/s from free ones")

    async def on(self) -> None:
        await self.poison("bandwidth", self.rate)


class Slice(Loaded):
    """What is sent comes in pieces, with a pause after each. The server halves what it has read until a piece is small enough."""

    def __init__(self, stage: Stage, entry: Entry, fault: Fault) -> None:
        super().__init__(stage, entry, fault)
        self.piece_bytes, self.pause_ns = int(fault.settings["piece_bytes"]), int(fault.settings["pause_ns"])
        self.load_bytes = min(self.piece_bytes * PIECES, LOAD_MAX)
        self.least_ns = self.load_bytes // self.piece_bytes * self.pause_ns

    async def on(self) -> None:
        await self.poison("slicer", self.piece_bytes, self.pause_ns // 1000)


class CutAfter(LinkFault):
    """A connection ends when so many bytes have passed over it, wherever that is in a frame."""

    def __init__(self, stage: Stage, entry: Entry, fault: Fault) -> None:
        super().__init__(stage, entry, fault)
        self.cut_bytes = int(fault.settings["cut_bytes"])
        self.whole_before = self.ended = 0
        self.met_by_all = frozenset()

    async def on(self) -> None:
        self.open_before = open_through(self.conduits)
        self.ends_before = self._ends()
        self.whole_before = await self._whole()
        await self.poison("limit_data", self.cut_bytes)

    async def attest(self) -> Attestation | None:
        """More than the limit never comes through; before, it did."""
        read_back, whole = await self.read_back_all(), await self._whole()
        measured: dict[str, int | str] = {"paths": len(self.conduits), "whole_before": self.whole_before, "whole": whole}
        return Attestation(read_back and not whole, "a probe that carries more; toxics read back", measured)

    async def off(self) -> None:
        self.ended = self._ended()
        await self.cure()

    async def aftermath(self) -> Attestation | None:
        """It comes through again, where nothing else keeps it from that; and connections of nodes that lived on were ended meanwhile."""
        free = [conduit for conduit in self.conduits if self.stage.fleet.runs(conduit.server) and not self.stage.paths.is_blocked(conduit)]
        whole = await self._whole()
        measured: dict[str, int | str] = {"free": len(free), "whole_after": whole, "ended": self.ended}
        how = "a probe that carries more; the nodes' connections, by the kernel"
        holds = whole > 0 or (not free and self.whole_before > 0)
        return Attestation(holds, how, measured, fired=self.ended > 0)

    def _ended(self) -> int:
        """How many of the connections that were open before are not any more, though both their ends are whom they were."""
        ends, still_open = self._ends(), open_through(self.conduits)
        unmoved = [conduit.port for conduit in self.conduits if ends[conduit.name] == self.ends_before[conduit.name]]
        return sum(port in unmoved for _, port in self.open_before - still_open)

    def _ends(self) -> dict[str, tuple[int, ...]]:
        """{conduit: the processes of its ends, of which one that is down is 0}."""
        fleet = self.stage.fleet
        return {each.name: tuple(fleet.pid(end) if fleet.runs(end) else 0 for end in (each.client, each.server)) for each in self.conduits}

    async def _whole(self) -> int:
        """Through how many of the paths a load over the limit passes, and comes back."""
        answers = await asyncio.gather(*(self.stage.paths.measure(conduit, READ_S, self.cut_bytes) for conduit in self.conduits))
        return sum(answer.outcome is Outcome.ECHOED for answer in answers)


class SlowClose(LinkFault):
    """The end of a connection comes late to the other side. It is measured on those that servers end: by a word which none lets pass.

    It befalls connections of the nodes that end meanwhile, whoever ends them.
    """

    def __init__(self, stage: Stage, entry: Entry, fault: Fault) -> None:
        super().__init__(stage, entry, fault)
        self.by_ns = int(fault.settings["by_ns"])
        self.measurable = [route.conduit for route in self.routes if route.stream == DOWNSTREAM]
        self.met_by_all = frozenset()

    async def on(self) -> None:
        self.open_before = open_through(self.conduits)
        await self.poison("slow_close", self.by_ns // MS_NS)

    async def attest(self) -> Attestation | None:
        return await self.measured_anywhere(self._late_ends)

    async def _late_ends(self) -> Attestation:
        read_back, ends_ns = await self.read_back_all(), await self._ends_ns(self.by_ns / SECOND_NS + DELAY_SLACK_S)
        late = [end_ns is None or end_ns >= self.by_ns // MS_NS * MS_NS for end_ns in ends_ns]
        least_ms = min((end_ns // MS_NS for end_ns in ends_ns if end_ns is not None), default=0)
        measured: dict[str, int | str] = {"paths": len(self.conduits), "measured": len(late), "least_ms_to_end": least_ms}
        return Attestation(read_back and bool(late) and all(late), "from a word that no server lets pass to the end; toxics read back", measured)

    async def off(self) -> None:
        await self.cure()

    async def aftermath(self) -> Attestation | None:
        """Ends are heard of at once, where nothing else holds them back."""
        ends_ns = await self._ends_ns(READ_S)
        prompt = [end_ns is not None and end_ns < max(PROMPT_NS, self.by_ns) for end_ns in ends_ns]
        ended = len(self.open_before - open_through(self.conduits))
        measured: dict[str, int | str] = {"measured": len(prompt), "prompt": sum(prompt), "ended": ended}
        how = "from a word that no server lets pass to the end; the nodes' connections, by the kernel"
        return Attestation(any(prompt) or not prompt, how, measured, fired=ended > 0)

    async def _ends_ns(self, deadline_s: float) -> list[int | None]:
        """How long each end takes of those that can be measured, where nothing else ended or kept the connection meanwhile."""
        before = {conduit.name: self._undisturbed(conduit) for conduit in self.measurable}
        answers = await asyncio.gather(*(self.stage.paths.measure(conduit, ECHO_S) for conduit in self.measurable))
        ends_ns = await asyncio.gather(*(time_to_end(conduit.port, deadline_s) for conduit in self.measurable))
        steady = [
            answer.outcome is Outcome.ECHOED and self._undisturbed(conduit) == before[conduit.name] > 0  # one that boots refuses, and ends at once
            for conduit, answer in zip(self.measurable, answers, strict=True)
        ]
        return [end_ns for end_ns, is_steady in zip(ends_ns, steady, strict=True) if is_steady]

    def _undisturbed(self, conduit: Conduit) -> int:
        """The process of the server, if it runs and nothing keeps it from answering; else 0."""
        return self.stage.fleet.pid(conduit.server) if self.is_free(conduit) else 0


def open_through(conduits: list[Conduit]) -> set[tuple[int, int]]:
    """The connections that nodes have open to the proxies of ``conduits``: their own port, and the proxy's. While a probe lasts, so has it."""
    ports = {conduit.port for conduit in conduits}
    return {(own, other) for own, other in connections() if other in ports}
