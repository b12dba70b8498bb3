"""`python -m benchmarks.steady [RUNS]`: whether memory stays flat over very many runs in one process, as a worker of a campaign plays them.

Owns the shortest world that has every role, one schedule for each seed, played, judged and counted. Prints the resident memory after a quarter, half
and all of the runs, and passes no judgement. What a run leaves to the collector of garbage would show here first.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from msgspec.structs import replace

from benchmarks.scale import fleet
from harness.shared.implementation import Killswitch
from harness.single import simulate
from scenarios.schedule import Tape
from sim.queue import collector_at_rest

RUNS = 20_000
CHUNK = 4  # as many as a campaign gives a worker at a time


def resident_mb() -> float:
    """What the system holds in memory for this process."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def play(seeds: range) -> None:
    """Play a chunk of seeds, keeping nothing."""
    with collector_at_rest():
        for seed in seeds:
            simulate(replace(fleet(1, seconds=2), seed=seed, tape=Tape(seed=f"steady/{seed}")), Killswitch())


def main(runs: int) -> None:
    print("  runs   resident MB")
    marks = {runs // 4, runs // 2, runs}
    for first in range(0, runs, CHUNK):
        last = min(first + CHUNK, runs)
        play(range(first, last))
        for mark in sorted(mark for mark in marks if first < mark <= last):
            print(f"{mark:6}   {resident_mb():11.1f}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else RUNS)
