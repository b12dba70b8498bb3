"""Faults of wall clocks: they jump, run at another rate, or jump to and fro. The processes that they befall say what they read.

Owns the bending, and what is made of the readings: each process compares its wall clock with the host's boot-time clock, fifty times a second, and
the harness takes down what it says before, while and after a fault is on. Nothing else of a node may go by the wall clock: that is for checkers.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from itertools import pairwise

from harness.live.injections.family import BOOT_S, SETTLE_S, Attestation, CapabilityMissing, Stage, becomes, end
from harness.live.injections.switched import Switched
from harness.live.wall_port import APART_NS, REPORT_S, Reading, WallSwitch
from killswitch.live.clock import PER_MILLION
from scenarios.schedule import Entry, Fault
from scenarios.units import MS_NS, SECOND_NS

OFF_BY_NS = 20_000_000  # what a busy host may put between the two clocks of a reading
FLASH_MIN_NS = 50_000_000  # so that a process reads its clock on either side, more than once
STROBE_MIN_NS = 5 * OFF_BY_NS
RATE_MAX_PPM = 900_000  # faster or slower than any fault lets a wall clock run: whatever gains more has jumped
READINGS_KEPT = 8192  # of one process: some minutes
MEASURED = "each process's own readings of both clocks"


class WallFault(Switched[WallSwitch]):
    """A fault of the wall clocks of ``targets``. ``readings``: what each process said of its own, from before the fault on."""

    def __init__(self, stage: Stage, entry: Entry, fault: Fault) -> None:
        super().__init__(stage, entry, fault, stage.cell.walls)
        self.readings: dict[str, deque[Reading]] = {node: deque(maxlen=READINGS_KEPT) for node in self.switches}
        self._reading: asyncio.Task[None] | None = None

    def begin(self) -> None:
        self.intend()
        self._look()
        self._reading = asyncio.create_task(self._keep_looking())

    async def off(self) -> None:
        """Take down for a moment more what the processes read now. It ended by the clock that they read."""
        await super().off()
        self.ended_ns = max((readings[-1].boot_ns for readings in self.readings.values() if readings), default=0)
        await asyncio.sleep(SETTLE_S)
        assert self._reading is not None, "it was on"
        await end(self._reading)

    def while_on(self, node: str) -> list[Reading]:
        """The last before it is one of them: from there it began."""
        return [reading for reading in self.readings[node] if reading.boot_ns <= self.ended_ns]

    def after(self, node: str) -> list[Reading]:
        """The first may have been taken while it still was on."""
        return [reading for reading in self.readings[node] if reading.boot_ns > self.ended_ns][1:]

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(REPORT_S / 2)
            self._look()

    def _look(self) -> None:
        for node, wall in self.switches.items():
            reading, known = wall.reading(), self.readings[node]
            if reading is not None and (not known or reading.boot_ns > known[-1].boot_ns):
                known.append(reading)


class WallStep(WallFault):
    """The wall clock jumps, and runs on from where it jumped to."""

    def __init__(self, stage: Stage, entry: Entry, fault: Fault) -> None:
        super().__init__(stage, entry, fault)
        self.by_ns = int(fault.settings["by_ns"])
        self.running: list[str] = []

    async def on(self) -> None:
        for node in sorted(self.switches):  # in one order, so that no two faults wait for each other
            await self.switches[node].turn.acquire()
        self.running = [node for node in self.switches if self.stage.fleet.runs(node)]
        since_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        await asyncio.gather(*(becomes(has_read, self.switches[node], since_ns, within_s=BOOT_S) for node in self.running))
        self.begin()
        for wall in self.switches.values():
            wall.step(self.by_ns)

    async def attest(self) -> Attestation | None:
        """From one reading to the next, whatever the clock's rate."""
        seen = [await becomes(self._jumped, node, within_s=BOOT_S) for node in self.running]
        for wall in self.switches.values():
            wall.turn.release()
        measured: dict[str, int | str] = {"jumped": sum(seen), "without_process": len(self.switches) - len(seen)}
        return Attestation(all(seen), MEASURED, measured, fired=any(seen))

    def _jumped(self, node: str) -> bool:
        forth, back = jumps_of(list(self.readings[node]), abs(self.by_ns))
        return bool(forth if self.by_ns >= 0 else back)


class WallDrift(WallFault):
    """The wall clock runs at another rate, and afterwards again at the one it had, from where it is."""

    def __init__(self, stage: Stage, entry: Entry, fault: Fault) -> None:
        super().__init__(stage, entry, fault)
        self.rate_ppm = int(fault.settings["rate_ppm"])
        self.left_ppm: dict[str, int] = {}

    async def on(self) -> None:
        self.begin()
        for wall in self.switches.values():
            wall.drift(self.name, self.rate_ppm)

    async def off(self) -> None:
        for node, wall in self.switches.items():
            wall.let_be(self.name)
            self.left_ppm[node] = wall.rate_ppm
        await super().off()

    async def aftermath(self) -> Attestation | None:
        """The rate while it was on, and that it is gone."""
        on = {node: rate for node in self.switches if (rate := rate_of(self.while_on(node)[1:])) is not None}
        after = {node: rate for node in self.switches if (rate := rate_of(self.after(node))) is not None}
        measured: dict[str, int | str] = {f"{node} ran at ppm": rate for node, (rate, _) in on.items()}
        measured |= {f"{node} then at ppm": rate for node, (rate, _) in after.items()}
        holds = bool(on) and all(self._is(*seen, self.rate_ppm) for seen in on.values())
        gone = all(self._is(*seen, self.left_ppm[node]) for node, seen in after.items())
        readings = sum(len(self.while_on(node)) for node in on)
        return Attestation(holds and gone, MEASURED, {"readings": readings, **measured}, fired=bool(on))

    @staticmethod
    def _is(rate_ppm: int, window_ns: int, wanted_ppm: int) -> bool:
        return abs(rate_ppm - wanted_ppm) <= OFF_BY_NS * PER_MILLION // window_ns


class WallStrobe(WallFault):
    """The wall clock jumps forth and back, over and over; where it is when that ends, it stays."""

    def __init__(self, stage: Stage, entry: Entry, fault: Fault) -> None:
        super().__init__(stage, entry, fault)
        self.by_ns, self.every_ns = int(fault.settings["by_ns"]), int(fault.settings["every_ns"])
        if self.every_ns < FLASH_MIN_NS or self.by_ns < STROBE_MIN_NS:
            least = f"{STROBE_MIN_NS // MS_NS}ms or more, every {FLASH_MIN_NS // MS_NS}ms or less often"
            raise CapabilityMissing(f"{self.name}: the live driver strobes a wall clock by {least}")
        self.strobing: asyncio.Task[None] | None = None
        self.over = asyncio.Event()
        self.flashes = 0

    async def on(self) -> None:
        self.begin()
        await self.flash()
        self.strobing = asyncio.create_task(self._strobe())

    async def off(self) -> None:
        assert self.strobing is not None, "it is on"
        self.over.set()
        await self.strobing
        await super().off()

    async def aftermath(self) -> Attestation | None:
        """How often the processes read that it had jumped forth, and back; and that it stands still after."""
        jumps = {node: jumps_of(self.while_on(node) + self.after(node)[:1], self.by_ns) for node in self.switches if len(self.while_on(node)) > 1}
        restless = sum(any(jumps_of(self.after(node), self.by_ns)) for node in jumps)
        measured: dict[str, int | str] = {f"{node} jumped forth": forth for node, (forth, _) in jumps.items()}
        measured |= {f"{node} jumped back": back for node, (_, back) in jumps.items()}
        holds = bool(jumps) and not restless and all(forth and (back or self.flashes == 1) for forth, back in jumps.values())
        return Attestation(holds, MEASURED, {"flashes": self.flashes, **measured}, fired=bool(jumps))

    async def flash(self) -> None:
        """One jump; the next one goes the other way."""
        for wall in self.switches.values():
            async with wall.turn:
                wall.step(-self.by_ns if self.flashes % 2 else self.by_ns)
        self.flashes += 1

    async def _strobe(self) -> None:
        """Until it is over, and never in the middle of a jump."""
        while not self.over.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.every_ns / SECOND_NS):
                    await self.over.wait()
            if not self.over.is_set():
                await self.flash()


def has_read(wall: WallSwitch, since_ns: int) -> bool:
    """Whether the process has read its clock since: a jump from right before is then seen, and not taken together with the next for one."""
    reading = wall.reading()
    return reading is not None and reading.boot_ns > since_ns


def rate_of(readings: list[Reading]) -> tuple[int, int] | None:
    """How much faster than real time a clock ran, in millionths, and over which time that was measured. What other faults let it jump is left out."""
    pairs = [(later.boot_ns - earlier.boot_ns, later.ahead_ns - earlier.ahead_ns) for earlier, later in pairwise(readings)]
    steady = [(passed_ns, gained_ns) for passed_ns, gained_ns in pairs if abs(gained_ns) <= passed_ns * RATE_MAX_PPM // PER_MILLION + APART_NS]
    window_ns = sum(passed_ns for passed_ns, _ in steady)
    return (sum(gained_ns for _, gained_ns in steady) * PER_MILLION // window_ns, window_ns) if window_ns else None


def jumps_of(readings: list[Reading], by_ns: int) -> tuple[int, int]:
    """How often a clock jumped by so much from one reading to the next, forth and back, whatever its rate."""
    pairs = [(later.boot_ns - earlier.boot_ns, later.ahead_ns - earlier.ahead_ns) for earlier, later in pairwise(readings)]

    def jumped(way: int) -> int:
        return sum(abs(gained_ns - way * by_ns) <= passed_ns * RATE_MAX_PPM // PER_MILLION + OFF_BY_NS for passed_ns, gained_ns in pairs)

    return jumped(1), jumped(-1)
