"""A node's own clock: its reading at any real time, and back, in whole nanoseconds.

Owns offset, rate and step. A clock is a straight line between changes: reading = base + (now - since) * rate / 10^6. A rate of nothing is a
clock that stands. It never runs backwards but where a fault steps it, and reading and real time round so that a timer fires late rather than early.
"""

from __future__ import annotations

PPM = 1_000_000
FAR_NS = 1 << 60


class Clock:
    """``rate_ppm``: ticks per million of real nanoseconds; a drift of 1 % fast is 1,010,000."""

    __slots__ = ("_base", "_rate", "_since")

    def __init__(self, now: int, offset_ns: int, drift_ppm: int) -> None:
        self._base = offset_ns
        self._since = now
        self._rate = PPM + drift_ppm

    def read(self, now: int) -> int:
        return self._base + (now - self._since) * self._rate // PPM

    def when(self, reading: int, now: int) -> int:
        """The earliest real time, from ``now`` on, at which the clock will read at least ``reading`` at its present rate."""
        if self._rate == 0:
            return now if self.read(now) >= reading else now + FAR_NS
        at = self._since - ((self._base - reading) * PPM // self._rate)
        return max(at, now)

    def set_drift(self, now: int, drift_ppm: int) -> None:
        """Run at another rate from now on."""
        self._base, self._since, self._rate = self.read(now), now, PPM + drift_ppm

    def step(self, now: int, by_ns: int) -> None:
        self._base, self._since = self.read(now) + by_ns, now

    def restart(self, now: int, offset_ns: int) -> None:
        """The host boots: the clock starts from near nothing, at the rate of its hardware."""
        self._base, self._since = offset_ns, now
