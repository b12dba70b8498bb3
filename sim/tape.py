"""The choice tape: every choice of a run, drawn from named streams that a seed decides.

Owns where chance comes from. A stream is seeded by the tape's seed and its own name, so a new stream, or one more draw in an old one,
shifts no other; where two ends share a purpose, each link or node has a stream of its own, so that one tenant's traffic shifts nothing of
another's. A choice is a whole number, and 0 is always the benign one (no loss, no delay, first come first served): a schedule can
fix single choices, or make whole streams benign, which is how a failing run is made smaller.

Draws are integers alone, equal on every machine and Python. A stream is one number, for a fleet has very many of them and draws from most a few
times: a Mersenne twister would be 2.5 KB for each.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from hashlib import shake_128
from itertools import count
from random import Random
from typing import Final

from scenarios.schedule import Tape as TapeSpec

Choose = Callable[[int], int]
Draw = Callable[[], int]
PPM = 1_000_000
BITS: Final = 30  # what a stream draws
STATE_BITS: Final = 60
LOWER_BITS: Final = STATE_BITS - BITS
MULTIPLIER: Final = 0x3FA2D5E5  # of one digit, and the state of two, as CPython counts: nothing larger multiplies as fast
INCREMENT: Final = 0x14057B7EF767814F & (1 << STATE_BITS) - 1
MASK: Final = (1 << STATE_BITS) - 1


class Stream:
    """Draws of `BITS` bits: the upper half of what a linear congruence brings, from a start that hangs on the stream's name alone."""

    __slots__ = ("state",)

    def __init__(self, name: str) -> None:
        self.state = int.from_bytes(shake_128(name.encode()).digest(STATE_BITS // 8 + 1), "big") & MASK

    def draw(self) -> int:
        """The next draw, from 0 to 2**`BITS` - 1."""
        self.state = state = self.state * MULTIPLIER + INCREMENT & MASK
        return state >> LOWER_BITS

    def choose(self, n: int) -> int:
        """The next draw as a whole number from 0 to n-1."""
        return self.draw() * n >> BITS

    def happens(self, ppm: int) -> bool:
        """Whether something of that chance comes about; never is the benign choice, and what cannot be draws nothing."""
        if ppm <= 0:
            return False
        self.state = state = self.state * MULTIPLIER + INCREMENT & MASK  # `draw`, without its call
        return (state >> LOWER_BITS) * PPM >> BITS >= PPM - ppm


class Chosen(Stream):
    """A stream that is benign, or of which single draws are fixed."""

    __slots__ = ("_choose",)

    def __init__(self, choose: Choose) -> None:
        self._choose = choose

    def draw(self) -> int:
        return self._choose(1 << BITS)

    def choose(self, n: int) -> int:
        return self._choose(n)

    def happens(self, ppm: int) -> bool:
        return ppm > 0 and self.draw() * PPM >> BITS >= PPM - ppm


def _benign(n: int) -> int:
    return 0


STILL: Final = Chosen(_benign)  # what never varies


class Tape:
    """Hands out streams."""

    def __init__(self, spec: TapeSpec) -> None:
        self._spec = spec
        self._streams: dict[str, Stream] = {}

    def stream(self, name: str) -> Choose:
        """The stream's ``choose(n)``: a whole number from 0 to n-1. The same name gives the same stream."""
        found = self._streams.get(name)
        if found is None:
            found = self._streams[name] = self._open(name)
        return found.choose

    def bits(self, name: str, width: int) -> Draw:
        """A stream that draws from 0 to 2**width - 1, for what every event draws: `stream` takes three times as long. Ask once a name."""
        if name in self._spec.benign:
            return partial(_benign, 1)
        draw = partial(Random(f"{self._spec.seed}/{name}").getrandbits, width)
        fixed = self._spec.fixed.get(name)
        return partial(_unless_fixed(lambda ways: draw(), fixed), 1 << width) if fixed else draw

    def light(self, purpose: str, member: str) -> Stream:
        """The stream ``purpose/member``, of `BITS` bits, for what is drawn often or by very many members. Benign if it, or its whole purpose, is.

        The tape does not keep it: ask once a name.
        """
        return self._open(f"{purpose}/{member}", purpose)

    def _open(self, name: str, purpose: str = "") -> Stream:
        if name in self._spec.benign or purpose in self._spec.benign:
            return STILL
        stream = Stream(f"{self._spec.seed}/{name}")
        fixed = self._spec.fixed.get(name)
        return Chosen(_unless_fixed(stream.choose, fixed)) if fixed else stream


def _unless_fixed(draw: Choose, fixed: dict[str, int]) -> Choose:
    """``draw``, but for the draws whose index is fixed. They are drawn all the same, so that fixing one choice shifts no later one."""
    index = count()

    def choose(n: int) -> int:
        drawn = draw(n)
        choice = fixed.get(str(next(index)))
        return drawn if choice is None else min(choice, n - 1)

    return choose
