"""Which seeds a campaign plays: ``20`` is 1 to 20, ``100..150`` is both ends and all between."""

from __future__ import annotations

import re
from typing import NamedTuple

SEED_MAX = 10**12 - 1
SEEDS_MAX = 10_000_000


class SeedsInvalid(ValueError):
    """A text that names no seeds."""


class Seeds(NamedTuple):
    """Seeds from ``low`` to ``high``, both included."""

    low: int
    high: int

    @property
    def range(self) -> range:
        return range(self.low, self.high + 1)

    @classmethod
    def parse(cls, text: str) -> Seeds:
        """Read ``N`` or ``A..B``. Raises `SeedsInvalid`."""
        found = re.fullmatch(r"([0-9]{1,12})(?:\.\.([0-9]{1,12}))?", text.strip())
        if found and not found[2] and not int(found[1]):
            raise SeedsInvalid(
                f"--seeds: N stands for seeds 1 to N, so this is none (got {text!r}); for the seed 0 alone write 0..0, else write 20, or 100..150"
            )
        low, high = (int(found[1]), int(found[2])) if found and found[2] else (1, int(found[1]) if found else 0)
        if not found or high < low or high - low >= SEEDS_MAX:
            raise SeedsInvalid(f"--seeds: not a count or a range of at most {SEEDS_MAX} seeds (got {text!r}); write 20, or 100..150")
        return cls(low, high)
