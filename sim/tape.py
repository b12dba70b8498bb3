"""The choice tape: every choice of a run, drawn from named streams that a seed decides.

Owns where chance comes from. A stream is seeded by the tape's seed and its own name, so a new stream, or one more draw in an old one,
shifts no other; where two ends share a purpose, each link or node has a stream of its own, so that one tenant's traffic shifts nothing of
another's. A choice is a whole number, and 0 is always the benign one (no loss, no delay, first come first served): a schedule can
fix single choices, or make whole streams benign, which is how a failing run is made smaller.

Draws are integers alone, equal on every machine and Python. A stream makes them in blocks, small ones first: most streams of a fleet are drawn
from a few times, and a Mersenne twister would be 2.5 KB for each.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from functools import partial
from hashlib import shake_128
from itertools import chain, count
from random import Random
from sys import byteorder

from scenarios.schedule import Tape as TapeSpec

Choose = Callable[[int], int]
Draw = Callable[[], int]
PPM = 1_000_000
BITS = 32  # what a stream draws
BLOCK_MIN = 4  # draws that a stream makes at a time: as many at first, and twice as many each time
BLOCK_MAX = 128


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

    def light(self, purpose: str, member: str) -> Draw:
        """The stream ``purpose/member``, of `BITS` bits, for what is drawn often or by very many members. Benign if it, or its whole purpose, is.

        The tape does not keep it: ask once a name.
        """
        name = f"{purpose}/{member}"
        if purpose in self._spec.benign or name in self._spec.benign:
            return partial(_benign, 1)
        draw = _draws(f"{self._spec.seed}/{name}")
        fixed = self._spec.fixed.get(name)
        return partial(_unless_fixed(lambda ways: draw(), fixed), 1 << BITS) if fixed else draw

    def _open(self, name: str) -> Choose:
        if name in self._spec.benign:
            return _benign
        draw = _draws(f"{self._spec.seed}/{name}")

        def choose(n: int) -> int:
            return draw() * n >> BITS

        fixed = self._spec.fixed.get(name)
        return _unless_fixed(choose, fixed) if fixed else choose


def happens(draw: Draw, ppm: int) -> bool:
    """Whether something of that chance comes about, by a light stream; never is the benign choice, and what cannot be draws nothing."""
    return ppm > 0 and draw() * PPM >> BITS >= PPM - ppm


def _draws(name: str) -> Draw:
    return chain.from_iterable(_blocks(name)).__next__


def _blocks(name: str) -> Iterator[array[int]]:
    """SHAKE-128 in counter mode: as quick as `getrandbits`, and all that a stream keeps is what is left of a block."""
    number, size = 0, BLOCK_MIN
    while True:
        block = array("I", shake_128(f"{name}/{number}".encode()).digest(size * BITS // 8))
        if byteorder == "big":
            block.byteswap()
        yield block
        number, size = number + 1, min(2 * size, BLOCK_MAX)


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
