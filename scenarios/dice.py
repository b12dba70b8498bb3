"""Drawing from independent, string-seeded streams, so that results are equal on every platform and CPython from 3.11 on.

Owns the only randomness of the room. Each purpose has its own stream: a new draw for one purpose shifts no other. Draws are built on
``getrandbits`` alone, whose output for a given string seed does not change; no float takes part.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

from scenarios.units import MILLION, Span

T = TypeVar("T")


class Stream:
    """One sequence of draws."""

    __slots__ = ("_bits",)

    def __init__(self, seed: str) -> None:
        self._bits = random.Random(seed).getrandbits

    def below(self, limit: int) -> int:
        """A number from 0 to ``limit`` - 1, all alike. Rejects rather than folds, so that none is favoured. ``limit`` must be positive."""
        if limit < 1:
            raise ValueError(f"nothing to draw from (got limit {limit})")
        width = (limit - 1).bit_length()
        if width == 0:
            return 0
        while (drawn := self._bits(width)) >= limit:
            pass
        return drawn

    def within(self, span: Span) -> int:
        """A number of a span, ends included. A fixed span draws nothing."""
        return span.low if span.fixed else span.low + self.below(span.high - span.low + 1)

    def pick(self, choices: Sequence[T]) -> T:
        return choices[self.below(len(choices))]

    def some(self, choices: Sequence[T], count: int) -> tuple[T, ...]:
        """``count`` different ones of ``choices``, in their order."""
        left = list(range(len(choices)))
        taken = sorted(left.pop(self.below(len(left))) for _ in range(min(count, len(left))))
        return tuple(choices[index] for index in taken)

    def chance(self, ppm: int) -> bool:
        return self.below(MILLION) < ppm


class Dice:
    """All streams of one scenario and seed."""

    def __init__(self, scenario: str, seed: int) -> None:
        self.name = f"{scenario}/{seed}"

    def stream(self, purpose: str) -> Stream:
        """A fresh stream from its beginning: ask for one once per purpose."""
        return Stream(f"{self.name}/{purpose}")

    def once(self, purpose: str, span: Span) -> int:
        """One number of a span, from a stream of its own."""
        return self.stream(purpose).within(span)
