"""A node's own clock: its reading at any real time, and back, in whole nanoseconds; and its host's wall clock, which no machine reads.

Owns offset, rate and step. A clock is a straight line between changes: reading = base + (now - since) * rate / 10^6. A rate of nothing is a
clock that stands. It never runs backwards but where a fault steps it, and reading and real time round so that a timer fires late rather than early.
"""

from __future__ import annotations

PPM = 1_000_000
FAR_NS = 1 << 60
EPOCH_NS = 1_767_225_600_000_000_000  # every run begins on 1 January 2026


class Clock:
    """``rate_ppm``: ticks per million of real nanoseconds; a drift of 1 % fast is 1,010,000."""

    __slots__ = ("_base", "_rate", "_since")

    def __init__(self, now: int, offset_ns: int, drift_ppm: int) -> None:
        self._base = offset_ns
        self._since = now
        self._rate = PPM + drift_ppm if drift_ppm else PPM  # one number for all clocks that go right

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


class WallClock:
    """``steps``: (real time, how far ahead it is from then on), in order. What faults do to it comes on top of that."""

    __slots__ = ("_ahead_ns", "_faulty", "_steps")

    def __init__(self, steps: tuple[tuple[int, int], ...]) -> None:
        self._steps = steps
        self._ahead_ns = 0
        self._faulty = (0, 0, 0)  # since when, how far ahead then, and its rate, in millionths

    def step(self, now: int, by_ns: int) -> None:
        """A fault lets it jump."""
        self._faulty = (now, self._faulted_ns(now) + by_ns, self._faulty[2])

    def set_drift(self, now: int, drift_ppm: int) -> None:
        """A fault lets it run at another rate from now on."""
        self._faulty = (now, self._faulted_ns(now), drift_ppm)

    def read_ms(self, now: int) -> int:
        """Milliseconds since 1970, and not before."""
        while self._steps and self._steps[0][0] <= now:
            self._ahead_ns, self._steps = self._steps[0][1], self._steps[1:]
        return max(0, (EPOCH_NS + now + self._ahead_ns + self._faulted_ns(now)) // 1_000_000)

    def _faulted_ns(self, now: int) -> int:
        since, ahead_ns, drift_ppm = self._faulty
        return ahead_ns + (now - since) * drift_ppm // PPM
