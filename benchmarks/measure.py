"""How speed is taken: CPU time, the median of a few rounds, all rows by turns so that a slow minute of the machine hits them alike. Garbage is
collected between the turns and not within, as `timeit` does it.

Owns rates and shares. Knows nothing of what is measured.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from functools import wraps
from statistics import median
from typing import ParamSpec, TypeVar

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")

ROUNDS = 5


def rates(rows: Mapping[str, Callable[[], int]], rounds: int = ROUNDS) -> dict[str, float]:
    """{row: things a second of CPU time}. A row does its work once a call, and returns how many things it did."""
    taken: dict[str, list[float]] = {name: [] for name in rows}
    for _ in range(rounds):
        for name, work in rows.items():
            gc.collect()
            gc.disable()
            began = time.process_time()
            done = work()
            taken[name].append(done / (time.process_time() - began))
            gc.enable()
    return {name: median(each) for name, each in taken.items()}


class Sections:
    """Where the time goes: ``spent_ns`` of each section, without the sections that were entered from it.

    A section is a function that `around` stands in for. What that costs, some 0.2 us a call, falls to the section and to its caller.
    """

    def __init__(self) -> None:
        self.spent_ns: dict[str, int] = {}
        self._inside: list[int] = []  # of each section under way, the time of those within it

    def around(self, section: str, function: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
        """``function``, its time added to ``section``."""
        self.spent_ns.setdefault(section, 0)

        @wraps(function)
        def timed(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
            self._inside.append(0)
            began = time.perf_counter_ns()
            try:
                return function(*args, **kwargs)
            finally:
                took = time.perf_counter_ns() - began
                self.spent_ns[section] += took - self._inside.pop()
                if self._inside:
                    self._inside[-1] += took

        return timed

    def shares(self) -> dict[str, float]:
        """{section: its part of all that was measured}."""
        total = sum(self.spent_ns.values())
        return {section: spent / total for section, spent in self.spent_ns.items()}
