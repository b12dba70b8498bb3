"""The choice tape: every choice of a run, drawn from named streams that a seed decides.

Owns where chance comes from. A stream is seeded by the tape's seed and its own name, so a new stream, or one more draw in an old one,
shifts no other. A choice is a whole number, and 0 is always the benign one (no loss, no delay, first come first served): a schedule can
fix single choices, or make whole streams benign, which is how a failing run is made smaller.

Draws use one `random()` and an integer product, which IEEE 754 makes equal on every machine and Python.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import count
from random import Random

from scenarios.schedule import Tape as TapeSpec

Choose = Callable[[int], int]
Draw = Callable[[], int]
PPM = 1_000_000


class Tape:
    """Hands out streams."""

    def __init__(self, spec: TapeSpec) -> None:
        self._spec = spec
        self._streams: dict[str, Choose] = {}

    def stream(self, name: str) -> Choose:
        """The stream's ``choose(n)``: a whole number from 0 to n-1. The same name gives the same stream."""
        found = self._streams.get(name)
        if found is None:
            found = self._streams[name] = self._open(name)
        return found

    def bits(self, name: str, width: int) -> Draw:
        """A stream that draws from 0 to 2**width - 1, for what every event draws: `stream` takes three times as long. Ask once a name."""
        if name in self._spec.benign:
            return partial(_benign, 1)
        draw = partial(Random(f"{self._spec.seed}/{name}").getrandbits, width)
        fixed = self._spec.fixed.get(name)
        return partial(_unless_fixed(lambda ways: draw(), fixed), 1 << width) if fixed else draw

    def chance(self, name: str) -> Callable[[int], bool]:
        """The stream as ``happens(ppm)``: whether something of that chance, in parts per million, comes about; never is the benign choice."""
        choose = self.stream(name)
        return lambda ppm: ppm > 0 and choose(PPM) >= PPM - ppm

    def _open(self, name: str) -> Choose:
        if name in self._spec.benign:
            return _benign
        rand = Random(f"{self._spec.seed}/{name}").random

        def choose(n: int) -> int:
            return int(rand() * n)

        fixed = self._spec.fixed.get(name)
        return _unless_fixed(choose, fixed) if fixed else choose


def _unless_fixed(draw: Choose, fixed: dict[str, int]) -> Choose:
    """``draw``, but for the draws whose index is fixed. They are drawn all the same, so that fixing one choice shifts no later one."""
    index = count()

    def choose(n: int) -> int:
        drawn = draw(n)
        choice = fixed.get(str(next(index)))
        return drawn if choice is None else min(choice, n - 1)

    return choose


def _benign(n: int) -> int:
    return 0
