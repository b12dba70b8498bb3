"""Hybrid stamps: they grow, follow causes, stay near the wall clock, and let no far-future peer drag them along."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from killswitch.core import hlc

walls = st.integers(0, 1 << 42)
stamps = st.integers(0, 1 << 60)


@given(stamps, walls)
def test_a_tick_grows_and_is_not_behind_the_wall(last: int, wall_ms: int) -> None:
    stamp = hlc.tick(last, wall_ms)
    assert stamp > last
    assert hlc.wall_ms(stamp) >= wall_ms


@given(stamps, stamps, walls)
def test_what_is_written_after_hearing_comes_after_what_was_heard(last: int, heard: int, wall_ms: int) -> None:
    after = hlc.tick(hlc.merge(last, heard, wall_ms), wall_ms)
    assert after > last
    assert after > heard or not hlc.is_believable(heard, wall_ms)


@given(stamps, walls, st.integers(1, 1 << 40))
def test_nobody_is_dragged_into_the_far_future(last: int, wall_ms: int, ahead_ms: int) -> None:
    heard = (wall_ms + hlc.AHEAD_MAX_MS + ahead_ms) << hlc.COUNTER_BITS
    assert hlc.merge(last, heard, wall_ms) == last


@given(st.lists(walls, min_size=1, max_size=50))
def test_a_wall_clock_that_jumps_about_takes_no_stamp_back(readings: list[int]) -> None:
    stamps_given, last = [], 0
    for wall_ms in readings:
        last = hlc.tick(last, wall_ms)
        stamps_given.append(last)
    assert stamps_given == sorted(set(stamps_given))
    assert hlc.wall_ms(last) <= max(readings) + len(readings)


def test_the_counter_runs_over_into_the_clock() -> None:
    full = (5 << hlc.COUNTER_BITS) + (1 << hlc.COUNTER_BITS) - 1
    assert hlc.wall_ms(hlc.tick(full, 5)) == 6
