"""A wall clock that is off: what the library makes a process read, and what is made of its readings."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.live import wall_port
from harness.live.injections.walls import has_read, jumps_of, rate_of
from harness.live.wall_port import Reading, WallSwitch
from tests.live import needs

pytestmark = [pytest.mark.live, needs.wall_clocks]

MS = 1_000_000
SECOND = 1_000_000_000
PROCESS = "from harness.live import wall_port; wall_port.report(); print('up', flush=True); input()"


@pytest.fixture
def switch(tmp_path: Path) -> Iterator[WallSwitch]:
    """The switch of a process that reads its wall clock and says what it read."""
    made = WallSwitch(tmp_path / "wall")
    environment = {**os.environ, **made.environment}
    with subprocess.Popen([sys.executable, "-c", PROCESS], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"up\n"
        yield made
        process.kill()


def later(switch: WallSwitch, than: Reading | None) -> Reading:
    """The first of the process's readings that was begun after another."""
    deadline = time.monotonic() + 10
    while (reading := switch.reading()) is None or (than is not None and reading.boot_ns <= than.boot_ns + 2 * wall_port.APART_NS):
        assert time.monotonic() < deadline, "the process reads nothing"
        time.sleep(0.002)
    return reading


def test_a_rate_and_a_jump_come_on_top_of_each_other_and_a_rate_that_ends_takes_nothing_back(switch: WallSwitch) -> None:
    def now() -> Reading:
        return later(switch, Reading(time.clock_gettime_ns(time.CLOCK_BOOTTIME), 0))

    before = now()
    switch.drift("fast", 500_000)
    switch.drift("slow", -800_000)  # the latest counts
    began = now()
    time.sleep(0.2)
    switch.step(-3600 * SECOND)
    ended = now()
    switch.let_be("slow")
    switch.let_be("fast")
    assert switch.rate_ppm == 0
    first = now()
    time.sleep(0.1)
    last = now()
    lost_ns = (ended.boot_ns - began.boot_ns) * 8 // 10
    assert abs(ended.ahead_ns - began.ahead_ns + 3600 * SECOND + lost_ns) < 5 * MS
    assert abs(last.ahead_ns - first.ahead_ns) < MS
    assert -3600 * SECOND - lost_ns - SECOND < last.ahead_ns - before.ahead_ns < -3600 * SECOND - lost_ns


def test_a_jump_right_after_another_is_seen_by_itself_if_the_process_has_read_its_clock_between(switch: WallSwitch) -> None:
    seen = [later(switch, None)]
    for by_ns in (3600 * SECOND, 7200 * SECOND):
        switch.step(by_ns)
        since_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        assert not has_read(switch, since_ns + SECOND)
        while not has_read(switch, since_ns):
            time.sleep(0.002)
        seen.append(later(switch, None))
    assert jumps_of(seen, 3600 * SECOND) == (1, 0) and jumps_of(seen, 7200 * SECOND) == (1, 0)
    assert jumps_of([seen[0], seen[2]], 7200 * SECOND) == (0, 0)  # without a reading between


def readings(*gains_ns: int) -> list[Reading]:
    """Twenty milliseconds apart; how much was gained from each to the next."""
    return [Reading(number * 20 * MS, 5 * SECOND + sum(gains_ns[:number])) for number in range(len(gains_ns) + 1)]


def test_a_rate_is_read_off_all_but_the_jumps() -> None:
    assert rate_of(readings(2 * MS, 2 * MS, 2 * MS)) == (100_000, 60 * MS)
    assert rate_of(readings(-10 * MS, 3600 * SECOND, -10 * MS)) == (-500_000, 40 * MS)
    assert rate_of(readings()) is None and rate_of([]) is None


def test_jumps_are_told_from_a_rate_and_from_other_jumps() -> None:
    hour = 3600 * SECOND
    assert jumps_of(readings(hour, 0, -hour, 10 * MS, hour + 10 * MS), hour) == (2, 1)
    assert jumps_of(readings(2 * hour, 10 * MS, 10 * MS), hour) == (0, 0)
