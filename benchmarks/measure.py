"""How a speed is taken: CPU time, the median of a few rounds, all rows by turns so that a slow minute of the machine hits them alike."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from statistics import median

ROUNDS = 5


def rates(rows: Mapping[str, Callable[[], int]], rounds: int = ROUNDS) -> dict[str, float]:
    """{row: things a second of CPU time}. A row does its work once a call and returns how many things it did."""
    taken: dict[str, list[float]] = {name: [] for name in rows}
    for _ in range(rounds):
        for name, work in rows.items():
            gc.collect()
            began = time.process_time()
            done = work()
            taken[name].append(done / (time.process_time() - began))
    return {name: median(each) for name, each in taken.items()}


class Stopwatch:
    """Adds up the time inside the functions that it stands around, without what is nested in them under another stopwatch."""

    running: list[Stopwatch] = []  # the innermost last

    def __init__(self) -> None:
        self.spent_ns = 0
        self._since = 0

    def around[**P, R](self, function: Callable[P, R]) -> Callable[P, R]:
        ...
