"""Percentiles of what was observed, by nearest rank: one function for every figure, so that no two places show two values for the same runs.

Owns the definition alone. Interpolation would show times that no run had.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

Number = TypeVar("Number", int, float)


def percentile(ordered: Sequence[Number], percent: int) -> Number:
    """The nearest-rank percentile of an ordered, non-empty sequence: its smallest value that at least ``percent`` of all values do not exceed. Of an
    even number the median is so the lower of the two in the middle; 100 is the largest value."""
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]
