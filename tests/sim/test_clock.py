"""A node's clock: what it reads, when it will read it, and what rates and steps do to both."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sim.clock import PPM, Clock

SECOND = 1_000_000_000
TIMES = st.integers(0, 10**15)
DRIFTS = st.integers(-900_000, 900_000)


@given(since=TIMES, offset=TIMES, drift=DRIFTS, now=TIMES, ahead=st.integers(0, 10**13))
def test_when_is_the_first_moment_at_which_the_clock_reads_so_much(since: int, offset: int, drift: int, now: int, ahead: int) -> None:
    clock = Clock(since, offset, drift)
    now = max(now, since)
    reading = clock.read(now) + ahead
    at = clock.when(reading, now)
    assert at >= now
    assert clock.read(at) >= reading  # never early
    assert at == now or clock.read(at - 1) < reading  # and not later than it has to be


@given(drift=DRIFTS, first=TIMES, later=st.integers(0, 10**13))
def test_a_clock_keeps_within_its_drift(drift: int, first: int, later: int) -> None:
    clock = Clock(0, 0, drift)
    passed = clock.read(first + later) - clock.read(first)
    assert abs(passed - later * (PPM + drift) / PPM) <= 2


@given(drift=DRIFTS, other=DRIFTS, at=TIMES)
def test_a_new_rate_neither_jumps_nor_reaches_back(drift: int, other: int, at: int) -> None:
    clock = Clock(0, 500, drift)
    before = clock.read(at)
    clock.set_drift(at, other)
    assert clock.read(at) == before
    assert abs(clock.read(at + SECOND) - before - SECOND * (PPM + other) // PPM) <= 1


def test_a_step_moves_the_reading_and_leaves_the_rate() -> None:
    clock = Clock(0, 0, 10_000)
    clock.step(SECOND, -SECOND)
    assert clock.read(SECOND) == 10_000_000
    assert clock.read(2 * SECOND) == 10_000_000 + 1_010_000_000


def test_a_past_reading_is_due_at_once() -> None:
    clock = Clock(0, 0, 0)
    assert clock.when(5, now=SECOND) == SECOND


def test_a_host_that_boots_starts_its_clock_anew_at_its_own_rate() -> None:
    clock = Clock(0, 77 * SECOND, 100_000)
    clock.restart(10 * SECOND, 3)
    assert clock.read(10 * SECOND) == 3
    assert clock.read(11 * SECOND) == 3 + 1_100_000_000
