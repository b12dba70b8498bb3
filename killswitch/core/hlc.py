"""Hybrid logical clock: stamps for audit records that agree with causes, and nearly with wall clocks (protocol 5).

Owns the arithmetic of a stamp: one integer, 48 bits of milliseconds above a 16-bit counter that may run over into them. A driver keeps the
last stamp of its node, ticks it for each record, sends it along with each message and merges what comes with each message received.
Nothing in the core's state depends on a stamp, for it holds a wall clock; it only sorts the records of several writers.

A peer whose clock is far ahead would drag everybody's stamps along for ever. So a stamp too far ahead of one's own wall clock is not
taken over: that peer's records may then sort after their effects. Enforcement knows no stamps, and goes on.
"""

from __future__ import annotations

from typing import Final

COUNTER_BITS: Final = 16
AHEAD_MAX_MS: Final = 10 * 60 * 1000


def tick(last: int, wall_ms: int) -> int:
    """The stamp of the next record after ``last``: greater, and no less than the wall clock, however far that has been set back."""
    return max(last + 1, wall_ms << COUNTER_BITS)


def merge(last: int, heard: int, wall_ms: int) -> int:
    """The last stamp after a message with stamp ``heard``: the later of the two, unless ``heard`` is out of bounds."""
    return max(last, heard) if is_believable(heard, wall_ms) else last


def is_believable(heard: int, wall_ms: int) -> bool:
    return heard >> COUNTER_BITS <= wall_ms + AHEAD_MAX_MS


def wall_ms(stamp: int) -> int:
    """The milliseconds that a stamp shows, for people."""
    return stamp >> COUNTER_BITS
