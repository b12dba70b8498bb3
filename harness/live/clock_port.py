"""The port through which a run bends a node's own clock: a page of memory, written by the harness, read wherever the node reads its clock.

Owns the page and both its ends. The source stays the host's boot-time clock, and what the node reads stays a function of it and of the page alone,
so that a process that restarts goes on reading the same clock, unless the page says that its host has booted since: then clock and boot are
new. Which clock is bent has to be said: this one, which leases and deadlines are measured with, and not the wall clock, which the protocol
never reads.
"""

from __future__ import annotations

import struct
import time
from pathlib import Path

from harness.live import pages
from killswitch.live.clock import PER_MILLION, Clock, boot_id
from killswitch.live.node import Deployment
from scenarios.deploy import host_of

FOLDER = "clocks"
FIELDS = 3  # of the line: the boot-time clock and the node's clock at one instant, and its rate
BOOTS_AT = 8 * (FIELDS + 2)
BOOTS = struct.Struct("<Q")  # behind the line: how often the host was booted while the run went on; read once, by each process
WAIT_S = 3600.0  # for a clock that stands still: whoever waits looks again long before


def page_of(node: str, directory: Path) -> Path:
    """Where the page of ``node`` is, in the run's directory. An agent reads its sidecar's clock: they share a host."""
    return pages.place(FOLDER, host_of(node), directory)


def page_for(deployment: Deployment) -> Path:
    """Where the page of the node of ``deployment`` is: by its directory, for a copy of a host has a clock of its own and the name of another."""
    home = Path(deployment.directory)
    name = home.name.removeprefix("agent-")
    return page_of(home.name if name == home.name else f"sidecar-{name}", home.parents[1])


def clock_of(deployment: Deployment) -> Clock:
    """The clock that the node of ``deployment`` reads: through its page, if it has one."""
    page = page_for(deployment)
    return PortedClock(page) if page.exists() else deployment.clock


def boot_of(deployment: Deployment) -> str:
    """Which boot of its host the node of ``deployment`` finds itself in."""
    page = page_for(deployment)
    (boots,) = BOOTS.unpack_from(page.read_bytes(), BOOTS_AT) if page.exists() else (0,)
    return f"{boot_id()}+{boots}" if boots else boot_id()


class PortedClock:
    """A clock read through the page at ``path``. Raises `OSError` if there is none."""

    def __init__(self, path: Path) -> None:
        self._page = pages.mapped(path)

    def read_ns(self) -> int:
        origin_ns, base_ns, rate_ppm = self._line()
        elapsed_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - origin_ns
        return base_ns + elapsed_ns + elapsed_ns * rate_ppm // PER_MILLION

    def seconds_until(self, at_ns: int) -> float:
        pace = PER_MILLION + self._line()[2]
        return max(0, at_ns - self.read_ns()) * PER_MILLION / pace / 1e9 if pace > 0 else WAIT_S

    def _line(self) -> tuple[int, int, int]:
        origin_ns, base_ns, rate_ppm = pages.read_line(self._page, 0, FIELDS) or (0, 0, 0)
        return origin_ns, base_ns, rate_ppm


class BentClock(PortedClock):
    """The harness's end: the same clock, and the only hand that bends it. Makes the page, which reads as ``clock`` does until it is bent."""

    def __init__(self, path: Path, clock: Clock, rate_ppm: int) -> None:
        made = pages.made(path, bytes(BOOTS_AT + BOOTS.size))
        pages.write_line(made, 0, time.clock_gettime_ns(time.CLOCK_BOOTTIME), clock.read_ns(), rate_ppm)
        super().__init__(path)
        self.path = path
        self._own_ppm = rate_ppm
        self._drifts: dict[str, int] = {}

    @property
    def rate_ppm(self) -> int:
        """Its rate against real time, in millionths, as it runs now."""
        return self._line()[2]

    def step(self, by_ns: int) -> None:
        """Let it read ``by_ns`` more, or less, from now on."""
        self._bend(self.read_ns() + by_ns, self.rate_ppm)

    def restart(self, reading_ns: int) -> None:
        """The host boots: from now on it counts from ``reading_ns``, and readings of before have no meaning any more."""
        (boots,) = BOOTS.unpack_from(self._page, BOOTS_AT)
        BOOTS.pack_into(self._page, BOOTS_AT, boots + 1)
        self._bend(reading_ns, self.rate_ppm)

    def drift(self, fault: str, rate_ppm: int) -> None:
        """Let it run at ``rate_ppm`` for ``fault``; -1,000,000 stands still."""
        self._drifts[fault] = rate_ppm
        self._run()

    def let_be(self, fault: str) -> None:
        if self._drifts.pop(fault, None) is not None:
            self._run()

    def _run(self) -> None:
        """At the latest rate that is still on, or its own."""
        self._bend(self.read_ns(), next(reversed(self._drifts.values()), self._own_ppm))

    def _bend(self, base_ns: int, rate_ppm: int) -> None:
        pages.write_line(self._page, 0, time.clock_gettime_ns(time.CLOCK_BOOTTIME), base_ns, rate_ppm)
