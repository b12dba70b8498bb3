"""A node's own clock: the host's boot-time clock, optionally seen at another offset and rate.

Owns the one reading that the core is given as ``now_ns``. Must not know wall time: no order, lease or deadline depends on it (D10).

The source is ``CLOCK_BOOTTIME``, because ``CLOCK_MONOTONIC`` stands still while a host sleeps, and a lease must not (protocol 2,
planted bug B42). An experiment may give a node another offset and rate. Its reading stays a pure function of the host's
clock, so that a process that restarts within the same boot goes on reading the same clock.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Protocol

from msgspec import Struct

PER_MILLION = 1_000_000


class Clock(Protocol):
    """What a node reads as its own clock, in nanoseconds."""

    def read_ns(self) -> int: ...
    def seconds_until(self, at_ns: int) -> float: ...


class NodeClock(Struct, frozen=True):
    """Reads ``offset_ns + (boottime - origin_ns) * (1 + drift_ppm / 10^6)``; with the defaults, the boot-time clock itself."""

    origin_ns: int = 0
    offset_ns: int = 0
    drift_ppm: int = 0

    def read_ns(self) -> int:
        """The node's clock now."""
        return self.reading_at(time.clock_gettime_ns(time.CLOCK_BOOTTIME))

    def reading_at(self, boottime_ns: int) -> int:
        """The node's clock when the host's boot-time clock reads ``boottime_ns``."""
        elapsed_ns = boottime_ns - self.origin_ns
        return self.offset_ns + elapsed_ns + elapsed_ns * self.drift_ppm // PER_MILLION

    def seconds_until(self, at_ns: int) -> float:
        """Real seconds until the clock reads ``at_ns``, never negative. An estimate for sleeping: whoever wakes reads the clock again."""
        return max(0, at_ns - self.read_ns()) * PER_MILLION / (PER_MILLION + self.drift_ppm) / 1e9


def boot_id() -> str:
    """The host's boot: two readings are comparable only within one (protocol 3.6, restart)."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
