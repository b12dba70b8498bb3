"""Faults of nodes' own clocks, through their pages; attested by what the nodes themselves read, as their traces show it. Wall clocks: ``walls``.

Owns the bending. Every entry of a trace carries the host's unskewed clock and the node's own beside each other, so an offset or a rate is measured at
the target, and not believed because a page was written. Of several rates on one clock the latest counts, for as long as it is on.
"""

from __future__ import annotations

import asyncio

from harness.live.clock_port import BentClock
from harness.live.injections.family import SETTLE_S, Attestation, CapabilityMissing, Stage, end
from harness.live.injections.switched import Switched
from killswitch.live.clock import PER_MILLION
from killswitch.live.trace import monotonic_ns
from scenarios.schedule import Entry, Fault
from scenarios.units import MS_NS, SECOND_NS

FLASH_MIN_NS = 10_000_000  # a strobe is beaten by this process's own event loop
READING_S = 2.0  # in which a node that lives takes a step, whatever it does, unless its clock was set back: then its timers come as much later
OFF_BY_NS = 20_000_000  # what a busy host may put between the two readings of one step
SAMPLES = 5
MEASURED = "each node's own readings beside the host's clock, in its trace"


class ClockFault(Switched[BentClock]):
    """A fault of the clocks of ``targets``."""

    def __init__(self, stage: Stage, entry: Entry, fault: Fault) -> None:
        super().__init__(stage, entry, fault, stage.cell.clocks)

    def begin(self) -> None:
        self.intend()
        self.began_ns = monotonic_ns()

    def readings(self, node: str, since_ns: int, until_ns: int) -> list[tuple[int, int]]:
        """Pairs of the host's clock and the node's own, between two instants of the former."""
        self.stage.sight.look()
        steps = (step for life in self.stage.sight.nodes[node].lives for step in life)
        return [(step.at_ns, step.clock_ns) for step in steps if since_ns <= step.at_ns <= until_ns]

    def ahead(self, node: str, reading: tuple[int, int]) -> int:
        """How far ahead of the host's clock the node's read, but for what its rate has made of that since the fault began."""
        at_ns, clock_ns = reading
        return clock_ns - at_ns - (at_ns - self.began_ns) * self.switches[node].rate_ppm // PER_MILLION


class ClockStep(ClockFault):
    """The clock jumps. What it reads from then on is as far off as it was told to be."""

    def __init__(self, stage: Stage, entry: Entry, fault: Fault) -> None:
        super().__init__(stage, entry, fault)
        self.by_ns = int(fault.settings["by_ns"])

    async def on(self) -> None:
        self.begin()
        for clock in self.switches.values():
            clock.step(self.by_ns)

    async def attest(self) -> Attestation | None:
        jumps = dict(zip(self.switches, await asyncio.gather(*map(self._jump, self.switches)), strict=True))
        seen = {node: jump for node, jump in jumps.items() if jump is not None}
        dead = [node for node in jumps if node not in seen and not self.stage.sight.nodes[node].alive]
        measured: dict[str, int | str] = {f"{node} jumped by ms": jump // MS_NS for node, jump in seen.items()}
        holds = len(seen) + len(dead) == len(jumps) and all(abs(jump - self.by_ns) <= OFF_BY_NS for jump in seen.values())
        return Attestation(holds, MEASURED, {**measured, "without_process": len(dead)}, fired=bool(seen))

    async def off(self) -> None:
        """A jump is over in an instant; the clock runs on from where it jumped to."""

    async def _jump(self, node: str) -> int | None:
        """How far the node's clock moved against the host's across the jump; None if it took no step to tell by."""
        before = self.readings(node, 0, self.began_ns)[-SAMPLES:]
        deadline = asyncio.get_running_loop().time() + READING_S + max(0, -self.by_ns) / SECOND_NS
        while not (after := self.readings(node, self.began_ns + OFF_BY_NS, monotonic_ns())[:SAMPLES]):
            if asyncio.get_running_loop().time() > deadline or self.stage.healing.begun:
                return None
            await asyncio.sleep(SETTLE_S / 4)
        return self._offset(node, after) - self._offset(node, before) if before else None

    def _offset(self, node: str, readings: list[tuple[int, int]]) -> int:
        """The least of several: a pause of the process between its two readings only adds."""
        return min(self.ahead(node, reading) for reading in readings)


class ClockDrift(ClockFault):
    """The clock runs at another rate, and afterwards again at the one it had. One without a rate stands still."""

    def __init__(self, stage: Stage, entry: Entry, fault: Fault) -> None:
        super().__init__(stage, entry, fault)
        self.rate_ppm = int(fault.settings.get("rate_ppm", -PER_MILLION))

    async def on(self) -> None:
        self.begin()
        for clock in self.switches.values():
            clock.drift(self.name, self.rate_ppm)

    async def aftermath(self) -> Attestation | None:
        rates = {node: rate for node in self.switches if (rate := self._rate(node)) is not None}
        measured: dict[str, int | str] = {f"{node} ran at ppm": rate for node, (rate, _) in rates.items()}
        measured["too_few_steps"] = len(self.switches) - len(rates)
        holds = bool(rates) and all(abs(rate - self.rate_ppm) <= OFF_BY_NS * PER_MILLION // window_ns for rate, window_ns in rates.values())
        return Attestation(holds, MEASURED, measured, fired=bool(rates))

    def _rate(self, node: str) -> tuple[int, int] | None:
        """The rate in millionths that the node's clock ran at while the fault was on, and over which time that was measured."""
        seen = self.readings(node, self.began_ns + OFF_BY_NS, self.ended_ns - OFF_BY_NS)
        if len(seen) < 2 or seen[-1][0] == seen[0][0]:
            return None
        window_ns = seen[-1][0] - seen[0][0]
        return ((seen[-1][1] - seen[0][1]) - window_ns) * PER_MILLION // window_ns, window_ns


class ClockStrobe(ClockFault):
    """The clock jumps forth and back, over and over; where it is when that ends, it stays."""

    def __init__(self, stage: Stage, entry: Entry, fault: Fault) -> None:
        super().__init__(stage, entry, fault)
        self.by_ns, self.every_ns = int(fault.settings["by_ns"]), int(fault.settings["every_ns"])
        if self.every_ns < FLASH_MIN_NS or self.by_ns < 3 * OFF_BY_NS:
            least = f"{3 * OFF_BY_NS // MS_NS}ms or more, every {FLASH_MIN_NS // MS_NS}ms or less often"
            raise CapabilityMissing(f"{self.name}: the live driver strobes by {least}")
        self.strobing: asyncio.Task[None] | None = None
        self.flashes = 0

    async def on(self) -> None:
        self.begin()
        self.flash()
        self.strobing = asyncio.create_task(self._strobe())

    async def off(self) -> None:
        assert self.strobing is not None, "it is on"
        try:
            await end(self.strobing)
        finally:
            await super().off()

    async def aftermath(self) -> Attestation | None:
        """Where the nodes themselves read their clocks to be: on the one side and, had it the time to come back, on the other."""
        sides = {node: seen for node in self.switches if any(seen := self._sides(node))}
        measured: dict[str, int | str] = {f"{node} read there": there for node, (_, there) in sides.items()}
        measured |= {f"{node} read here": here for node, (here, _) in sides.items()}
        holds = bool(sides) and all(there and (here or self.flashes == 1) for here, there in sides.values())
        return Attestation(holds, MEASURED, {"flashes": self.flashes, **measured}, fired=bool(sides))

    def flash(self) -> None:
        """One jump; the next one goes the other way."""
        for clock in self.switches.values():
            clock.step(-self.by_ns if self.flashes % 2 else self.by_ns)
        self.flashes += 1

    async def _strobe(self) -> None:
        while True:
            await asyncio.sleep(self.every_ns / SECOND_NS)
            self.flash()

    def _sides(self, node: str) -> tuple[int, int]:
        """How many readings were where the clock had been, and how many where it jumps to."""
        before = [self.ahead(node, reading) for reading in self.readings(node, 0, self.began_ns)[-SAMPLES:]]
        jumped = [self.ahead(node, reading) - min(before) for reading in self.readings(node, self.began_ns, self.ended_ns)] if before else []
        return tuple(sum(abs(jump - side) <= OFF_BY_NS for jump in jumped) for side in (0, self.by_ns))  # type: ignore[return-value]
